"""Sizes as text: read back as they were, and nothing else is read."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import assume, given, settings

from tests.sizes.test_dims import A, B, expressions
from trtnn import Dim
from trtnn.errors import LoadError
from trtnn.saved.description import described_dim
from trtnn.saved.notation import read_dims, read_size
from trtnn.sizes.dims import Expr, maximum, minimum
from trtnn.sizes.expressions import DataSymbol

M = Dim("m", profiles=[(2, 4, 4), (4, 8, 16)])
COUNT = Expr(DataSymbol("count", 0, 9))
NAMED = {"a": A, "b": B, "count": COUNT}


@settings(max_examples=30, deadline=None)
@given(expressions())
def test_sizes_are_read_back_as_they_were(pair: tuple[Any, Any]) -> None:
    size, _ = pair
    assume(str(size).count("//") < 16)  # more are not read, so that no file takes long to read
    for each in (size, size * COUNT + 1, maximum(size, COUNT), minimum(COUNT * size, A) * A):
        text = each if isinstance(each, int) else str(each)
        assert read_size(text, NAMED) == each


def test_dims_are_read_back_as_they_were() -> None:
    written = {s.sym.name: described_dim(s.sym) for s in (A, M, COUNT)}
    again = read_dims(json.loads(json.dumps(written)))
    assert again == {"a": A, "m": M, "count": COUNT}
    assert [type(size) for size in again.values()] == [Dim, Dim, Expr]


@pytest.mark.parametrize(
    "text",
    [
        *("", "z", "a.b", "a[0]", "a b", "1.5", "True", "a/2", "a**99", "a**b", "9**9", "2**a"),
        *("max()", "max(a, *b)", "max(a, key=b)", "abs(a)", "exit()", "lambda: 1", "a if a else b"),
        *("__import__('os').system('true')", "(" * 2000 + "a" + ")" * 2000, "a" * 20_000, "a//0"),
        *("a\n+ b", "'a'", "a := 1", "-True", "[a]", None, 1.5, True, ["a"]),
    ],
    ids=lambda text: str(text)[:20],
)
def test_what_is_no_size_is_not_read(text: Any) -> None:
    with pytest.raises(LoadError, match="expected a size, found"):
        read_size(text, NAMED)


BOMBS = {
    "power": "(a+b+count)**32//(a+1)",
    "powers": "((((a+b)**9)**9)**9)**9",
    "product": "*".join(["(a+b+count)"] * 16) + "//3",
    "degree": "*".join(["a"] * 17),
    "divisor": "(a+b+count+1)**2*(a+b)//(a*b+count)",
    "number": "9" * 20 + "*a",
    "digits": "9" * 5000,
    "long": "+".join(["a"] * 601),
    "deep": "-" * 300 + "a",
    "calls": "max(" * 80 + "a" + ", 1)" * 80,
    "operands": "max(" + ", ".join(f"a*{i} - b" for i in range(60)) + ")",
    "may be 0": "b//(a - 3)",
}


@pytest.mark.parametrize("name", BOMBS)
def test_what_would_cost_too_much_is_refused_before_it_is_computed(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(LoadError, match="expected a size, found"):
        read_size(BOMBS[name], NAMED)
    if name != "may be 0":
        monkeypatch.setattr("trtnn.saved.notation._built", None)
        with pytest.raises(LoadError, match="expected a size, found"):
            read_size(BOMBS[name], NAMED)


def test_a_long_chain_of_divisions_is_read() -> None:
    text = "(" * 40 + "a" + "".join(f"*{i + 2} + b)//{i + 3}" for i in range(40))
    assert isinstance(read_size(text, NAMED), Expr)
