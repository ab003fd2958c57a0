"""Rows of the convolutions."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from tests.rows import B, C, Row, S, T
from trtnn.errors import ShapeError, UnsupportedError

HALF = torch.float16

ROWS: list[Row] = [
    Row(F.conv1d, T(B, 4, 9), C(6, 4, 3), C(6), 2, 1),
    Row(F.conv1d, T(B, 4, S), C(4, 1, 3), None, 1, 2, 2, 4),
    Row(F.conv2d, T(B, 3, 8, 8), C(4, 3, 3, 3), C(4), (2, 1), 1),
    Row(F.conv2d, T(B, 4, S, S, dtype=HALF), C(4, 2, 1, 1, dtype=HALF), groups=2),
    Row(F.conv2d, T(1, 2, 5, 6), C(2, 2, 2, 3), padding="same"),
    Row(F.conv2d, T(3, 8, 8), C(4, 3, 3, 3), name="conv2d without a batch"),
    Row(F.conv3d, T(B, 2, 4, 5, 6), C(3, 2, 2, 3, 1), C(3), 1, (0, 1, 0)),
    Row(F.conv2d, T(1, 3, 4, 4), C(4, 2, 3, 3), raises=ShapeError),
    Row(F.conv2d, T(1, 2, 5, 5), C(2, 2, 3, 3), None, 2, "same", raises=UnsupportedError),
]
