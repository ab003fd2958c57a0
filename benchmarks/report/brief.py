"""The main table of the README: the first networks in half, what the rest comes to, and links."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks.report.markdown import EAGER, PLOTS, micros
from benchmarks.report.scores import RIVALS, Result, Row, means, results, spread
from benchmarks.report.sentences import doubts, fastest
from benchmarks.subjects.suite import BATCHES, FIRST
from benchmarks.tables.table import markdown

BEGIN, END = "<!-- suite: begin -->", "<!-- suite: end -->"
KIND = "half"
NAMED = 3  # cases in which another is faster
MACHINE = ("device", "tensorrt", "torch")
# Where trtnn was not timed in a bound call, what was.
NOTES = {"bound": "", "graph": ", unbound", "async": ", no graph", "raw": ", its plan alone"}
REPORT, SPEEDUP = "suite.md", "speedup.png"


def brief(rows: Mapping[str, Row], folder: Path, link: str) -> str | None:
    """Return the README's part, of at most 12 lines.

    Args:
        folder: Where the report and its plots lie.
        link: The same, from the README.

    Returns:
        None where trtnn has no time on a GPU in any of the cases.
    """
    found = [r for r in results(rows) if r.case.dtype == KIND and r.case.size == "full"]
    at = {(r.case.model, r.case.batch): r for r in found if r.ours()}
    first = [subject.name for subject in FIRST]
    shown = [case for case in itertools.product(first, BATCHES) if case in at]
    if not shown:
        return None
    batches = [batch for batch in BATCHES if batch in {b for _, b in shown}]
    lines = [
        [name, *(cell for batch in batches for cell in _cells(at.get((name, batch))))]
        for name in dict.fromkeys(name for name, _ in shown)
    ]
    columns = [f"batch {b}: {title}" for b in batches for title in ("trtnn", *RIVALS)]
    table = markdown([KIND, *columns], lines)
    measured = _measured([at[case] for case in shown])
    return f"{measured}\n\n{table}\n\n{_outcome(found, folder, link)}"


def _cells(result: Result | None) -> list[str]:
    """Return trtnn's time and its rivals', and how many times faster than eager's each is."""
    if result is None:
        return [""] * (1 + len(RIVALS))
    way, ours = result.ours() or ("bound", math.nan)
    eager = result.rival(EAGER)
    cells = [_time(ours, eager) + NOTES[way]]
    for title in RIVALS:
        us = result.rival(title)
        cells.append("" if us is None else _time(us, None if title == EAGER else eager))
    return cells


def _time(us: float, eager: float | None) -> str:
    return micros(us) + ("" if eager is None else f" ({eager / us:.2f}x)")


def _measured(shown: Sequence[Result]) -> str:
    """Say what the table holds, and on what it was measured."""
    facts = [[f"{name} {r.row[name]}" for name in MACHINE if name in r.row] for r in shown]
    machines = [", ".join(names).removeprefix("device ") for names in facts]
    dates = sorted({r.row["date"] for r in shown})
    when = " to ".join(dict.fromkeys([dates[0], dates[-1]]))
    return (
        "Microseconds of the GPU for one inference, and how many times faster that is than eager"
        f" PyTorch in a CUDA graph ({'; '.join(dict.fromkeys(machines))}; {when}):"
    )


def _outcome(found: Sequence[Result], folder: Path, link: str) -> str:
    """Say what all cases of this kind come to, and where to read more."""
    ratios = ", ".join(f"{m.rival} {m.mean:.2f} ({len(m.ratios)} cases)" for m in means(found))
    s = spread(found)
    parts = [
        fastest(found, most=NAMED, where=f"On the GPU and in {KIND}, of all networks,"),
        doubts(found),
        f"Geometric means of their times over trtnn's: {ratios}." if ratios else "",
        "" if s is None else f"Two builds by the ONNX parser differ by up to s = {s:.1%}.",
        f"[All cases]({link}/{REPORT})",
        f"and [{PLOTS[SPEEDUP]}]({link}/{SPEEDUP})" if (folder / SPEEDUP).exists() else "",
    ]
    return " ".join(part for part in parts if part) + "."
