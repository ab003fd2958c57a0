"""Which of the integers that a call gives tells each Dim: a size of a tensor, or a host input.

A call's integers are checked here, for every runner alike, with and without PyTorch.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol

from trtnn.errors import InputError, ShapeError
from trtnn.sizes.dims import Dim, Expr, Size, evaluate, replaced, symbols
from trtnn.sizes.expressions import SizeSymbol
from trtnn.sizes.profiles import count_profiles, fitting_profiles, profile_of


@dataclass(frozen=True)
class Given:
    """An integer that every call gives: a size of a tensor, or, without an axis, a host input."""

    name: str
    axis: int | None
    size: Size

    def __str__(self) -> str:
        return self.name if self.axis is None else f"{self.name}, dim {self.axis}"


class Declared(Protocol):
    """What takes a call's integers: a graph, or a saved model."""

    @property
    def dims(self) -> tuple[Dim, ...]: ...

    def integers(self) -> list[Given]: ...


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
    zero, one = (replaced(size, {symbol.name: number}) for number in (0, 1))
    slope = one - zero
    if not isinstance(slope, int) or slope == 0 or size - slope * Expr(symbol) != zero:
        return None
    return slope, zero


def bind_dims(
    declared: Declared,
    shapes: Sequence[Sequence[int]],
    profile: int | None = None,
    hosts: Sequence[int] = (),
) -> dict[str, int]:
    """Return the value of every Dim, read off the input shapes and the host inputs.

    Args:
        declared: A graph, or what a saved model says of one.
        profile: The one profile that must hold them; any, if omitted.
        hosts: The values of the host inputs, in order.

    Raises:
        InputError: A size is out of its range, or two inputs give one Dim different values.
    """
    integers = declared.integers()
    numbers = [*(size for shape in shapes for size in shape), *hosts]
    bindings: dict[str, int] = {}
    origins: dict[str, Given] = {}
    for solution in solve(integers):
        given, symbol = integers[solution.index], solution.symbol
        number = solution.value(numbers[solution.index], bindings)
        text = _text(given, numbers[solution.index])
        if number is None:
            known = _values(solution.rest, bindings, origins)
            where = f", where {known}" if known else ""
            raise InputError(f"{text} does not fit {given.size}{where}")
        if not symbol.low <= number <= symbol.high:
            where = f" in {given.size}" if given.size != Expr(symbol) else ""
            raise InputError(
                f"{text} is out of range: {symbol} is {symbol.low} to {symbol.high}{where}"
            )
        bindings[symbol.name], origins[symbol.name] = number, given
    for given, number in zip(integers, numbers, strict=True):
        expected = evaluate(given.size, bindings)
        if expected != number:
            values = _values(given.size, bindings, origins)
            why = f" ({given.size}; {values})" if values else ""
            raise InputError(f"{_text(given, number)} should be {expected}{why}")
    _require_profile(declared, bindings, profile)
    return bindings


def _text(given: Given, number: int) -> str:
    if given.axis is None:
        return f"{given.name}: {number}"
    return f"{given.name}: size {number} of dim {given.axis}"


def _values(size: Size, bindings: Mapping[str, int], origins: Mapping[str, Given]) -> str:
    """Say which values the Dims of a size have, and what gave them."""
    return ", ".join(f"{s} = {bindings[s.name]} given by {origins[s.name]}" for s in symbols(size))


def _require_profile(declared: Declared, bindings: Mapping[str, int], profile: int | None) -> None:
    """Raise InputError unless a profile, or the one that is named, holds all Dims."""
    fitting = fitting_profiles(declared.dims, bindings)
    if profile in fitting if profile is not None else fitting:
        return
    integers = declared.integers()
    origins = {s.symbol.name: integers[s.index] for s in solve(integers)}
    found = [f"{origins[d.name]}: {d} = {bindings[d.name]}" for d in declared.dims]
    indices = range(count_profiles(declared.dims)) if profile is None else [profile]
    taken = [
        f"{i}: " + ", ".join(f"{d.name} = {_spread(profile_of(d, i))}" for d in declared.dims)
        for i in indices
    ]
    raise InputError(f"{', '.join(found)} does not fit profile {'; '.join(taken)}")


def _spread(profile: tuple[int, int, int]) -> str:
    low, _, high = profile
    return str(low) if low == high else f"{low} to {high}"
