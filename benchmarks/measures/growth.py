"""How time and memory grow with the number of ops and the bytes of weights, stage by stage.

Stages are those before TensorRT's builder; its own time stands beside them.
"""

from __future__ import annotations

import gc
import importlib.util
import os
import platform
import time
import tracemalloc
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import torch

import trtnn
from benchmarks.instruments.builds import Builds
from benchmarks.instruments.timing import Effort
from benchmarks.measures.memory import reset_peak, resident_memory
from benchmarks.subjects.cases import Case
from trtnn.building import build_ahead
from trtnn.compiler import optimize
from trtnn.graph.graph import Graph
from trtnn.lower.network import lower
from trtnn.options import BuildOptions
from trtnn.trt.identity import RTX
from trtnn.trt.library import TensorRT

OPS = {"full": (100, 1_000, 10_000, 100_000), "small": (10, 20, 40)}
LAYERS = {"full": (10, 100, 1_000), "small": (2, 4)}
WIDTH = {"full": 1024, "small": 64}
WIDENINGS = {"full": (1, 8, 32, 128), "small": (1, 8)}  # full: 16 MiB to 2 GiB of weights
BUILT_FOR = ("8.9",)
ROUNDS = {"full": 3, "small": 1}
LINEAR = 1.5  # times as much an op of the largest network, beside one of the second
NOISE = 1 << 20  # bytes of resident memory that come and go by themselves

Subject = tuple[Callable[..., Any], Sequence[Any]]  # a network and its inputs
Stages = Mapping[str, Callable[[Any], Any]]
Gauge = Callable[[Callable[[], Any]], tuple[Any, float]]


def measure_growth(case: Case, _: Builds, __: Effort) -> dict[str, Any]:
    """Measure chains of ops (of static sizes, of a Dim), wide layers, or builds of chains."""
    has_rtx = importlib.util.find_spec("tensorrt_rtx") is not None
    library = TensorRT(package=RTX) if has_rtx else None
    facts: dict[str, Any] = {
        "cpus": os.cpu_count(),
        "system": f"{platform.system()} {platform.machine()}",
        "trtnn": trtnn.__version__,
        **({"tensorrt_rtx": library.target.version} if library else {}),
    }
    load = os.getloadavg()[0]
    gc.collect()
    gc.freeze()  # what is alive already: looking at it again takes longer than what is measured
    try:
        found = KINDS[case.model](case.size, library)
    finally:
        gc.unfreeze()
    facts["load"] = {"before": round(load, 1), "after": round(os.getloadavg()[0], 1)}
    return {**facts, **found}


def _chains(dims: Sequence[Any], size: str, library: TensorRT | None) -> dict[str, Any]:
    """Measure chains of ops whose input has these sizes."""
    subjects = {n: (chain(n), [trtnn.Input((*dims, 4))]) for n in OPS[size]}
    steps = stages(library)
    points = together(
        seconds=fastest(subjects, steps, ROUNDS[size]),
        bytes={n: run(subject, steps, python_bytes) for n, subject in subjects.items()},
    )
    return {"unit": "op", "stages": points, **judge(points)}


def _weights(size: str, library: TensorRT | None) -> dict[str, Any]:
    """Measure four linear layers, ever wider; one network at a time has its memory."""
    points: dict[str, list[dict[str, float]]] = {}
    steps = stages(library)
    for times in WIDENINGS[size]:
        net = layers(WIDTH[size], times)
        mebibytes = sum(tensor.nbytes for tensor in net.parameters()) / 2**20
        subjects = {round(mebibytes, 2): (net, [trtnn.Input((1, WIDTH[size]))])}
        seconds = fastest(subjects, steps, ROUNDS[size])
        rises = {n: run(subject, steps, resident_bytes) for n, subject in subjects.items()}
        for name, found in together(seconds=seconds, bytes=rises).items():
            points.setdefault(name, []).extend(found)
    return {"unit": "MiB of weights", "stages": points, **judge(points, noise=NOISE)}


def _builds(size: str, library: TensorRT | None) -> dict[str, Any]:
    """Time builds of chains; how they grow is the builder's own, and no verdict."""
    if library is None:
        return {"missing": "TensorRT for RTX is not installed"}
    how: dict[str, Any] = {"tf32": True, "progress": False, "capabilities": BUILT_FOR}
    subjects = {n: (chain(n), [trtnn.Input((4, 4))]) for n in LAYERS[size]}
    steps: Stages = {
        "trace": _trace,
        "build": lambda graph: build_ahead(graph, library, BuildOptions(), **how),
    }
    points = together(seconds=fastest(subjects, steps, ROUNDS[size]))
    return {"unit": "layer", "stages": {"build": points["build"]}}


