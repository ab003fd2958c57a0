"""What slices and concatenations make up: stack, split, pad, roll, flip, tile."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import torch

from trtnn.errors import ShapeError, UnsupportedError
from trtnn.ops.movement import flatten, repeat, reshape, unsqueeze
from trtnn.ops.op import (
    TensorT,
    as_size,
    as_sizes,
    axis_of,
    bind,
    shape_of,
    spec_of,
    torch_function,
    unmet,
)
from trtnn.ops.padding import remainder_of
from trtnn.ops.slicing import Slice, cat, known_of, narrow, select
from trtnn.sizes.dims import Size, bounds, ceil_div, decide, failures, maximum, minimum

__all__ = [
    "chunk",
    "concat",
    "concatenate",
    "flip",
    "roll",
    "split",
    "split_with_sizes",
    "stack",
    "tensor_split",
    "tile",
    "unbind",
]

concat = concatenate = cat


@torch_function(torch.stack)
def stack(tensors: Sequence[TensorT], dim: int = 0) -> TensorT:
    """Join tensors of one shape along a new dim.

    >>> stack([torch.zeros(2), torch.ones(2)], 1)
    tensor([[0., 1.],
            [0., 1.]])
    """
    if not tensors:
        raise ShapeError("stack: expected at least one tensor")
    axis = axis_of("stack", dim, spec_of(tensors[0]).rank + 1)
    return cat([unsqueeze(item, axis) for item in tensors], axis)


@torch_function(torch.split_with_sizes, torch.Tensor.split_with_sizes)
def split_with_sizes(input: TensorT, split_sizes: Any, dim: int = 0) -> tuple[TensorT, ...]:
    """Cut ``dim`` into parts of given sizes, which add up to it."""
    sizes, shape = as_sizes(split_sizes), shape_of(input)
    axis = axis_of("split", dim, len(shape))
    total: Size = 0
    parts = []
    for size in sizes:
        parts.append(narrow(input, axis, total, size))
        total = total + size
    if found := failures("eq", total, shape[axis]):
        message = f"split: sizes add up to {total}, dim {axis} has {shape[axis]}"
        raise unmet(found, message, sizes=(shape[axis], total))
    return tuple(parts)


@torch_function(torch.split, torch.functional.split, torch.Tensor.split)
def split(tensor: TensorT, split_size_or_sections: Any, dim: int = 0) -> Any:
    """Cut ``dim`` into parts of one size (the last may be smaller), or of given sizes.

    >>> split(torch.arange(5), 2)
    (tensor([0, 1]), tensor([2, 3]), tensor([4]))
    """
    if isinstance(split_size_or_sections, (tuple, list)):
        return split_with_sizes(tensor, split_size_or_sections, dim)
    shape = shape_of(tensor)
    axis = axis_of("split", dim, len(shape))
    size, total = as_size(split_size_or_sections), shape[axis]
    count = maximum(1, ceil_count(total, size))
    if not isinstance(count, int):
        raise UnsupportedError(
            f"split: the number of parts of size {size} in {total} is not known",
            hint="give the sizes as a list, or use chunk",
        )
    parts = []
    for i in range(count):
        start = i * size
        parts.append(narrow(tensor, axis, start, size if i < count - 1 else total - start))
    return tuple(parts)


def ceil_count(total: Size, size: Size) -> Size:
    """Return how many parts of ``size`` cover ``total``."""
    if decide("eq", size, 0):
        return 1
    return ceil_div(total, size) if isinstance(size, int) else -((-total) // size)


@torch_function(torch.chunk, torch.Tensor.chunk)
def chunk(input: TensorT, chunks: int, dim: int = 0) -> tuple[TensorT, ...]:
    """Cut ``dim`` into at most ``chunks`` parts of one size; the last may be smaller.

    >>> chunk(torch.arange(5), 2)
    (tensor([0, 1, 2]), tensor([3, 4]))
    """
    shape = shape_of(input)
    axis = axis_of("chunk", dim, len(shape))
    total = shape[axis]
    if chunks < 1:
        raise ShapeError(f"chunk: expected 1 part or more, got {chunks}")
    if isinstance(total, int):
        return tuple(split(input, maximum(ceil_div(total, chunks), 1), axis))
    if total % chunks != 0 and bounds(total)[0] <= (chunks - 1) ** 2:
        raise UnsupportedError(
            f"chunk: {total} may be as small as {bounds(total)[0]}, where PyTorch gives fewer "
            f"than {chunks} parts",
            hint=f"a Dim with min={(chunks - 1) ** 2 + 1}, or split with a list of sizes",
        )
    size = ceil_div(total, chunks)
    sizes = [size] * (chunks - 1)
    return split_with_sizes(input, [*sizes, total - size * (chunks - 1)], axis)


@torch_function(torch.tensor_split, torch.Tensor.tensor_split)
def tensor_split(input: TensorT, indices_or_sections: Any, dim: int = 0) -> tuple[TensorT, ...]:
    """Cut ``dim`` into a number of nearly equal parts, or at given indices."""
    shape = shape_of(input)
    axis = axis_of("tensor_split", dim, len(shape))
    total = shape[axis]
    if isinstance(indices_or_sections, torch.Tensor):
        known = known_of(indices_or_sections)
        if known is None:
            raise UnsupportedError("tensor_split: where to cut depends on data", hint="give ints")
        indices_or_sections = known.tolist()
    if isinstance(indices_or_sections, int):
        base, more = total // indices_or_sections, total % indices_or_sections
        starts = [i * base + minimum(i, more) for i in range(indices_or_sections)]
        ends = [*starts[1:], total]
        return tuple(narrow(input, axis, a, b - a) for a, b in zip(starts, ends, strict=True))
    places: list[Size] = [0]
    for index in as_sizes(tuple(indices_or_sections)):
        place = index + total if decide("lt", index, 0) else index
        places.append(minimum(total, maximum(0, place)))
    places.append(total)
    pairs = pairwise(places)
    return tuple(narrow(input, axis, a, maximum(0, b - a)) for a, b in pairs)


@torch_function(torch.unbind, torch.Tensor.unbind)
def unbind(input: TensorT, dim: int = 0) -> tuple[TensorT, ...]:
    """Return the entries along ``dim``, whose size is static.

    >>> unbind(torch.arange(2))
    (tensor(0), tensor(1))
    """
    shape = shape_of(input)
    axis = axis_of("unbind", dim, len(shape))
    count = shape[axis]
    if not isinstance(count, int):
        raise UnsupportedError(
            f"unbind: the number of entries is {count}, not known",
            hint="step through them: carry, ys = trtnn.scan(step, init, xs)",
        )
    return tuple(select(input, axis, i) for i in range(count))


def _ints(value: Any) -> tuple[Any, ...]:
    return tuple(value) if isinstance(value, (tuple, list)) else (value,)


@torch_function(torch.roll, torch.Tensor.roll)
def roll(input: TensorT, shifts: Any, dims: Any = None) -> TensorT:
    """Shift entries along dims; what leaves at one end comes in at the other.

    >>> roll(torch.arange(4), 1)
    tensor([3, 0, 1, 2])
    """
    if dims is None or dims == ():
        return reshape(roll(flatten(input), shifts, 0), shape_of(input))
    steps, axes = _ints(shifts), _ints(dims)
    if len(steps) != len(axes):
        raise ShapeError(f"roll: {len(steps)} shifts for {len(axes)} dims")
    shape = shape_of(input)
    start: list[Size] = [0] * len(shape)
    for step, dim in zip(steps, axes, strict=True):
        axis = axis_of("roll", dim, len(shape))
        length = shape[axis]
        if length != 0:
            start[axis] = remainder_of(start[axis] - as_size(step), length)
    if all(s == 0 for s in start):
        return input
    return bind(Slice(tuple(start), shape, (1,) * len(shape), "WRAP"), input)


@torch_function(torch.flip, torch.Tensor.flip)
def flip(input: TensorT, *dims: Any) -> TensorT:
    """Reverse dims.

    >>> flip(torch.arange(3), 0)
    tensor([2, 1, 0])
    """
    shape = shape_of(input)
    named = _ints(dims[0]) if len(dims) == 1 else dims
    axes = {axis_of("flip", dim, len(shape)) for dim in named} if shape else set()
    if not axes:
        return input
    # The last entry; of an empty dim there is none, and TensorRT takes no negative start.
    start = tuple(maximum(s - 1, 0) if i in axes else 0 for i, s in enumerate(shape))
    stride = tuple(-1 if i in axes else 1 for i in range(len(shape)))
    return bind(Slice(start, shape, stride), input)


@torch_function(torch.fliplr, torch.Tensor.fliplr)
def fliplr(input: TensorT) -> TensorT:
    """Reverse dim 1."""
    return flip(input, 1)


@torch_function(torch.flipud, torch.Tensor.flipud)
def flipud(input: TensorT) -> TensorT:
    """Reverse dim 0."""
    return flip(input, 0)


@torch_function(torch.tile, torch.Tensor.tile)
def tile(input: TensorT, *dims: Any) -> TensorT:
    """Lay copies side by side, as ``repeat``; missing counts in front are 1."""
    counts, rank = as_sizes(dims), spec_of(input).rank
    return repeat(input, (1,) * (rank - len(counts)) + counts)
