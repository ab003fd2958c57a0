"""Where entries stand among others: quantiles, medians without NaN, bins."""

from __future__ import annotations

import math
from typing import Any

import torch

from trtnn.errors import ShapeError, UnsupportedError
from trtnn.ops.arithmetic import (
    add,
    cast,
    eq,
    ge,
    gt,
    logical_not,
    lt,
    maximum,
    mul,
    sub,
    tensor_of,
    where,
)
from trtnn.ops.creation import zeros
from trtnn.ops.division import floor_divide
from trtnn.ops.indexing import gather, index_select
from trtnn.ops.movement import flatten, movedim, reshape, squeeze, unsqueeze
from trtnn.ops.op import TensorT, axis_of, require_float, shape_of, spec_of, torch_function
from trtnn.ops.positions import linspace
from trtnn.ops.reduction import amax, amin, any, sum
from trtnn.ops.slicing import cat, narrow
from trtnn.ops.sorting import sort
from trtnn.ops.unary import unary

__all__ = [
    "bucketize", "histc", "nanmedian", "nanquantile", "quantile", "searchsorted",
]  # fmt: skip

T = torch.Tensor
FORMS = ("linear", "lower", "higher", "midpoint", "nearest")


def _quantile(
    name: str, input: TensorT, q: Any, dim: int | None, keepdim: bool, form: str, skips: bool
) -> TensorT:
    require_float(name, spec_of(input))
    if form not in FORMS:
        raise UnsupportedError(f"{name}: expected interpolation to be one of {FORMS}, got {form!r}")
    dtype, rank = spec_of(input).dtype, spec_of(input).rank
    share = tensor_of(q, torch.float32)
    if len(shape_of(share)) > 1 or not isinstance(q, (float, torch.Tensor)):
        raise ShapeError(f"{name}: expected q to be a float or a vector of them, got {q!r}")
    if isinstance(q, float) and not 0 <= q <= 1:
        raise ShapeError(f"{name}: expected q from 0 to 1, got {q}")
    axis = axis_of(name, 0 if dim is None else dim, rank)
    x = movedim(input, axis, -1) if dim is not None and rank else flatten(input)
    x = reshape(x, (1,)) if not shape_of(x) else x
    is_nan = logical_not(eq(x, x))
    if skips:
        x = where(is_nan, torch.tensor(math.inf, dtype=dtype), x)
        size = sum(cast(logical_not(is_nan), torch.float32), -1, True)
        none = eq(size, 0.0)
    else:
        size = cast(tensor_of(shape_of(x)[-1]), torch.float32)
        none = any(is_nan, -1, True)
    # What a share of all entries is one of, (..., shares)
    place = maximum(mul(sub(size, 1.0), cast(reshape(share, (-1,)), torch.float32)), 0.0)
    ordered = sort(x, -1)[0]
    result = _between(cast(ordered, torch.float32), place, form)
    result = cast(where(none, torch.tensor(math.nan), result), dtype)
    return _arranged(result, dim, keepdim, axis, rank, single=not shape_of(share))


def _between(ordered: TensorT, place: TensorT, form: str) -> TensorT:
    """Return what stands at places between entries, by PyTorch's rules."""
    if form in ("lower", "higher", "nearest"):
        kind = {"lower": "FLOOR", "higher": "CEIL", "nearest": "ROUND"}[form]
        return _at(ordered, unary(kind, place))
    below = unary("FLOOR", place)
    low, high = _at(ordered, below), _at(ordered, unary("CEIL", place))
    weight = sub(place, below) if form == "linear" else torch.tensor(0.5)
    gap = sub(high, low)
    early = add(low, mul(gap, weight))  # from the nearer end, as torch.lerp does
    return where(lt(weight, 0.5), early, sub(high, mul(gap, sub(1.0, weight))))


def _at(ordered: TensorT, place: TensorT) -> TensorT:
    index = cast(place, torch.int64)
    if len(shape_of(index)) == 1:
        return index_select(ordered, -1, index)
    return gather(ordered, -1, index)


def _arranged(
    result: TensorT, dim: int | None, keepdim: bool, axis: int, rank: int, *, single: bool
) -> TensorT:
    """Move the shares, which stand last, to the front."""
    result = movedim(result, -1, 0)
    if keepdim:
        left = shape_of(result)[1:]
        kept = (1,) * rank if dim is None else (*left[:axis], 1, *left[axis:])[: max(rank, 0)]
        result = reshape(result, (*shape_of(result)[:1], *kept))
    return squeeze(result, 0) if single else result


@torch_function(torch.quantile, T.quantile)
def quantile(
    input: TensorT,
    q: Any,
    dim: int | None = None,
    keepdim: bool = False,
    *,
    interpolation: str = "linear",
) -> TensorT:
    """Return what a share ``q`` of the entries along ``dim`` is below; NaN where there is one.

    >>> quantile(torch.tensor([0.0, 1.0, 2.0, 4.0]), 0.5)
    tensor(1.5000)
    """
    return _quantile("quantile", input, q, dim, keepdim, interpolation, False)


