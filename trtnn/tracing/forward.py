"""What is compiled: a module or a function, found under what wraps it, with its parameters."""

from __future__ import annotations

import ast
import inspect
import linecache
from collections.abc import Callable, Sequence
from types import MethodType
from typing import Any

import torch

from trtnn.errors import InputError
from trtnn.source import find_user_line

COMPILED = ("_orig_mod", "_torchdynamo_orig_callable")
"""Where torch.compile keeps the module, or the function, that it was given."""
SPREADING = (torch.nn.DataParallel, torch.nn.parallel.DistributedDataParallel)


def _call_module(self: Any, *args: Any, **kwargs: Any) -> Any:
    return self.module(*args, **kwargs)


def unwrapped(function: Any) -> Callable[..., Any]:
    """Return what ``torch.compile`` was given, or what is spread over several GPUs.

    Raises:
        InputError: It is a class, a compiled model, or cannot be called.
    """
    if isinstance(function, type):
        raise InputError(
            f"module: expected a module or a function, got the class {function.__name__}",
            hint=f"make one: {function.__name__}(...)",
        )
    if hasattr(type(function), "with_execution"):
        raise InputError(
            "module: expected a module or a function, got a compiled model",
            hint="give the module that it was made from",
        )
    if not callable(function):
        raise InputError(
            f"module: expected a module or a function, got a {type(function).__name__}",
            hint="give a torch.nn.Module, or a function of tensors",
        )
    for name in COMPILED:
        inner = getattr(function, "__dict__", {}).get(name) or _submodule(function, name)
        if inner is not None:
            return unwrapped(inner)
    if isinstance(function, SPREADING):
        return MethodType(_call_module, function)  # so that names are those of its state_dict
    found: Callable[..., Any] = function
    return found


def _submodule(function: Any, name: str) -> Any:
    return function._modules.get(name) if isinstance(function, torch.nn.Module) else None


def module_of(function: Any) -> torch.nn.Module | None:
    """Return the module whose parameters a function uses as ``self``."""
    owner = getattr(function, "__self__", function)
    return owner if isinstance(owner, torch.nn.Module) else None


def _parameters(function: Callable[..., Any]) -> inspect.Signature:
    function = unwrapped(function)
    forward = function.forward if isinstance(function, torch.nn.Module) else function
    try:
        return inspect.signature(forward)
    except (TypeError, ValueError) as error:
        raise InputError(
            f"{forward!r} does not say which parameters it has: {error}",
            hint="wrap it in a lambda, or in a Module",
        ) from None


def refuse_positional(what: str, function: Any, surplus: Sequence[Any]) -> InputError:
    """Return the error of a call that gives inputs by position, with how to write it."""
    texts = _written(what, 1 + len(surplus))
    if texts is None:
        texts = list(_parameters(function).parameters)[: len(surplus)]
    listed = len(surplus) == 1 and isinstance(surplus[0], (list, tuple, dict))
    inputs = texts[0] if listed and texts else f"[{', '.join(texts)}]"
    return InputError(
        f"{what}: takes the module alone by position, and everything else by keyword",
        hint=f"write inputs={inputs}",
    )


def _written(what: str, count: int) -> list[str] | None:
    """Return how the user wrote all but the first of a call's arguments; None if unknown."""
    line = find_user_line()
    if line is None:
        return None
    try:
        source = ast.parse("".join(linecache.getlines(line.file)))
    except SyntaxError:
        return None
    found = [
        node
        for node in ast.walk(source)
        if isinstance(node, ast.Call)
        and node.lineno <= line.line <= (node.end_lineno or node.lineno)
        and ast.unparse(node.func).rpartition(".")[2] == what
        and (len(node.args) == count or any(isinstance(a, ast.Starred) for a in node.args))
    ]
    if not found:
        return None
    call = max(found, key=lambda node: (node.lineno, node.col_offset))
    return [ast.unparse(argument) for argument in call.args[1:]]
