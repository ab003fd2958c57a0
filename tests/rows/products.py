"""Rows of products that are made of others, and of norms and distances."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from tests.rows import B, C, Row, S, T
from trtnn.errors import ShapeError, UnsupportedError

HALF, LONG = torch.float16, torch.int64
INF = float("inf")

ROWS: list[Row] = [
    Row(torch.tensordot, T(2), T(2), 3, raises=ShapeError, name="tensordot of more dims"),
    Row(torch.inner, T(B, S, 4), T(3, 4)),
    Row(torch.inner, T(dtype=LONG), T(B, 3, dtype=LONG), name="inner of a scalar"),
    Row(torch.tensordot, T(B, S, 4), C(4, 5, 3), dims=([2], [0])),
    Row(torch.tensordot, T(B, 1, 2), T(2, 3, 4), dims=([1, 2], [1, 0]), name="tensordot of one"),
    Row(torch.tensordot, T(B, 3), T(4, 2), 1, raises=ShapeError, name="tensordot of 3 and 4"),
    Row(torch.kron, T(B, 2), T(3, S)),
    Row(torch.kron, T(2, dtype=LONG), T(B, 3, dtype=LONG), name="kron of two ranks"),
    Row(torch.linalg.vecdot, T(B, S, dtype=HALF), T(S, dtype=HALF)),
    Row(torch.linalg.cross, T(B, 3, S), T(1, 3, S), dim=1),
    Row(torch.cross, T(4, 3, dtype=LONG), T(4, 3, dtype=LONG), 1),
    Row(torch.trace, T(S, S, dtype=LONG)),
    Row(torch.trace, T(B, 3), name="trace of two sizes"),
    Row(torch.linalg.multi_dot, [T(B, 8), T(8, 2), T(2, 5)]),
    Row(torch.linalg.multi_dot, [T(3, 8), T(8, 2), T(2, 5), T(5)], name="multi_dot with a vector"),
    Row(torch.linalg.matrix_power, T(B, 3, 3), 5),
    Row(torch.linalg.matrix_power, T(3, 3), -1, raises=UnsupportedError),
    Row(torch.vander, T(4, dtype=LONG), 3),
    Row(F.bilinear, T(B, S, 3), T(B, S, 4), C(5, 3, 4), C(5)),
    Row(torch.linalg.matrix_norm, T(B, 3, S), -1, (1, 2)),
    Row(torch.linalg.matrix_norm, T(B, 3, 4, dtype=HALF), INF, (0, 2), True, name="norm of rows"),
    Row(torch.linalg.matrix_norm, T(2, 2), 2, raises=UnsupportedError, name="a singular value"),
    Row(torch.linalg.norm, T(B, S), INF, name="norm of a matrix"),
    Row(torch.linalg.norm, T(B, 3, S), 3, 1, name="norm of vectors"),
    Row(torch.renorm, T(B, 4, low=-3.0, high=3.0), 2, 0, 1.5),
    Row(F.cosine_similarity, T(B, S, 4, dtype=HALF, low=-99.0, high=99.0), T(4, dtype=HALF), -1),
    Row(F.cosine_similarity, T(B, 1, 3), T(S, 3), 1, name="cosine_similarity along a repeated dim"),
    Row(F.pairwise_distance, T(B, 4), T(B, 4), 1.0, keepdim=True),
    Row(torch.cdist, T(B, S, 3), T(4, 3)),
    Row(torch.cdist, T(B, 3), T(S, 3), INF, name="cdist of the greatest"),
    Row(F.pdist, T(4, 3)),
    Row(F.pdist, T(S, 3), raises=UnsupportedError, name="pdist of a size"),
    Row(torch.dist, T(B, S), T(S), 3),
]
