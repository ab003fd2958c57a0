"""A race: several builders at once, then each case alone on the GPU; rows that merge."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from benchmarks.instruments.contest import compete, enter
from benchmarks.instruments.machine import Machine
from benchmarks.instruments.processes import run
from benchmarks.instruments.timing import Effort
from benchmarks.measures.comparison import finite_error
from benchmarks.race.contenders import COMPILED, openers
from benchmarks.race.plans import Shelf, wanted
from benchmarks.subjects.cases import Case
from benchmarks.subjects.suite import TABLE

ROOT = Path(__file__).resolve().parents[2]
LONGEST = 900.0  # seconds of torch.compile
FACTS = ("device", "driver", "tensorrt", "torch", "python", "level")
WARMED = "inductor"  # what torch.compile left in its cache, so that no race waits for it

BESIDE = " beside compile"  # of eager in the other interpreter

Record = dict[str, Any]


@dataclass(frozen=True)
class Deadline:
    """When nothing starts any more."""

    at: float

    @classmethod
    def after(cls, seconds: float) -> Deadline:
        return cls(time.monotonic() + seconds)

    @property
    def left(self) -> float:
        return self.at - time.monotonic()


def build(
    shelves: Sequence[Shelf],
    contenders: set[str],
    jobs: int,
    deadline: Deadline,
    say: Callable[[str], None],
    *,
    on_gpu: bool,
    torch_python: Path | None = None,
) -> None:
    """Build what is not there yet, several cases at once, each in processes of its own.

    What is not done at the deadline is ended, and a later run begins it anew.
    """
    plans = [(shelf, *wanted(shelf.case, contenders, on_gpu=on_gpu)) for shelf in shelves]
    work = [(shelf, first) for shelf, first, _ in plans]
    if torch_python is not None and "compile" in contenders and on_gpu:
        work += [(shelf, [WARMED]) for shelf in shelves]
    work += [(shelf, again) for shelf, _, again in plans]
    missing = [(shelf, [n for n in names if not shelf.has(n)]) for shelf, names in work]

    def start(job: tuple[Shelf, list[str]]) -> None:
        shelf, names = job
        if deadline.left <= 0:
            say(f"{shelf.case.name}: {', '.join(names)}: not begun, no time is left")
        elif names == [WARMED]:
            _warm(shelf, deadline, torch_python, say)
        else:
            _build(shelf, names, deadline, say)

    with ThreadPoolExecutor(jobs) as pool:
        list(pool.map(start, [job for job in missing if job[1]]))


def _build(
    shelf: Shelf, names: Sequence[str], deadline: Deadline, say: Callable[[str], None]
) -> None:
    given = [shelf.folder, json.dumps(asdict(shelf.case)), *names]
    try:
        done = run("benchmarks.race.building", given, seconds=max(1.0, deadline.left))
    except subprocess.TimeoutExpired:
        left = [name for name in names if not shelf.has(name)]
        say(f"{shelf.case.name}: {', '.join(left)}: not done when the time was over")
        return
    if said := done.stdout.strip():
        say(said)
    if done.returncode:
        why = f"the process ended with {done.returncode}: {_raised(done.stderr)}"
        for name in (name for name in names if not shelf.facts(name)):
            shelf.keep(name, {"failed": why, "stderr": done.stderr[-2000:]})
        say(f"{shelf.case.name}: {why}")


def _raised(stderr: str) -> str:
    """Return the last line that names an exception, or the last: no traceback, which has paths.

    >>> _raised("Traceback:\\n  File ...\\nRuntimeError: no memory\\nSearch for it.\\n")
    'RuntimeError: no memory'
    """
    lines = [line for line in stderr.splitlines() if line.strip()]
    named = [line for line in lines if re.match(r"[\w.]*(Error|Exception)\b", line)]
    return (named or lines or [""])[-1]


def _warm(
    shelf: Shelf, deadline: Deadline, torch_python: Path | None, say: Callable[[str], None]
) -> None:
    """Let torch.compile fill its cache, in the mode that times nothing."""
    assert torch_python is not None
    if shelf.has("exported"):
        start = time.monotonic()
        try:
            found = _peer(shelf, torch_python, "reduce-overhead", [], max(1.0, deadline.left))
        except (RuntimeError, subprocess.TimeoutExpired) as error:
            say(f"{shelf.case.name}: {WARMED}: {type(error).__name__}: {str(error)[-500:]}")
            return
        shelf.keep(WARMED, {**found["records"], "seconds": round(time.monotonic() - start, 1)})
        say(f"{shelf.case.name}: {WARMED}: {found}")


def _peer(
    shelf: Shelf, python: Path, mode: str, options: Sequence[object], seconds: float
) -> Record:
    """Run ``benchmarks.race.peer`` in another interpreter, which sees nothing of this one's."""
    environment = {
        name: value
        for name, value in os.environ.items()
        if name not in ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV")
    }
    environment["PATH"] = f"{python.parent}{os.pathsep}{environment.get('PATH', '')}"
    environment["PYTHONPATH"] = str(ROOT)
    environment["TORCHINDUCTOR_CACHE_DIR"] = str(shelf.folder / WARMED)
    words = [python, "-m", "benchmarks.race.peer", shelf.path("exported"), "--mode", mode]
    done = subprocess.run(
        [str(word) for word in (*words, "--batch", shelf.case.batch, *options)],
        env=environment,
        cwd=ROOT,
        capture_output=True,
        encoding="utf-8",
        errors="replace",
        timeout=seconds,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"the interpreter ended with {done.returncode}: {_raised(done.stderr)}")
    found: Record = json.loads(done.stdout.splitlines()[-1])
    return found


