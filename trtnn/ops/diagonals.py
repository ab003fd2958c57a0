"""Diagonals of matrices: read, written, and made of vectors."""

from __future__ import annotations

from typing import Any

import torch

from trtnn.errors import ShapeError
from trtnn.ops.arithmetic import cast, eq, where
from trtnn.ops.creation import arange, full
from trtnn.ops.movement import flatten, movedim, reshape, unsqueeze
from trtnn.ops.op import TensorT, as_size, axis_of, shape_of, spec_of, torch_function
from trtnn.ops.padding import pad
from trtnn.ops.scattering import replaced
from trtnn.ops.slicing import along, cat
from trtnn.sizes.dims import Size, decide, maximum, minimum

__all__ = ["block_diag", "diag", "diag_embed", "diagflat", "diagonal", "diagonal_scatter"]

T = torch.Tensor


def _matrices(
    function: str, input: TensorT, offset: Any, dim1: int, dim2: int
) -> tuple[TensorT, tuple[Size, Size, Size]]:
    """Return matrices with their entries in one dim, and where the diagonal lies in it."""
    rank = spec_of(input).rank
    axes = [axis_of(function, d, rank) for d in (dim1, dim2)]
    if axes[0] == axes[1] or rank < 2:
        raise ShapeError(f"{function}: expected two dims, got {dim1} and {dim2} of rank {rank}")
    moved = movedim(input, axes, [-2, -1])
    *_, rows, columns = shape_of(moved)
    place = as_size(offset)
    below = decide("lt", place, 0)
    if below is None:
        raise ShapeError(
            f"{function}: offset {place} may be negative or not", hint="narrow its Dim"
        )
    start = -place * columns if below else place
    count = minimum(rows + place, columns) if below else minimum(rows, columns - place)
    count = maximum(count, 0)
    return flatten(moved, -2), (start if count != 0 else 0, count, columns + 1)


@torch_function(torch.diagonal, T.diagonal)
def diagonal(input: TensorT, offset: Any = 0, dim1: int = 0, dim2: int = 1) -> TensorT:
    """Return the diagonals of the matrices in two dims, along a new last dim.

    >>> diagonal(torch.arange(4).view(2, 2))
    tensor([0, 3])
    """
    flat, cut = _matrices("diagonal", input, offset, dim1, dim2)
    return along(flat, spec_of(flat).rank - 1, *cut)


@torch_function(torch.linalg.diagonal)
def matrix_diagonal(A: TensorT, *, offset: int = 0, dim1: int = -2, dim2: int = -1) -> TensorT:
    """Return the diagonals of the matrices in the last two dims."""
    return diagonal(A, offset, dim1, dim2)


@torch_function(torch.diagonal_scatter, T.diagonal_scatter)
def diagonal_scatter(
    input: TensorT, src: TensorT, offset: Any = 0, dim1: int = 0, dim2: int = 1
) -> TensorT:
    """Return ``input`` with ``src`` as the diagonals of the matrices in two dims."""
    flat, (start, count, step) = _matrices("diagonal_scatter", input, offset, dim1, dim2)
    shape, rank = shape_of(flat), spec_of(input).rank
    wanted = (*shape[:-1], count)
    if shape_of(src) != wanted:
        raise ShapeError(f"diagonal_scatter: expected src of {wanted}, got {spec_of(src)}")
    zeros, ones = (0,) * (rank - 2), (1,) * (rank - 2)
    new = cast(src, spec_of(input).dtype)
    result = replaced(flat, (*zeros, start), wanted, (*ones, step), new)
    axes = [axis_of("diagonal_scatter", d, rank) for d in (dim1, dim2)]
    moved = [s for i, s in enumerate(shape_of(input)) if i not in axes]
    sizes = (*moved, *(shape_of(input)[a] for a in axes))
    return movedim(reshape(result, sizes), [-2, -1], axes)


