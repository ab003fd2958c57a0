"""Rows of sums of products that letters name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from tests.rows import B, C, Row, S, T
from trtnn.errors import ShapeError, UnsupportedError

LONG, HALF = torch.int64, torch.float16


def of(equation: str) -> Callable[..., Any]:
    return lambda *operands: torch.einsum(equation, *operands)


def row(equation: str, *operands: Any, **more: Any) -> Row:
    return Row(of(equation), *operands, name=equation, **more)


ROWS: list[Row] = [
    row("b h i d , b h j d -> b h i j", T(B, 2, S, 4, dtype=HALF), T(B, 2, S, 4, dtype=HALF)),
    row("bhwc,hkc->bhwk", T(B, 3, S, 4), C(3, 5, 4)),
    row("nBc,kcD->BknD", T(B, 3, 4), T(2, 4, S)),
    row("...ij,jk", T(2, B, S, 4), T(4, 3)),
    row("...i,...i->...", T(B, S, 3), T(3)),
    row("i,j->ij", T(S, dtype=LONG), T(3, dtype=LONG)),
    row("b...->...b", T(B, 3, S)),
    row("bii->bi", T(B, 3, 3)),
    row("ii", T(4, 4, dtype=torch.int32)),
    row("ij,jk->", T(2, 3, dtype=torch.int32), T(3, 4, dtype=torch.int32)),
    row("bnc,bmc,bmd->bnd", T(B, S, 3), T(B, 4, 3), T(B, 4, 2)),
    row("ij,kj->ik", T(B, 1), T(3, 5)),
    Row(
        lambda a, b: torch.einsum(a, [0, ..., 1], b, [1, 2], [..., 2, 0]),
        T(B, S, 4),
        T(4, 3),
        name="lists of numbers",
    ),
    row("ij,jk->ik", T(2, 3), T(4, 2), raises=ShapeError),
    row("ij->ijk", T(2, 3), raises=ShapeError),
    row("i.j->ij", T(2, 3), raises=UnsupportedError),
]
