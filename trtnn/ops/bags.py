"""Bags of embeddings: rows of a table that are looked up and reduced together."""

from __future__ import annotations

from typing import Any

import torch

from trtnn.errors import ShapeError, UnsupportedError
from trtnn.ops.arithmetic import cast, ge, logical_and, lt, maximum, mul, ne, where
from trtnn.ops.creation import arange, full
from trtnn.ops.division import div
from trtnn.ops.indexing import embedding
from trtnn.ops.matrix import matmul
from trtnn.ops.movement import reshape, unsqueeze
from trtnn.ops.op import TensorT, shape_of, spec_of, torch_function
from trtnn.ops.reduction import amax
from trtnn.ops.reduction import any as any_of
from trtnn.ops.reduction import sum as total
from trtnn.ops.slicing import cat, narrow

__all__ = ["embedding_bag"]


@torch_function(torch.nn.functional.embedding_bag)
def embedding_bag(
    input: TensorT,
    weight: TensorT,
    offsets: TensorT | None = None,
    max_norm: float | None = None,
    norm_type: float = 2.0,
    scale_grad_by_freq: bool = False,
    mode: str = "mean",
    sparse: bool = False,
    per_sample_weights: TensorT | None = None,
    include_last_offset: bool = False,
    padding_idx: int | None = None,
) -> TensorT:
    """Look up rows of a table and reduce each bag of them: rows of ``input``, or from offsets on.

    Raises:
        UnsupportedError: ``max_norm``, which changes the table.

    >>> embedding_bag(torch.tensor([[0, 1]]), torch.tensor([[1.0], [2.0]]), mode="sum")
    tensor([[3.]])
    """
    indices, table = spec_of(input), spec_of(weight)
    if max_norm is not None:
        raise UnsupportedError("embedding_bag: max_norm changes the table while it is read")
    if mode not in ("sum", "mean", "max") or (per_sample_weights is not None and mode != "sum"):
        raise UnsupportedError(f"embedding_bag: mode {mode!r}, and weights of samples with it")
    if indices.rank not in (1, 2) or (indices.rank == 1) != (offsets is not None):
        raise ShapeError(f"embedding_bag: expected (N, L), or (L,) and offsets, got {indices}")
    counts = None
    if padding_idx is not None:
        counts = ne(input, padding_idx % table.shape[0] if padding_idx < 0 else padding_idx)
    rows = embedding(input, weight)
    if offsets is None:
        given = full(indices.shape, True, dtype=torch.bool) if counts is None else counts
        return _reduced(rows, given, per_sample_weights, mode)
    belongs = _members(offsets, indices.shape[0], include_last_offset)
    if counts is not None:
        belongs = logical_and(belongs, unsqueeze(counts, 0))
    return _reduced(unsqueeze(rows, 0), belongs, per_sample_weights, mode)


def _members(offsets: TensorT, length: Any, include_last: bool) -> TensorT:
    """Return which of ``length`` places each bag has, (bags, length)."""
    count = shape_of(offsets)[0]
    if include_last:
        starts, ends = narrow(offsets, 0, 0, count - 1), narrow(offsets, 0, 1, count - 1)
    else:
        starts = offsets
        last = full((1,), length, dtype=spec_of(offsets).dtype)
        ends = cat([narrow(offsets, 0, 1, count - 1), last], 0)
    places = unsqueeze(cast(arange(length), spec_of(offsets).dtype), 0)
    return logical_and(ge(places, unsqueeze(starts, 1)), lt(places, unsqueeze(ends, 1)))


def _reduced(rows: TensorT, members: TensorT, weights: TensorT | None, mode: str) -> TensorT:
    """Reduce rows (1 or bags, entries, width) by who is in which bag (bags, entries)."""
    dtype = spec_of(rows).dtype
    if mode == "max":
        least = torch.finfo(dtype).min
        most = amax(where(unsqueeze(members, 2), rows, least), (1,))
        return where(unsqueeze(any_of(members, 1), 1), most, 0.0)
    shares = cast(members, dtype)
    if weights is not None:
        shares = mul(shares, weights)
    bags, entries = shape_of(members)
    sums = reshape(matmul(reshape(shares, (bags, 1, entries)), rows), (bags, shape_of(rows)[2]))
    if mode == "sum":
        return sums
    number = maximum(total(shares, 1), torch.tensor(1.0, dtype=dtype))
    return div(sums, unsqueeze(number, 1))
