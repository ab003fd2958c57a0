"""Leaves and structures of arguments and results, as JSON holds them exactly, and back.

A leaf is null, true, a number, a text, or ``{"tag": parts}`` with one of the tags below, or
``{"size": "2*batch"}``; a structure names its kind, its keys and its parts.
"""

from __future__ import annotations

import dataclasses
import math
import sys
from collections import OrderedDict, defaultdict, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from trtnn.errors import LoadError, UnsupportedError
from trtnn.saved.notation import read_size
from trtnn.sizes.dims import Expr
from trtnn.tracing.constants import short
from trtnn.tracing.tracer import Output, Sizes
from trtnn.tree import FACTORIES, LEAF, Tree, form_of, unflatten


@dataclass(frozen=True)
class Other:
    """The default of a parameter that no file can hold: its text. Calls never read a default."""

    text: str

    def __repr__(self) -> str:
        return self.text


@dataclass(frozen=True)
class Form:
    """How a manifest holds values of one type: what they are made of, and made again."""

    kind: type
    parts: Callable[[Any], Any]
    make: Callable[..., Any]


def dtype_of(name: str) -> torch.dtype:
    """Return the dtype of a name without ``torch.``."""
    found = vars(torch).get(name)
    if not isinstance(found, torch.dtype):
        raise LoadError(f"expected the name of a dtype, found {name!r}")
    return found


FORMS: dict[str, Form] = {
    "float": Form(float, repr, float),
    "complex": Form(complex, lambda c: [c.real, c.imag], lambda parts: complex(*parts)),
    "dtype": Form(torch.dtype, lambda d: str(d).removeprefix("torch."), dtype_of),
    "device": Form(torch.device, str, torch.device),
    "slice": Form(slice, lambda s: [s.start, s.stop, s.step], lambda parts: slice(*parts)),
    "tuple": Form(tuple, list, tuple),
    "torch.Size": Form(torch.Size, list, torch.Size),
    "output": Form(Output, int, Output),
    "sizes": Form(Sizes, list, Sizes),
    "other": Form(Other, lambda other: other.text, Other),
}
_TAGS = {form.kind: tag for tag, form in FORMS.items()}


def encode(value: Any, name: str) -> Any:
    """Return a leaf as JSON holds it, exactly.

    Raises:
        UnsupportedError: JSON cannot hold it; the error says ``name``.
    """
    if value is None or type(value) in (bool, int, str):
        return value
    if type(value) is float and math.isfinite(value):
        return value
    if isinstance(value, Expr):
        return {"size": str(value)}
    tag = _TAGS.get(type(value))
    if tag is None:
        raise UnsupportedError(
            f"save: {name}: a file cannot hold {short(value)} as it is",
            hint="plain numbers, texts, dtypes, devices and slices can be saved",
        )
    parts = FORMS[tag].parts(value)
    whole = isinstance(parts, list)
    return {tag: [encode(part, name) for part in parts] if whole else parts}


def decode(written: Any, dims: Mapping[str, Expr]) -> Any:
    """Return the leaf that ``encode`` wrote."""
    if not isinstance(written, dict):
        return written
    ((tag, parts),) = written.items()
    if tag == "size":
        return read_size(parts, dims)
    whole = isinstance(parts, list)
    return FORMS[tag].make([decode(part, dims) for part in parts] if whole else parts)


KINDS: dict[str, type] = {
    "tuple": tuple,
    "list": list,
    "dict": dict,
    "OrderedDict": OrderedDict,
    "defaultdict": defaultdict,
    "deque": deque,
}
_NAMES = {kind: name for name, kind in KINDS.items()}
_FACTORY_NAMES = {factory: name for name, factory in FACTORIES.items()}


