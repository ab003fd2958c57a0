"""Accuracy and speed of whole models: eager against trtnn, float32 and half, in one run."""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import typer

import tests.conftest  # noqa: F401 - declares torchvision's operators on CPU builds
import trtnn
from tests.compare import error, leaves
from tests.zoo import MODELS, build_lively
from trtnn.options import BuildOptions


def record(path: Path, key: str, row: dict[str, Any]) -> None:
    """Merge one row into a results file."""
    rows = json.loads(path.read_text()) if path.exists() else {}
    rows[key] = row
    path.write_text(json.dumps(rows, indent=1, sort_keys=True) + "\n")


def host_times(calls: dict[str, Callable[[], Any]], rounds: int, repeat: int) -> dict[str, Any]:
    """Return median and spread of microseconds per call, in alternating rounds."""
    times: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(rounds):
        for name, call in calls.items():
            call()
            synchronize()
            start = time.perf_counter()
            for _ in range(repeat):
                call()
            synchronize()
            times[name].append((time.perf_counter() - start) / repeat * 1e6)
    return {
        name: {"median_us": statistics.median(t), "spread_us": max(t) - min(t)}
        for name, t in times.items()
    }


def synchronize() -> None:
    """Wait for the GPU, where there is one."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def versions() -> dict[str, str]:
    """Name what was measured on."""
    gpu = torch.cuda.is_available()
    found = {
        "torch": torch.__version__,
        "device": torch.cuda.get_device_name() if gpu else "cpu",
    }
    if gpu:
        found["tensorrt"] = __import__("tensorrt").__version__
    return found


def measure(name: str, size: str, batch: int, level: int, *, half: bool) -> dict[str, Any]:
    """Compile one model and compare it with eager."""
    gpu = torch.cuda.is_available()
    device = "cuda" if gpu else "cpu"
    model = MODELS[size][name]
    net = build_lively(model, 0)
    inputs = model.inputs(batch, 3)
    wide = [t.double() if t.is_floating_point() else t for t in inputs]
    with torch.no_grad():
        exact = list(leaves(net.double()(*wide)))
    dtype = torch.float16 if half else torch.float32
    net = net.to(device, dtype)
    given = tuple(t.to(device, dtype if t.is_floating_point() else t.dtype) for t in inputs)
    start = time.perf_counter()
    compiled = trtnn.compile(
        net,
        inputs=list(given),
        backend="tensorrt" if gpu else "reference",
        options=BuildOptions(builder_optimization_level=level),
    )
    seconds = time.perf_counter() - start
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
    with torch.no_grad():
        eager = list(leaves(net(*given)))
        ours = list(leaves(compiled(*given)))
        calls = {"eager": lambda: net(*given), "trtnn": lambda: compiled(*given)}
        times = host_times(calls, 5, 20 if gpu else 1)

    def worst(outputs: Any) -> float:
        pairs = zip(outputs, exact, strict=True)
        return max(error(a.double().cpu(), b) for a, b in pairs)

    return {
        **versions(),
        "level": level,
        "compile_s": seconds,
        "host": times,
        "ratio": times["eager"]["median_us"] / times["trtnn"]["median_us"],
        "error_eager": worst(eager),
        "error_trtnn": worst(ours),
    }


def main(
    out: Path,
    size: str = "full",
    batch: int = 1,
    level: int = 1,
    names: str = "",
    budget: float = 1e9,
) -> None:
    """Measure models; stop starting new ones once ``budget`` seconds are spent."""
    begin = time.perf_counter()
    for name in names.split(",") if names else MODELS[size]:
        for half in (False, True):
            if time.perf_counter() - begin > budget:
                return
            key = f"{name} {size} {'float16' if half else 'tf32'} batch {batch}"
            try:
                row = measure(name, size, batch, level, half=half)
            except trtnn.TrtnnError as failure:
                row = {**versions(), "failed": str(failure)}
            record(out, key, row)
            print(key, {k: row.get(k) for k in ("error_eager", "error_trtnn", "ratio", "failed")})


if __name__ == "__main__":
    typer.run(main)
