"""What ``forward`` gave to ``torch.compile``, or PyTorch compiles itself, run as it is."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch


def _at_once(function: Callable[..., Any], arguments: Any, named: Any = None) -> Any:
    return function(*arguments, **(named or {}))


def _at_once_too(function: Callable[..., Any], *arguments: Any) -> Any:
    return function(*arguments)


COMPILING = {
    ("torch._higher_order_ops.utils", "_hop_compile_and_call"): _at_once,
    ("torch._higher_order_ops.scan", "_maybe_compile_and_run_fn"): _at_once_too,
}
"""What ``torch.cond`` and its kin compile a function with before they call it."""


@contextmanager
def uncompiled() -> Iterator[None]:
    """Let functions run that PyTorch would compile: a trace then sees what they call."""
    with ExitStack() as stack:
        for (home, name), function in COMPILING.items():
            if hasattr(sys.modules.get(home), name):
                stack.enter_context(replaced(sys.modules[home], name, function))
        if "torch._dynamo" in sys.modules:
            stack.enter_context(warnings.catch_warnings())
            stack.enter_context(torch.compiler.set_stance("force_eager"))
            warnings.filterwarnings("ignore", ".* when there are global hooks on modules")
        yield


@contextmanager
def replaced(home: Any, name: str, value: Any) -> Iterator[None]:
    """Have a name of a module or class stand for another value."""
    before = getattr(home, name)
    setattr(home, name, value)
    try:
        yield
    finally:
        setattr(home, name, before)
