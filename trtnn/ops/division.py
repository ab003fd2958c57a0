"""Division: true, rounded to whole numbers, and what is left of it."""

from __future__ import annotations

import math
from typing import Any

import torch

from trtnn.errors import TraceError, UnsupportedError
from trtnn.ops.arithmetic import (
    HALVES,
    Elementwise,
    add,
    cast,
    holds,
    logical_and,
    logical_xor,
    lt,
    mul,
    ne,
    promote,
    scaled,
    sub,
    tensor_of,
    where,
)
from trtnn.ops.op import TensorT, bind, recorder_of, spec_of, torch_function
from trtnn.ops.unary import trunc, unary

__all__ = ["div", "floor_divide", "fmod", "remainder"]

T = torch.Tensor
# A quotient is taken away part after part, of so many bits that no product is rounded.
PART_BITS, PARTS = 11, 4


@torch_function(
    torch.div, T.div, T.__truediv__, torch.true_divide, T.true_divide, torch.divide, T.divide
)
def div(input: Any, other: Any, *, rounding_mode: str | None = None) -> TensorT:
    """Divide; ``rounding_mode`` is None, ``"floor"`` or ``"trunc"``."""
    if rounding_mode is None:
        return scaled("DIV", input, other)
    if rounding_mode == "floor":
        return floor_divide(input, other)
    if rounding_mode != "trunc":
        raise UnsupportedError(
            f"div: expected rounding_mode None, 'floor' or 'trunc', got {rounding_mode!r}"
        )
    dtype, a, b = _operands("div", input, other)
    quotient = bind(Elementwise("DIV"), a, b)
    if isinstance(other, torch.Tensor) and spec_of(other).shape:
        quotient = cast(quotient, dtype)  # PyTorch rounds twice here, and once over a scalar
    return cast(trunc(quotient), dtype)


@torch_function(T.__rtruediv__, T.__rdiv__)
def rdiv(input: Any, other: Any) -> TensorT:
    """Divide ``other`` by ``input``: PyTorch multiplies it with the reciprocal."""
    inverse = unary("RECIP", input)
    return inverse if type(other) in (int, float) and other == 1 else mul(inverse, other)


@torch_function(torch.floor_divide, T.floor_divide, T.__floordiv__)
def floor_divide(input: Any, other: Any) -> TensorT:
    """Divide and round towards minus infinity.

    Of floats, as Python does: 1.0 // 0.1 is 9, for 0.1 is a little more than a tenth.
    An integer over 0 is an error on the reference, as in PyTorch, and any number on an engine.

    >>> floor_divide(torch.tensor(1.0), 0.1)
    tensor(9.)
    """
    dtype, a, b = _operands("floor_divide", input, other)
    if not dtype.is_floating_point:
        return bind(Elementwise("FLOOR_DIV"), a, b)
    quotient = bind(Elementwise("DIV"), a, b)
    if _is_power_of_two(b):
        whole = unary("FLOOR", quotient)
    else:
        left = _left(a, b)
        exact = bind(Elementwise("DIV"), sub(a, left), b)
        exact = unary("ROUND", where(_is_other_side(left, b), sub(exact, 1.0), exact))
        # From 2**24 on every quotient is whole; one by 0 is infinite.
        whole = where(lt(unary("ABS", quotient), 2.0**24), exact, quotient)
    without = logical_and(unary("ISINF", a), ne(b, 0.0))
    return cast(where(without, NAN, whole), dtype)


@torch_function(T.__rfloordiv__)
def rfloor_divide(input: Any, other: Any) -> TensorT:
    """Divide ``other`` by ``input`` and round towards minus infinity."""
    return floor_divide(other, input)


@torch_function(torch.remainder, T.remainder, T.__mod__)
def remainder(input: Any, other: Any) -> TensorT:
    """Return what is left of a floor division; it has the divisor's sign.

    Exact for floats up to a quotient of 2**44, and NaN beyond; PyTorch has no such limit.

    >>> remainder(torch.tensor([5, -5]), 3)
    tensor([2, 1])
    """
    dtype, a, b = _operands("remainder", input, other, rounded=True)
    if not dtype.is_floating_point:
        return sub(a, mul(bind(Elementwise("FLOOR_DIV"), a, b), b))
    left = _left(a, b)
    return cast(where(_is_other_side(left, b), add(left, b), left), dtype)


