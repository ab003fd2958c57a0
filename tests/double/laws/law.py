"""What a law is: a name, and a function that adds one tiny network's last layer to a lab."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from tests.double.lab import TYPES, Lab

Law = Callable[[Lab], Any]  # returns a layer, or None where it was refused
Laws = dict[str, Law]
FLOATS = ("FLOAT", "HALF", "BF16")
INDICES = ("INT32", "INT64")


def bound(make: Callable[..., Any], *values: Any, **named: Any) -> Law:
    """Return a law that calls ``make`` with the lab and these."""
    return lambda lab: make(lab, *values, **named)


def each(name: str, values: Iterable[Any], make: Callable[[Lab, Any], Any]) -> Laws:
    """Return one law a value; the value follows the name."""
    return {f"{name} {value}": bound(make, value) for value in values}


def typed(name: str, make: Callable[[Lab, Any], Any], types: Iterable[str] = TYPES) -> Laws:
    """Return one law a type."""
    return each(name, types, make)


def members(
    name: str,
    of: Iterable[str],
    make: Callable[[Lab, str, str], Any],
    types: Iterable[str] = TYPES,
) -> Laws:
    """Return one law for each member of an enumeration and each type."""
    types = tuple(types)
    return {
        f"{name} {member} {dtype}": bound(make, member, dtype) for member in of for dtype in types
    }


def joined(*parts: Laws) -> Laws:
    """Join laws; no name may stand twice."""
    result: Laws = {}
    for part in parts:
        assert not result.keys() & part.keys(), result.keys() & part.keys()
        result |= part
    return result
