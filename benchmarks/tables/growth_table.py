"""The table of how time and memory grow."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.measures.growth import LINEAR
from benchmarks.tables.call_tables import Cells

STAGES = ("trace", "passes", "lower", "build")
WHOLE = "MiB of weights"  # the unit by which nothing is divided: hardly anything goes with it
HEADINGS = (
    "network | stage | sizes | µs an op or layer, or in all | bytes an op, or in all"
    f" | last / second: time | memory | <= {LINEAR}"
)


def growth_lines(row: Mapping[str, Any]) -> list[Cells]:
    """Return a line for each stage of a row, with its own verdict.

    >>> point = {"seconds": 4e-3, "bytes": 8e3}
    >>> points = [{"size": 10, **point}, {"size": 20, **point}]
    >>> grown = {"trace": {"seconds": 0.5, "bytes": 0.5}}
    >>> row = {"model": "static", "unit": "op", "stages": {"trace": points}, "growth": grown}
    >>> growth_lines(row)
    [('static', 'trace', 'op: 10, 20', '400, 200', '800, 400', '0.50', '0.50', True)]
    """
    if "missing" in row:
        return [(row["model"], row["missing"], "", "", "", "", "", None)]
    lines: list[Cells] = []
    for stage in filter(row["stages"].__contains__, STAGES):
        points = row["stages"][stage]
        sizes = ", ".join(f"{point['size']:,.0f}" for point in points)
        each = [
            _each(row, points, field, times) for field, times in (("seconds", 1e6), ("bytes", 1))
        ]
        ratios, verdict = ["", ""], None
        if grown := row.get("growth", {}).get(stage):
            ratios = [f"{grown[field]:.2f}" for field in ("seconds", "bytes")]
            verdict = max(grown.values()) <= LINEAR
        lines.append((row["model"], stage, f"{row['unit']}: {sizes}", *each, *ratios, verdict))
    return lines


def _each(
    row: Mapping[str, Any], points: Sequence[Mapping[str, float]], field: str, times: float
) -> str:
    """Return what a unit takes at each size."""
    found = [
        p[field] * times / (1 if row["unit"] == WHOLE else p["size"]) for p in points if field in p
    ]
    return ", ".join(f"{value:,.0f}" for value in found)
