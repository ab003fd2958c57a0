"""The plot of how time and memory grow."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.report.scores import Row

STAGES = {"trace": "#0072b2", "passes": "#e69f00", "lower": "#009e73", "build": "#999999"}
TITLES = {"build": "TensorRT for RTX builds"}
LINES = {"static": "o-", "dynamic": "s--", "weights": "o-", "build": "o-"}
MEBIBYTE = 2**20


def fill(axes: Sequence[Any], rows: Mapping[str, Row]) -> None:
    """Draw four panels: time and memory of an op, and of networks against their weights.

    Args:
        rows: By the kind of network; what is missing is not drawn.
    """
    time, memory, weights_time, weights_memory = axes
    for kind in ("static", "dynamic", "build"):
        _lines(time, rows.get(kind), "seconds", scale=1e6, each=True)
        _lines(memory, rows.get(kind), "bytes", scale=1, each=True)
    _lines(weights_time, rows.get("weights"), "seconds", scale=1e3)
    sizes = _lines(weights_memory, rows.get("weights"), "bytes", scale=1 / MEBIBYTE)
    weights_memory.plot(sizes, sizes, ":", color="#000000", label="the weights")
    time.set(xscale="log", yscale="log", xlabel="ops", ylabel="µs an op")
    memory.set(xscale="log", yscale="log", xlabel="ops", ylabel="bytes an op, of Python")
    across = {"xscale": "log", "xlabel": "MiB of weights"}
    weights_time.set(yscale="log", ylabel="ms", **across)
    weights_memory.set(ylabel="MiB beyond the weights", **across)
    weights_memory.set_yscale("symlog", linthresh=1)  # nothing at all has its place, too
    weights_memory.set_ylim(bottom=-0.5)
    memory.set_ylim(1e2, 1e5)
    weights_time.set_ylim(0.1, 1e3)


def _lines(
    axis: Any, row: Row | None, field: str, *, scale: float, each: bool = False
) -> list[float]:
    """Draw a line for each stage that has the field; return the sizes."""
    sizes: list[float] = []
    if row is None:
        return sizes
    for stage in STAGES:
        points = row.get("stages", {}).get(stage)
        if not points or field not in points[0]:
            continue
        sizes = [point["size"] for point in points]
        values = [p[field] * scale / (p["size"] if each else 1) for p in points]
        label = TITLES.get(stage) or ", ".join(
            [stage, *(["of a Dim"] * (row["model"] == "dynamic"))]
        )
        form = LINES[row["model"]]
        axis.plot(sizes, values, form, color=STAGES[stage], label=label, markersize=4)
    return sizes
