"""Floats computed from sizes, as Python does: each operation rounded in double precision.

A size that is made of one, such as ``math.floor(n * 0.7)``, is an integer formula that gives what
Python gives at every size in range: that is proven, or tried at each of them.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from typing import Any, ClassVar, TypeAlias

import numpy

from trtnn.errors import UnsupportedError
from trtnn.sizes.dims import (
    Expr,
    Size,
    bounds,
    ceil_div,
    decide,
    evaluate,
    maximum,
    minimum,
    symbols,
)

FUNCTIONS: Mapping[str, Callable[[float], float]] = {
    "sqrt": math.sqrt,
    "exp": math.exp,
    "log": math.log,
    "log2": math.log2,
}
OPERATIONS: Mapping[str, Callable[..., Any]] = {
    "add": operator.add,
    "sub": operator.sub,
    "mul": operator.mul,
    "truediv": operator.truediv,
    "pow": operator.pow,
    **FUNCTIONS,
}
SIGNS = {"add": "+", "sub": "-", "mul": "*", "truediv": "/", "pow": "**"}
ROUNDINGS: Mapping[str, Callable[[float], int]] = {
    "floor": math.floor,
    "ceil": math.ceil,
    "trunc": math.trunc,
    "round": round,
}
EXACT = 2**50  # below it, integers and halves of them are doubles, and so are their sums
TRIED = 65536  # sizes at which a formula is compared with Python's floats
DENOMINATORS = tuple(2**i for i in range(13))  # greatest of a slope
STRETCHES = 16  # of sizes, each with a shift of its own


@dataclass(frozen=True)
class Formula:
    """An operation on floats and sizes.

    >>> from trtnn.sizes.dims import Dim
    >>> Formula("mul", (Dim("n", 1, 4, 9), 0.5))
    n * 0.5
    """

    operation: str
    operands: tuple[Real, ...]
    _trtnn_leaf: ClassVar[bool] = True

    def __repr__(self) -> str:
        if self.operation in SIGNS:
            texts = (str(x) if _is_plain(x) else f"({x})" for x in self.operands)
            return f" {SIGNS[self.operation]} ".join(texts)
        return f"{self.operation}({', '.join(map(str, self.operands))})"


def _is_plain(real: Real) -> bool:
    return not isinstance(real, (Formula, Expr)) or str(real).isidentifier()


Real: TypeAlias = Formula | Size | float
"""A float of sizes; a size stands for itself as a float."""


def computed(operation: str, *operands: Real) -> Real:
    """Return a float of others, as a number where no size is in it."""
    if any(isinstance(x, (Formula, Expr)) for x in operands):
        return Formula(operation, operands)
    result: float = OPERATIONS[operation](*operands)
    return result


def sizes_of(real: Real) -> Iterator[Expr]:
    """Yield the sizes in a float."""
    if isinstance(real, Formula):
        for operand in real.operands:
            yield from sizes_of(operand)
    elif isinstance(real, Expr):
        yield real


def value_at(real: Real, sizes: Mapping[Expr, int]) -> Any:
    """Return Python's float where the sizes in it have these values."""
    if isinstance(real, Formula):
        return OPERATIONS[real.operation](*(value_at(x, sizes) for x in real.operands))
    return sizes[real] if isinstance(real, Expr) else real


Ratio: TypeAlias = tuple[Size, int]


def ratio(real: Real, *, last: bool = False) -> Ratio | None:
    """Return numerator and denominator of a float that is exact at every size, None elsewhere.

    Args:
        last: Take a division too that is rounded, once, at the end: no rounding of a quotient of
            integers this small reaches the next integer.
    """
    if not isinstance(real, Formula):
        exact = (real, 1) if isinstance(real, (int, Expr)) else _fraction(real)
        return exact if exact is not None and _is_small(exact) else None
    pair = [ratio(x) for x in real.operands]
    if None in pair or len(pair) != 2:
        return None
    ((a, m), (b, n)) = pair  # type: ignore[misc]
    result: Ratio
    if real.operation in ("add", "sub"):
        result = OPERATIONS[real.operation](a * n, b * m), m * n
    elif real.operation == "mul":
        result = a * b, m * n
    elif real.operation == "truediv" and isinstance(b, int) and b != 0:
        if not last and abs(b) & (abs(b) - 1):
            return None
        result = (a * n, m * b) if b > 0 else (-a * n, m * -b)
    else:
        return None
    return result if _is_small(result) else None


def _fraction(number: float) -> Ratio | None:
    exact = Fraction(number) if math.isfinite(number) else None
    return None if exact is None else (exact.numerator, exact.denominator)


def _is_small(exact: Ratio) -> bool:
    return max(map(abs, bounds(exact[0]))) < EXACT and exact[1] <= 2**20


@lru_cache(maxsize=4096)
def rounded(kind: str, real: Real) -> Size:
    """Return ``math.floor``, ``ceil`` or ``trunc`` of a float, or ``round``, as a size.

    Raises:
        UnsupportedError: No integer formula is shown to give the same at every size.

    >>> from trtnn.sizes.dims import Dim
    >>> n = Dim("n", 1, 8, 64)
    >>> rounded("floor", computed("mul", n, 0.6)), rounded("ceil", computed("truediv", n, 3))
    (3*n//5, (n + 2)//3)
    """
    if not isinstance(real, (Formula, Expr)):
        return int(ROUNDINGS[kind](real))
    exact = ratio(real, last=True)
    if exact is not None:
        return _rounded_ratio(kind, *exact)
    variable, values = _domain(real, f"{kind} of {real}")
    floats = _floats(real, variable, values)
    wanted = numpy.array([ROUNDINGS[kind](each) for each in floats], dtype=numpy.object_)
    points = numpy.array(values, dtype=numpy.object_)
    slope = Fraction((floats[-1] - floats[0]) / max(1, values[-1] - values[0]))
    slopes = dict.fromkeys(slope.limit_denominator(most) for most in DENOMINATORS)
    found = [_shifts(wanted, points, *each.as_integer_ratio()) for each in slopes]
    best = min(filter(None, found), key=len, default=None)
    if best is not None:
        a, c = list(slopes)[found.index(best)].as_integer_ratio()
        ((_, shift), *steps) = best
        total = a * variable + shift
        for (start, after), (_, before) in zip(steps, best, strict=False):
            # 0 below ``start``, 1 from there on.
            total = total + (after - before) * minimum(maximum(variable - start + 1, 0), 1)
        return total // c
    raise UnsupportedError(
        f"{kind} of {real}: no integer formula gives the same for {_spread(variable)}",
        hint="compute with integers (s * 7 // 10 instead of int(s * 0.7)), or give a static size",
    )


