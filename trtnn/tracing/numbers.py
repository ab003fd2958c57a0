"""Python's functions of numbers, which take symbolic sizes while a trace runs: ``math.sqrt(n)``."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch

from trtnn.sizes.reals import FUNCTIONS
from trtnn.sizes.symnode import function_of


def _taking_sizes(name: str, own: Callable[..., Any]) -> Callable[..., Any]:
    def function(*numbers: Any) -> Any:
        if len(numbers) == 1 and isinstance(numbers[0], (torch.SymInt, torch.SymFloat)):
            return function_of(name, numbers[0])
        return own(*numbers)

    return function


@contextmanager
def taking_sizes() -> Iterator[None]:
    """Let ``math.sqrt`` and the like take symbolic sizes, for whom they are numbers to ask for.

    A name that was imported before, by ``from math import sqrt``, is not reached.
    """
    before = {name: getattr(math, name) for name in FUNCTIONS}
    try:
        for name, own in before.items():
            setattr(math, name, _taking_sizes(name, own))
        yield
    finally:
        for name, own in before.items():
            setattr(math, name, own)
