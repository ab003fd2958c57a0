"""Rows of divisions that round, of what they leave, and of functions at special values."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F

from tests.rows import B, C, Row, S, T
from trtnn.errors import DTypeError, TraceError

HALF, BOOL, LONG, INT = torch.float16, torch.bool, torch.int64, torch.int32
FLOAT, BYTE = torch.float32, torch.uint8
INF, NAN = float("inf"), float("nan")
SPECIAL = [0.0, 1.0, -1.0, 2.5, -2.5, 0.1, -7.0, 5.999999, 100.0, INF, -INF, NAN]
DIVISORS = [INF, -INF, 1.0, -1.0, 2.0, 0.3, -0.3, 7.0, 1e-3, 2.5]
WHOLE = [operator.mod, torch.fmod, operator.floordiv, torch.remainder]


def label(function: Any) -> str:
    return str(getattr(function, "__name__", function))


def at(values: list[float], function: Callable[..., Any]) -> Callable[[torch.Tensor], Any]:
    """Apply a function to given values, which a traced 0 is added to."""
    return lambda zero: function(zero + torch.tensor(values, dtype=zero.dtype))


def by(number: float, function: Callable[..., Any]) -> Callable[[Any], Any]:
    return lambda x: function(x, number)


def by_infinity(function: Any, dtype: torch.dtype, number: float) -> str | None:
    """Say what 8.6.0 makes of a division by a known number, where it is another thing."""
    if abs(number) < INF or function is torch.fmod:
        return None
    if function in (operator.floordiv, "floor", "trunc"):
        return "x / inf, made whole, is 0 of all x"
    return "a selected infinite constant is 1e38" if dtype == FLOAT else None


def zero(dtype: torch.dtype) -> Any:
    return T(1, dtype=dtype, low=0.0, high=0.0)


def mode(rounding_mode: str) -> Callable[..., Any]:
    return lambda a, b: torch.div(a, b, rounding_mode=rounding_mode)


EDGES = [
    *(torch.trunc, torch.frac, torch.log1p, torch.log2, torch.log10, torch.exp2, torch.square),
    *(F.logsigmoid, F.silu, F.softplus, torch.sigmoid, F.mish, F.elu, F.relu6, torch.round),
    *(torch.sign, torch.reciprocal, torch.rsqrt, torch.tanh, F.softsign, torch.floor, torch.abs),
]
DIVIDED = {("trunc", HALF, 0.3): "a constant divisor is a product by its reciprocal"}
NANS = {
    F.relu6: "of a number and NaN, max and min are the number",
    torch.sign: "the sign of NaN is NaN",
}
POWERS = [2.0**n for n in range(-14, 16)]
TENS = [10.0**n for n in range(-4, 5)]

ROWS: list[Row] = [
    *(
        Row(
            at(SPECIAL, by(d, f)),
            zero(dtype),
            name=f"{label(f)} {d}",
            differs=by_infinity(f, dtype, d),
        )
        for dtype in (FLOAT, HALF)
        for f in WHOLE
        for d in DIVISORS
    ),
    *(
        Row(
            at(SPECIAL, lambda x, d=d, m=m: torch.div(x, d, rounding_mode=m)),
            zero(dtype),
            name=f"{m} of {d}",
            differs=by_infinity(m, dtype, d) or DIVIDED.get((m, dtype, d)),
        )
        for dtype in (FLOAT, HALF)
        for m in ("floor", "trunc")
        for d in (0.3, 2.0, INF, 7)
    ),
    *(
        Row(f, T(B, S, dtype=dtype, low=-50.0, high=50.0), T(S, dtype=dtype), name=label(f))
        for dtype in (FLOAT, HALF)
        for f in (torch.remainder, torch.fmod, torch.floor_divide, mode("trunc"), mode("floor"))
    ),
    Row(lambda x: 0.7 % x, T(B, S, low=-2.0, high=2.0), name="rmod of floats"),
    Row(lambda x: 7.5 // x, T(B, S, low=0.5, high=2.0), name="rfloordiv of floats"),
    Row(at([1e7, 1e6, 8e9, 123456.7, -1e7], by(0.3, torch.remainder)), zero(FLOAT), name="large"),
    Row(at([1e7, 1e6, 8e9, -3e12], by(0.7, torch.fmod)), zero(FLOAT), name="fmod of large ones"),
    Row(at([1.0, 2.0, 0.3, 0.7], by(0.1, torch.floor_divide)), zero(FLOAT), name="by a tenth"),
    Row(at([3e38, 1e20, -3e38], by(0.5, torch.remainder)), zero(FLOAT), name="by a half"),
    Row(lambda x: 3.0 / x, T(B, S, dtype=HALF, low=0.5, high=2.0), name="over half"),
    Row(lambda x: (49.0 / x * x).floor(), T(B, low=3.0, high=49.0), name="by the reciprocal"),
    *(
        Row(at(POWERS, lambda x: torch.log2(x).floor()), zero(d), name="log2 of powers")
        for d in (FLOAT, HALF)
    ),
    Row(at(TENS, lambda x: torch.log10(x).floor()), zero(FLOAT), name="log10 of powers"),
    *(
        Row(
            at([*SPECIAL, 20.0, -20.0, 1e-7, 60000.0], f),
            zero(d),
            name=f"{label(f)} at edges",
            differs=NANS.get(f),
        )
        for f in EDGES
        for d in (FLOAT, HALF)
    ),
    *(
        Row(f, T(4, dtype=d, low=0, high=2), name=f"{label(f)} of {d}")
        for d in (BOOL, BYTE, INT, LONG)
        for f in (torch.square, torch.log2, torch.log1p, lambda x: x**0, lambda x: x**4)
    ),
    *(
        Row(f, T(4, dtype=d, low=0, high=9), name=f"{label(f)} of {d}")
        for d in (INT, LONG)
        for f in (F.relu6, F.hardtanh, lambda x: x**5)
    ),
    *(
        Row(f, T(4, dtype=BOOL), T(4, dtype=BOOL), alpha=alpha, name=f"bools, alpha {alpha}")
        for f in (torch.add,)
        for alpha in (2, 0, -1, True, False)
    ),
    Row(torch.maximum, T(4, dtype=BOOL), T(4, dtype=BOOL), name="max of bools"),
    Row(torch.minimum, T(4, dtype=BOOL), T(4, dtype=BOOL), name="min of bools"),
    *(
        Row(f, T(B, dtype=INT), 2**40, name=f"int32 {label(f)} 2**40")
        for f in (operator.add, operator.mul, operator.sub, operator.eq, operator.lt)
    ),
    Row(lambda x: x + (2**40 + 7), T(B, dtype=INT), name="int32 plus 2**40 + 7"),
    Row(operator.add, T(B, dtype=INT), torch.tensor(2**40 + 7), name="plus a scalar int64"),
    Row(torch.maximum, T(B, dtype=INT), torch.tensor(2**40 + 7), name="max with a scalar int64"),
    Row(torch.fmod, T(B, dtype=LONG), 4, name="fmod of int64"),
    Row(torch.fmod, T(B, dtype=INT), C(dtype=INT, low=3, high=4), name="fmod of int32"),
    Row(operator.floordiv, T(2, dtype=INT), 2**40, raises=TraceError, name="// 2**40"),
    Row(operator.mod, T(2, dtype=INT), 0, raises=TraceError, name="% 0"),
    Row(torch.sub, T(2, dtype=BOOL), T(2, dtype=BOOL), raises=DTypeError, name="sub of bools"),
    Row(torch.neg, T(2, dtype=BOOL), raises=DTypeError, name="neg of bools"),
    Row(F.relu, T(2, dtype=BOOL), raises=DTypeError, name="relu of bools"),
    Row(F.hardtanh, T(2, dtype=BOOL), raises=DTypeError, name="hardtanh of bools"),
    Row(torch.pow, T(2, dtype=LONG), -1, raises=DTypeError, name="int64 to the power -1"),
    Row(torch.add, T(2, dtype=INT), 1, alpha=0.5, raises=DTypeError, name="float alpha of ints"),
    Row(torch.add, T(2), 1, alpha=True, raises=DTypeError, name="bool alpha of floats"),
    Row(torch.clamp, T(2, dtype=BYTE), 0, 70000, raises=DTypeError, name="clamp beyond uint8"),
    Row(torch.masked_fill, T(2, dtype=BYTE), T(2, dtype=BOOL), 300, raises=DTypeError, name="300"),
]
