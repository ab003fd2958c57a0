"""Which attributes of modules ``forward`` reads and writes, in this order, and at which lines."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from trtnn.source import SourceLine, find_user_line


class Accesses:
    """What one trace did to attributes.

    A value that is written before it is read only travels from one module to another; one that is
    read first and then changed is state, which a graph would freeze.
    """

    def __init__(self) -> None:
        self.read_first: set[tuple[int, str]] = set()
        self.lines: dict[tuple[int, str], SourceLine | None] = {}

    @contextmanager
    def watched(self) -> Iterator[None]:
        """See each access of this thread to an attribute of a module."""
        kind, thread = torch.nn.Module, threading.get_ident()
        outer = vars(kind).get("__getattribute__")  # of a trace around this one
        read, write = outer or object.__getattribute__, kind.__setattr__

        def getting(module: Any, name: str) -> Any:
            if threading.get_ident() == thread and (key := (id(module), name)) not in self.lines:
                self.read_first.add(key)
            return read(module, name)

        def setting(module: Any, name: str, value: Any) -> None:
            if threading.get_ident() == thread:
                self.lines[id(module), name] = find_user_line()
            write(module, name, value)

        kind.__getattribute__ = getting  # type: ignore[method-assign]
        kind.__setattr__ = setting  # type: ignore[method-assign,assignment]
        try:
            yield
        finally:
            if outer is None:
                del kind.__getattribute__
            else:
                kind.__getattribute__ = outer  # type: ignore[method-assign]
            kind.__setattr__ = write  # type: ignore[method-assign]
