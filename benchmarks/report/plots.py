"""The plots, by matplotlib where it is installed."""

from __future__ import annotations

import importlib
import importlib.util
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.report import growing
from benchmarks.report.scores import RIVALS, Result, Row

EAGER = "eager graph"
KIND = "half"
# Told apart without red and green.
COLORS = {
    "trtnn": "#0072b2",
    "torch.compile": "#e69f00",
    "ONNX parser": "#999999",
    EAGER: "#000000",
}
ALLOWED = "#d55e00"


def can_draw() -> bool:
    """Say whether matplotlib is installed."""
    return importlib.util.find_spec("matplotlib") is not None


def draw(
    found: Sequence[Result], calls: Row | None, folder: Path, grown: Mapping[str, Row] | None = None
) -> list[str]:
    """Draw what there are times for; the plots of others are taken away.

    Args:
        calls: The row of what a call costs beyond TensorRT.
        folder: Where the plots are written.
        grown: How time and memory grow, by the kind of network.

    Returns:
        The names of those that were drawn.
    """
    half = [r for r in found if r.case.dtype == KIND and r.ours() and r.rival(EAGER)]
    plots: Mapping[str, Callable[[], Any]] = {
        "speedup.png": lambda: _speedup(half),
        "latency.png": lambda: _latency(half),
        "overhead.png": lambda: _overhead(calls),
        "growth.png": lambda: _growth(grown or {}),
    }
    drawn = []
    for name, make in plots.items():
        figure, path = make(), folder / name
        if figure is None:
            path.unlink(missing_ok=True)
            continue
        # Nothing of the day or the version: the same results give the same bytes.
        figure.savefig(path, dpi=110, metadata={"Software": None})
        drawn.append(name)
    return drawn


def _figure(rows: int, columns: int, width: float, height: float) -> tuple[Any, list[Any]]:
    figure = importlib.import_module("matplotlib.figure").Figure(
        figsize=(width, height), layout="constrained"
    )
    return figure, list(figure.subplots(rows, columns, squeeze=False).flat)


def _legend(figure: Any, axes: Sequence[Any]) -> None:
    """Name each color once, whichever panel has it."""
    named: dict[str, Any] = {}
    for axis in axes:
        handles, labels = axis.get_legend_handles_labels()
        named |= dict(zip(labels, handles, strict=True))
    figure.legend(named.values(), named.keys(), loc="outside upper center", ncols=4)


def _times(result: Result) -> dict[str, float]:
    """Return the GPU times by who is drawn."""
    ours = result.ours()
    times = {title: result.rival(title) for title in RIVALS} | {"trtnn": ours and ours[1]}
    return {title: times[title] for title in COLORS if times[title] is not None}  # type: ignore[misc]


def _speedup(half: Sequence[Result]) -> Any:
    """Draw bars: how many times faster than eager in a CUDA graph, which is the line at 1."""
    by = {b: [r for r in half if r.case.batch == b] for b in sorted({r.case.batch for r in half})}
    if not by:
        return None
    highest = max(map(len, by.values()))
    figure, axes = _figure(1, len(by), 1.5 + 4 * len(by), 1.4 + 0.62 * highest)
    for axis, (batch, cases) in zip(axes, by.items(), strict=True):
        for place, title in enumerate(title for title in COLORS if title != EAGER):
            bars = [(i, t) for i, r in enumerate(cases) if title in (t := _times(r))]
            heights = [i + 0.27 * (place - 1) for i, _ in bars]
            faster = [t[EAGER] / t[title] for _, t in bars]
            drawn = axis.barh(heights, faster, 0.25, color=COLORS[title], label=title)
            axis.bar_label(drawn, fmt="%.2f", fontsize=7, padding=2)
        axis.axvline(1, color=COLORS[EAGER], linewidth=1, label=EAGER)
        axis.set_yticks(range(len(cases)), [r.case.model for r in cases])
        axis.set_ylim(highest - 0.5, -0.5)  # bars are as thick in each panel
        axis.margins(x=0.14)
        axis.set_title(f"{KIND}, batch {batch}")
    figure.supxlabel("times faster than eager PyTorch in a CUDA graph, on the GPU", fontsize=10)
    _legend(figure, axes)
    return figure


def _latency(half: Sequence[Result]) -> Any:
    """Draw the GPU's time against the batch size, a panel a network."""
    by: dict[str, list[Result]] = {}
    for result in sorted(half, key=lambda result: result.case.batch):
        by.setdefault(result.case.model, []).append(result)
    by = {name: cases for name, cases in by.items() if len(cases) > 1}
    if not by:
        return None
    columns = min(4, len(by))
    rows = math.ceil(len(by) / columns)
    figure, axes = _figure(rows, columns, 1 + 2.8 * columns, 0.8 + 2.4 * rows)
    for axis, (name, cases) in zip(axes, by.items(), strict=False):
        for title, color in COLORS.items():
            points = [(r.case.batch, _times(r)[title]) for r in cases if title in _times(r)]
            if points:
                axis.plot(*zip(*points, strict=True), "o-", color=color, label=title)
        batches = [r.case.batch for r in cases]
        axis.set(xscale="log", yscale="log", title=name)
        axis.set_xticks(batches, labels=batches)
        axis.minorticks_off()
        axis.set_yticks(_ticks(*axis.get_ylim()))
        axis.yaxis.set_major_formatter("{x:g}")
    for axis in axes[len(by) :]:
        axis.set_axis_off()
    figure.supxlabel(f"batch size, {KIND}", fontsize=10)
    figure.supylabel("µs of the GPU", fontsize=10)
    _legend(figure, axes)
    return figure


def _ticks(low: float, high: float) -> list[float]:
    """Return 1, 2 and 5 times powers of ten, those between two ends.

    >>> _ticks(90.0, 1100.0)
    [100.0, 200.0, 500.0, 1000.0]
    """
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    ticks = [step * 10.0**power for power in powers for step in (1, 2, 5)]
    return [tick for tick in ticks if low <= tick <= high]


def _overhead(calls: Row | None) -> Any:
    """Draw what each call costs beyond its raw calls, with quartiles and what is allowed."""
    if calls is None or "engines" not in calls:
        return None
    found = [
        (f"{name}  [{engine}]", row)
        for engine, part in calls["engines"].items()
        for name, row in part["rows"].items()
    ]
    figure, (axis,) = _figure(1, 1, 8, 1.2 + 0.3 * len(found))
    middles = [row["beyond"] for _, row in found]
    ends = [
        [max(0.0, row["beyond"] - row["spread"][0]) for _, row in found],
        [max(0.0, row["spread"][1] - row["beyond"]) for _, row in found],
    ]
    axis.barh(range(len(found)), middles, 0.6, xerr=ends, color=COLORS["trtnn"], ecolor="#555555")
    for place, (_, row) in enumerate(found):
        if row["allowed"] is not None:
            ends_of = [place - 0.4, place + 0.4]
            axis.plot([row["allowed"]] * 2, ends_of, color=ALLOWED, linewidth=2)
    axis.set_yticks(range(len(found)), [name for name, _ in found], fontsize=8)
    axis.invert_yaxis()
    axis.set_xlabel("µs of the host beyond TensorRT's own calls; lines are what is allowed")
    return figure


def _growth(rows: Mapping[str, Row]) -> Any:
    """Draw time and memory against the number of ops and the bytes of weights."""
    if not any("stages" in row for row in rows.values()):
        return None
    figure, axes = _figure(2, 2, 10, 7.5)
    growing.fill(axes, rows)
    _legend(figure, axes)
    return figure
