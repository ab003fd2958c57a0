"""NumPy's names for joining and cutting: stacks, splits along a fixed dim, products of lists."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import torch

from trtnn.errors import ShapeError, UnsupportedError
from trtnn.ops.joining import chunk, flip, split, split_with_sizes, stack, tensor_split
from trtnn.ops.movement import flatten, reshape, transpose, unsqueeze
from trtnn.ops.op import TensorT, axis_of, shape_of, spec_of, torch_function
from trtnn.ops.positions import meshgrid
from trtnn.ops.slicing import cat
from trtnn.sizes.dims import decide

__all__ = [
    "atleast_1d",
    "atleast_2d",
    "atleast_3d",
    "cartesian_prod",
    "column_stack",
    "combinations",
    "dsplit",
    "dstack",
    "hsplit",
    "hstack",
    "rot90",
    "vsplit",
    "vstack",
]

T = torch.Tensor
torch_function(torch.unsafe_split, T.unsafe_split)(split)
torch_function(torch.unsafe_split_with_sizes, T.unsafe_split_with_sizes)(split_with_sizes)
torch_function(torch.unsafe_chunk, T.unsafe_chunk)(chunk)


def _each(function: Callable[[TensorT], TensorT], tensors: tuple[Any, ...]) -> Any:
    items = tensors[0] if len(tensors) == 1 else tensors
    return tuple(map(function, items)) if isinstance(items, (tuple, list)) else function(items)


@torch_function(torch.atleast_1d)
def atleast_1d(*tensors: Any) -> Any:
    """Return a scalar as a vector of one entry, others as they are."""
    return _each(lambda t: t if shape_of(t) else reshape(t, 1), tensors)


@torch_function(torch.atleast_2d)
def atleast_2d(*tensors: Any) -> Any:
    """Return a vector as a row, others as they are."""
    return _each(lambda t: t if spec_of(t).rank > 1 else reshape(t, 1, -1), tensors)


@torch_function(torch.atleast_3d)
def atleast_3d(*tensors: Any) -> Any:
    """Return a matrix as planes of one entry, others as they are.

    >>> atleast_3d(torch.zeros(2)).shape
    torch.Size([1, 2, 1])
    """

    def raised(t: TensorT) -> TensorT:
        rank = spec_of(t).rank
        return t if rank > 2 else unsqueeze(t, 2) if rank == 2 else reshape(t, 1, -1, 1)

    return _each(raised, tensors)


@torch_function(torch.hstack)
def hstack(tensors: Any) -> TensorT:
    """Join along dim 1, vectors along dim 0."""
    items = atleast_1d(list(tensors))
    return cat(items, 0 if spec_of(items[0]).rank == 1 else 1)


@torch_function(torch.vstack, torch.row_stack)
def vstack(tensors: Any) -> TensorT:
    """Join along dim 0, vectors as rows."""
    return cat(atleast_2d(list(tensors)), 0)


@torch_function(torch.dstack)
def dstack(tensors: Any) -> TensorT:
    """Join along dim 2."""
    return cat(atleast_3d(list(tensors)), 2)


@torch_function(torch.column_stack)
def column_stack(tensors: Any) -> TensorT:
    """Join along dim 1, vectors as columns.

    >>> column_stack([torch.tensor([1, 2]), torch.tensor([3, 4])])
    tensor([[1, 3],
            [2, 4]])
    """
    return cat([t if spec_of(t).rank > 1 else reshape(t, -1, 1) for t in tensors], 1)


def _cut(
    name: str, input: TensorT, places: tuple[Any, ...], dim: int, least: int
) -> tuple[TensorT, ...]:
    given = places[0] if len(places) == 1 else places
    shape = shape_of(input)
    if len(shape) < least:
        raise ShapeError(f"{name}: expected at least {least} dims, got {spec_of(input)}")
    if isinstance(given, int) and decide("ne", shape[dim] % given, 0) is not False:
        raise ShapeError(f"{name}: size {shape[dim]} of dim {dim} does not divide into {given}")
    return tensor_split(input, given, dim)


@torch_function(torch.hsplit, T.hsplit)
def hsplit(input: TensorT, *indices_or_sections: Any) -> tuple[TensorT, ...]:
    """Cut dim 1 into equal parts or at indices; of a vector dim 0."""
    return _cut("hsplit", input, indices_or_sections, int(spec_of(input).rank > 1), 1)


@torch_function(torch.vsplit, T.vsplit)
def vsplit(input: TensorT, *indices_or_sections: Any) -> tuple[TensorT, ...]:
    """Cut dim 0 into equal parts or at indices."""
    return _cut("vsplit", input, indices_or_sections, 0, 2)


@torch_function(torch.dsplit, T.dsplit)
def dsplit(input: TensorT, *indices_or_sections: Any) -> tuple[TensorT, ...]:
    """Cut dim 2 into equal parts or at indices."""
    return _cut("dsplit", input, indices_or_sections, 2, 3)


@torch_function(torch.rot90, T.rot90)
def rot90(input: TensorT, k: int = 1, dims: Any = (0, 1)) -> TensorT:
    """Turn the plane of two dims by quarters, from the first towards the second.

    >>> rot90(torch.tensor([[1, 2], [3, 4]]))
    tensor([[2, 4],
            [1, 3]])
    """
    a, b = (axis_of("rot90", d, spec_of(input).rank) for d in dims)
    if a == b:
        raise ShapeError(f"rot90: expected two dims, got {tuple(dims)}")
    if k % 2 == 0:
        return flip(input, (a, b)) if k % 4 else input
    return transpose(flip(input, b if k % 4 == 1 else a), a, b)


@torch_function(torch.cartesian_prod)
def cartesian_prod(*tensors: Any) -> TensorT:
    """Return each choice of one entry of each vector as a row.

    >>> cartesian_prod(torch.tensor([1, 2]), torch.tensor([3]))
    tensor([[1, 3],
            [2, 3]])
    """
    items = tensors[0] if len(tensors) == 1 and isinstance(tensors[0], (tuple, list)) else tensors
    if len(items) == 1:
        return items[0]
    return stack([flatten(t) for t in meshgrid(*items, indexing="ij")], 1)


@torch_function(torch.combinations)
def combinations(input: TensorT, r: int = 2, with_replacement: bool = False) -> TensorT:
    """Return each choice of ``r`` entries of a vector as a row, in order.

    Raises:
        UnsupportedError: The vector's size is not known.
    """
    (size,) = shape_of(input)
    if not isinstance(size, int):
        raise UnsupportedError(f"combinations: the number of those of {size} entries is not known")
    choose = itertools.combinations_with_replacement if with_replacement else itertools.combinations
    rows = torch.tensor(list(choose(range(size), r)), dtype=torch.int64).reshape(-1, r)
    return input[rows] if rows.numel() else torch.empty(rows.shape, dtype=spec_of(input).dtype)
