"""Run an engine and see values inside it: its debug tensors, which it tells of as it goes."""

from __future__ import annotations

import ctypes
import math
from collections.abc import Sequence
from typing import Any

import torch

from trtnn.errors import BuildError
from trtnn.run.runner import Runner
from trtnn.run.samples import CPU
from trtnn.trt.debugging import Seen, debug_listener, listen


class Watched:
    """Runs an engine, and gives what its debug tensors held after its outputs.

    What the listener sees is copied to the CPU at once: TensorRT goes on with the memory. An
    exception must not cross into C++: it is kept here, and raised after the call.

    Args:
        runner: With one context, which is told of the listener; it waits for nothing itself.
    """

    def __init__(self, runner: Runner) -> None:
        self.runner, self.device = runner, runner.device
        self.library, self.names = runner.engine.library, runner.engine.debug
        self.listener = debug_listener(self.library.trt, self._see)  # held here: TensorRT may not
        self.seen: dict[str, torch.Tensor] = {}
        self.error: BaseException | None = None

    def __call__(self, arguments: Sequence[Any]) -> tuple[list[torch.Tensor], Any]:
        """Execute the engine; return its outputs and debug tensors, and what knows the Dims.

        Raises:
            BuildError: TensorRT failed to execute, or told nothing of a tensor.
        """
        self.seen.clear()
        self.error = None
        with self.runner.on_device():
            for context in self.runner.pool.contexts:
                refused = listen(context.handle, self.listener, self.names)
                self.library.require(not refused, f"take {refused}")
            outputs, prepared = self.runner(arguments)
            outputs = [tensor.to(CPU) for tensor in outputs]  # which waits
        if self.error is not None:
            raise self.error
        if lost := [name for name in self.names if name not in self.seen]:
            raise BuildError(f"TensorRT told nothing of {', '.join(lost)}", search=False)
        return [*outputs, *(self.seen[name] for name in self.names)], prepared

    def _see(self, tensor: Seen) -> None:
        try:
            self.seen[tensor.name] = self._copied(tensor)
        except BaseException as error:  # raised again after the call
            self.error = error

    def _copied(self, tensor: Seen) -> torch.Tensor:
        dtype = getattr(torch, tensor.dtype)
        size = math.prod(tensor.shape) * dtype.itemsize
        if not size:
            return torch.empty(tensor.shape, dtype=dtype)
        if tensor.on_host or self.device.type != "cuda":
            content = bytearray(ctypes.string_at(tensor.address, size))
            return torch.frombuffer(content, dtype=dtype).view(tensor.shape)
        with torch.cuda.stream(self._stream(tensor.stream)):
            there = torch.as_tensor(Block(tensor.address, size), device=self.device)
            return there.to(CPU).view(dtype).view(tensor.shape)

    def _stream(self, number: int) -> torch.cuda.Stream:
        if not number:
            return torch.cuda.default_stream(self.device)
        return torch.cuda.ExternalStream(number, device=self.device)  # type: ignore[no-untyped-call]


class Block:
    """Bytes on the GPU, as PyTorch takes over another library's memory."""

    def __init__(self, address: int, size: int) -> None:
        self.__cuda_array_interface__ = {
            "data": (address, False),
            "shape": (size,),
            "typestr": "|u1",
            "version": 3,
        }
