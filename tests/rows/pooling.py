"""Rows of pooling."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from tests.rows import B, Row, S, T
from trtnn.errors import UnsupportedError

HALF = torch.float16

ROWS: list[Row] = [
    Row(F.max_pool2d, T(B, 3, 8, 8), 3, 2, 1),
    Row(F.max_pool2d, T(B, 2, 7, S), 2, (2, 1), (0, 1), ceil_mode=True),
    Row(F.max_pool2d, T(1, 2, 6, 6, dtype=HALF), 3, 2, 1, ceil_mode=True),
    Row(F.max_pool2d, T(B, 1, S, S), 3, 2, 1, ceil_mode=True),
    Row(F.max_pool1d, T(B, 2, 9), 3),
    Row(F.max_pool3d, T(B, 2, 4, 4, 4), 2),
    Row(F.avg_pool2d, T(B, 3, 8, 8), 2),
    Row(F.avg_pool2d, T(B, 3, 7, 7), 3, 2, 1),
    Row(F.avg_pool2d, T(B, 3, 7, 8), 3, 2, 1, True, False),
    Row(F.avg_pool2d, T(1, 3, 8, 6), 3, 2, 1, True, True),
    Row(F.avg_pool2d, T(1, 3, 8, 8), 3, 2, 0, True),
    Row(F.avg_pool1d, T(B, 2, 9), 3, 2, 1),
    Row(F.avg_pool3d, T(B, 2, 4, 4, 4), 2),
    Row(F.avg_pool2d, T(1, 1, 4, 4), 2, divisor_override=3, raises=UnsupportedError),
    Row(F.max_pool2d, T(1, 1, 4, 4), 2, dilation=2, raises=UnsupportedError),
    Row(F.max_pool2d, T(1, 1, 4, 4), 2, return_indices=True, raises=UnsupportedError),
    Row(F.adaptive_avg_pool2d, T(B, 3, S, S), 1),
    Row(F.adaptive_avg_pool2d, T(B, 3, 8, 6), (4, 3)),
    Row(F.adaptive_avg_pool2d, T(B, 3, 7, 5), (3, None)),
    Row(F.adaptive_max_pool2d, T(B, 3, 8, 6), (2, 3)),
    Row(F.adaptive_max_pool2d, T(B, 3, S, 6), 1),
]
