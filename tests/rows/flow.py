"""Rows of what holds graphs: conditions, loops, recurrent networks."""

from __future__ import annotations

from typing import Any

import torch

import trtnn
from tests.rows import B, C, Row, S, T


def chosen(x: torch.Tensor, pick: torch.Tensor) -> torch.Tensor:
    scale = x.amax()
    return trtnn.cond(pick.sum() > 0, lambda x: x * scale, lambda x: (x - 1).abs(), (x,))


def chosen_tree(x: torch.Tensor, pick: torch.Tensor, weight: torch.Tensor) -> Any:
    def true(x: torch.Tensor) -> Any:
        return {"a": x @ weight, "b": (x, x.sum(0))}

    def false(x: torch.Tensor) -> Any:
        return {"a": torch.softmax(x, -1) @ weight.T, "b": (x.flip(-1), weight.sum(0))}

    return trtnn.cond(pick.any(), true, false, (x,))


def stepped(x: torch.Tensor, h: torch.Tensor, weight: torch.Tensor) -> Any:
    def step(carry: torch.Tensor, row: torch.Tensor) -> Any:
        after = torch.tanh(carry @ weight + row)
        return after, (after * 2, row.sum(-1))

    return trtnn.scan(step, h, x, dim=1, reverse=True)


def counted(n: torch.Tensor, x: torch.Tensor, weight: torch.Tensor) -> Any:
    start = torch.zeros((), dtype=torch.int32)

    def step(i: torch.Tensor, x: torch.Tensor) -> Any:
        return i + 1, torch.softmax(x @ weight, -1)

    return trtnn.while_loop(lambda i, x: i < n, step, (start, x))


COUNT = torch.int32
ROWS = [
    Row(stepped, T(B, S, 3), T(B, 3), C(3, 3)),
    Row(counted, T(dtype=COUNT, low=3, high=5), T(B, 3), C(3, 3)),
    Row(counted, T(dtype=COUNT, low=0, high=1), T(2, 3), C(3, 3), name="no step"),
    Row(chosen, T(B, 3), T(2, dtype=torch.int32, low=1, high=3)),
    Row(chosen, T(B, 3), T(2, dtype=torch.int32, low=-3, high=0), name="not chosen"),
    Row(chosen_tree, T(B, 3), T(4, dtype=torch.bool), C(3, 3)),
]
