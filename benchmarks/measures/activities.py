"""What the GPU does in one call, by a profiler's trace: copies, memsets and kernels."""

from __future__ import annotations

import json
import os
import re
import tempfile
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile

from benchmarks.instruments.bound import Bound
from benchmarks.instruments.builds import Builds
from benchmarks.instruments.timing import Call, Effort
from benchmarks.subjects.cases import Case

BETWEEN_HOST_AND_DEVICE = ("HtoD", "DtoH")
ON_DEVICE = ("DtoD", "memset")
# Names of kernels that compute a whole attention, or its softmax inside a matrix product:
# TensorRT's hold fmha or _mha, and 8.6.0's are mha0, mha1, …; PyTorch's hold fmha or flash. The
# underscores keep out what Myelin generates and names by words of three letters, such as SumHar.
FUSED_ATTENTION = re.compile(r"^mha\d+|fmha|mha_|_mha|flash_|fused_attention|gemm_softmax")
SHOWN = 100  # characters of a kernel's name

Event = Mapping[str, Any]


@torch.no_grad()
def compare_copies(case: Case, builds: Builds, _: Effort) -> dict[str, Any]:
    """Count the copies, memsets and kernels of one call and of one raw execution."""
    library = builds.machine.gpu
    built = builds.compiled(case)
    bound = Bound(built.model.engine, built.named)
    counts = {
        "call": count_activities(traced(lambda: built.model(*built.inputs))),
        "raw": count_activities(traced(bound.execute)),
    }
    return {
        **built.facts,
        "counts": counts,
        "met": is_free_of_copies(counts["call"], counts["raw"]),
        "waits_for_default_stream": library.waits_for_default_stream,
    }


def traced(call: Call) -> list[Event]:
    """Return the events of a profiler's trace of one call, which has run before."""
    # Detaching the profiler after a trace races with the next one, and breaks CUDA graphs.
    os.environ.setdefault("TEARDOWN_CUPTI", "0")
    call()
    _trace(call)  # the first trace of a process starts the profiler, which is no part of it
    return _trace(call)


def _trace(call: Call) -> list[Event]:
    torch.cuda.synchronize()
    # Without acc_events the second profiler of a process warns of cycles, and there is but one.
    kinds = [ProfilerActivity.CPU, ProfilerActivity.CUDA]
    with profile(activities=kinds, acc_events=True) as trace:
        call()
        torch.cuda.synchronize()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "trace.json"
        trace.export_chrome_trace(str(path))
        events: list[Event] = json.loads(path.read_text())["traceEvents"]
    return events


def count_activities(events: Iterable[Event]) -> dict[str, int]:
    """Count what the GPU did, by kind.

    >>> copy = {"cat": "gpu_memcpy", "name": "Memcpy HtoD (Pageable -> Device)"}
    >>> count_activities([copy, {"cat": "kernel", "name": "relu"}, {"cat": "cpu_op", "name": "x"}])
    {'HtoD': 1, 'kernel': 1}
    """
    found: Counter[str] = Counter()
    for event in events:
        category = event.get("cat")
        if category == "gpu_memcpy":
            found[event["name"].split()[1]] += 1
        elif category == "gpu_memset":
            found["memset"] += 1
        elif category == "kernel":
            found["kernel"] += 1
    return dict(found)


def is_free_of_copies(call: Mapping[str, int], raw: Mapping[str, int]) -> bool:
    """Say whether a call copies nothing to or from the host, and on the device what raw does.

    A trace without kernels has seen nothing.
    """
    seen = call.get("kernel", 0) > 0 and raw.get("kernel", 0) > 0
    free = all(call.get(kind, 0) == 0 for kind in BETWEEN_HOST_AND_DEVICE)
    return seen and free and all(call.get(kind, 0) == raw.get(kind, 0) for kind in ON_DEVICE)


def describe_kernels(events: Iterable[Event]) -> dict[str, Any]:
    """Return the kernels that ran: their number, their names, and the fused attention if any.

    ``fused_attention`` is None where the trace saw no kernel at all.

    >>> names = ("gemm", "fmha_v2_fp16_64", "gemm")
    >>> found = describe_kernels([{"cat": "kernel", "name": name} for name in names])
    >>> found["number"], found["names"], found["fused_attention"], found["fused_names"]
    (3, ['gemm', 'fmha_v2_fp16_64'], True, ['fmha_v2_fp16_64'])
    """
    ran = [event["name"] for event in events if event.get("cat") == "kernel"]
    names = list(dict.fromkeys(ran))
    fused = [name for name in names if FUSED_ATTENTION.search(name)]
    return {
        "number": len(ran),
        "names": [name[:SHOWN] for name in names],
        "fused_attention": bool(fused) if ran else None,
        "fused_names": fused,
    }
