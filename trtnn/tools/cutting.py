"""A part of a graph as a graph of its own, on the values that one call had at the cuts."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import torch

from trtnn.graph.graph import Constant, Graph, Node, Value, as_tuple
from trtnn.graph.program import Program
from trtnn.ops.masks import depends_on_data
from trtnn.ops.op import Op, Spec, has_sizes, sizes_in
from trtnn.saved.graphs import with_tuple
from trtnn.sizes.dims import Dim, Expr, replaced, symbols
from trtnn.sizes.solutions import bind_dims


@dataclass(frozen=True, eq=False)
class Part:
    """Some nodes of a graph as a graph, and what it is given: tensors, then host inputs."""

    graph: Graph
    inputs: tuple[torch.Tensor, ...]
    hosts: tuple[int, ...] = ()


class Cutter:
    """Cuts parts out of a graph.

    What a part needs and does not make is an input of it, with the value of the call; what others
    need of it, or the graph returns, is an output. What follows from constants alone is always
    made: weights that are rounded to 8 bits must not become inputs.

    Args:
        values: All values of one call.
        hosts: Its host inputs.
        fixed: Whether sizes are the call's, as ints; else they stay as they are declared, and a
            Dim that no input of a part tells becomes a host input.
    """

    def __init__(
        self,
        graph: Graph,
        values: Mapping[Value, torch.Tensor],
        hosts: Sequence[int],
        *,
        fixed: bool,
    ) -> None:
        self.graph, self.values, self.fixed = graph, values, fixed
        self.maker = {value: i for i, node in enumerate(graph.nodes) for value in node.outputs}
        self.sizes = bind_dims(graph, [tuple(values[v].shape) for v in graph.inputs], None, hosts)
        self.counts: dict[str, int] = {}  # the nodes that make sizes of their own
        for i, node in enumerate(graph.nodes):
            if hasattr(node.op, "bind_sizes"):
                counted = node.op.bind_sizes([values[v] for v in node.outputs])
                self.sizes.update(counted)
                self.counts.update(dict.fromkeys(counted, i))
        moving = set(graph.inputs)
        for node in graph.nodes:
            counted = depends_on_data(*sizes_in(tuple(vars(node.op).values())))
            if counted or not moving.isdisjoint(node.inputs):
                moving.update(node.outputs)
        self.moving = moving

    def part(self, places: Collection[int]) -> Part | None:
        """Return the nodes at some places as a graph; None where nothing of it moves."""
        whole = self._closed(places)
        nodes = [self.graph.nodes[i] for i in sorted(whole)]
        made = {value for node in nodes for value in node.outputs}
        outputs = self._outputs(nodes, made, whole)
        if not outputs:
            return None
        constants = self.graph.constants
        needed = dict.fromkeys(v for node in nodes for v in node.inputs if v not in made)
        cut = _Cut(self, {n: s for n, s in self.sizes.items() if self._known(n, whole)})
        given = [value for value in needed if value not in constants]
        for index, value in enumerate(given):
            cut.enter(value, f"input_{index}")
        kept = {v: self._constant(v) for v in needed if v in constants}
        copied = tuple(map(cut.node, nodes))
        inputs = tuple(cut.values[v] for v in given)
        formats = {cut.values[v].name: f for v in given if (f := self.graph.formats.get(v.name))}
        results = tuple(cut.values[v] for v in outputs)
        graph = Graph(inputs, copied, results, kept, formats=formats, program=Program())
        dims = dims_of(graph)
        told = {s.name for v in inputs for size in v.spec.shape for s in _plain(size)}
        hosts = {dim.name: dim for dim in dims if dim.name not in told}
        graph = with_tuple(replace(graph, dims=dims, hosts=hosts))
        tensors = tuple(self.values[v] for v in given)
        return Part(graph, tensors, tuple(self.sizes[name] for name in hosts))

    def _constant(self, value: Value) -> Constant:
        """Return a constant by itself, under the first key of the state that it follows from."""
        constant, program = self.graph.constants[value], self.graph.program
        follows = constant.key is None and constant.slot is not None
        key = program.key_of(constant.slot) if follows else constant.key  # type: ignore[arg-type]
        return Constant(constant.tensor.detach(), key)

    def _known(self, name: str, places: Collection[int]) -> bool:
        """Say whether a size is put in as the int that it was."""
        return self.counts[name] not in places if name in self.counts else self.fixed

    def _closed(self, places: Collection[int]) -> set[int]:
        """Return places with those that make what follows from constants alone."""
        closed, waiting = set[int](), list(places)
        while waiting:
            place = waiting.pop()
            if place in closed:
                continue
            closed.add(place)
            needed = (v for v in self.graph.nodes[place].inputs if v not in self.moving)
            waiting += (self.maker[v] for v in needed if v in self.maker)
        return closed

    def _outputs(
        self, nodes: Sequence[Node], made: Collection[Value], places: Collection[int]
    ) -> list[Value]:
        """Return what a part gives: the graph's own outputs first."""
        others = [n for i, n in enumerate(self.graph.nodes) if i not in places]
        used = {value for node in others for value in node.inputs}
        own = [value for value in self.graph.outputs if value in made]
        cut = [v for node in nodes for v in node.outputs if v in used and v in self.moving]
        return list(dict.fromkeys(own + cut))


class _Cut:
    """One part on its way: old values and what they are in it."""

    def __init__(self, cutter: Cutter, sizes: Mapping[str, int]) -> None:
        self.sizes = sizes
        self.values: dict[Value, Value] = {v: v for v in cutter.graph.constants}

    def enter(self, value: Value, name: str) -> None:
        shape = tuple(replaced(size, self.sizes) for size in value.spec.shape)
        self.values[value] = Value(name, Spec(shape, value.spec.dtype))

    def node(self, node: Node) -> Node:
        op, inputs = self._op(node.op), tuple(self.values[v] for v in node.inputs)
        specs = as_tuple(op.infer(*(v.spec for v in inputs)))
        outputs = tuple(Value(v.name, s) for v, s in zip(node.outputs, specs, strict=True))
        self.values.update(zip(node.outputs, outputs, strict=True))
        return Node(op, inputs, outputs, replace(node.origin, source=None))

    def _op(self, op: Op) -> Op:
        named = {f.name: getattr(op, f.name) for f in fields(op)}
        changed = {name: self._put(field) for name, field in named.items() if has_sizes(field)}
        return replace(op, **changed) if changed else op

    def _put(self, field: Any) -> Any:
        if isinstance(field, tuple):
            return tuple(map(self._put, field))
        return replaced(field, self.sizes) if isinstance(field, Expr) else field


def dims_of(graph: Graph) -> tuple[Dim, ...]:
    """Return the declared Dims of all sizes in a graph, by name."""
    sizes = [size for value in graph.values() for size in value.spec.shape]
    sizes += [s for node in graph.nodes for s in sizes_in(tuple(vars(node.op).values()))]
    found = {s.name: s for size in sizes for s in symbols(size) if s.declared}
    return tuple(Dim(name, profiles=found[name].profiles) for name in sorted(found))


def _plain(size: Any) -> tuple[Any, ...]:
    """Return the symbol that a size is; none where it is an expression, or an int."""
    return symbols(size) if isinstance(size, Expr) and size.sym.is_Symbol else ()
