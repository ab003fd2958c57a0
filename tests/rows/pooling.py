"""Rows of pooling."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from tests.rows import B, Row, S, T
from trtnn.errors import ShapeError, UnsupportedError
from trtnn.ops.op import bind
from trtnn.ops.pooling import Part
from trtnn.sizes.dims import Dim

HALF, INT = torch.float16, torch.int64
P = Dim("pixels", 4, 7, 11)

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
    Row(F.avg_pool2d, T(B, 1, 7, S + 1), 3, 2, 1, True, divisor_override=5),
    Row(F.avg_pool2d, T(1, 1, 4, 4, dtype=torch.int64), 2, raises=UnsupportedError),
    Row(F.max_pool2d, T(B, 2, 6, S + 4), 3, 2, 1, dilation=2, name="max_pool2d with gaps"),
    Row(F.max_pool2d, T(B, 2, 7, S + 2), 3, 2, 1, return_indices=True, name="max and where"),
    Row(F.max_pool3d, T(2, 4, 3, 5), (2, 1, 2), 2, 0, (1, 2, 3), True, True, name="all at once"),
    Row(F.max_pool2d, T(1, 4, 4, dtype=torch.int64), 2, name="max_pool2d of integers"),
    Row(F.max_pool1d, T(1, 1, S), 1, 2, 0, 1, True, True, raises=UnsupportedError),
    Row(
        lambda x: F.max_unpool2d(*F.max_pool2d(x, 2, return_indices=True), 2),
        T(B, 2, 4, 2 * S),
        name="max_unpool2d",
        differs="of a pool's own indices it finds no implementation",
    ),
    Row(
        lambda x: F.max_unpool1d(*F.max_pool1d(x, 2, return_indices=True), 2, output_size=(7,)),
        T(2, 7, dtype=HALF),
        name="max_unpool1d to a size",
    ),
    Row(
        F.max_unpool1d, T(1, 1, 2), T(1, 1, 2, dtype=torch.int64), 2, 2, 0, (9,), raises=ShapeError
    ),
    Row(F.lp_pool2d, T(B, 2, 4, S + 1, low=0.1), 3.0, 2, 1),
    Row(F.adaptive_avg_pool3d, T(B, 2, 4, 5, P), (2, 3, 1)),
    Row(F.adaptive_max_pool2d, T(B, 2, 7, 5), (3, 2), True, name="adaptive maxima and where"),
    Row(F.adaptive_max_pool1d, T(1, 2, P), 2, True, raises=UnsupportedError),
    Row(F.adaptive_avg_pool2d, T(B, 3, S, S), 1),
    Row(F.adaptive_avg_pool2d, T(B, 3, 8, 6), (4, 3)),
    Row(F.adaptive_avg_pool2d, T(B, 3, 7, 5), (3, None)),
    Row(F.adaptive_max_pool2d, T(B, 3, 8, 6), (2, 3)),
    Row(F.adaptive_max_pool2d, T(B, 3, S, 6), 1),
    Row(F.adaptive_avg_pool2d, T(B, 3, P, P), 3, name="bins of a symbolic size"),
    Row(F.adaptive_avg_pool2d, T(B, 2, P, 7, dtype=HALF), (2, 4), name="bins half"),
    Row(F.adaptive_max_pool2d, T(1, 2, P, 5), (3, 2), name="bins max"),
    Row(lambda x: F.adaptive_avg_pool2d(x, (2, x.shape[3])), T(B, 2, P, P), name="bins kept"),
    Row(F.adaptive_avg_pool2d, T(B, 2, S, 4), 5, name="more bins than entries"),
    Row(
        lambda x, y: F.adaptive_avg_pool2d(x, (y.shape[0], 2)),
        T(1, 2, P, 4),
        T(B),
        raises=UnsupportedError,
        name="a number of bins that is not static",
    ),
    Row(F.max_pool2d, T(1, 1, 2, 2), 3, raises=ShapeError, name="a window larger than the input"),
    Row(F.max_pool2d, T(B, 1, S, S), 2, 3, 0, ceil_mode=True, raises=UnsupportedError),
    Row(F.max_pool2d, T(1, 1, 4, 4), 2, 3, 1, ceil_mode=True, name="a window in the padding"),
    Row(F.max_pool2d, T(2, 4, 4), 2, name="max_pool2d without a batch"),
    Row(F.max_pool2d, T(4, 4), 2, raises=ShapeError, name="max_pool2d of a matrix"),
    Row(F.avg_pool1d, T(Dim("none", 0, 2, 4), 4), 2, raises=ShapeError, name="without channels"),
    Row(F.max_pool2d, T(1, 1, 4, 4), 2, 1, 2, raises=ShapeError, name="padding above half"),
    Row(F.adaptive_avg_pool1d, T(B, 2, 2 * S), 2),
    Row(F.adaptive_avg_pool2d, T(B, 2, 4, 6), (4, 3), name="adaptive to its own size"),
    Row(lambda x: F.avg_pool2d(F.pad(x, (1, 1, 1, 0)), 3, 1), T(B, 2, 4, S), name="pool of padded"),
    Row(
        lambda x: F.avg_pool2d(F.pad(x, (2, 2, 2, 2)), 2, 1),
        T(1, 2, 4, 4),
        name="pool of much padding",
    ),
    Row(lambda x: F.max_pool2d(F.pad(x, (1, 1, 1, 1)), 3), T(1, 2, 4, 4), name="max of padded"),
    *(
        Row(lambda x: bind(Part(), x), T(*shape, dtype=dtype), oracle=torch.clone, name="part")
        for shape in [(), (B, 3), (1, B, 2, 2), (2, 1, S, 2, 2), (2, 1, B, 2, 1, 2)]
        for dtype in (torch.float32, HALF)
    ),
]