KINDS: Mapping[str, Callable[[str, TensorRT | None], dict[str, Any]]] = {
    "static": partial(_chains, (4,)),
    "dynamic": partial(_chains, (trtnn.Dim("batch", 1, 4, 8),)),
    "weights": _weights,
    "build": _builds,
}


def chain(length: int) -> Callable[[torch.Tensor], torch.Tensor]:
    """Return a function of ``length`` ops, one after another."""

    def forward(x: torch.Tensor) -> torch.Tensor:
        for _ in range(length // 2):
            x = torch.relu(x + 1.0)
        return x

    return forward


def layers(width: int, times: int) -> torch.nn.Module:
    """Return four linear layers, between a width and a multiple of it, of written memory."""
    sizes = [(width, width * times), (width * times, width)] * 2
    with torch.no_grad():
        net = torch.nn.Sequential(*(torch.nn.Linear(*pair, device="meta") for pair in sizes))
        net = net.eval().to_empty(device="cpu")
        for parameter in net.parameters():
            parameter.fill_(0.5)
    return net


def stages(library: TensorRT | None) -> Stages:
    """Return what each stage does with the result of the one before; tracing needs no library."""
    if library is None:
        return {"trace": _trace}
    builder = library.builder()

    def lowered(graph: Graph) -> Any:
        network = library.network(builder)
        return lower(graph, library, network), network

    return {"trace": _trace, "passes": partial(optimize, library=library), "lower": lowered}


def _trace(subject: Subject) -> Graph:
    return trtnn.trace(*subject)


def run(subject: Subject, steps: Stages, gauge: Gauge) -> dict[str, float]:
    """Run the stages in order, each under the gauge."""
    gc.collect()
    value: Any = subject
    found = {}
    for name, step in steps.items():
        value, found[name] = gauge(partial(step, value))
    return found


def fastest(
    subjects: Mapping[Any, Subject], steps: Stages, count: int
) -> dict[float, dict[str, float]]:
    """Return the least seconds of each stage, of some rounds, in which the subjects alternate.

    The first round's smallest subject pays for what is loaded once.
    """
    rounds = [{n: run(s, steps, seconds) for n, s in subjects.items()} for _ in range(count)]
    return {n: {name: min(r[n][name] for r in rounds) for name in steps} for n in subjects}


def seconds(call: Callable[[], Any]) -> tuple[Any, float]:
    """Return a result and the CPU seconds that it took, whoever else was at work.

    Python's collector is off meanwhile: it looks at all objects of the process every so often,
    whoever made them.
    """
    gc.disable()
    try:
        start = time.process_time()
        result = call()
        return result, time.process_time() - start
    finally:
        gc.enable()


def python_bytes(call: Callable[[], Any]) -> tuple[Any, float]:
    """Return a result and the most that Python held meanwhile; TensorRT's memory is not in it."""
    tracemalloc.start()
    try:
        result = call()
        return result, tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def resident_bytes(call: Callable[[], Any]) -> tuple[Any, float]:
    """Return a result and how far the memory of the process rose, TensorRT's included."""
    before = reset_peak()
    result = call()
    return result, max(0, resident_memory()[0] - before)  # what fell did not rise


def together(
    **measured: Mapping[float, Mapping[str, float]],
) -> dict[str, list[dict[str, float]]]:
    """Return the points of each stage.

    >>> together(seconds={10: {"trace": 0.5}}, bytes={10: {"trace": 7}})
    {'trace': [{'size': 10, 'seconds': 0.5, 'bytes': 7}]}
    """
    found: dict[str, list[dict[str, float]]] = {}
    first, *_ = measured.values()
    for size, by in first.items():
        for stage in by:
            values = {what: round(m[size][stage], 6) for what, m in measured.items()}
            found.setdefault(stage, []).append({"size": size, **values})
    return found


def judge(points: Mapping[str, Sequence[Mapping[str, float]]], noise: float = 0) -> dict[str, Any]:
    """Say how many times as much of time and memory a unit of the largest takes.

    The second in size is what it is held against: in the smallest what is done once shows.

    Args:
        noise: Bytes below which memory is not told from none.

    >>> sizes = [{"size": n, "seconds": n * n, "bytes": 3 * n} for n in (1, 10, 20)]
    >>> judge({"trace": sizes})
    {'growth': {'trace': {'seconds': 2.0, 'bytes': 1.0}}, 'met': False}
    """
    growth = {stage: dict(_grown(found, noise)) for stage, found in points.items()}
    met = all(ratio <= LINEAR for ratios in growth.values() for ratio in ratios.values())
    return {"growth": growth, "met": met}


def _grown(found: Sequence[Mapping[str, float]], noise: float) -> Iterator[tuple[str, float]]:
    second, last = found[1], found[-1]
    for what, least in (("seconds", 0.0), ("bytes", noise)):
        ends = [max(point[what], least) / point["size"] for point in (second, last)]
        yield what, round(ends[1] / ends[0], 2)