@torch_function(T.__rmod__)
def rremainder(input: Any, other: Any) -> TensorT:
    """Return what is left of dividing ``other`` by ``input``."""
    return remainder(other, input)


@torch_function(torch.fmod, T.fmod)
def fmod(input: Any, other: Any) -> TensorT:
    """Return what is left of a division that rounds towards 0; it has the dividend's sign.

    Exact for floats up to a quotient of 2**44, and NaN beyond; PyTorch has no such limit.

    >>> fmod(torch.tensor([5, -5]), 3)
    tensor([ 2, -2])
    """
    dtype, a, b = _operands("fmod", input, other, rounded=True)
    if not dtype.is_floating_point:
        return sub(a, mul(bind(Elementwise("DIV"), a, b), b))
    return cast(_left(a, b), dtype)


NAN = torch.tensor(math.nan)


def _operands(
    function: str, input: Any, other: Any, *, rounded: bool = False
) -> tuple[torch.dtype, TensorT, TensorT]:
    """Return the result's dtype, and operands that are integers or float32.

    Args:
        rounded: Whether PyTorch rounds a number to the dtype of the tensor beside it.
    """
    a, b = promote(input, other)
    dtype = spec_of(a).dtype
    if not dtype.is_floating_point:
        if recorder_of(b) is None and not b.all():
            raise TraceError(f"{function}: an integer is divided by 0, or what {dtype} makes of it")
        return dtype, a, b
    if dtype in HALVES and not rounded and not holds(dtype, input, other):
        b = tensor_of(other)
    return dtype, cast(a, torch.float32), cast(b, torch.float32)


def _left(a: TensorT, b: TensorT) -> TensorT:
    """Return what is left of float32 ``a / b`` rounded towards 0, without any rounding."""
    size, divisor = unary("ABS", a), unary("ABS", b)
    if _is_power_of_two(b):
        times = unary("FLOOR", bind(Elementwise("DIV"), size, divisor))
        rest = sub(size, mul(times, divisor))
        # From here on nothing is left, and times may be beyond float32.
        rest = where(lt(size, mul(divisor, 2.0**24)), rest, sub(size, size))
    else:
        rest = _long_division(size, divisor)
    signed = where(lt(a, 0.0), unary("NEG", rest), rest)
    return where(lt(size, divisor), a, signed)  # -0.0 and a finite one by infinity stay


def _long_division(size: TensorT, divisor: TensorT) -> TensorT:
    """Return what is left of ``size / divisor``, neither negative; NaN where PARTS do not do.

    As by hand: a digit of PART_BITS at a time. The divisor is cut into halves of 12 bits, so that
    a digit times either is exact, with or without a fused multiply-add; and a digit that the
    division rounded up or down is mended.
    """
    shifted = mul(divisor, 2.0**12 + 1)
    top = sub(shifted, sub(shifted, divisor))
    tail = sub(divisor, top)
    rest = size
    for part in reversed(range(PARTS)):
        unit, high, low = (mul(v, 2.0 ** (part * PART_BITS)) for v in (divisor, top, tail))
        digit = unary("FLOOR", bind(Elementwise("DIV"), rest, unit))
        less = sub(rest, mul(digit, high))
        if recorder_of(tail) is not None or tail.any():
            less = sub(less, mul(digit, low))
        less = where(lt(less, 0.0), add(less, unit), less)
        rest = where(lt(rest, unit), rest, less)
    rest = where(lt(rest, divisor), rest, sub(rest, divisor))
    return where(lt(size, mul(divisor, 2.0 ** (PARTS * PART_BITS))), rest, NAN)


def _is_power_of_two(b: TensorT) -> bool:
    """Say whether a divisor is known to be one: then no quotient is rounded."""
    return recorder_of(b) is None and b.dim() == 0 and abs(math.frexp(float(b))[0]) == 0.5


def _is_other_side(left: TensorT, b: TensorT) -> TensorT:
    """Say where what is left is not 0 and has not the divisor's sign."""
    return logical_and(ne(left, 0.0), logical_xor(lt(b, 0.0), lt(left, 0.0)))
