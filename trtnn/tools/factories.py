"""The module that a command line names: ``package.file:factory``."""

from __future__ import annotations

import importlib
import os
import sys
from typing import Any

import torch

from trtnn.errors import OptionError
from trtnn.source import find_error_line

FORM = "MODULE:FACTORY, such as torchvision.models:resnet18 or net:make"


def module_of(target: str) -> torch.nn.Module:
    """Return the module that ``MODULE:FACTORY`` makes, in eval mode.

    The factory is a function without arguments or a class; it can also be a module itself. The
    working directory is searched, too, as ``python -m`` does.

    Raises:
        OptionError: There is none, or it raises, or makes something else.

    >>> module_of("torch.nn:ReLU")
    ReLU()
    """
    name, sign, path = target.partition(":")
    if not (name and sign and path):
        raise OptionError(f"{target}: expected {FORM}", search=False)
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    found: Any = _imported(target, name)
    for part in path.split("."):
        if not hasattr(found, part):
            raise OptionError(f"{target}: {name} has no {path}", search=False)
        found = getattr(found, part)
    made = found if isinstance(found, torch.nn.Module) else _called(target, found)
    if not isinstance(made, torch.nn.Module):
        kind = type(made).__name__
        raise OptionError(f"{target}: expected a torch.nn.Module, got a {kind}", search=False)
    return made.eval()


def _imported(target: str, name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is not None and f"{name}.".startswith(f"{error.name}."):
            folder = os.getcwd()
            raise OptionError(
                f"{target}: there is no module {error.name}",
                hint=f"it is searched in {folder} and where Python's packages are",
                search=False,
            ) from error
        raise _raised(target, error) from error
    except Exception as error:  # of the user's own code, of whatever type
        raise _raised(target, error) from error


def _called(target: str, factory: Any) -> Any:
    if not callable(factory):
        kind = type(factory).__name__
        raise OptionError(f"{target}: expected a function or a class, got a {kind}", search=False)
    try:
        return factory()
    except Exception as error:
        raise _raised(target, error) from error


def _raised(target: str, error: Exception) -> OptionError:
    where = find_error_line(error.__traceback__)
    text = f"{target}: {type(error).__name__}: {error}"
    return OptionError(text, where=where, hint="trtnn --traceback shows all of it", search=False)
