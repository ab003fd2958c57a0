"""What a precision says and a module does not do, or the reverse: words for the report."""

from __future__ import annotations

from collections import Counter

import torch

from trtnn.errors import PrecisionWarning
from trtnn.graph.graph import Graph
from trtnn.graph.passes.products import adds_in_float32, low_products
from trtnn.ops.arithmetic import HALVES, Cast
from trtnn.precision.doubles import has_double
from trtnn.precision.policy import Precision
from trtnn.precision.typing import Typed
from trtnn.source import warn_user
from trtnn.trt.target import Target


def unasked(typed: Typed, precision: Precision) -> tuple[str, ...]:
    """Return what is computed in another type than the first word of a precision says.

    16 bits that the module has itself stay as they are typed, with each word; what is float64 is
    computed in float32 where the precision says so.
    """
    told = []
    for dtype, count in left_as_typed(typed, precision).items():
        name = str(dtype).removeprefix("torch.")
        told.append(
            f"{name}: {count} ops stay as the module is typed with precision={precision.dtype!r}; "
            "module.float() lets it decide"
        )
    if precision.float64 == "float32" and (count := sum(map(has_double, typed.source.nodes))):
        told.append(f"float64: {count} ops are computed in float32")
    return tuple(told)


def sums(graph: Graph, target: Target, accumulate: str | None) -> tuple[str, ...]:
    """Return in what the linear layers of a typed graph add up on a TensorRT."""
    count = len(low_products(graph))
    if not count:
        return ()
    how = "as TensorRT chooses, perhaps in 16 bits"
    if adds_in_float32(target, accumulate):
        how = "in float32" if target.strongly_typed else "in float32, in which they are computed"
    return (f"accumulate={accumulate!r}: {count} products of 16 bits add up {how}",)


def left_as_typed(typed: Typed, precision: Precision) -> Counter[torch.dtype]:
    """Return how many ops have 16 bits of the module's own, which a precision does not ask for."""
    nodes = [choice.node for choice in typed.choices if choice.dtype is None]
    found: Counter[torch.dtype] = Counter()
    for node in nodes if typed.choices else typed.source.nodes:
        kinds = {value.spec.dtype for value in (*node.inputs, *node.outputs)} & HALVES
        if not isinstance(node.op, Cast):
            found.update(kinds - {precision.low})
    return found


def warn_of_halves(typed: Typed, precision: Precision) -> None:
    """Warn where a word was given that asks for other types than the module has itself.

    ``"tf32"`` is what nobody has to say, and speaks of float32 alone.
    """
    if precision.dtype != "tf32" and left_as_typed(typed, precision):
        warn_user(f"precision: {unasked(typed, precision)[0]}", PrecisionWarning)
