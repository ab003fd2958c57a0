"""Sizes: normal form, ranges, and every expression against Python integers."""

from __future__ import annotations

import itertools
import math
import operator
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trtnn.errors import ShapeError
from trtnn.sizes.dims import (
    Dim,
    Expr,
    bounds,
    ceil_div,
    decide,
    evaluate,
    exceptions,
    failures,
    maximum,
    minimum,
    symbols,
)
from trtnn.sizes.expressions import DataSymbol

A, B = Dim("a", 1, 4, 16), Dim("b", 2, 3, 7)


def test_normal_form() -> None:
    assert ((A - 1) // 2) // 2 == (A - 1) // 4
    assert (A - 1) // 2 + 1 == (A + 1) // 2
    assert 4 * A // 2 == 2 * A and (6 * A) % 3 == 0
    assert (A * B * 12) // B == 12 * A
    assert repr((A + 3) // 4 - 1) == "(a + 3)//4 - 1"
    assert repr(-(A // 2) * B) in ("-b*(a//2)", "-(a//2)*b")


@pytest.mark.parametrize("divisor", [-4, -3, -1, 1, 3, 4])
def test_division_rounds_down_as_pythons_does(divisor: int) -> None:
    size = A - 5
    for a in range(1, 17):
        assert evaluate(size // divisor, {"a": a}) == (a - 5) // divisor
        assert evaluate(size % divisor, {"a": a}) == (a - 5) % divisor


BINARY: dict[str, tuple[Any, Any]] = {
    "+": (lambda p, q: p + q, lambda p, q: p + q),
    "-": (lambda p, q: p - q, lambda p, q: p - q),
    "*": (lambda p, q: p * q, lambda p, q: p * q),
    "max": (maximum, max),
    "min": (minimum, min),
    "max of negative": (lambda p, q: maximum(p, 0 - q), lambda p, q: max(p, -q)),
    "min of negative": (lambda p, q: minimum(0 - p, q - 3), lambda p, q: min(-p, q - 3)),
}
BY_NUMBER: dict[str, tuple[Any, Any]] = {
    "//": (lambda p, n: p // n, lambda p, n: p // n),
    "%": (lambda p, n: p % n, lambda p, n: p % n),
    "ceil": (ceil_div, lambda p, n: math.ceil(Fraction(p, n))),
    "// negative": (lambda p, n: p // -n, lambda p, n: p // -n),
    "% negative": (lambda p, n: p % -n, lambda p, n: p % -n),
    "exact": (lambda p, n: n * p // n, lambda p, n: p),
    "into": (lambda p, n: n // maximum(p, 1), lambda p, n: n // max(p, 1)),
    "modulo size": (lambda p, n: n % maximum(p, 1), lambda p, n: n % max(p, 1)),
}
BY_DIM: dict[str, tuple[Any, Any]] = {
    "exact by a": (lambda p: p * A // A, lambda p, a: p),
    "exact remainder": (lambda p: p * A % A, lambda p, a: 0),
    "by a": (lambda p: p // A, lambda p, a: p // a),
    "remainder by a": (lambda p: p % A, lambda p, a: p % a),
}


@st.composite
def expressions(draw: st.DrawFn) -> tuple[Any, Any]:
    """Return a size and the same computation on plain ints."""
    kind = draw(st.sampled_from(["a", "b", "int", *BINARY, *BY_NUMBER, *BY_DIM]))
    if kind == "a":
        return A, lambda a, b: a
    if kind == "b":
        return B, lambda a, b: b
    if kind == "int":
        n = draw(st.integers(0, 5))
        return n, lambda a, b: n
    x, f = draw(expressions())
    if kind in BY_DIM:
        symbolic, plain = BY_DIM[kind]
        return symbolic(x), lambda a, b: plain(f(a, b), a)
    if kind in BY_NUMBER:
        symbolic, plain = BY_NUMBER[kind]
        n = draw(st.integers(1, 6))
        return symbolic(x, n), lambda a, b: plain(f(a, b), n)
    symbolic, plain = BINARY[kind]
    y, g = draw(expressions())
    return symbolic(x, y), lambda a, b: plain(f(a, b), g(a, b))


COMPARISONS = {name: getattr(operator, name) for name in ("lt", "le", "eq", "ne", "ge", "gt")}


@settings(max_examples=80, deadline=None)
@given(expressions(), st.integers(1, 16), st.integers(2, 7), st.integers(-6, 12))
def test_expressions_equal_integers(pair: tuple[Any, Any], a: int, b: int, number: int) -> None:
    size, plain = pair
    value = plain(a, b)
    assert evaluate(size, {"a": a, "b": b}) == value
    low, high = bounds(size)
    assert low <= value <= high
    for name, compare in COMPARISONS.items():
        answer = decide(name, size, number)
        assert answer is None or answer == compare(value, number)


@settings(max_examples=40, deadline=None)
@given(expressions(), st.sampled_from(list(COMPARISONS)), st.integers(-6, 12), st.booleans())
def test_exceptions_are_the_sizes_with_another_answer(
    pair: tuple[Any, Any], name: str, number: int, answer: bool
) -> None:
    size, plain = pair
    found = list(exceptions(name, size, number, answer=answer))
    every = list(itertools.product(range(1, 17), range(2, 8)))
    given = {(a, b) for a, b in every if COMPARISONS[name](plain(a, b), number) is not answer}
    named = {s.name for s in symbols(size)}
    inside = {
        (a, b)
        for a, b in every
        for box in found
        if box is not None
        and all(box[n][0] <= v <= box[n][1] for n, v in (("a", a), ("b", b)) if n in named)
    }
    assert None not in found and inside == given


def test_exceptions_give_up_where_they_are_too_many_to_look_at() -> None:
    wide = Dim("wide", 1, 4, 100_000)
    assert list(exceptions("ne", wide * wide % 49_999, 0, answer=True))[-1] is None


def test_division_by_data_that_may_be_0_has_a_range() -> None:
    count = Expr(DataSymbol("count", 0, 4))
    boxes = list(exceptions("ge", count + 10 // count, 11, answer=True))
    assert boxes == [{"count": (0, 0)}, {"count": (2, 2)}, {"count": (3, 4)}]


def test_exceptions_stay_inside_the_profiles() -> None:
    gap = Dim("gap", profiles=[(1, 1, 2), (8, 8, 9)])
    assert list(exceptions("lt", gap, 5, answer=True)) == [{"gap": (8, 9)}]
    assert list(exceptions("ne", gap, 5, answer=True)) == []


FAILURES: dict[str, tuple[tuple[str, Any, Any], Any]] = {
    "below": (("ge", A - 7, 0), ({"a": (1, 6)},)),
    "above": (("le", A, 9), ({"a": (10, 16)},)),
    "scattered": (("eq", A % 8, 0), ({"a": (1, 7)}, {"a": (9, 15)})),
    "two Dims": (("gt", A * B, 2), ({"a": (1, 1), "b": (2, 2)},)),
    "never": (("ge", A, 1), ()),
    "static": (("eq", 4, 5), ({},)),
}


@pytest.mark.parametrize("name", FAILURES)
def test_failures_are_where_a_requirement_does_not_hold(name: str) -> None:
    required, expected = FAILURES[name]
    assert failures(*required) == expected


def test_division_by_a_size_that_may_be_0_is_refused() -> None:
    zero = Dim("zero", 0, 1, 4)
    for divide in (operator.floordiv, operator.mod):
        with pytest.raises(ShapeError, match="division by the size zero, which may be 0"):
            divide(10, zero)


@pytest.mark.parametrize("args", [("a", 2, 1, 3), ("a", -1, 1, 3), ("1a", 1, 1, 1), ("a", 1, 2, 1)])
def test_bad_dims(args: Any) -> None:
    with pytest.raises(ShapeError, match="Dim"):
        Dim(*args)


def test_a_dim_is_an_expression() -> None:
    assert Dim("a", 1, 4, 16) == A and hash(Dim("a", 1, 4, 16)) == hash(Expr(A.sym))
    with pytest.raises(TypeError):
        bool(A // 2)
