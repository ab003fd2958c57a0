"""What is computed in float64, which no TensorRT has: refused, or computed in float32."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any

import torch

from trtnn.errors import UnsupportedError
from trtnn.graph import passes
from trtnn.graph.graph import Graph, Node, Value, all_nodes, as_tuple, graphs_in
from trtnn.graph.passes.rewriter import Rewriter
from trtnn.ops.arithmetic import Cast
from trtnn.ops.op import Op

DOUBLE, SINGLE = torch.float64, torch.float32
MOST = {dtype: torch.finfo(dtype).max for dtype in (DOUBLE, SINGLE)}
HINT = (
    'compile with trtnn.Precision(float64="float32"), which computes in float32 what is float64, '
    "or use torch.float32"
)


@dataclass(frozen=True)
class Narrowed:
    """A graph without float64 but at its border, where TensorRT takes and gives float32.

    Attributes:
        values: What became of values, where they are others now.
        nodes: Those that were computed in float64.
    """

    graph: Graph
    values: Mapping[Value, Value] = field(default_factory=dict)
    nodes: tuple[Node, ...] = ()


class WithoutDouble:
    """A target that has every type but one."""

    @staticmethod
    def has_dtype(name: str) -> bool:
        return name != "float64"


def narrowed(graph: Graph, wanted: str) -> Narrowed:
    """Return ``graph`` computed in float32 where it is computed in float64.

    A constant of float64 that is only moved and cast is known in float64, and rounded once.

    Args:
        wanted: ``"float32"``, or ``"error"``: nothing may be computed in float64.

    Raises:
        UnsupportedError: Something is, or a constant is beyond float32; it names the line.
    """
    _refuse_held(graph)
    if all(value.spec.dtype != DOUBLE for value in graph.values()):
        return Narrowed(graph)
    known = passes.cast_constants(graph, WithoutDouble)
    if wanted == "error":
        _refuse(known)
        return Narrowed(graph)
    return _Narrowing(known).run()


def _refuse_held(graph: Graph) -> None:
    """Refuse float64 in a branch or in the body of a loop, whatever is wanted."""
    for outer in graph.nodes:
        for node in (n for inner in graphs_in(outer.op) for n in all_nodes(inner)):
            if has_double(node):
                raise UnsupportedError(
                    f"TensorRT has no float64, which {node.label} takes or gives in {outer.label}",
                    hint="use torch.float32 in branches and loops",
                    where=node.origin.source,
                )


def _refuse(graph: Graph) -> None:
    for value in graph.inputs:
        if value.spec.dtype == DOUBLE:
            raise UnsupportedError(
                f"TensorRT has no float64, which the input {value.name} is", hint=HINT
            )
    for node in graph.nodes:
        if has_double(node):
            raise UnsupportedError(
                f"TensorRT has no float64, which {node.label} takes or gives",
                hint=HINT,
                where=node.origin.source,
            )
    for index, value in enumerate(graph.outputs):
        if value.spec.dtype == DOUBLE:
            raise UnsupportedError(f"TensorRT has no float64, which output {index} is", hint=HINT)


def has_double(node: Node) -> bool:
    """Say whether a node takes or gives float64."""
    return any(value.spec.dtype == DOUBLE for value in (*node.inputs, *node.outputs))


class _Narrowing:
    def __init__(self, graph: Graph) -> None:
        self.graph, self.rewriter = graph, Rewriter(graph)
        self.nodes: list[Node] = []
        self.single: dict[Value, Value] = {}

    def run(self) -> Narrowed:
        rewriter = self.rewriter
        for value in self.graph.inputs:
            if value.spec.dtype == DOUBLE:
                self.single[value] = rewriter.record(Cast(SINGLE), (value,))._trtnn_value
        for node in self.graph.nodes:
            if has_double(node):
                self._node(node)
            else:
                rewriter.keep(node)
        values = {**rewriter.replaced, **self.single}
        for value in dict.fromkeys(self.graph.outputs):
            if value.spec.dtype == DOUBLE:
                wide = rewriter.record(Cast(DOUBLE), (self._in(value),))
                rewriter.replaced[value] = wide._trtnn_value
        graph = rewriter.finish()
        graph.check()
        return Narrowed(graph, values, tuple(self.nodes))

    def _node(self, node: Node) -> None:
        rewriter = self.rewriter
        rewriter.origin = node.origin
        inputs = [self._in(value) for value in node.inputs]
        op = in_single(node)
        if isinstance(op, Cast) and inputs[0].spec.dtype == op.dtype:
            self._define(node.outputs[0], inputs[0])
            return
        count = len(rewriter.nodes)
        for before, after in zip(node.outputs, as_tuple(rewriter.record(op, inputs)), strict=True):
            self._define(before, after._trtnn_value)
        self.nodes += rewriter.nodes[count:]

    def _define(self, before: Value, after: Value) -> None:
        known = self.single if before.spec.dtype == DOUBLE else self.rewriter.replaced
        known[before] = after

    def _in(self, value: Value) -> Value:
        """Return a value as it is now: float32 where it was float64."""
        if value.spec.dtype == DOUBLE and value not in self.single:
            self.single[value] = self.rewriter.compute(rounded, value)
        return self.single.get(value, self.rewriter.value(value))


def rounded(constant: torch.Tensor) -> torch.Tensor:
    """Return a constant of float64 in float32; of ``finfo.min``, as masks have it, that part.

    Raises:
        UnsupportedError: Another finite entry would be infinite.
    """
    bound = constant.isfinite() & (constant.abs() >= MOST[DOUBLE] / 2)
    found = torch.where(bound, constant / MOST[DOUBLE] * MOST[SINGLE], constant).to(SINGLE)
    lost = constant.isfinite() & ~found.isfinite()
    if lost.any():
        raise _beyond(float(constant[lost][0]))
    return found


def in_single(node: Node) -> Op:
    """Return an op that gives float32 where it gave float64.

    Raises:
        UnsupportedError: It holds a number that would be infinite.
    """
    told: dict[str, Any] = {f.name: getattr(node.op, f.name) for f in fields(node.op)}
    changed: dict[str, Any] = {name: SINGLE for name, v in told.items() if v is DOUBLE}
    if not changed:
        return node.op
    for name, number in told.items():
        if isinstance(number, float):
            try:
                changed[name] = float(rounded(torch.tensor(number, dtype=DOUBLE)))
            except UnsupportedError as error:
                raise UnsupportedError(error.message, where=node.origin.source) from None
    return replace(node.op, **changed)


def _beyond(number: float) -> UnsupportedError:
    return UnsupportedError(f"TensorRT has no float64, and the constant {number:g} needs it")
