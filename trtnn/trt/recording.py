"""``Recorder``: a TensorRT that writes down each call by which a network is made and configured.

What is handed out stands for TensorRT's own objects, and passes on whatever is asked of them. What
was written down is Python again: the same calls, on variables that are named in their order.
"""

from __future__ import annotations

import ctypes
import math
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from trtnn.trt.library import TensorRT

Keep = Callable[[bytes, str], str]
"""Keeps the entries of an array, with the name of their dtype, and returns a name for them."""

SHORT = 16  # entries of an array that stand in the text
# Methods that change something, by how their names begin, and what is made by others.
CHANGES = ("add_", "clear_", "create_", "mark_", "reset_", "set_", "unmark_")
MADE = {
    "create_builder_config": "config",
    "create_network": "network",
    "create_optimization_profile": "profile",
    "add_input": "tensor",
    "get_input": "tensor",
    "get_output": "tensor",
}
PLAIN = frozenset({"add_optimization_profile"})  # adds, and returns a number
# Timings are of one machine, and decide how long a build takes.
LEFT_OUT = frozenset({"create_timing_cache", "set_timing_cache"})


class UnwritableError(Exception):
    """A value that has no text."""


@dataclass(frozen=True, eq=False)
class Written:
    """A value with a text of its own."""

    thing: Any
    text: str


class Recorded:
    """One of TensorRT's objects, on its way through a lowering."""

    __slots__ = ("_name", "_recorder", "_thing")

    def __init__(self, thing: Any, name: str, recorder: Recorder) -> None:
        object.__setattr__(self, "_thing", thing)
        object.__setattr__(self, "_name", name)
        object.__setattr__(self, "_recorder", recorder)

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._thing, name)
        return partial(self._recorder.call, self, name) if callable(found) else found

    def __setattr__(self, name: str, value: Any) -> None:
        self._recorder.assign(self, name, value)


class Recorder(TensorRT):
    """The same TensorRT, with ``lines``: what it was asked to build, as Python.

    Args:
        library: The TensorRT whose calls are written down.
        keep: Takes the weights.

    Attributes:
        built: Whether the calls came to their end, the build.
    """

    def __init__(self, library: TensorRT, keep: Keep) -> None:
        super().__init__(library.trt, library.log.level, runtime=library.runtime)
        self.lines: list[str] = []
        self.built = False
        self._keep, self._counts = keep, Counter[str]()
        self._places: dict[tuple[int, int, str], str] = {}
        members = {name: getattr(self.trt, name) for name in dir(self.trt)}
        self._enumerations = {
            kind: name for name, kind in members.items() if hasattr(kind, "__members__")
        }

    def builder(self) -> Any:
        return Recorded(super().builder(), "builder", self)

    def weights(self, array: Any, dtype: str) -> Any:
        made = super().weights(array, dtype)
        half = dtype == "bfloat16"
        address, count = (
            (array.data_ptr(), array.numel()) if half else (array.ctypes.data, array.size)
        )
        place = address, count, dtype  # what TensorRT tells weights apart by
        if place not in self._places:
            self._places[place] = self._variable("weights")
            if half:
                entries = f'"{self._keep(ctypes.string_at(address, 2 * count), dtype)}"'
            elif count <= SHORT:
                entries = self.text(array.reshape(-1).tolist())
            else:
                entries = f'"{self._keep(array.tobytes(), dtype)}"'
            self.lines.append(f'{self._places[place]} = weights({entries}, "{dtype}")')
        return Written(made, self._places[place])

    def no_weights(self, dtype: str) -> Any:
        made = super().no_weights(dtype)
        return Written(made, f"trt.Weights({self.text(made.dtype)})")

    def build(self, builder: Any, network: Any, config: Any, *given: Any, **named: Any) -> Any:
        self.built = True
        return super().build(*map(_own, (builder, network, config)), *given, **named)

    def call(self, owner: Recorded, name: str, *given: Any, **named: Any) -> Any:
        """Call a method of one of TensorRT's objects, and write down what changes something."""
        method = getattr(owner._thing, name)
        kind = None if name in PLAIN else MADE.get(name, "layer" if name[:4] == "add_" else None)
        variable, names = kind and self._variable(kind), [f"{k}={v!r}" for k, v in named.items()]
        if kind is not None or (name.startswith(CHANGES) and name not in LEFT_OUT):
            try:  # before the call: it may be the last one
                texts = [*map(self.text, given), *names]
                call = f"{owner._name}.{name}({', '.join(texts)})"
                self.lines.append(f"{variable} = made({call})" if variable else call)
            except UnwritableError as error:
                self.lines.append(f"# left out: {owner._name}.{name} of {error}")
        result = method(*map(_own, given), **named)
        return Recorded(result, variable, self) if variable and result is not None else result

    def assign(self, owner: Recorded, name: str, value: Any) -> None:
        """Set a property of one of TensorRT's objects."""
        try:
            self.lines.append(f"{owner._name}.{name} = {self.text(value)}")
        except UnwritableError as error:
            self.lines.append(f"# left out: {owner._name}.{name}, {error}")
        setattr(owner._thing, name, _own(value))

    def _variable(self, kind: str) -> str:
        number = self._counts[kind]
        self._counts[kind] += 1
        return kind if kind in ("config", "network") and not number else f"{kind}_{number}"

    def text(self, value: Any) -> str:
        """Return a value as Python writes it."""
        if isinstance(value, (Recorded, Written)):
            return str(value._name if isinstance(value, Recorded) else value.text)
        if type(value) in self._enumerations:
            return f"trt.{self._enumerations[type(value)]}.{value.name}"
        if isinstance(value, (tuple, list)):
            inside = ", ".join(map(self.text, value))
            if isinstance(value, list):
                return f"[{inside}]"
            return f"({inside},)" if len(value) == 1 else f"({inside})"
        if isinstance(value, float) and not math.isfinite(value):
            return f'float("{value}")'
        if value is None or isinstance(value, (bool, int, float, str)):
            return repr(value)
        raise UnwritableError(f"a {type(value).__name__} of the caller's own")


def _own(value: Any) -> Any:
    """Return TensorRT's own object, or several."""
    if isinstance(value, Recorded):
        return value._thing
    if isinstance(value, Written):
        return value.thing
    return type(value)(map(_own, value)) if type(value) in (list, tuple) else value
