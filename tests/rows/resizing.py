"""Rows of resizing."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from tests.rows import B, Row, S, T
from trtnn.errors import UnsupportedError

HALF = torch.float16

ROWS: list[Row] = [
    Row(F.interpolate, T(B, 3, 4, 5), (8, 7)),
    Row(F.interpolate, T(B, 2, S, S), scale_factor=2),
    Row(F.interpolate, T(B, 2, S), scale_factor=2.0, name="nearest rank 3"),
    Row(F.interpolate, T(B, 2, 3, 4, 2), scale_factor=2, name="nearest rank 5"),
    Row(F.interpolate, T(B, 3, 4, 4), (7, 9), mode="bilinear"),
    Row(F.interpolate, T(B, 3, S, 4), scale_factor=2, mode="bilinear", align_corners=True),
    Row(F.interpolate, T(B, 3, 4, 4, dtype=HALF), scale_factor=0.5, mode="bilinear"),
    Row(F.interpolate, T(B, 3, 5), 9, mode="linear"),
    Row(F.interpolate, T(1, 3, 4, 5), (8, 9), mode="bicubic"),
    Row(F.interpolate, T(B, 3, 8, 8), (4, 2), mode="area"),
    Row(F.interpolate, T(B, 3, 5, 5), scale_factor=0.5, raises=UnsupportedError),
    Row(F.interpolate, T(B, 3, 5, 5), (3, 3), mode="nearest-exact", raises=UnsupportedError),
    Row(
        F.interpolate,
        T(1, 3, 4, 4),
        (2, 2),
        mode="bilinear",
        antialias=True,
        raises=UnsupportedError,
    ),
]
