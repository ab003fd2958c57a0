"""The engine cache: how long a second process takes to compile what a first one has built."""

from __future__ import annotations

import contextlib
import importlib
import json
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import torch
import typer

import trtnn
from benchmarks.instruments.builds import Builds
from benchmarks.instruments.processes import measure
from benchmarks.instruments.timing import Effort
from benchmarks.measures.one_layer import require_right
from benchmarks.subjects.cases import Case
from benchmarks.subjects.networks import FLOATS
from tests.zoo import MODELS
from trtnn.options import BuildOptions

BAR = 0.1  # of the cold build
LONGEST = 400.0  # seconds of one process
# What a row tells the time of: functions, where they are called from. A hit builds nothing.
PARTS = {
    "trace": ("trtnn.compiler", "_trace"),
    "passes": ("trtnn.compiler", "optimize"),
    "key": ("trtnn.cache.engines", "engine_key"),
    "build": ("trtnn.trt.library.TensorRT", "build"),
    "read": ("trtnn.cache.folder.Cache", "read"),
    "deserialize": ("trtnn.trt.library.TensorRT", "deserialize"),
}


def measure_cached(case: Case, builds: Builds, _: Effort) -> dict[str, Any]:
    """Compile one network in two processes that share a cache folder, empty at first.

    The clock of each runs from the entry of ``compile``, with CUDA initialised. No timing cache:
    the first build is cold.
    """
    builds.machine.free()  # two processes will want the GPU
    with tempfile.TemporaryDirectory() as folder:
        cold, hit = (start(case, builds, Path(folder)) for _ in range(2))
    return {"level": case.level, "cold": cold, "hit": hit, **judge_cached(cold, hit)}


def judge_cached(cold: dict[str, Any], hit: dict[str, Any]) -> dict[str, Any]:
    """Say whether a hit, which has to be one, takes at most a tenth of the cold build.

    >>> cold, hit = ({"compile_s": s, "parts_s": {"build": b}} for s, b in ((40.0, 39.0), (1.0, 0)))
    >>> judge_cached(cold, hit)
    {'ratio': 0.025, 'bar': 0.1, 'met': True}
    >>> judge_cached(cold, {**hit, "parts_s": {"build": 0.5}})["met"], judge_cached(hit, hit)["met"]
    (False, False)
    """
    ratio = hit["compile_s"] / cold["compile_s"]
    met = ratio <= BAR and cold["parts_s"]["build"] > 0 == hit["parts_s"]["build"]
    return {"ratio": round(ratio, 4), "bar": BAR, "met": met}


def start(case: Case, builds: Builds, folder: Path) -> dict[str, Any]:
    """Run this file in a process of its own; return what it measured."""
    given = (folder, case.model, case.size, case.dtype, case.level, builds.machine.device)
    return measure("benchmarks.measures.cached", given, seconds=LONGEST)


@torch.no_grad()
def compile_once(
    folder: Path, model: str, size: str, dtype: str, level: int, device: torch.device
) -> dict[str, Any]:
    """Compile a network with a cache folder, and say how long it and its parts took."""
    torch.manual_seed(0)
    subject = MODELS[size][model]
    net = subject.build().eval().to(device, FLOATS[dtype])
    inputs = [x.to(device, FLOATS[dtype]) for x in subject.inputs(1, 3)]
    expected = [net(*inputs)]  # CUDA and PyTorch's own libraries are loaded
    options = BuildOptions(builder_optimization_level=level, timing_cache=False)
    with timed_parts() as parts:
        begin = time.perf_counter()
        compiled: Any = trtnn.compile(
            net, inputs=inputs, backend="tensorrt", device=device, options=options, cache=folder
        )
        seconds = time.perf_counter() - begin
        # How close TF32 comes is what "errors" judges; here the engine must be the model's.
        require_right(compiled(*inputs), expected, model, close=0.05)
    return {
        "compile_s": round(seconds, 6),
        "parts_s": {name: round(part, 6) for name, part in parts.items()},
        "plan_bytes": len(compiled.engine.plan),
    }


@contextlib.contextmanager
def timed_parts() -> Iterator[dict[str, float]]:
    """Take the time of ``PARTS`` while they are called, in seconds."""
    taken: dict[str, float] = dict.fromkeys(PARTS, 0.0)
    with contextlib.ExitStack() as undo:
        for part, (path, name) in PARTS.items():
            owner = _owner(path)
            undo.callback(setattr, owner, name, getattr(owner, name))
            setattr(owner, name, _timed(getattr(owner, name), taken, part))
        yield taken


def _owner(path: str) -> Any:
    """Return a module, or a class in one."""
    module, _, name = path.rpartition(".")
    if name[0].isupper():
        return getattr(importlib.import_module(module), name)
    return importlib.import_module(path)


def _timed(function: Any, taken: dict[str, float], part: str) -> Any:
    def timed(*args: Any, **kwargs: Any) -> Any:
        begin = time.perf_counter()
        try:
            return function(*args, **kwargs)
        finally:
            taken[part] += time.perf_counter() - begin

    return timed


def main(
    folder: Path,
    model: str,
    size: str,
    dtype: str,
    level: int,
    device: Annotated[str, typer.Argument()] = "cuda:0",
) -> None:
    """Compile one network with a cache folder; print the times as JSON."""
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
    print(json.dumps(compile_once(folder, model, size, dtype, level, torch.device(device))))


if __name__ == "__main__":
    typer.run(main)
