"""Rows of the functions that make tensors from sizes and numbers."""

from __future__ import annotations

import torch

from tests.rows import B, Row, S, T
from trtnn.errors import UnsupportedError

HALF, LONG, INT, BOOL = torch.float16, torch.int64, torch.int32, torch.bool

ROWS: list[Row] = [
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
    Row(lambda x: torch.full((2,), x.shape[0]), T(B), raises=UnsupportedError, name="full of size"),
    Row(torch.zeros_like, T(B, S)),
    Row(torch.ones_like, T(B, S, dtype=HALF)),
    Row(torch.ones_like, T(B, S, dtype=HALF), dtype=INT, name="ones_like int32"),
    Row(torch.full_like, T(B, S, dtype=LONG), 5),
    Row(torch.full_like, T(), 0.5, name="full_like a scalar"),
    Row(torch.zeros_like, T(1, 2, 1, 2, 1, 2, 1, B), name="zeros_like rank 8"),
    Row(lambda x: x.new_zeros(x.shape[0], 2), T(B, S, dtype=HALF), name="new_zeros"),
    Row(lambda x: x.new_ones((), dtype=BOOL) & (x > 0), T(B, S), name="new_ones"),
    Row(lambda x: x.new_full((2, x.shape[0]), 3), T(B, S), name="new_full"),
    Row(lambda x: torch.empty(x.shape[0]), T(B), raises=UnsupportedError, name="empty"),
    Row(torch.empty_like, T(B), raises=UnsupportedError),
]
