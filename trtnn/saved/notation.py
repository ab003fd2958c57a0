"""Sizes read back from their text, such as ``2*batch + 1``; nothing of it is evaluated as code.

What a text would cost is bounded before any of it is computed: a short one can stand for a sum of
more terms than there is memory.
"""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import reduce
from typing import Any

from trtnn.errors import LoadError
from trtnn.sizes.dims import Dim, Expr, Size, maximum, minimum
from trtnn.sizes.expressions import DataSymbol, Part

MAX_LENGTH = 10_000
MAX_NODES = 600
MAX_DEPTH = 200  # a sum of 200 terms is as deep
MAX_DEGREE = 16
MAX_TERMS = 256  # of a size that is multiplied out
MAX_DIVIDED = 16  # terms of what is divided by a size, and of that size
MAX_COMPARED = 48  # operands of max and min
GREATEST = 2**63 - 1

_BINARY: Mapping[type, Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Pow: lambda base, power: reduce(operator.mul, [base] * power),
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
}
_CALLS: Mapping[str, Callable[..., Any]] = {"max": maximum, "min": minimum}


def read_dims(written: Mapping[str, Mapping[str, Any]]) -> dict[str, Expr]:
    """Return the Dims of a manifest by name, and as plain sizes those that depend on data."""
    return {name: _dim(name, facts) for name, facts in written.items()}


def _dim(name: str, facts: Mapping[str, Any]) -> Expr:
    if facts["depends_on_data"]:
        if len(facts["profiles"]) != 1:
            raise LoadError(f"{name}: expected one range of a size that depends on data")
        ((low, _, high),) = facts["profiles"]
        return Expr(DataSymbol(name, low, high))
    return Dim(name, profiles=facts["profiles"])


def read_size(written: int | str, dims: Mapping[str, Expr]) -> Size:
    """Return the size that ``str`` wrote.

    Args:
        dims: What the names in it stand for.

    Raises:
        LoadError: It is no integer expression of these names, or one that costs too much.

    >>> s = Dim("s", 1, 4, 8)
    >>> read_size("max(s//2, 3) + 1", {"s": s})
    max(s//2, 3) + 1
    """
    if type(written) is int and abs(written) <= GREATEST:
        return written
    if not isinstance(written, str) or len(written) > MAX_LENGTH:
        raise LoadError(f"expected a size, found {str(written)[:60]!r}")
    if written in dims:
        return dims[written]
    try:
        size = _read(written, dims)
    except (ArithmeticError, SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise LoadError(f"expected a size, found {written[:60]!r}: {error}") from error
    return size


def _require_bounded(root: ast.expr) -> None:
    """Raise ValueError where a text has too many parts, or too many within each other."""
    level, count, compared = [root], 0, 0
    for _ in range(MAX_DEPTH):
        count += len(level)
        compared += sum(len(node.args) for node in level if isinstance(node, ast.Call))
        level = [
            part
            for node in level
            for part in ast.iter_child_nodes(node)
            if isinstance(part, ast.expr)
        ]
    if level or count > MAX_NODES or compared > MAX_COMPARED:
        raise ValueError(
            f"at most {MAX_NODES} parts, {MAX_DEPTH} within each other, and {MAX_COMPARED} "
            "operands of max and min are read"
        )


@dataclass(frozen=True)
class Weight:
    """The most that a size can be, multiplied out: its degree and the number of its terms."""

    degree: int
    terms: int

    def __post_init__(self) -> None:
        if self.degree > MAX_DEGREE or self.terms > MAX_TERMS:
            raise ValueError(f"at most degree {MAX_DEGREE} and {MAX_TERMS} terms are read")


def _weigh(node: ast.expr) -> Weight:
    """Return what a text stands for at most, and refuse parts that no size has."""
    match node:
        case ast.Constant(value=number) if type(number) is int and number <= GREATEST:
            return Weight(0, 1)
        case ast.Name():
            return Weight(1, 1)
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return _weigh(operand)
        case ast.BinOp(left=left, op=ast.Pow(), right=ast.Constant(value=power)):
            base = _weigh(left)
            if type(power) is int and 2 <= power <= MAX_DEGREE and base.degree:
                return Weight(base.degree * power, base.terms**power)
        case ast.BinOp(left=left, op=ast.Add() | ast.Sub(), right=right):
            one, other = _weigh(left), _weigh(right)
            return Weight(max(one.degree, other.degree), one.terms + other.terms)
        case ast.BinOp(left=left, op=ast.Mult(), right=right):
            one, other = _weigh(left), _weigh(right)
            return Weight(one.degree + other.degree, one.terms * other.terms)
        case ast.BinOp(left=left, op=ast.FloorDiv() | ast.Mod(), right=right):
            one, other = _weigh(left), _weigh(right)
            if other.degree and max(one.terms, other.terms) > MAX_DIVIDED:
                raise ValueError(f"at most {MAX_DIVIDED} terms are divided by a size")
            return Weight(max(one.degree, 1), one.terms + 1)
        case ast.Call(func=ast.Name(id=name), args=parts, keywords=[]) if parts and name in _CALLS:
            return Weight(max(_weigh(part).degree for part in parts), 1)
    raise ValueError(f"{ast.unparse(node)[:60]!r} is no part of a size")


def _read(written: str, dims: Mapping[str, Expr]) -> Size:
    """Return the size of a text and its parts: ``_1//7 where _1 = n + 3``."""
    text, _, parts = written.partition(" where ")
    names = dict(dims)
    for part in parts.split("; ") if parts else ():
        name, _, definition = part.partition(" = ")
        value = _bounded(definition, names)
        if name in names or not name.isidentifier() or isinstance(value, int):
            raise ValueError(f"{part[:60]!r} names no part of a size")
        names[name] = Expr(Part(value.sym))
    return _bounded(text, names)


def _bounded(text: str, names: Mapping[str, Expr]) -> Size:
    node = ast.parse(text, mode="eval").body
    _require_bounded(node)
    _weigh(node)
    size: Size = _built(node, names)
    return size


def _built(node: ast.expr, dims: Mapping[str, Expr]) -> Any:
    """Return the size of a text that was weighed."""
    match node:
        case ast.Constant(value=number):
            return number
        case ast.Name(id=name):
            if name not in dims:
                raise ValueError(f"there is no Dim {name!r}")
            return dims[name]
        case ast.UnaryOp(operand=operand):
            return -_built(operand, dims)
        case ast.BinOp(left=left, op=sign, right=right):
            return _BINARY[type(sign)](_built(left, dims), _built(right, dims))
        case ast.Call(func=ast.Name(id=name), args=parts):
            return _CALLS[name](*(_built(part, dims) for part in parts))
    raise AssertionError  # _weigh took it
