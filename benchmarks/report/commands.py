"""``python -m benchmarks report`` and ``compare``."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from benchmarks.report import brief, comparing, markdown, plots
from benchmarks.report.reading import read
from benchmarks.report.scores import results as suite_results
from benchmarks.subjects.cases import GROWTH, RESULTS, SUITE, Rows
from benchmarks.tables.table import fill

README = Path(__file__).resolve().parents[2] / "README.md"


def report(
    results: Annotated[
        list[Path] | None, typer.Argument(help="Results; of one case the last file counts.")
    ] = None,
    *,
    calls: Annotated[Path, typer.Option(help="The results that say what calls cost.")] = RESULTS,
    growth: Annotated[Path, typer.Option(help="The results that say how costs grow.")] = GROWTH,
    folder: Annotated[Path, typer.Option(help="Where tables and plots go.")] = SUITE.parent,
    readme: Annotated[Path, typer.Option(help="Where the main table goes.")] = README,
) -> None:
    """Write tables and plots of the suite's results, and the main table into the README."""
    rows = _read(results or [SUITE])
    found = suite_results(rows)
    if not found:
        raise typer.BadParameter("RESULTS: expected rows of the suite's networks, got none")
    overhead = [r for r in _read([calls]).values() if r["what"] == "overhead" and "engines" in r]
    grown = {r["model"]: r for r in _read([growth]).values() if r["what"] == "growth"}
    folder.mkdir(parents=True, exist_ok=True)
    if plots.can_draw():
        drawn = plots.draw(found, overhead[0] if overhead else None, folder, grown)
        typer.echo(f"plots: {', '.join(drawn) or 'none: nothing was timed'}")
    else:
        typer.echo('no plots are drawn: matplotlib is missing, pip install "trtnn[bench]"')
    (folder / brief.REPORT).write_text(markdown.report(rows, folder), encoding="utf-8")
    typer.echo(f"tables: {folder / brief.REPORT}")
    _fill(readme, brief.brief(rows, folder, _link(folder, readme.parent)))


def _fill(readme: Path, content: str | None) -> None:
    if content is None:
        typer.echo(f"{readme} is left as it is: the first networks have no time on a GPU")
        return
    text = readme.read_text(encoding="utf-8") if readme.exists() else ""
    if not {brief.BEGIN, brief.END} <= set(text.splitlines()):
        raise typer.BadParameter(f"--readme: {readme} lacks the lines {brief.BEGIN}, {brief.END}")
    readme.write_text(fill(text, content, brief.BEGIN, brief.END), encoding="utf-8")
    typer.echo(f"main table: {readme}")


def _link(folder: Path, start: Path) -> str:
    """Return a folder as a link from another."""
    return Path(os.path.relpath(folder, start)).as_posix()


def compare(
    before: Annotated[Path, typer.Argument(help="Results of the earlier run.")],
    after: Annotated[Path, typer.Argument(help="Results of the later run.")],
    *,
    everything: Annotated[bool, typer.Option("--all", help="Also what is the same.")] = False,
) -> None:
    """Show what changed beyond noise from one run to another; exit code 1 if trtnn is worse.

    Worse is slower beyond both spreads together and 2 %, failed, or an error beyond the bar.
    """
    old, new = _read([before]), _read([after])
    try:
        changes = comparing.compare(old, new)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None
    shown = [change for change in changes if everything or change.verdict != "same"]
    console = Console()
    if shown:
        console.print(comparing.table(shown))
    counts = Counter(change.verdict for change in changes)
    for line in (
        *comparing.differing(old, new),
        comparing.steadiness(changes),
        ", ".join(f"{verdict}: {count}" for verdict, count in counts.items()),
    ):
        console.print(line, highlight=False)
    worse = sum(change.is_regression for change in changes)
    console.print(f"regressions of trtnn: {worse}", highlight=False)
    if worse:
        raise typer.Exit(1)


def _read(paths: Sequence[Path]) -> Rows:
    """Read results; what is none is a mistake on the command line."""
    try:
        return read(paths)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None
