"""Rows of the ops that write entries where indices say."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from tests.rows import B, C, Row, S, T
from trtnn.errors import DTypeError, ShapeError

HALF, LONG, INT, BOOL = torch.float16, torch.int64, torch.int32, torch.bool


def assigning(index: Callable[..., Any]) -> Callable[..., torch.Tensor]:
    """Return a function that writes its last argument where ``index`` of the others says."""

    def assign(x: torch.Tensor, *rest: Any) -> torch.Tensor:
        y = x.clone()
        y[index(*rest[:-1])] = rest[-1]
        return y

    return assign


def I(*shape: Any, high: int, low: int = 0, dtype: torch.dtype = LONG) -> Any:  # noqa: E743
    """An index tensor."""
    return T(*shape, dtype=dtype, low=low, high=high)


ROWS: list[Row] = [
    Row(torch.scatter, T(4, B), 0, C(3, 2, dtype=torch.int64), T(3, 2), raises=ShapeError),
    Row(assigning(lambda i: (slice(None), i)), T(B, 4, S), I(1, low=-4, high=4), T(B, 1, S)),
    Row(assigning(lambda i: i), T(S, 3, dtype=HALF), I(1, high=1, dtype=INT), T(3, dtype=HALF)),
    Row(
        assigning(lambda i, j: (i, slice(None), j)),
        T(3, S, 4, dtype=BOOL),
        I(2, 1, high=3),
        I(1, low=-4, high=4),
        True,
        name="True at two index tensors apart",
    ),
    Row(assigning(lambda: (slice(None), slice(1, None, 2))), T(B, S, 3), 2.0, name="every other"),
    Row(assigning(lambda: [2, 0, -1]), T(4, S, dtype=INT), T(3, 1, dtype=INT), name="at a list"),
    Row(assigning(lambda m: m), T(B, S, 3), T(B, S, dtype=BOOL), T(3), name="at a mask"),
    Row(torch.masked_scatter, T(2, S), T(S, dtype=BOOL), C(18)),
    Row(torch.scatter, T(B, 4), 1, I(B, 1, high=4), T(B, 2)),
    Row(torch.scatter, T(4, S, dtype=HALF), 0, I(2, S, high=4, dtype=INT), 1.5),
    Row(torch.scatter, T(4), 0, I(2, high=4), T(2, dtype=HALF), raises=DTypeError),
    Row(torch.scatter_add, T(B, 4), 1, I(B, S, high=4), T(B, S)),
    Row(torch.scatter_add, T(4, 3, dtype=HALF), 0, I(5, 2, high=4), T(5, 3, dtype=HALF)),
    Row(torch.scatter_reduce, T(4), 0, I(S, high=4), T(S), "mean", include_self=False),
    Row(torch.scatter_reduce, T(2, 3, dtype=INT), 1, I(2, 3, high=3), T(2, 3, dtype=INT), "amax"),
    Row(torch.index_add, T(3, S, 2), 0, I(5, high=3), T(5, S, 2), alpha=2),
    Row(torch.index_copy, T(2, S), 0, I(1, high=2), T(1, S)),
    Row(torch.index_copy, T(2, 3), 0, I(1, high=2), T(2, 3), raises=ShapeError),
    Row(torch.index_fill, T(B, S), 1, I(2, low=-1, high=1), 7),
    Row(
        torch.index_put,
        T(4, S),
        (I(3, low=-4, high=4), C(1, dtype=LONG, low=0, high=1)),
        T(3),
        accumulate=True,
    ),
    Row(torch.slice_scatter, T(B, S), T(B, 1), 1, -1),
    Row(torch.select_scatter, T(B, 3), T(B), 1, 1),
]
