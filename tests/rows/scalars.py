"""Rows of 16-bit floats beside numbers that they do not hold, and of the masks that need them."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F

from tests.rows import B, Row, S, T
from trtnn.errors import DTypeError

HALF, BF16, BOOL, LONG = torch.float16, torch.bfloat16, torch.bool, torch.int64
TYPES = (torch.float32, HALF)
# Beyond half, below its normal numbers, and rounded by it.
NUMBERS = (0.1, -1e9, 1e5, 70000, 1e-9, 2049, float(torch.finfo(torch.float32).min))


def label(function: Any) -> str:
    return str(getattr(function, "__name__", function))


def masked(x: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """The mask of BERT, GPT-2 and T5 as their authors wrote it."""
    return torch.softmax(x + (1.0 - mask.to(x.dtype)) * -1e9, -1)


def reversed_(function: Callable[..., Any], number: float) -> Callable[[Any], Any]:
    return lambda x: function(number, x)


ROWS: list[Row] = [
    *(
        Row(f, T(B, S, dtype=dtype, low=-2.0, high=2.0), number, name=f"{label(f)} {number}")
        for dtype in TYPES
        for f in (operator.mul, operator.truediv)
        for number in NUMBERS
    ),
    *(
        Row(reversed_(f, number), T(B, S, dtype=dtype, low=0.5, high=2.0), name=f"{number} first")
        for dtype in TYPES
        for f in (operator.mul, operator.truediv, operator.add, operator.sub)
        for number in (-1e9, 1e5, 1e-9, 0.1)
    ),
    *(
        Row(f, T(B, S, dtype=dtype, low=-9.0, high=9.0), number, name=f"{label(f)} {number}")
        for dtype in TYPES
        for f in (operator.floordiv, torch.fmod, torch.remainder, operator.gt, operator.eq)
        for number in (1e5, -1e9, 0.1, 3)
    ),
    Row(lambda x: (1 - x.round()) * -1e9, T(B, S, dtype=HALF, low=0.0, high=1.0), name="mask"),
    Row(lambda x: x * 1e4 / 1e5, T(B, S, dtype=HALF, low=0.5, high=1.0), name="there and back"),
    Row(lambda x: x * 1e-9 * 0, T(B, S, dtype=HALF), name="a number below half"),
    Row(lambda x: x / x.shape[1] / 1e5, T(B, S, dtype=HALF), name="over a size and a number"),
    Row(lambda x: x * (x.shape[1] * 10000), T(B, S, dtype=HALF), name="times a large size"),
    Row(lambda x: x / (x.shape[1] / 1e5), T(B, S, dtype=HALF), name="over a fraction of a size"),
    Row(operator.mul, T(B, S, dtype=HALF), T(low=1e5, high=2e5), name="times a wide scalar"),
    Row(operator.truediv, T(B, S, dtype=HALF), T(low=1e5, high=2e5), name="over a wide scalar"),
    Row(operator.mul, T(B, S, dtype=HALF), torch.tensor(100000), name="times a scalar int"),
    Row(operator.mul, T(dtype=HALF), 0.1, name="a scalar times a number"),
    *(Row(masked, T(B, S, dtype=d), T(B, 1, dtype=LONG, low=0, high=2)) for d in TYPES),
    *(
        Row(torch.add, T(B, S, dtype=d), T(B, S, dtype=d), alpha=0.1, name="add alpha 0.1")
        for d in TYPES
    ),
    *(
        Row(torch.sub, T(B, 3, dtype=d), T(3, dtype=d, low=3e4, high=6e4), alpha=2, name="alpha 2")
        for d in TYPES
    ),
    Row(lambda x: torch.where(x > 0, x, -1e9).softmax(-1), T(B, S, dtype=HALF), name="where"),
    Row(
        torch.clamp,
        T(B, S, dtype=HALF),
        -1e9,
        1e9,
        oracle=lambda x, low, high: x.float().clamp(low, high).half(),
        name="clamp beyond half",
    ),
    Row(torch.Tensor.masked_fill, T(2, dtype=HALF), T(2, dtype=BOOL), -1e9, raises=DTypeError),
    Row(torch.full_like, T(2, dtype=HALF), 1e9, raises=DTypeError),
    Row(torch.pow, T(2, dtype=HALF), 70000.0, raises=DTypeError, name="pow beyond half"),
    Row(torch.add, T(2, dtype=HALF), 1, alpha=1e5, raises=DTypeError, name="alpha beyond half"),
    Row(F.hardswish, T(B, S, dtype=HALF, low=-3.0, high=3.0), name="hardswish near -3"),
    *(
        Row(f, T(B, S), number, name=f"bfloat16 {label(f)} {number}", unsupported=NO_BF16)
        for NO_BF16 in [{"8.6": "no bfloat16"}]
        for f in (lambda x, n: x.bfloat16() * n, lambda x, n: x.bfloat16() / n)
        for number in (0.1, 1e39, 3.3895e38)
    ),
]
