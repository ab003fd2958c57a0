"""Rows of the ops that move entries."""

from __future__ import annotations

import torch

from tests.rows import B, Row, S, T
from trtnn.errors import ShapeError, UnsupportedError

HALF = torch.float16

ROWS: list[Row] = [
    Row(torch.reshape, T(B, 6), (-1, 2, 3)),
    Row(torch.Tensor.reshape, T(2, S, 4), 2, -1),
    Row(lambda x: x.view(*x.shape[:2], 2, 4), T(B, S, 8), name="view heads"),
    Row(torch.Tensor.view, T(6, dtype=HALF), 2, 3),
    Row(torch.Tensor.view, T(1), (), name="view to a scalar"),
    Row(torch.Tensor.view, T(4), torch.int32, raises=UnsupportedError),
    Row(torch.reshape, T(4), (3,), raises=ShapeError),
    Row(torch.flatten, T(B, 3, 2, 2), 1),
    Row(torch.flatten, T(), name="flatten a scalar"),
    Row(torch.unflatten, T(B, 12), 1, (3, -1)),
    Row(torch.squeeze, T(1, B, 1), -1),
    Row(torch.unsqueeze, T(B, 3), 1),
    Row(torch.permute, T(B, S, 2, dtype=HALF), (2, 0, 1)),
    Row(torch.transpose, T(B, S, 2), 1, -1),
    Row(torch.t, T(2, S)),
    Row(lambda x: x.mT, T(B, 2, S), name="mT"),
    Row(torch.movedim, T(1, 2, 3, 4, 1, 2, 1, 2), (0, 3), (5, 1), name="movedim rank 8"),
    Row(torch.clone, T(B, 2)),
    Row(torch.clone, T(dtype=HALF), name="clone a scalar"),
    Row(torch.clone, T(B, S, dtype=torch.int64), name="clone int64"),
    Row(torch.Tensor.expand, T(3, 1), 2, -1, 4),
    Row(torch.Tensor.expand, T(B, 1, 2, dtype=HALF), -1, 3, -1),
    Row(lambda x, y: x.expand_as(y), T(1, S), T(B, S), name="expand_as"),
    Row(torch.Tensor.repeat, T(B, 2), 2, 3),
    Row(torch.repeat_interleave, T(B, 2), 2, 1),
]
