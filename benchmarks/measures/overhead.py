"""What a call costs beyond TensorRT itself: microseconds over the raw calls on one-layer engines.

Every call is timed alone and starts on an idle GPU: the whole device is waited for before the
clock starts, for the raw calls as for ours. Times are less that of an empty call.
"""

from __future__ import annotations

import contextlib
import statistics
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from benchmarks.instruments.bound import Bound
from benchmarks.instruments.builds import Builds
from benchmarks.instruments.timing import Call, Effort, captured, quartiles
from benchmarks.measures.comparison import all_met
from benchmarks.measures.one_layer import ENGINES, OneLayer, Small, opened, require_right
from benchmarks.subjects.cases import Case

ROUNDS, CALLS = 20, 2000
ASYNC = "async, side stream"


@dataclass(frozen=True)
class Subject:
    """A call, and the stream that is current while it is made; None is the default stream.

    ``memory`` is what the call uses by its address alone.
    """

    call: Call
    stream: Any = None
    memory: Bound | None = None


@dataclass(frozen=True)
class Row:
    """A call, the raw calls that it consists of, and how many microseconds it may add.

    ``allowed`` is None for what is only listed.
    """

    name: str
    base: tuple[str, ...]
    allowed: float | None = None


@torch.no_grad()
def measure_overhead(_: Case, builds: Builds, effort: Effort) -> dict[str, Any]:
    """Time calls of each one-layer engine beside the raw calls that they consist of."""
    found: dict[str, dict[str, Any]] = {}
    for engine in ENGINES:
        small = opened(builds, engine)
        subjects = _subjects(small, engine)
        rows = _rows(engine)
        if engine is ENGINES[0]:
            subjects.update(_further(small))
            rows += FURTHER_ROWS
        times = interleaved(subjects, effort, builds.machine.wait)
        medians = {name: round(statistics.median(t), 3) for name, t in times.items()}
        judged = {row.name: judge(row, times) for row in rows}
        found[engine.name] = {"raw_us": {n: medians[n] for n in RAW if n in medians}}
        found[engine.name]["rows"] = judged
    verdicts = [row["met"] for part in found.values() for row in part["rows"].values()]
    bars = [met for met in verdicts if met is not None]
    return {"engines": found, "rounds": effort.of(ROUNDS), "met": all_met(bars)}


RAW = ("raw_sync", "raw_async", "alloc", "replay", "copy", "record_stream")


def _rows(engine: OneLayer) -> list[Row]:
    further = 0.6 * (engine.inputs - 1) + 0.3 * (engine.outputs - 1)
    return [
        Row("model(x)", ("raw_sync", *["alloc"] * engine.outputs), 2 + further),
        Row("model(x, out=y)", ("raw_sync",), 2 + further),
        Row("bound()", ("raw_sync",), 0.6),
    ]


FURTHER_ROWS = [
    Row("bound(), graph", ("replay",), 0.5),
    # That the caller may drop the input while it is read is what record_stream is for.
    Row(ASYNC, ("raw_async", "alloc", "record_stream"), 2),
    Row("async, default stream", (ASYNC,)),
    Row("model(x), side stream", ("model(x)",)),
    # The input is copied in, the output out.
    Row("model(x), graph", ("replay", "alloc", "copy", "copy")),
    # Without what CPython takes to call an instance with a keyword.
    Row("model.__call__(x, out=y)", ("raw_sync",)),
]


def _subjects(small: Small, engine: OneLayer) -> dict[str, Subject]:
    """Return the raw synchronous calls, and ours on the default stream."""
    model, inputs, bound = small.model, small.inputs, small.bound()
    execute, addresses = bound.context.execute_v2, bound.addresses
    make, like = torch.empty_strided, small.expected[0]
    shape, strides = tuple(like.shape), like.stride()
    dtype, device = like.dtype, like.device
    ready = model(*inputs)
    steady = model.bind(*inputs)
    bound.execute()
    for what, result in {
        "raw_sync": bound.outputs,
        "model(x)": ready,
        "model(x, out=y)": model(*inputs, out=ready),
        "bound()": steady(),
    }.items():
        require_right(result, small.expected, f"{engine.name}: {what}")
    return {
        "empty": Subject(lambda: None),
        "raw_sync": Subject(lambda: execute(addresses), memory=bound),
        "alloc": Subject(lambda: make(shape, strides, dtype=dtype, device=device)),
        **_given(model, inputs, ready),
        "bound()": Subject(lambda: steady()),
    }


def _given(model: Any, inputs: tuple[torch.Tensor, ...], ready: Any) -> dict[str, Subject]:
    """Return calls with as many arguments as there are inputs, written out as users write them."""
    if len(inputs) == 1:
        (x,) = inputs
        calls: list[Call] = [lambda: model(x), lambda: model(x, out=ready)]
    elif len(inputs) == 2:
        x, y = inputs
        calls = [lambda: model(x, y), lambda: model(x, y, out=ready)]
    else:
        x, y, z = inputs
        calls = [lambda: model(x, y, z), lambda: model(x, y, z, out=ready)]
    return {
        name: Subject(call)
        for name, call in zip(("model(x)", "model(x, out=y)"), calls, strict=True)
    }


