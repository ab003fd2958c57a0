"""Rows of the functions that find the largest and the smallest entries."""

from __future__ import annotations

import torch

from tests.rows import B, Row, S, T
from trtnn.errors import DTypeError, ShapeError, UnsupportedError
from trtnn.sizes.dims import Dim

HALF, LONG, INT, BOOL = torch.float16, torch.int64, torch.int32, torch.bool
N = Dim("entries", 3, 6, 9)
FLOATS_ONLY = {"8.6": "ranks floats only"}

ROWS: list[Row] = [
    Row(torch.topk, T(B, N), 3),
    Row(torch.topk, T(B, 6, S), 2, 1, False, name="topk smallest"),
    Row(lambda x: torch.topk(x, 2).values, T(N), name="topk rank 1"),
    Row(torch.topk, T(), 1, name="topk of a scalar"),
    Row(torch.topk, T(5, 2, 1, 2, 1, B), 2, 0, name="topk of a dim in front"),
    Row(lambda x: torch.topk(x, x.shape[1] // 2, dim=1), T(B, 2 * S), name="topk of half a size"),
    Row(lambda x: torch.topk(x, torch.sym_min(x.shape[0], 5), 0), T(N, 2), name="topk of at most"),
    Row(lambda x: x.half().topk(1)[0], T(B, 4), name="topk half"),
    Row(
        lambda x: torch.topk(x, 2).values,
        T(B, N, dtype=INT, low=-99, high=99),
        unsupported=FLOATS_ONLY,
        name="topk of ints",
    ),
    Row(torch.topk, T(B, 3), 4, raises=ShapeError),
    Row(torch.topk, T(1, 4000), 3841, raises=UnsupportedError),
    Row(torch.topk, T(4, dtype=BOOL), 1, raises=DTypeError),
    Row(torch.max, T(B, S, 3), 1, name="max along a dim"),
    Row(torch.max, T(B, S, dtype=INT, low=0, high=3), -1, True, name="max with ties"),
    Row(torch.max, T(B, 4, dtype=BOOL), 1, name="max of bools"),
    Row(torch.max, T(), 0, name="max of a scalar along a dim"),
    Row(torch.max, T(B, S), T(S), name="max of two"),
    Row(torch.max, T(B, S), name="max of all"),
    Row(torch.min, T(B, S, dtype=HALF), 0, name="min along a dim"),
    Row(lambda x: x.min(-1).indices, T(B, S, dtype=LONG, low=0, high=3), name="min with ties"),
    Row(torch.min, T(B, S), name="min of all"),
    Row(torch.argmax, T(B, S), 1),
    Row(torch.argmax, T(B, S, dtype=INT, low=0, high=2), -1, True, name="argmax with ties"),
    Row(torch.argmax, T(B, S), name="argmax of all"),
    Row(torch.argmax, T(2, S), None, True, name="argmax of all, kept"),
    Row(torch.argmin, T(S, 3, dtype=HALF), 0),
    Row(
        lambda x: torch.where(x > 0, float("nan"), x).argmax(1),
        T(B, S),
        name="argmax of NaN",
        differs="where it is NaN, its maximum is not",
    ),
    Row(torch.argmax, T(B, dtype=BOOL), raises=DTypeError),
]
