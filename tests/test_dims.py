"""Sizes: normal form, ranges, and every expression against Python integers."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trtnn.dims import Dim, Expr, bounds, decide, evaluate, maximum, minimum
from trtnn.errors import ShapeError

A, B = Dim("a", 1, 4, 16), Dim("b", 2, 3, 7)


def test_normal_form() -> None:
    assert ((A - 1) // 2) // 2 == (A - 1) // 4
    assert (A - 1) // 2 + 1 == (A + 1) // 2
    assert 4 * A // 2 == 2 * A and (6 * A) % 3 == 0
    assert (A * B * 12) // B == 12 * A
    assert repr((A + 3) // 4 - 1) == "(a + 3)//4 - 1"
    assert repr(-(A // 2) * B) in ("-b*(a//2)", "-(a//2)*b")


@st.composite
def expressions(draw: st.DrawFn) -> tuple[Any, Any]:
    """Return a size and the same computation on plain ints."""
    kind = draw(st.sampled_from(["a", "b", "int", "+", "-", "*", "//", "%", "max", "min"]))
    if kind == "a":
        return A, lambda a, b: a
    if kind == "b":
        return B, lambda a, b: b
    if kind == "int":
        n = draw(st.integers(0, 5))
        return n, lambda a, b: n
    x, f = draw(expressions())
    if kind in ("//", "%"):
        n = draw(st.integers(1, 6))
        if kind == "//":
            return x // n, lambda a, b: f(a, b) // n
        return x % n, lambda a, b: f(a, b) % n
    y, g = draw(expressions())
    table = {
        "+": (lambda p, q: p + q, lambda p, q: p + q),
        "-": (lambda p, q: p - q, lambda p, q: p - q),
        "*": (lambda p, q: p * q, lambda p, q: p * q),
        "max": (maximum, max),
        "min": (minimum, min),
    }
    symbolic, plain = table[kind]
    return symbolic(x, y), lambda a, b: plain(f(a, b), g(a, b))


@settings(max_examples=150, deadline=None)
@given(expressions(), st.integers(1, 16), st.integers(2, 7))
def test_expressions_equal_integers(pair: tuple[Any, Any], a: int, b: int) -> None:
    size, plain = pair
    value = plain(a, b)
    assert evaluate(size, {"a": a, "b": b}) == value
    low, high = bounds(size)
    assert low <= value <= high
    for comparison in ("lt", "le", "eq"):
        answer = decide(comparison, size, 5)
        truth = {"lt": value < 5, "le": value <= 5, "eq": value == 5}[comparison]
        assert answer is None or answer == truth


@pytest.mark.parametrize("args", [("a", 2, 1, 3), ("a", -1, 1, 3), ("1a", 1, 1, 1), ("a", 1, 2, 1)])
def test_bad_dims(args: Any) -> None:
    with pytest.raises(ShapeError, match="Dim"):
        Dim(*args)


def test_a_dim_is_an_expression() -> None:
    assert Dim("a", 1, 4, 16) == A and hash(Dim("a", 1, 4, 16)) == hash(Expr(A.sym))
    with pytest.raises(TypeError):
        bool(A // 2)
