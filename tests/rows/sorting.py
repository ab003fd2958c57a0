"""Rows of entries in order, of what is found by their order, and of what is refused."""

from __future__ import annotations

import torch

from tests.rows import B, C, Row, S, T
from trtnn.errors import ShapeError, UnsupportedError
from trtnn.sizes.dims import Dim

HALF, LONG, INT, BOOL = torch.float16, torch.int64, torch.int32, torch.bool
N = Dim("entries", 1, 6, 9)
FLOATS_ONLY = {"8.6": "ranks floats only"}

ROWS: list[Row] = [
    Row(torch.quantile, T(4), 1.5, raises=ShapeError, name="quantile beyond all"),
    Row(torch.sort, T(B, N), -1, True),
    Row(torch.sort, T(N, 3, dtype=HALF), dim=0, stable=True, name="sort stably, half"),
    Row(
        torch.sort,
        T(B, N, 2, dtype=LONG, low=0, high=3),
        dim=1,
        stable=True,
        unsupported=FLOATS_ONLY,
        name="sort ties stably",
    ),
    Row(lambda x: x.sort(descending=True)[0], T(B, 5, dtype=BOOL), name="sort of bools"),
    Row(torch.sort, T(B, 0), name="sort of none"),
    Row(torch.argsort, T(2, 1, B, 1, 2, S), dim=0, name="argsort of a dim in front"),
    Row(torch.msort, T(), name="msort of a scalar"),
    Row(torch.sort, T(4000), raises=UnsupportedError, name="sort of many"),
    Row(torch.kthvalue, T(B, N), 1, keepdim=True),
    Row(torch.median, T(B, N), 1),
    Row(torch.median, T(2, 2, dtype=LONG), unsupported=FLOATS_ONLY, name="median of all, ints"),
    Row(torch.mode, T(B, 4, dtype=LONG, low=0, high=2), 1, name="mode"),
    Row(
        lambda x: torch.where(x > 0, x, float("nan")).nanmedian(0, keepdim=True)[0],
        T(N, 3),
        name="nanmedian",
    ),
    Row(torch.quantile, T(B, N), C(3, low=0.0), 1, name="quantile"),
    Row(torch.quantile, T(2, N), 0.3, interpolation="nearest", name="quantile of all"),
    Row(
        lambda x: torch.where(x > 0, x, float("nan")).nanquantile(0.7, 1, True),
        T(B, N, dtype=torch.float32),
        name="nanquantile",
    ),
    Row(torch.searchsorted, torch.tensor([-1.0, 0.0, 0.5]), T(B, S), right=True),
    Row(
        torch.searchsorted,
        T(B, 3, dtype=LONG, low=0, high=1),
        T(B, S, dtype=LONG),
        out_int32=True,
        name="searchsorted in rows",
    ),
    Row(torch.bucketize, T(B, S, dtype=HALF), torch.tensor([-1.0, 0.0, 1.0])),
    Row(torch.histc, T(B, S), 4, -1, 1),
    Row(torch.histc, T(2, S), 3, name="histc from the smallest to the largest"),
    Row(torch.unique, T(4), raises=UnsupportedError),
    Row(torch.linalg.inv, T(2, 2), raises=UnsupportedError),
    Row(torch.bincount, T(4, dtype=LONG), raises=UnsupportedError),
]
