"""Mathematical functions that TensorRT has no layer for, composed in float32.

How far off each is, relative to its result in float64, stands in its docstring where it is more
than a few roundings.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import wraps
from typing import Any

import torch

from trtnn.ops.arithmetic import (
    HALVES,
    Elementwise,
    add,
    cast,
    eq,
    logical_and,
    lt,
    mul,
    promote,
    sub,
    where,
)
from trtnn.ops.division import div
from trtnn.ops.floats import signbit
from trtnn.ops.op import TensorT, bind, spec_of, torch_function
from trtnn.ops.pointwise import clamp
from trtnn.ops.unary import abs, isinf, isnan, log, log1p, neg, sin, sqrt, unary

__all__ = [
    "atan2", "deg2rad", "entr", "erfc", "erfcx", "erfinv", "expm1", "hypot", "log_ndtr",
    "logaddexp", "logaddexp2", "logit", "ndtr", "rad2deg", "sinc", "xlog1py", "xlogy",
]  # fmt: skip

T = torch.Tensor
S = torch.special


def in_float32(function: Callable[..., TensorT]) -> Callable[..., TensorT]:
    """Let a function of floats take tensors and numbers, and compute 16 bits in float32."""

    @wraps(function)
    def wide(*inputs: Any, **options: Any) -> TensorT:
        operands = promote(*inputs, floating=True)
        dtype = spec_of(operands[0]).dtype
        inside = torch.float32 if dtype in HALVES else dtype
        return cast(function(*(cast(x, inside) for x in operands), **options), dtype)

    return wide


def _polynomial(x: TensorT, coefficients: Sequence[float]) -> TensorT:
    """Return the sum of powers of ``x``, the highest first."""
    result = mul(x, coefficients[0])
    for number in coefficients[1:-1]:
        result = mul(add(result, number), x)
    return add(result, coefficients[-1])


@torch_function(torch.deg2rad, T.deg2rad)
@in_float32
def deg2rad(input: TensorT) -> TensorT:
    """Convert degrees to radians."""
    return mul(input, math.pi / 180)


@torch_function(torch.rad2deg, T.rad2deg)
@in_float32
def rad2deg(input: TensorT) -> TensorT:
    """Convert radians to degrees."""
    return mul(input, 180 / math.pi)


@torch_function(torch.expm1, T.expm1, S.expm1)
@in_float32
def expm1(input: TensorT) -> TensorT:
    """Compute ``exp(x) - 1``, exactly also where ``exp(x)`` rounds to 1.

    >>> expm1(torch.tensor(1e-10))
    tensor(1.0000e-10)
    """
    power = unary("EXP", input)
    less = sub(power, 1.0)
    # What rounding took from exp(x) changes its logarithm by as many parts (Kahan).
    result = mul(less, div(input, log(power)))
    result = where(eq(power, 1.0), input, result)
    return where(eq(less, -1.0), less, where(isinf(power), power, result))


@torch_function(torch.sinc, T.sinc, S.sinc)
@in_float32
def sinc(input: TensorT) -> TensorT:
    """Compute ``sin(pi x) / (pi x)``, 1 at 0."""
    angle = mul(input, math.pi)
    return where(eq(input, 0.0), 1.0, div(sin(angle), angle))


@torch_function(torch.hypot, T.hypot)
@in_float32
def hypot(input: TensorT, other: TensorT) -> TensorT:
    """Compute ``sqrt(a**2 + b**2)``, which is finite where it fits though a square does not.

    >>> hypot(torch.tensor(3e30), torch.tensor(4e30))
    tensor(5.0000e+30)
    """
    a, b = abs(input), abs(other)
    most, least = bind(Elementwise("MAX"), a, b), bind(Elementwise("MIN"), a, b)
    part = div(least, most)
    length = mul(most, sqrt(add(mul(part, part), 1.0)))
    length = where(eq(most, 0.0), most, length)
    return where(eq(a, math.inf), a, where(eq(b, math.inf), b, length))


@torch_function(torch.atan2, T.atan2, torch.arctan2, T.arctan2)
@in_float32
def atan2(input: TensorT, other: TensorT) -> TensorT:
    """Compute the angle of the point ``(other, input)``, from -pi to pi.

    >>> atan2(torch.tensor([1.0, -0.0]), torch.tensor([-1.0, -2.0]))
    tensor([ 2.3562, -3.1416])
    """
    both = logical_and(isinf(input), isinf(other))
    y, x = (where(both, unary("SIGN", t), t) for t in (input, other))  # a diagonal
    angle = unary("ATAN", div(y, x))
    angle = where(eq(y, 0.0), where(isnan(x), x, y), angle)  # -0.0 stays
    turn = where(signbit(y), -math.pi, math.pi)
    # Beside it is a quarter at most, of the other sign: what is left of half a turn.
    left = where(eq(y, 0.0), turn, add(angle, turn))
    return where(signbit(x), left, angle)


@torch_function(torch.logaddexp, T.logaddexp)
@in_float32
def logaddexp(input: TensorT, other: TensorT) -> TensorT:
    """Compute ``log(exp(a) + exp(b))`` without leaving the range of floats."""
    return _added(input, other, "EXP", 1.0)


@torch_function(torch.logaddexp2, T.logaddexp2)
@in_float32
def logaddexp2(input: TensorT, other: TensorT) -> TensorT:
    """Compute ``log2(2**a + 2**b)`` without leaving the range of floats."""
    return _added(input, other, "EXP", math.log(2))


def _added(a: TensorT, b: TensorT, kind: str, base: float) -> TensorT:
    most = bind(Elementwise("MAX"), a, b)
    less = mul(abs(sub(a, b)), -base)
    result = add(most, mul(log1p(unary(kind, less)), 1 / base))
    return where(logical_and(eq(a, b), isinf(a)), a, result)


@torch_function(torch.logit, T.logit, S.logit)
def logit(input: TensorT, eps: float | None = None) -> TensorT:
    """Compute ``log(x / (1 - x))``, of ``x`` limited to ``eps`` to ``1 - eps`` if that is given."""
    return _logit(input, eps=eps)


@in_float32
def _logit(x: TensorT, eps: float | None) -> TensorT:
    inside = x if eps is None else clamp(x, eps, 1.0 - eps)
    return log(div(inside, sub(1.0, inside)))


@torch_function(torch.xlogy, T.xlogy, S.xlogy)
@in_float32
def xlogy(input: TensorT, other: TensorT) -> TensorT:
    """Compute ``a * log(b)``, 0 where ``a`` is; NaN where ``b`` is."""
    return _times(input, log(other), other)


@torch_function(S.xlog1py)
@in_float32
def xlog1py(input: TensorT, other: TensorT) -> TensorT:
    """Compute ``a * log(1 + b)``, 0 where ``a`` is; NaN where ``b`` is."""
    return _times(input, log1p(other), other)


def _times(a: TensorT, logarithm: TensorT, b: TensorT) -> TensorT:
    return where(isnan(b), b, where(eq(a, 0.0), 0.0, mul(a, logarithm)))


@torch_function(S.entr)
@in_float32
def entr(input: TensorT) -> TensorT:
    """Compute ``-x * log(x)``: 0 at 0, -inf below."""
    found = where(eq(input, 0.0), 0.0, neg(mul(input, log(input))))
    return where(lt(input, 0.0), -math.inf, found)


# Numerical Recipes (Press et al.), erfcc: of log(erfcx(x) / t) in t = 1 / (1 + x / 2), x >= 0.
ERFCC = (
    0.17087277, -0.82215223, 1.48851587, -1.13520398, 0.27886807, -0.18628806, 0.09678418,
    0.37409196, 1.00002368, -1.26551223,
)  # fmt: skip


def _scaled_tail(x: TensorT) -> tuple[TensorT, TensorT]:
    """Return ``t`` and ``p`` such that ``t * exp(p - x**2)`` is ``erfc(x)``, where ``x >= 0``."""
    t = unary("RECIP", add(mul(x, 0.5), 1.0))
    return t, _polynomial(t, ERFCC)


@torch_function(torch.erfc, T.erfc, S.erfc)
@in_float32
def erfc(input: TensorT) -> TensorT:
    """Compute ``1 - erf(x)`` with a relative error below 1e-5, also where ``erf(x)`` rounds to 1.

    >>> erfc(torch.tensor([0.0, 5.0]))
    tensor([1.0000e+00, 1.5375e-12])
    """
    size = abs(input)
    t, power = _scaled_tail(size)
    tail = mul(t, unary("EXP", sub(power, mul(size, size))))
    return where(lt(input, 0.0), sub(2.0, tail), tail)


@torch_function(S.erfcx)
@in_float32
def erfcx(input: TensorT) -> TensorT:
    """Compute ``exp(x**2) * erfc(x)`` with a relative error below 1e-5."""
    t, power = _scaled_tail(abs(input))
    tail = mul(t, unary("EXP", power))
    return where(lt(input, 0.0), sub(mul(unary("EXP", mul(input, input)), 2.0), tail), tail)


@torch_function(S.ndtr)
@in_float32
def ndtr(input: TensorT) -> TensorT:
    """Compute how much of a normal distribution lies below ``x``, as exactly as ``erfc``."""
    return mul(erfc(mul(input, -math.sqrt(0.5))), 0.5)


@torch_function(S.log_ndtr)
@in_float32
def log_ndtr(input: TensorT) -> TensorT:
    """Compute ``log(ndtr(x))`` without leaving the range of floats."""
    x = mul(input, math.sqrt(0.5))
    t, power = _scaled_tail(abs(x))
    below = sub(add(log(t), add(power, -math.log(2))), mul(x, x))
    return where(lt(input, -1.0), below, log1p(mul(erfc(x), -0.5)))


# Giles, "Approximating the erfinv function" (2010), of a single: near the middle, and in the tails.
MIDDLE = (
    2.81022636e-08, 3.43273939e-07, -3.5233877e-06, -4.39150654e-06, 0.00021858087, -0.00125372503,
    -0.00417768164, 0.246640727, 1.50140941,
)  # fmt: skip
TAILS = (
    -0.000200214257, 0.000100950558, 0.00134934322, -0.00367342844, 0.00573950773, -0.0076224613,
    0.00943887047, 1.00167406, 2.83297682,
)  # fmt: skip


@torch_function(torch.erfinv, T.erfinv, S.erfinv)
@in_float32
def erfinv(input: TensorT) -> TensorT:
    """Compute what ``erf`` gives ``x`` for, with a relative error below 1e-5; NaN beyond 1.

    >>> erfinv(torch.tensor([0.5, 1.0]))
    tensor([0.4769,    inf])
    """
    w = neg(log(mul(sub(1.0, input), add(input, 1.0))))
    middle = _polynomial(sub(w, 2.5), MIDDLE)
    tails = _polynomial(sub(sqrt(bind(Elementwise("MAX"), w, mul(w, 0.0))), 3.0), TAILS)
    found = mul(where(lt(w, 5.0), middle, tails), input)
    return where(eq(abs(input), 1.0), mul(input, math.inf), found)
