"""What a model without torch holds on a GPU: engine, context, stream, and memory that grows."""

from __future__ import annotations

import contextlib
import ctypes
import math
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy

from trtnn.errors import BuildError, CudaError, InputError
from trtnn.host.arrays import Array, Shape
from trtnn.host.cuda_runtime import Cuda
from trtnn.trt.library import TensorRT

LEAST = 256  # so that a tensor without elements has an address too


class Buffer:
    """Memory that grows to the greatest size asked for and keeps its address until it does."""

    def __init__(self, allocate: Callable[[int], int], free: Callable[[int], None]) -> None:
        self._allocate, self._free = allocate, free
        self.address, self.size = 0, 0

    def reserve(self, size: int) -> int:
        """Return the address of at least ``size`` bytes; what was in them may be lost."""
        if size > self.size or not self.address:
            self.release()
            wanted = max(size, LEAST)
            self.address, self.size = self._allocate(wanted), wanted
        return self.address

    def release(self) -> None:
        """Give the memory back; a second time does nothing."""
        address, self.address, self.size = self.address, 0, 0
        if address:
            self._free(address)


class Counted:
    """The outputs whose sizes depend on data: TensorRT asks for memory and tells shapes.

    An exception must not cross into C++: it is kept here, and raised after the call.
    """

    def __init__(self, buffers: dict[str, Buffer]) -> None:
        self.buffers = buffers
        self.shapes: dict[str, Shape] = {}
        self.error: BaseException | None = None

    def allocate(self, name: str, size: int) -> int:
        try:
            return self.buffers[name].reserve(size)
        except BaseException as error:  # raised again by ``Session.execute``
            self.error = error
            return 0

    def notify(self, name: str, shape: Shape) -> None:
        self.shapes[name] = shape


