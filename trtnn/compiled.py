"""The compiled model: called like ``forward``, on a runner or on the reference."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import torch

from trtnn.arguments import call_leaves
from trtnn.dims import Dim, Range, Size, evaluate
from trtnn.engine import Engine
from trtnn.errors import InputError
from trtnn.graph import Graph
from trtnn.interpreter import Bound, run
from trtnn.op import Spec
from trtnn.profiles import count_profiles, profile_of
from trtnn.runner import check_tensor
from trtnn.signature import POSITIONAL, Signature
from trtnn.tracer import Output, Sizes
from trtnn.tree import unflatten


class Runs(Protocol):
    """What executes a graph on a call's tensors and host inputs."""

    @property
    def call(self) -> Callable[[Sequence[Any]], tuple[list[torch.Tensor], Any]]: ...

    def with_profile(self, profile: int) -> Runs: ...


class Reference:
    """Runs a graph with PyTorch, on copies of its constants."""

    def __init__(self, graph: Graph, device: torch.device) -> None:
        self.graph, self.device = graph, device
        self.profile: int | None = None
        self.constants = {
            v: c.tensor.detach().to(device, copy=True) for v, c in graph.constants.items()
        }

    def call(self, arguments: Sequence[Any]) -> tuple[list[torch.Tensor], Any]:
        """Run the graph; return its output tensors and what knows the Dims' values."""
        count = len(self.graph.inputs)
        tensors, hosts = arguments[:count], arguments[count:]
        for value, tensor in zip(self.graph.inputs, tensors, strict=True):
            check_tensor(value.name, value.spec, tensor, self.device)
        ready = [t.to(v.spec.dtype) for t, v in zip(tensors, self.graph.inputs, strict=True)]
        outputs, bindings = run(self.graph, ready, self.constants, self.profile, hosts, self.device)
        return outputs, Bound(bindings)

    def with_profile(self, profile: int) -> Reference:
        pinned = copy.copy(self)
        pinned.profile = profile
        return pinned


class CompiledModule:
    """A compiled model: called like ``forward``, returning the same structure.

    Attributes:
        graph: The traced graph; ``print`` shows it as a table.
        engine: The TensorRT engine; None on the reference.
    """

    graph: Graph
    engine: Engine | None

    def __init__(
        self,
        graph: Graph,
        signature: Signature,
        parameters: inspect.Signature,
        runner: Runs,
        engine: Engine | None,
    ) -> None:
        self.graph, self.engine = graph, engine
        self._signature, self._parameters, self._runner = signature, parameters, runner
        self._run = runner.call
        names, declared = signature.names, signature.parameters
        flat = all(isinstance(x, Spec) for x in signature.leaves) and all(
            part.kind is None for part in signature.tree.children
        )
        # Positional calls are taken as they are only where positions mean what was declared.
        first = [n for n, p in parameters.parameters.items() if p.kind in POSITIONAL]
        self._count = len(names) if flat and list(declared) == first[: len(declared)] else -1
        self._names = dict.fromkeys(declared).keys() if flat else None
        self._single = graph.result.kind is None and isinstance(graph.leaves[0], Output)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run the model. The results never require a gradient, whether the inputs do or not.

        Raises:
            InputError: An argument does not fit its declaration; the message names it.
            StreamError: The current stream is being captured into a CUDA graph.
        """
        tensors: Any = args
        if kwargs:
            if args or kwargs.keys() != self._names:
                tensors = call_leaves(self._signature, self._parameters, args, kwargs)
            else:
                tensors = [kwargs[name] for name in self._names]
        elif len(args) != self._count:
            tensors = call_leaves(self._signature, self._parameters, args, kwargs)
        outputs, call = self._run(tensors)
        if self._single:
            return outputs[0]
        leaves = (_leaf(x, outputs, call.bindings) for x in self.graph.leaves)
        return unflatten(self.graph.result, leaves)

    @property
    def backend(self) -> str:
        """``"tensorrt"`` or ``"reference"``."""
        return "reference" if self.engine is None else "tensorrt"

    @property
    def input_specs(self) -> dict[str, Spec]:
        """Shape and dtype by input name."""
        return self._signature.specs

    @property
    def host_inputs(self) -> dict[str, Dim]:
        """The Dim of each host input, by name."""
        return self._signature.hosts

    @property
    def output_specs(self) -> tuple[Spec, ...]:
        """Shape and dtype of each output tensor, in order."""
        return tuple(v.spec for v in self.graph.outputs)

    @property
    def profiles(self) -> tuple[Mapping[str, Range], ...]:
        """The (min, opt, max) of every Dim, by name, in each optimization profile."""
        dims = self.graph.dims
        return tuple(
            {dim.name: profile_of(dim, index) for dim in dims}
            for index in range(count_profiles(dims))
        )

    def with_profile(self, index: int) -> CompiledModule:
        """Return a view of the model that uses one profile only; engine and memory are shared.

        Without it a call keeps the profile of the last one while its shapes fit, and else takes
        the tightest that fits. Changing the profile of a context costs about as much as making
        one, so a second context is made for it while there are fewer than ``max_contexts``.

        Raises:
            InputError: There is no such profile.
        """
        count = len(self.profiles)
        if type(index) is not int or not 0 <= index < count:
            raise InputError(f"with_profile: expected an int from 0 to {count - 1}, got {index!r}")
        view = copy.copy(self)
        view._runner = self._runner.with_profile(index)
        view._run = view._runner.call
        return view

    def __repr__(self) -> str:
        given = {**self.input_specs, **self.host_inputs}
        specs = ", ".join(f"{name}: {what}" for name, what in given.items())
        return f"CompiledModule({self.backend}, {specs})"


def _leaf(leaf: Any, outputs: list[torch.Tensor], bindings: dict[str, int]) -> Any:
    if isinstance(leaf, Output):
        return outputs[leaf]
    if isinstance(leaf, Sizes):
        return torch.Size([evaluate(s, bindings) for s in leaf])
    return evaluate(leaf, bindings) if isinstance(leaf, Size) and type(leaf) is not bool else leaf
