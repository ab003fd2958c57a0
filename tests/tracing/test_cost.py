"""Tracing takes time and memory in proportion to the graph: rows that count, not time."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import pytest
import torch

from trtnn import Input, trace
from trtnn.graph.graph import Graph
from trtnn.graph.passes import merge_shuffles

Function = Callable[[torch.Tensor], Any]


def repeated(step: Callable[[torch.Tensor, int], torch.Tensor], n: int) -> Function:
    def forward(x: torch.Tensor) -> Any:
        for i in range(n):
            x = step(x, i)
        return x * 1

    return forward


def add_in_place(n: int) -> Function:
    def forward(x: torch.Tensor) -> Any:
        y = x * 1
        for _ in range(n):
            y.add_(1)
        return y

    return forward


def many_reshapes(n: int) -> Function:
    def forward(x: torch.Tensor) -> Any:
        kept = [x.reshape(3, 2) for _ in range(n)]
        return sum(kept[1:], kept[0])

    return forward


WEIGHT = torch.nn.Parameter(torch.ones(6))
ROWS: dict[str, Callable[[int], Function]] = {
    "elementwise": lambda n: repeated(lambda x, i: x + 1.0 if i % 2 else x * 2.0, n),
    "views": lambda n: repeated(lambda x, i: x.view((3, 2) if i % 2 else (2, 3)), n),
    "transposes": lambda n: repeated(lambda x, i: x.t(), n),
    "pairs of transposes": lambda n: repeated(lambda x, i: (x * 2.0).t().t(), n),
    "reshapes": many_reshapes,
    "in place": add_in_place,
    "constants": lambda n: repeated(lambda x, i: x.view(6) + WEIGHT * i, n),
}


def work(function: Callable[[], Graph]) -> int:
    """Count the calls, Python's and C's, that ``function`` makes."""
    count = 0

    def see(frame: Any, event: str, argument: Any) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    sys.setprofile(see)
    try:
        function()
    finally:
        sys.setprofile(None)
    return count


@pytest.mark.parametrize("name", ROWS)
def test_twice_the_graph_is_twice_the_work(name: str) -> None:
    inputs = [Input((2, 3))]
    trace(ROWS[name](10), inputs)  # caches are filled
    small, large = (
        work(lambda n=n: merge_shuffles(trace(ROWS[name](n), inputs))) for n in (60, 120)
    )  # type: ignore[misc]
    assert large < 2.2 * small
