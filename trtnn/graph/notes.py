"""What a graph's user may want to know: choices that cost speed, with what to do about them."""

from __future__ import annotations

from dataclasses import replace

from trtnn.graph.graph import Graph, Node, Value
from trtnn.ops.arithmetic import Elementwise, Scaled, Select
from trtnn.ops.attention import Attention
from trtnn.ops.matrix import MatrixMultiply
from trtnn.ops.movement import Expand, Shuffle
from trtnn.ops.reduction import Softmax
from trtnn.sizes.dims import Size, symbols


def noted(graph: Graph) -> Graph:
    """Return ``graph`` with a note for each Dim that an attention's sequence has a range in."""
    dims = {dim.name: dim for dim in graph.dims}
    makers = {value: node for node in graph.nodes for value in node.outputs}
    names = {
        symbol.name: None
        for node in graph.nodes
        for size in _sequence(node, makers)
        for symbol in symbols(size)
    }
    ranged = [
        dims[name]
        for name in names
        if name in dims and any(low < high for low, _, high in dims[name].profiles)
    ]
    notes = tuple(
        f"attention over the dynamic size {dim.name}: for static kernels at a few lengths, declare "
        f'Dim("{dim.name}", profiles=[({dim.opt}, {dim.opt}, {dim.opt}), ...])'
        for dim in ranged
    )
    return replace(graph, notes=(*graph.notes, *notes)) if notes else graph


def _sequence(node: Node, makers: dict[Value, Node]) -> list[Size]:
    """Return the number of keys that a node attends to, if it is an attention's softmax."""
    if isinstance(node.op, Attention):
        return [node.inputs[1].spec.shape[-2]]
    if isinstance(node.op, Softmax) and _from_product(node.inputs[0], makers):
        return [node.inputs[0].spec.shape[node.op.axis]]
    return []


def _from_product(value: Value, makers: dict[Value, Node], steps: int = 6) -> bool:
    """Say whether scores come from a product of matrices, perhaps scaled and masked."""
    node = makers.get(value)
    if node is None or not steps:
        return False
    if isinstance(node.op, (Elementwise, Scaled, Select, Shuffle, Expand)):
        return any(_from_product(v, makers, steps - 1) for v in node.inputs)
    return isinstance(node.op, MatrixMultiply)
