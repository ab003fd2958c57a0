"""Rows of the convolutions."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from tests.rows import B, C, Row, S, T
from trtnn.errors import ShapeError, UnsupportedError

HALF, BFLOAT = torch.float16, torch.bfloat16
NO_BFLOAT = {"8.6": "has no bfloat16"}

ROWS: list[Row] = [
    Row(F.conv1d, T(B, 4, 9), C(6, 4, 3), C(6), 2, 1),
    Row(F.conv1d, T(B, 4, S), C(4, 1, 3), None, 1, 2, 2, 4),
    Row(F.conv2d, T(B, 3, 8, 8), C(4, 3, 3, 3), C(4), (2, 1), 1),
    Row(F.conv2d, T(B, 4, S, S, dtype=HALF), C(4, 2, 1, 1, dtype=HALF), groups=2),
    Row(F.conv2d, T(1, 2, 5, 6), C(2, 2, 2, 3), padding="same"),
    Row(F.conv2d, T(3, 8, 8), C(4, 3, 3, 3), name="conv2d without a batch"),
    Row(F.conv3d, T(B, 2, 4, 5, 6), C(3, 2, 2, 3, 1), C(3), 1, (0, 1, 0)),
    Row(
        lambda x, w: F.conv2d(F.pad(x, (0, 1, 1, 2)), w, None, 2, 1),
        T(B, 2, S, 6),
        C(3, 2, 3, 3),
        name="conv2d of padded",
    ),
    Row(lambda x, w: F.conv1d(F.pad(x, (2, 0)), w), T(B, 2, S), C(3, 2, 3), name="causal conv1d"),
    Row(
        lambda x, w: F.conv2d(F.pad(x, (1, 1), value=1.0), w),
        T(1, 2, 4, 4),
        C(3, 2, 1, 1),
        name="conv2d of ones around",
    ),
    Row(F.conv2d, T(1, 3, 4, 4), C(4, 2, 3, 3), raises=ShapeError),
    Row(F.conv2d, T(1, 2, 5, 5), C(2, 2, 3, 3), None, 2, "same", raises=UnsupportedError),
    Row(F.conv2d, T(1, 2, 9, 9), T(2, 2, B, B), None, 1, "same", raises=UnsupportedError),
    Row(F.conv_transpose1d, T(1, 2, 9), T(2, B, 3), raises=UnsupportedError),
    Row(F.conv_transpose2d, T(B, 3, 4, 5), C(3, 2, 3, 3), C(2), 2, 1, 1),
    Row(F.conv_transpose2d, T(B, 4, S, S, dtype=HALF), C(4, 2, 2, 2, dtype=HALF), stride=2),
    Row(F.conv_transpose2d, T(B, 4, S, 3), C(4, 1, 3, 2), C(2), (2, 1), groups=2),
    Row(F.conv_transpose2d, T(1, 2, S, 4), C(2, 3, 3, 3), None, 1, (0, 1), 0, 1, (2, 1)),
    Row(F.conv_transpose2d, T(B, 2, 3, S), C(2, 3, 2, 2), C(3), 3, 0, (1, 2), name="beyond"),
    Row(F.conv_transpose2d, T(2, 4, 4), C(2, 3, 3, 3), name="conv_transpose2d without a batch"),
    Row(F.conv_transpose1d, T(B, 3, S), C(3, 2, 4), C(2), 2, 1),
    Row(F.conv_transpose1d, T(B, 2, S), C(2, 2, 2), C(2), 2, 0, 1, name="beyond"),
    Row(F.conv_transpose3d, T(B, 2, 3, 2, 2), C(2, 2, 2, 3, 2), C(2), (2, 1, 1), (0, 1, 0)),
    Row(
        F.conv_transpose2d,
        T(B, 4, S, 4),
        C(4, 2, 3, 2),
        C(4),
        (2, 3),
        (1, 0),
        (0, 1),
        2,
        (2, 3),
        name="conv_transpose2d with stride and dilation",
    ),
    Row(
        F.conv_transpose1d,
        T(B, 2, S),
        C(2, 3, 3),
        C(3),
        2,
        1,
        1,
        1,
        2,
        name="conv_transpose1d with stride and dilation",
    ),
    Row(
        F.conv_transpose3d,
        T(B, 2, 3, 2, 2),
        C(2, 2, 2, 2, 1),
        None,
        2,
        0,
        0,
        1,
        (3, 1, 1),
        name="conv_transpose3d with stride and dilation",
    ),
    Row(
        F.conv_transpose2d,
        T(B, 2, 3, 3),
        T(2, 3, 2, 2),
        T(3),
        2,
        0,
        0,
        1,
        2,
        unsupported=dict.fromkeys(
            ("10", "11", "rtx"), "takes no stride above 1 with a dilation above 1"
        ),
        name="stride and dilation of a kernel that is an input",
    ),
    Row(
        F.conv_transpose2d,
        T(B, 2, 4, 4),
        T(2, 3, 3, 3),
        T(3),
        2,
        1,
        name="conv_transpose2d of a kernel that is an input",
    ),
    *(
        Row(
            F.conv_transpose2d,
            T(B, 2, S, 4, dtype=BFLOAT),
            *rest,
            2,
            1,
            1,
            name="conv_transpose2d of bfloat16",
            unsupported=NO_BFLOAT,
        )
        for rest in (
            (C(2, 3, 3, 3, dtype=BFLOAT), C(3, dtype=BFLOAT)),
            (C(2, 3, 3, 3, dtype=BFLOAT), T(3, dtype=BFLOAT)),
            (T(2, 3, 3, 3, dtype=BFLOAT), C(3, dtype=BFLOAT)),
            (T(2, 3, 3, 3, dtype=BFLOAT), T(3, dtype=BFLOAT)),
            (C(2, 3, 3, 3, dtype=BFLOAT), None),
        )
    ),
    Row(F.conv_transpose2d, T(1, 3, 4, 4), C(2, 2, 3, 3), raises=ShapeError),
    Row(F.conv_transpose2d, T(1, 2, 4, 4), C(2, 2, 3, 3), None, 2, 1, 2, raises=ShapeError),
    Row(F.conv2d, T(1, 3, 4, 4), C(4, 3, 3), raises=ShapeError, name="a kernel of rank 3"),
    Row(F.conv2d, T(1, 3, 4, 4), C(4, 3, 1, 1), C(5), raises=ShapeError, name="a bias of 5 by 4"),
    Row(F.conv2d, T(1, 1, 2, 2), C(1, 1, 3, 3), raises=ShapeError, name="a window too large"),
    Row(F.conv2d, T(1, 1, 4, 4), C(1, 1, 1, 1), None, (1, 2, 3), raises=ShapeError),
    Row(F.conv2d, T(4), C(1, 1, 1, 1), raises=ShapeError, name="conv2d of a vector"),
    Row(F.conv2d, T(1, 1, 4, 4), C(1, 1, 2, 2), padding="valid", name="valid padding"),
    Row(F.conv2d, T(B, 2, 4, 4), T(3, 2, 3, 3), T(3), name="a kernel that is an input"),
]
