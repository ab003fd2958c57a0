"""Nested arguments and results as flat lists: the one file that knows about structure."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator
from typing import Any

from trtnn.errors import InputError


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


def flatten_as(value: Any, tree: Tree, name: str) -> Iterator[Any]:
    """Yield the leaves of ``value`` in the order of ``tree``; the keys of a dict have no order.

    Raises:
        InputError: The structure is another one; the error names the part that differs.
    """
    if tree.kind is None:
        yield value
        return
    parts = _parts(value)
    if parts is None or type(value) is not tree.kind:
        raise InputError(
            f"{name}: expected a {tree.kind.__name__} of {_listed(tree.keys)}, "
            f"got a {type(value).__name__}"
        )
    given = dict(zip(*parts, strict=True))
    wrong = [k for k in (*tree.keys, *given) if (k in given) is not (k in tree.keys)]
    if wrong:
        what = "surplus" if wrong[0] in given else "missing"
        raise InputError(
            f"{_part(name, wrong[0])}: {what}; expected {_listed(tree.keys)}, got {_listed(given)}"
        )
    for key, child in zip(tree.keys, tree.children, strict=True):
        yield from flatten_as(given[key], child, _part(name, key))


def paths(value: Any, prefix: str) -> list[str]:
    """Return a readable name per leaf: ``prefix``, ``prefix[0]``, ``prefix.key``."""
    return list(leaf_names(flatten(value)[1], prefix))


def leaf_names(tree: Tree, prefix: str) -> Iterator[str]:
    """Yield the name of each leaf of a structure."""
    if tree.kind is None:
        yield prefix
    for key, child in zip(tree.keys, tree.children, strict=True):
        yield from leaf_names(child, _part(prefix, key))


def _part(name: str, key: Any) -> str:
    return f"{name}[{key}]" if isinstance(key, int) else f"{name}.{key}".removeprefix(".")


def _listed(keys: Iterable[Any]) -> str:
    return ", ".join(map(str, keys)) or "nothing"
