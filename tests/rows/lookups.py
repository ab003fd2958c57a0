"""Rows of what gathers, slices and joins make up under names of their own."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from tests.rows import B, C, Row, S, T
from trtnn.errors import ShapeError, UnsupportedError
from trtnn.sizes.dims import Dim

HALF, LONG, INT, BOOL = torch.float16, torch.int64, torch.int32, torch.bool
L = Dim("length", 3, 5, 9)

ROWS: list[Row] = [
    Row(torch.take, T(B, 3), T(S, 2, dtype=LONG, low=-3, high=3)),
    Row(torch.put, T(2, 3), T(2, dtype=LONG, low=0, high=6), T(2), True),
    Row(torch.take_along_dim, T(B, 4, S), T(1, 2, S, dtype=LONG, low=-4, high=4), 1),
    Row(torch.narrow, T(B, 5, dtype=HALF), 1, T(dtype=LONG, low=0, high=4), 2),
    Row(lambda x: x.unfold(1, 3, 2), T(B, L, 2), name="unfold"),
    Row(lambda x: x.unfold(0, 3, 1), T(S), raises=ShapeError, name="unfold of too few"),
    Row(torch.as_strided, T(2, 4), (2, 3, 2), (2, 1, 1), 1),
    Row(
        lambda x: x.t().as_strided((2, 2), (1, 2)),
        T(2, 3),
        raises=UnsupportedError,
        name="as_strided of a transposed",
    ),
    Row(torch.isin, T(B, S, dtype=INT, low=0, high=4), C(2, dtype=INT, low=0, high=4), invert=True),
    Row(F.one_hot, T(B, S, dtype=LONG, low=0, high=3), 3),
    Row(F.one_hot, T(B, dtype=LONG, low=0, high=3), raises=UnsupportedError),
    Row(torch.repeat_interleave, T(B, 3), C(3, dtype=LONG, low=0, high=3), 1),
    Row(
        lambda x, n: torch.repeat_interleave(x, torch.cat([n, 3 - n]), 1, output_size=3),
        T(B, 2),
        T(1, dtype=LONG, low=0, high=4),
        name="repeat_interleave by counts of data",
    ),
    Row(torch.unravel_index, T(B, dtype=torch.int32, low=0, high=20), (4, 5)),
    Row(lambda x: x.unfold(0, 2, 0), T(4), raises=ShapeError, name="unfold in no steps"),
    Row(lambda x: x.sum_to_size(1, 3), T(B, S, 3, dtype=torch.int32), name="sum_to_size"),
    Row(torch.diagonal, T(B, 3, S), -1, 1, 2),
    Row(torch.diagonal, T(S, 4, dtype=HALF), 1),
    Row(torch.diag_embed, T(B, 2), -1, 0, 2),
    Row(torch.diag_embed, T(S, dtype=BOOL)),
    Row(torch.diagonal_scatter, T(3, B, 4), T(B, 3), 1, 0, 2),
    Row(torch.block_diag, T(B, 2), T(3), T(1, S)),
    Row(torch.hstack, [T(B), T(S)]),
    Row(torch.column_stack, [T(B), T(B, 2)]),
    Row(torch.dsplit, T(B, 1, 4), 2),
    Row(torch.hsplit, T(S), 2, raises=ShapeError),
    Row(torch.rot90, T(B, S, 2), -1, (1, 2)),
    Row(torch.cartesian_prod, T(B), T(S)),
    Row(torch.combinations, T(4), 3),
    Row(torch.atleast_3d, T(S), T(B, 2)),
    Row(lambda x: torch.tensor([[x.shape[0], 2]]) * torch.tensor(x.shape), T(B, S), name="sizes"),
    Row(lambda x: torch.tensor([x.sum(), 1.5]), T(S, dtype=HALF), name="tensor of scalars"),
    Row(lambda x: x.new_tensor(x.shape[0]) + torch.scalar_tensor(x.shape[0]), T(B), name="scalars"),
    Row(torch.where, T(B, S)),
    Row(torch.nonzero, T(), as_tuple=True),
]
