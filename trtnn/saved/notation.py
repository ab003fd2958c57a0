"""Sizes read back from their text, such as ``2*batch + 1``; nothing of it is evaluated as code."""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable, Mapping
from typing import Any

import sympy

from trtnn.errors import LoadError
from trtnn.sizes.dims import Dim, Expr, Size
from trtnn.sizes.expressions import DataSymbol, FloorDiv, Modulo

MAX_POWER = 32
MAX_LENGTH = 10_000

_BINARY: Mapping[type, Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.FloorDiv: FloorDiv,
    ast.Mod: Modulo,
}
_CALLS: Mapping[str, Callable[..., Any]] = {"max": sympy.Max, "min": sympy.Min}


def read_dims(written: Mapping[str, Mapping[str, Any]]) -> dict[str, Expr]:
    """Return the Dims of a manifest by name, and as plain sizes those that depend on data."""
    return {name: _dim(name, facts) for name, facts in written.items()}


def _dim(name: str, facts: Mapping[str, Any]) -> Expr:
    if facts["depends_on_data"]:
        ((low, _, high),) = facts["profiles"]
        return Expr(DataSymbol(name, low, high))
    return Dim(name, profiles=facts["profiles"])


def read_size(written: int | str, dims: Mapping[str, Expr]) -> Size:
    """Return the size that ``str`` wrote.

    Args:
        dims: What the names in it stand for.

    Raises:
        LoadError: It is no integer expression of these names.

    >>> s = Dim("s", 1, 4, 8)
    >>> read_size("max(s//2, 3) + 1", {"s": s})
    max(3, s//2) + 1
    """
    if type(written) is int:
        return written
    if not isinstance(written, str) or len(written) > MAX_LENGTH:
        raise LoadError(f"expected a size, found {str(written)[:60]!r}")
    if written in dims:
        return dims[written]
    try:
        value = _built(ast.parse(written, mode="eval").body, dims)
    except (SyntaxError, ArithmeticError, ValueError, RecursionError, MemoryError) as error:
        raise LoadError(f"expected a size, found {written[:60]!r}: {error}") from error
    return int(value) if value.is_Integer else Expr(value)


def _built(node: ast.expr, dims: Mapping[str, Expr]) -> Any:
    """Return the SymPy expression of a parsed text; only what sizes are made of has one."""
    match node:
        case ast.Constant(value=number) if type(number) is int:
            return sympy.Integer(number)
        case ast.Name(id=name) if name in dims:
            return dims[name].sym
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return -_built(operand, dims)
        case ast.BinOp(left=left, op=ast.Pow(), right=ast.Constant(value=power)):
            base = _built(left, dims)
            if not base.is_number and type(power) is int and 2 <= power <= MAX_POWER:
                return base**power
        case ast.BinOp(left=left, op=sign, right=right) if type(sign) in _BINARY:
            return _BINARY[type(sign)](_built(left, dims), _built(right, dims))
        case ast.Call(func=ast.Name(id=name), args=parts, keywords=[]) if parts and name in _CALLS:
            return _CALLS[name](*(_built(part, dims) for part in parts))
    raise ValueError(f"{ast.unparse(node)[:60]!r} is no part of a size")
