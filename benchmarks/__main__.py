"""``python -m benchmarks``: a race of all that runs a network, the most important ones first."""

from __future__ import annotations

import contextlib
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from benchmarks.instruments.builds import Builds
from benchmarks.instruments.machine import Machine, find_machine
from benchmarks.instruments.timing import FULL, TINY, Effort
from benchmarks.measures.activities import compare_copies
from benchmarks.measures.branches import measure_branches
from benchmarks.measures.cached import measure_cached
from benchmarks.measures.cycles import measure_cycles
from benchmarks.measures.decoding import measure_decoding
from benchmarks.measures.dynamic import compare_lengths
from benchmarks.measures.growth import measure_growth
from benchmarks.measures.memory import measure_memory
from benchmarks.measures.mixed import measure_mixed
from benchmarks.measures.overhead import measure_overhead
from benchmarks.measures.recurrent import measure_recurrent, measure_unrolled
from benchmarks.measures.refit import measure_refit
from benchmarks.measures.sanitize import measure_sanitizer
from benchmarks.measures.threads import measure_threads
from benchmarks.measures.tracing import measure_tracing
from benchmarks.race import run
from benchmarks.race.contenders import CONTENDERS, USUAL
from benchmarks.race.plans import Shelf
from benchmarks.race.run import Deadline
from benchmarks.report.commands import compare, report
from benchmarks.subjects import cases
from benchmarks.subjects.cases import NEEDS_GPU, WHAT, Case
from benchmarks.subjects.suite import TABLE, chosen

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
app.command()(report)
app.command()(compare)

MEASURES: dict[str, Callable[[Case, Builds, Effort], dict[str, Any]]] = {
    "refit": measure_refit,
    "memory": measure_memory,
    "tracing": measure_tracing,
    "growth": measure_growth,
    "recurrent": measure_recurrent,
    "decoding": measure_decoding,
    "branches": measure_branches,
    "unrolled": measure_unrolled,
    "dynamic": compare_lengths,
    "copies": compare_copies,
    "overhead": measure_overhead,
    "threads": measure_threads,
    "cycles": measure_cycles,
    "mixed": measure_mixed,
    "cached": measure_cached,
    "sanitizer": measure_sanitizer,
}

Cases = Annotated[
    list[str],
    typer.Option("--case", help='first, "resnet50", "vit_b_16 half 32", "* tf32 1"; repeatable.'),
]
Contenders = Annotated[
    str, typer.Option("--contender", help=f"Some of {', '.join(CONTENDERS)}; all but free.")
]
Size = Annotated[str, typer.Option(help="full or small; full on a GPU.")]
Budget = Annotated[float, typer.Option(help="Seconds; nothing starts later.")]
TorchPython = Annotated[
    Path | None, typer.Option(help="The interpreter that runs torch.compile; this one if omitted.")
]
Results = Annotated[Path | None, typer.Option(help="JSON to merge rows into.")]
NO_LIMIT = 1e6


@app.callback(invoke_without_command=True)
def main(context: typer.Context) -> None:
    """Without a command: "run", with what each option is by default."""
    if context.invoked_subcommand is None:
        everything()


@app.command("run")
def everything(
    *,
    case: Cases = [],  # noqa: B006 - typer's way
    contender: Contenders = "",
    size: Size = "",
    plans: Annotated[Path | None, typer.Option(help="Folder to keep plans in.")] = None,
    jobs: Annotated[int, typer.Option(help="How many cases build at once.")] = 1,
    torch_python: TorchPython = None,
    budget: Budget = NO_LIMIT,
    results: Results = None,
) -> None:
    """Build and time, case by case; what is recorded already comes last.

    Without a GPU: small networks at batch 1, on the reference backend, and nothing written unless
    --results says where.
    """
    race = Race(contender, case, size, Deadline.after(budget), torch_python, results)
    with contextlib.nullcontext(plans) if plans else tempfile.TemporaryDirectory() as folder:
        shelves = race.shelves(Path(folder))
        for start in range(0, len(shelves), jobs):
            some = shelves[start : start + jobs]
            race.build(some, jobs)
            race.time(some)


@app.command()
def build(
    plans: Annotated[Path, typer.Argument(help="The folder to leave plans in.")],
    *,
    case: Cases = [],  # noqa: B006
    contender: Contenders = "",
    size: Size = "",
    jobs: Annotated[int, typer.Option(help="How many cases build at once.")] = 1,
    torch_python: TorchPython = None,
    budget: Annotated[float, typer.Option(help="Seconds; what builds then is ended.")] = NO_LIMIT,
) -> None:
    """Build what the folder lacks; "time" needs the GPU to itself, and this does not."""
    race = Race(contender, case, size, Deadline.after(budget), torch_python, None)
    race.build(race.shelves(plans), jobs)


@app.command("time")
def time_(
    plans: Annotated[Path, typer.Argument(help='The folder that "build" left plans in.')],
    *,
    case: Cases = [],  # noqa: B006
    contender: Contenders = "",
    size: Size = "",
    torch_python: TorchPython = None,
    budget: Budget = NO_LIMIT,
    results: Results = None,
) -> None:
    """Time what was built, one case after another."""
    race = Race(contender, case, size, Deadline.after(budget), torch_python, results)
    race.time(race.shelves(plans))


