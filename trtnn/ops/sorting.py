"""Entries in order, and what is found by their order: the middle, the most frequent."""

from __future__ import annotations

import math
from typing import Any

import torch

from trtnn.errors import ShapeError, UnsupportedError
from trtnn.ops.accumulation import cumsum
from trtnn.ops.arithmetic import (
    add,
    cast,
    eq,
    mul,
    ne,
    sub,
    tensor_of,
    where,
)
from trtnn.ops.creation import arange, full, zeros
from trtnn.ops.movement import flatten, reshape, squeeze, unsqueeze
from trtnn.ops.op import (
    TensorT,
    as_size,
    axis_of,
    shape_of,
    spec_of,
    torch_function,
)
from trtnn.ops.ranking import MOST, topk
from trtnn.ops.reduction import amax, amin, any, sum
from trtnn.ops.slicing import cat, narrow
from trtnn.sizes.dims import bounds

__all__ = [
    "argsort", "kthvalue", "median", "mode", "msort", "sort",
]  # fmt: skip

T = torch.Tensor
SMALL = frozenset({torch.bool, torch.uint8, torch.int8})  # whose numbers float32 holds


def _ordered(
    function: str, input: TensorT, dim: int, descending: bool, stable: bool
) -> tuple[TensorT, TensorT]:
    spec = spec_of(input)
    axis = axis_of(function, dim, spec.rank)
    if spec.rank == 0 or 0 in spec.shape:
        return input, zeros(spec.shape, dtype=torch.int64)
    most = bounds(spec.shape[axis])[1]
    if most > MOST:
        raise UnsupportedError(
            f"{function}: dim {axis} may have {most} entries; TensorRT puts {MOST} in order",
            hint="use torch.topk for the first of them",
        )
    x = cast(input, torch.float32) if spec.dtype in SMALL else input
    values, indices = topk(x, spec.shape[axis], axis, descending)
    if stable:
        indices = _in_turn(values, indices, axis)
    return cast(values, spec.dtype), indices


def _in_turn(values: TensorT, indices: TensorT, axis: int) -> TensorT:
    """Return the places of sorted entries, those of equal ones in order.

    Each run of equal entries has a number, ``run``; ``run * size + place`` orders all, and float32
    holds it: it is below ``MOST ** 2``, which is below ``2 ** 24``.
    """
    size = shape_of(values)[axis]
    if size == 1:
        return indices
    first = full((*(s if i != axis else 1 for i, s in enumerate(shape_of(values))),), 0.0)
    after, before = narrow(values, axis, 1, size - 1), narrow(values, axis, 0, size - 1)
    changes = cat((first, cast(ne(after, before), torch.float32)), axis)
    start = mul(cumsum(changes, axis), cast(tensor_of(size), torch.float32))
    keys = topk(add(start, cast(indices, torch.float32)), size, axis, False)[0]
    return cast(sub(keys, start), torch.int64)


@torch_function(torch.sort, T.sort)
def sort(
    input: TensorT, dim: int = -1, descending: bool = False, stable: bool | None = False
) -> Any:
    """Put the entries along ``dim`` in order, and say where each was.

    Where ``stable`` is not asked for, equal entries are in any order, as in PyTorch.

    Raises:
        UnsupportedError: There may be more than 3840 entries.

    >>> sort(torch.tensor([2.0, 3.0, 1.0])).indices
    tensor([2, 0, 1])
    """
    return torch.return_types.sort(_ordered("sort", input, dim, descending, bool(stable)))


@torch_function(torch.argsort, T.argsort)
def argsort(
    input: TensorT, dim: int = -1, descending: bool = False, stable: bool = False
) -> TensorT:
    """Return the indices that put the entries along ``dim`` in order."""
    return _ordered("argsort", input, dim, descending, stable)[1]


@torch_function(torch.msort, T.msort)
def msort(input: TensorT) -> TensorT:
    """Put the entries along the first dim in order."""
    return _ordered("msort", input, 0, False, False)[0]


