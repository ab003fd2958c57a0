"""The kernels that each layer of an engine launches, by PyTorch's profiler, on a GPU."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile

RECORDS = ("cudaEventRecord", "cudaEventRecordWithFlags")
UNTOLD = "the kernels of each layer cannot be told apart in the trace of this call"
Told = Sequence[tuple[str, float]]
Event = Mapping[str, Any]


@dataclass(frozen=True)
class Kernel:
    """A kernel, copy or memset on the GPU, and how long it took."""

    name: str
    microseconds: float


def traced(call: Callable[[], Told]) -> tuple[Told, list[Event]]:
    """Return what a call told, and the events of a trace of it; it has run before."""
    # Detaching the profiler after a trace races with the next one, and breaks CUDA graphs.
    os.environ.setdefault("TEARDOWN_CUPTI", "0")
    _trace(call)  # the first trace of a process starts the profiler, which is no part of it
    return _trace(call)


def _trace(call: Callable[[], Told]) -> tuple[Told, list[Event]]:
    torch.cuda.synchronize()
    # Without acc_events the second profiler of a process warns of cycles, and there is but one.
    kinds = [ProfilerActivity.CPU, ProfilerActivity.CUDA]
    with profile(activities=kinds, acc_events=True) as trace:
        told = call()
        torch.cuda.synchronize()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "trace.json"
        trace.export_chrome_trace(str(path))
        events: list[Event] = json.loads(path.read_text())["traceEvents"]
    return told, events


def kernels_of(told: Told, events: Sequence[Event]) -> dict[str, list[Kernel]] | None:
    """Return the kernels of each layer, by name; None where the trace does not tell.

    While layers are timed, TensorRT records an event before and after each: what is launched
    between two records is of one layer. Where their number is another one, nothing is divided.

    Args:
        told: The layers of the call, in order.
        events: As ``torch.profiler`` exports them.
    """
    launches = {
        event["args"]["correlation"]: event
        for event in events
        if event.get("cat") in ("cuda_runtime", "cuda_driver")
        if "correlation" in event.get("args", {})
    }
    marks = sorted(e["ts"] for e in launches.values() if e["name"].split("_v")[0] in RECORDS)
    spans = _spans(marks, len(told))
    if spans is None:
        return None
    found: dict[str, list[Kernel]] = {}
    for event in sorted(filter(_is_work, events), key=lambda e: e["ts"]):
        launch = launches.get(event["args"].get("correlation"))
        place = None if launch is None else _span_of(launch["ts"], spans)
        if place is None:
            return None
        name = told[place][0]
        found.setdefault(name, []).append(Kernel(event["name"], float(event["dur"])))
    return found


def _is_work(event: Event) -> bool:
    return event.get("cat") in ("kernel", "gpu_memcpy", "gpu_memset")


def _spans(marks: Sequence[float], layers: int) -> list[tuple[float, float]] | None:
    """Return begin and end of each layer's launches, by one mark between two, or two of each."""
    if len(marks) == layers + 1:
        return list(pairwise(marks))
    if len(marks) == 2 * layers:
        return list(zip(marks[::2], marks[1::2], strict=True))
    return None


def _span_of(time: float, spans: Sequence[tuple[float, float]]) -> int | None:
    return next((i for i, (begin, end) in enumerate(spans) if begin <= time < end), None)
