"""The signature strings of pybind11, parsed into checks of arguments."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, NoReturn

import numpy

Converter = Callable[[Any], Any]


class Mismatch(TypeError):
    """An argument does not have the type that the signature asks for."""


@dataclass(frozen=True)
class Parameter:
    """One parameter of a signature."""

    name: str
    convert: Converter
    default: Any = None
    optional: bool = False


@dataclass(frozen=True)
class Overload:
    """One signature of a method, without ``self``."""

    text: str
    parameters: tuple[Parameter, ...]

    def bind(self, given: tuple[Any, ...], named: dict[str, Any]) -> list[Any]:
        """Return converted arguments in order, or raise ``Mismatch``."""
        if len(given) + len(named) > len(self.parameters):
            raise Mismatch("too many arguments")
        used = 0
        result = []
        for place, parameter in enumerate(self.parameters):
            if place < len(given):
                value = given[place]
            elif parameter.name in named:
                value = named[parameter.name]
                used += 1
            elif parameter.optional:
                result.append(parameter.default)
                continue
            else:
                raise Mismatch(f"{parameter.name} is missing")
            if value is None and parameter.optional and parameter.default is None:
                result.append(None)
            else:
                result.append(parameter.convert(value))
        if used != len(named):
            raise Mismatch(f"unknown keyword among {sorted(named)}")
        return result


def refuse(value: object, wanted: str) -> NoReturn:
    """Raise for a value of the wrong type."""
    raise Mismatch(f"{wanted} expected, not {type(value).__name__}")


def integer(value: Any) -> int:
    """Take what pybind11 takes for an int, and no enumeration."""
    if isinstance(value, (int, numpy.integer)):
        return int(value)
    refuse(value, "int")


def number(value: Any) -> float:
    """Take an int or a float."""
    if isinstance(value, (int, float, numpy.floating, numpy.integer)):
        return float(value)
    refuse(value, "float")


def numeral(value: Any) -> int | float:
    """Take an int or a float and keep which of them it is (alpha and beta of a fill)."""
    return integer(value) if isinstance(value, (int, numpy.integer)) else number(value)


def truth(value: Any) -> bool:
    """Take a bool only."""
    if isinstance(value, (bool, numpy.bool_)):
        return bool(value)
    refuse(value, "bool")


def string(value: Any) -> str:
    """Take a str."""
    if isinstance(value, str):
        return value
    refuse(value, "str")


def array(value: Any) -> Any:
    """Take a NumPy array."""
    if isinstance(value, numpy.ndarray):
        return value
    refuse(value, "numpy.ndarray")


def buffer(value: Any) -> Any:
    """Take what has the buffer protocol."""
    if isinstance(value, numpy.ndarray):  # its type counts, for the field of a plugin
        return value
    if isinstance(value, (bytes, bytearray, memoryview)) or type(value).__name__ == "IHostMemory":
        return bytes(value)
    refuse(value, "a buffer")


def anything(value: Any) -> Any:
    """Take any object."""
    return value


def plain(kind: type) -> Converter:
    """Return a check for instances of a built-in type."""

    def convert(value: Any) -> Any:
        return value if isinstance(value, kind) else refuse(value, kind.__name__)

    return convert


def sequence(item: Converter) -> Converter:
    """Return a check for a list or tuple of something."""

    def convert(value: Any) -> Any:
        if isinstance(value, (str, bytes)) or not hasattr(value, "__getitem__"):
            refuse(value, "a sequence")
        return [item(entry) for entry in value]

    return convert


SIMPLE: dict[str, Converter] = {
    "int": integer,
    "typing.SupportsInt": integer,
    "float": number,
    "typing.SupportsFloat": number,
    "int | float": numeral,
    "bool": truth,
    "str": string,
    "numpy.ndarray": array,
    "buffer": buffer,
    "collections.abc.Buffer": buffer,
    "typing_extensions.Buffer": buffer,
    "tuple": plain(tuple),
    "list": plain(list),
    "bytes": plain(bytes),
}
SEQUENCE = re.compile(r"^(?:List|list|collections\.abc\.Sequence)\[(.*)\]$")


def converter(wanted: str, types: dict[str, Any]) -> Converter:
    """Return the check for a type as pybind11 writes it."""
    if wanted in SIMPLE:
        return SIMPLE[wanted]
    found = SEQUENCE.match(wanted)
    if found:
        return sequence(converter(found[1], types))
    name = wanted.rsplit("::", 1)[-1].rsplit(".", 1)[-1]
    kind = types.get(name)
    if kind is None:
        return anything
    adopt = getattr(kind, "_adopt", None)

    def convert(value: Any) -> Any:
        if isinstance(value, kind):
            if not getattr(value, "_made", True):
                raise Mismatch(f"{name}.__init__() must be called when overriding __init__")
            return value
        if adopt is not None:
            return adopt(value)
        return refuse(value, name)

    return convert


def split(arguments: str) -> Iterator[str]:
    """Yield the parts of an argument list, at commas outside brackets."""
    depth, start = 0, 0
    for place, character in enumerate(arguments):
        depth += (character in "[<(") - (character in "]>)")
        if character == "," and depth == 0:
            yield arguments[start:place].strip()
            start = place + 1
    if arguments[start:].strip():
        yield arguments[start:].strip()


def default(written: str, types: dict[str, Any]) -> Any:
    """Return the value of a default as pybind11 writes it."""
    found = re.match(r"^<(\w+)\.(\w+): \d+>$", written)
    if found:
        return getattr(types[found[1]], found[2])
    return {"None": None, "True": True, "False": False, "''": ""}.get(written, written)


def parse(written: str, types: dict[str, Any]) -> Overload:
    """Parse one signature string."""
    found = re.match(r"^\w+\((.*)\)(?: -> .*)?$", written)
    assert found is not None, written
    parameters = []
    for part in split(found[1]):
        name, _, wanted = part.partition(": ")
        if name == "self":
            continue
        wanted, equals, value = wanted.partition(" = ")
        if equals:
            known = int(value) if value.isdigit() else default(value, types)
            parameters.append(Parameter(name, converter(wanted, types), known, optional=True))
        else:
            parameters.append(Parameter(name, converter(wanted, types)))
    return Overload(written, tuple(parameters))


def choose(
    overloads: list[Overload], given: tuple[Any, ...], named: dict[str, Any]
) -> tuple[Overload, list[Any]]:
    """Return the first overload that takes the arguments, as pybind11 does."""
    reasons = []
    for overload in overloads:
        try:
            return overload, overload.bind(given, named)
        except Mismatch as mismatch:
            reasons.append(f"    {overload.text}: {mismatch}")
    shown = ", ".join(type(value).__name__ for value in given)
    raise TypeError(
        f"incompatible function arguments ({shown}; {sorted(named)}). Supported:\n"
        + "\n".join(reasons)
    )