@torch_function(torch.kthvalue, T.kthvalue)
def kthvalue(input: TensorT, k: Any, dim: int = -1, keepdim: bool = False) -> Any:
    """Return the entry that is the ``k``-th smallest along ``dim``, and its index.

    >>> kthvalue(torch.tensor([3.0, 1.0, 2.0]), 2).values
    tensor(2.)
    """
    return torch.return_types.kthvalue(_kth("kthvalue", input, k, dim, keepdim))


def _kth(function: str, input: TensorT, k: Any, dim: int, keepdim: bool) -> tuple[TensorT, TensorT]:
    spec, count = spec_of(input), as_size(k)
    axis = axis_of(function, dim, spec.rank)
    if spec.rank == 0:
        if count != 1:
            raise ShapeError(f"{function}: expected k=1 of a scalar, got {k}")
        return input, torch.zeros((), dtype=torch.int64)
    if bounds(count)[1] > MOST:
        raise UnsupportedError(
            f"{function}: the entry in place {bounds(count)[1]} of dim {axis} is asked for; "
            f"TensorRT ranks {MOST}"
        )
    if 0 in spec.shape and spec.shape[axis] != 0:
        shape = tuple(1 if i == axis else s for i, s in enumerate(spec.shape))
        parts = [zeros(shape, dtype=spec.dtype), zeros(shape, dtype=torch.int64)]
    else:
        x = cast(input, torch.float32) if spec.dtype in SMALL else input
        values, indices = topk(x, count, axis, False)
        parts = [narrow(part, axis, count - 1, 1) for part in (cast(values, spec.dtype), indices)]
    values, indices = (part if keepdim else squeeze(part, axis) for part in parts)
    return values, indices


@torch_function(torch.median, T.median)
def median(input: TensorT, dim: int | None = None, keepdim: bool = False) -> Any:
    """Return the entry in the middle, the lower of two, of all or along ``dim`` with its index.

    It is NaN where there is a NaN, whose index is not defined, as that of several equal entries.

    >>> median(torch.tensor([3.0, 1.0, 2.0, 9.0]))
    tensor(2.)
    """
    x = flatten(input) if dim is None else input
    values, indices = _median(x, 0 if dim is None else dim, keepdim)
    return values if dim is None else torch.return_types.median((values, indices))


def _median(x: TensorT, dim: int, keepdim: bool) -> tuple[TensorT, TensorT]:
    spec = spec_of(x)
    size = spec.shape[axis_of("median", dim, spec.rank)] if spec.rank else 1
    values, indices = _kth("median", x, (size + 1) // 2, dim, keepdim)
    return _or_nan(values, x, dim, keepdim), indices


def _or_nan(result: TensorT, x: TensorT, dim: int, keepdim: bool) -> TensorT:
    """Put NaN where there is one along ``dim``."""
    dtype = spec_of(x).dtype
    if not dtype.is_floating_point:
        return result
    return where(any(ne(x, x), dim, keepdim), torch.tensor(math.nan, dtype=dtype), result)


@torch_function(torch.mode, T.mode)
def mode(input: TensorT, dim: int = -1, keepdim: bool = False) -> Any:
    """Return the entry that stands most often along ``dim``, the smallest of several, and a place.

    >>> mode(torch.tensor([3, 1, 3, 2])).values
    tensor(3)
    """
    spec = spec_of(input)
    if spec.rank == 0:
        return torch.return_types.mode((input, torch.zeros((), dtype=torch.int64)))
    axis = axis_of("mode", dim, spec.rank)
    x = cast(input, torch.int32) if spec.dtype == torch.bool else input
    same = eq(unsqueeze(x, axis), unsqueeze(x, axis + 1))
    counts = sum(cast(same, torch.int32), axis + 1, dtype=torch.int32)
    often = eq(counts, amax(counts, axis, True))
    values = amin(where(often, x, amax(x, axis, True)), axis, True)
    places = reshape(arange(spec.shape[axis]), (-1, *(1,) * (spec.rank - 1 - axis)))
    indices = amax(where(eq(x, values), places, torch.tensor(0)), axis, True)
    values, indices = (p if keepdim else squeeze(p, axis) for p in (values, indices))
    return torch.return_types.mode((cast(values, spec.dtype), indices))
