"""The one door to ``cuda-python``: CUDA's runtime as calls whose failure is an error."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from trtnn.errors import AbsentError, CudaError


def load() -> Any:
    """Import CUDA's runtime, by the name that the installed ``cuda-python`` gives it.

    Raises:
        AbsentError: It is not installed.
    """
    try:
        return importlib.import_module("cuda.bindings.runtime")
    except ImportError as newer:
        try:
            return importlib.import_module("cuda.cudart")  # before cuda-python 12.6
        except ImportError:
            raise AbsentError(
                f"cuda-python cannot be imported: {newer}", hint='pip install "trtnn[cuda]"'
            ) from newer


@dataclass(frozen=True)
class DeviceFacts:
    """What CUDA says of one GPU."""

    name: str
    compute_capability: tuple[int, int]
    multiprocessors: int
    memory_bytes: int


class Cuda:
    """CUDA's runtime; addresses, streams and sizes in bytes are ints.

    Args:
        runtime: ``cuda-python``'s module; imported if omitted.
    """

    def __init__(self, runtime: Any = None) -> None:
        self.runtime = runtime if runtime is not None else load()
        kinds = self.runtime.cudaMemcpyKind
        self._in, self._out = kinds.cudaMemcpyHostToDevice, kinds.cudaMemcpyDeviceToHost
        self._success = self.runtime.cudaError_t.cudaSuccess

    def count_devices(self) -> int:
        return int(self._call("count the GPUs", "cudaGetDeviceCount"))

    def facts(self, device: int) -> DeviceFacts:
        """Return what CUDA says of a GPU."""
        found = self._call("describe GPU {}", "cudaGetDeviceProperties", device)
        return DeviceFacts(
            bytes(found.name).split(b"\0")[0].decode(),
            (int(found.major), int(found.minor)),
            int(found.multiProcessorCount),
            int(found.totalGlobalMem),
        )

    def memory_info(self, device: int) -> tuple[int, int]:
        """Return the free and the total memory of a GPU, in bytes."""
        with self.on(device):
            free, total = self._call("ask for the free memory", "cudaMemGetInfo")
            return int(free), int(total)

    @contextmanager
    def on(self, device: int) -> Iterator[None]:
        """Make a GPU this thread's current one for a while."""
        before = int(self._call("ask for the current GPU", "cudaGetDevice"))
        self._set_device(device)
        try:
            yield
        finally:
            if before != device:
                self._set_device(before)

    def _set_device(self, device: int) -> None:
        # Also where it is the current one: this is what makes CUDA ready in a new thread.
        self._call("use GPU {}", "cudaSetDevice", device)

    def allocate(self, size: int) -> int:
        """Return the address of new memory on the current GPU, a multiple of 256."""
        return int(self._call("allocate {} bytes on the GPU", "cudaMalloc", size))

    def free(self, address: int) -> None:
        self._call("free the GPU's memory at {:#x}", "cudaFree", address)

    def allocate_pinned(self, size: int) -> int:
        """Return the address of new memory of the host, which the GPU can read and write."""
        return int(self._call("allocate {} bytes of pinned memory", "cudaMallocHost", size))

    def free_pinned(self, address: int) -> None:
        self._call("free the pinned memory at {:#x}", "cudaFreeHost", address)

    def create_stream(self) -> int:
        """Return a stream that does not wait for the default stream."""
        flags = self.runtime.cudaStreamNonBlocking
        return int(self._call("create a stream", "cudaStreamCreateWithFlags", flags))

    def destroy_stream(self, stream: int) -> None:
        self._call("destroy a stream", "cudaStreamDestroy", stream)

    def synchronize(self, stream: int) -> None:
        """Wait until all work on a stream is done."""
        self._call("wait for a stream", "cudaStreamSynchronize", stream)

    def copy_in(self, target: int, source: int, size: int, stream: int) -> None:
        """Copy from pinned memory to the GPU, in the order of a stream."""
        what = "copy to {:#x} on the GPU from {:#x}, {} bytes"
        self._call(what, "cudaMemcpyAsync", target, source, size, self._in, stream)

    def copy_out(self, target: int, source: int, size: int, stream: int) -> None:
        """Copy from the GPU to pinned memory, in the order of a stream."""
        what = "copy to {:#x} from {:#x} on the GPU, {} bytes"
        self._call(what, "cudaMemcpyAsync", target, source, size, self._out, stream)

    def _call(self, what: str, function: str, *arguments: Any) -> Any:
        """Return a call's results; raise CudaError, saying what was tried, if it failed."""
        code, *results = getattr(self.runtime, function)(*arguments)
        if code != self._success:
            raise self._error(what.format(*arguments), function, code)
        return results[0] if len(results) == 1 else tuple(results)

    def _error(self, what: str, function: str, code: Any) -> CudaError:
        name, text = (
            getattr(self.runtime, ask)(code)[1].decode()
            for ask in ("cudaGetErrorName", "cudaGetErrorString")
        )
        return CudaError(f"CUDA could not {what}: {function}: {name}: {text}", name)


def memory_info(device: int) -> tuple[int, int]:
    """Return the free and the total memory of a GPU, in bytes.

    Raises:
        AbsentError: ``cuda-python`` is not installed.
        CudaError: There is no such GPU, or CUDA failed.
    """
    return Cuda().memory_info(device)
