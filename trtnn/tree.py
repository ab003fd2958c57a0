"""Nested arguments and results as flat lists: the one file that knows about structure."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator
from typing import Any


@dataclasses.dataclass(frozen=True)
class Tree:
    """A structure without its leaves: ``kind`` with one subtree per key; a leaf has no kind."""

    kind: type | None = None
    keys: tuple[Any, ...] = ()
    children: tuple[Tree, ...] = ()


LEAF = Tree()


def _parts(value: Any) -> tuple[tuple[Any, ...], tuple[Any, ...]] | None:
    """Return keys and children of a container, None for a leaf."""
    if isinstance(value, dict):
        return tuple(value), tuple(value.values())
    if type(value).__name__ == "Size":
        return None
    if isinstance(value, (tuple, list)):
        return tuple(range(len(value))), tuple(value)
    # Our own frozen dataclasses (sizes, specs, declarations) are leaves and say so.
    is_container = not isinstance(value, type) and not hasattr(value, "_trtnn_leaf")
    if dataclasses.is_dataclass(value) and is_container:
        names = tuple(f.name for f in dataclasses.fields(value) if f.init)
        return names, tuple(getattr(value, name) for name in names)
    return None


def flatten(value: Any) -> tuple[list[Any], Tree]:
    """Return the leaves, in order, and the structure.

    >>> leaves, tree = flatten({"a": 1, "b": (2, 3)})
    >>> leaves
    [1, 2, 3]
    >>> unflatten(tree, [4, 5, 6])
    {'a': 4, 'b': (5, 6)}
    """
    parts = _parts(value)
    if parts is None:
        return [value], LEAF
    keys, children = parts
    flat = [flatten(child) for child in children]
    leaves = [leaf for some, _ in flat for leaf in some]
    return leaves, Tree(type(value), keys, tuple(tree for _, tree in flat))


def unflatten(tree: Tree, leaves: Iterable[Any]) -> Any:
    """Put ``leaves`` into the structure."""
    return _fill(tree, iter(leaves))


def _fill(tree: Tree, leaves: Iterator[Any]) -> Any:
    if tree.kind is None:
        return next(leaves)
    kind: Any = tree.kind
    values = [_fill(child, leaves) for child in tree.children]
    named = dict(zip(tree.keys, values, strict=True))
    make: Any = kind
    if dataclasses.is_dataclass(kind):
        return make(**named)
    if issubclass(kind, dict):
        return kind(named)
    if issubclass(kind, tuple) and hasattr(kind, "_fields"):
        return kind(*values)
    return kind(values)


def paths(value: Any, prefix: str) -> list[str]:
    """Return a readable name per leaf: ``prefix``, ``prefix[0]``, ``prefix.key``."""
    parts = _parts(value)
    if parts is None:
        return [prefix]
    names: list[str] = []
    for key, child in zip(*parts, strict=True):
        part = f"[{key}]" if isinstance(key, int) else f".{key}"
        names.extend(paths(child, prefix + part))
    return names
