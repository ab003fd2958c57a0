"""How far apart vectors are, and how alike their directions."""

from __future__ import annotations

from typing import Any

import torch

from trtnn.errors import ShapeError, UnsupportedError
from trtnn.ops.arithmetic import add, cast, mul, promote, sub
from trtnn.ops.division import div
from trtnn.ops.indexing import index_select
from trtnn.ops.movement import expand, flatten, reshape, unsqueeze
from trtnn.ops.norms import vector_norm
from trtnn.ops.op import TensorT, axis_of, broadcast, shape_of, spec_of, torch_function
from trtnn.ops.pointwise import clamp
from trtnn.ops.reduction import sum

__all__ = ["cdist", "cosine_similarity", "dist", "pairwise_distance", "pdist"]

T = torch.Tensor


@torch_function(torch.nn.functional.cosine_similarity, torch.cosine_similarity)
def cosine_similarity(x1: TensorT, x2: TensorT, dim: int = 1, eps: float = 1e-8) -> TensorT:
    """Multiply the directions of two vectors; a norm below ``eps`` counts as ``eps``.

    >>> cosine_similarity(torch.tensor([1.0, 0.0]), torch.tensor([3.0, 4.0]), 0)
    tensor(0.6000)
    """
    pair = promote(x1, x2)
    shape = broadcast("cosine_similarity", *map(shape_of, pair))
    axis = axis_of("cosine_similarity", dim, len(shape))
    directions = []
    for x in pair:
        own = (1,) * (len(shape) - len(shape_of(x))) + shape_of(x)
        wide = cast(reshape(x, own), torch.float32)
        if shape:  # a norm is of as many entries as the product has
            wide = expand(wide, (*own[:axis], shape[axis], *own[axis + 1 :]))
        directions.append(div(wide, clamp(vector_norm(wide, 2, axis, True), eps)))
    return cast(sum(mul(*directions), axis), spec_of(pair[0]).dtype)


@torch_function(torch.nn.functional.pairwise_distance, torch.pairwise_distance)
def pairwise_distance(
    x1: TensorT, x2: TensorT, p: float = 2.0, eps: float = 1e-6, keepdim: bool = False
) -> TensorT:
    """Compute the norm of ``x1 - x2 + eps`` along the last dim."""
    return vector_norm(add(sub(x1, x2), eps), p, -1, keepdim)


@torch_function(torch.cdist, torch.functional.cdist)
def cdist(x1: TensorT, x2: TensorT, p: float = 2.0, compute_mode: Any = None) -> TensorT:
    """Return the distance of each row of one matrix to each of another.

    By differences in every mode: the square of a small distance, as a difference of products,
    would be lost in the products' rounding.

    >>> cdist(torch.tensor([[0.0, 0.0]]), torch.tensor([[3.0, 4.0], [0.0, 1.0]]))
    tensor([[5., 1.]])
    """
    for x in (x1, x2):
        if len(shape_of(x)) < 2:
            raise ShapeError(f"cdist: expected at least 2 dims, got {spec_of(x)}")
    apart = sub(unsqueeze(x1, -2), unsqueeze(x2, -3))
    return vector_norm(apart, p, -1)


@torch_function(torch.nn.functional.pdist, torch.pdist)
def pdist(input: TensorT, p: float = 2.0) -> TensorT:
    """Return the distances between all rows of a matrix, each pair once.

    Raises:
        UnsupportedError: The number of rows is symbolic.
    """
    if len(shape_of(input)) != 2:
        raise ShapeError(f"pdist: expected a matrix, got {spec_of(input)}")
    rows = shape_of(input)[0]
    if not isinstance(rows, int):
        raise UnsupportedError(
            f"pdist: expected a static number of rows, got {rows}", hint="use torch.cdist(x, x)"
        )
    first, second = torch.triu_indices(rows, rows, 1)
    apart = sub(index_select(input, 0, first), index_select(input, 0, second))
    return vector_norm(apart, p, -1)


@torch_function(torch.dist, T.dist)
def dist(input: TensorT, other: TensorT, p: float = 2) -> TensorT:
    """Compute the norm of a difference, all of its entries as one vector."""
    return vector_norm(flatten(sub(input, other)), p)
