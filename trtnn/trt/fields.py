"""The fields of a plugin: what its creator lists, and values as TensorRT takes them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy

from trtnn.errors import OptionError
from trtnn.source import SourceLine

# The types of numbers by the name of a PluginFieldType. DIMS has no form in Python.
NUMBERS = {
    "FLOAT16": "float16",
    "FLOAT32": "float32",
    "FLOAT64": "float64",
    "INT8": "int8",
    "INT16": "int16",
    "INT32": "int32",
    "INT64": "int64",
}
_TEXTS = "CHAR"
Fields = Iterable[tuple[str, Any]]


@dataclass(frozen=True)
class Entries:
    """The entries of an array, and its dtype."""

    dtype: str
    values: tuple[Any, ...]

    def array(self) -> Any:
        """Return the array, in one row."""
        return numpy.array(self.values, self.dtype)


def require_listed(
    plugin: str, listed: Mapping[str, str], fields: Fields, where: SourceLine | None
) -> None:
    """Raise OptionError unless fields are just those that a creator lists, by name."""
    given = [name for name, _ in fields]
    expected = ", ".join(f"{name} ({kind})" for name, kind in listed.items()) or "none"
    strange = [name for name in given if name not in listed]
    if strange:
        raise OptionError(
            f"plugin {plugin}: there is no field {strange[0]!r}; expected {expected}", where=where
        )
    if missing := [name for name in listed if name not in given]:
        raise OptionError(
            f"plugin {plugin}: the field {missing[0]!r} is not given; expected {expected}",
            hint=f"give {missing[0]}=None to leave it to the plugin",
            where=where,
        )


def converted(plugin: str, name: str, kind: str, value: Any, where: SourceLine | None) -> Any:
    """Return a value as a buffer of the type that a creator lists for a field.

    Args:
        kind: The name of a PluginFieldType; ``UNKNOWN`` where the creator tells none: an array
            says it by its own.

    Raises:
        OptionError: It is of another type, or out of its range.
    """

    def refuse(expected: str) -> OptionError:
        return OptionError(
            f"plugin {plugin}: the field {name!r} is {kind}: expected {expected}, "
            f"got {shown(value)}",
            where=where,
        )

    if kind == _TEXTS:
        if not isinstance(value, str):
            raise refuse("a str")
        return value.encode()
    if isinstance(value, Entries):
        wanted = NUMBERS.get(kind, value.dtype)
        if value.dtype != wanted or wanted not in NUMBERS.values():
            raise refuse(f"an array of {NUMBERS.get(kind, 'numbers')}")
        return value.array()
    if kind not in NUMBERS:
        raise refuse("a NumPy array, whose dtype says the type" if kind == "UNKNOWN" else "None")
    numbers = value if isinstance(value, tuple) else (value,)
    if kind.startswith("FLOAT"):
        if not all(type(number) in (int, float) for number in numbers):
            raise refuse("a float, or several")
        with numpy.errstate(over="ignore"):
            made = numpy.array(numbers, NUMBERS[kind])
        fits = all(
            math.isfinite(after) or not math.isfinite(before)
            for before, after in zip(numbers, made.tolist(), strict=True)
        )
    else:
        if not all(type(number) in (int, bool) for number in numbers):
            raise refuse("an int, or several")
        ends = numpy.iinfo(NUMBERS[kind])
        fits = all(ends.min <= number <= ends.max for number in numbers)
        made = numpy.array(numbers, NUMBERS[kind]) if fits else numpy.empty(0)
    if not fits:
        raise refuse(f"what {NUMBERS[kind]} can hold")
    return made


def type_name(kind: str, value: Any) -> str:
    """Return the name of the PluginFieldType of a value, that of its array where none is told."""
    if kind == "UNKNOWN":
        return next(name for name, dtype in NUMBERS.items() if dtype == str(value.dtype))
    return kind


def shown(value: Any) -> str:
    """Return a value as errors show it."""
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
