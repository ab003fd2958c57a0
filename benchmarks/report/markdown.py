"""The report in Markdown: the suite's tables, with what their columns mean."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from benchmarks.report.scores import (
    Result,
    Row,
    beside,
    build_spread,
    means,
    missing,
    present,
    results,
)
from benchmarks.report.sentences import builds_differ, doubts, fastest
from benchmarks.subjects.suite import LEVEL
from benchmarks.tables.table import markdown, number, versions

EAGER = "eager graph"
PLOTS = {
    "speedup.png": "how many times faster than eager PyTorch in a CUDA graph",
    "latency.png": "GPU time against batch size",
    "overhead.png": "what a call costs beyond TensorRT",
}


def report(rows: Mapping[str, Row], folder: Path) -> str:
    """Return the whole report; plots are linked that lie in a folder."""
    found = results(rows)
    plots = [f"![{what}]({name})" for name, what in PLOTS.items() if (folder / name).exists()]
    parts = [
        "# The suite's results",
        "`python -m benchmarks report` writes this file.",
        versions(result.row for result in found),
        *(fastest(found, field) for field in ("gpu_us", "host_us")),
        *filter(None, [doubts(found)]),
        *plots,
        *(f"## {title}\n\n{text}\n\n{by_case(found, cell)}" for title, text, cell in TABLES),
        f"## Against the others\n\n{RATIOS}\n\n{ratios(found)}\n\n{compiled_beside(found)}",
        f"## Two builds of one network\n\n{builds_differ(found)}\n\n{pairs(found)}",
        f"## What is missing\n\n{gaps(rows)}",
    ]
    return "\n\n".join(parts) + "\n"


def by_case(found: Sequence[Result], cell: Callable[[Result, str], str]) -> str:
    """Lay out a table of cases by contenders, without those that have no cell."""
    cells = {name: [cell(result, name) for result in found] for name in present(found)}
    shown = {name: column for name, column in cells.items() if any(column)}
    lines = [[_name(r), *(col[i] for col in shown.values())] for i, r in enumerate(found)]
    return markdown(["case", *shown], lines)


def _name(result: Result) -> str:
    level = result.row.get("level", LEVEL)
    return f"{result.case.name}{f', level {level}' * (level != LEVEL)}"


def _gpu(result: Result, name: str) -> str:
    time, eager = result.time(name), result.time(EAGER)
    if time is None:
        return ""
    record = result.records[name]
    notes = ["channels-last"] if time.get("layout") == "channels_last" else []
    notes += [record["method"]] if record.get("method", "replays") != "replays" else []
    faster = f" ({eager['median'] / time['median']:.2f}x)" if eager and name != EAGER else ""
    return ", ".join([f"{micros(time['median'])} ± {time['spread']:.2g}{faster}", *notes])


def _host(result: Result, name: str) -> str:
    time = result.time(name, "host_us")
    return f"{micros(time['median'])} ± {time['spread']:.2g}" if time else ""


def _seconds(result: Result, name: str) -> str:
    found = result.records.get(name, {}).get("build_s", {})
    cached = f" ({found['cached']:.3g})" if "cached" in found else ""
    return f"{found['cold']:.3g}{cached}" if "cold" in found else ""


def _error(result: Result, name: str) -> str:
    record = result.records.get(name, {})
    text = number(record["error"]) if "error" in record else ""
    return f"**{text}**" if result.is_wrong(name) else text


TABLES: tuple[tuple[str, str, Callable[[Result, str], str]], ...] = (
    (
        "GPU µs, and how many times faster than eager in a CUDA graph",
        "The time between the ends of two inferences that were queued beforehand, median of 250;"
        " ± is how far the medians of 5 rounds, in which the contenders alternate, lie apart. raw"
        " is trtnn's plan with raw bindings, onnx the ONNX parser's; of both the replay of a"
        ' captured `execute_async_v3`. "queued" marks an engine that refuses the capture and was'
        " enqueued with at least 10 inferences waiting. sync waits by itself. Of eager the faster"
        " of contiguous and channels-last memory, where the input is an image.",
        _gpu,
    ),
    (
        "Host µs",
        "One call with its share of the wait at the end of a round, as a Python loop sees it."
        " sync is `model(x)`, bound is `bound()`; onnx and raw are `execute_v2` with a list made"
        " before.",
        _host,
    ),
    (
        "Seconds of a build",
        "trtnn's and torch.compile's from empty caches, in brackets from filled ones. A case"
        " that was built beside others took longer than alone.",
        _seconds,
    ),
    (
        "Error",
        "`||y - y64|| / ||y64||`, worst output, against eager float64. Bold is beyond the bar:"
        " 2 eager + 1e-3 in tf32, 3 eager + 1e-3 in half and fp16; int8 has none.",
        _error,
    ),
)
RATIOS = (
    "How many times as long as trtnn a rival takes on the GPU: geometric mean of the cases in which"
    " both were timed, from the worst for trtnn to the best. trtnn is its bound call, or the first"
    " that was timed of graph, async and raw; torch.compile is the faster of its modes. In"
    " fp16 and int8 eager and torch.compile run the network in half."
)


def ratios(found: Sequence[Result]) -> str:
    """Lay out the geometric means."""
    lines = []
    for m in means(found):
        ends = f"{min(m.ratios):.3f} to {max(m.ratios):.3f}"
        lines.append((m.kind, m.rival, str(len(m.ratios)), f"{m.mean:.3f}", ends))
    return markdown(["kind", "rival", "cases", "rival / trtnn", "worst to best"], lines)


def compiled_beside(found: Sequence[Result]) -> str:
    """Say how the interpreter of torch.compile compares with that of the others."""
    shares = beside(found)
    if not shares:
        return "In torch.compile's interpreter eager was not timed in a CUDA graph."
    return (
        "torch.compile may run in another interpreter: in its own, eager in a CUDA graph takes"
        f" {statistics.geometric_mean(shares):.3f} of its time here"
        f" ({min(shares):.3f} to {max(shares):.3f})."
    )


def pairs(found: Sequence[Result]) -> str:
    """Lay out by how much the slower of two builds is slower."""
    by = {name: build_spread(found, name) for name in ("onnx", "raw", "free")}
    names = [r.case.name for r in found if any(r.case.name in part for part in by.values())]
    cells = [[n, *(f"{p[n]:.1%}" if n in p else "" for p in by.values())] for n in names]
    return markdown(["case", *by], cells)


def gaps(rows: Mapping[str, Row]) -> str:
    """Lay out what is missing."""
    found = missing(rows)
    if not found:
        return "Nothing."
    together: dict[tuple[str, str], list[str]] = {}
    for (name, why), cases in found.items():
        together.setdefault((why, ", ".join(cases)), []).append(name)
    lines = [(", ".join(names), _cell(why), cases) for (why, cases), names in together.items()]
    return markdown(["contender", "why", "cases"], lines)


def _cell(text: str) -> str:
    return text[:200].replace("|", "\\|")


def micros(value: float) -> str:
    """Return microseconds with three digits, or all before the point.

    >>> micros(12345.6), micros(338.2), micros(36.35)
    ('12346', '338', '36.4')
    """
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"
