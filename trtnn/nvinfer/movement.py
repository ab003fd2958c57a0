"""Layers that move entries: other shapes, cuts and joins."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from trtnn.errors import OptionError, ShapeError
from trtnn.nvinfer.members import member, require_rank
from trtnn.ops.arithmetic import cast, tensor_of
from trtnn.ops.fetching import ReverseSequence
from trtnn.ops.movement import Identity, Shuffle
from trtnn.ops.op import TensorT, as_size, axis_of, bind, shape_of, spec_of, unmet
from trtnn.ops.shaping import Ranked
from trtnn.ops.slicing import Concat, Slice
from trtnn.sizes.dims import Size, failures, maximum, minimum, product

Sizes = tuple[Size, ...]


def identity(input: TensorT) -> TensorT:
    """Copy a tensor.

    >>> identity(torch.ones(1))
    tensor([1.])
    """
    return bind(Identity(), input)


def shuffle(
    input: TensorT,
    *,
    first_transpose: Sequence[int] | None = None,
    reshape_dims: Sequence[Any] | None = None,
    second_transpose: Sequence[int] | None = None,
    zero_is_placeholder: bool = True,
) -> TensorT:
    """Transpose, reshape and transpose again; each may be left out.

    Of ``reshape_dims``, one may be -1, which follows from the others, and a 0 is the size at its
    place after the first transpose (so TensorRT for RTX was seen to read it), unless
    ``zero_is_placeholder`` is False: then it is a size of 0. They may be sizes of a traced tensor.

    >>> x = torch.arange(6.0).view(2, 3)
    >>> shuffle(x, first_transpose=(1, 0), reshape_dims=(-1,))
    tensor([0., 3., 1., 4., 2., 5.])
    """
    shape = shape_of(input)
    if first_transpose is not None:
        _require_permutation("first_transpose", first_transpose, len(shape))
        shape = tuple(shape[axis] for axis in first_transpose)
    target = None
    if reshape_dims is not None:
        target = shape = _reshaped(shape, reshape_dims, zero_is_placeholder)
    if second_transpose is not None:
        _require_permutation("second_transpose", second_transpose, len(shape))
    first, second = (None if p is None else tuple(p) for p in (first_transpose, second_transpose))
    return bind(Shuffle(first, target, second), input)


def _require_permutation(name: str, given: Sequence[int], rank: int) -> None:
    if sorted(given) != list(range(rank)):
        raise ShapeError(f"shuffle: {name} {tuple(given)} is no permutation of {rank} dims")


def _reshaped(shape: Sizes, dims: Sequence[Any], zero_is_placeholder: bool) -> Sizes:
    """Return the shape that reshape dimensions ask for."""
    sizes = [as_size(size) for size in dims]
    for place, size in enumerate(sizes):
        if isinstance(size, int) and size == 0 and zero_is_placeholder:
            if place >= len(shape):
                raise ShapeError(f"shuffle: the 0 at {place} has no dim in a shape of {len(shape)}")
            sizes[place] = shape[place]
    free = [place for place, size in enumerate(sizes) if isinstance(size, int) and size == -1]
    if len(free) > 1:
        raise ShapeError(f"shuffle: expected one -1 at most in reshape_dims, got {tuple(dims)}")
    if free:
        rest = product([size for place, size in enumerate(sizes) if place != free[0]])
        if found := failures("ge", rest, 1):
            message = f"shuffle: the -1 of {tuple(dims)} stands beside a size that may be 0"
            raise unmet(found, message, sizes=(rest,))
        sizes[free[0]] = product(shape) // rest
    return tuple(sizes)


def slice(
    input: TensorT,
    start: Sequence[Any],
    shape: Sequence[Any],
    stride: Sequence[Any],
    *,
    mode: Any = "STRICT_BOUNDS",
    fill: Any = None,
    axes: Sequence[int] | None = None,
) -> TensorT:
    """Give ``out[i] = x[start + i * stride]`` in each dim; ``shape`` is the size of the result.

    Strides may be 0 or negative. Outside of the input, WRAP counts on from the other end, CLAMP
    takes the last entry, REFLECT mirrors at it, and FILL takes ``fill``, a number or a scalar,
    0 by default; STRICT_BOUNDS lets nothing be outside. With ``axes`` the three have an entry for
    each of these (a part of the layer from 10.3 on, and put in full here on every version).

    Raises:
        ShapeError: Something is outside in STRICT_BOUNDS, or there is nothing to clamp or mirror.

    >>> slice(torch.arange(3), (-1,), (5,), (1,), mode="CLAMP")
    tensor([0, 0, 1, 2, 2])
    """
    kind, own = member("slice", "mode", "SampleMode", mode), shape_of(input)
    parts = [tuple(as_size(size) for size in given) for given in (start, shape, stride)]
    given = range(len(own)) if axes is None else [axis_of("slice", a, len(own)) for a in axes]
    if any(len(part) != len(given) for part in parts):
        raise ShapeError(f"slice: expected {len(given)} entries of each, got {parts}")
    first, size, step = (
        _spread(part, given, plain)
        for part, plain in zip(parts, ((0,) * len(own), own, (1,) * len(own)), strict=True)
    )
    if fill is not None and kind != "FILL":
        raise OptionError(f"slice: fill is an error in mode {kind}")
    for axis, length in enumerate(own):
        _require_inside(kind, axis, length, first[axis], size[axis], step[axis])
    operands: list[torch.Tensor] = [input]
    if kind == "FILL":
        value = 0 if fill is None else fill
        operands.append(cast(tensor_of(value), spec_of(input).dtype))
    return bind(Slice(first, size, step, kind), *operands)


def _spread(part: Sizes, axes: Sequence[int], plain: Sizes) -> Sizes:
    result = list(plain)
    for axis, value in zip(axes, part, strict=True):
        result[axis] = value
    return tuple(result)


def _require_inside(
    mode: str, axis: int, length: Size, start: Size, size: Size, stride: Size
) -> None:
    """Raise ShapeError where a slice reads what is not there."""
    if mode in ("CLAMP", "REFLECT", "WRAP"):
        found = failures("ge", length, 1)
        if found and size != 0:
            raise unmet(found, f"slice: {mode} of dim {axis} of {length} entries", sizes=(length,))
    if mode != "STRICT_BOUNDS" or size == 0 or (start, size, stride) == (0, length, 1):
        return
    last = start + (size - 1) * stride
    low, high = minimum(start, last), maximum(start, last)
    if found := failures("ge", low, 0) or failures("lt", high, length):
        raise unmet(
            found,
            f"slice: {size} entries from {start} in steps of {stride} leave dim {axis} of {length}",
            sizes=(start, size, length),
            hint="use a mode that says what is outside",
        )


def concatenation(inputs: Sequence[TensorT], *, axis: int | None = None) -> TensorT:
    """Join tensors of one rank along ``axis``.

    Left out, it is TensorRT's ``max(0, rank - 3)``, the channels of an image: seldom what is meant.

    >>> concatenation((torch.ones(1), torch.zeros(1)), axis=0)
    tensor([1., 0.])
    """
    if not inputs:
        raise ShapeError("concatenation: expected tensors, got none")
    rank = require_rank("concatenation", *inputs)
    if rank == 0:
        raise ShapeError("concatenation: expected dims, got scalars")
    place = max(0, rank - 3) if axis is None else axis_of("concatenation", axis, rank)
    return bind(Concat(place), *inputs)


def squeeze(input: TensorT, axes: Sequence[int] | None = None) -> TensorT:
    """Take dims of size 1 away: those named, or all that are 1 whatever the Dims.

    8.6, which has no such layer, gets a Shuffle.

    >>> squeeze(torch.ones(1, 2)).shape
    torch.Size([2])
    """
    shape = shape_of(input)
    if axes is None:
        found = [axis for axis, size in enumerate(shape) if isinstance(size, int) and size == 1]
    else:
        found = sorted(axis_of("squeeze", axis, len(shape)) for axis in axes)
    return bind(Ranked("squeeze", _different("squeeze", found)), input)


def unsqueeze(input: TensorT, axes: Sequence[int]) -> TensorT:
    """Put dims of size 1 in, at places of the result.

    8.6, which has no such layer, gets a Shuffle.

    >>> unsqueeze(torch.ones(2), (0, -1)).shape
    torch.Size([1, 2, 1])
    """
    rank = len(shape_of(input)) + len(axes)
    found = sorted(axis_of("unsqueeze", axis, rank) for axis in axes)
    return bind(Ranked("unsqueeze", _different("unsqueeze", found)), input)


def _different(function: str, axes: Sequence[int]) -> tuple[int, ...]:
    if len(set(axes)) < len(axes):
        raise ShapeError(f"{function}: expected different axes, got {tuple(axes)}")
    return tuple(axes)


def reverse_sequence(
    input: TensorT, sequence_lens: TensorT, *, batch_axis: int = 1, sequence_axis: int = 0
) -> TensorT:
    """Turn the first entries of each sequence round; ``sequence_lens`` says how many.

    The axes are TensorRT's: batch first is ``batch_axis=0, sequence_axis=1``. Lengths are int32 or
    int64, at most the size of the axis.

    >>> reverse_sequence(torch.tensor([[1], [2], [3]]), torch.tensor([2])).view(-1)
    tensor([2, 1, 3])
    """
    rank = len(shape_of(input))
    batch = axis_of("reverse_sequence", batch_axis, rank)
    sequence = axis_of("reverse_sequence", sequence_axis, rank)
    if batch == sequence or rank < 2:
        raise ShapeError(
            f"reverse_sequence: expected two axes, got {batch} and {sequence} of {spec_of(input)}"
        )
    return bind(ReverseSequence(batch, sequence), input, sequence_lens)
