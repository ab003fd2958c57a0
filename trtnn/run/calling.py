"""From a call's arguments to its result: structure, ``out=``, and which calls can be hot."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence, Set
from typing import Any, Protocol

import torch

from trtnn.errors import UnsupportedError
from trtnn.graph.graph import Interface
from trtnn.ops.op import Spec, active_recorder
from trtnn.run.arguments import call_leaves
from trtnn.run.bound import BoundCall
from trtnn.run.hot import Entry, State, can_be_hot, entry_for, fits, make_hot, remember_apart
from trtnn.run.outputs import output_tensors, require_apart
from trtnn.run.prepared import Prepared, make_room
from trtnn.run.runner import Runner
from trtnn.sizes.dims import Size, evaluate
from trtnn.tracing.signature import KEYWORD, POSITIONAL, Signature
from trtnn.tracing.tracer import Output, Sizes
from trtnn.tree import unflatten

Bindings = dict[str, int]


class Runs(Protocol):
    """What executes a graph on a call's tensors and host inputs."""

    device: torch.device

    def __call__(
        self, arguments: Sequence[Any], into: Sequence[torch.Tensor] | None = None
    ) -> tuple[list[torch.Tensor], Any]: ...

    def sizes(self, arguments: Sequence[Any]) -> Bindings:
        """Return the value of every Dim in a call, once its inputs were checked."""

    def bound(
        self, arguments: Sequence[Any], into: Sequence[torch.Tensor] | None
    ) -> tuple[list[torch.Tensor], Any, Callable[[Any], Callable[[], Any]]]:
        """Return outputs, what knows the Dims, and what makes the call that returns a result."""

    def view(self, *, profile: int | None = None, execution: str | None = None) -> Runs:
        """Return the same with one profile only, or another way to run."""


