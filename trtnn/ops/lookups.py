"""What gathers make up: windows, strides, lookups by value, entries repeated by counts."""

from __future__ import annotations

from typing import Any

import torch

from trtnn.errors import DTypeError, ShapeError, UnsupportedError
from trtnn.ops.accumulation import cumsum
from trtnn.ops.arithmetic import add, cast, eq, le, logical_not, mul, tensor_of
from trtnn.ops.assignment import put_arrays, require_same
from trtnn.ops.creation import arange
from trtnn.ops.division import floor_divide, remainder
from trtnn.ops.indexing import Gather, from_front, gather, gather_along, require_indices
from trtnn.ops.movement import expand, flatten, movedim, repeat_interleave, reshape, unsqueeze
from trtnn.ops.op import (
    TensorT,
    as_size,
    as_sizes,
    axis_of,
    bind,
    broadcast,
    recorder_of,
    shape_of,
    spec_of,
    torch_function,
    unmet,
)
from trtnn.ops.reduction import any, sum
from trtnn.ops.scattering import put_along
from trtnn.ops.slicing import known_of, narrow
from trtnn.sizes.dims import Size, decide, failures, product

__all__ = [
    "as_strided",
    "as_strided_scatter",
    "isin",
    "one_hot",
    "put",
    "take",
    "take_along_dim",
    "unravel_index",
]

T = torch.Tensor


@torch_function(torch.take, T.take)
def take(input: TensorT, index: TensorT) -> TensorT:
    """Take entries as if the tensor were a vector; negative indices count from the end.

    >>> take(torch.tensor([[1, 2], [3, 4]]), torch.tensor([3, 0]))
    tensor([4, 1])
    """
    require_indices("take", spec_of(index))
    return gather_along(flatten(input), index, 0)


@torch_function(torch.put, T.put)
def put(input: TensorT, index: TensorT, source: TensorT, accumulate: bool = False) -> TensorT:
    """Put entries as if the tensor were a vector.

    Without ``accumulate``, which of several entries for one place is kept is not defined.
    """
    require_indices("put", spec_of(index))
    new = reshape(require_same("put", input, source), shape_of(index))
    flat = put_arrays(flatten(input), [(0, index)], new, accumulate=bool(accumulate))
    return reshape(flat, shape_of(input))


@torch_function(torch.take_along_dim, T.take_along_dim)
def take_along_dim(input: TensorT, indices: TensorT, dim: int | None = None) -> TensorT:
    """Take along ``dim`` what ``indices`` names; all other dims broadcast.

    >>> take_along_dim(torch.tensor([[3, 1], [2, 4]]), torch.tensor([[1], [0]]), 1)
    tensor([[1],
            [2]])
    """
    if dim is None:
        return gather(flatten(input), 0, flatten(indices))
    shape, wanted = list(shape_of(input)), list(shape_of(indices))
    if len(shape) != len(wanted):
        raise ShapeError(f"take_along_dim: {len(shape)} dims, indices have {len(wanted)}")
    axis = axis_of("take_along_dim", dim, len(shape))
    length, count = shape[axis], wanted[axis]
    indices = from_front(indices, axis, length)
    shape[axis] = wanted[axis] = 1
    common = list(broadcast("take_along_dim", tuple(shape), tuple(wanted)))
    wide = expand(input, (*common[:axis], length, *common[axis + 1 :]))
    return gather(wide, axis, expand(indices, (*common[:axis], count, *common[axis + 1 :])))


@torch_function(torch.narrow, T.narrow)
def narrow_at(input: TensorT, dim: int, start: Any, length: Any) -> TensorT:
    """Take ``length`` entries of ``dim`` from ``start`` on, which may be a traced scalar."""
    if not isinstance(start, torch.Tensor) or known_of(start) is not None:
        return narrow(input, dim, start, length)
    axis, size = axis_of("narrow", dim, spec_of(input).rank), as_size(length)
    if shape_of(start):
        raise ShapeError(f"narrow: expected a scalar as start, got {spec_of(start)}")
    first = from_front(reshape(start, 1), axis, shape_of(input)[axis])
    return bind(Gather(axis, True), input, add(first, cast(arange(size), spec_of(first).dtype)))


