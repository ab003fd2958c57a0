"""Sizes: the user's ``Dim``, integer expressions of Dims in one normal form, and their ranges.

An expression is SymPy underneath. SymPy alone does not see that ``((h - 1) // 2) // 2`` is
``(h - 1) // 4``, so floor division and remainder are our own functions, which merge nested
divisions by positive ints and pull multiples out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, ClassVar, TypeAlias

import sympy

from trtnn.errors import ShapeError


class SizeSymbol(sympy.Symbol):  # type: ignore[misc]
    """A SymPy symbol that knows its range: equal only if name and range are equal."""

    low: int
    high: int
    opt: int

    def __new__(cls, name: str, low: int, high: int, opt: int | None = None) -> SizeSymbol:
        symbol: SizeSymbol = sympy.Symbol.__xnew__(cls, name, integer=True, nonnegative=True)
        symbol.low, symbol.high, symbol.opt = low, high, high if opt is None else opt
        return symbol

    def _hashable_content(self) -> tuple[Any, ...]:
        return (*super()._hashable_content(), self.low, self.high, self.opt)


class FloorDiv(sympy.Function):  # type: ignore[misc]
    """``a // n``: multiples of ``n`` pulled out, nested divisions merged."""

    is_integer = True

    @classmethod
    def eval(cls, a: Any, n: Any) -> Any:
        if a.is_Integer and n.is_Integer:
            return sympy.Integer(int(a) // int(n))
        if n == 1:
            return a
        if not n.is_Integer:
            return _exact_quotient(a, n)
        outer, inner = _split_multiples(sympy.expand(a), int(n))
        if outer != 0:
            return outer + cls(inner, n)
        divisor = sympy.gcd([n, *(_coefficient(t) for t in sympy.Add.make_args(inner))])
        if divisor > 1:
            return cls(sympy.expand(inner / divisor), n / divisor)
        merged = _merge_nested(inner, n)
        if merged is not None:
            return cls(*merged)
        low, high = interval(inner)
        return sympy.Integer(low // int(n)) if low // int(n) == high // int(n) else None


class Modulo(sympy.Function):  # type: ignore[misc]
    """``a % n`` with multiples of ``n`` dropped."""

    is_integer = True

    @classmethod
    def eval(cls, a: Any, n: Any) -> Any:
        if a.is_Integer and n.is_Integer:
            return sympy.Integer(int(a) % int(n))
        if not n.is_Integer:
            return sympy.Integer(0) if _exact_quotient(a, n) is not None else None
        outer, inner = _split_multiples(sympy.expand(a), int(n))
        if outer != 0:
            return cls(inner, n)
        low, high = interval(inner)
        return inner if low >= 0 and high < int(n) else None


def _coefficient(term: Any) -> Any:
    return term.as_coeff_Mul()[0]


def _split_multiples(a: Any, n: int) -> tuple[Any, Any]:
    """Return ``outer, inner`` with ``a == n * outer + inner`` and constants of inner in [0, n)."""
    outer, inner = sympy.Integer(0), sympy.Integer(0)
    for term in sympy.Add.make_args(a):
        factor, rest = term.as_coeff_Mul()
        if rest == 1:
            outer, inner = outer + int(factor) // n, inner + int(factor) % n
        elif factor.is_Integer and int(factor) % n == 0:
            outer += term / n
        else:
            inner += term
    return outer, inner


def _merge_nested(a: Any, n: Any) -> tuple[Any, Any] | None:
    """``(b // m + k) // n`` is ``(b + k * m) // (m * n)`` for positive ints m and n."""
    nested = [t for t in sympy.Add.make_args(a) if isinstance(t, FloorDiv)]
    if len(nested) != 1 or not nested[0].args[1].is_Integer:
        return None
    rest = a - nested[0]
    if rest.has(FloorDiv, Modulo):
        return None
    inner, m = nested[0].args
    return sympy.expand(inner + rest * m), m * n


def _exact_quotient(a: Any, n: Any) -> Any:
    quotient = sympy.expand(sympy.cancel(a / n))
    integral = all(_coefficient(t).is_Integer for t in sympy.Add.make_args(quotient))
    return quotient if integral and sympy.denom(sympy.together(quotient)) == 1 else None


Table: TypeAlias = Mapping[str, Callable[..., Any]]


def fold(expression: Any, leaf: Callable[[Any], Any], table: Table) -> Any:
    """Compute ``expression`` bottom up: ``leaf`` for ints and symbols, ``table`` by operation.

    The names in ``table`` are add, mul, floor_div, mod, max and min; each takes two operands.
    """
    if expression.is_Symbol or expression.is_number:
        return leaf(expression)
    if expression.is_Pow:
        base = fold(expression.base, leaf, table)
        result = base
        for _ in range(int(expression.exp) - 1):
            result = table["mul"](result, base)
        return result
    name = _OPERATIONS[expression.func]
    values = [fold(a, leaf, table) for a in expression.args]
    result = values[0]
    for value in values[1:]:
        result = table[name](result, value)
    return result


_OPERATIONS = {
    sympy.Add: "add",
    sympy.Mul: "mul",
    FloorDiv: "floor_div",
    Modulo: "mod",
    sympy.Max: "max",
    sympy.Min: "min",
}
_ON_INTS: Table = {
    "add": lambda a, b: a + b,
    "mul": lambda a, b: a * b,
    "floor_div": lambda a, b: a // b,
    "mod": lambda a, b: a % b,
    "max": max,
    "min": min,
}


def _corners(operation: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    def combine(a: tuple[Any, Any], b: tuple[Any, Any]) -> tuple[Any, Any]:
        values = [operation(x, y) for x in a for y in b]
        return min(values), max(values)

    return combine


_ON_INTERVALS: Table = {
    **{name: _corners(_ON_INTS[name]) for name in ("add", "mul", "floor_div", "max", "min")},
    "mod": lambda a, n: (0, max(0, n[1] - 1)),
}


@lru_cache(maxsize=65536)
def interval(expression: Any) -> tuple[Any, Any]:
    """Return the least and greatest value that interval arithmetic can prove."""

    def leaf(x: Any) -> tuple[Any, Any]:
        if x.is_Integer:
            return int(x), int(x)
        return (x, x) if x.is_number else (x.low, x.high)

    low, high = fold(expression, leaf, _ON_INTERVALS)
    return low, high


@dataclass(frozen=True)
class Expr:
    """An integer expression of Dims. Arithmetic with ints and Exprs gives an int when static.

    >>> batch = Dim("batch", 1, 8, 32)
    >>> 2 * batch + 1 - batch * 2
    1
    >>> ((batch - 1) // 2) // 2
    (batch + 3)//4 - 1
    """

    sym: Any
    _trtnn_leaf: ClassVar[bool] = True

    def __add__(self, other: Size) -> Size:
        return _wrap(self.sym + _sym(other))

    def __sub__(self, other: Size) -> Size:
        return _wrap(self.sym - _sym(other))

    def __rsub__(self, other: Size) -> Size:
        return _wrap(_sym(other) - self.sym)

    def __mul__(self, other: Size) -> Size:
        return _wrap(self.sym * _sym(other))

    __radd__, __rmul__ = __add__, __mul__

    def __neg__(self) -> Size:
        return _wrap(-self.sym)

    def __floordiv__(self, other: Size) -> Size:
        return _wrap(FloorDiv(self.sym, _sym(other)))

    def __rfloordiv__(self, other: Size) -> Size:
        return _wrap(FloorDiv(_sym(other), self.sym))

    def __mod__(self, other: Size) -> Size:
        return _wrap(Modulo(self.sym, _sym(other)))

    def __rmod__(self, other: Size) -> Size:
        return _wrap(Modulo(_sym(other), self.sym))

    def __bool__(self) -> bool:
        raise TypeError("the truth of a symbolic size is asked through decide()")

    def __repr__(self) -> str:
        return _text(self.sym)


Size: TypeAlias = int | Expr


class Dim(Expr):
    """A named size with a range: the same Dim in several inputs means equal sizes.

    Args:
        name: Shown in errors and given to TensorRT as the dimension's name.
        min: Least size, at least 0.
        opt: The size that TensorRT tunes for; ``max`` if omitted.
        max: Greatest size.

    Raises:
        ShapeError: Not ``0 <= min <= opt <= max``.

    >>> Dim("batch", 1, 8, 32)
    batch
    """

    def __init__(self, name: str, min: int, opt: int, max: int) -> None:
        if not (isinstance(name, str) and name.isidentifier()):
            raise ShapeError(f"Dim: expected a name that is an identifier, got {name!r}")
        if not all(type(v) is int for v in (min, opt, max)) or not 0 <= min <= opt <= max:
            raise ShapeError(
                f"Dim {name!r}: expected ints 0 <= min <= opt <= max, "
                f"got min={min!r}, opt={opt!r}, max={max!r}"
            )
        super().__init__(SizeSymbol(name, min, max, opt))
        object.__setattr__(self, "name", name)
        object.__setattr__(self, "min", min)
        object.__setattr__(self, "opt", opt)
        object.__setattr__(self, "max", max)

    name: str
    min: int
    opt: int
    max: int

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Expr) and self.sym == other.sym

    def __hash__(self) -> int:
        return hash((self.sym,))


def _sym(value: Size) -> Any:
    return value.sym if isinstance(value, Expr) else sympy.Integer(value)


def _wrap(value: Any) -> Size:
    expanded = sympy.expand(value) if value.is_Mul or value.is_Add else value
    return int(expanded) if expanded.is_Integer else Expr(expanded)


def wrap(value: Any) -> Size:
    """Return a SymPy integer expression as a size."""
    return _wrap(sympy.sympify(value))


def _text(value: Any, level: int = 0) -> str:
    """Write an expression as Python would; ``level`` is the binding strength around it."""
    if value.is_Symbol or value.is_number:
        return f"({value})" if level and str(value).startswith("-") else str(value)
    if value.func in (sympy.Max, sympy.Min):
        inside = ", ".join(sorted(_text(a) for a in value.args))
        return f"{_OPERATIONS[value.func]}({inside})"
    if value.is_Add:
        terms = sorted(value.args, key=lambda t: (t.is_number, _text(t)))
        text, own = " + ".join(_text(t) for t in terms).replace("+ -", "- "), 1
    elif value.is_Pow:
        text, own = f"{_text(value.base, 4)}**{value.exp}", 4
    elif value.is_Mul:
        factor, rest = value.as_coeff_Mul()
        sign = "-" if factor == -1 else "" if factor == 1 else f"{factor}*"
        text, own = sign + "*".join(_text(a, 3) for a in sympy.Mul.make_args(rest)), 3
    else:
        sign = "//" if value.func is FloorDiv else "%"
        text, own = f"{_text(value.args[0], 3)}{sign}{_text(value.args[1], 4)}", 2
    return f"({text})" if own < level else text


def bounds(size: Size) -> tuple[int, int]:
    """Return the least and greatest value of a size.

    >>> bounds(2 * Dim("s", 1, 4, 8) + 1)
    (3, 17)
    """
    return (size, size) if isinstance(size, int) else interval(size.sym)


def evaluate(size: Size, bindings: Mapping[str, int]) -> int:
    """Return the value of a size where every Dim has the value that ``bindings`` names."""
    if isinstance(size, int):
        return size

    def leaf(x: Any) -> int:
        return bindings[x.name] if x.is_Symbol else int(x)

    return int(fold(size.sym, leaf, _ON_INTS))


def symbols(size: Size) -> tuple[SizeSymbol, ...]:
    """Return the symbols of a size, by name."""
    if isinstance(size, int):
        return ()
    return tuple(sorted(size.sym.free_symbols, key=lambda s: str(s.name)))


def maximum(*sizes: Size) -> Size:
    """Return the greatest of the sizes, as an expression where the ranges do not decide."""
    return _extremum(sympy.Max, sizes)


def minimum(*sizes: Size) -> Size:
    """Return the least of the sizes, as an expression where the ranges do not decide."""
    return _extremum(sympy.Min, sizes)


def _extremum(kind: Any, sizes: Sequence[Size]) -> Size:
    result = sizes[0]
    for size in sizes[1:]:
        low, high = bounds(_wrap(_sym(result) - _sym(size)))
        if low >= 0 or high <= 0:
            result = result if (low >= 0) == (kind is sympy.Max) else size
        else:
            result = _wrap(kind(_sym(result), _sym(size)))
    return result


def product(sizes: Sequence[Size]) -> Size:
    """Multiply sizes; 1 for none."""
    result: Size = 1
    for size in sizes:
        result = result * size
    return result


def ceil_div(size: Size, divisor: int) -> Size:
    """Divide and round up."""
    return -((-size) // divisor)


def decide(comparison: str, left: Size, right: Size) -> bool | None:
    """Answer ``left < right`` and the like from ranges; None where they do not decide.

    >>> s = Dim("s", 2, 4, 8)
    >>> decide("gt", s, 1), decide("eq", s, 4), decide("le", s // 2, 4)
    (True, None, True)
    """
    low, high = bounds(_wrap(_sym(left) - _sym(right)))
    if comparison in ("ne", "ge", "gt"):
        opposite = decide({"ne": "eq", "ge": "lt", "gt": "le"}[comparison], left, right)
        return None if opposite is None else not opposite
    if comparison == "eq":
        return True if low == high == 0 else False if low > 0 or high < 0 else None
    limit = 0 if comparison == "le" else -1
    return True if high <= limit else False if low > limit else None
