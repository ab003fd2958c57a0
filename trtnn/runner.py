"""Plan to callable: contexts, bindings, streams and output memory on torch tensors."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Sequence
from typing import Any

import torch

from trtnn.dims import evaluate
from trtnn.engine import Engine
from trtnn.errors import BuildError, CopyWarning, InputError, StreamError
from trtnn.graph import Graph
from trtnn.interpreter import bind_dims

ALIGNMENT = 255  # TensorRT asks for addresses that are multiples of 256 bytes
INT32 = torch.iinfo(torch.int32)


class Shapes:
    """What is fixed once the input shapes are: shapes to set, outputs to allocate, Dims."""

    __slots__ = ("bindings", "inputs", "outputs")

    def __init__(self, graph: Graph, inputs: tuple[torch.Size, ...]) -> None:
        self.inputs = tuple(tuple(shape) for shape in inputs)
        self.bindings = bind_dims(graph, self.inputs)
        self.outputs: list[tuple[tuple[int, ...], tuple[int, ...]]] = []
        for value in graph.outputs:
            shape = tuple(evaluate(size, self.bindings) for size in value.spec.shape)
            strides = [1] * len(shape)
            for axis in range(len(shape) - 2, -1, -1):
                strides[axis] = strides[axis + 1] * max(shape[axis + 1], 1)
            self.outputs.append((shape, tuple(strides)))


class Runner:
    """Runs one engine on torch tensors' own memory.

    Order in a call: check, allocate outputs, wait, execute. Outputs are complete on return.

    Args:
        checks: ``"always"`` checks the range of narrowed int64 inputs on every call, ``"first"``
            on the first call of each signature only.
    """

    def __init__(self, engine: Engine, graph: Graph, device: torch.device, checks: str) -> None:
        self.engine, self.graph, self.device, self.checks = engine, graph, device, checks
        library = engine.library
        self.context = library.context(engine.handle)
        self.blocks = library.binding_blocks(engine.handle)
        self.lock = threading.Lock()
        self.current: tuple[tuple[int, ...], ...] | None = None
        self.cache: dict[tuple[torch.Size, ...], Shapes] = {}
        self.warned: set[tuple[Any, ...]] = set()
        self.on_cuda = device.type == "cuda"
        self.index = device.index or 0
        self.waits = library.waits_for_default_stream
        self.placeholder = torch.empty(256, dtype=torch.uint8, device=device)
        dtypes = {name: getattr(torch, dtype) for name, _, dtype in engine.tensors}
        names = [name for name, _, _ in engine.tensors]
        self.input_dtypes = [dtypes[v.name] for v in graph.inputs]
        self.output_dtypes = [dtypes[f"output_{i}"] for i in range(len(graph.outputs))]
        order = [v.name for v in graph.inputs] + [f"output_{i}" for i in range(len(graph.outputs))]
        self.slots = [order.index(name) for name in names]
        self.dynamic = [
            (i, v.name)
            for i, v in enumerate(graph.inputs)
            if any(not isinstance(s, int) for s in v.spec.shape)
        ]

    def __call__(self, tensors: Sequence[torch.Tensor]) -> tuple[list[torch.Tensor], Shapes]:
        """Execute the engine.

        Raises:
            InputError: A tensor does not fit its declaration.
            StreamError: The current stream is being captured.
            BuildError: TensorRT failed to execute.
        """
        key = tuple([t.shape for t in tensors])
        shapes = self.cache.get(key)
        if shapes is None:
            self._check_ranks(tensors)
            shapes = self.cache[key] = Shapes(self.graph, key)
        device, cuda = self.device, self.on_cuda
        ready = list(tensors)
        for i, tensor in enumerate(ready):
            if (
                tensor.dtype is not self.input_dtypes[i]
                or tensor.device != device
                or not tensor.is_contiguous()
                or (cuda and tensor.data_ptr() & ALIGNMENT)
            ):
                ready[i] = self._convert(i, tensor, key)
        for (shape, strides), dtype in zip(shapes.outputs, self.output_dtypes, strict=True):
            ready.append(torch.empty_strided(shape, strides, dtype=dtype, device=device))
        pointers = [t.data_ptr() or self.placeholder.data_ptr() for t in ready]
        with self.lock:
            if cuda:
                self._wait()
            if self.current != shapes.inputs:
                self._set_shapes(shapes)
            if not self.context.execute_v2([pointers[s] for s in self.slots] * self.blocks):
                self.current = None
                raise BuildError(f"TensorRT failed to execute: {self.engine.library.log.take()}")
        outputs = ready[len(tensors) :]
        for i, value in enumerate(self.graph.outputs):
            if outputs[i].dtype is not value.spec.dtype:
                outputs[i] = outputs[i].to(value.spec.dtype)
        return outputs, shapes

    def _wait(self) -> None:
        """Order the call after what produced its inputs."""
        stream = torch._C._cuda_getCurrentRawStream(self.index)
        if stream == 0 and self.waits:
            return
        if torch.cuda.is_current_stream_capturing():
            raise StreamError(
                "the current stream is being captured into a CUDA graph, which execute_v2 cannot be"
            )
        torch.cuda.current_stream(self.index).synchronize()

    def _set_shapes(self, shapes: Shapes) -> None:
        for i, name in self.dynamic:
            if self.current is not None and self.current[i] == shapes.inputs[i]:
                continue
            if not self.context.set_input_shape(name, shapes.inputs[i]):
                self.current = None
                raise InputError(
                    f"{name}: TensorRT refused the shape {shapes.inputs[i]}: "
                    f"{self.engine.library.log.take()}"
                )
        self.current = shapes.inputs

    def _check_ranks(self, tensors: Sequence[torch.Tensor]) -> None:
        for value, tensor in zip(self.graph.inputs, tensors, strict=True):
            check_rank(value.name, value.spec.shape, tensor)

    def _convert(self, index: int, tensor: torch.Tensor, key: tuple[Any, ...]) -> torch.Tensor:
        """Return an input as TensorRT can read it, or say why it cannot be."""
        value = self.graph.inputs[index]
        check_tensor(value.name, value.spec.dtype, tensor, self.device)
        wanted = self.input_dtypes[index]
        if tensor.dtype is not wanted:
            narrow = tensor.to(wanted)
            if self.checks == "always" or (key, index) not in self.warned:
                if not torch.equal(narrow.to(tensor.dtype), tensor):
                    raise InputError(
                        f"{value.name}: int64 values beyond {INT32.min} to {INT32.max}, and "
                        f"TensorRT {self.engine.library.target.version} has no int64"
                    )
                self.warned.add((key, index))
            tensor = narrow
        why = "is not contiguous" if not tensor.is_contiguous() else ""
        tensor = tensor.contiguous()
        if self.on_cuda and tensor.data_ptr() & ALIGNMENT:
            why, tensor = "is not aligned to 256 bytes", tensor.clone()
        if why and (why, index, key) not in self.warned:
            self.warned.add((why, index, key))
            warnings.warn(
                f"{value.name} {why} and is copied on every such call; "
                "give a contiguous tensor that is not a slice of another",
                CopyWarning,
                stacklevel=4,
            )
        return tensor


def check_rank(name: str, shape: tuple[Any, ...], tensor: torch.Tensor) -> None:
    """Raise InputError unless a tensor has as many dims as declared."""
    if tensor.dim() != len(shape):
        text = ", ".join(map(str, shape))
        raise InputError(f"{name}: expected {len(shape)} dims ({text}), got {tuple(tensor.shape)}")


def check_tensor(name: str, dtype: torch.dtype, tensor: torch.Tensor, device: torch.device) -> None:
    """Raise InputError unless dtype and device fit; int32 is taken for int64."""
    narrow = dtype is torch.int64 and tensor.dtype is torch.int32
    if tensor.dtype is not dtype and not narrow:
        raise InputError(
            f"{name}: expected {dtype}, got {tensor.dtype}", hint=f"convert it with .to({dtype})"
        )
    if tensor.device != device:
        raise InputError(
            f"{name}: expected a tensor on {device}, got one on {tensor.device}",
            hint=f'move it with .to("{device}")',
        )
