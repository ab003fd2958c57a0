"""Sizes: the user's ``Dim``, integer expressions of Dims, their ranges, and what ranges decide."""

from __future__ import annotations

import builtins
import operator
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, ClassVar, TypeAlias

import sympy

from trtnn.errors import DTypeError, ShapeError
from trtnn.sizes.expressions import (
    FloorDiv,
    Modulo,
    SizeSymbol,
    Table,
    exact_range,
    extremum,
    fold,
    interval,
    interval_in,
    on_ints,
    times,
)
from trtnn.sizes.writing import as_python

Range: TypeAlias = tuple[int, int, int]
"""Least, most frequent and greatest size: TensorRT's min, opt and max."""


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
        return _wrap(times(self.sym, _sym(other)))

    __radd__, __rmul__ = __add__, __mul__

    def __neg__(self) -> Size:
        return _wrap(-self.sym)

    def __floordiv__(self, other: Size) -> Size:
        return _divided(FloorDiv, self.sym, _sym(other))

    def __rfloordiv__(self, other: Size) -> Size:
        return _divided(FloorDiv, _sym(other), self.sym)

    def __truediv__(self, other: Any) -> Any:
        raise DTypeError(f"{self} / {other!r}: sizes are integers", hint="use //")

    __rtruediv__ = __truediv__

    def __mod__(self, other: Size) -> Size:
        return _divided(Modulo, self.sym, _sym(other))

    def __rmod__(self, other: Size) -> Size:
        return _divided(Modulo, _sym(other), self.sym)

    def __bool__(self) -> bool:
        raise TypeError("the truth of a symbolic size is asked through decide()")

    def __repr__(self) -> str:
        return as_python(self.sym)


Size: TypeAlias = int | Expr


class Dim(Expr):
    """A named size with a range: the same Dim in several inputs means equal sizes.

    Args:
        name: Shown in errors and given to TensorRT as the dimension's name.
        min: Least size, at least 0.
        opt: The size that TensorRT tunes for; ``max`` if omitted.
        max: Greatest size.
        profiles: Instead of these, several ``(min, opt, max)``: the engine then has one
            optimization profile for each. ``[(64, 64, 64), (128, 128, 128)]`` gives the kernels of
            static shapes for two lengths. All Dims of a model have as many profiles, or one.

    Raises:
        ShapeError: Not ``0 <= min <= opt <= max``.

    >>> Dim("batch", 1, 8, 32)
    batch
    >>> Dim("seq", profiles=[(64, 64, 64), (128, 128, 128)]).max
    128
    """

    def __init__(
        self,
        name: str,
        min: int | None = None,
        opt: int | None = None,
        max: int | None = None,
        *,
        profiles: Sequence[Range] | None = None,
    ) -> None:
        if not (isinstance(name, str) and name.isidentifier()):
            raise ShapeError(f"Dim: expected a name that is an identifier, got {name!r}")
        if (profiles is None) == (max is None):
            raise ShapeError(f"Dim {name!r}: expected either min, opt and max, or profiles")
        given: Any = [(min, max if opt is None else opt, max)] if profiles is None else profiles
        ranges = [_range_of(name, entry) for entry in given]
        if not ranges:
            raise ShapeError(f"Dim {name!r}: expected at least one profile")
        low, high = ranges[0][0], ranges[0][2]
        for least, _, greatest in ranges[1:]:
            low, high = builtins.min(low, least), builtins.max(high, greatest)
        super().__init__(SizeSymbol(name, low, high, tuple(ranges)))

    @property
    def name(self) -> str:
        return str(self.sym.name)

    @property
    def profiles(self) -> tuple[Range, ...]:
        """The (min, opt, max) of each profile."""
        found: tuple[Range, ...] = self.sym.profiles
        return found

    @property
    def min(self) -> int:
        return int(self.sym.low)

    @property
    def opt(self) -> int:
        """The size that the first profile is tuned for."""
        return self.profiles[0][1]

    @property
    def max(self) -> int:
        return int(self.sym.high)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Expr) and self.sym == other.sym

    def __hash__(self) -> int:
        return hash((self.sym,))


def _range_of(name: str, entry: Any) -> Range:
    sizes = tuple(entry) if isinstance(entry, (tuple, list)) else ()
    if len(sizes) != 3 or not all(type(v) is int for v in sizes):
        raise ShapeError(f"Dim {name!r}: expected ints (min, opt, max), got {entry!r}")
    if not 0 <= sizes[0] <= sizes[1] <= sizes[2]:
        raise ShapeError(
            f"Dim {name!r}: expected 0 <= min <= opt <= max, "
            f"got min={sizes[0]}, opt={sizes[1]}, max={sizes[2]}"
        )
    return sizes


def _sym(value: Any) -> Any:
    if isinstance(value, Expr):
        return value.sym
    if hasattr(value, "__index__"):
        return sympy.Integer(operator.index(value))
    raise DTypeError(
        f"a size with {value!r} of {type(value).__name__}: sizes are integers",
        hint="use //: s * 7 // 10 instead of s * 0.7",
    )


def _wrap(value: Any) -> Size:
    return int(value) if value.is_Integer else Expr(value)


