"""Times: of the host per call, and of the GPU per inference, in alternating rounds."""

from __future__ import annotations

import itertools
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import torch

Call = Callable[[], Any]
Name = TypeVar("Name")
AHEAD = 10  # inferences that wait in the queue, so that the host's time does not show
HEAD_START = 5_000_000  # clock cycles, about 3 ms
LONGEST = 2_000_000_000  # about 1 s


@dataclass(frozen=True)
class Effort:
    """How often: alternating rounds, host calls a round, GPU inferences a round.

    Args:
        share: Of the thousands of calls and cycles that a measurement asks for by itself.
    """

    rounds: int
    calls: int
    inferences: int
    share: float = 1.0

    def of(self, count: int) -> int:
        """Return the share of a count, at least two.

        >>> FULL.of(2000), TINY.of(20)
        (2000, 2)
        """
        return max(2, round(count * self.share))


FULL = Effort(rounds=5, calls=20, inferences=50)  # 250 inferences
TINY = Effort(rounds=2, calls=1, inferences=0, share=1e-3)


def summary(rounds: list[list[float]]) -> dict[str, float]:
    """Return the median of all times, and how far the rounds' own medians lie apart.

    >>> summary([[1.0, 2.0, 9.0], [3.0, 4.0, 5.0]])
    {'median': 3.5, 'spread': 2.0}
    """
    medians = [statistics.median(times) for times in rounds]
    everything = statistics.median(itertools.chain.from_iterable(rounds))
    return {"median": round(everything, 2), "spread": round(max(medians) - min(medians), 2)}


def quartiles(values: Sequence[float]) -> tuple[float, float, float]:
    """Return what a quarter, half and three quarters of some values lie below.

    >>> quartiles([5.0, 1.0, 2.0, 3.0, 4.0])
    (2.0, 3.0, 4.0)
    """
    first, middle, last = statistics.quantiles(values, method="inclusive")
    return round(first, 4), round(middle, 4), round(last, 4)


def host_times(
    calls: Mapping[Name, Call], effort: Effort, wait: Call
) -> dict[Name, dict[str, Any]]:
    """Return microseconds per call; the GPU is waited for at the end of each round."""
    rounds: dict[Name, list[list[float]]] = {name: [] for name in calls}
    for _ in range(effort.rounds):
        for name, call in calls.items():
            call()
            wait()
            start = time.perf_counter()
            for _ in range(effort.calls):
                call()
            wait()
            rounds[name].append([(time.perf_counter() - start) / effort.calls * 1e6])
    return {name: summary(times) for name, times in rounds.items()}


def gpu_times(calls: Mapping[Name, Call], effort: Effort) -> dict[Name, dict[str, Any]]:
    """Return microseconds of the GPU per inference, on a stream of its own.

    ``rounds`` are the medians of the rounds, in which the calls alternate, ``p99`` what 99 of 100
    inferences took at most. ``queued_ahead`` is the
    smallest number of inferences that still waited when the last of a round was given to
    the GPU.
    """
    rounds: dict[Name, list[list[float]]] = {name: [] for name in calls}
    ahead = dict.fromkeys(calls, effort.inferences)
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for call in calls.values():
            call()
        for _ in range(effort.rounds):
            for name, call in calls.items():
                times, waiting = _queued(call, effort.inferences)
                rounds[name].append(times)
                ahead[name] = min(ahead[name], waiting)
    torch.cuda.synchronize()
    return {
        name: {
            **summary(times),
            "p99": round(statistics.quantiles(itertools.chain(*times), n=100)[-1], 2),
            "rounds": [round(statistics.median(part), 2) for part in times],
            "queued_ahead": ahead[name],
            "inferences": sum(map(len, times)),
        }
        for name, times in rounds.items()
    }


def _queued(call: Call, count: int) -> tuple[list[float], int]:
    """Time each of ``count`` calls by events, behind a pause that lets the host run ahead."""
    pause = HEAD_START
    while True:
        events = [torch.cuda.Event(enable_timing=True) for _ in range(count + 1)]
        torch.cuda.synchronize()
        torch.cuda._sleep(pause)
        events[0].record()
        for event in events[1:]:
            call()
            event.record()
        waiting = sum(not event.query() for event in events[1:])
        torch.cuda.synchronize()
        if waiting >= AHEAD or pause * 4 > LONGEST:
            times = [a.elapsed_time(b) * 1e3 for a, b in itertools.pairwise(events)]
            return times, waiting
        pause *= 4


def captured(call: Call) -> Call:
    """Return the replay of a CUDA graph of one call, whose memory has to outlive it.

    Raises:
        RuntimeError: The call cannot be captured.
    """
    stream, graph = torch.cuda.Stream(), torch.cuda.CUDAGraph()
    stream.wait_stream(torch.cuda.current_stream())
    # The outer stream is restored even where torch.cuda.graph leaves its own by an error.
    with torch.cuda.stream(stream):
        for _ in range(3):
            call()
        with torch.cuda.graph(graph, stream=stream, capture_error_mode="thread_local"):
            call()
    torch.cuda.current_stream().wait_stream(stream)
    return graph.replay
