"""``supported``: the torch callables that have a meaning, and the TensorRTs that each works on."""

from __future__ import annotations

import fnmatch
from collections.abc import Hashable
from dataclasses import dataclass
from functools import cache
from operator import attrgetter
from typing import Any

import torch

import trtnn.flow.callables
import trtnn.functional  # noqa: F401 - the two of them fill the table
from trtnn.ops.op import TABLE
from trtnn.ops.registering import name_of

VERSIONS = ("8.6", "10", "11", "RTX")
# What a TensorRT cannot give a callable whatever its arguments; the rows of each are held to it.
LACKING = {
    **dict.fromkeys(("nonzero", "argwhere", "masked_select"), ("RTX",)),
    "bfloat16": ("8.6",),
}
HOMES = ("nn.functional", "", "special", "linalg", "fft", "Tensor")  # of torch, in this order


@dataclass(frozen=True)
class Supported:
    """One of PyTorch's functions that ``forward`` may call.

    Args:
        name: As PyTorch documents it.
        aliases: What else has the same meaning: methods, operators, in-place forms.
        versions: The TensorRTs on which it works, of "8.6", "10", "11" and "RTX".
    """

    name: str
    aliases: tuple[str, ...]
    versions: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.name} ({', '.join(self.versions)})"


def supported(pattern: str = "*") -> list[Supported]:
    """Return the torch callables that trtnn has a meaning for, those of ``register`` among them.

    A function and its methods, operators and in-place forms are one. An argument may still be
    refused, with an ``UnsupportedError`` that says why.

    Args:
        pattern: What a name or an alias matches, whole or after its last dot: ``"relu*"``.

    >>> print(*supported("nonzero"))
    torch.nonzero (8.6, 10, 11)
    """
    entries: dict[int, tuple[Any, list[Any]]] = {}
    for item, meaning in TABLE.items():
        entries.setdefault(id(meaning), (meaning, []))[1].append(item)
    found = [_entry(meaning.__name__, items) for meaning, items in entries.values()]
    matching = [entry for entry in found if _matches(entry, pattern)]
    return sorted(matching, key=lambda entry: entry.name)


def _entry(own: str, items: list[Any]) -> Supported:
    """Return the entry of what has one meaning, our function for which is called ``own``."""
    spelled = [name for item in items for name in _spellings().get(item) or [name_of(item)]]
    names = list(dict.fromkeys(spelled))
    names.sort(key=lambda name: name.rpartition(".")[2] != own)  # the sort is stable
    bare = {name.rpartition(".")[2] for name in names}
    lacking = {version for name in bare for version in LACKING.get(name, ())}
    versions = tuple(version for version in VERSIONS if version not in lacking)
    return Supported(names[0], tuple(names[1:]), versions)


@cache
def _spellings() -> dict[Any, list[str]]:
    """Return every public name of a torch callable, and of what it does in place."""
    found: dict[Any, list[str]] = {}
    for home in HOMES:
        place = attrgetter(home)(torch) if home else torch
        for name in dir(place):
            item = getattr(place, name)
            if not callable(item) and hasattr(item, "__get__"):  # a property, such as Tensor.T
                item = item.__get__
            if callable(item) and isinstance(item, Hashable):
                written = f"torch.{home}.{name}" if home else f"torch.{name}"
                names = found.setdefault(item, [])
                names.append(written)
                if home == "Tensor" and hasattr(place, f"{name}_"):
                    names.append(f"{written}_")
    return found


def _matches(entry: Supported, pattern: str) -> bool:
    names = (entry.name, *entry.aliases)
    return any(
        fnmatch.fnmatchcase(text, pattern) for name in names for text in (name, name.split(".")[-1])
    )