def _shifts(wanted: Any, points: Any, a: int, c: int) -> list[tuple[int, int]] | None:
    """Return b, and from which point on, so that ``(a * point + b) // c`` is what is wanted.

    Where floating point rounds, b changes: it is another one on a few stretches between powers of
    two. None where there are more.
    """
    least = c * wanted - a * points
    found: list[tuple[int, int]] = []
    low, high = least[0], least[0] + c - 1
    start = points[0]
    for point, own in zip(points, least, strict=True):
        if own > high or own + c - 1 < low:
            found.append((start, low))
            start, low, high = point, own, own + c - 1
            if len(found) == STRETCHES:
                return None
        low, high = max(low, own), min(high, own + c - 1)
    return [*found, (start, low)]


def _rounded_ratio(kind: str, numerator: Size, denominator: int) -> Size:
    if kind == "trunc":
        sign = decide("ge", numerator, 0)
        if sign is None:
            below = -minimum(numerator, 0) // denominator
            return (numerator - minimum(numerator, 0)) // denominator - below
        kind = "floor" if sign else "ceil"
    if kind == "ceil":
        return ceil_div(numerator, denominator)
    if kind == "round" and denominator > 1:  # to the even one of two that are as near
        double = 2 * numerator + denominator
        nearest, left = double // (2 * denominator), double % (2 * denominator)
        return nearest - (nearest % 2) * (1 - minimum(left, 1))
    return numerator // denominator


def _domain(real: Real, what: str) -> tuple[Expr, range]:
    """Return the one size that a float depends on, and its values.

    Raises:
        UnsupportedError: It depends on several sizes, or there are too many values to try.
    """
    sizes = list(dict.fromkeys(sizes_of(real)))
    named = list(dict.fromkeys(s for size in sizes for s in symbols(size)))
    variables = sizes if len(sizes) == 1 else [Expr(symbol) for symbol in named]
    low, high = bounds(variables[0])
    if len(variables) == 1 and high - low <= TRIED:
        return variables[0], range(low, high + 1)
    ranges = ", ".join(_spread(Expr(symbol)) for symbol in named)
    raise UnsupportedError(
        f"{what} is rounded in floating point, for {ranges}",
        hint="compute with integers: s * 7 // 10 instead of int(s * 0.7)"
        if len(variables) == 1
        else "round for each Dim on its own, or compute with integers",
    )


def _spread(size: Expr) -> str:
    return "{} = {} to {}".format(size, *bounds(size))


def _floats(real: Real, variable: Expr, values: range) -> list[float]:
    """Return a float at each value of a size.

    Raises:
        UnsupportedError: Python raises there, or gives no float.
    """
    sizes = set(sizes_of(real))
    name = next(iter(symbols(variable))).name
    own = sizes == {variable}
    found = []
    for value in values:
        at = {x: value if own else evaluate(x, {name: value}) for x in sizes}
        try:
            each = value_at(real, at)
        except (ArithmeticError, ValueError) as error:
            raise UnsupportedError(f"{real} where {variable} is {value}: {error}") from error
        if isinstance(each, complex) or not math.isfinite(each):
            raise UnsupportedError(f"{real} is {each} where {variable} is {value}")
        found.append(each)
    return found


def compared(comparison: str, left: Real, right: Real) -> tuple[str, Size, Size]:
    """Return the comparison of two sizes that is that of two floats.

    Raises:
        UnsupportedError: It is True and False by turns.

    >>> from trtnn.sizes.dims import Dim
    >>> compared("gt", computed("truediv", Dim("n", 1, 8, 64), 2), 2.5)
    ('gt', 2*n, 10)
    """
    a, b = ratio(left, last=True), ratio(right, last=True)
    if a is not None and b is not None:
        difference = a[0] * b[1] - b[0] * a[1]
        constant = evaluate(difference, {s.name: 0 for s in symbols(difference)})
        return comparison, difference - constant, -constant
    both = Formula("sub", (left, right))
    variable, values = _domain(both, f"{left} beside {right}")
    sides = ([x] * len(values) if not list(sizes_of(x)) else None for x in (left, right))
    pair = [
        _floats(x, variable, values) if known is None else known
        for x, known in zip((left, right), sides, strict=True)
    ]
    answers = list(map(getattr(operator, comparison), *pair))
    switches = [i for i in range(1, len(answers)) if answers[i] != answers[i - 1]]
    if not switches:
        return "eq", 0, 0 if answers[0] else 1
    if len(switches) == 1:
        return "gt" if answers[-1] else "le", variable, values[switches[0]] - 1
    if len(switches) == 2 and switches[1] == switches[0] + 1:
        return "ne" if answers[0] else "eq", variable, values[switches[0]]
    raise UnsupportedError(
        f"{left} beside {right}: the comparison is True and False by turns for {_spread(variable)}",
        hint="compare integers",
    )