class Caller:
    """Calls what runs a graph, and gives its results ``forward``'s structure.

    Nothing here refers to the model or to the function that ``make`` returns, so that a model
    that is deleted is gone at once, and its memory with it.
    """

    def __init__(
        self,
        graph: Interface,
        signature: Signature,
        parameters: inspect.Signature,
        runner: Runs,
    ) -> None:
        self.graph, self.signature, self.parameters = graph, signature, parameters
        self.runner = runner
        self.takes_out = "out" not in parameters.parameters
        flat = all(isinstance(x, Spec) for x in signature.leaves) and all(
            part.kind is None for part in signature.tree.children
        )
        # Calls are taken as they are only where what they give means what was declared.
        self.count = len(signature.names) if flat and in_places(signature, parameters) else -1
        self.names = names_of(signature, parameters) if flat else None
        leaves = list(graph.leaves)
        self.single = graph.result.kind is None and isinstance(leaves[0], Output)
        inner = graph.result.kind is not None and not any(
            part.kind for part in graph.result.children
        )
        in_order = all(isinstance(x, Output) for x in leaves) and leaves == [*range(len(leaves))]
        plain = inner and in_order and len(leaves) == len(graph.outputs)
        # The class of a result that holds each output once, in order; an unlisted one is not hot.
        self.kind = None if self.single else graph.result.kind if plain else object
        self.hot = self.count > 0 and isinstance(runner, Runner) and can_be_hot(runner, self.kind)
        self.state = State(len(graph.outputs))
        self.entries: dict[Any, Entry] = {}

    def make(self) -> Callable[..., Any]:
        """Return the function that a model is called by."""
        if self.hot and isinstance(self.runner, Runner):
            made: Callable[..., Any] = make_hot(
                self.runner,
                self.kind,
                state=self.state,
                find=self.find,
                general=self.general,
                takes_out=self.takes_out,
            )
            return made
        general = self.general
        if not self.takes_out:
            return lambda *args, **named: general(args, named, None)
        return lambda *args, out=None, **named: general(args, named, out)

    def arguments(self, args: tuple[Any, ...], named: dict[str, Any]) -> Sequence[Any]:
        """Return a call's tensors, in the order of the graph's inputs, then its host inputs."""
        if named:
            names = self.names
            if args or names is None or named.keys() != names:
                return call_leaves(self.signature, self.parameters, args, named)
            return [named[name] for name in names]
        if len(args) != self.count:
            return call_leaves(self.signature, self.parameters, args, named)
        return args

    def general(self, args: tuple[Any, ...], named: dict[str, Any], out: Any) -> Any:
        """Run any call; the next one like it may be hot."""
        refuse_traced()
        arguments = self.arguments(args, named)
        into = None if out is None else self._into(arguments, out)
        outputs, call = self.runner(arguments, into)
        if self.hot and isinstance(call, Prepared):
            self._keep(arguments, call, outputs, into)
        return self.result(outputs, call.bindings) if out is None else out

    def bind(self, args: tuple[Any, ...], named: dict[str, Any], out: Any) -> BoundCall:
        """Fix a call's inputs and outputs."""
        refuse_traced()
        arguments = self.arguments(args, named)
        into = None if out is None else self._into(arguments, out)
        outputs, call, make = self.runner.bound(arguments, into)
        result = self.result(outputs, call.bindings) if out is None else out
        return BoundCall(make(result), result)

    def result(self, outputs: list[torch.Tensor], bindings: Bindings) -> Any:
        """Return outputs in the structure of ``forward``'s result."""
        if self.single:
            return outputs[0]
        leaves = (_leaf(x, outputs, bindings) for x in self.graph.leaves)
        return unflatten(self.graph.result, leaves)

    def find(
        self, args: tuple[Any, ...], named: dict[str, Any], outputs: tuple[Any, ...] | None
    ) -> Entry | None:
        """Return the entry of a call, if there is one that fits, and make it the first to try."""
        if named:
            return None
        try:
            entry = self.entries.get(self._key(args))
        except (AttributeError, RuntimeError):  # no tensor, or none with a shape
            return None
        if entry is None or any(t.is_nested for t in (*args, *(outputs or ()))):
            return None
        if not fits(entry, args, outputs):
            return None
        self.state.entry = entry
        return entry

    def _key(self, tensors: Sequence[torch.Tensor]) -> Any:
        shapes = tuple([tensor.shape for tensor in tensors])
        runner = self.runner
        if isinstance(runner, Runner) and runner.execution == "async":
            return runner.streams.number(), shapes
        return shapes

    def _keep(
        self,
        tensors: Sequence[torch.Tensor],
        prepared: Prepared,
        outputs: Sequence[torch.Tensor],
        into: Sequence[torch.Tensor] | None,
    ) -> None:
        """Make the entry of a call that has just ended, if there is none that fits."""
        key = self._key(tensors)
        entry = self.entries.get(key)
        if entry is None or not fits(entry, tensors, into):
            entry = entry_for(self.runner, prepared, tensors, outputs)  # type: ignore[arg-type]
            if entry is None:
                return
            make_room(self.entries)
            self.entries[key] = entry
        self.state.entry = entry
        if into is not None:
            remember_apart(entry, tuple([t.data_ptr() for t in (*tensors, *into)]))

    def _into(self, arguments: Sequence[Any], out: Any) -> list[torch.Tensor]:
        """Return the caller's outputs, checked against the graph and the call's inputs."""
        graph, runner = self.graph, self.runner
        found = output_tensors(graph, out, runner.sizes(arguments), runner.device)
        names = [f"out, output {i}" if not self.single else "out" for i in range(len(found))]
        given = zip([v.name for v in graph.inputs], arguments, strict=False)
        require_apart(list(zip(names, found, strict=True)), list(given))
        return found


def refuse_traced() -> None:
    """Raise UnsupportedError where a call is made by a ``forward`` that is being traced."""
    if active_recorder() is not None:
        raise UnsupportedError(
            "forward calls a compiled model, and an engine cannot be inside another",
            hint="call the module there that it was made from, and compile the whole",
        )


def in_places(signature: Signature, parameters: inspect.Signature) -> bool:
    """Say whether the declared arguments are the first that a call gives by position."""
    kinds = parameters.parameters
    first = [n for n, p in kinds.items() if p.kind in POSITIONAL]
    places = signature.tree.keys
    named = [place for place in places if isinstance(place, str)]
    more = [place[1] for place in places if not isinstance(place, str)]
    return named == first[: len(named)] and more == [*range(len(more))]


def names_of(signature: Signature, parameters: inspect.Signature) -> Set[str] | None:
    """Return the keywords that give all declared arguments; None where a name is no keyword."""
    kinds = parameters.parameters
    names = dict.fromkeys(signature.tree.keys)
    given = all(isinstance(name, str) and kinds[name].kind in KEYWORD for name in names)
    return names.keys() if given else None


def _leaf(leaf: Any, outputs: list[torch.Tensor], bindings: Bindings) -> Any:
    if isinstance(leaf, Output):
        return outputs[leaf]
    if isinstance(leaf, Sizes):
        return torch.Size([evaluate(s, bindings) for s in leaf])
    return evaluate(leaf, bindings) if isinstance(leaf, Size) and type(leaf) is not bool else leaf
