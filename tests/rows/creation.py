"""Rows of the functions that make tensors from sizes and numbers."""

from __future__ import annotations

import math

import torch

from tests.rows import B, C, Row, S, T
from trtnn.errors import ShapeError, UnsupportedError
from trtnn.sizes.dims import Dim

HALF, LONG, INT, BOOL = torch.float16, torch.int64, torch.int32, torch.bool

P = Dim("past", 1, 6, 40)


def relative_buckets(x: torch.Tensor, past: torch.Tensor) -> torch.Tensor:
    """Number distances as T5 does: the near ones each, the far ones in steps that grow."""
    places = torch.arange(x.shape[0])[:, None], torch.arange(past.shape[0])[None, :]
    distance = places[1] - places[0]
    buckets = (distance > 0).to(torch.long) * 8
    distance = torch.abs(distance)
    far = 4 + (torch.log(distance.float() / 4) / math.log(8) * 4).to(torch.long)
    far = torch.min(far, torch.full_like(far, 7))
    return buckets + torch.where(distance < 4, distance, far)


ROWS: list[Row] = [
    Row(torch.meshgrid, T(2, 3), T(2), raises=ShapeError, name="meshgrid of a matrix"),
    Row(lambda x: torch.arange(x.shape[1]) + x, T(B, S), name="arange to a size"),
    Row(lambda x: torch.arange(1, 2 * x.shape[0] + 1), T(B, 2), name="arange from 1"),
    Row(lambda x: torch.arange(0, x.shape[1], 2), T(B, S), name="arange step 2"),
    Row(lambda x: torch.arange(x.shape[1] - 1, -1, -1), T(B, S), name="arange down"),
    Row(lambda x: torch.arange(x.shape[0], x.shape[0] + 4), T(B, 2), name="arange from a size"),
    Row(lambda x: torch.arange(x.shape[0], dtype=x.dtype), T(S), name="arange float"),
    Row(lambda x: torch.arange(x.shape[0], dtype=HALF), T(S, dtype=HALF), name="arange half"),
    Row(lambda x: torch.arange(x.shape[0], dtype=INT, device=x.device), T(S), name="arange int32"),
    Row(lambda x: x + torch.arange(4), T(B, 4), name="arange static"),
    Row(lambda x: x + torch.arange(0, 1, 0.25), T(B, 4), name="arange of floats"),
    Row(
        lambda x: torch.arange(0, x.shape[0], 0.5),
        T(B),
        raises=UnsupportedError,
        name="arange float step to a size",
    ),
    Row(
        lambda x: torch.arange(0, 9, x.shape[0]),
        T(B),
        raises=UnsupportedError,
        name="arange step of a size",
    ),
    Row(lambda x: torch.zeros(x.shape[0], 3), T(B, S), name="zeros"),
    Row(lambda x: torch.zeros(x.shape, dtype=HALF), T(B, S), name="zeros of a shape"),
    Row(lambda x: torch.zeros(size=(2, x.shape[0])), T(B), name="zeros size="),
    Row(lambda x: x + torch.ones(3, requires_grad=False, pin_memory=False), T(B, 3), name="ones"),
    Row(lambda x: torch.ones((x.shape[0], 1), device=x.device), T(B, S), name="ones device"),
    Row(lambda x: torch.ones((x.shape[0], 1), dtype=BOOL), T(B, S), name="ones bool"),
    Row(lambda x: torch.full((x.shape[1], 2), -1.5), T(B, S), name="full"),
    Row(lambda x: torch.full((x.shape[1],), 7), T(B, S), name="full int64"),
    Row(lambda x: torch.full((x.shape[0],), True), T(B, S), name="full bool"),
    Row(lambda x: torch.full((2,), x.shape[0]), T(B), name="full of size"),
    Row(lambda x: torch.full((x.shape[0], 1), x.shape[0] / 2), T(B), name="full of half a size"),
    Row(lambda x, y: torch.full((x.shape[0], 2), y), T(B), T(dtype=HALF), name="full of a tensor"),
    Row(torch.zeros_like, T(B, S)),
    Row(torch.ones_like, T(B, S, dtype=HALF)),
    Row(torch.ones_like, T(B, S, dtype=HALF), dtype=INT, name="ones_like int32"),
    Row(torch.full_like, T(B, S, dtype=LONG), 5),
    Row(torch.full_like, T(), 0.5, name="full_like a scalar"),
    Row(torch.zeros_like, T(1, 2, 1, 2, 1, 2, 1, B), name="zeros_like rank 8"),
    Row(lambda x: x.new_zeros(x.shape[0], 2), T(B, S, dtype=HALF), name="new_zeros"),
    Row(lambda x: x.new_ones((), dtype=BOOL) & (x > 0), T(B, S), name="new_ones"),
    Row(lambda x: x.new_full((2, x.shape[0]), 3), T(B, S), name="new_full"),
    Row(lambda x: torch.empty(x.shape[0]).fill_(2.0), T(B), name="empty, then filled"),
    Row(lambda x: torch.tril(torch.ones(x.shape[0], x.shape[0])), T(S), name="causal mask"),
    Row(
        lambda x: x + torch.triu(torch.full((x.shape[1], x.shape[1]), -1e9), diagonal=1),
        T(B, S, S),
        name="causal mask to add",
    ),
    Row(torch.tril, T(B, S, 4), -1),
    Row(torch.triu, T(3, S, dtype=LONG), 2),
    Row(lambda x: torch.tril(x, x.shape[1] - 3), T(4, S, dtype=BOOL), name="tril from a size"),
    Row(torch.tril, T(3), raises=ShapeError),
    Row(lambda x: torch.eye(x.shape[0]), T(S), name="eye"),
    Row(lambda x: torch.eye(3, x.shape[0], dtype=INT), T(S), name="eye of two sizes"),
    Row(lambda x: torch.linspace(0, 1, x.shape[0]), T(S), name="linspace"),
    Row(lambda x: torch.linspace(-1, x.shape[0], 2 * x.shape[0]), T(S), name="linspace to a size"),
    Row(lambda x: x + torch.linspace(2.5, -1, 6), T(B, 6), name="linspace static"),
    Row(
        lambda x: torch.meshgrid(torch.arange(x.shape[0]), torch.arange(x.shape[1]), indexing="ij"),
        T(B, S),
        name="meshgrid",
    ),
    Row(lambda x, y: torch.meshgrid(x, y, indexing="xy"), T(S), T(3), name="meshgrid xy"),
    Row(torch.outer, T(S), T(4)),
    Row(
        lambda x: (torch.arange(x.shape[0])[None] - torch.arange(x.shape[0])[:, None]).abs(),
        T(S),
        name="relative positions",
    ),
    Row(lambda x: torch.zeros(x.shape[0] - 1), T(2 * S + 1), name="zeros of an affine size"),
    Row(lambda x: torch.zeros(x.shape[0] // 3 + 1), T(2 * S + 1), name="zeros of a quotient"),
    Row(lambda x: torch.zeros(x.shape[0] % 3 + 1), T(S), name="zeros of a remainder"),
    Row(
        lambda x: torch.zeros(torch.sym_max(x.shape[0], x.shape[1])),
        T(B, S),
        name="zeros of the larger size",
    ),
    Row(relative_buckets, T(S, 1), T(P, 1), name="T5's relative positions"),
    Row(
        lambda x, table: x + table[:, : x.shape[1]],
        T(B, S, 3),
        C(1, 12, 3),
        name="a table cut to a size",
    ),
    Row(
        lambda x, table: x + table[x.shape[1] - 1 : 2 * x.shape[1] - 1],
        T(B, S, 3),
        C(20, 3),
        name="a table cut between sizes",
    ),
]
