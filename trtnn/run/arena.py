"""Scratch memory that the engines of one GPU share, for models that run one after another."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable
from typing import Any

import torch


class Arena:
    """One block of device memory, as large as the greatest engine needs, and its lock.

    A call holds the lock until its engine has finished. The block grows when an engine that needs
    more is made; contexts learn of its new address before their next call.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.lock = threading.RLock()
        self.memory = torch.empty(0, dtype=torch.uint8, device=device)

    def reserve(self, size: int) -> None:
        """Make room for an engine that needs ``size`` bytes."""
        with self.lock:
            if max(size, 256) > self.memory.numel():
                self.memory = torch.empty(max(size, 256), dtype=torch.uint8, device=self.device)

    def executing(
        self, run: Callable[..., bool], lend: Callable[[int, int], None]
    ) -> Callable[..., bool]:
        """Return what runs a context on this memory, alone.

        Args:
            lend: Tells the context of an address and a size in bytes.
        """
        known = 0

        def execute(*arguments: Any) -> bool:
            nonlocal known
            with self.lock:
                address = self.memory.data_ptr()
                if address != known:
                    known = address
                    lend(address, self.memory.numel())
                return run(*arguments)

        return execute


_arenas: weakref.WeakValueDictionary[torch.device, Arena] = weakref.WeakValueDictionary()


def arena_of(device: torch.device) -> Arena:
    """Return the arena of a GPU; its memory is freed with the last engine that uses it."""
    arena = _arenas.get(device)
    if arena is None:
        arena = _arenas[device] = Arena(device)
    return arena
