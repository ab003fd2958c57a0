"""``python -m benchmarks``: measure what is not recorded yet, the most important first."""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from benchmarks.instruments.builds import Builds
from benchmarks.instruments.machine import find_machine
from benchmarks.instruments.timing import FULL, TINY, Effort
from benchmarks.measures.activities import compare_copies
from benchmarks.measures.cached import measure_cached
from benchmarks.measures.comparison import compare, compare_errors
from benchmarks.measures.cycles import measure_cycles
from benchmarks.measures.dynamic import compare_lengths
from benchmarks.measures.memory import measure_memory
from benchmarks.measures.mixed import measure_mixed
from benchmarks.measures.overhead import measure_overhead
from benchmarks.measures.refit import measure_refit
from benchmarks.measures.sanitize import measure_sanitizer
from benchmarks.measures.threads import measure_threads
from benchmarks.measures.tracing import measure_tracing
from benchmarks.measures.typed import compare_typed
from benchmarks.subjects import cases
from benchmarks.subjects.cases import DTYPES, MODELS, NEEDS_GPU, WHAT, Case

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)

MEASURES: dict[str, Callable[[Case, Builds, Effort], dict[str, Any]]] = {
    "errors": compare_errors,
    "models": compare,
    "typed": compare_typed,
    "refit": measure_refit,
    "memory": measure_memory,
    "tracing": measure_tracing,
    "dynamic": compare_lengths,
    "copies": compare_copies,
    "overhead": measure_overhead,
    "threads": measure_threads,
    "cycles": measure_cycles,
    "mixed": measure_mixed,
    "cached": measure_cached,
    "sanitizer": measure_sanitizer,
}


@app.command()
def main(
    *,
    models: Annotated[str, typer.Option(help="Which, by name.")] = ",".join(MODELS),
    dtypes: Annotated[str, typer.Option(help="Which of half and tf32.")] = ",".join(DTYPES),
    batches: Annotated[str, typer.Option(help="Batch sizes; the first comes first.")] = "",
    what: Annotated[str, typer.Option(help=f"Which of {', '.join(WHAT)}.")] = "",
    size: Annotated[str, typer.Option(help="full or small; full on a GPU.")] = "",
    budget: Annotated[float, typer.Option(help="Seconds; no row starts later.")] = float("inf"),
    results: Annotated[Path | None, typer.Option(help="JSON to merge rows into.")] = None,
    timing_cache: Annotated[Path | None, typer.Option(help="Folder to keep timings in.")] = None,
    again: Annotated[bool, typer.Option("--again", help="Also what is recorded.")] = False,
) -> None:
    """Measure torch eager, eager in a CUDA graph and trtnn, and write one row a case.

    Without a GPU: small networks on the reference backend, and nothing written unless --results
    says where.
    """
    begin = time.perf_counter()
    machine = find_machine()
    gpu = machine.library is not None
    allowed = WHAT if gpu else tuple(name for name in WHAT if name not in NEEDS_GPU)
    listed = cases.list_cases(
        _chosen("what", what, allowed),
        _chosen("models", models, MODELS),
        _chosen("dtypes", dtypes, DTYPES),
        [int(number) for number in (batches or ("1,8" if gpu else "1")).split(",")],
        *_chosen("size", size or ("full" if gpu else "small"), ("full", "small")),
    )
    path = results or (cases.RESULTS if gpu else None)
    builds = Builds(machine, machine.timings(timing_cache))
    for case in listed if again else cases.pending(listed, cases.load(path)):
        if time.perf_counter() - begin > budget:
            typer.echo(f"the budget of {budget:g} s is spent before {case.key}")
            break
        row = attempt(case, builds, FULL if gpu else TINY)
        if path is not None:
            cases.merge(path, case.key, row)
        typer.echo(f"{case.key}: {_line(row)}")
        machine.free()


def _chosen(option: str, given: str, allowed: Sequence[str]) -> list[str]:
    """Split an option at its commas; all that is allowed if it is empty."""
    names = given.split(",") if given else list(allowed)
    if unknown := [name for name in names if name not in allowed]:
        raise typer.BadParameter(
            f"--{option}: expected some of {', '.join(allowed)}, got {', '.join(unknown)}"
        )
    return names


def attempt(case: Case, builds: Builds, effort: Effort) -> dict[str, Any]:
    """Measure one case; a failure is a row that says why, and the run goes on."""
    start = time.perf_counter()
    try:
        measured = MEASURES[case.what](case, builds, effort)
    except Exception as error:
        traceback.print_exc()
        measured = {"failed": f"{type(error).__name__}: {error}"}
    seconds = round(time.perf_counter() - start, 1)
    return {**asdict(case), **builds.machine.facts(), **measured, "row_s": seconds}


def _line(row: dict[str, Any]) -> str:
    """Return what is worth seeing while a run goes on."""
    if "failed" in row:
        return f"failed: {row['failed'].splitlines()[0]}"
    shown = ("met", "error", "bar", "ratio", "counts", "seconds", "build_s", "row_s")
    return " ".join(f"{name}={row[name]}" for name in shown if name in row)


if __name__ == "__main__":
    app()