class Session:
    """One engine with one context; ``close`` gives everything back. One call at a time.

    Attributes:
        device_memory: By tensor, what TensorRT reads and writes.
        staging: By tensor, pinned memory, from and to which the GPU copies.
    """

    def __init__(self, cuda: Cuda, library: TensorRT, device: int) -> None:
        self.cuda, self.library, self.device = cuda, library, device
        self.process = os.getpid()
        self.stream: int | None = None
        self.runtime: Any = None
        self.engine: Any = None
        self.context: Any = None
        self.profile = 0
        self.shapes: dict[str, Shape] = {}
        self.staging: dict[str, Buffer] = {}
        self.device_memory: dict[str, Buffer] = {}
        self.counted = Counted(self.device_memory)

    def read(self, plan: bytes, *, host_code: bool) -> None:
        """Deserialize a plan.

        Args:
            host_code: Run the code for the host that the plan holds.
        """
        self.library.log.take()
        self.runtime, self.engine = self.library.deserialize(plan, host_code=host_code)

    def open(self, counted: Sequence[str]) -> None:
        """Make what every call needs.

        Args:
            counted: The outputs whose sizes depend on data.
        """
        library, cuda = self.library, self.cuda
        self.allocated = counted
        self.tensors = library.tensors(self.engine)
        self.dtypes = {name: numpy.dtype(dtype) for name, _, dtype in self.tensors}
        self.on_host = {
            name
            for name, is_input, _ in self.tensors
            if is_input and library.on_host(self.engine, name)
        }
        self.profiles = library.count_profiles(self.engine)
        self.blocks = library.binding_blocks(self.engine)
        for name, _, _ in self.tensors:
            self.staging[name] = Buffer(cuda.allocate_pinned, cuda.free_pinned)
            self.device_memory[name] = Buffer(cuda.allocate, cuda.free)
        self.stream = cuda.create_stream()
        self._require_context()

    def close(self) -> None:
        """Give everything back; where a part cannot be, the rest is, and the error is raised."""
        if os.getpid() != self.process or self.engine is None:
            return  # CUDA is not usable in a forked child, which owns none of this
        errors: list[CudaError] = []
        try:
            with self.cuda.on(self.device):
                self._release(errors)
        except CudaError as error:  # the GPU could not be made the current one, or left again
            errors.insert(0, error)
            self._release(errors)
        if errors:
            raise errors[0]

    def _release(self, errors: list[CudaError]) -> None:
        stream, self.stream = self.stream, None
        buffers = [*self.staging.values(), *self.device_memory.values()]
        releases: list[Callable[[], None]] = [buffer.release for buffer in buffers]
        if stream is not None:
            releases.append(lambda: self.cuda.destroy_stream(stream))
        self._forget_context()
        self.engine = None  # before the runtime that made it
        self.runtime = None
        for release in releases:
            try:
                release()
            except CudaError as error:
                errors.append(error)

    def recover(self) -> None:
        """After a call that failed: wait for what it began, and drop its context."""
        if self.stream is not None:
            with contextlib.suppress(CudaError):
                self.cuda.synchronize(self.stream)
        self._forget_context()

    def prepare(self, profile: int, shapes: dict[str, Shape]) -> bool:
        """Give the context a profile and the shapes of the inputs that are dynamic.

        Returns:
            Whether it had others.

        Raises:
            InputError: TensorRT refuses the shapes.
            BuildError: TensorRT cannot make a context or change its profile.
        """
        self._require_context()
        changed = False
        # An engine that asks for none of the Dims' sizes has one profile.
        profile = profile if profile < self.profiles else 0
        if profile != self.profile:
            self.shapes.clear()
            self.library.select_profile(self.context, profile, self.stream or 0)
            self.profile = profile
            changed = True
        for name, shape in shapes.items():
            if self.shapes.get(name) != shape:
                if not self.context.set_input_shape(name, shape):
                    lines = self.library.log.take()
                    raise InputError(f"{name}: TensorRT refused the shape {shape}: {lines}")
                self.shapes[name] = shape
                changed = True
        return changed

    def place_hosts(self, addresses: Mapping[str, int]) -> None:
        """Tell the context where the inputs are that TensorRT reads on the host."""
        for name in self.on_host:
            done = self.context.set_tensor_address(name, addresses[name])
            self.library.require(done, f"set the address of {name}")

    def _require_context(self) -> None:
        if self.context is not None:
            return
        self.context = self.library.context(self.engine)
        self.profile = int(self.context.active_optimization_profile)
        self.shapes.clear()
        if self.allocated:
            own = self.counted
            self.allocator = self.library.output_allocator(own.allocate, own.notify)
            for name in self.allocated:
                done = self.context.set_output_allocator(name, self.allocator)
                self.library.require(done, f"set an allocator for {name}")

    def _forget_context(self) -> None:
        self.context = self.allocator = None

    def send(self, name: str, array: Array) -> int:
        """Copy an input to where TensorRT reads it, on the stream; return the address."""
        dtype = self.dtypes[name]
        size = array.size * dtype.itemsize
        staged = self.staging[name].reserve(size)
        if size:
            numpy.copyto(view(staged, array.shape, dtype), array, casting="unsafe")
        if name in self.on_host:
            return staged
        address = self.device_memory[name].reserve(size)
        if size:
            self.cuda.copy_in(address, staged, size, self._require_stream())
        return address

    def room(self, name: str, shape: Shape) -> int:
        """Return the address of an output of a known shape."""
        return self.device_memory[name].reserve(math.prod(shape) * self.dtypes[name].itemsize)

    def fetch(self, name: str, shape: Shape) -> Array:
        """Begin to copy an output to pinned memory; the view holds it after a wait."""
        dtype = self.dtypes[name]
        size = math.prod(shape) * dtype.itemsize
        staged = self.staging[name].reserve(size)
        if not size:
            return numpy.empty(shape, dtype)
        source = self.device_memory[name].address
        self.cuda.copy_out(staged, source, size, self._require_stream())
        return view(staged, shape, dtype)

    def wait(self) -> None:
        self.cuda.synchronize(self._require_stream())

    def execute(self, addresses: dict[str, int], *, synchronously: bool) -> None:
        """Run the engine: with ``execute_v2``, or on the stream.

        Raises:
            BuildError: TensorRT failed to execute.
        """
        context, own = self.context, self.counted
        own.error = None
        # 8.6.0 asks the context for what shapes need before it looks at the binding list.
        self.place_hosts(addresses)
        for name, address in addresses.items():
            if name not in self.on_host and not synchronously:
                done = context.set_tensor_address(name, address)
                self.library.require(done, f"set the address of {name}")
        try:
            if synchronously:
                self.wait()  # execute_v2 runs on a stream of TensorRT's own
                listed = [addresses[name] for name, _, _ in self.tensors]
                done = context.execute_v2(listed * self.blocks)
            else:
                done = context.execute_async_v3(self._require_stream())
        finally:
            if own.error is not None:
                raise own.error
        if not done:
            raise BuildError(f"TensorRT failed to execute: {self.library.log.take()}")

    def _require_stream(self) -> int:
        assert self.stream is not None  # the session is open
        return self.stream


def view(address: int, shape: Shape, dtype: Any) -> Array:
    """Return the memory at an address of the host as an array."""
    count = math.prod(shape)
    block = (ctypes.c_ubyte * (count * dtype.itemsize)).from_address(address)
    return numpy.frombuffer(block, dtype, count).reshape(shape)