@torch.no_grad()
def race(
    shelf: Shelf,
    machine: Machine,
    effort: Effort,
    contenders: set[str],
    torch_python: Path | None = None,
) -> Record:
    """Time a case's contenders in turn, then those of the other interpreter; return the row."""
    case, on_gpu, start = shelf.case, machine.library is not None, time.monotonic()
    base = {**asdict(case), "level": case.level, **machine.facts()}
    if TABLE[case.model].missing:
        return {**base, "missing": TABLE[case.model].missing}
    if not shelf.has("exact"):
        return {**base, "missing": shelf.facts("exact").get("failed", "not built")}
    reference = torch.load(shelf.path("exact"))
    entered, records = enter(openers(shelf, machine, contenders), machine.wait, on_gpu=on_gpu)
    outputs = {n: c.outputs() for n, c in entered.items() if c.outputs is not None}
    errors = {name: _error(found, reference) for name, found in outputs.items()}
    del outputs
    records |= compete(entered, case.batch, effort, machine.wait, on_gpu=on_gpu)
    for name, error in errors.items():
        records[name] |= error
    del entered
    machine.free()
    for mode in modes(case, contenders):
        records |= _other(shelf, mode, effort, reference, torch_python)
    records |= _failures(shelf, contenders, records, on_gpu=on_gpu)
    return {**base, "contenders": records, "row_s": round(time.monotonic() - start, 1)}


def _error(outputs: Any, reference: list[torch.Tensor]) -> Record:
    """Return the error, or why there is none: results of other shapes, or of nothing but zeros."""
    try:
        return {"error": finite_error(outputs, reference)}
    except (AssertionError, ValueError) as error:
        return {"failed": f"its results: {error}"}


def modes(case: Case, contenders: set[str]) -> list[str]:
    """Return the modes of ``torch.compile`` that a case is measured in."""
    tuned = case.batch in TABLE[case.model].autotuned and case.dtype == "half"
    wanted_modes = zip(COMPILED, ("reduce-overhead", "max-autotune"), strict=True)
    return [m for name, m in wanted_modes if name in contenders and (name == "compile" or tuned)]


def _other(
    shelf: Shelf,
    mode: str,
    effort: Effort,
    reference: list[torch.Tensor],
    torch_python: Path | None,
) -> dict[str, Record]:
    """Return the records of the other interpreter, its eager ones among them, under their names."""
    name = COMPILED[mode == "max-autotune"]
    if not shelf.has("exported"):
        return {name: {"failed": shelf.facts("exported").get("failed", "not built")}}
    numbers = f"{effort.rounds},{effort.calls},{effort.inferences}"
    python = torch_python or Path(sys.executable)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "outputs.pt"
        options = ["--effort", numbers, "--results", path]
        try:
            found = _peer(shelf, python, mode, options, LONGEST)
        except (RuntimeError, subprocess.TimeoutExpired) as error:
            return {name: {"failed": f"{type(error).__name__}: {error}"[:2000]}}
        outputs: Mapping[str, Any] = torch.load(path)
    records: dict[str, Record] = found["records"]
    for kind, given in outputs.items():
        records[kind] |= _error(given, reference)
    warmed = shelf.facts(WARMED).get(name, {})
    for record in records.values():
        record["by"] = found["facts"]
    if mode == "reduce-overhead" and warmed.get("build_s"):
        records[name]["build_s"] = {**warmed["build_s"], "cached": records[name]["build_s"]["cold"]}
    return {kind if kind == name else f"{kind}{BESIDE}": r for kind, r in records.items()}


def _failures(
    shelf: Shelf, contenders: set[str], records: Mapping[str, Record], *, on_gpu: bool
) -> dict[str, Record]:
    """Say why what was asked for is not there."""
    built = {"sync": "trtnn", "async": "trtnn", "graph": "trtnn", "bound": "trtnn", "raw": "trtnn"}
    built |= {"onnx": "onnx", "free": "free"} if on_gpu else {}
    return {
        name: {"failed": shelf.facts(build_name).get("failed", "not built")}
        for name, build_name in built.items()
        if name in contenders and name not in records and (on_gpu or name == "sync")
    }


def merged(old: Record | None, new: Record) -> Record:
    """Return a row with the contenders of two runs; one of another machine replaces the old.

    >>> old = {"device": "a", "contenders": {"sync": {"error": 1}, "raw": {}}}
    >>> new = {"device": "a", "contenders": {"sync": {"error": 2}, "raw": {"failed": "no memory"}}}
    >>> merged(old, new)["contenders"]
    {'sync': {'error': 2}, 'raw': {}}
    >>> merged(old, {**new, "device": "b"})["contenders"]
    {'sync': {'error': 2}, 'raw': {'failed': 'no memory'}}
    """
    if old is None or "contenders" not in new:
        return new if old is None or "contenders" not in old else old
    if "contenders" not in old or any(old.get(fact) != new.get(fact) for fact in FACTS):
        return new
    kept = {
        name: record
        for name, record in new["contenders"].items()
        if "failed" not in record or "failed" in old["contenders"].get(name, record)
    }
    return {**old, **new, "contenders": {**old["contenders"], **kept}}
