"""Classes and enumerations made from the recorded surface of one TensorRT version."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any, NoReturn

from tests.double.properties import property_type
from tests.double.signature import Overload, choose, converter, parse

DATA = Path(__file__).parent / "data"
FILES = {"8.6": "8.6.0.json", "10": "10.16.1.11.json", "11": "11.4.0.106.json"}
FILES |= {"rtx": "rtx-1.7.1.116.json"}
VERSIONS = {"8.6": "8.6.0", "10": "10.16.1", "11": "11.4.0"}
RELEASES = VERSIONS | {"rtx": "1.7.1.116"}
MAJORS = {"8.6": 8, "10": 10, "11": 11, "rtx": 11}  # RTX is of the API generation of 11
SAME = {"ResizeMode": "InterpolationMode", "SliceMode": "SampleMode"}
SEVERITIES = {"INTERNAL_ERROR": 0, "ERROR": 1, "WARNING": 2, "INFO": 3, "VERBOSE": 4}


class Member:
    """A member of an enumeration: its name, ``int()``, and nothing of an integer otherwise."""

    __slots__ = ("_number", "name")
    _number: int
    name: str
    __members__: Mapping[str, Member]

    def __init__(self, name: str, number: int) -> None:
        object.__setattr__(self, "name", name)
        object.__setattr__(self, "_number", number)

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError(f"can't set attribute {name!r}")

    @property
    def value(self) -> int:
        return self._number

    def __int__(self) -> int:
        return self._number

    def __repr__(self) -> str:
        return f"<{type(self).__name__}.{self.name}: {self._number}>"

    def __str__(self) -> str:
        return f"{type(self).__name__}.{self.name}"


class Ordered(Member):
    """A member of the one enumeration with an order: the severity of a log line."""

    __slots__ = ()

    def __lt__(self, other: Member) -> bool:
        return self._number < int(other)

    def __le__(self, other: Member) -> bool:
        return self._number <= int(other)

    def __gt__(self, other: Member) -> bool:
        return self._number > int(other)

    def __ge__(self, other: Member) -> bool:
        return self._number >= int(other)


class Meta(type):
    """Raise on attributes of a class that its version does not have."""

    def __setattr__(cls, name: str, value: object) -> None:
        if not name.startswith("_") and "_declared" in vars(cls):
            raise AttributeError(f"type {cls.__name__} has no attribute {name!r} to set")
        super().__setattr__(name, value)


def enumeration(name: str, members: Mapping[str, int], base: type = Member) -> Any:
    """Make an enumeration; names of one number are one member."""
    made = type(name, (base,), {"__slots__": (), "__module__": "tensorrt"})
    found: dict[int, Member] = {}
    table: dict[str, Member] = {}
    for key in sorted(members, key=lambda key: (members[key], key in ("DEFAULT", "WEIGHTLESS"))):
        member = found.setdefault(members[key], made(key, members[key]))
        table[key] = member
        setattr(made, key, member)
    made.__members__ = table  # type: ignore[attr-defined]
    return made


@cache
def recorded(version: str) -> dict[str, Any]:
    """Return what was recorded of one version, by name."""
    entries: dict[str, Any] = json.loads((DATA / FILES[version]).read_text())
    return entries


class Types(dict[str, Any]):
    """The classes and enumerations of a surface, each made when it is first asked for."""

    def __init__(self, surface: Surface) -> None:
        super().__init__()
        self.surface = surface

    def __missing__(self, name: str) -> Any:
        made = self[name] = self.surface.make(name)
        return made

    def get(self, name: str, default: Any = None) -> Any:
        """Return a type, ``default`` where this version has none of that name."""
        try:
            return self[name]
        except KeyError:
            return default


class Surface:
    """The names of one version, with the behaviour of the double behind them."""

    def __init__(self, version: str, behaviours: Mapping[str, type]) -> None:
        self.entries = recorded(version)
        self.major = MAJORS[version]
        self.rtx = version == "rtx"
        self.release = RELEASES[version]
        self.types = Types(self)
        self.behaviours = behaviours
        self.callback: Any = None
        self.meanwhile: Any = None

    def __getattr__(self, name: str) -> Any:
        try:
            return self.types[name]
        except KeyError:
            raise AttributeError(f"TensorRT {self.major} has no {name}") from None

    def make(self, name: str) -> Any:
        """Make a class, its bases first, or an enumeration."""
        if name == "Severity":
            return enumeration("Severity", SEVERITIES, Ordered)
        entry = self.entries[name]
        if not isinstance(entry, dict) or not {"members", "methods"} & entry.keys():
            raise KeyError(name)
        if "members" in entry:
            return self.types[SAME[name]] if name in SAME else enumeration(name, entry["members"])
        bases = tuple(self.types[base] for base in entry["bases"][:1]) or (Plain,)
        behaviour = self.behaviour(name)
        space: dict[str, Any] = {"__module__": "tensorrt", "_surface": self}
        space.update(private(behaviour))
        for key, access in entry["properties"].items():
            space[key] = self.property(name, key, access == "read-write", find(behaviour, key))
        for key, written in entry["methods"].items():
            if written and not (bases[0] is not Plain and self.inherited(bases[0], key, written)):
                space[key] = self.method(name, key, written, find(behaviour, key))
        if name in ("ILogger", "Logger"):
            severity = self.types["Severity"]
            space.update(severity.__members__, Severity=severity)
        if "__init__" not in entry["methods"]:
            space["__init__"] = unconstructable
        space["_declared"] = True
        made = Meta(name, bases, space)
        made._declared_as = made
        return made

    def behaviour(self, name: str) -> type:
        """Return the class of this package that stands behind a name."""
        for candidate in (name, *self.entries[name]["bases"]):
            if candidate in self.behaviours:
                return self.behaviours[candidate]
        return Plain

    def inherited(self, base: Any, key: str, written: list[str]) -> bool:
        """Tell whether a base class already has the method with the same signature."""
        return key != "__init__" and getattr(getattr(base, key, None), "_written", None) == written

    def method(
        self, owner: str, name: str, written: list[str], body: Callable[..., Any] | None
    ) -> Callable[..., Any]:
        """Return a method that checks its arguments against the signature strings."""
        overloads: list[Overload] = []
        counted = owner in ("IExecutionContext", "ICudaEngine")
        if body is None:
            body = find(self.behaviour(owner), "_init") if name == "__init__" else None

        def method(self_: Any, *given: Any, **named: Any) -> Any:
            if not overloads:
                overloads.extend(parse(text, self.types) for text in written)
            _, arguments = choose(overloads, given, named)
            if name == "__init__":
                object.__setattr__(self_, "_made", True)
                return body(self_, *arguments) if body else None
            if body is None:
                raise NotImplementedError(f"the double has no {owner}.{name}")
            if counted:
                self_.__dict__["calls"][name] += 1
            return body(self_, *arguments)

        method.__name__ = name
        method._written = written  # type: ignore[attr-defined]
        return method

    def property(self, owner: str, name: str, writable: bool, body: Any) -> property:
        """Return a property that checks what is assigned, stored unless the behaviour has it."""
        counted = owner in ("IExecutionContext", "ICudaEngine")
        own = body if isinstance(body, property) else None
        if own is not None and writable and own.fset is None:
            own = None  # IActivationLayer.type hides ILayer.type
        check: list[Any] = []

        def read(self_: Any) -> Any:
            if counted:
                self_.__dict__["calls"][name] += 1
            if own is not None and own.fget is not None:
                return own.fget(self_)
            return self_._read(name)

        def write(self_: Any, value: Any) -> None:
            if not check:
                check.append(converter(property_type(owner, name), self.types))
            value = check[0](value) if value is not None else None
            if own is not None and own.fset is not None:
                own.fset(self_, value)
            else:
                self_._write(name, value)

        return property(read, write if writable else None)

    def dims(self, sizes: Any) -> Any:
        """Make a ``Dims``."""
        return self.types["Dims"](tuple(sizes))

    def new(self, name: str, *arguments: Any) -> Any:
        """Make an instance of a class that users cannot construct."""
        made = object.__new__(self.types[name])
        object.__setattr__(made, "_made", True)
        made._setup(*arguments)
        return made


class Plain:
    """What every class of the double has: stored properties and no other attributes."""

    _declared_as: type
    _surface: Surface
    _made = False

    def __init__(self, *arguments: Any) -> None:
        """Stand for the constructor that each class is given."""

    def __setattr__(self, name: str, value: Any) -> None:
        known = name.startswith("_") or isinstance(getattr(type(self), name, None), property)
        if not known and type(self) is self._declared_as:
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        object.__setattr__(self, name, value)

    def _setup(self, *arguments: Any, **named: Any) -> None:
        """Take nothing."""

    def _read(self, name: str) -> Any:
        return self.__dict__.get(f"_value_{name}")

    def _write(self, name: str, value: Any) -> None:
        object.__setattr__(self, f"_value_{name}", value)


def private(behaviour: type) -> dict[str, Any]:
    """Return what a behaviour gives to a class beside the recorded names."""
    hidden = ("__dict__", "__weakref__", "__module__", "__doc__", "__annotations__", "__qualname__")
    space: dict[str, Any] = {}
    for kind in reversed(behaviour.__mro__):
        if kind not in (object, Plain):
            for key, value in vars(kind).items():
                if key.startswith("_") and key not in hidden:
                    space[key] = value
    return space


def find(behaviour: type, name: str) -> Any:
    """Return what a behaviour or its bases say about a name."""
    for kind in behaviour.__mro__:
        if kind not in (object, Plain) and name in vars(kind):
            return vars(kind)[name]
    return None


def unconstructable(self: Any, *given: Any, **named: Any) -> NoReturn:
    """Refuse to construct what only TensorRT makes."""
    raise TypeError(f"{type(self).__name__}: No constructor defined!")