class Race:
    """What the commands share: which cases, on which machine, against whom, until when."""

    def __init__(
        self,
        contender: str,
        case: Sequence[str],
        size: str,
        deadline: Deadline,
        torch_python: Path | None,
        results: Path | None,
    ) -> None:
        self.machine, self.deadline, self.torch_python = find_machine(), deadline, torch_python
        self.on_gpu = self.machine.library is not None
        self.contenders = set(_chosen("contender", contender or ",".join(USUAL), CONTENDERS))
        self.size = size_of(size, self.machine)
        if torch_python is not None and not torch_python.exists():
            raise typer.BadParameter(f"--torch-python: there is no {torch_python}")
        try:
            self.cases = chosen(case or ([] if self.on_gpu else ["* half 1"]), self.size)
        except ValueError as error:
            raise typer.BadParameter(f"--case: {error}") from None
        self.results = results or (cases.SUITE if self.on_gpu else None)

    def shelves(self, folder: Path) -> list[Shelf]:
        """Return the cases' parts of a folder of plans, those without a row first."""
        ordered = cases.pending(self.cases, cases.load(self.results))
        known = [case for case in self.cases if case not in ordered]
        return [Shelf(folder, case) for case in (*ordered, *known)]

    def build(self, shelves: Sequence[Shelf], jobs: int) -> None:
        """Build several at once; what lacks a package has nothing to build."""
        run.build(
            [shelf for shelf in shelves if not TABLE[shelf.case.model].missing],
            self.contenders,
            jobs,
            self.deadline,
            typer.echo,
            on_gpu=self.on_gpu,
            torch_python=self.torch_python,
        )

    def time(self, shelves: Sequence[Shelf]) -> None:
        """Time one after another; the mode of torch.compile that times kernels comes last."""
        effort = FULL if self.on_gpu else TINY
        tuned = "compile max-autotune"
        rounds = [(shelf, self.contenders - {tuned}) for shelf in shelves]
        late = self.contenders & {tuned}
        rounds += [(shelf, late) for shelf in shelves if run.modes(shelf.case, late)]
        for shelf, contenders in rounds:
            if self.deadline.left <= 0:
                typer.echo(f"{shelf.case.name}: no time is left")
                continue
            row = run.race(shelf, self.machine, effort, contenders, self.torch_python)
            if self.results is not None:
                old = cases.load(self.results).get(shelf.case.key)
                cases.merge(self.results, shelf.case.key, run.merged(old, row))
            for line in shown(row):
                typer.echo(f"{shelf.case.name}: {line}")
            self.machine.free()


def shown(row: dict[str, Any]) -> Iterator[str]:
    """Yield what is worth seeing of a row while a run goes on.

    >>> list(shown({"contenders": {"raw": {"host_us": {"median": 3.0}}}}))
    ['raw: host 3.0 us']
    """
    if "missing" in row:
        yield f"missing: {row['missing']}"
    for name, record in row.get("contenders", {}).items():
        times = [
            f"{title} {record[field]['median']} us"
            for field, title in (("host_us", "host"), ("gpu_us", "GPU"))
            if field in record
        ]
        failed = [f"failed: {record['failed'].splitlines()[0]}"] if "failed" in record else []
        yield f"{name}: {', '.join(times + failed)}"


@app.command()
def measure(
    *,
    what: Annotated[str, typer.Option(help=f"Which of {', '.join(WHAT)}.")] = "",
    size: Size = "",
    budget: Budget = NO_LIMIT,
    results: Results = None,
    timing_cache: Annotated[Path | None, typer.Option(help="Folder to keep timings in.")] = None,
    again: Annotated[bool, typer.Option("--again", help="Also what is recorded.")] = False,
) -> None:
    """Measure what calls cost and leave behind, refits, memory, tracing, growth and lengths.

    Without a GPU: what needs none, on small networks, and nothing written unless --results says
    where.
    """
    deadline, machine = Deadline.after(budget), find_machine()
    gpu = machine.library is not None
    allowed = WHAT if gpu else tuple(name for name in WHAT if name not in NEEDS_GPU)
    listed = cases.list_cases(_chosen("what", what, allowed), size_of(size, machine))
    path = results or (cases.RESULTS if gpu else None)
    builds = Builds(machine, machine.timings(timing_cache))
    for case in listed if again else cases.pending(listed, cases.load(path)):
        if deadline.left <= 0:
            typer.echo(f"the budget of {budget:g} s is spent before {case.key}")
            break
        row = attempt(case, builds, FULL if gpu else TINY)
        if path is not None:
            cases.merge(path, case.key, row)
        typer.echo(f"{case.key}: {_line(row)}")
        machine.free()


def size_of(given: str, machine: Machine) -> str:
    """Return the size of what runs on a machine."""
    default = "small" if machine.library is None else "full"
    (size,) = _chosen("size", given or default, ("full", "small"))
    return size


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
    shown_fields = (
        "met",
        "growth",
        "error",
        "bar",
        "ratio",
        "counts",
        "seconds",
        "build_s",
        "row_s",
    )
    return " ".join(f"{name}={row[name]}" for name in shown_fields if name in row)


if __name__ == "__main__":
    app()
