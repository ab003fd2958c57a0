"""What a module's attributes were before a trace: compared after it, and put back."""

from __future__ import annotations

import types
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import cached_property
from typing import Any

import torch

from trtnn.errors import TraceError
from trtnn.graph.tensor import Tensor
from trtnn.source import SourceLine
from trtnn.tracing.accesses import Accesses
from trtnn.tracing.outside import generator_states, require_same_states, watched

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
        self.root = getattr(root, "__self__", root)
        self.accesses = Accesses()
        self.contents: list[tuple[str, Any, Any]] = []
        self.tensors: dict[str, torch.Tensor] = {}
        reached = list(reach(self.root))
        self.members = {id(getattr(value, "__dict__", None)) for _, value in reached}
        self.owners: dict[int, torch.nn.Module] = {}
        self.classes: dict[type, dict[str, Any]] = {}
        self.generators = generator_states(reached)
        for path, value in reached:
            if isinstance(value, CONTAINERS):
                self.contents.append((path, value, value.copy()))
            elif isinstance(value, torch.Tensor):
                self.tensors[path] = value
            elif isinstance(value, torch.nn.Module):
                self.owners[id(vars(value))] = value
                self.classes.update((kind, dict(vars(kind))) for kind in _own_classes(value))

    @contextmanager
    def watched(self, functions: Iterable[Any]) -> Iterator[None]:
        """Check at the end that ``forward`` kept nothing, and asked nothing of the world."""
        written = [vars(kind)["forward"] for kind in self.classes if "forward" in vars(kind)]
        with self.accesses.watched(), watched([*functions, *written]):
            yield
        self.check()

    def check(self) -> None:
        """Raise TraceError where an attribute now holds a symbolic tensor, or state has changed.

        A known one that equals what was there is no change: weight norm computes such. Nor is
        state what ``forward`` writes before it reads it.
        """
        reached = list(reach(self.root))
        for path, value in reached:
            if isinstance(value, Tensor) and not _equal(value._trtnn_known, self.tensors.get(path)):
                raise TraceError(
                    f"forward keeps a traced tensor in the attribute {path!r}",
                    hint="return it instead; a compiled model has no state",
                    where=self._line(path),
                    search=False,
                )
        for path, value, content in self.contents:
            for name in _changed(value, content):
                self._require_written_first(path, value, name)
        for kind, before in self.classes.items():
            for name in _changed(dict(vars(kind)), before):
                raise _state(f"{kind.__name__}.{name}", None)
        require_same_states(self.generators, generator_states(reached))

    def _require_written_first(self, path: str, container: Any, name: Any) -> None:
        module = self.owners.get(id(container))
        inside = f"{path}.{name}" if path else str(name)
        if module is None:
            if id(container) not in self.members:
                inside = f"{path}[{name!r}]" if isinstance(container, dict) else path
            raise _state(inside, self._line(path))
        key = (id(module), name)
        computed_once = isinstance(getattr(type(module), name, None), cached_property)
        if key in self.accesses.read_first and not computed_once:
            raise _state(inside, self.accesses.lines.get(key))

    def _line(self, path: str) -> SourceLine | None:
        """Return the line that last wrote an attribute, or what it holds."""
        lines = {}
        for owner, module in self.owners.items():
            place = next((p for p, value, _ in self.contents if id(value) == owner), "")
            for (module_id, name), line in self.accesses.lines.items():
                if module_id == id(module):
                    lines[f"{place}.{name}" if place else name] = line
        found = [
            name for name in lines if path == name or path.startswith((f"{name}.", f"{name}["))
        ]
        return lines[max(found, key=len)] if found else None

    def restore(self) -> None:
        """Put back what has changed since."""
        for _, value, content in self.contents:
            if not _holds_the_same(value, content):
                value.clear()
                (value.extend if isinstance(value, (list, deque)) else value.update)(content)
        for kind, before in self.classes.items():
            for name in _changed(dict(vars(kind)), before):
                if name in before:
                    setattr(kind, name, before[name])
                else:
                    delattr(kind, name)


def _own_classes(module: torch.nn.Module) -> list[type]:
    """Return the classes of a module that are the user's, or of another library than PyTorch."""
    foreign = ("torch", "builtins", "typing", "abc")
    return [k for k in type(module).__mro__ if k.__module__.partition(".")[0] not in foreign]


def _state(path: str, where: SourceLine | None) -> TraceError:
    return TraceError(
        f"forward changes {path!r}, which a graph would freeze",
        hint="give it as an input and return what it becomes; a compiled model has no state",
        where=where,
        search=False,
    )


def _changed(value: Any, content: Any) -> list[Any]:
    """Return the keys of a dict whose values are others now; ``[None]`` for another container."""
    if isinstance(content, dict):
        keys = {**content, **value}
        return [k for k in keys if not _unchanged(value.get(k, MISSING), content.get(k, MISSING))]
    if isinstance(content, set):
        return [] if value == content else [None]
    pairs = zip(value, content, strict=False)
    same = len(value) == len(content) and all(_unchanged(a, b) for a, b in pairs)
    return [] if same else [None]


MISSING = object()
PLAIN = (int, float, complex, bool, str, bytes, type(None), torch.dtype, torch.device)


LEAVES = frozenset(PLAIN)


def _unchanged(now: Any, before: Any) -> bool:
    """Say whether a value is the same object, a traced tensor, or plain data that is equal."""
    if now is before or isinstance(now, Tensor):
        return True
    if type(now) is not type(before):
        return False
    if isinstance(now, (tuple, list)):
        return len(now) == len(before) and all(map(_unchanged, now, before))
    return isinstance(now, PLAIN) and (now == before or (now != now and before != before))


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
    """Yield all that ``root`` reaches, each once, with its path as one would write it.

    Numbers and words are left out: what holds them is compared whole.
    """
    seen: set[int] = set()
    pending: list[tuple[str, Any, bool]] = [("", root, False)]
    while pending:
        path, value, is_members = pending.pop()
        if type(value) in LEAVES or id(value) in seen or isinstance(value, CODE):
            continue
        seen.add(id(value))
        yield path, value
        if isinstance(value, torch.Tensor):
            continue
        if isinstance(value, dict) and is_members:
            for name, item in value.items():
                if type(item) in LEAVES:
                    continue
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
