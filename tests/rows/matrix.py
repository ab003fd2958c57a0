"""Rows of matrix products."""

from __future__ import annotations

import operator

import torch
import torch.nn.functional as F

from tests.rows import B, C, Row, S, T
from trtnn.errors import ShapeError, UnsupportedError

HALF, LONG = torch.float16, torch.int64
BF16 = torch.bfloat16

ROWS: list[Row] = [
    Row(F.linear, T(2), T(), raises=ShapeError, name="linear with a scalar"),
    Row(torch.matmul, T(B, 4), T(4, 3)),
    Row(operator.matmul, T(B, S, 4), C(4, 3), name="rank 3 by rank 2"),
    Row(torch.matmul, T(3, 4), T(B, 4, S), name="rank 2 by rank 3"),
    Row(torch.matmul, T(B, 1, S, 4), T(3, 4, 2), name="batches broadcast"),
    Row(torch.matmul, T(B, 2, S, 4, dtype=HALF), T(B, 2, 4, S, dtype=HALF), name="half"),
    Row(torch.matmul, T(4), T(4), name="vector by vector"),
    Row(torch.matmul, T(4), T(4, S), name="vector by matrix"),
    Row(torch.matmul, T(4), T(B, 4, 3), name="vector by batch"),
    Row(torch.matmul, T(B, S, 4), T(4), name="batch by vector"),
    Row(torch.matmul, T(1, 2, 1, 1, 1, 2, 2, B), T(B, 2), name="rank 8"),
    Row(lambda x: x @ x.transpose(-1, -2), T(B, S, 4), name="by its own transpose"),
    Row(lambda x: torch.ones(2, 3) @ x, T(3, S), name="rmatmul"),
    Row(torch.matmul, T(B, 4), T(5, 2), raises=ShapeError, name="inner sizes differ"),
    Row(torch.matmul, T(B, S), T(4, 2), raises=ShapeError, name="inner size is a Dim"),
    Row(torch.matmul, T(), T(2), raises=ShapeError, name="a scalar"),
    Row(operator.matmul, T(B, 3, 4, dtype=LONG), T(4, S, dtype=LONG), name="ints"),
    Row(operator.matmul, T(2, 2, dtype=LONG), T(2, 2), raises=UnsupportedError, name="two types"),
    Row(torch.mm, T(B, 4), T(4, S)),
    Row(torch.mm, T(2, 3, 4), T(2, 4, 5), raises=ShapeError, name="mm rank 3"),
    Row(torch.bmm, T(B, S, 4, dtype=HALF), T(B, 4, 3, dtype=HALF)),
    Row(torch.bmm, T(1, 3, 4), T(2, 4, 5), raises=ShapeError, name="bmm of 1 and 2"),
    Row(torch.mv, T(B, 4), T(4)),
    Row(torch.dot, T(5), T(5)),
    Row(torch.addmm, T(3), T(B, 4), C(4, 3)),
    Row(torch.addmm, T(B, 3), T(B, 4), T(4, 3), beta=0.5, alpha=2, name="addmm scaled"),
    Row(torch.addmm, T(3), T(B, 4), T(4, 3), beta=0, name="addmm beta 0"),
    Row(torch.baddbmm, T(B, S, 3), T(B, S, 4), T(B, 4, 3), alpha=0.25),
    Row(torch.addbmm, T(3), T(B, S, 4), T(B, 4, 3), beta=2),
    Row(torch.addr, T(3, 4), T(3), T(4), alpha=0.5),
    Row(F.linear, T(B, 4), C(3, 4), C(3)),
    Row(F.linear, T(B, S, 4, dtype=HALF), C(3, 4, dtype=HALF), name="linear without bias"),
    Row(F.linear, T(4), C(3, 4), C(3), name="linear of a vector"),
    Row(F.linear, T(B, 4), C(4), name="linear by a vector"),
    Row(F.linear, T(1, 2, 1, 2, 1, 2, B, 4), C(3, 4), C(3), name="linear rank 8"),
    Row(F.linear, T(B, 5), C(3, 4), raises=ShapeError, name="linear of size 5 by 4"),
    Row(torch.Tensor.__rmatmul__, T(4, S), C(3, 4), name="rmatmul of a constant"),
    Row(
        F.linear,
        T(B, 4, dtype=BF16),
        C(3, 4, dtype=BF16),
        unsupported={"8.6": "no bfloat16"},
        name="linear bfloat16",
    ),
]
