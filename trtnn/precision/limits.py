"""What 16 bits cannot hold: constants, masks, and values whose ranges are known."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from trtnn.graph.graph import Graph, Node, Value
from trtnn.ops.arithmetic import Elementwise, Scaled, Select
from trtnn.ops.reduction import Softmax
from trtnn.precision.kinds import MOVES, Kinds, floats, name_of
from trtnn.precision.policy import Precision

HALF = torch.finfo(torch.float16)
LARGE = 32768.0  # a value that comes near 65504, which is infinity in float16 one step on
SMALL = HALF.smallest_normal  # below it entries lose bits; a value that has no greater one is lost
ADDED = frozenset(("SUM", "SUB", "PROD", "MIN", "MAX"))


def greatest(tensor: torch.Tensor) -> float:
    """Return the greatest finite absolute entry."""
    if not tensor.numel():
        return 0.0
    low, high = (float(end) for end in tensor.detach().aminmax())
    if low - low == 0 == high - high:  # both are finite, and NaN is among neither
        return max(-low, high)
    finite = tensor.detach()[tensor.isfinite()]
    return float(finite.abs().max()) if finite.numel() else 0.0


def too_large(graph: Graph, node: Node, low: torch.dtype, masks: frozenset[Value]) -> bool:
    """Say whether a node has a constant that float16 does not hold, and that is no mask's.

    A product with one number is not meant: it is computed in float32 on its own.
    """
    if low != torch.float16:
        return False
    scales = name_of(node) in ("Elementwise PROD", "Elementwise DIV")
    for value in floats(node.inputs):
        constant = graph.constants.get(value)
        if constant is None or value in masks or (scales and constant.tensor.numel() == 1):
            continue
        if greatest(constant.tensor) > HALF.max:
            return True
    return False


def masks_of(graph: Graph) -> frozenset[Value]:
    """Return the constants beyond float16 that reach nothing but softmaxes, by sums and choices.

    These are the ``finfo.min`` of masks; a bound that float16 holds does the same.
    """
    users: dict[Value, list[Node]] = {}
    for node in graph.nodes:
        for value in node.inputs:
            users.setdefault(value, []).append(node)

    def ends_in_softmax(value: Value, seen: set[Value]) -> bool:
        if value in seen:
            return True
        seen.add(value)
        after = users.get(value, [])
        return (
            bool(after)
            and value not in graph.outputs
            and all(
                isinstance(node.op, Softmax)
                or (_passes(node) and all(ends_in_softmax(out, seen) for out in node.outputs))
                for node in after
            )
        )

    return frozenset(
        value
        for value in floats(graph.constants)
        if greatest(graph.constants[value].tensor) > HALF.max and ends_in_softmax(value, set())
    )


def _passes(node: Node) -> bool:
    kind = getattr(node.op, "kind", None)
    adds = isinstance(node.op, (Elementwise, Scaled)) and kind in ADDED
    return adds or isinstance(node.op, (Select, *MOVES))


def outside(
    graph: Graph, precision: Precision, kinds: Kinds, ranges: Mapping[Value, float]
) -> dict[Node, str]:
    """Return the nodes whose values leave float16, with the reason."""
    if precision.low != torch.float16:
        return {}
    found: dict[Node, str] = {}
    for node in graph.nodes:
        for value in floats((*node.inputs, *node.outputs)):
            most = ranges.get(value)
            if most is None or value in graph.constants or kinds.of[node] == "wide":
                continue
            if most > LARGE:
                found.setdefault(node, f"values up to {most:.3g}")
            elif 0 < most < SMALL:
                found.setdefault(node, f"no value above {most:.3g}")
    return found
