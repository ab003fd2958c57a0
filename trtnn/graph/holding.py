"""``Holder``: an op that holds graphs, and such a graph on its own for a while.

The graphs of one op take the same inputs: their ``own`` first, then ``captured`` values of the
graph around them, constants among these, which the op has as operands. So a graph that is held has
no constants and no state; while a pass works on it, it has those of the graph around it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch

from trtnn.errors import GraphError
from trtnn.graph.graph import Graph, Node, Value, graphs_in
from trtnn.ops.op import Op

Run = Callable[[Graph, Sequence[torch.Tensor]], list[torch.Tensor]]
"""Computes a held graph: its outputs, for its inputs."""


@dataclass(frozen=True, repr=False)
class Holder(Op):
    """Base of the ops that hold graphs.

    ``lead`` operands are the op's own; the others are what its graphs captured.
    """

    stays: ClassVar[bool] = True

    @property
    def own(self) -> int:
        """How many inputs of its graphs are not captured."""
        raise NotImplementedError

    @property
    def lead(self) -> int:
        raise NotImplementedError

    def reference(self, run: Run, *tensors: torch.Tensor) -> Any:
        """Return what the op gives, its graphs computed by ``run``."""
        raise NotImplementedError

    def holding(self, graphs: Sequence[Graph]) -> Holder:
        """Return the op with other graphs, in order."""
        names = [f.name for f in dataclasses.fields(self) if is_graph(getattr(self, f.name))]
        return replace(self, **dict(zip(names, graphs, strict=True)))

    def keeping(self, wanted: Sequence[bool]) -> tuple[Holder, Sequence[bool]]:
        """Return the op without results that nothing wants, and which results it has left."""
        raise NotImplementedError

    def require_captured(self, captured: Sequence[Any]) -> None:
        """Raise GraphError unless operands are what the graphs take; check the graphs too."""
        for graph in graphs_in(self):
            wanted = [value.spec for value in graph.inputs[self.own :]]
            if graph.constants or wanted != list(captured):
                raise GraphError(f"{self.name}: captures {wanted}, is given {list(captured)}")
            graph.check()


def is_graph(field: Any) -> bool:
    return isinstance(field, Graph)


def drop_unused(graph: Graph) -> Graph:
    """Return ``graph`` without results of its holders that nothing uses, nor what computes them."""
    uses, nodes = graph.uses(), []
    for node in graph.nodes:
        op = node.op
        if isinstance(op, Holder) and any(value not in uses for value in node.outputs):
            captured = graphs_in(op)[0].inputs[op.own :]
            around = dict(zip(captured, node.inputs[op.lead :], strict=True))
            less, left = op.keeping([value in uses for value in node.outputs])
            lead, node = node.inputs[: op.lead], replace(node, outputs=only(node.outputs, left))
            node = held_by(less, [held.live() for held in graphs_in(less)], lead, around, node)
        nodes.append(node)
    return replace(graph, nodes=tuple(nodes)).live()


def only(items: Sequence[Any], wanted: Sequence[bool]) -> tuple[Any, ...]:
    """Return those of some items that are wanted."""
    return tuple(item for item, kept in zip(items, wanted, strict=True) if kept)


def map_held(graph: Graph, function: Callable[[Graph], Graph]) -> Graph:
    """Return ``graph`` with ``function`` applied to each graph that one of its ops holds.

    The function gets it with the constants that it captured as constants of its own.
    """
    if not any(graphs_in(node.op) for node in graph.nodes):
        return graph
    nodes = []
    for node in graph.nodes:
        if graphs_in(node.op):
            graph, node = _mapped(graph, node, function)
        nodes.append(node)
    return replace(graph, nodes=tuple(nodes)).live()


def _mapped(graph: Graph, node: Node, function: Callable[[Graph], Graph]) -> tuple[Graph, Node]:
    op = node.op
    assert isinstance(op, Holder)
    around = dict(zip(graphs_in(op)[0].inputs[op.own :], node.inputs[op.lead :], strict=True))
    program, made = graph.program, list[Graph]()
    for held in graphs_in(op):
        known = {v: graph.constants[w] for v, w in around.items() if w in graph.constants}
        free = tuple(v for v in held.inputs if v not in known)
        alone = replace(held, inputs=free, constants=known, program=replace(program, whole=True))
        made.append(function(alone))
        program = replace(made[-1].program, whole=graph.program.whole)
    constants = {v: c for held in made for v, c in held.constants.items() if v not in around}
    around.update((value, value) for value in constants)
    graph = replace(graph, constants={**graph.constants, **constants}, program=program)
    return graph, held_by(op, made, node.inputs[: op.lead], around, node)


def held_by(
    op: Holder, graphs: Sequence[Graph], lead: Sequence[Value], around: Any, node: Node
) -> Node:
    """Return the node of an op with these graphs, which capture what they use and no more.

    Args:
        graphs: They share the values that they capture.
        lead: The op's own operands.
        around: What each captured value is in the graph around.
        node: What it stands for: its outputs and origin.
    """
    own = [graph.inputs[: op.own] for graph in graphs]
    captured = captured_by(graphs, own)
    closed = [
        replace(g, inputs=(*mine, *captured), constants={}, program=type(g.program)())
        for g, mine in zip(graphs, own, strict=True)
    ]
    inputs = (*lead, *(around.get(value, value) for value in captured))
    return replace(node, op=op.holding(closed), inputs=inputs)


def captured_by(graphs: Sequence[Graph], own: Sequence[Sequence[Value]]) -> list[Value]:
    """Return the values that graphs use and do not define, ``own`` inputs aside, each once."""
    found: dict[Value, None] = {}
    for graph, mine in zip(graphs, own, strict=True):
        defined = {*mine}
        for node in graph.nodes:
            found.update((v, None) for v in node.inputs if v not in defined)
            defined.update(node.outputs)
        found.update((v, None) for v in graph.outputs if v not in defined)
    return list(found)
