"""Host memory of a compile: how far it rises, beside a build of the same network in raw TensorRT.

Each is a process of its own, for memory that a build frees may stay with the process.
"""

from __future__ import annotations

import gc
import json
import re
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import typer

import trtnn
from benchmarks.instruments.builds import Builds
from benchmarks.instruments.processes import measure
from benchmarks.instruments.timing import Effort
from benchmarks.subjects.cases import Case
from benchmarks.subjects.networks import FLOATS, moved
from tests.zoo import MODELS
from trtnn.compiler import optimize
from trtnn.lower.network import lower
from trtnn.options import BuildOptions
from trtnn.trt.library import TensorRT

ALLOWED = 2  # times the weights, beside what TensorRT itself takes
LONGEST = 400.0  # seconds of one process
# Raw TensorRT, and trtnn with the weights of the module on the host and on the GPU.
KINDS = ("raw", "host", "device")
PROCESS = Path("/proc/self")


def measure_memory(case: Case, builds: Builds, _: Effort) -> dict[str, Any]:
    """Compile one network in three processes; say how far the memory of each rose."""
    builds.machine.free()  # other processes will want the GPU
    memory = {kind: start(kind, case, builds) for kind in KINDS}
    return {"level": case.level, "memory_bytes": memory, **judge_memory(memory)}


def judge_memory(memory: Mapping[str, Mapping[str, int]]) -> dict[str, Any]:
    """Say whether trtnn takes at most twice the weights beside what TensorRT itself takes.

    >>> raw, ours = {"rise": 900, "weights": 100}, {"rise": 1050, "weights": 100}
    >>> judge_memory({"raw": raw, "host": ours, "device": {**ours, "rise": 1101}})
    {'beyond': {'host': 1.5, 'device': 2.01}, 'bar': 2, 'met': False}
    """
    beyond = {
        kind: (found["rise"] - memory["raw"]["rise"]) / found["weights"]
        for kind, found in memory.items()
        if kind != "raw"
    }
    met = max(beyond.values()) <= ALLOWED
    return {"beyond": {k: round(b, 3) for k, b in beyond.items()}, "bar": ALLOWED, "met": met}


def start(kind: str, case: Case, builds: Builds) -> dict[str, int]:
    """Run this file in a process of its own; return what it measured."""
    given = (kind, case.model, case.size, case.dtype, case.level, builds.machine.device)
    with tempfile.TemporaryDirectory() as folder:  # an empty cache, which takes the plan
        empty = {"TRTNN_CACHE_DIR": folder}
        return measure("benchmarks.measures.memory", given, seconds=LONGEST, environment=empty)


def compile_once(
    kind: str, model: str, size: str, dtype: str, level: int, device: torch.device
) -> dict[str, int]:
    """Compile a network, and say how far resident memory rose, at most and in the end.

    A small one is compiled first: libraries and kernels that stay loaded are of no one model.
    """
    subjects = MODELS["small"][model], MODELS[size][model]
    library = TensorRT()
    options = BuildOptions(builder_optimization_level=level, timing_cache=False)
    for subject in subjects:
        place = device if kind == "device" else torch.device("cpu")
        net = subject.build().eval().to(place, FLOATS[dtype])
        inputs = moved(subject.inputs(1, 3), torch.device("cpu"), FLOATS[dtype])
        graph = optimize(trtnn.trace(net, inputs, device), library) if kind == "raw" else None
        gc.collect()
        before = reset_peak()
        if graph is not None:
            made: Any = build_raw(library, graph, options)
        else:
            how: dict[str, Any] = {"backend": "tensorrt", "device": device}
            made = trtnn.compile(net, inputs=inputs, options=options, progress=False, **how)
        peak, resident = resident_memory()
        del made
    weights = sum(tensor.nbytes for tensor in net.state_dict().values())
    rise, kept = peak - before, resident - before
    return {"before": before, "rise": rise, "kept": kept, "weights": weights}


def build_raw(library: TensorRT, graph: Any, options: BuildOptions) -> tuple[Any, ...]:
    """Build, deserialize and make a context as a program without trtnn would, and keep no more."""
    builder = library.builder()
    network = library.network(builder)
    net = lower(graph, library, network)
    config = library.config(builder, options, tf32=True, half=net.half)
    plan = builder.build_serialized_network(network, config)
    del net, config, network, builder
    runtime = library.trt.Runtime(library.log.handle)
    engine = runtime.deserialize_cuda_engine(plan)
    return runtime, engine, engine.create_execution_context()


def reset_peak() -> int:
    """Let the peak of resident memory start from what is resident now; return that, in bytes."""
    (PROCESS / "clear_refs").write_text("5")
    peak, _ = resident_memory()
    return peak


def resident_memory() -> tuple[int, int]:
    """Return the peak of resident memory and what is resident, in bytes, of one moment.

    Linux gives both in one reading, in which the peak is never below what is resident. Of two
    readings the second may show more than the first one's peak.
    """
    status = (PROCESS / "status").read_text()
    found = dict(re.findall(r"^(VmHWM|VmRSS):\s+(\d+) kB$", status, re.MULTILINE))
    if len(found) < 2:
        raise RuntimeError("this system does not tell VmHWM and VmRSS")
    return int(found["VmHWM"]) * 1024, int(found["VmRSS"]) * 1024


def main(kind: str, model: str, size: str, dtype: str, level: int, device: str) -> None:
    """Compile one network; print how far memory rose as JSON."""
    print(json.dumps(compile_once(kind, model, size, dtype, level, torch.device(device))))


if __name__ == "__main__":
    typer.run(main)