def encode_tree(tree: Tree, name: str) -> Any:
    """Return a structure as JSON holds it: null for a leaf; classes by module and name.

    Raises:
        UnsupportedError: A class that cannot be found by its name, or made again without code of
            its own; or a key that JSON cannot hold.
    """
    form = None if tree.kind is None else form_of(tree.kind)
    if tree.kind is None or form is None:
        return None
    kind = _NAMES.get(tree.kind) or f"{tree.kind.__module__}:{tree.kind.__qualname__}"
    if tree.kind not in _NAMES and _find(kind) is not tree.kind:
        raise UnsupportedError(
            f"save: {name}: {kind} cannot be found by its name",
            hint="define the class at the top of a module",
        )
    fields = _fields(tree.kind)
    if form.shape is None or (fields is not None and not set(tree.keys) <= set(fields)):
        raise UnsupportedError(
            f"save: {name}: a file does not know how a {tree.kind.__name__} is made",
            hint="return its parts, as a tuple, list, dict or dataclass with its fields alone",
        )
    written = {
        "kind": kind,
        "form": form.shape,
        "keys": [encode(key, f"a key of {name}") for key in tree.keys],
        "children": [encode_tree(child, name) for child in tree.children],
    }
    return written if tree.context is None else {**written, **_context(tree, name)}


def _context(tree: Tree, name: str) -> dict[str, Any]:
    """Return what beside its parts makes a container again."""
    if tree.kind is not defaultdict:
        return {"context": encode(tree.context, name)}
    factory = _FACTORY_NAMES.get(tree.context)
    if factory is None:
        raise UnsupportedError(
            f"save: {name}: a file cannot hold the factory {tree.context!r} of a defaultdict",
            hint=f"use one of {', '.join(FACTORIES)}, or return a dict",
        )
    return {"context": factory}


def decode_tree(written: Any) -> Tree:
    """Return the structure that ``encode_tree`` wrote.

    Raises:
        LoadError: Its class is not imported, or has other fields than it had.
    """
    if written is None:
        return LEAF
    keys = tuple(decode(key, {}) for key in written["keys"])
    kind = KINDS.get(written["kind"]) or _imported(written["kind"], keys)
    context = written.get("context")
    if kind is defaultdict and context is not None:
        context = FACTORIES[context]
    return Tree(kind, keys, tuple(map(decode_tree, written["children"])), context)


def _find(name: str) -> Any:
    """Return what is known by ``module:name``, without importing anything."""
    module, _, path = name.partition(":")
    found: Any = sys.modules.get(module)
    for part in path.split("."):
        found = getattr(found, "__dict__", {}).get(part)
    return found


def _imported(name: str, keys: Sequence[Any]) -> type:
    """Return a class that holds others' values: a dataclass, a named tuple, a kind of dict."""
    found = _find(name)
    if found is None:
        raise LoadError(
            f"the model takes or returns {name.replace(':', '.')}, which is not imported",
            hint=f"import {name.partition(':')[0]} before loading: a file runs no code by itself",
        )
    form = form_of(found) if isinstance(found, type) else None
    if form is None or form.shape is None:
        raise LoadError(f"{name}: expected a class of a structure, found {found!r}")
    has = _fields(found)
    if has is not None and set(keys) != set(has):
        raise LoadError(
            f"{name}: the saved model knows the fields {', '.join(map(str, keys))}, "
            f"this one has {', '.join(map(str, has))}"
        )
    kind: type = found
    if not dataclasses.is_dataclass(found):
        _require_made(name, kind, keys)
    return kind


def _require_made(name: str, kind: Any, keys: Sequence[Any]) -> None:
    """Raise LoadError unless a class can be made of as many parts as were saved."""
    try:
        unflatten(Tree(kind, tuple(keys), (LEAF,) * len(keys)), [None] * len(keys))
    except Exception as error:  # of the class's own, of whatever type
        raise LoadError(f"{name}: cannot be made of {len(keys)} parts: {error}") from error


def _fields(kind: Any) -> tuple[Any, ...] | None:
    if dataclasses.is_dataclass(kind):
        return tuple(field.name for field in dataclasses.fields(kind))
    return tuple(range(len(kind._fields))) if hasattr(kind, "_fields") else None
