"""Run an engine whose output sizes are known only once it has run: TensorRT asks for memory."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch

from trtnn.errors import BuildError, UnsupportedError
from trtnn.graph.graph import Interface
from trtnn.graph.interpreter import Bound
from trtnn.ops.masks import depends_on_data
from trtnn.run.contexts import Context
from trtnn.run.prepared import Prepared
from trtnn.run.runner import Runner
from trtnn.run.streams import refuse_capture


class Allocations:
    """The outputs of one context: memory that TensorRT asked for, and the shapes it told.

    An exception must not cross into C++: it is kept here, and raised after the call.
    """

    def __init__(self, device: torch.device, side: Any) -> None:
        self.device, self.side = device, side
        self.memory: dict[str, torch.Tensor] = {}
        self.shapes: dict[str, tuple[int, ...]] = {}
        self.error: BaseException | None = None

    def allocate(self, name: str, size: int) -> int:
        """Return the address of ``size`` bytes for an output; 0 where there are none."""
        try:
            self.memory[name] = torch.empty(size, dtype=torch.uint8, device=self.device)
            if self.side is not None:  # after what used this memory before
                self.side.wait_stream(torch.cuda.current_stream(self.device))
            return self.memory[name].data_ptr()
        except BaseException as error:  # raised again by ``take``
            self.error = error
            return 0

    def notify(self, name: str, shape: tuple[int, ...]) -> None:
        """Take the shape of an output."""
        self.shapes[name] = shape

    def take(self, name: str, dtype: torch.dtype) -> torch.Tensor:
        """Return an output as a tensor of its exact shape."""
        shape = self.shapes.pop(name)
        if 0 in shape:
            return torch.empty(shape, dtype=dtype, device=self.device)
        needed, memory = math.prod(shape) * dtype.itemsize, self.memory.pop(name)
        if len(memory) < needed:
            raise BuildError(
                f"{name}: TensorRT asked for {len(memory):,} bytes, and wrote {shape}: {needed:,}",
                search=False,
            )
        return memory[:needed].view(dtype).view(shape)


def runner_for(graph: Interface) -> type[Runner]:
    """Return what runs an engine: another one where a size of its outputs depends on data."""
    counted = any(depends_on_data(*value.spec.shape) for value in graph.outputs)
    return AllocatingRunner if counted else Runner


class AllocatingRunner(Runner):
    """Runs by ``execute_async_v3`` with an output allocator, and waits: then sizes are known."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.side: Any = torch.cuda.Stream(self.device) if self.on_cuda else None  # type: ignore[no-untyped-call]
        self.fixed = [not depends_on_data(*v.spec.shape) for v in self.graph.outputs]

    def _run(
        self,
        prepared: Prepared,
        inputs: Sequence[torch.Tensor],
        into: Sequence[torch.Tensor] | None,
    ) -> tuple[list[torch.Tensor], Any]:
        if self.side is not None:
            refuse_capture()
        addresses = self.addresses(prepared, inputs, ())
        results: dict[int, torch.Tensor] = {}
        fixed = [i for i, known in enumerate(self.fixed) if known]
        for i, (shape, strides) in zip(fixed, prepared.outputs, strict=True):
            place, dtype = self.outputs[i]
            results[i] = torch.empty_strided(shape, strides, dtype=dtype, device=self.device)
            addresses[place] = results[i].data_ptr() or self.placeholder.data_ptr()
        context = self.take(prepared)
        try:
            with self.pool.turn():
                self._enqueue(context, addresses)
            own = self._allocations(context)
            for i, (place, dtype) in enumerate(self.outputs):
                if not self.fixed[i]:
                    results[i] = own.take(self.engine.tensors[place][0], dtype)
        except BaseException:
            self.pool.drop(context)
            raise
        self.pool.put(context)
        return self._widened(results, prepared)

    def require_execution(self) -> None:
        """Raise where this engine cannot run as it is asked to."""
        if self.execution == "graph":
            raise UnsupportedError(
                'execution="graph": an output has a size that depends on data, and a CUDA graph '
                "has one shape",
                hint='use execution="sync"',
            )

    def bound(self, arguments: Sequence[Any], into: Any) -> Any:
        raise UnsupportedError(
            "bind: an output has a size that depends on data, so its memory cannot be fixed",
            hint="call the model itself",
        )

    def _widened(
        self, results: dict[int, torch.Tensor], prepared: Prepared
    ) -> tuple[list[torch.Tensor], Any]:
        bindings = dict(prepared.bindings)
        outputs = []
        for i, value in enumerate(self.graph.outputs):
            outputs.append(results[i].to(value.spec.dtype))
            for size, actual in zip(value.spec.shape, outputs[i].shape, strict=True):
                if depends_on_data(size):
                    bindings[str(size)] = actual
        return outputs, Bound(bindings)

    def _allocations(self, context: Context) -> Allocations:
        """Return what a context's outputs go to; made with the context's first call."""
        if context.allocations is None:
            own = Allocations(self.device, self.side)
            library = self.engine.library
            allocator = library.output_allocator(own.allocate, own.notify)
            for name in self._counted():
                done = context.handle.set_output_allocator(name, allocator)
                library.require(done, f"set an allocator for {name}")
            context.allocations = own
        found: Allocations = context.allocations
        return found

    def _counted(self) -> list[str]:
        """Return the names of the outputs whose sizes depend on data."""
        places = [
            place for (place, _), fixed in zip(self.outputs, self.fixed, strict=True) if not fixed
        ]
        return [self.engine.tensors[place][0] for place in places]

    def _enqueue(self, context: Context, addresses: list[int]) -> None:
        """Run one context after what the current stream has produced, and wait for it."""
        own = self._allocations(context)
        own.error = None
        for (name, _, _), address in zip(self.engine.tensors, addresses, strict=True):
            if address:
                context.locate(name, address)
        if self.side is not None:
            # Not the default stream itself, on which TensorRT adds synchronizations.
            self.side.wait_stream(torch.cuda.current_stream(self.device))
        number = self.side.cuda_stream if self.side is not None else 0
        done = context.enqueue(number)
        if self.side is not None:
            self.side.synchronize()
        if own.error is not None:
            raise own.error
        if not done:
            raise BuildError(f"TensorRT failed to execute: {self.engine.library.log.take()}")
