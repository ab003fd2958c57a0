"""A strict double of CUDA's runtime as ``cuda-python`` offers it, on the memory of the host.

Copies run when their stream is waited for, as late as CUDA may run them, so that whoever forgets
to wait reads what was there before. Every copy must lie within living memory of the right kind;
no address is given twice, so that a use after free is found; memory has guards at both ends.
"""

from __future__ import annotations

import ctypes
import threading
from collections import Counter
from dataclasses import dataclass, field
from enum import IntEnum
from types import ModuleType, SimpleNamespace
from typing import Any

GUARD = 256
POISON, FREED = 0xCD, 0xDD
TOTAL = 1 << 34


class Violation(AssertionError):
    """A use of CUDA that is undefined, or a leak."""


class Errors(IntEnum):
    """The errors that the double can give."""

    cudaSuccess = 0
    cudaErrorInvalidValue = 1
    cudaErrorMemoryAllocation = 2
    cudaErrorInvalidDevice = 101
    cudaErrorIllegalAddress = 700


TEXTS = {
    Errors.cudaErrorInvalidValue: b"invalid argument",
    Errors.cudaErrorMemoryAllocation: b"out of memory",
    Errors.cudaErrorInvalidDevice: b"invalid device ordinal",
    Errors.cudaErrorIllegalAddress: b"an illegal memory access was encountered",
}


class Kinds(IntEnum):
    """The directions of a copy."""

    cudaMemcpyHostToHost = 0
    cudaMemcpyHostToDevice = 1
    cudaMemcpyDeviceToHost = 2
    cudaMemcpyDeviceToDevice = 3


@dataclass
class Memory:
    """One allocation, on a GPU or, where ``device`` is None, pinned on the host."""

    address: int
    size: int
    device: int | None
    block: Any = field(repr=False)
    living: bool = True

    def require_guards(self) -> None:
        """Raise Violation if somebody wrote beside it."""
        for start in (self.address - GUARD, self.address + self.size):
            if ctypes.string_at(start, GUARD) != bytes([POISON]) * GUARD:
                raise Violation(f"{self}: memory beside it was written")


class Handle:
    """What ``cuda-python`` gives for a stream: something that ``int`` takes."""

    def __init__(self, number: int) -> None:
        self.number = number

    def __int__(self) -> int:
        return self.number


