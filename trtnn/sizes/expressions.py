"""Integer expressions in one normal form, on SymPy: floor division, remainder, ranges.

SymPy alone does not see that ``((h - 1) // 2) // 2`` is ``(h - 1) // 4``, so floor division is our
own function, which merges nested divisions by positive ints and pulls multiples out. A remainder is
``a - n * (a // n)``, so that ``h + -h % 7`` is seen to be a multiple of 7. An expression that has
grown goes on as one ``Part``, so that computing with sizes takes time in proportion to the number
of operations: written out, what stands twice in the next size doubles with each.
"""

from __future__ import annotations

import hashlib
import operator
from collections.abc import Callable, Mapping
from functools import lru_cache, reduce
from typing import Any, TypeAlias

import numpy
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


WEIGHT = 64  # nodes of an expression that is written out where it is divided
TERMS = 64  # terms that a product is multiplied out to
SCANNED = 1024  # sizes of one Dim at which an expression is computed to know its range


class Part(sympy.AtomicExpr):  # type: ignore[misc]
    """A part of a size, taken as a whole: ``definition`` stands behind it, once."""

    is_integer = True
    definition: Any
    range: tuple[int, int]
    inside: tuple[Part, ...]
    symbols: set[Any]
    text: str

    def __new__(cls, definition: Any) -> Part:
        return definition if isinstance(definition, Part) else _part(definition)

    @property
    def free_symbols(self) -> set[Any]:
        return self.symbols

    def _hashable_content(self) -> tuple[Any, ...]:
        return (self.definition,)

    def sort_key(self, order: Any = None) -> Any:
        return self.class_key(), (1, (self.text,)), sympy.S.One.sort_key(), sympy.S.One


@lru_cache(maxsize=65536)
def _part(definition: Any) -> Part:
    part: Part = sympy.AtomicExpr.__new__(Part)
    part.definition, part.symbols = definition, definition.free_symbols
    part.inside = parts_of(definition)
    part.range = exact_range(definition) or interval(definition)
    part.text = hashlib.sha256(_content(definition).encode()).hexdigest()
    return part


def _content(x: Any) -> str:
    if isinstance(x, Part):
        return x.text
    inside = ", ".join(map(_content, x.args)) or str(x)
    return f"{x.func.__name__}({inside})"


@lru_cache(maxsize=65536)
def parts_of(expression: Any) -> tuple[Part, ...]:
    """Return the parts of an expression, each after those that it is made of."""
    if isinstance(expression, Part):
        return (*expression.inside, expression)
    return tuple(dict.fromkeys(part for each in expression.args for part in parts_of(each)))


@lru_cache(maxsize=65536)
def weight(expression: Any) -> int:
    """Count the nodes of an expression as it is written."""
    return 1 + sum(map(weight, expression.args))


