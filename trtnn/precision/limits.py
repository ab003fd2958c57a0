"""What 16 bits cannot hold: constants, masks, and values whose ranges are known."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from trtnn.graph.graph import Graph, Node, Value
from trtnn.ops.arithmetic import Cast, Elementwise, Scaled, Select
from trtnn.ops.creation import Full
from trtnn.ops.reduction import Softmax
from trtnn.precision.kinds import MOVES, Kinds, floats, name_of

HALF = torch.finfo(torch.float16)
LARGE = 32768.0  # a value that comes near 65504, which is infinity in float16 one step on
SMALL = HALF.smallest_normal  # below it entries lose bits; a value that has no greater one is lost
MOST = {torch.float16: 30000.0, torch.bfloat16: 1e38}
"""The bound of a mask: twice that is finite too."""
ADDED = frozenset(("SUM", "SUB", "MIN", "MAX"))
FACTORS = ("Elementwise PROD", "Elementwise DIV")


def greatest(tensor: torch.Tensor) -> float:
    """Return the greatest finite absolute entry."""
    if not tensor.numel():
        return 0.0
    low, high = (float(end) for end in tensor.detach().aminmax())
    if low - low == 0 == high - high:  # both are finite, and NaN is among neither
        return max(-low, high)
    finite = tensor.detach()[tensor.isfinite()]
    return float(finite.abs().max()) if finite.numel() else 0.0


def factor_of(graph: Graph, node: Node, low: torch.dtype, masks: Masks) -> float | None:
    """Return the number that a product has beside it, where 16 bits do not hold it.

    Such a product is computed in float32 on its own, and rounded once.
    """
    constant = graph.constants.get(node.inputs[1]) if name_of(node) in FACTORS else None
    if constant is None or constant.slot is not None or constant.tensor.numel() != 1:
        return None
    if node.inputs[1] in masks.values:
        return None
    if node.inputs[1].spec.rank > node.inputs[0].spec.rank:
        return None
    number, limits = float(constant.tensor), torch.finfo(low)
    fits = number == 0 or limits.smallest_normal <= abs(number) <= limits.max
    return None if fits or number - number != 0 else number


def unfit(graph: Graph, node: Node, low: torch.dtype, masks: Masks) -> bool:
    """Say whether a node has a constant that float16 makes infinite or 0, and that is no mask's."""
    if low != torch.float16 or factor_of(graph, node, low, masks) is not None:
        return False
    for value in floats(node.inputs):
        constant = graph.constants.get(value)
        if constant is None or value in masks.values:
            continue
        most = greatest(constant.tensor)
        if most > HALF.max or 0 < most <= HALF.smallest_normal * HALF.eps / 2:
            return True
    return False


class Masks:
    """Values that hold the ``finfo.min`` of masks, and reach nothing but softmaxes.

    A bound that 16 bits hold does the same: it is put where they are cast to 16 bits.
    """

    def __init__(self, kinds: Kinds) -> None:
        self.graph, self.makers, self.users = kinds.graph, kinds.maker, kinds.users
        graph = self.graph
        self.values: set[Value] = set()
        sources = [v for v in floats(graph.constants) if self._is_least(v)]
        sources += [n.outputs[0] for n in graph.nodes if isinstance(n.op, Full) and _is_low(n.op)]
        sources += floats(graph.inputs)
        for value in sources:
            reached: set[Value] = set()
            if self._ends_in_softmax(value, reached):
                self.values |= reached

    def _is_least(self, value: Value) -> bool:
        tensor = self.graph.constants[value].tensor
        most = greatest(tensor)
        return most > HALF.max and not bool((tensor > HALF.max).any())

    def _ends_in_softmax(self, value: Value, reached: set[Value]) -> bool:
        if value in reached:
            return True
        reached.add(value)
        after = self.users.get(value, [])
        if not after or value in self.graph.outputs:
            return False
        return all(
            isinstance(node.op, Softmax)
            or (
                self._passes(node, value)
                and all(self._ends_in_softmax(out, reached) for out in node.outputs)
            )
            for node in after
        )

    def _passes(self, node: Node, value: Value) -> bool:
        kind = getattr(node.op, "kind", None)
        if isinstance(node.op, Elementwise) and kind == "PROD":  # of what says where, 0 or 1
            other = node.inputs[1] if node.inputs[0] is value else node.inputs[0]
            return self._says_where(other)
        adds = isinstance(node.op, (Elementwise, Scaled)) and kind in ADDED
        return adds or isinstance(node.op, (Select, *MOVES))

    def _says_where(self, value: Value) -> bool:
        """Say whether a value comes of integers, constants and inputs, by what changes little."""
        node = self.makers.get(value)
        if node is None:
            return True
        if isinstance(node.op, Cast) and not floats(node.inputs):
            return True
        small = isinstance(node.op, (Elementwise, *MOVES))
        return small and all(self._says_where(v) for v in floats(node.inputs))


def _is_low(op: Full) -> bool:
    return op.dtype == torch.float32 and float(op.value) < -HALF.max


def outside(
    graph: Graph, kinds: Kinds, masks: Masks, ranges: Mapping[Value, float]
) -> dict[Node, str]:
    """Return the nodes whose values leave float16, with the reason."""
    found: dict[Node, str] = {}
    for node in graph.nodes:
        for value in floats((*node.inputs, *node.outputs)):
            most = ranges.get(value)
            if most is None or value in graph.constants or value in masks.values:
                continue
            if kinds.of[node] == "wide":
                continue
            if most > LARGE:
                found.setdefault(node, f"values up to {most:.3g}")
            elif 0 < most < SMALL:
                found.setdefault(node, f"no value above {most:.3g}")
    return found