class CudaDouble:
    """The state of one double.

    Attributes:
        calls: How often each function was called.
        fails_at: Which call of all, counted from 0, fails once, and then which function it was.
        facts: What ``cudaGetDeviceProperties`` says.
    """

    def __init__(self, devices: int = 2) -> None:
        self.devices = devices
        self.memory: list[Memory] = []
        self.streams: dict[int, list[tuple[int, int, int]]] = {}
        self.created = 0
        self.calls: Counter[str] = Counter()
        self.fails_at: int | None = None
        self.failed: str | None = None
        self.facts: dict[str, Any] = {
            "name": b"Double GPU\0",
            "major": 9,
            "minor": 0,
            "multiProcessorCount": 132,
            "totalGlobalMem": TOTAL,
        }
        self._current = threading.local()

    @property
    def current(self) -> int:
        """The current device of this thread."""
        return getattr(self._current, "device", 0)

    @property
    def living(self) -> list[Memory]:
        """The allocations that nobody freed."""
        return [memory for memory in self.memory if memory.living]

    def require_nothing_left(self) -> None:
        """Raise Violation unless all memory was freed and all streams were destroyed."""
        if self.living or self.streams:
            raise Violation(f"left: {self.living}, streams {list(self.streams)}")

    def find(self, address: int, size: int, *, on_device: bool) -> Memory:
        """Return the living memory that holds a range; Violation where there is none."""
        for memory in self.memory:
            if memory.address <= address < memory.address + memory.size:
                if not memory.living:
                    raise Violation(f"{memory}: used after it was freed")
                if address + size > memory.address + memory.size:
                    raise Violation(f"{memory}: {size} bytes at {address:#x} pass its end")
                if on_device is (memory.device is None):
                    raise Violation(f"{memory}: of the other kind, for this direction of a copy")
                return memory
        raise Violation(f"{address:#x}: no memory of CUDA")

    def run(self, stream: int) -> None:
        """Do what a stream was told so far; an engine on it does so before it reads."""
        waiting, self.streams[stream][:] = self.streams[stream][:], []
        for target, source, size in waiting:
            for address in (target, source):
                memory = next(m for m in self.memory if 0 <= address - m.address < m.size)
                self.find(address, size, on_device=memory.device is not None)
            ctypes.memmove(target, source, size)

    # What cuda-python offers: each returns a tuple, an error first.

    def cudaGetDeviceCount(self) -> tuple[Any, ...]:
        return Errors.cudaSuccess, self.devices

    def cudaGetDevice(self) -> tuple[Any, ...]:
        return Errors.cudaSuccess, self.current

    def cudaSetDevice(self, device: int) -> tuple[Any, ...]:
        if not 0 <= device < self.devices:
            return (Errors.cudaErrorInvalidDevice,)
        self._current.device = device
        return (Errors.cudaSuccess,)

    def cudaGetDeviceProperties(self, device: int) -> tuple[Any, ...]:
        if not 0 <= device < self.devices:
            return Errors.cudaErrorInvalidDevice, None
        return Errors.cudaSuccess, SimpleNamespace(**self.facts)

    def cudaMemGetInfo(self) -> tuple[Any, ...]:
        used = sum(m.size for m in self.living if m.device == self.current)
        return Errors.cudaSuccess, TOTAL - used, TOTAL

    def cudaMalloc(self, size: int) -> tuple[Any, ...]:
        return self._allocate(size, self.current)

    def cudaMallocHost(self, size: int) -> tuple[Any, ...]:
        return self._allocate(size, None)

    def _allocate(self, size: int, device: int | None) -> tuple[Any, ...]:
        if size <= 0:
            raise Violation(f"an allocation of {size} bytes has no address")
        block = (ctypes.c_ubyte * (size + 3 * GUARD))()
        ctypes.memset(block, POISON, len(block))
        start = (ctypes.addressof(block) + 2 * GUARD - 1) // GUARD * GUARD
        self.memory.append(Memory(start, size, device, block))
        return Errors.cudaSuccess, start

    def cudaFree(self, address: int) -> tuple[Any, ...]:
        return self._free(address, on_device=True)

    def cudaFreeHost(self, address: int) -> tuple[Any, ...]:
        return self._free(address, on_device=False)

    def _free(self, address: int, *, on_device: bool) -> tuple[Any, ...]:
        memory = self.find(address, 1, on_device=on_device)
        if memory.address != address:
            raise Violation(f"{memory}: freed by the address {address:#x} within it")
        for stream, waiting in self.streams.items():
            for target, source, _ in waiting:
                if any(0 <= x - address < memory.size for x in (target, source)):
                    raise Violation(f"{memory}: freed before stream {stream} copied it")
        memory.require_guards()
        memory.living = False
        ctypes.memset(memory.block, FREED, len(memory.block))
        return (Errors.cudaSuccess,)

    def cudaStreamCreateWithFlags(self, flags: int) -> tuple[Any, ...]:
        self.created += 1
        self.streams[self.created] = []
        return Errors.cudaSuccess, Handle(self.created)

    def cudaStreamDestroy(self, stream: int) -> tuple[Any, ...]:
        self._require_stream(stream)
        del self.streams[stream]
        return (Errors.cudaSuccess,)

    def cudaStreamSynchronize(self, stream: int) -> tuple[Any, ...]:
        self._require_stream(stream)
        self.run(stream)
        return (Errors.cudaSuccess,)

    def cudaMemcpyAsync(
        self, target: int, source: int, size: int, kind: Kinds, stream: int
    ) -> tuple[Any, ...]:
        self._require_stream(stream)
        self.find(target, size, on_device=kind is Kinds.cudaMemcpyHostToDevice)
        self.find(source, size, on_device=kind is Kinds.cudaMemcpyDeviceToHost)
        self.streams[stream].append((target, source, size))
        return (Errors.cudaSuccess,)

    def _require_stream(self, stream: int) -> None:
        if stream not in self.streams:
            raise Violation(f"{stream}: no living stream of CUDA")

    def cudaGetErrorName(self, error: Errors) -> tuple[Any, ...]:
        return Errors.cudaSuccess, error.name.encode()

    def cudaGetErrorString(self, error: Errors) -> tuple[Any, ...]:
        return Errors.cudaSuccess, TEXTS[error]


FUNCTIONS = [name for name in vars(CudaDouble) if name.startswith("cuda")]
EXPLAIN = ("cudaGetErrorName", "cudaGetErrorString")
# How many results follow the error.
RESULTS = {
    **dict.fromkeys(FUNCTIONS, 1),
    **dict.fromkeys(("cudaSetDevice", "cudaFree", "cudaFreeHost", "cudaStreamDestroy"), 0),
    **dict.fromkeys(("cudaStreamSynchronize", "cudaMemcpyAsync"), 0),
    "cudaMemGetInfo": 2,
}


def load(double: CudaDouble) -> Any:
    """Return what stands in for ``cuda-python``'s module: functions, enums and a constant."""
    module: Any = ModuleType("cuda.bindings.runtime")
    module.cudaError_t, module.cudaMemcpyKind, module.cudaStreamNonBlocking = Errors, Kinds, 1

    def counted(name: str) -> Any:
        function = getattr(double, name)

        def call(*arguments: Any) -> tuple[Any, ...]:
            if double.fails_at == double.calls.total() and name not in EXPLAIN:
                double.fails_at, double.failed = None, name
                return Errors.cudaErrorMemoryAllocation, *[None] * RESULTS[name]
            double.calls[name] += name not in EXPLAIN
            answer: tuple[Any, ...] = function(*arguments)
            return answer

        return call

    for name in FUNCTIONS:
        setattr(module, name, counted(name))
    return module
