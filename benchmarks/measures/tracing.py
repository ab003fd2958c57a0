"""How long tracing takes, and how its time and memory grow with the number of ops."""

from __future__ import annotations

import gc
import itertools
import statistics
import time
import tracemalloc
from collections.abc import Callable, Mapping
from typing import Any

import torch

import trtnn
from benchmarks.instruments.builds import Builds
from benchmarks.instruments.timing import Effort
from benchmarks.subjects.cases import Case
from benchmarks.subjects.networks import network
from tests.zoo import MODELS

LENGTHS = {"full": (2500, 5000, 10000), "small": (100, 200, 400)}
LIMIT_S = {"resnet50": 0.5, "chain": 5.0}
GROWTH = 2.5  # twice the ops: 2 is linear, 4 quadratic
REPEATS = 3


def measure_tracing(case: Case, _: Builds, __: Effort) -> dict[str, Any]:
    """Time the tracing of resnet50, or of chains of growing length."""
    limit = LIMIT_S[case.model]
    if case.model == "chain":
        return {"limit_s": limit, **judge_growth(limit, [_chain(n) for n in LENGTHS[case.size]])}
    net = network(case.model, case.size)
    inputs = list(MODELS[case.size][case.model].inputs(1, 3))
    seconds = _seconds(lambda: trtnn.trace(net, inputs))
    return {"limit_s": limit, "seconds": round(seconds, 4), "met": seconds < limit}


def chain(length: int) -> Callable[[torch.Tensor], torch.Tensor]:
    """Return a function of ``length`` ops, one after another."""

    def forward(x: torch.Tensor) -> torch.Tensor:
        for _ in range(length // 2):
            x = torch.relu(x + 1.0)
        return x

    return forward


def _chain(length: int) -> dict[str, Any]:
    """Measure one chain: time first, then memory, whose counting slows it down."""

    def trace() -> Any:
        return trtnn.trace(chain(length), [trtnn.Input((4, 4))])

    seconds = _seconds(trace)
    gc.collect()
    tracemalloc.start()
    graph = trace()
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return {"ops": len(graph.nodes), "seconds": round(seconds, 4), "mebibytes": peak / 2**20}


def _seconds(trace: Callable[[], Any]) -> float:
    """Return the median time of a few traces, after one that pays for what is loaded once.

    Python's collector is off meanwhile: it looks at all objects of the process every so often,
    whoever made them.
    """
    trace()
    times = []
    for _ in range(REPEATS):
        gc.collect()
        gc.disable()
        try:
            start = time.perf_counter()
            trace()
            times.append(time.perf_counter() - start)
        finally:
            gc.enable()
    return statistics.median(times)


def judge_growth(limit: float, rows: list[Mapping[str, Any]]) -> dict[str, Any]:
    """Say whether the longest chain is in time, and whether time and memory grow linearly.

    >>> rows = [{"ops": n, "seconds": n / 1e4, "mebibytes": n * n} for n in (10, 20)]
    >>> judge_growth(5.0, rows)["growth"], judge_growth(5.0, rows)["met"]
    ({'mebibytes': 4.0, 'seconds': 2.0}, False)
    """
    growth = {
        name: round(max(b[name] / a[name] for a, b in itertools.pairwise(rows)), 2)
        for name in ("mebibytes", "seconds")
    }
    met = rows[-1]["seconds"] < limit and all(factor <= GROWTH for factor in growth.values())
    return {"chains": rows, "growth": growth, "met": met}