@lru_cache(maxsize=65536)
def times(a: Any, b: Any) -> Any:
    """Multiply out, where that does not make too many terms."""
    left, right = sympy.Add.make_args(a), sympy.Add.make_args(b)
    if len(left) * len(right) > TERMS:
        left, right = ((Part(x),) if x.is_Add else (x,) for x in (a, b))
    return sympy.Add(*(s * t for s in left for t in right))


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
            quotient = _exact_quotient(a, n)
            return _whole(cls, a, n) if quotient is None else quotient
        if n < 0:
            return cls(-a, -n)
        outer, inner = _split_multiples(a, int(n))
        if outer != 0:
            return outer + cls(inner, n)
        divisor = sympy.gcd([n, *(_coefficient(t) for t in sympy.Add.make_args(inner))])
        if divisor > 1:
            return cls(inner / divisor, n / divisor)
        if (inner - inner.as_coeff_Add()[0]).could_extract_minus_sign():
            return -cls(n - 1 - inner, n)
        merged = _merge_nested(inner, n)
        if merged is not None:
            return cls(*merged)
        low, high = interval(inner)
        if low // int(n) == high // int(n):
            return sympy.Integer(low // int(n))
        return _whole(cls, inner, n)


class Modulo(sympy.Function):  # type: ignore[misc]
    """``a % n``; by an int it is ``a - n * (a // n)``, of which ``remaindered`` makes it again."""

    is_integer = True

    @classmethod
    def eval(cls, a: Any, n: Any) -> Any:
        if not n.is_Integer:
            return sympy.Integer(0) if _exact_quotient(a, n) is not None else _whole(cls, a, n)
        return a - times(n, FloorDiv(a, n))


def _whole(kind: Any, *operands: Any) -> Any:
    """Return a function of operands of which the heavy ones are parts, None if there are none."""
    light = [Part(x) if weight(x) > WEIGHT else x for x in operands]
    return None if all(map(operator.is_, light, operands)) else kind(*light)


def extremum(kind: Any, a: Any, b: Any) -> Any:
    """Return ``sympy.Max`` or ``sympy.Min`` of two expressions."""
    return _whole(kind, a, b) or kind(a, b)


def _coefficient(term: Any) -> Any:
    return term.as_coeff_Mul()[0]


def _split_multiples(a: Any, n: int) -> tuple[Any, Any]:
    """Return ``outer, inner`` with ``a == n * outer + inner`` and constants of inner in [0, n)."""
    outer, inner = [], []
    for term in sympy.Add.make_args(a):
        factor, rest = term.as_coeff_Mul()
        if rest == 1:
            outer.append(sympy.Integer(int(factor) // n))
            inner.append(sympy.Integer(int(factor) % n))
        elif int(factor) % n == 0:
            outer.append(term / n)
        else:
            inner.append(term)
    return sympy.Add(*outer), sympy.Add(*inner)


def _merge_nested(a: Any, n: Any) -> tuple[Any, Any] | None:
    """``(b // m + k) // n`` is ``(b + k * m) // (m * n)`` for positive ints m and n."""
    nested = [t for t in sympy.Add.make_args(a) if isinstance(t, FloorDiv)]
    if len(nested) != 1 or not nested[0].args[1].is_Integer:
        return None
    rest = a - nested[0]
    if rest.has(FloorDiv, Modulo):
        return None
    inner, m = nested[0].args
    return inner + rest * m, m * n


def _exact_quotient(a: Any, n: Any) -> Any:
    """Return ``a / n`` where that has no fractions, None elsewhere."""
    if n.is_Add:
        if weight(a) + weight(n) > 2 * WEIGHT:
            return sympy.Integer(1) if a == n else None
        quotient = sympy.expand(sympy.cancel(a / n))
        whole = sympy.denom(sympy.together(quotient)) == 1
    else:
        quotient = sympy.Add(*(term / n for term in sympy.Add.make_args(a)))
        factors = (f for t in sympy.Add.make_args(quotient) for f in sympy.Mul.make_args(t))
        whole = not any(f.is_Pow and f.exp < 0 for f in factors)
    integral = all(_coefficient(t).is_Integer for t in sympy.Add.make_args(quotient))
    return quotient if integral and whole else None


@lru_cache(maxsize=65536)
def remaindered(expression: Any) -> Any:
    """Return a sum in which ``a - n * (a // n)`` is a remainder, for those who compute or read.

    >>> n = SizeSymbol("n", 1, 9)
    >>> n + Modulo(n, 2), remaindered(n + Modulo(n, 2))
    (2*n - 2*FloorDiv(n, 2), n + Modulo(n, 2))
    """
    terms = expression.as_coefficients_dict()
    found = []
    for quotient in [t for t in terms if isinstance(t, FloorDiv) and t.args[1].is_Integer]:
        a, n = quotient.args
        times_n, left = divmod(-terms[quotient], n)
        inner = {t: times_n * c for t, c in a.as_coefficients_dict().items()}
        there = all(
            c * terms[t] > 0 and abs(c) <= abs(terms[t]) for t, c in inner.items() if t != 1
        )
        if left or not there:
            continue
        for term, factor in ((quotient, -times_n * n), *inner.items()):
            terms[term] -= factor
        found.append(times_n * Modulo(a, n, evaluate=False))
    return sympy.Add(*(c * t for t, c in terms.items()), *found) if found else expression


Table: TypeAlias = Mapping[str, Callable[..., Any]]


def fold(
    expression: Any,
    leaf: Callable[[Any], Any],
    table: Table,
    known: Callable[[Part], Any] | None = None,
) -> Any:
    """Compute ``expression`` bottom up, each part of it once.

    Args:
        leaf: For ints and symbols.
        table: By operation: add, mul, floor_div, mod, max and min; each takes two operands.
        known: What a part gives, without a look inside, if it is not None.
    """
    found: dict[Any, Any] = {}

    def value(x: Any) -> Any:
        if x not in found:
            found[x] = leaf(x) if x.is_Symbol or x.is_number else computed(x)
        return found[x]

    def computed(x: Any) -> Any:
        if x.is_Pow:
            base, power = value(x.base), int(x.exp)
            half = value(x.base ** (power // 2))
            square = table["mul"](half, half)
            return table["mul"](square, base) if power % 2 else square
        x = remaindered(x) if x.is_Add else x
        return reduce(table[OPERATIONS[x.func]], map(value, x.args))

    for part in parts_of(expression):
        own = known(part) if known is not None else None
        found[part] = value(part.definition) if own is None else own
    return value(expression)


OPERATIONS = {
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
_ON_ARRAYS: Table = {**_ON_INTS, "max": numpy.maximum, "min": numpy.minimum}


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
    found: dict[Any, Interval] = {}

    def value(x: Any) -> Interval:
        if x not in found:
            found[x] = computed(x)
        return found[x]

    def computed(x: Any) -> Interval:
        if isinstance(x, Part):
            inside = any(s.name in box for s in x.free_symbols)
            return value(x.definition) if inside else x.range
        if x.is_Symbol:
            return box.get(x.name, (x.low, x.high))
        if x.is_number:
            return (int(x), int(x)) if x.is_Integer else (x, x)
        if x.is_Pow:
            return reduce(_ON_INTERVALS["mul"], [value(x.base)] * int(x.exp))
        if x.is_Add and not any(s.name in box for s in x.free_symbols):
            exact = exact_range(x)
            if exact is not None:
                return exact
        whole = remaindered(x) if x.is_Add else x
        if whole.func not in OPERATIONS:
            return value(whole)
        low, high = reduce(_ON_INTERVALS[OPERATIONS[whole.func]], map(value, whole.args))
        for linear, slack, divisor in _linear(x) if x.is_Add else ():
            least, greatest = value(linear)
            low = max(low, -(-(least + min(0, slack)) // divisor))
            high = min(high, (greatest + max(0, slack)) // divisor)
        return low, high

    for part in parts_of(expression):
        value(part)
    return value(expression)


@lru_cache(maxsize=65536)
def _linear(total: Any) -> tuple[tuple[Any, int, int], ...]:
    """Return a sum with a quotient multiplied out, where that cancels terms.

    ``n * (s + c * (a // n))`` is ``n * s + c * a`` and a slack of 0 to ``-c * (n - 1)``: this way
    ``h - h // 2`` is seen to be positive.
    """
    terms = total.as_coefficients_dict()
    for quotient, c in terms.items():
        if isinstance(quotient, FloorDiv) and quotient.args[1].is_Integer:
            a, n = quotient.args
            inner = a.as_coefficients_dict().items()
            if any(t in terms and c * own * terms[t] < 0 for t, own in inner if t != 1):
                return ((n * (total - c * quotient) + c * a, -int(c) * (int(n) - 1), int(n)),)
    return ()


def on_ints(expression: Any, bindings: Mapping[str, Any]) -> Any:
    """Return the value of an expression where every symbol has the value of its name."""

    def leaf(x: Any) -> int:
        return bindings[x.name] if x.is_Symbol else int(x)

    return fold(expression, leaf, _ON_INTS)


@lru_cache(maxsize=4096)
def exact_values(expression: Any) -> Any:
    """Return an array of the values at all sizes of its one Dim; None for several, or too many."""
    (symbol, *others) = expression.free_symbols
    if others or symbol.high - symbol.low > SCANNED:
        return None
    # Python's own integers, which do not overflow, and raise where one divides by 0.
    sizes = numpy.arange(symbol.low, symbol.high + 1).astype(object)

    def leaf(x: Any) -> Any:
        return sizes if x.is_Symbol else int(x)

    try:
        return fold(expression, leaf, _ON_ARRAYS, lambda part: exact_values(part.definition))
    except ZeroDivisionError:
        return None


@lru_cache(maxsize=65536)
def occurrences(expression: Any) -> int:
    """Count how often the symbols of an expression stand in it."""
    if expression.is_Symbol:
        return 1
    if isinstance(expression, Part):
        return occurrences(expression.definition)
    return sum(map(occurrences, expression.args))


@lru_cache(maxsize=65536)
def exact_range(expression: Any) -> Interval | None:
    """Return the exact range where one Dim stands several times, None elsewhere.

    Interval arithmetic takes each occurrence for itself, and so cannot bound what a crop keeps.
    """
    values = exact_values(expression) if occurrences(expression) > 1 else None
    return None if values is None else (min(values), max(values))
