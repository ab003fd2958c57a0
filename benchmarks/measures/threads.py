"""Threads that call one model at once: whether each gets its own results, and how many a second."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import torch

from benchmarks.instruments.bound import Bound
from benchmarks.instruments.builds import Builds
from benchmarks.instruments.timing import Effort, quartiles
from benchmarks.measures.comparison import all_met
from benchmarks.measures.one_layer import EXECUTIONS, SHAPE, Small, opened
from benchmarks.subjects.cases import Case
from benchmarks.subjects.networks import prepared
from trtnn.errors import BuildError

THREADS = (1, 2, 4, 8)
BAR = 0.95  # of the calls a second of a raw loop
ROUNDS = 5
CALLS = {"one_layer": 2000, "resnet18": 800}  # of all threads together, a round
CHECKED = 2000  # calls of each of eight threads, in each way to run

Work = Callable[[], Any]


@torch.no_grad()
def measure_threads(case: Case, builds: Builds, effort: Effort) -> dict[str, Any]:
    """Compare the calls a second of 1 to 8 threads with those of raw loops, one context each.

    The engine of one layer has no bar, as raw threads themselves lose speed there; on it every
    result of 8 threads is compared.
    """
    most, facts = max(THREADS), {}
    if case.model == "one_layer":
        small = opened(builds, max_contexts=most)
        facts["right"] = {
            kind: _right(small, kind, effort.of(CHECKED), most) for kind in EXECUTIONS
        }
        model, inputs = small.model, small.inputs
    else:
        net, inputs = prepared(case, builds.machine.device)
        model, facts = builds.compile(case.level, net, inputs, max_contexts=most)
    rates = {
        count: _rates(model, inputs, count, effort.of(CALLS[case.model]), effort.of(ROUNDS))
        for count in THREADS
    }
    barred = case.model != "one_layer"
    found = {str(count): judge_rates(rate, barred=barred) for count, rate in rates.items()}
    verdicts = [part["met"] for part in found.values()] if barred else []
    verdicts += [wrong == 0 for part in facts.get("right", {}).values() for wrong in part.values()]
    return {**facts, "threads": found, "met": all_met(verdicts)}


def _right(small: Small, execution: str, calls: int, threads: int) -> dict[str, int]:
    """Return how many results of threads with an input each are not theirs."""
    model = small.model.with_execution(execution)
    device = small.inputs[0].device
    wrong = [0] * threads

    def work(number: int) -> Work:
        generator = torch.Generator().manual_seed(number)
        x = torch.randn(SHAPE, generator=generator).to(device)
        expected = x * 2

        def run() -> None:
            wrong[number] = sum(not torch.equal(model(x), expected) for _ in range(calls))

        return run

    together([work(number) for number in range(threads)])
    return {"wrong": sum(wrong)}


def _rates(
    model: Any, inputs: Sequence[torch.Tensor], threads: int, calls: int, rounds: int
) -> dict[str, list[float]]:
    """Return the calls a second of ours and of the raw loops, which alternate."""
    each = max(1, calls // threads)
    own = [tuple(x.clone() for x in inputs) for _ in range(threads)]
    bounds = [
        Bound(model.engine, dict(zip(model.input_specs, given, strict=True))) for given in own
    ]
    works = {
        "trtnn": [_ours(model, given, each) for given in own],
        "raw": [_raw(bound, each) for bound in bounds],
    }
    found: dict[str, list[float]] = {kind: [] for kind in works}
    for kind in works:
        together(works[kind])  # makes the contexts
    for _ in range(rounds):
        for kind, parts in works.items():
            found[kind].append(each * threads / together(parts))
    return found


def _ours(model: Any, given: Sequence[torch.Tensor], calls: int) -> Work:
    def run() -> None:
        for _ in range(calls):
            model(*given)

    return run


def _raw(bound: Bound, calls: int) -> Work:
    """Return a loop over ``execute_v2`` that allocates its outputs, as a model has to."""
    places = {name: place for place, name in enumerate(bound.memory)}
    outputs = [
        (places[name], tuple(t.shape), t.stride(), t.dtype, t.device)
        for name, t in bound.memory.items()
        if name.startswith("output_")
    ]
    execute, addresses, make = bound.context.execute_v2, bound.addresses, torch.empty_strided

    def run() -> None:
        for _ in range(calls):
            results = []
            for place, shape, strides, dtype, device in outputs:
                result = make(shape, strides, dtype=dtype, device=device)
                addresses[place] = result.data_ptr()
                results.append(result)
            if not execute(addresses):
                raise BuildError(f"execute_v2 failed: {bound.engine.library.log.take()}")

    return run


def together(works: Sequence[Work]) -> float:
    """Return the seconds from the moment when all threads are ready until all are done.

    >>> together([lambda: None, lambda: None]) > 0
    True
    """
    ready = threading.Barrier(len(works) + 1)

    def start(work: Work) -> None:
        ready.wait()
        work()

    with ThreadPoolExecutor(len(works)) as pool:
        running = [pool.submit(start, work) for work in works]
        ready.wait()
        begin = time.perf_counter()
        for future in running:
            future.result()
        return time.perf_counter() - begin


def judge_rates(rates: Mapping[str, Sequence[float]], *, barred: bool) -> dict[str, Any]:
    """Return the ratio of ours to raw, by rounds, and whether it meets the bar.

    >>> judge_rates({"trtnn": [95.0, 99.0, 88.0], "raw": [100.0, 100.0, 100.0]}, barred=True)
    {'trtnn': 95.0, 'raw': 100.0, 'ratio': 0.95, 'spread': [0.915, 0.97], 'met': True}
    """
    ratios = [a / b for a, b in zip(rates["trtnn"], rates["raw"], strict=True)]
    first, ratio, last = quartiles(ratios)
    return {
        **{kind: round(quartiles(rate)[1], 1) for kind, rate in rates.items()},
        "ratio": ratio,
        "spread": [first, last],
        "met": ratio >= BAR if barred else None,
    }
