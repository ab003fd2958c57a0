"""Rows of running sums, differences and spread."""

from __future__ import annotations

import torch

from tests.rows import B, C, Row, S, T
from trtnn.errors import ShapeError

HALF, LONG, INT, BOOL = torch.float16, torch.int64, torch.int32, torch.bool

ROWS: list[Row] = [
    Row(torch.cumsum, T(B, S), 1),
    Row(torch.cumsum, T(B, S, 3, dtype=INT), -2, name="cumsum of ints"),
    Row(torch.cumsum, T(B, S, dtype=BOOL), 0, name="cumsum of bools"),
    Row(torch.cumsum, T(4, dtype=HALF), 0, dtype=torch.float32, name="cumsum of half in float"),
    Row(torch.cumsum, T(), 0, name="cumsum of a scalar"),
    Row(
        lambda x: (x.ne(1).cumsum(1) * x.ne(1)).long() + 1,
        T(B, S, dtype=LONG, low=0, high=3),
        name="positions of what is not padding",
    ),
    Row(torch.diff, T(B, S)),
    Row(torch.diff, T(B, 5, dtype=LONG), 2, 1, name="diff twice"),
    Row(torch.diff, T(B, 3), dim=0, prepend=T(1, 3), append=T(2, 3), name="diff with ends"),
    Row(torch.diff, T(B, 4, dtype=BOOL), name="diff of bools"),
    Row(torch.diff, T(B, 2, 3), 4, 1, name="diff of more than there are"),
    Row(torch.diff, T(), raises=ShapeError),
    Row(torch.cumprod, T(B, S, dtype=HALF), 1),
    Row(torch.cummax, T(B, S, 2, dtype=INT, low=0, high=3), -2),
    Row(torch.cummin, T(3, S, dtype=BOOL), 1, name="cummin of bools"),
    Row(torch.logcumsumexp, T(B, S, dtype=HALF, low=-99.0, high=99.0), 0),
    Row(torch.trapezoid, T(B, S, 3), C(3)),
    Row(torch.trapezoid, T(B, 4, dtype=INT), dx=2, dim=1, name="trapezoid of ints"),
    Row(lambda x: torch.trapezoid(x / 0, dim=0), T(4, S), name="trapezoid of infinities"),
    Row(torch.cumulative_trapezoid, T(B, S, 3), T(B, S, 3), dim=1),
    Row(torch.var, T(B, S, 3), (1, 2), name="var over a size"),
    Row(torch.var, T(B, S, dtype=HALF), 1, unbiased=False, name="var of all entries, half"),
    Row(torch.std, T(2, S), 1, correction=0, keepdim=True, name="std over a size"),
    Row(torch.std, T(2 * B, 3), 0, name="std over a multiple"),
]
