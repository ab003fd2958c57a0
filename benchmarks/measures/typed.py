"""What strong typing costs on TensorRT 8.6: a typed half engine against a free one."""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from typing import Any

import torch

import trtnn
from benchmarks.instruments.bound import Bound, inference
from benchmarks.instruments.builds import Builds
from benchmarks.instruments.timing import Effort, gpu_times
from benchmarks.measures.comparison import finite_error
from benchmarks.subjects.cases import Case
from benchmarks.subjects.networks import exact, prepared
from trtnn.compiler import optimize
from trtnn.engine.builder import build
from trtnn.engine.engine import Engine
from trtnn.graph.graph import Graph
from trtnn.options import BuildOptions
from trtnn.trt.library import TensorRT

BAR, BAR_IF_NAMED = 1.03, 1.10
NAMED = 8  # layers that are listed
KINDS = ("typed", "free")


class Free(TensorRT):
    """TensorRT 8.6 that may choose each layer's precision: FP16 allowed, nothing constrained."""

    def constrain(self, layer: Any, dtype: str, *, output: bool) -> None:
        """Leave the layer as it is."""

    def config(self, builder: Any, options: BuildOptions, **how: Any) -> Any:
        """Create the configuration without the obligation to keep types."""
        config = super().config(builder, options, **how)
        config.clear_flag(self.trt.BuilderFlag.OBEY_PRECISION_CONSTRAINTS)
        return config


@torch.no_grad()
def compare_typed(case: Case, builds: Builds, effort: Effort) -> dict[str, Any]:
    """Build one network typed and free, each twice, and compare their GPU times.

    The second build of each starts from no timing cache: it chooses its kernels anew.
    """
    library = builds.machine.gpu
    if library.target.strongly_typed:
        raise RuntimeError(f"TensorRT {library.target.version} builds nothing that is not typed")
    net, inputs = prepared(case, builds.machine.device)
    graph = optimize(trtnn.trace(net, list(inputs), builds.machine.device), library)
    given = {value.name: tensor for value, tensor in zip(graph.inputs, inputs, strict=True)}
    reference = exact(case, builds.machine.device)
    engines, rows = {}, {}
    for kind, door in zip(KINDS, (library, Free(library.trt)), strict=True):
        for number in (1, 2):
            name = f"{kind} {number}"
            engines[name], rows[name] = _build(builds, case.level, graph, door, fresh=number == 2)
    started = {name: inference(engine, given) for name, engine in engines.items()}
    times = gpu_times({name: call for name, (_, call, _) in started.items()}, effort)
    for name, (bound, _, method) in started.items():
        error = finite_error(bound.outputs, reference)
        rows[name].update(times[name], method=method, error=error)
    medians = {kind: [rows[f"{kind} {n}"]["median"] for n in (1, 2)] for kind in KINDS}
    layers = [layer_times(Bound(engines[f"{kind} 1"], given)) for kind in KINDS]
    return {"builds": rows, **judge_ratio(medians), "layers": costs(*layers)}


def _build(
    builds: Builds, level: int, graph: Graph, library: TensorRT, *, fresh: bool
) -> tuple[Engine, dict[str, Any]]:
    def make(options: BuildOptions) -> Engine:
        return build(graph, library, options)

    return builds.build(level, make, lambda engine: engine, fresh=fresh)


def judge_ratio(medians: Mapping[str, list[float]]) -> dict[str, Any]:
    """Return the ratio of typed to free, the spread of the builds, and whether the bar is met.

    ``met_if_named`` is the wider bar, for a ratio whose cost the layers explain.

    >>> judge_ratio({"typed": [103.0, 105.0], "free": [100.0, 100.0]})
    {'ratio': 1.04, 'spread': 0.0096, 'bar': 1.0396, 'met': False, 'met_if_named': True}
    """
    typed, free = (statistics.mean(medians[kind]) for kind in ("typed", "free"))
    spread = sum((max(m) - min(m)) / 2 / statistics.mean(m) for m in medians.values())
    ratio, bar = typed / free, BAR + spread
    return {
        "ratio": round(ratio, 4),
        "spread": round(spread, 4),
        "bar": round(bar, 4),
        "met": ratio <= bar,
        "met_if_named": ratio <= BAR_IF_NAMED,
    }


def layer_times(bound: Bound, count: int = 50) -> dict[str, float]:
    """Return the median microseconds of each of TensorRT's layers."""
    found: dict[str, list[float]] = {}
    interface = bound.engine.library.trt.IProfiler

    class Profiler(interface):  # type: ignore[misc, valid-type]
        def __init__(self) -> None:
            interface.__init__(self)

        def report_layer_time(self, layer_name: str, ms: float) -> None:
            found.setdefault(layer_name, []).append(ms * 1e3)

    profiler = Profiler()  # the context only refers to it
    bound.context.profiler = profiler
    for _ in range(count):
        bound.execute()
    return {name: statistics.median(times) for name, times in found.items()}


def costs(typed: Mapping[str, float], free: Mapping[str, float]) -> list[dict[str, Any]]:
    """Name the layers that cost most more in the typed engine; 0 where an engine lacks one."""
    names = {*typed, *free}
    rows = [(typed.get(n, 0.0), free.get(n, 0.0), n) for n in names]
    rows.sort(key=lambda row: row[1] - row[0])
    return [
        {"layer": name, "typed_us": round(ours, 2), "free_us": round(theirs, 2)}
        for ours, theirs, name in rows[:NAMED]
    ]