@torch_function(torch.diag_embed, T.diag_embed)
def diag_embed(input: TensorT, offset: int = 0, dim1: int = -2, dim2: int = -1) -> TensorT:
    """Return matrices in two dims with the entries of the last dim as diagonals, 0 elsewhere.

    >>> diag_embed(torch.tensor([1, 2]))
    tensor([[1, 0],
            [0, 2]])
    """
    rank, size = spec_of(input).rank + 1, shape_of(input)[-1]
    axes = [axis_of("diag_embed", d, rank) for d in (dim1, dim2)]
    if axes[0] == axes[1]:
        raise ShapeError(f"diag_embed: expected two dims, got {dim1} twice")
    places = arange(size)
    same = eq(unsqueeze(places, 1), unsqueeze(places, 0))
    zero = torch.zeros((), dtype=spec_of(input).dtype)
    square = where(same, unsqueeze(input, -1), zero)
    right, down = max(offset, 0), max(-offset, 0)
    return movedim(pad(square, (right, down, down, right)), [-2, -1], axes)


@torch_function(torch.diag, T.diag)
def diag(input: TensorT, diagonal: int = 0) -> TensorT:
    """Return the diagonal of a matrix, or the matrix of a vector.

    >>> diag(diag(torch.tensor([1, 2])))
    tensor([1, 2])
    """
    if spec_of(input).rank not in (1, 2):
        raise ShapeError(f"diag: expected a vector or a matrix, got {spec_of(input)}")
    return (diag_embed if spec_of(input).rank == 1 else _diagonal)(input, diagonal)


_diagonal = diagonal


@torch_function(torch.diagflat, T.diagflat)
def diagflat(input: TensorT, offset: int = 0) -> TensorT:
    """Return the matrix with all entries as its diagonal."""
    return diag_embed(flatten(input), offset)


@torch_function(T.fill_diagonal_)
def filled_diagonal(input: TensorT, fill_value: Any, wrap: bool = False) -> TensorT:
    """Return what ``fill_diagonal_`` leaves: a number where all indices are equal."""
    shape = shape_of(input)
    step: Size = 0
    for size in shape:
        step = step * size + 1
    length = minimum(*shape[:2]) if len(shape) == 2 else shape[0]
    flat = flatten(input)
    total = shape_of(flat)[0]
    if wrap and len(shape) == 2:
        length = (total + step - 1) // step
    new = full((length,), fill_value, dtype=spec_of(input).dtype)
    return reshape(replaced(flat, (0,), (length,), (step,), new), shape)


@torch_function(torch.block_diag)
def block_diag(*tensors: Any) -> TensorT:
    """Lay matrices along the diagonal of a larger one; a vector is a row.

    >>> block_diag(torch.tensor([1]), torch.tensor([[2, 3]]))
    tensor([[1, 0, 0],
            [0, 2, 3]])
    """
    items = tensors[0] if len(tensors) == 1 and isinstance(tensors[0], (tuple, list)) else tensors
    for item in items:
        if spec_of(item).rank > 2:
            raise ShapeError(f"block_diag: expected at most 2 dims, got {spec_of(item)}")
    blocks = [t if spec_of(t).rank == 2 else reshape(t, 1, -1) for t in items]
    widths = [shape_of(t)[1] for t in blocks]
    total: Size = 0
    for width in widths:
        total = total + width
    rows: list[TensorT] = []
    before: Size = 0
    for block, width in zip(blocks, widths, strict=True):
        # By joining: 8.6.0 fails on a row of pads ("Assertion slice->inputs.size() == 1").
        height, after = shape_of(block)[0], total - before - width
        dtype = spec_of(block).dtype
        left, right = (
            [] if decide("eq", size, 0) else [full((height, size), 0, dtype=dtype)]
            for size in (before, after)
        )
        rows.append(cat([*left, block, *right], 1))
        before = before + width
    return cat(rows)
