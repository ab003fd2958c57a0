"""Which of the integers that a call gives tells each Dim: a size of a tensor, or a host input."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache

from trtnn.dims import Dim, Expr, Size, evaluate, symbols, wrap
from trtnn.errors import ShapeError
from trtnn.expressions import SizeSymbol


@dataclass(frozen=True)
class Given:
    """An integer that every call gives: a size of a tensor, or, without an axis, a host input."""

    name: str
    axis: int | None
    size: Size

    def __str__(self) -> str:
        return self.name if self.axis is None else f"{self.name}, dim {self.axis}"


@dataclass(frozen=True)
class Solution:
    """How a Dim follows from a given integer, which is ``slope * symbol + rest``.

    ``index`` is the integer's place among all; ``rest`` has the Dims of earlier solutions only.
    """

    symbol: SizeSymbol
    index: int
    slope: int = 1
    rest: Size = 0

    def value(self, number: int, bindings: Mapping[str, int]) -> int | None:
        """Return the Dim's value; None where no integer gives ``number``."""
        quotient, left = divmod(number - evaluate(self.rest, bindings), self.slope)
        return None if left else quotient


def integers_of(
    shapes: Iterable[tuple[str, tuple[Size, ...]]], hosts: Mapping[str, Dim]
) -> list[Given]:
    """Return the integers of a call: the sizes of each tensor in order, then the host inputs."""
    sizes = [Given(name, axis, s) for name, shape in shapes for axis, s in enumerate(shape)]
    return sizes + [Given(name, None, dim) for name, dim in hosts.items()]


def solve(integers: Iterable[Given]) -> tuple[Solution, ...]:
    """Return how each Dim is told: by a size that it is, else a host input, else ``2 * dim + 1``.

    Args:
        integers: In the order of ``integers_of``.

    Raises:
        ShapeError: A Dim that none of the integers tells.
    """
    return _solve(tuple(integers))


@lru_cache(maxsize=256)
def _solve(integers: tuple[Given, ...]) -> tuple[Solution, ...]:
    sizes = {i: x.size for i, x in enumerate(integers) if isinstance(x.size, Expr)}
    plain = [i for i, size in sizes.items() if size.sym.is_Symbol]
    found: dict[str, Solution] = {}
    waiting = [*plain, *sizes]
    before = -1
    while len(found) > before:
        before = len(found)
        for i in waiting:
            unknown = [s for s in symbols(sizes[i]) if s.name not in found]
            if len(unknown) == 1:
                line = _line(sizes[i], unknown[0])
                if line is not None:
                    found[unknown[0].name] = Solution(unknown[0], i, *line)
    for entry in integers:
        missing = next((s.name for s in symbols(entry.size) if s.name not in found), None)
        if missing is not None:
            raise ShapeError(
                f"{entry.name}: size {entry.size} of dim {entry.axis} does not tell {missing}, "
                "and no other input does",
                hint=f"declare a Dim for {entry.size} itself, or give {missing} as an argument "
                f"of its own: Input({missing}, host=True)",
            )
    return tuple(found.values())


def _line(size: Expr, symbol: SizeSymbol) -> tuple[int, Size] | None:
    """Return slope and rest of a size that is a straight line in one symbol."""
    zero, one = (wrap(size.sym.subs(symbol, number)) for number in (0, 1))
    slope = one - zero
    if not isinstance(slope, int) or slope == 0 or size - slope * Expr(symbol) != zero:
        return None
    return slope, zero
