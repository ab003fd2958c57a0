"""Rows of the normalizations."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from tests.rows import B, C, Row, S, T
from trtnn.errors import ShapeError, TraceError

HALF = torch.float16
VAR = C(4, low=0.5, high=2.0)

ROWS: list[Row] = [
    Row(F.batch_norm, T(B, 4, 3, 3), C(4), VAR, C(4), C(4)),
    Row(F.batch_norm, T(B, 4), C(4), VAR),
    Row(F.batch_norm, T(B, 4, S), C(4), VAR, eps=1e-3),
    Row(F.batch_norm, T(B, 4, 2, 2, 2), C(4), VAR, C(4), C(4), name="batch_norm rank 5"),
    Row(F.batch_norm, T(B, 4), C(4), VAR, training=True, raises=TraceError),
    Row(F.layer_norm, T(B, S, 8), (8,), C(8), C(8)),
    Row(F.layer_norm, T(B, 8), (8,)),
    Row(F.layer_norm, T(B, 2, 3, 4), (3, 4), C(3, 4)),
    Row(F.layer_norm, T(B, S, 8, dtype=HALF), (8,), C(8, dtype=HALF), C(8, dtype=HALF)),
    Row(F.layer_norm, T(B, 8), (7,), raises=ShapeError),
    Row(F.group_norm, T(B, 4, 3, 3), 2, C(4), C(4)),
    Row(F.group_norm, T(B, 4, S), 1, C(4)),
    Row(F.group_norm, T(B, 4, 3, 3), 4),
    Row(F.instance_norm, T(B, 4, 3, 3), None, None, C(4), C(4)),
    Row(F.instance_norm, T(B, 4, 6)),
]
