"""Rows of the ops that pick or join entries."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from tests.rows import B, C, Row, S, T
from trtnn.errors import ShapeError, UnsupportedError

HALF, LONG, INT = torch.float16, torch.int64, torch.int32

ROWS: list[Row] = [
    Row(lambda x: x[:, 1:, ::2], T(B, S, 5), name="slices"),
    Row(lambda x: x[..., -1], T(B, S, 3, dtype=HALF), name="last"),
    Row(lambda x: x[:, None, 0], T(B, 3, S), name="None and int"),
    Row(lambda x: x[:, :-3], T(B, S), name="a slice that may be empty"),
    Row(lambda x: x[[0, -1]], T(4, S), name="list of ints"),
    Row(lambda x, i: x[:, i], T(B, 4, 2), T(3, dtype=LONG, low=0, high=4), name="index tensor"),
    Row(
        lambda x, i, j: x[i, j],
        T(4, 5),
        T(B, 1, dtype=LONG, low=0, high=4),
        T(1, S, dtype=LONG, low=0, high=5),
        name="two index tensors",
    ),
    Row(
        lambda x, i, j: x[i, :, j],
        T(4, S, 5),
        T(3, dtype=LONG, low=0, high=4),
        T(3, dtype=LONG, low=0, high=5),
        name="two index tensors apart",
    ),
    Row(lambda x: x[x > 0], T(3), raises=UnsupportedError, name="mask"),
    Row(lambda x: x[3], T(3), raises=ShapeError, name="out of range"),
    Row(torch.select, T(B, 3), 1, -2),
    Row(torch.narrow, T(B, 5), 1, 1, 3),
    Row(torch.index_select, T(B, 4), 1, T(3, dtype=INT, low=0, high=4)),
    Row(torch.gather, T(B, 4), 1, T(B, 2, dtype=LONG, low=0, high=4)),
    Row(torch.gather, T(4, dtype=HALF), 0, T(7, dtype=LONG, low=0, high=4)),
    Row(torch.gather, T(3, S, 4), 0, T(2, S, 3, dtype=LONG, low=0, high=3)),
    Row(F.embedding, T(B, S, dtype=LONG, low=0, high=7), C(7, 4)),
    Row(F.embedding, T(B, dtype=LONG, low=0, high=7), C(7, 4, dtype=HALF), padding_idx=0),
    Row(torch.nonzero, T(5, dtype=INT, low=0, high=2)),
    Row(torch.nonzero, T(B, S)),
    Row(torch.nonzero, T(2, 2, 2, dtype=HALF)),
    Row(lambda x, y: torch.cat([x, y], 1), T(B, 2), T(B, S), name="cat"),
    Row(lambda x, y: torch.cat([x, y]), T(2, dtype=HALF), T(3), name="cat promotes"),
    Row(lambda x, y: torch.cat([x, y], -1), T(1, 2, 1, 1, B), T(1, 2, 1, 1, 3), name="cat rank 5"),
    Row(lambda x, y: torch.stack([x, y], 1), T(B, S), T(B, S), name="stack"),
    Row(lambda x: torch.split(x, 2, 1), T(B, 5), name="split"),
    Row(lambda x: x.chunk(3, -1), T(B, 6), name="chunk"),
    Row(lambda x: torch.tensor_split(x, 3), T(7), name="tensor_split"),
    Row(lambda x: torch.unbind(x, 1), T(B, 3), name="unbind"),
    Row(F.pad, T(B, S), (1, 2), value=3.0),
    Row(F.pad, T(B, 1, 4, 4, dtype=HALF), (1, 1, 2, 2), mode="reflect"),
    Row(F.pad, T(B, 1, S), (2, 1), mode="replicate"),
    Row(F.pad, T(B, 5), (-1, 2)),
    Row(F.pad, T(1, 1, 4), (1, 1), mode="circular", raises=UnsupportedError),
    Row(torch.roll, T(B, 4, 6), (-1, 2), (1, 2)),
    Row(torch.roll, T(S), 2),
    Row(torch.flip, T(B, S, 2), (1, 2)),
    Row(torch.tile, T(B, 2), (2,)),
]
