"""Integer expressions in one normal form, on SymPy: floor division, remainder, ranges, text.

SymPy alone does not see that ``((h - 1) // 2) // 2`` is ``(h - 1) // 4``, so floor division and
remainder are our own functions, which merge nested divisions by positive ints and pull multiples
out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any, TypeAlias

import sympy

Profiles: TypeAlias = tuple[tuple[int, int, int], ...]
"""The (min, opt, max) of each profile."""


class SizeSymbol(sympy.Symbol):  # type: ignore[misc]
    """A SymPy symbol that knows its ranges, one a profile: equal only if all are equal."""

    low: int
    high: int
    profiles: Profiles
    declared = True  # False: it depends on data, and its range is only what is possible

    def __new__(
        cls,
        name: str,
        low: int,
        high: int,
        profiles: Profiles | None = None,
    ) -> SizeSymbol:
        symbol: SizeSymbol = sympy.Symbol.__xnew__(cls, name, integer=True, nonnegative=True)
        symbol.low, symbol.high = low, high
        symbol.profiles = ((low, high, high),) if profiles is None else profiles
        return symbol

    def _hashable_content(self) -> tuple[Any, ...]:
        return (*super()._hashable_content(), self.profiles)


class DataSymbol(SizeSymbol):
    """A size that is known at run time only: its range is 0 to what the shapes allow."""

    declared = False


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
        if n < 0:
            return cls(sympy.expand(-a), -n)
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
        if n < 0:
            return -cls(sympy.expand(-a), -n)
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


Interval: TypeAlias = tuple[Any, Any]


def _corners(operation: Callable[[Any, Any], Any]) -> Callable[[Interval, Interval], Interval]:
    def combine(a: Interval, b: Interval) -> Interval:
        values = [operation(x, y) for x in a for y in b]
        return min(values), max(values)

    return combine


def _quotients(a: Interval, n: Interval) -> Interval:
    """Divide: the greatest quotients are those by the divisors next to zero.

    By zero alone nothing is computed: a size that depends on data may be 0, and then PyTorch fails.
    """
    divisors = {d for d in (*n, -1, 1) if n[0] <= d <= n[1] and d != 0}
    values = [x // d for x in a for d in divisors] or [0]
    return min(values), max(values)


def _remainders(a: Interval, n: Interval) -> Interval:
    """Take remainders: in order where all quotients by one divisor are equal."""
    if n[0] == n[1] != 0 and a[0] // n[0] == a[1] // n[0]:
        return a[0] % n[0], a[1] % n[0]
    low, high = min(0, n[0] + 1), max(0, n[1] - 1)
    return low, min(high, a[1]) if a[0] >= 0 and n[0] > 0 else high


_ON_INTERVALS: Table = {
    **{name: _corners(_ON_INTS[name]) for name in ("add", "mul", "max", "min")},
    "floor_div": _quotients,
    "mod": _remainders,
}


@lru_cache(maxsize=65536)
def interval(expression: Any) -> Interval:
    """Return the least and greatest value that interval arithmetic can prove."""
    return interval_in(expression, {})


def interval_in(expression: Any, box: Mapping[str, tuple[int, int]]) -> Interval:
    """Return that of an expression where some symbols have the narrower ranges of ``box``."""

    def leaf(x: Any) -> Interval:
        if x.is_Integer:
            return int(x), int(x)
        return (x, x) if x.is_number else box.get(x.name, (x.low, x.high))

    low, high = fold(expression, leaf, _ON_INTERVALS)
    return low, high


def on_ints(expression: Any, bindings: Mapping[str, int]) -> int:
    """Return the value of an expression where every symbol has the value of its name."""

    def leaf(x: Any) -> int:
        return bindings[x.name] if x.is_Symbol else int(x)

    return int(fold(expression, leaf, _ON_INTS))


def as_python(value: Any, level: int = 0) -> str:
    """Write an expression as Python would; ``level`` is the binding strength around it."""
    if value.is_Symbol or value.is_number:
        return f"({value})" if level and str(value).startswith("-") else str(value)
    if value.func in (sympy.Max, sympy.Min):
        inside = ", ".join(sorted(as_python(a) for a in value.args))
        return f"{_OPERATIONS[value.func]}({inside})"
    if value.is_Add:
        terms = sorted(value.args, key=lambda t: (t.is_number, as_python(t)))
        text, own = " + ".join(as_python(t) for t in terms).replace("+ -", "- "), 1
    elif value.is_Pow:
        text, own = f"{as_python(value.base, 4)}**{value.exp}", 4
    elif value.is_Mul:
        factor, rest = value.as_coeff_Mul()
        sign = "-" if factor == -1 else "" if factor == 1 else f"{factor}*"
        text, own = sign + "*".join(as_python(a, 3) for a in sympy.Mul.make_args(rest)), 3
    else:
        sign = "//" if value.func is FloorDiv else "%"
        left = as_python(value.args[0], 3)
        if left.startswith("-"):  # in a sum, "+ -a//2" becomes "- a//2", which is another size
            left = f"({left})"
        text, own = f"{left}{sign}{as_python(value.args[1], 4)}", 2
    return f"({text})" if own < level else text
