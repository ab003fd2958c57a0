"""Laws of attention."""

from __future__ import annotations

from itertools import product
from typing import Any

from tests.double.lab import Lab, put
from tests.double.laws.law import FLOATS, Laws, bound, each, joined

Shape = tuple[int, ...]
# Name to the shapes of query, key and value.
FORMS: dict[str, tuple[Shape, Shape, Shape]] = {
    "same": ((1, 2, 3, 4), (1, 2, 5, 4), (1, 2, 5, 4)),
    "wider value": ((1, 2, 3, 4), (1, 2, 5, 4), (1, 2, 5, 6)),
    "gqa": ((1, 4, 3, 8), (1, 2, 5, 8), (1, 2, 5, 8)),
    "gqa by one": ((1, 4, 3, 8), (1, 1, 5, 8), (1, 1, 5, 8)),
    "batch broadcast": ((2, 2, 3, 4), (1, 2, 5, 4), (1, 2, 5, 4)),
    "head size 1": ((1, 2, 3, 1), (1, 2, 5, 1), (1, 2, 5, 1)),
    "head size 64": ((1, 2, 3, 64), (1, 2, 5, 64), (1, 2, 5, 64)),
    "head size 300": ((1, 2, 3, 300), (1, 2, 5, 300), (1, 2, 5, 300)),
    "one query": ((1, 2, 1, 4), (1, 2, 5, 4), (1, 2, 5, 4)),
}
WRONG: dict[str, tuple[Shape, Shape, Shape]] = {
    "width of key": ((1, 2, 3, 4), (1, 2, 5, 6), (1, 2, 5, 6)),
    "heads": ((1, 3, 3, 4), (1, 2, 5, 4), (1, 2, 5, 4)),
    "length of value": ((1, 2, 3, 4), (1, 2, 5, 4), (1, 2, 6, 4)),
    "rank": ((2, 3, 4), (2, 5, 4), (2, 5, 4)),
}
MASKS: tuple[Shape, ...] = (
    (1, 2, 3, 5),
    (1, 1, 3, 5),
    (1, 1, 1, 5),
    (1, 1, 1, 1),
    (1, 2, 3, 1),
)


def attention(
    t: Lab, shapes: tuple[Shape, Shape, Shape], dtype: str, *, causal: bool, decomposable: bool
) -> Any:
    three = [t.input(shape, dtype) for shape in shapes]
    kind = t.trt.AttentionNormalizationOp.SOFTMAX
    return put(t.net.add_attention(*three, kind, causal), decomposable=decomposable)


def forms() -> Laws:
    every = product(FORMS.items(), ("", "causal "), FLOATS, (False, True))
    return {
        f"attention {causal}{name} {dtype} decomposable={split}": bound(
            attention, shapes, dtype, causal=bool(causal), decomposable=split
        )
        for (name, shapes), causal, dtype, split in every
    }


def masked(t: Lab, dtype: str, mask: str, shape: Shape, *, causal: bool = False) -> Any:
    layer = attention(t, FORMS["same"], dtype, causal=causal, decomposable=True)
    return put(layer, mask=t.input(shape, mask))


def masks() -> Laws:
    every = product(("FLOAT", "HALF"), ("BOOL", "FLOAT", "HALF", "BF16", "INT32"), MASKS)
    return {
        f"attention {dtype} mask {mask} {shape}": bound(masked, dtype, mask, shape)
        for dtype, mask, shape in every
    }


LAWS: Laws = joined(
    forms(),
    masks(),
    each(
        "attention of another",
        WRONG,
        lambda t, name: attention(t, WRONG[name], "HALF", causal=False, decomposable=True),
    ),
    each(
        "attention of",
        ("INT8", "INT32", "INT64", "BOOL", "UINT8"),
        lambda t, d: attention(t, FORMS["same"], d, causal=False, decomposable=True),
    ),
    each(
        "attention mask of shape",
        ((3, 5), (1, 2, 3, 4), (1, 2, 5, 3), (2, 2, 3, 5)),
        lambda t, shape: masked(t, "HALF", "BOOL", shape),
    ),
    {
        "attention causal and masked": lambda t: masked(t, "HALF", "BOOL", MASKS[0], causal=True),
    },
)
