"""Operators on bits: those of bools are layers, those of integers are arithmetic.

TensorRT 8.6, which has int32 for int64, takes the bits of an int64 beside a number that is known.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from trtnn.errors import UnsupportedError
from trtnn.ops.arithmetic import (
    Elementwise,
    add,
    cast,
    ge,
    logical_and,
    logical_not,
    logical_or,
    logical_xor,
    lt,
    mul,
    promote,
    sub,
    where,
)
from trtnn.ops.indexing import Gather
from trtnn.ops.movement import unsqueeze
from trtnn.ops.op import TensorT, bind, shape_of, spec_of, torch_function
from trtnn.ops.reduction import Reduce

__all__ = [
    "bitwise_and", "bitwise_left_shift", "bitwise_not", "bitwise_or", "bitwise_right_shift",
    "bitwise_xor",
]  # fmt: skip

T = torch.Tensor
Pair = Callable[[Any, Any], TensorT]


def _integers(function: str, *operands: Any) -> list[TensorT]:
    """Return operands of one dtype, which is bool or of integers."""
    tensors = promote(*operands)
    dtype = spec_of(tensors[0]).dtype
    if dtype.is_floating_point:
        raise UnsupportedError(f"{function}: expected integers or bools, got {dtype}")
    return tensors


def _by(function: str, logical: Pair, common: Pair, input: Any, other: Any) -> TensorT:
    """Compute what bools have a layer for, of integers by the bits that both have.

    Eight bits are computed in int32, whose sums leave no room for a carry.
    """
    a, b = _integers(function, input, other)
    dtype = spec_of(a).dtype
    if dtype == torch.bool:
        return logical(a, b)
    wide = torch.int32 if dtype in (torch.int8, torch.uint8) else dtype
    for operand, number in ((a, other), (b, input)):
        if type(number) is int:
            mask = int(torch.tensor(number).to(dtype))
            x = cast(operand, wide)
            return cast(common(_masked(x, mask), (x, torch.tensor(mask, dtype=wide))), dtype)
    count = min(torch.iinfo(dtype).bits, torch.iinfo(wide).bits - 1)
    x, y = cast(a, wide), cast(b, wide)
    return cast(common(_common(x, y, count), (x, y)), dtype)


@torch_function(torch.bitwise_and, T.bitwise_and, T.__and__, T.__rand__)
def bitwise_and(input: Any, other: Any) -> TensorT:
    """Return the bits that both have.

    >>> bitwise_and(torch.tensor([6, -1]), 3)
    tensor([2, 3])
    """
    return _by("bitwise_and", logical_and, lambda both, _: both, input, other)


@torch_function(torch.bitwise_or, T.bitwise_or, T.__or__, T.__ror__)
def bitwise_or(input: Any, other: Any) -> TensorT:
    """Return the bits that one of two has."""

    def either(both: TensorT, pair: Any) -> TensorT:
        return add(pair[0], sub(pair[1], both))

    return _by("bitwise_or", logical_or, either, input, other)


@torch_function(torch.bitwise_xor, T.bitwise_xor, T.__xor__, T.__rxor__)
def bitwise_xor(input: Any, other: Any) -> TensorT:
    """Return the bits that one of two has, and not the other."""

    def one(both: TensorT, pair: Any) -> TensorT:
        return add(sub(pair[0], both), sub(pair[1], both))

    return _by("bitwise_xor", logical_xor, one, input, other)


@torch_function(torch.bitwise_not, T.bitwise_not, T.__invert__)
def bitwise_not(input: TensorT) -> TensorT:
    """Turn every bit; negate a bool."""
    (x,) = _integers("bitwise_not", input)
    dtype = spec_of(x).dtype
    if dtype == torch.bool:
        return logical_not(x)
    return bind(Elementwise("SUB"), torch.tensor(-1).to(dtype), x)


def _masked(x: TensorT, mask: int) -> TensorT:
    """Return the bits of ``x`` that a known number has, a run of them after the other."""
    bits = torch.iinfo(spec_of(x).dtype).bits
    result, place = mul(x, 0), 0
    while place < bits:
        if mask >> place & 1:
            end = next((i for i in range(place, bits) if not mask >> i & 1), bits)
            run = sub(_low(x, end, bits), _low(x, place, bits))
            result, place = run if place == 0 and end == bits else add(result, run), end
        else:
            place += 1
    return result


def _low(x: TensorT, count: int, bits: int) -> TensorT:
    """Return the lowest bits of ``x`` as a number, all of them as ``x`` itself."""
    if count == 0:
        return mul(x, 0)
    dtype = spec_of(x).dtype
    if count == bits:
        return x
    if count == bits - 1:
        return sub(x, where(lt(x, 0), torch.tensor(torch.iinfo(dtype).min, dtype=dtype), 0))
    step = torch.tensor(2**count, dtype=dtype)
    for _ in range(2):  # 8.6.0 was seen to be off beyond 2**24, see Layers.wrapped
        x = sub(x, mul(bind(Elementwise("FLOOR_DIV"), x, step), step))
    return x


def _common(a: TensorT, b: TensorT, count: int) -> TensorT:
    """Return the bits that two tensors have, which are laid along an axis of their own."""
    dtype = spec_of(a).dtype
    rank = max(len(shape_of(a)), len(shape_of(b)))
    if rank > 7:
        raise UnsupportedError(
            "bits of a tensor of rank 8: they need an axis of their own, and TensorRT has 8",
            hint="join two axes before, with reshape",
        )
    powers = torch.tensor([2**i for i in range(count)], dtype=dtype)
    axes = [_bits(x, powers) for x in (a, b)]
    parts = mul(mul(*axes), powers)
    total = bind(Reduce("SUM", (rank,), keep_dims=False), parts)
    if count < torch.iinfo(dtype).bits - 1:
        return total
    sign = torch.tensor(torch.iinfo(dtype).min, dtype=dtype)
    return where(logical_and(lt(a, 0), lt(b, 0)), add(total, sign), total)


def _bits(x: TensorT, powers: torch.Tensor) -> TensorT:
    shifted = bind(Elementwise("FLOOR_DIV"), unsqueeze(x, -1), powers)
    half = bind(Elementwise("FLOOR_DIV"), shifted, torch.tensor(2, dtype=powers.dtype))
    return sub(shifted, mul(half, 2))


def _shift(function: str, input: Any, other: Any) -> tuple[TensorT, Any, int]:
    """Return what is shifted, by how much, and the bits that it has."""
    a, b = _integers(function, input, other)
    dtype = spec_of(a).dtype
    if dtype == torch.bool:
        raise UnsupportedError(f"{function}: bools have one bit", hint="convert with .int()")
    return a, other if type(other) is int else b, torch.iinfo(dtype).bits


@torch_function(torch.bitwise_left_shift, T.bitwise_left_shift, T.__lshift__)
def bitwise_left_shift(input: Any, other: Any) -> TensorT:
    """Multiply by 2 to the power ``other``; 0 where that is below 0 or as many as there are bits.

    >>> bitwise_left_shift(torch.tensor([1, 3]), 2)
    tensor([ 4, 12])
    """
    x, count, bits = _shift("bitwise_left_shift", input, other)
    dtype = spec_of(x).dtype
    powers = torch.tensor([1], dtype=dtype) << torch.arange(bits).to(dtype)
    if type(count) is int:
        return mul(x, powers[count]) if 0 <= count < bits else mul(x, 0)
    shifted = mul(x, _power(powers, count))
    return where(logical_or(lt(count, 0), ge(count, bits)), 0, shifted)


@torch_function(torch.bitwise_right_shift, T.bitwise_right_shift, T.__rshift__)
def bitwise_right_shift(input: Any, other: Any) -> TensorT:
    """Divide by 2 to the power ``other``, rounding down; of too many, what the sign leaves."""
    x, count, bits = _shift("bitwise_right_shift", input, other)
    dtype = spec_of(x).dtype
    most = bits - dtype.is_signed
    powers = torch.tensor([1], dtype=dtype) << torch.arange(most).to(dtype)
    rest = mul(cast(lt(x, 0), dtype), -1) if dtype.is_signed else mul(x, 0)
    if type(count) is int:
        if not 0 <= count < most:
            return rest
        return bind(Elementwise("FLOOR_DIV"), x, powers[count])
    shifted = bind(Elementwise("FLOOR_DIV"), x, _power(powers, count))
    return where(logical_or(lt(count, 0), ge(count, most)), rest, shifted)


def _power(powers: torch.Tensor, count: TensorT) -> TensorT:
    """Look up powers of 2, the nearest of those that are there."""
    index = cast(count, torch.int32)
    for kind, limit in (("MAX", 0), ("MIN", len(powers) - 1)):
        index = bind(Elementwise(kind), index, torch.tensor(limit, dtype=torch.int32))
    return bind(Gather(0, nonnegative=True), powers, index)


@torch_function(T.__rlshift__)
def rlshift(input: Any, other: Any) -> TensorT:
    """Shift ``other`` to the left by ``input``."""
    return bitwise_left_shift(other, input)


@torch_function(T.__rrshift__)
def rrshift(input: Any, other: Any) -> TensorT:
    """Shift ``other`` to the right by ``input``."""
    return bitwise_right_shift(other, input)
