"""What a module's attributes were before a trace: compared after it, and put back."""

from __future__ import annotations

import types
from collections import deque
from collections.abc import Iterator
from typing import Any

import torch

from trtnn.errors import TraceError
from trtnn.graph.tensor import Tensor

CONTAINERS = (dict, list, set, deque)
CODE = (type, types.ModuleType, types.FunctionType, types.MethodType, types.BuiltinFunctionType)
TABLES = ("_modules", "_parameters", "_buffers")
"""Where a module keeps what its users see as attributes."""


class Attributes:
    """Every container that a module reaches, with a copy of what it held.

    Objects are followed through attributes, dicts, lists, sets and tuples, so that a tensor in a
    list of a helper of a submodule is seen too.
    """

    def __init__(self, root: Any) -> None:
        self.root = root
        self.contents: list[tuple[Any, Any]] = []
        self.tensors: dict[str, torch.Tensor] = {}
        for path, value in reach(root):
            if isinstance(value, CONTAINERS):
                self.contents.append((value, value.copy()))
            elif isinstance(value, torch.Tensor):
                self.tensors[path] = value

    def check(self) -> None:
        """Raise TraceError where an attribute now holds a symbolic tensor.

        A known one that equals what was there is no change: weight norm computes such.
        """
        for path, value in reach(self.root):
            if isinstance(value, Tensor) and not _equal(value._trtnn_known, self.tensors.get(path)):
                raise TraceError(
                    f"forward keeps a traced tensor in the attribute {path!r}",
                    hint="return it instead; a compiled model has no state",
                    search=False,
                )

    def restore(self) -> None:
        """Put back what has changed since."""
        for value, content in self.contents:
            if not _holds_the_same(value, content):
                value.clear()
                (value.extend if isinstance(value, (list, deque)) else value.update)(content)


def _equal(known: torch.Tensor | None, before: torch.Tensor | None) -> bool:
    if known is None or before is None or known.dtype != before.dtype:
        return False
    return known.shape == before.shape and torch.equal(known, before)


def _holds_the_same(value: Any, content: Any) -> bool:
    """Say whether a container holds the very objects that its copy holds, in their order."""
    if len(value) != len(content):
        return False
    if isinstance(value, dict):
        pairs = zip(value.items(), content.items(), strict=True)
        return all(a is c and b is d for (a, b), (c, d) in pairs)
    if isinstance(value, set):
        return {id(v) for v in value} == {id(v) for v in content}
    return all(a is b for a, b in zip(value, content, strict=True))


def reach(root: Any) -> Iterator[tuple[str, Any]]:
    """Yield all that ``root`` reaches, each once, with its path as one would write it."""
    seen: set[int] = set()
    pending: list[tuple[str, Any, bool]] = [("", root, False)]
    while pending:
        path, value, is_members = pending.pop()
        if id(value) in seen or isinstance(value, CODE):
            continue
        seen.add(id(value))
        yield path, value
        if isinstance(value, torch.Tensor):
            continue
        if isinstance(value, dict) and is_members:
            for name, item in value.items():
                is_table = name in TABLES
                inner = path if is_table else f"{path}.{name}" if path else str(name)
                pending.append((inner, item, is_table))
        elif isinstance(value, dict):
            pending.extend((f"{path}[{key!r}]", item, False) for key, item in value.items())
        elif isinstance(value, (list, tuple, deque)):
            pending.extend((f"{path}[{i}]", item, False) for i, item in enumerate(value))
        elif isinstance(value, (set, frozenset)):
            pending.extend((path, item, False) for item in value)
        elif isinstance(getattr(value, "__dict__", None), dict):
            pending.append((path, vars(value), True))
