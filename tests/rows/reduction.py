"""Rows of reductions and softmax."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from tests.rows import B, Row, S, T
from trtnn.errors import DTypeError, ShapeError

HALF, LONG, INT, BOOL = torch.float16, torch.int64, torch.int32, torch.bool

ROWS: list[Row] = [
    *(Row(f, T(B, S, 3), 1) for f in (torch.sum, torch.mean, torch.amax, torch.amin, torch.prod)),
    *(
        Row(f, T(B, 3, dtype=HALF), -1, True, name=f"half {f.__name__} keepdim")
        for f in (torch.sum, torch.mean, torch.amax, torch.amin)
    ),
    *(
        Row(f, T(B, S), name=f"{f.__name__} of all")
        for f in (torch.sum, torch.mean, torch.max, torch.min, torch.amax, torch.prod)
    ),
    *(Row(f, T(), name=f"{f.__name__} of a scalar") for f in (torch.sum, torch.mean, torch.amin)),
    Row(torch.mean, T(B, 4, S, S), (-2, -1), keepdim=True, name="mean over H, W"),
    Row(torch.sum, T(1, 2, 1, 2, 1, 2, 1, B), (0, 7, 3), name="sum rank 8"),
    Row(torch.sum, T(B, S, dtype=INT), 0, name="sum of int32"),
    Row(torch.sum, T(B, S, dtype=BOOL), name="sum of bool"),
    Row(torch.sum, T(B, S, dtype=HALF), 1, dtype=torch.float32, name="sum dtype"),
    Row(torch.mean, T(B, S, dtype=LONG), 1, dtype=torch.float32, name="mean dtype"),
    Row(torch.mean, T(B, dtype=LONG), raises=DTypeError, name="mean of int64"),
    Row(torch.sum, T(2, 3), (0, 0), raises=ShapeError, name="sum of a dim twice"),
    Row(torch.sum, T(2, 3), 2, raises=ShapeError, name="sum of dim 2"),
    Row(torch.amax, T(B, S, dtype=LONG), (0, 1), name="amax of int64"),
    Row(torch.amax, T(B, S, dtype=BOOL), 1, name="amax of bool"),
    Row(torch.amin, T(B, S, dtype=BOOL), 0, True, name="amin of bool"),
    Row(torch.prod, T(B, S, dtype=INT, low=1, high=3), 1, True, name="prod of int32"),
    Row(torch.max, T(B, S), T(S), name="max of two"),
    Row(torch.min, T(B, S), T(B, 1), name="min of two"),
    Row(torch.any, T(B, S, dtype=BOOL)),
    Row(torch.any, T(B, S, dtype=INT, low=0, high=2), 1, name="any of ints"),
    Row(torch.all, T(B, S, dtype=BOOL), 0, True),
    Row(torch.all, T(dtype=BOOL), name="all of a scalar"),
    Row(torch.var, T(B, 5), 1),
    Row(torch.var, T(4, 3), False, name="var of all, biased"),
    Row(torch.var, T(B, 4, 3), (1, 2), correction=0, keepdim=True, name="var correction"),
    Row(torch.std, T(B, 5), -1, keepdim=True),
    Row(torch.softmax, T(B, S), -1),
    Row(F.softmax, T(4), 0, name="softmax rank 1"),
    Row(F.softmax, T(), 0, name="softmax of a scalar"),
    Row(torch.Tensor.softmax, T(B, 3, S, dtype=HALF), dim=1, name="softmax half"),
    Row(F.softmax, T(B, S, dtype=HALF), -1, dtype=torch.float32, name="softmax dtype"),
    Row(F.softmax, T(1, 2, 1, 2, 1, B, 1, S), 5, name="softmax rank 8"),
    Row(F.softmax, T(2, 3, dtype=INT), -1, raises=DTypeError, name="softmax of int32"),
    Row(F.log_softmax, T(B, S), -1),
    Row(F.log_softmax, T(B, S, dtype=HALF, low=-20.0, high=20.0), 1, name="log_softmax half"),
    Row(F.log_softmax, T(4), 0, name="log_softmax rank 1"),
]
