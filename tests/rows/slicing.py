"""Rows of the ops that cut, join and turn."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from tests.rows import B, Row, S, T
from trtnn.errors import ShapeError, UnsupportedError
from trtnn.sizes.dims import Dim

Z = Dim("rows", 0, 2, 4)

ROWS: list[Row] = [
    Row(lambda x: x[x.shape[0] - 3], T(B, 2), raises=ShapeError, name="an index of unknown sign"),
    Row(lambda x: x[: x.shape[0] - 3], T(B), raises=ShapeError, name="a bound of unknown sign"),
    Row(torch.narrow, T(3), 0, 2, 5, raises=ShapeError),
    Row(torch.narrow, T(B, 5), 1, -2, 2, name="narrow from the end"),
    Row(torch.select, T(), 0, 0, raises=ShapeError),
    Row(lambda x: torch.cat([x, x]), T(), raises=ShapeError, name="cat of scalars"),
    Row(lambda x, y: torch.cat([x, y]), T(2, 3), T(2, 4), raises=ShapeError, name="cat of 3 and 4"),
    Row(torch.split, T(5, B), [1, 4]),
    Row(torch.split, T(5), [1, 2], raises=ShapeError),
    Row(torch.split, T(S), 2, raises=UnsupportedError),
    Row(torch.tensor_split, T(6, B), (1, 4)),
    Row(torch.unbind, T(S), raises=UnsupportedError),
    Row(F.pad, T(2, 3), (1, 2, 3), raises=ShapeError),
    Row(F.pad, T(B, 2), (0, 0), name="pad by nothing"),
    Row(F.pad, T(1, 1, 3), (3, 0), mode="reflect", raises=ShapeError),
    Row(torch.roll, T(2, 3), (1, 2), (0,), raises=ShapeError),
    Row(torch.roll, T(2, 3), 0, 0, name="roll by nothing"),
    Row(torch.roll, T(3, B), 3, 0, name="roll once round"),
    Row(torch.roll, T(B, 3), 2, name="roll of all"),
    Row(torch.flip, T(B), (), name="flip of nothing"),
    Row(torch.flip, T(0, 3), (0, 1), name="flip of a dim that is empty"),
    Row(torch.flip, T(Z, S), (0, 1), name="flip of a dim that may be empty"),
    Row(torch.fliplr, T(B, 3)),
    Row(torch.flipud, T(B, 3)),
    Row(lambda x: x[0.5], T(3), raises=UnsupportedError, name="a float as an index"),
    Row(lambda x: x[0, 0], T(3), raises=ShapeError, name="too many indices"),
    Row(lambda x: x[..., 0, ...], T(3, 3), raises=ShapeError, name="two ellipses"),
    Row(lambda x: x[torch.tensor(1)], T(3, B), name="a known scalar as an index"),
    Row(lambda x: x[::-1], T(3), raises=ShapeError, name="a negative step"),
    Row(lambda x: x[[0, 1], [2, 0]], T(3, 4), name="two lists of ints"),
    Row(lambda x: x[[5]], T(3), raises=ShapeError, name="a list out of range"),
    Row(
        lambda x, i: x[:, i],
        T(B, S),
        T(3, dtype=torch.int64, low=-1, high=1),
        name="negative indices of a Dim",
    ),
    Row(
        lambda x, i: x[i] + 1,
        T(S, 2, dtype=torch.float16),
        T(B, 2, dtype=torch.int32, low=-1, high=1),
        name="negative int32 indices of a Dim",
    ),
]
