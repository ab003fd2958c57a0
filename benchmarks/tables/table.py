"""``python -m benchmarks.tables``: the Markdown tables of a results file, put into the README."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from benchmarks.measures import memory
from benchmarks.measures.dynamic import KINDS
from benchmarks.subjects.cases import DTYPES, GROWTH, RESULTS, load
from benchmarks.tables.call_tables import CALL_TITLES, Cells
from benchmarks.tables.growth_table import HEADINGS, growth_lines

README = Path(__file__).parent.parent / "README.md"
BEGIN, END = "<!-- tables: begin -->", "<!-- tables: end -->"
RECORDED = (RESULTS, GROWTH)

Row = Mapping[str, Any]
VERSIONS = ("device", "tensorrt", "tensorrt_rtx", "torch", "driver", "python")


def tables(rows: Mapping[str, Row]) -> str:
    """Return all tables as Markdown, each with a title; what has no row is left out.

    So are rows of kinds that are measured no more: the suite has their figures.
    """
    rows = {key: row for key, row in rows.items() if row["what"] in TITLES}
    good: dict[str, list[Row]] = {kind: [] for kind in TITLES}
    for row in rows.values():
        if "failed" not in row:
            good[row["what"]].append(row)
    parts = [versions(rows.values())]
    for kind, (title, headings, lines) in TITLES.items():
        if good[kind]:
            cells = [line for row in sorted(good[kind], key=_order) for line in lines(row)]
            parts.append(f"### {title}\n\n{markdown(headings.split(' | '), cells)}")
    failed = [(key, _cell(row["failed"])) for key, row in sorted(rows.items()) if "failed" in row]
    if failed:
        parts.append(f"### What failed\n\n{markdown(['row', 'error'], failed)}")
    return "\n\n".join(parts)


def _order(row: Row) -> tuple[Any, ...]:
    """Sort by batch, model and dtype."""
    dtype = DTYPES.index(row["dtype"]) if row["dtype"] else -1
    return row["size"], row["batch"], row["model"], dtype


def markdown(headings: Sequence[str], lines: Iterable[Cells]) -> str:
    """Lay cells out as a Markdown table, verdicts in words."""
    cells = [[cell if isinstance(cell, str) else _met(cell) for cell in line] for line in lines]
    rows = [headings, ["---"] * len(headings), *cells]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def versions(rows: Iterable[Row]) -> str:
    """Say on what the rows were measured, and when."""
    counts: Counter[str] = Counter()
    dates: dict[str, list[str]] = {}
    for row in rows:
        names = [f"{name} {row[name]}" for name in VERSIONS if name in row]
        text = ", ".join(names).removeprefix("device ")
        counts[text] += 1
        dates.setdefault(text, []).append(row["date"])
    return "\n".join(
        f"- {count} row{'s' * (count != 1)} on {text} ({_between(dates[text])})"
        for text, count in sorted(counts.items())
    )


def _between(dates: list[str]) -> str:
    first, last = min(dates), max(dates)
    return first if first == last else f"{first} to {last}"


def _cell(text: str) -> str:
    """Return the first line of a text as a cell."""
    return text.splitlines()[0].replace("|", "\\|")


def number(value: float | None, form: str = ".1e") -> str:
    return "not finite" if value is None else format(value, form)


def _met(value: bool | None) -> str:  # noqa: FBT001
    return {True: "yes", False: "**no**", None: "no verdict"}[value]


def _time(times: Mapping[str, Row], kind: str) -> str:
    """Return a median with its spread, and how it was measured if that is not the usual way.

    >>> time = {"median": 301.25, "spread": 4.0, "layout": "channels_last", "method": "queued"}
    >>> _time({"eager": time}, "eager"), _time({}, "eager")
    ('301 ± 4, channels-last, queued', 'none')
    """
    time = times.get(kind)
    if time is None:
        return "none"
    notes = ["channels-last"] if time.get("layout") == "channels_last" else []
    notes += [time["method"]] if time.get("method", "replays") != "replays" else []
    return ", ".join([f"{time['median']:.3g} ± {time['spread']:.2g}", *notes])


def _dynamic(row: Row) -> list[tuple[str, ...]]:
    lines = []
    for length, error in row["error"].items():
        times, ratio, kernels = (
            row.get(field, {}).get(length, {}) for field in ("gpu_us", "ratio", "kernels")
        )
        lines.append(
            (
                _name(row),
                str(row["batch"]),
                _level(row["builds"]["dynamic"]),
                length,
                *(_time(times, kind) for kind in KINDS),
                *(_spread(ratio.get(kind)) for kind in KINDS[1:]),
                *(_fused(kernels.get(kind)) for kind in KINDS),
                *(number(error[kind]) for kind in ("eager", *KINDS)),
                number(row["bar"][length]),
                _met(row["met"]),
            )
        )
    return lines


def _spread(ratio: Row | None) -> str:
    return "none" if ratio is None else f"{ratio['ratio']:.2f} ± {ratio['spread']:.2g}"


def _fused(kernels: Row | None) -> str:
    """Say whether a fused attention ran, and among how many kernels.

    >>> _fused({"number": 38, "fused_attention": True}), _fused(None)
    ('yes, 38 kernels', 'none')
    """
    if kernels is None or not kernels["number"]:
        return "none"
    return f"{'yes' if kernels['fused_attention'] else 'no'}, {kernels['number']} kernels"


def _level(facts: Row) -> str:
    return str(facts.get("level", "none"))


def _name(row: Row) -> str:
    return row["model"] if row["size"] == "full" else f"{row['model']} ({row['size']})"


def _refit(row: Row) -> list[tuple[str, ...]]:
    times, builds, error = row["gpu_us"], row["builds"], row["error"]
    kinds = ("plain", "refit")
    first, *later = row["refit_s"]
    return [
        (
            _name(row),
            row["dtype"],
            str(row["batch"]),
            _level(builds["refit"]),
            *(_time(times, kind) for kind in kinds),
            _spread(row["ratio"]),
            *(str(builds[kind]["build_s"]) for kind in kinds),
            f"{first:.2g}",
            f"{statistics.median(later):.2g}",
            *(number(value) for value in (error["eager"], error["trtnn"], row["bar"])),
            _met(row["met"]),
        )
    ]


def _memory(row: Row) -> list[tuple[str, ...]]:
    found, (_, *ours) = row["memory_bytes"], memory.KINDS
    sizes = [found["raw"]["weights"], *(found[kind]["rise"] for kind in memory.KINDS)]
    beyond = [f"{row['beyond'][kind]:.2f}" for kind in ours]
    cells = (*(f"{size / 2**20:.0f}" for size in sizes), *beyond)
    return [(_name(row), row["dtype"], _level(row), *cells, _met(row["met"]))]


def _copies(row: Row) -> list[tuple[str, ...]]:
    kinds = ("HtoD", "DtoH", "DtoD", "memset", "kernel")
    counts = [
        f"{row['counts']['call'].get(kind, 0)} / {row['counts']['raw'].get(kind, 0)}"
        for kind in kinds
    ]
    return [(_name(row), row["dtype"], *counts, _met(row["met"]))]


def _tracing(row: Row) -> list[tuple[str, ...]]:
    limit, met = f"< {row['limit_s']:g}", _met(row["met"])
    return [(_name(row), f"{row['seconds']:.3f}", limit, met)]


TITLES: dict[str, tuple[str, str, Callable[[Row], Sequence[Cells]]]] = {
    "refit": (
        "Refittable engines",
        "model | dtype | batch | level | GPU µs: plain | refittable | refittable / plain"
        " | build s: plain | refittable | s of a refit: first | later"
        " | error with the new weights: eager | trtnn | bar | met",
        _refit,
    ),
    "memory": (
        "Host memory of a build",
        "model | dtype | level | MiB: weights | highest above the start: raw TensorRT"
        " | trtnn, weights on the host | on the GPU"
        " | (trtnn - raw) / weights: on the host | on the GPU | <= 2",
        _memory,
    ),
    "dynamic": (
        "Static, dynamic and bucketed lengths, in half",
        "model | batch | level | length | GPU µs: static | dynamic | bucketed | dynamic / static"
        " | bucketed / static | fused attention: static | dynamic | bucketed"
        " | error: eager | static | dynamic | bucketed | bar | met",
        _dynamic,
    ),
    "copies": (
        "Copies and memsets in one call (trtnn / raw `execute_v2`)",
        "model | dtype | host to device | device to host | device to device | memsets | kernels"
        " | met",
        _copies,
    ),
    "tracing": ("Tracing", "what | seconds | limit | met", _tracing),
    "growth": ("Growth", HEADINGS, growth_lines),
    **CALL_TITLES,
}


def fill(readme: str, content: str, begin: str = BEGIN, end: str = END) -> str:
    """Return a text with what stands between the two markers replaced.

    >>> fill(f"before {BEGIN} old {END} after", "new").split(BEGIN)[1].split(END)
    ['\\n\\nnew\\n\\n', ' after']
    """
    before, rest = readme.split(begin)
    _, after = rest.split(end)
    return f"{before}{begin}\n\n{content}\n\n{end}{after}"


def main(
    results: Annotated[
        list[Path] | None, typer.Option(help="The JSON to read; of one row the last file counts.")
    ] = None,
    readme: Annotated[Path, typer.Option(help="Where to put the tables.")] = README,
) -> None:
    """Rewrite the tables of the README from the results."""
    rows = {key: row for path in results or RECORDED for key, row in load(path).items()}
    readme.write_text(fill(readme.read_text(), tables(rows)))
