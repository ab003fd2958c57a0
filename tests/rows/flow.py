"""Rows of what holds graphs: conditions, loops, recurrent networks."""

from __future__ import annotations

from typing import Any

import torch

import trtnn
from tests.rows import B, C, Row, T


def chosen(x: torch.Tensor, pick: torch.Tensor) -> torch.Tensor:
    scale = x.amax()
    return trtnn.cond(pick.sum() > 0, lambda x: x * scale, lambda x: (x - 1).abs(), (x,))


def chosen_tree(x: torch.Tensor, pick: torch.Tensor, weight: torch.Tensor) -> Any:
    def true(x: torch.Tensor) -> Any:
        return {"a": x @ weight, "b": (x, x.sum(0))}

    def false(x: torch.Tensor) -> Any:
        return {"a": torch.softmax(x, -1) @ weight.T, "b": (x.flip(-1), weight.sum(0))}

    return trtnn.cond(pick.any(), true, false, (x,))


ROWS = [
    Row(chosen, T(B, 3), T(2, dtype=torch.int32, low=1, high=3)),
    Row(chosen, T(B, 3), T(2, dtype=torch.int32, low=-3, high=0), name="not chosen"),
    Row(chosen_tree, T(B, 3), T(4, dtype=torch.bool), C(3, 3)),
]
