"""The reference: a graph that PyTorch runs, called as an engine is."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch

from trtnn.engine.refit import checked
from trtnn.errors import InputError, UnsupportedError
from trtnn.graph.graph import Graph
from trtnn.graph.interpreter import Bound, run
from trtnn.ops.masks import depends_on_data
from trtnn.run.arguments import check_tensor
from trtnn.sizes.solutions import bind_dims


class Reference:
    """Runs a graph with PyTorch, on copies of its constants.

    Every way to run is the same here: PyTorch's own, on its current stream.
    """

    def __init__(self, graph: Graph, device: torch.device) -> None:
        self.graph, self.device = graph, device
        self.profile: int | None = None
        self.constants = {
            v: c.tensor.detach().to(device, copy=True) for v, c in graph.constants.items()
        }

    def __call__(
        self, arguments: Sequence[Any], into: Sequence[torch.Tensor] | None = None
    ) -> tuple[list[torch.Tensor], Any]:
        """Run the graph; return its output tensors and what knows the Dims' values."""
        tensors, hosts = self._split(arguments)
        ready = [t.to(v.spec.dtype) for t, v in zip(tensors, self.graph.inputs, strict=True)]
        constants = self.constants.copy()  # which a refit replaces all at once
        results, bindings = run(self.graph, ready, constants, self.profile, hosts, self.device)
        if into is not None:
            for given, result in zip(into, results, strict=True):
                given.copy_(result)
            return list(into), Bound(bindings)
        outputs: list[torch.Tensor] = []
        taken = {_memory(other) for other in (*tensors, *constants.values())} - {0}
        for result in results:
            memory = _memory(result)
            outputs.append(result.detach().clone() if memory in taken else result.detach())
            taken |= {memory} - {0}
        return outputs, Bound(bindings)

    def sizes(self, arguments: Sequence[Any]) -> dict[str, int]:
        """Return the value of every Dim in a call, once its inputs were checked."""
        tensors, hosts = self._split(arguments)
        return bind_dims(self.graph, [t.shape for t in tensors], self.profile, hosts)

    def bound(
        self, arguments: Sequence[Any], into: Sequence[torch.Tensor] | None
    ) -> tuple[list[torch.Tensor], Any, Callable[[Any], Callable[[], Any]]]:
        """Return the outputs of a call that is bound, what knows the Dims, and what makes it."""
        if any(depends_on_data(*v.spec.shape) for v in self.graph.outputs):
            raise UnsupportedError(
                "bind: an output has a size that depends on data, so its memory cannot be fixed",
                hint="call the model itself",
            )
        kept = tuple(arguments)
        self._split(kept)
        for value, tensor in zip(self.graph.inputs, kept, strict=False):
            form = self.graph.formats.get(value.name, "contiguous_format")
            if not tensor.is_contiguous(memory_format=getattr(torch, form)):
                raise InputError(
                    f"{value.name}: bind reads it in place: expected torch.{form}, got strides "
                    f"{tensor.stride()}",
                    hint="bind a tensor that is so, and copy new values into it",
                )
        outputs, call = self(kept, into)

        def make(result: Any) -> Callable[[], Any]:
            def bound() -> Any:
                self(kept, outputs)
                return result

            return bound

        return outputs, call, make

    def view(self, *, profile: int | None = None, execution: str | None = None) -> Reference:
        """Return the same with one profile only."""
        view = copy.copy(self)
        view.profile = self.profile if profile is None else profile
        return view

    def refit(self, state: Mapping[str, torch.Tensor]) -> None:
        """Replace the constants by what they are for another state of the module."""
        made = self.graph.recompute(checked(state))
        self.constants.update({v: t.detach().to(self.device, copy=True) for v, t in made.items()})

    def moved(self, device: torch.device) -> Reference:
        """Return the same on another device."""
        other = Reference(self.graph, device)
        other.profile = self.profile
        other.constants = {v: t.to(device, copy=True) for v, t in self.constants.items()}
        return other

    def _split(self, arguments: Sequence[Any]) -> tuple[Sequence[Any], Sequence[Any]]:
        count = len(self.graph.inputs)
        tensors, hosts = arguments[:count], arguments[count:]
        for value, tensor in zip(self.graph.inputs, tensors, strict=True):
            check_tensor(value.name, value.spec, tensor, self.device)
        return tensors, hosts


def _memory(tensor: torch.Tensor) -> int:
    """Return the address of a tensor's storage, which an engine's outputs never share."""
    return tensor.untyped_storage().data_ptr()
