"""Sizes computed from sizes, many times over: time, equality and text stay in proportion."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest

from trtnn.saved.notation import read_size
from trtnn.sizes.dims import Dim, Expr, bounds, decide, evaluate, maximum, minimum, replaced
from trtnn.sizes.expressions import Part, parts_of, weight

N, H = Dim("n", 1, 224, 1000), Dim("h", 1, 5, 9)


def padded(n: Any, least: Any, greatest: Any) -> Any:
    n = n + (-n) % 7
    n = n + n % 2
    return n // 2


def scattered(n: Any, least: Any, greatest: Any) -> Any:
    return (3 * n + n // 3 - n % 5) // 4 + n // 7


def clipped(n: Any, least: Any, greatest: Any) -> Any:
    return greatest(n // 2, least(n % 11, 7)) + n % 3


def squared(n: Any, least: Any, greatest: Any) -> Any:
    return (n * n + n + 1) % 997 + 1


STEPS: dict[str, Callable[..., Any]] = {
    "padded": padded,
    "scattered": scattered,
    "clipped": clipped,
    "squared": squared,
}


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("dim", [N, Dim("n", 1, 224, 10**6)], ids=["narrow", "wide"])
def test_a_size_grows_in_proportion_to_its_operations(step: str, dim: Dim) -> None:
    start, size = time.process_time(), dim
    values = {n: n for n in (1, 2, 3, 223, 224, 999)}
    for count in range(1, 13):
        size = STEPS[step](size, minimum, maximum)
        values = {n: STEPS[step](v, min, max) for n, v in values.items()}
        if isinstance(size, int):
            break
        assert all(evaluate(size, {"n": n}) == v for n, v in values.items()), count
        low, high = bounds(size)
        assert low <= min(values.values()) and max(values.values()) <= high
        assert weight(size.sym) < 1000 and len(str(size)) < 1200 * count
        if count < 6:
            assert read_size(str(size), {"n": dim}) == size
    assert time.process_time() - start < 30


def test_four_stages_of_padding_and_halving_are_exact() -> None:
    size: Any = N
    for _ in range(4):
        size = padded(size, minimum, maximum)
    values = []
    for n in range(1, 1001):
        value: Any = n
        for _ in range(4):
            value = padded(value, min, max)
        values.append(value)
        assert evaluate(size, {"n": n}) == value
    assert bounds(size) == (min(values), max(values))


def test_equal_computations_are_equal_and_cancel() -> None:
    one, other = (N * H, N * H)
    for _ in range(12):
        one, other = (scattered(x, minimum, maximum) for x in (one, other))
    assert isinstance(one, Expr) and parts_of(one.sym) and one == other and one - other == 0
    assert (7 * one + 3) // 7 == one and (2 * one) % 2 == 0
    assert replaced(one, {"n": 3, "h": 2}) == evaluate(one, {"n": 3, "h": 2})
    assert decide("eq", 3 * one, one + 2 * other)


def test_a_part_is_written_once_at_the_end() -> None:
    size = Expr(Part((N + H).sym)) // 2
    assert str(size) == "_1//2 where _1 = h + n"
    assert read_size(str(size), {"n": N, "h": H}) == size


def test_what_is_padded_to_a_multiple_is_one() -> None:
    even, sevens = N + N % 2, N + (-N) % 7
    assert even % 2 == 0 and even // 2 * 2 == even and str(even) == "n + n%2"
    assert sevens % 7 == 0 and sevens // 7 * 7 == sevens
    assert (N * 4 + (N * 4) % 2) % 2 == 0 and (N - N % 3) // 3 == N // 3
    assert N // 2 + (N - N // 2) == N
