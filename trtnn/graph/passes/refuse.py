"""Refuse what a TensorRT cannot combine, at the user's line, before it fails without one."""

from __future__ import annotations

from typing import Any

from trtnn.errors import UnsupportedError
from trtnn.graph.graph import Graph, Node
from trtnn.ops.masks import depends_on_data
from trtnn.ops.op import sizes_in

# Seen to build and to run on 8.6.0 with sizes that depend on data. A sum over them fails when it
# runs ("without resolved dynamic shapes"), a fill of as many entries when it is built.
TAKES_DATA = frozenset(
    "Activation Cast Concat Elementwise Expand Gather GatherND Identity NMS NonZero Not "
    "Place Scaled Select Shuffle Slice Unary".split()
)

MAKES_DATA = {
    "NonZero": ("non_zero", "nonzero, masked_select and x[mask]", "keep all entries"),
    "NMS": ("nms", "nms", "give all boxes with their scores"),
}


def refuse_data(graph: Graph, target: Any) -> None:
    """Raise UnsupportedError where an op makes or takes a size that depends on data, and cannot.

    TensorRT for RTX makes none. 8.6 makes them, and few ops take them; later versions document no
    such limit, and strong typing tells them apart.
    """
    for node in graph.nodes:
        layer, calls, instead = MAKES_DATA.get(node.op.name, ("", "", ""))
        if layer and layer not in target.layers:
            raise UnsupportedError(
                f"{target.name} has no {node.op.name}: no size can depend on data, as of {calls}",
                hint=f'TensorRT itself has it: backend="tensorrt"; or {instead}, with torch.where',
                where=node.origin.source,
            )
    if target.strongly_typed:
        return
    for node in graph.nodes:
        if node.op.name not in TAKES_DATA and depends_on_data(*_sizes(node)):
            raise UnsupportedError(
                f"{node.op.name} of a size that depends on data: {target.name} cannot combine them",
                hint="return the picked entries, and go on in PyTorch or in a second model",
                where=node.origin.source,
            )


def _sizes(node: Node) -> list[Any]:
    """Return the sizes of a node's operands and results, and in its op."""
    shapes = [size for v in (*node.inputs, *node.outputs) for size in v.spec.shape]
    return [*shapes, *sizes_in(tuple(vars(node.op).values()))]
