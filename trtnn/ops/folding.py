"""Windows laid out as a dim of their own, and put together again: unfold, fold."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from trtnn.errors import ShapeError
from trtnn.ops.arithmetic import add, eq, ge, logical_and, lt, mul, sub, where
from trtnn.ops.convolution import ints_of
from trtnn.ops.creation import arange
from trtnn.ops.division import floor_divide
from trtnn.ops.indexing import index_select
from trtnn.ops.movement import permute, reshape, squeeze, unsqueeze
from trtnn.ops.op import TensorT, as_sizes, require_float, shape_of, spec_of, torch_function, unmet
from trtnn.ops.padding import pad
from trtnn.ops.pointwise import clamp
from trtnn.ops.reduction import sum as total
from trtnn.sizes.dims import Size, decide, failures, product

__all__ = ["fold", "unfold"]


def places_of(count: Size, window: Size, stride: int, dilation: int, pre: int) -> TensorT:
    """Return where the entries of ``count`` windows lie along a dim, (count, window)."""
    starts = sub(mul(arange(count), stride), pre)
    return add(unsqueeze(starts, 1), unsqueeze(mul(arange(window), dilation), 0))


def laid_out(x: TensorT, axis: int, places: TensorT) -> TensorT:
    """Replace ``axis`` by two: what stands at ``places``, an index tensor of rank 2."""
    shape = shape_of(x)
    flat = index_select(x, axis, reshape(places, -1))
    return reshape(flat, (*shape[:axis], *shape_of(places), *shape[axis + 1 :]))


def count_of(function: str, size: Size, window: int, stride: int, dilation: int, pre: int) -> Size:
    """Return how many windows a dim with padding has."""
    room = size + 2 * pre - dilation * (window - 1) - 1
    if found := failures("ge", room, 0):
        message = f"{function}: window {window} (dilation {dilation}) is larger than size {size}"
        raise unmet(found, message, sizes=(size,))
    return room // stride + 1


@torch_function(torch.nn.functional.unfold)
def unfold(
    input: TensorT, kernel_size: Any, dilation: Any = 1, padding: Any = 0, stride: Any = 1
) -> TensorT:
    """Lay the windows of (N, C, H, W) out as columns (N, C * R * S, windows).

    >>> unfold(torch.arange(4.0).view(1, 1, 2, 2), (1, 2))
    tensor([[[0., 2.],
             [1., 3.]]])
    """
    shape = shape_of(input)
    if len(shape) == 3:
        return squeeze(unfold(unsqueeze(input, 0), kernel_size, dilation, padding, stride), 0)
    if len(shape) != 4:
        raise ShapeError(f"unfold: expected (N, C, H, W), got {spec_of(input)}")
    window, gaps, around, steps = (ints_of(n, 2) for n in (kernel_size, dilation, padding, stride))
    x = pad(input, [n for amount in reversed(around) for n in (amount, amount)])
    counts = []
    for axis in (1, 0):
        numbers = (window[axis], steps[axis], gaps[axis])
        counts.append(count_of("unfold", shape[2 + axis], *numbers, around[axis]))
        x = laid_out(x, 2 + axis, places_of(counts[-1], *numbers, 0))
    columns = permute(x, (0, 1, 3, 5, 2, 4))
    return reshape(columns, (shape[0], shape[1] * product(window), product(counts)))


@torch_function(torch.nn.functional.fold)
def fold(
    input: TensorT,
    output_size: Any,
    kernel_size: Any,
    dilation: Any = 1,
    padding: Any = 0,
    stride: Any = 1,
) -> TensorT:
    """Add columns (N, C * R * S, windows) up to (N, C, H, W): the transpose of ``unfold``.

    >>> fold(torch.ones(1, 2, 2), (1, 3), (1, 2))
    tensor([[[[1., 2., 1.]]]])
    """
    spec = spec_of(input)
    require_float("fold", spec)
    if spec.rank == 2:
        given = (output_size, kernel_size, dilation, padding, stride)
        return squeeze(fold(unsqueeze(input, 0), *given), 0)
    window, gaps, around, steps = (ints_of(n, 2) for n in (kernel_size, dilation, padding, stride))
    sizes = as_sizes(output_size)
    sizes = sizes * 2 if len(sizes) == 1 else sizes
    numbers = list(zip(sizes, window, steps, gaps, around, strict=True))
    counts = [count_of("fold", *number) for number in numbers]
    area = window[0] * window[1]
    fits = spec.rank == 3 and not decide("ne", spec.shape[1] % area, 0)
    if not fits or decide("ne", spec.shape[2], product(counts)):
        raise ShapeError(
            f"fold: expected (N, C * {area}, {product(counts)}), got {spec}",
            sizes=(spec.shape[-1],),
        )
    batch, channels = spec.shape[0], spec.shape[1] // area
    x = permute(reshape(input, (batch, channels, *window, *counts)), (0, 1, 2, 4, 3, 5))
    x = _added_up(x, 2, counts[0], numbers[0])
    return _added_up(x, 3, counts[1], numbers[1])


def _added_up(x: TensorT, axis: int, count: Size, numbers: Sequence[Any]) -> TensorT:
    """Replace the dims (window, count) at ``axis`` by the dim that the windows cover."""
    size, window, stride, dilation, pre = numbers
    shape = shape_of(x)
    flat = reshape(x, (*shape[:axis], window * count, *shape[axis + 2 :]))
    ahead = add(unsqueeze(arange(size), 0), pre)
    ahead = sub(ahead, unsqueeze(mul(arange(window), dilation), 1))
    which = floor_divide(ahead, stride)  # the window that has a place at an entry of its own
    covers = logical_and(ge(which, 0), lt(which, count))
    covers = logical_and(covers, eq(mul(which, stride), ahead))
    inside = clamp(which, 0, count - 1)
    places = add(inside, mul(unsqueeze(arange(window), 1), count))
    entries = laid_out(flat, axis, places)
    mask = reshape(covers, (window, size, *(1,) * (len(shape) - axis - 2)))
    return total(where(mask, entries, 0.0), axis)