def _divided(kind: Any, a: Any, divisor: Any) -> Size:
    result = kind(a, divisor)
    kept = {getattr(x.args[1], "definition", x.args[1]) for x in result.atoms(FloorDiv, Modulo)}
    if not divisor.is_Integer and divisor in kept and failures("ne", Expr(divisor), 0):
        raise ShapeError(
            f"division by the size {as_python(divisor)}, which may be 0",
            hint="give its Dim min=1, or divide by torch.sym_max(size, 1)",
        )
    return _wrap(result)


def bounds(size: Size) -> tuple[int, int]:
    """Return the least and greatest value of a size.

    >>> bounds(2 * Dim("s", 1, 4, 8) + 1)
    (3, 17)
    >>> h = Dim("h", 1, 8, 64)
    >>> bounds(h // 2 - 2 * (h // 4))
    (0, 1)
    """
    if isinstance(size, int):
        return size, size
    return exact_range(size.sym) or interval(size.sym)


def evaluate(size: Size, bindings: Mapping[str, int]) -> int:
    """Return the value of a size where every Dim has the value that ``bindings`` names."""
    return size if isinstance(size, int) else int(on_ints(size.sym, bindings))


def replaced(size: Size, sizes: Mapping[str, int]) -> Size:
    """Return a size with some Dims as the ints that ``sizes`` names.

    >>> a, b = Dim("a", 1, 4, 8), Dim("b", 1, 4, 8)
    >>> replaced(a * b // 2, {"b": 6})
    3*a
    """
    if not any(symbol.name in sizes for symbol in symbols(size)):
        return size

    def leaf(x: Any) -> Size:
        return int(x) if x.is_Integer else sizes.get(x.name, Expr(x))

    result: Size = fold(size.sym, leaf, _ON_SIZES)  # type: ignore[union-attr]
    return result


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
            result = _wrap(extremum(kind, _sym(result), _sym(size)))
    return result


_ON_SIZES: Table = {
    "add": operator.add,
    "mul": operator.mul,
    "floor_div": operator.floordiv,
    "mod": operator.mod,
    "max": maximum,
    "min": minimum,
}


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
    return _answer(comparison, *bounds(_wrap(_sym(left) - _sym(right))))


def _answer(comparison: str, low: int, high: int) -> bool | None:
    """Compare a difference that is ``low`` to ``high`` with 0."""
    if comparison in ("ne", "ge", "gt"):
        opposite = _answer({"ne": "eq", "ge": "lt", "gt": "le"}[comparison], low, high)
        return None if opposite is None else not opposite
    if comparison == "eq":
        return True if low == high == 0 else False if low > 0 or high < 0 else None
    limit = 0 if comparison == "le" else -1
    return True if high <= limit else False if low > limit else None


Box: TypeAlias = dict[str, tuple[int, int]]
"""A range for each Dim, by name."""
VISITED = 2048


def exceptions(comparison: str, left: Size, right: Size, *, answer: bool) -> Iterator[Box | None]:
    """Yield boxes of sizes that give another answer, the least first; None for "perhaps more".

    Ranges that do not decide are halved, down to single sizes.

    >>> a, b = Dim("a", 1, 4, 100), Dim("b", 1, 4, 100)
    >>> list(exceptions("gt", a * b, 1, answer=True)), list(exceptions("ne", a, 50, answer=True))
    ([{'a': (1, 1), 'b': (1, 1)}], [{'a': (50, 50)}])
    """
    difference = _sym(_wrap(_sym(left) - _sym(right)))
    named = sorted(difference.free_symbols, key=lambda s: str(s.name))
    count = max((len(s.profiles) for s in named), default=1)
    pending: list[Box] = [{s.name: _profile(s, i) for s in named} for i in reversed(range(count))]
    for _ in range(VISITED):
        if not pending:
            return
        box = pending.pop()
        found = _answer(comparison, *interval_in(difference, box))
        if found is None:
            name = max(box, key=lambda n: box[n][1] - box[n][0])
            low, high = box[name]
            middle = (low + high) // 2
            pending += [{**box, name: (middle + 1, high)}, {**box, name: (low, middle)}]
        elif found is not answer:
            yield box
    if pending:
        yield None


@lru_cache(maxsize=65536)
def failures(comparison: str, left: Size, right: Size) -> tuple[Box, ...]:
    """Return boxes of sizes in range at which a comparison does not hold, as far as it is known.

    A size that depends on data fails only if it fails at every value that it may have.

    >>> failures("ge", Dim("h", 4, 16, 64) - 7, 0)
    ({'h': (4, 6)},)
    """
    answer = decide(comparison, left, right)
    guessed = any(not s.declared for size in (left, right) for s in symbols(size))
    if answer or (answer is None and guessed):
        return ()
    found: list[Box] = []
    for box in exceptions(comparison, left, right, answer=True):
        if box is None:
            break
        (name, (low, high)), *others = box.items() or [("", (0, 0))]
        if found and not others and found[-1][name][1] + 1 == low:
            box = {name: (found.pop()[name][0], high)}
        found.append(box)
    return tuple(found)


def _profile(symbol: SizeSymbol, index: int) -> tuple[int, int]:
    low, _, high = symbol.profiles[index if len(symbol.profiles) > 1 else 0]
    return low, high
