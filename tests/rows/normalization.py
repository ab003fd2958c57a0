"""Rows of the normalizations."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from tests.rows import B, C, Row, S, T
from trtnn.errors import ShapeError, UnsupportedError

HALF = torch.float16
VAR = C(4, low=0.5, high=2.0)

ROWS: list[Row] = [
    Row(F.batch_norm, T(B, 4, 3, 3), C(4), VAR, C(4), C(4)),
    Row(F.batch_norm, T(B, 4), C(4), VAR),
    Row(F.batch_norm, T(B, 4, S), C(4), VAR, eps=1e-3),
    Row(F.batch_norm, T(B, 4, 2, 2, 2), C(4), VAR, C(4), C(4), name="batch_norm rank 5"),
    Row(F.batch_norm, T(B, 4), C(4), VAR, training=True, raises=UnsupportedError),
    Row(lambda x: F.layer_norm(x, x.shape[1:]), T(B, S, 4), name="over a Dim"),
    Row(F.layer_norm, T(B, S, 8), (8,), C(8), C(8)),
    Row(F.layer_norm, T(B, 8), (8,)),
    Row(F.layer_norm, T(B, 2, 3, 4), (3, 4), C(3, 4)),
    Row(F.layer_norm, T(B, S, 8, dtype=HALF), (8,), C(8, dtype=HALF), C(8, dtype=HALF)),
    Row(F.layer_norm, T(B, 8), (7,), raises=ShapeError),
    Row(F.group_norm, T(2, 2 * B, 3), 2, raises=UnsupportedError),
    Row(F.group_norm, T(B, 4, 3, 3), 2, C(4), C(4)),
    Row(F.group_norm, T(B, 4, S), 1, C(4)),
    Row(F.group_norm, T(B, 4, 3, 3), 4),
    Row(F.instance_norm, T(B, 4, 3, 3), None, None, C(4), C(4)),
    Row(F.instance_norm, T(B, 4, 6)),
    Row(F.batch_norm, T(B, 4), C(3), C(3), raises=ShapeError, name="batch_norm of 4 by 3"),
    Row(F.instance_norm, T(B, 4, 6), C(4), VAR, use_input_stats=False),
    Row(F.instance_norm, T(B, 4, 6), C(4), VAR, raises=UnsupportedError),
    Row(F.rms_norm, T(B, S, 8), (8,), C(8)),
    Row(lambda x: F.rms_norm(x, x.shape[1:], eps=0.01), T(B, 2, S, dtype=HALF), name="rms half"),
    Row(F.rms_norm, T(B, 8), (7,), raises=ShapeError),
    Row(F.batch_norm, T(B, 4, 5), None, None, C(4), C(4), True, name="moments of the batch"),
    Row(F.batch_norm, T(B, 4, 3), T(4), T(4, low=0.5, high=2.0), T(4), T(4), name="all traced"),
    Row(torch.native_layer_norm, T(B, S, 8), (8,), C(8), C(8), 1e-5),
    Row(
        lambda x, w: torch.native_group_norm(x, w, None, x.shape[0], 4, 6, 2, 1e-5),
        T(B, 4, 6),
        C(4),
        name="native_group_norm",
    ),
    Row(F.local_response_norm, T(B, 4, S, 2), 3, 0.5),
    Row(F.local_response_norm, T(B, 4, S, dtype=HALF), 4, 0.5, 0.6, 2.0),
    Row(F.local_response_norm, T(1, 7, 2, 2, 3), 5, 1.0),
    Row(F.local_response_norm, T(1, 4, 3, dtype=torch.int64), 3, raises=UnsupportedError),
    Row(F.group_norm, T(B, 4, 3), 3, raises=ShapeError),
    Row(F.group_norm, T(B, 4, 3, 3, dtype=HALF), 2, C(4, dtype=HALF), name="group_norm half"),
    Row(F.batch_norm, T(B, 4, 3, dtype=HALF), C(4), VAR, name="batch_norm half"),
    Row(
        lambda x, k, mean, var: F.batch_norm(F.conv2d(x, k), mean, var),
        T(B, 3, 3, 3),
        C(4, 3, 2, 2),
        C(4),
        VAR,
        name="conv2d, then batch_norm",
    ),
    Row(
        lambda x, k, b, mean, var, *affine: F.batch_norm(F.conv2d(x, k, b), mean, var, *affine),
        T(B, 3, 3, S + 1),
        C(4, 3, 2, 2),
        C(4),
        C(4),
        VAR,
        C(4),
        C(4),
        name="conv2d with a bias, then batch_norm",
    ),
    Row(
        lambda x, k, mean, var: (y := F.conv2d(x, k)) + F.batch_norm(y, mean, var),
        T(B, 3, 3, 3),
        C(4, 3, 2, 2),
        C(4),
        VAR,
        name="conv2d that a batch_norm is not alone to read",
    ),
]