@torch_function(T.unfold)
def unfold(input: TensorT, dimension: int, size: Any, step: Any) -> TensorT:
    """Return each window of ``size`` entries of a dim along a new last dim, ``step`` apart.

    >>> unfold(torch.arange(4), 0, 2, 1).tolist()
    [[0, 1], [1, 2], [2, 3]]
    """
    shape = shape_of(input)
    axis = axis_of("unfold", dimension, len(shape))
    wide, apart = as_size(size), as_size(step)
    length = shape[axis] if shape else 1
    if not decide("gt", apart, 0):
        raise ShapeError(f"unfold: expected a step above 0, got {apart}")
    if found := failures("ge", length, wide):
        message = f"unfold: windows of {wide} do not fit size {length} of dim {axis}"
        raise unmet(found, message, sizes=(length, wide))
    if not shape:
        return narrow(reshape(input, 1), 0, 0, wide)
    starts = mul(arange((length - wide) // apart + 1), tensor_of(apart))
    places = add(unsqueeze(starts, 1), unsqueeze(arange(wide), 0))
    return movedim(bind(Gather(axis, True), input, places), axis + 1, -1)


def _strided(
    function: str, input: TensorT, size: Any, stride: Any, storage_offset: Any
) -> tuple[TensorT, tuple[Size, ...]]:
    """Return the places in a flat tensor that sizes and strides name, and these sizes.

    Raises:
        UnsupportedError: The tensor is not whole and in order in its memory, a size is not known,
            or a place lies outside.
    """
    sizes, strides = as_sizes(size), as_sizes(stride)
    if len(sizes) != len(strides):
        raise ShapeError(f"{function}: {len(sizes)} sizes, {len(strides)} strides")
    if not all(isinstance(s, int) for s in (*sizes, *strides, *shape_of(input))):
        raise UnsupportedError(f"{function}: expected static sizes", hint="use slices or unfold")
    symbolic = recorder_of(input) is not None
    if symbolic and not (input.is_contiguous() and input.storage_offset() == 0):
        raise UnsupportedError(
            f"{function}: the tensor is not in order in its memory", hint="call .contiguous() first"
        )
    places = torch.tensor(as_size(storage_offset or 0))
    for count, apart in zip(sizes, strides, strict=True):
        assert isinstance(count, int) and isinstance(apart, int)
        places = places.unsqueeze(-1) + torch.arange(count) * apart
    total = product(shape_of(input))
    assert isinstance(total, int)
    if places.numel() and int(places.max()) >= total:
        raise UnsupportedError(
            f"{function}: place {int(places.max())} lies outside the tensor's {total} entries",
            hint="take the strides of the tensor that owns the memory",
        )
    return places, sizes


@torch_function(torch.as_strided, T.as_strided, torch.as_strided_copy)
def as_strided(input: TensorT, size: Any, stride: Any, storage_offset: Any = None) -> TensorT:
    """Take entries as they lie in memory, of a tensor that is contiguous.

    >>> as_strided(torch.arange(4), (2, 2), (1, 1))
    tensor([[0, 1],
            [1, 2]])
    """
    places, _ = _strided("as_strided", input, size, stride, storage_offset)
    return bind(Gather(0, True), flatten(input), places)


@torch_function(torch.as_strided_scatter, T.as_strided_scatter)
def as_strided_scatter(
    input: TensorT, src: TensorT, size: Any, stride: Any, storage_offset: Any = None
) -> TensorT:
    """Return ``input`` with ``src`` where sizes and strides say."""
    places, sizes = _strided("as_strided_scatter", input, size, stride, storage_offset)
    if shape_of(src) != sizes:
        raise ShapeError(f"as_strided_scatter: expected src of {sizes}, got {spec_of(src)}")
    if 0 in sizes:
        return input
    new = flatten(cast(src, spec_of(input).dtype))
    return reshape(put_along(flatten(input), 0, flatten(places), new), shape_of(input))


@torch_function(torch.isin)
def isin(
    elements: Any, test_elements: Any, *, assume_unique: bool = False, invert: bool = False
) -> TensorT:
    """Say of each entry whether it is among others.

    >>> isin(torch.tensor([1, 2]), torch.tensor([2, 3]))
    tensor([False,  True])
    """
    tests = flatten(tensor_of(test_elements))
    found = any(eq(unsqueeze(tensor_of(elements), -1), tests), -1)
    return logical_not(found) if invert else found


@torch_function(torch.nn.functional.one_hot)
def one_hot(input: TensorT, num_classes: Any = -1) -> TensorT:
    """Return rows of zeros with a 1 at each index: int64, one column for each class.

    An index out of range raises in PyTorch, and gives a row of zeros here.

    Raises:
        UnsupportedError: The number of classes is to be counted.

    >>> one_hot(torch.tensor([1, 0]), 2)
    tensor([[0, 1],
            [1, 0]])
    """
    if spec_of(input).dtype != torch.int64:
        raise DTypeError(f"one_hot: expected int64, got {spec_of(input).dtype}", hint="use .long()")
    if as_size(num_classes) == -1:
        raise UnsupportedError("one_hot: the number of classes depends on data", hint="give it")
    return cast(eq(unsqueeze(input, -1), arange(num_classes)), torch.int64)


@torch_function(torch.unravel_index)
def unravel_index(indices: TensorT, shape: Any) -> tuple[TensorT, ...]:
    """Return the index along each dim of entries that are counted one after another.

    >>> unravel_index(torch.tensor([5]), (2, 3))
    (tensor([1]), tensor([2]))
    """
    sizes = as_sizes(shape)
    require_indices("unravel_index", spec_of(indices))
    indices = cast(indices, torch.int64)
    rest = [product(sizes[i + 1 :]) for i in range(len(sizes))]
    pairs = zip(sizes, rest, strict=True)
    return tuple(remainder(floor_divide(indices, tensor_of(r)), tensor_of(s)) for s, r in pairs)


@torch_function(torch.repeat_interleave, T.repeat_interleave)
def repeat_by_counts(
    input: TensorT, repeats: Any = None, dim: int | None = None, *, output_size: Any = None
) -> TensorT:
    """Repeat each entry along ``dim`` as often as its count says.

    Raises:
        UnsupportedError: The counts come from data, and their sum (``output_size``) is not given.
    """
    if not isinstance(repeats, torch.Tensor) or spec_of(repeats).shape in ((), (1,)):
        if repeats is None:
            raise UnsupportedError("repeat_interleave of counts alone: their sum depends on data")
        return repeat_interleave(input, repeats, dim)
    input = flatten(input) if dim is None else input
    axis = axis_of("repeat_interleave", dim or 0, spec_of(input).rank)
    if shape_of(repeats) != (shape_of(input)[axis],):
        raise ShapeError(
            f"repeat_interleave: counts {spec_of(repeats)} for size {shape_of(input)[axis]}"
        )
    if known_of(repeats) is not None:
        return bind(Gather(axis, True), input, torch.repeat_interleave(repeats))
    if output_size is None:
        raise UnsupportedError(
            "repeat_interleave: the counts come from data, and so does their sum",
            hint="give output_size=",
        )
    ends = cumsum(repeats, 0)
    before = le(unsqueeze(ends, 0), unsqueeze(arange(output_size), 1))
    return bind(Gather(axis, True), input, sum(before, 1))


@torch_function(T.sum_to_size)
def sum_to_size(input: TensorT, *size: Any) -> TensorT:
    """Add up along the dims that a shape lacks, or has as 1.

    >>> sum_to_size(torch.ones(2, 3), 1, 3)
    tensor([[2., 2., 2.]])
    """
    wanted, shape = as_sizes(size), shape_of(input)
    extra = len(shape) - len(wanted)
    if extra < 0 or broadcast("sum_to_size", shape, wanted) != shape:
        raise ShapeError(f"sum_to_size: {spec_of(input)} does not sum to {wanted}")
    axes = [i for i, s in enumerate(shape) if i < extra or (wanted[i - extra] == 1 and s != 1)]
    return reshape(sum(input, axes, keepdim=True), wanted) if axes else input
