"""Assignment by indices, and PyTorch's functions that return what one would leave."""

from __future__ import annotations

from typing import Any

import torch

from trtnn.errors import DTypeError, ShapeError
from trtnn.ops.accumulation import cumsum
from trtnn.ops.arithmetic import add, cast, where
from trtnn.ops.creation import full
from trtnn.ops.indexing import Gather, bounds_of, cut_by, getitem, is_scalar, merged, one_mask
from trtnn.ops.movement import broadcast_tensors, broadcast_to, flatten, movedim, reshape, unsqueeze
from trtnn.ops.op import TensorT, as_size, axis_of, bind, shape_of, spec_of, torch_function
from trtnn.ops.scattering import along_axis, put_along, reduced_along, replaced
from trtnn.ops.slicing import cat, position_of
from trtnn.sizes.dims import Size, product

__all__ = ["index_put", "masked_scatter", "select_scatter", "slice_scatter"]

T = torch.Tensor
Arrays = list[tuple[int, Any]]


def put_at(input: TensorT, arrays: Arrays, value: TensorT, *, accumulate: bool = False) -> TensorT:
    """Return ``input`` with ``value`` at the places that index tensors at its dims name.

    ``value`` broadcasts to what they pick. Which of several entries for one place is kept is not
    defined, as in PyTorch, unless they ``accumulate``.
    """
    if not arrays:
        new = _filling(cast(value, spec_of(input).dtype), shape_of(input))
        return add(input, new) if accumulate else new
    for axis, item in arrays:
        if is_scalar(item):
            part = getitem(input, (*[slice(None)] * axis, item))
            rest = [(a - (a > axis), t) for a, t in arrays if a != axis]
            new = put_at(part, rest, value, accumulate=accumulate)
            _, _, place = merged(input, [axis], [reshape(item, 1)])
            return put_along(input, axis, place, unsqueeze(new, axis))
    return put_arrays(input, arrays, value, accumulate=accumulate)


def put_arrays(input: TensorT, arrays: Arrays, value: TensorT, *, accumulate: bool) -> TensorT:
    """Return what ``put_at`` does where a scalar broadcasts with other index tensors."""
    axes, items = [a for a, _ in arrays], [t for _, t in arrays]
    if one_mask(items):
        return _put_masked(input, axes[0], items[0].mask, value, accumulate=accumulate)
    one, first, flat = merged(input, axes, items)
    shape, picked = shape_of(one), shape_of(flat)
    if 0 in picked:
        return input
    value = require_same("assignment by an index tensor", input, value)
    new = _filling(value, (*shape[:first], *picked, *shape[first + 1 :]))
    new = reshape(new, (*shape[:first], product(picked), *shape[first + 1 :]))
    flat = reshape(flat, -1)
    if accumulate:
        one = reduced_along("sum", one, first, along_axis(flat, first, len(shape)), new)
    else:
        one = put_along(one, first, flat, new)
    sizes = shape_of(input)
    if axes == list(range(axes[0], axes[0] + len(axes))):
        return reshape(one, sizes)
    front = [*axes, *(a for a in range(len(sizes)) if a not in axes)]
    return movedim(reshape(one, tuple(sizes[a] for a in front)), list(range(len(axes))), axes)


def _filling(value: TensorT, shape: tuple[Size, ...]) -> TensorT:
    """Expand a value to a shape; PyTorch drops leading sizes of 1 that are too many."""
    return broadcast_to(fitting(value, len(shape)), shape)


def fitting(value: TensorT, rank: int) -> TensorT:
    """Drop leading sizes of 1 beyond a rank: ``x[0] = y[None]`` is taken by PyTorch."""
    shape = shape_of(value)
    extra = len(shape) - rank
    return reshape(value, shape[extra:]) if extra > 0 and set(shape[:extra]) == {1} else value


def _put_masked(
    input: TensorT, first: int, mask: TensorT, value: TensorT, *, accumulate: bool
) -> TensorT:
    """Put ``value`` where a mask of the dims from ``first`` on holds.

    What has an entry for each place goes there in order: it is taken that there are as many, or
    more, as the mask has places, which PyTorch sees to.
    """
    shape, depth = shape_of(input), spec_of(mask).rank
    after = len(shape) - first - depth
    where_to = reshape(mask, (*shape_of(mask), *(1,) * after))
    if product(shape_of(value)) == 1:
        value = cast(value, spec_of(input).dtype)
    value = fitting(require_same("assignment by a mask", input, value), first + 1 + after)
    given = shape_of(value)
    if len(given) > after and given[-1 - after] != 1:
        count = given[-1 - after]
        tail = shape[first + depth :]
        rows = broadcast_to(value, (*shape[:first], count, *tail))
        value = _in_order(rows, first, mask)
    elif len(given) > after:
        head = given[: -1 - after]
        value = reshape(value, (*head, *(1,) * depth, *given[len(given) - after :]))
    return where(where_to, add(input, value) if accumulate else value, input)


