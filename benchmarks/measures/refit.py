"""What a refittable engine costs on the GPU and in its build, and how long a refit takes."""

from __future__ import annotations

import gc
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch

import trtnn
from benchmarks.instruments.bound import inference
from benchmarks.instruments.builds import Builds
from benchmarks.instruments.timing import Effort, gpu_times
from benchmarks.measures.comparison import judge
from benchmarks.measures.dynamic import ratios
from benchmarks.subjects.cases import Case
from benchmarks.subjects.networks import FLOATS, inputs, moved, prepared
from tests.compare import leaves
from tests.zoo import MODELS, build_lively
from trtnn.options import BuildOptions

KINDS: Mapping[str, str | None] = {"plain": None, "refit": "refit"}
REFITS = 5


@torch.no_grad()
def measure_refit(case: Case, builds: Builds, effort: Effort) -> dict[str, Any]:
    """Build one network plainly and refittable, compare their GPU times, and refit the latter.

    Neither build starts from a timing cache. The new weights are those of another seed; the error
    is what the refitted engine's outputs have, beside eager's with the same weights.
    """
    net, given = prepared(case, builds.machine.device)
    models, rows = {}, {}
    for kind, refit in KINDS.items():

        def make(options: BuildOptions, refit: str | None = refit) -> Any:
            place: dict[str, Any] = {"backend": "tensorrt", "device": builds.machine.device}
            place.update(inputs=list(given), options=replace(options, refit=refit), cache=False)
            return trtnn.compile(net, **place)

        models[kind], rows[kind] = builds.build(
            case.level, make, lambda model: model.engine, fresh=True
        )
    times = _times(models, given, effort)
    model = models["refit"]
    other = build_lively(MODELS[case.size][case.model], 1)
    reference = _exact(other, case, builds.machine.device)
    state = other.to(builds.machine.device, FLOATS[case.dtype]).state_dict()
    seconds = []
    for _ in range(REFITS):
        start = time.perf_counter()
        model.refit(state)
        seconds.append(round(time.perf_counter() - start, 4))
    verdict = judge(case.dtype, reference, {"eager": other(*given), "trtnn": model(*given)})
    ratio = ratios({"static": times["plain"], "refit": times["refit"]})["refit"]
    return {"builds": rows, "gpu_us": times, "ratio": ratio, "refit_s": seconds, **verdict}


def _times(models: Mapping[str, Any], given: Any, effort: Effort) -> dict[str, dict[str, Any]]:
    """Time the engines on the GPU, in alternating rounds; no context of them is left behind."""
    named = {
        kind: dict(zip(model.input_specs, given, strict=True)) for kind, model in models.items()
    }
    started = {kind: inference(model.engine, named[kind]) for kind, model in models.items()}
    times = gpu_times({kind: call for kind, (_, call, _) in started.items()}, effort)
    for kind, (_, _, method) in started.items():
        times[kind]["method"] = method
    del started
    gc.collect()
    return times


def _exact(net: torch.nn.Module, case: Case, device: torch.device) -> list[torch.Tensor]:
    """Return what eager float64 computes, on the CPU; the network stays on the device."""
    outputs = net.to(device, torch.float64)(*moved(inputs(case), device, torch.float64))
    return [tensor.cpu() for tensor in leaves(outputs)]
