"""Floats of sizes, and what is rounded from them, against Python's."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest

from trtnn.errors import UnsupportedError
from trtnn.sizes.dims import Dim, Expr, Size, evaluate
from trtnn.sizes.reals import ROUNDINGS, Formula, compared, computed, ratio, rounded, value_at

N, M = Dim("n", 1, 8, 500), Dim("m", 1, 8, 500)
WIDE = Dim("wide", 1, 8, 10**7)
FACTORS = (0.1, 0.3, 0.35, 0.55, 0.6, 0.7, 1 / 3, 2 / 3, 0.999, 1.1, 1.3, 2.3, 0.0625, 3.5, -0.7)
FORMULAS: dict[str, Callable[[Any, Any], Any]] = {
    **{f"times {f}": lambda of, n, f=f: of("mul", n, f) for f in FACTORS},
    **{f"over {d}": lambda of, n, d=d: of("truediv", n, d) for d in (2, 3, 7, 10, 0.3, -4)},
    "over 3 times 3": lambda of, n: of("mul", of("truediv", n, 3), 3),
    "over 49 times 49": lambda of, n: of("mul", of("truediv", n, 49), 49),
    "times 0.7 plus 0.1": lambda of, n: of("add", of("mul", n, 0.7), 0.1),
    "half of one less": lambda of, n: of("truediv", of("sub", n, 9), 2),
}


# Of two integers that are as near, Python takes the even one: no few stretches tell where.
TIED = {f"times {f}" for f in (0.1, 0.3, 0.35, 0.7, 1.1, 1.3, 2.3, -0.7)} | {"times 0.7 plus 0.1"}


@pytest.mark.parametrize("kind", ROUNDINGS)
@pytest.mark.parametrize("name", FORMULAS)
def test_what_is_rounded_is_pythons_at_every_size(name: str, kind: str) -> None:
    real = FORMULAS[name](computed, N)
    if name in TIED if kind == "round" else name == "over 49 times 49":
        with pytest.raises(UnsupportedError, match="n = 1 to 500"):
            rounded(kind, real)
        return
    size: Size = rounded(kind, real)
    assert isinstance(real, Formula)
    for n in range(1, 501):
        wanted = ROUNDINGS[kind](FORMULAS[name](plain, n))
        assert evaluate(size, {"n": n}) == wanted == ROUNDINGS[kind](value_at(real, {N: n})), n


def plain(operation: str, a: Any, b: Any) -> Any:
    """Compute with Python's numbers."""
    return {"mul": a * b, "truediv": a / b, "add": a + b, "sub": a - b}[operation]


def test_a_size_in_a_formula_may_be_any_expression() -> None:
    size = rounded("floor", computed("mul", N // 2 + 1, 0.7))
    assert all(evaluate(size, {"n": n}) == math.floor((n // 2 + 1) * 0.7) for n in range(1, 501))
    size = rounded("floor", computed("mul", computed("add", N, N % 3), 0.5))
    assert all(evaluate(size, {"n": n}) == math.floor((n + n % 3) * 0.5) for n in range(1, 501))


def test_what_is_exact_needs_no_trial() -> None:
    assert rounded("floor", computed("mul", WIDE, 0.5)) == WIDE // 2
    assert rounded("ceil", computed("truediv", WIDE, 3)) == (WIDE + 2) // 3
    assert rounded("floor", computed("truediv", computed("add", N, M), 2)) == (N + M) // 2
    assert ratio(computed("mul", N, 0.1)) is None
    assert ratio(computed("truediv", N, 3)) is None and ratio(computed("truediv", N, 4)) == (N, 4)


REFUSED: dict[str, tuple[Callable[[], Any], str]] = {
    "a wide range": (lambda: computed("mul", WIDE, 0.7), "wide = 1 to 10000000"),
    "two Dims": (
        lambda: computed("add", computed("mul", N, 0.7), computed("mul", M, 0.7)),
        "n = 1 to 500, m = 1 to 500",
    ),
    "no line": (lambda: computed("pow", N, 2.5), "no integer formula gives the same for n = 1"),
    "no number": (lambda: computed("log", computed("sub", N, 1)), "where n is 1"),
    "no real": (lambda: computed("pow", computed("sub", N, 2), 0.5), "where n is 1"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_no_formula_gives_is_refused(name: str) -> None:
    make, text = REFUSED[name]
    with pytest.raises(UnsupportedError) as caught:
        rounded("floor", make())
    assert text in caught.value.message


COMPARED: dict[str, tuple[str, Any, Any, Any]] = {
    "exact": ("gt", computed("truediv", N, 2), 2.5, ("gt", 2 * N, 10)),
    "from a size on": ("gt", computed("mul", N, 0.1), 0.3, ("gt", N, 2)),
    "up to a size": ("le", computed("mul", N, 0.1), 0.3, ("le", N, 2)),
    "at one size": ("eq", computed("mul", N, 0.1), 0.1 * 7, ("eq", N, 7)),
    "everywhere": ("ge", computed("sqrt", N), 1, ("eq", 0, 0)),
    "nowhere": ("lt", computed("sqrt", N), 1, ("eq", 0, 1)),
}


@pytest.mark.parametrize("name", COMPARED)
def test_a_comparison_of_floats_is_one_of_sizes(name: str) -> None:
    comparison, left, right, expected = COMPARED[name]
    assert compared(comparison, left, right) == expected


def test_a_comparison_that_changes_its_mind_is_refused() -> None:
    back = computed("mul", computed("truediv", N, 49.0), 49.0)
    with pytest.raises(UnsupportedError, match="True and False by turns for n = 1 to 500"):
        compared("eq", back, Expr(N.sym))
