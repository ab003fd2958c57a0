"""How long a call takes, beside other ways to make it."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import torch

from trtnn.errors import OptionError

WARM = 3  # calls before any is timed, at least


@dataclass(frozen=True)
class Timing:
    """The time of one call, its result included, in microseconds.

    Attributes:
        ratio: How many times faster than the first of those that were compared.
    """

    name: str
    calls: int
    median: float
    least: float
    p90: float
    ratio: float

    def described(self) -> dict[str, Any]:
        """Return it as JSON holds it."""
        return asdict(self)


def compared(calls: Mapping[str, Callable[[], Any]], repeat: int, device: Any) -> list[Timing]:
    """Return how long each call takes; they take turns, so that the machine's mood is shared.

    Args:
        calls: What is timed, by name; the first is what others are held against.
        repeat: How often each is called.
        device: Where they run; a GPU has done its work when a call counts as over.

    Raises:
        OptionError: ``repeat`` is no positive number.

    >>> [timing.name for timing in compared({"sum": lambda: 1 + 1}, 5, torch.device("cpu"))]
    ['sum']
    """
    if repeat < 1:
        raise OptionError(f"repeat: expected 1 or more, got {repeat}", search=False)
    wait = torch.cuda.synchronize if torch.device(device).type == "cuda" else _nothing
    times: dict[str, list[float]] = {name: [] for name in calls}
    with torch.inference_mode():
        for index in range(-max(WARM, repeat // 10), repeat):
            for name, call in calls.items():
                wait()
                start = time.perf_counter()
                call()
                wait()
                if index >= 0:
                    times[name].append((time.perf_counter() - start) * 1e6)
    first = statistics.median(next(iter(times.values())))
    return [_timing(name, sorted(found), first) for name, found in times.items()]


def _timing(name: str, found: list[float], first: float) -> Timing:
    median = statistics.median(found)
    p90 = found[min(len(found) - 1, int(0.9 * len(found)))]
    return Timing(name, len(found), median, found[0], p90, first / median)


def _nothing() -> None:
    """Wait for nothing: a CPU is done when a call returns."""
