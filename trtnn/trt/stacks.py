"""Room on the stack for a builder that goes down a network layer by layer."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")
FEW = 500  # layers that the usual 8 MiB hold with room to spare
A_LAYER = 1 << 17  # bytes


def on_a_deep_stack(layers: int, function: Callable[[], T]) -> T:
    """Call ``function``, in a thread of its own with room for so many layers if they are many.

    Seen on RTX 1.7.1: a chain of 3,000 activations kills the process, by a stack that is full; of
    the memory only what is used is taken.
    """
    if layers <= FEW:
        return function()
    before = threading.stack_size(A_LAYER * layers)
    try:
        pool = ThreadPoolExecutor(max_workers=1)
        future = pool.submit(function)  # which starts the thread
    finally:
        threading.stack_size(before)
    with pool:
        return future.result()
