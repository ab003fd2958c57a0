"""compute-sanitizer's memcheck on a program that loads a model and runs it in each way."""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import torch
import typer

import trtnn
from benchmarks.instruments.bound import Bound
from benchmarks.instruments.builds import Builds
from benchmarks.instruments.processes import run
from benchmarks.instruments.timing import Effort
from benchmarks.measures.one_layer import ENGINES, EXECUTIONS, opened, require_right
from benchmarks.subjects.cases import Case

TOOL = "compute-sanitizer"
PLANTED = "planted"
KINDS = (*EXECUTIONS, PLANTED)  # a run each: the last with an output buffer that is too short
PADDING = 4096  # bytes between allocations
LONGEST = 150.0  # seconds of one run
ERRORS = re.compile(r"ERROR SUMMARY: (\d+) error")


def measure_sanitizer(_: Case, builds: Builds, __: Effort) -> dict[str, Any]:
    """Count the invalid accesses of each way to run, and of one with a planted fault.

    ``met`` is None where the tool is absent, or cannot run on this machine.
    """
    tool = shutil.which(TOOL)
    if tool is None:
        return {"runs": {}, "not_run": f"no {TOOL} on PATH", "met": None}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.trtnn"
        opened(builds).model.save(path)
        runs = {kind: checked(tool, path, kind) for kind in KINDS}
    return judge_runs(runs)


def judge_runs(runs: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Say whether only the planted fault was found; no verdict if a run has not ended.

    >>> clean, found = {"errors": 0, "ended": True}, {"errors": 3, "ended": False}
    >>> judge_runs({"sync": clean, "planted": found})["met"]
    True
    >>> judge_runs({"sync": found, "planted": found})["met"]
    False
    >>> judge_runs({"sync": clean, "planted": clean})["met"]
    False
    >>> judge_runs({"sync": {"errors": None, "ended": False, "why": "no"}})["not_run"]
    'sync: no'
    """
    silent = [f"{kind}: {run['why']}" for kind, run in runs.items() if run["errors"] is None]
    if silent:
        return {"runs": runs, "not_run": "; ".join(silent), "met": None}
    # A program that has found nothing because it failed early is not clean.
    met = all(
        run["errors"] > 0 if kind == PLANTED else run["errors"] == 0 and run["ended"]
        for kind, run in runs.items()
    )
    return {"runs": runs, "met": met}


def checked(tool: str, path: Path, kind: str) -> dict[str, Any]:
    """Run one kind under memcheck; return the number of errors, None if it gave none."""
    # Each tensor has an allocation of its own, whose end the tool knows.
    apart = {"PYTORCH_NO_CUDA_MEMORY_CACHING": "1"}
    # Libraries ask CUDA for what a device may lack, which is no invalid access.
    memcheck = [tool, "--tool", "memcheck", "--report-api-errors", "no"]
    # Without a gap, what lies beyond a tensor's end may be another tensor.
    memcheck += ["--padding", str(PADDING)]
    how: dict[str, Any] = {"seconds": LONGEST, "environment": apart, "under": memcheck}
    try:
        done = run("benchmarks.measures.sanitize", (path, kind), **how)
    except subprocess.TimeoutExpired:
        return {"errors": None, "ended": False, "why": f"not done after {LONGEST:g} s"}
    output = done.stdout + done.stderr
    found, ended = ERRORS.findall(output), f"ran {kind}" in output
    if not found:
        lines = output.strip().splitlines() or [f"ended with {done.returncode}"]
        return {"errors": None, "ended": ended, "why": " / ".join(lines[-3:])[:400]}
    return {"errors": sum(map(int, found)), "ended": ended}


def run_once(path: Path, kind: str, device: torch.device) -> None:
    """Load a model and run it once in one way; ``planted`` gives it half of its output's memory."""
    model: Any = trtnn.load(path)
    (spec,) = model.input_specs.values()
    x = torch.arange(spec.shape[0] * spec.shape[1], dtype=torch.float32, device=device)
    x = x.reshape(spec.shape) + 1
    if kind != PLANTED:
        result = model.with_execution(kind)(x)
        require_right(result, [ENGINES[0].function(x)], kind)
        return
    bound = Bound(model.engine, dict(zip(model.input_specs, [x], strict=True)))
    short = torch.empty(x.numel() // 2, device=device)
    place = list(bound.memory).index("output_0")
    bound.addresses[place] = short.data_ptr()
    bound.execute()


def main(path: Path, kind: str) -> None:
    """Run one kind, and say when it is done."""
    run_once(path, kind, torch.device("cuda", 0))
    torch.cuda.synchronize()
    print(f"ran {kind}")


if __name__ == "__main__":
    typer.run(main)
