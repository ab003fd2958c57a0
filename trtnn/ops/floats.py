"""What floats hold beside a number: the sign of 0, infinities and NaN."""

from __future__ import annotations

import math
from typing import Any

import torch

from trtnn.errors import DTypeError
from trtnn.ops.arithmetic import (
    Elementwise,
    add,
    cast,
    eq,
    gt,
    le,
    logical_and,
    logical_or,
    lt,
    maximum,
    minimum,
    mul,
    promote,
    sub,
    where,
)
from trtnn.ops.creation import ones_like
from trtnn.ops.op import TensorT, bind, spec_of, torch_function
from trtnn.ops.unary import abs, isfinite, isnan, neg, unary

__all__ = [
    "angle", "copysign", "fmax", "fmin", "heaviside", "isclose", "isneginf", "isposinf", "isreal",
    "nan_to_num", "positive", "signbit",
]  # fmt: skip

T = torch.Tensor
_REAL: Any = getattr(T.real, "__get__")  # noqa: B009 - of which the stubs know nothing


@torch_function(torch.signbit, T.signbit)
def signbit(input: TensorT) -> TensorT:
    """Say which entries have a minus, -0.0 among them; NaN has none, whatever its bits say.

    >>> signbit(torch.tensor([-0.0, 0.0]))
    tensor([ True, False])
    """
    below = lt(input, 0)
    if not spec_of(input).dtype.is_floating_point:
        return below
    return logical_or(below, lt(unary("RECIP", input), 0.0))  # 1 / -0.0 is -inf


@torch_function(torch.copysign, T.copysign)
def copysign(input: TensorT, other: Any) -> TensorT:
    """Return the size of ``input`` with the sign of ``other``; -0.0 has one, NaN none."""
    size, sign = promote(input, other, floating=True)
    size = abs(size)
    return where(signbit(sign), neg(size), size)


@torch_function(torch.isposinf, T.isposinf)
def isposinf(input: TensorT) -> TensorT:
    """Say which entries are infinite and positive."""
    return eq(input, math.inf)


@torch_function(torch.isneginf, T.isneginf)
def isneginf(input: TensorT) -> TensorT:
    """Say which entries are infinite and negative."""
    return eq(input, -math.inf)


@torch_function(torch.isreal, T.isreal)
def isreal(input: TensorT) -> TensorT:
    """Say which entries have no imaginary part: all, as TensorRT has no complex type."""
    return ones_like(input, dtype=torch.bool)


@torch_function(
    *(torch.positive, T.positive, T.__pos__, torch.conj, T.conj, torch.conj_physical),
    *(T.conj_physical, torch.resolve_conj, T.resolve_conj, torch.resolve_neg, T.resolve_neg),
    *(torch.real, _REAL),
)
def positive(input: TensorT) -> TensorT:
    """Return ``input``, which is its own conjugate and its own real part."""
    return input


@torch_function(torch.angle, T.angle)
def angle(input: TensorT) -> TensorT:
    """Return the angles of real numbers: pi below 0, else 0; that of NaN is NaN.

    >>> angle(torch.tensor([-2.0, 2.0]))
    tensor([3.1416, 0.0000])
    """
    (x,) = promote(input, floating=True)
    return where(isnan(x), x, where(lt(x, 0.0), math.pi, 0.0))


@torch_function(torch.nan_to_num, T.nan_to_num)
def nan_to_num(
    input: TensorT, nan: float | None = None, posinf: float | None = None,
    neginf: float | None = None,
) -> TensorT:  # fmt: skip
    """Replace NaN by 0 and infinities by the largest numbers of the dtype, or by what is given.

    >>> nan_to_num(torch.tensor([float("nan"), float("inf")]), posinf=9.0)
    tensor([0., 9.])
    """
    dtype = spec_of(input).dtype
    if not dtype.is_floating_point:
        return input
    limits = torch.finfo(dtype)
    most = (limits.max if posinf is None else posinf, limits.min if neginf is None else neginf)
    result = where(isnan(input), 0.0 if nan is None else nan, input)
    for infinity, number in zip((math.inf, -math.inf), most, strict=True):
        result = where(eq(input, infinity), number, result)
    return result


@torch_function(torch.fmax, T.fmax)
def fmax(input: TensorT, other: TensorT) -> TensorT:
    """Take the larger entry of two, and of NaN and a number the number."""
    return _number_of("MAX", input, other)


@torch_function(torch.fmin, T.fmin)
def fmin(input: TensorT, other: TensorT) -> TensorT:
    """Take the smaller entry of two, and of NaN and a number the number."""
    return _number_of("MIN", input, other)


def _number_of(kind: str, input: TensorT, other: TensorT) -> TensorT:
    a, b = promote(input, other)
    if not spec_of(a).dtype.is_floating_point:
        return (maximum if kind == "MAX" else minimum)(a, b)
    return where(isnan(a), b, where(isnan(b), a, bind(Elementwise(kind), a, b)))


@torch_function(torch.heaviside, T.heaviside)
def heaviside(input: TensorT, values: TensorT) -> TensorT:
    """Return 0 below 0, 1 above, and at 0 the entry of ``values``."""
    dtype = _same_dtype("heaviside", input, values)
    return where(eq(input, 0), values, cast(gt(input, 0), dtype))


@torch_function(torch.isclose, T.isclose)
def isclose(
    input: TensorT, other: TensorT, rtol: float = 1e-05, atol: float = 1e-08,
    equal_nan: bool = False,
) -> TensorT:  # fmt: skip
    """Say where two differ by at most ``atol + rtol * |other|``."""
    dtype = _same_dtype("isclose", input, other)
    close = eq(input, other)
    if equal_nan and dtype.is_floating_point:
        close = logical_or(close, logical_and(isnan(input), isnan(other)))
    if rtol == 0 and atol == 0:
        return close
    if not dtype.is_floating_point:
        input, other = cast(input, torch.float32), cast(other, torch.float32)
    allowed = add(abs(mul(other, rtol)), atol)
    actual = abs(sub(input, other))
    return logical_or(close, logical_and(isfinite(actual), le(actual, allowed)))


def _same_dtype(function: str, input: TensorT, other: TensorT) -> torch.dtype:
    own, given = spec_of(input).dtype, spec_of(other).dtype
    if own != given:
        raise DTypeError(
            f"{function}: expected one dtype, got {own} and {given}",
            hint="cast one side with .to(dtype)",
        )
    return own