@torch_function(torch.nanquantile, T.nanquantile)
def nanquantile(
    input: TensorT,
    q: Any,
    dim: int | None = None,
    keepdim: bool = False,
    *,
    interpolation: str = "linear",
) -> TensorT:
    """Return what a share ``q`` of the entries along ``dim`` that are not NaN is below."""
    return _quantile("nanquantile", input, q, dim, keepdim, interpolation, True)


@torch_function(torch.nanmedian, T.nanmedian)
def nanmedian(input: TensorT, dim: int | None = None, keepdim: bool = False) -> Any:
    """Return the entry in the middle, the lower of two, of those that are not NaN."""
    x = flatten(input) if dim is None else input
    spec, axis = spec_of(x), axis_of("nanmedian", dim or 0, spec_of(x).rank)
    if spec.rank == 0:
        return torch.return_types.nanmedian((x, torch.zeros((), dtype=torch.int64)))
    numbers = cast(eq(x, x), torch.int64)
    filled = x
    if spec.dtype.is_floating_point:
        filled = where(eq(x, x), x, torch.tensor(math.inf, dtype=spec.dtype))
    middle = maximum(floor_divide(sub(sum(numbers, axis, True), 1), 2), 0)
    parts = [gather(part, axis, middle) for part in sort(filled, axis)]
    if spec.dtype.is_floating_point:
        none = eq(sum(numbers, axis, True), 0)
        parts[0] = where(none, torch.tensor(math.nan, dtype=spec.dtype), parts[0])
    if dim is None:
        return squeeze(parts[0], 0)
    parts = [part if keepdim else squeeze(part, axis) for part in parts]
    return torch.return_types.nanmedian(tuple(parts))


@torch_function(torch.searchsorted)
def searchsorted(
    sorted_sequence: TensorT,
    input: Any,
    *,
    out_int32: bool = False,
    right: bool = False,
    side: str | None = None,
    sorter: TensorT | None = None,
) -> TensorT:
    """Count the entries that stand before each number: those below it, or up to it if ``right``.

    By comparison with all of them.

    >>> searchsorted(torch.tensor([1, 3, 5]), torch.tensor([3, 6]))
    tensor([1, 3])
    """
    if side is not None and side not in ("left", "right"):
        raise UnsupportedError(f"searchsorted: expected side left or right, got {side!r}")
    rows = sorted_sequence if sorter is None else gather(sorted_sequence, -1, sorter)
    values = tensor_of(input)
    if len(shape_of(rows)) > 1:
        if shape_of(rows)[:-1] != shape_of(values)[:-1]:
            raise ShapeError(
                f"searchsorted: {spec_of(rows)} and {spec_of(values)} differ before the last dim"
            )
        rows = unsqueeze(rows, -2)
    after = (gt if right or side == "right" else ge)(rows, unsqueeze(values, -1))
    dtype = torch.int32 if out_int32 else torch.int64
    return sum(cast(logical_not(after), dtype), -1, dtype=dtype)


@torch_function(torch.bucketize)
def bucketize(
    input: Any, boundaries: TensorT, *, out_int32: bool = False, right: bool = False
) -> TensorT:
    """Say between which two boundaries each number stands."""
    return searchsorted(boundaries, input, out_int32=out_int32, right=right)


@torch_function(torch.histc, T.histc)
def histc(input: TensorT, bins: int = 100, min: Any = 0, max: Any = 0) -> TensorT:
    """Count the entries in each of some bins of one width.

    Where ``min`` is ``max``, the bins are from the smallest entry to the largest.

    >>> histc(torch.tensor([0.0, 1.0, 3.0, 4.0]), 2, 0, 4)
    tensor([2., 2.])
    """
    require_float("histc", spec_of(input))
    if min > max:
        raise ShapeError(f"histc: expected min <= max, got {min} and {max}")
    x = flatten(input)
    if shape_of(x) == (0,):
        return zeros(bins, dtype=spec_of(x).dtype)
    low, high = _ends(x) if min == max else (float(min), float(max))
    edges = linspace(low, high, bins + 1)
    columns = unsqueeze(edges, 1)
    from_start = ge(x, narrow(columns, 0, 0, bins))
    after = cat(
        (ge(x, narrow(columns, 0, 1, bins - 1)), gt(x, reshape(tensor_of(high), (1, 1))))
    )  # the last bin has its end
    inside = sub(*(cast(part, torch.float32) for part in (from_start, after)))
    return cast(sum(inside, 1), spec_of(input).dtype)


def _ends(x: TensorT) -> tuple[TensorT, TensorT]:
    """Return the smallest and the largest entry, or what is 1 around them where they are one."""
    low, high = cast(amin(x), torch.float32), cast(amax(x), torch.float32)
    apart = cast(eq(low, high), torch.float32)
    return sub(low, apart), add(high, apart)