def _in_order(rows: TensorT, axis: int, mask: TensorT) -> TensorT:
    """Return for each place of a mask the row along ``axis`` that belongs there; 0 elsewhere."""
    flat = flatten(mask)
    number = where(flat, cumsum(flat, 0), 0)
    shape = list(shape_of(rows))
    shape[axis] = 1
    padded = cat((full(shape, 0, dtype=spec_of(rows).dtype), rows), axis)
    return bind(Gather(axis, True), padded, reshape(number, shape_of(mask)))


@torch_function(torch.index_put, T.index_put)
def index_put(input: TensorT, indices: Any, values: TensorT, accumulate: bool = False) -> TensorT:
    """Put ``values`` at the places that index tensors, one for each leading dim, name.

    Without ``accumulate``, which of several entries for one place is kept is not defined.

    >>> index_put(torch.zeros(3), (torch.tensor([1, 1]),), torch.ones(2), accumulate=True)
    tensor([0., 2., 0.])
    """
    _, arrays = cut_by(input, tuple(slice(None) if i is None else i for i in indices))
    return put_arrays(input, arrays, values, accumulate=accumulate)


def require_same(function: str, input: TensorT, value: TensorT) -> TensorT:
    """Return a value of the dtype of ``input``.

    Raises:
        DTypeError: It has another one, which PyTorch does not convert here.
    """
    given, own = spec_of(value).dtype, spec_of(input).dtype
    if given != own:
        raise DTypeError(
            f"{function}: a value of {given} does not go into {own}", hint=f"use .to({own})"
        )
    return value


@torch_function(torch.masked_scatter, T.masked_scatter)
def masked_scatter(input: TensorT, mask: TensorT, source: TensorT) -> TensorT:
    """Put the entries of ``source`` in order where ``mask`` holds.

    Where it has fewer than that, PyTorch raises, and an engine has zeros.

    >>> masked_scatter(torch.zeros(3), torch.tensor([True, False, True]), torch.tensor([4.0, 5.0]))
    tensor([4., 0., 5.])
    """
    require_same("masked_scatter", input, source)
    if spec_of(mask).dtype != torch.bool:
        raise DTypeError(f"masked_scatter: expected a bool mask, got {spec_of(mask).dtype}")
    wide, kept = broadcast_tensors(input, mask)
    shape = shape_of(wide)
    if not shape:
        return reshape(masked_scatter(reshape(wide, 1), reshape(kept, 1), source), ())
    return where(kept, _in_order(flatten(source), 0, kept), wide)


@torch_function(torch.slice_scatter, T.slice_scatter)
def slice_scatter(
    input: TensorT, src: TensorT, dim: int = 0, start: Any = None, end: Any = None, step: Any = 1
) -> TensorT:
    """Return ``input`` with ``src`` in the place of a slice of ``dim``."""
    shape = shape_of(input)
    axis = axis_of("slice_scatter", dim, len(shape))
    first, count, stride = bounds_of(slice(start, end, step), shape[axis])
    return _put_slice("slice_scatter", input, src, {axis: (first, count, stride)})


def _put_slice(
    function: str, input: TensorT, src: TensorT, cut: dict[int, tuple[Size, Size, Size]]
) -> TensorT:
    shape = shape_of(input)
    fields = [cut.get(i, (0, size, 1)) for i, size in enumerate(shape)]
    start, size, stride = zip(*fields, strict=True)
    if shape_of(src) != size:
        raise ShapeError(f"{function}: src {spec_of(src)} does not have the shape {size}")
    return replaced(input, start, size, stride, cast(src, spec_of(input).dtype))


@torch_function(torch.select_scatter, T.select_scatter)
def select_scatter(input: TensorT, src: TensorT, dim: int, index: Any) -> TensorT:
    """Return ``input`` with ``src`` in the place of one entry of ``dim``.

    >>> select_scatter(torch.zeros(2, 2), torch.ones(2), 0, -1)
    tensor([[0., 0.],
            [1., 1.]])
    """
    shape = shape_of(input)
    axis = axis_of("select_scatter", dim, len(shape))
    place = position_of("select_scatter", as_size(index), shape[axis])
    return _put_slice("select_scatter", input, unsqueeze(src, axis), {axis: (place, 1, 1)})