def _further(small: Small) -> dict[str, Subject]:
    """Return what is measured of the engine with one input alone: streams, CUDA graphs, CPython."""
    (x,), side = small.inputs, torch.cuda.Stream()
    queued, graphed = (small.model.with_execution(kind) for kind in ("async", "graph"))
    bound, again, replayed = small.bound(), small.bound(), graphed.bind(x)
    raw_async, replay, model = _raw_async(bound, side), captured(again.enqueue), small.model
    raw_async()
    replay()
    with torch.cuda.stream(side):
        beside = {ASYNC: queued(x), "model(x), side stream": model(x)}
    function, ready, target = model.__call__, model(x), torch.empty_like(x)
    results = {
        "raw_async": bound.outputs,
        "replay": again.outputs,
        "bound(), graph": replayed(),
        "async, default stream": queued(x),
        "model(x), graph": graphed(x),
        "model.__call__(x, out=y)": function(x, out=ready),
        **beside,
    }
    torch.cuda.synchronize()
    for what, result in results.items():
        require_right(result, small.expected, what)
    return {
        "raw_async": Subject(raw_async, side, bound),
        "replay": Subject(lambda: replay(), memory=again),
        "copy": Subject(lambda: target.copy_(x)),
        "record_stream": Subject(lambda: x.record_stream(side), side),
        "bound(), graph": Subject(lambda: replayed()),
        ASYNC: Subject(lambda: queued(x), side),
        "async, default stream": Subject(lambda: queued(x)),
        "model(x), side stream": Subject(lambda: model(x), side),
        "model(x), graph": Subject(lambda: graphed(x)),
        "model.__call__(x, out=y)": Subject(lambda: function(x, out=ready)),
    }


def _raw_async(bound: Bound, side: Any) -> Call:
    """Return the raw call on a side stream: an address for each tensor, then the execution."""
    set_address, execute, stream = (
        bound.context.set_tensor_address,
        bound.context.execute_async_v3,
        side.cuda_stream,
    )
    (first, one), (second, two) = ((n, t.data_ptr()) for n, t in bound.memory.items())

    def call() -> None:
        set_address(first, one)
        set_address(second, two)
        execute(stream)

    return call


def interleaved(
    subjects: Mapping[str, Subject], effort: Effort, wait: Call
) -> dict[str, list[float]]:
    """Return the median microseconds of each subject in each round, less those of ``empty``."""
    rounds: dict[str, list[float]] = {name: [] for name in subjects}
    for _ in range(effort.of(ROUNDS)):
        for name, subject in subjects.items():
            current = contextlib.nullcontext() if subject.stream is None else None
            with current or torch.cuda.stream(subject.stream):
                rounds[name].append(_median(subject.call, effort.of(CALLS), wait))
    empty = rounds["empty"]
    return {name: [a - b for a, b in zip(t, empty, strict=True)] for name, t in rounds.items()}


def _median(call: Call, count: int, wait: Call) -> float:
    times, clock = [], time.perf_counter_ns
    for _ in range(count):
        wait()
        start = clock()
        call()
        times.append(clock() - start)
    return statistics.median(times) / 1e3


def judge(row: Row, times: Mapping[str, list[float]]) -> dict[str, Any]:
    """Return what a call adds to its raw calls, and whether that is allowed.

    Each round gives one difference, of medians of that round alone, so that what slows a whole
    round shows in none. ``beyond`` is the median of these, ``spread`` their first and third
    quartile. A bar that lies within the spread or above it is met.

    >>> times = {"raw": [10.0, 20.0, 30.0], "alloc": [1.0] * 3, "ours": [13.0, 23.5, 34.0]}
    >>> judged = judge(Row("ours", ("raw", "alloc"), 2.0), times)
    >>> judged["beyond"], judged["spread"], judged["met"]
    (2.5, [2.25, 2.75], False)
    >>> judge(Row("ours", ("raw", "alloc"), 2.25), times)["met"]
    True
    """
    ours = times[row.name]
    bases = [sum(times[name][i] for name in row.base) for i in range(len(ours))]
    first, middle, last = quartiles([a - b for a, b in zip(ours, bases, strict=True)])
    return {
        "us": round(statistics.median(ours), 3),
        "base": " + ".join(row.base),
        "base_us": round(statistics.median(bases), 3),
        "beyond": middle,
        "spread": [first, last],
        "allowed": None if row.allowed is None else round(row.allowed, 2),
        "met": None if row.allowed is None else first <= round(row.allowed, 2),
    }
