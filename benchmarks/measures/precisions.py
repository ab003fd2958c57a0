"""``python -m benchmarks.measures.precisions``: one network in each precision, times and errors.

Two steps, so that what is timed has the GPU to itself: ``build MODEL BATCH FOLDER`` leaves plans,
several of these may run at once; ``time FOLDER RESULTS`` runs them one after another.
"""

from __future__ import annotations

import copy
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import typer
from torch import nn

import trtnn
from benchmarks.instruments.bound import inference
from benchmarks.instruments.machine import Machine, find_machine
from benchmarks.instruments.timing import FULL, captured, gpu_times
from benchmarks.measures.comparison import best, eager_calls, finite_error
from benchmarks.measures.typed import Free
from benchmarks.subjects.cases import Case, merge
from benchmarks.subjects.networks import exact, inputs, moved, network
from tests.zoo import MODELS
from trtnn.compiler import optimize
from trtnn.engine.builder import build as build_engine
from trtnn.engine.engine import Engine
from trtnn.options import BuildOptions

LEVEL = {"efficientnet_b0": 1}  # at level 3 a build in half takes longer than a visit lasts
# What each kind is: the dtype of the module, and the precision asked for; None: TensorRT is free.
KINDS: dict[str, tuple[torch.dtype, str | None]] = {
    "fp16": (torch.float32, "fp16"),
    "free fp16": (torch.float32, None),
    "int8": (torch.float32, "fp16"),
    "tf32": (torch.float32, "tf32"),
    "half": (torch.float16, "tf32"),
    "free half": (torch.float16, None),
}
RATIOS = {"fp16": "free fp16", "half": "free half"}
CALIBRATED = 4  # batches, of other seeds than what is measured

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


class Allowed(Free):
    """A TensorRT 8.6 that may compute a float32 network in half."""

    def config(self, builder: Any, options: BuildOptions, **how: Any) -> Any:
        """Create the configuration with FP16 allowed, whatever the graph holds."""
        return super().config(builder, options, **{**how, "half": True})


def _case(model: str, batch: int, size: str) -> Case:
    return Case("precisions", model, size, "tf32", batch)


def _prepared(case: Case, dtype: torch.dtype, device: torch.device) -> tuple[nn.Module, Any]:
    net = copy.deepcopy(network(case.model, case.size)).to(device, dtype)
    return net, moved(inputs(case), device, dtype)


@app.command()
@torch.no_grad()
def build(
    model: str,
    batch: int,
    folder: Path,
    *,
    size: str = "full",
    kinds: str = ",".join(KINDS),
    budget: float = float("inf"),
) -> None:
    """Build a network in each precision; nothing starts after BUDGET seconds."""
    begin, machine = time.perf_counter(), find_machine()
    library, case = machine.gpu, _case(model, batch, size)
    folder.mkdir(parents=True, exist_ok=True)
    # Both sides of a ratio read one timing cache: they differ in types alone.
    timings = folder / f"{model}-{batch}.timings"
    level = LEVEL.get(model, 3)
    options = BuildOptions(builder_optimization_level=level, timing_cache=timings)
    for kind in kinds.split(","):
        dtype, precision = KINDS[kind]
        if time.perf_counter() - begin > budget:
            break
        net, given = _prepared(case, dtype, machine.device)
        facts: dict[str, Any] = {"level": level}
        start = time.perf_counter()
        try:
            if precision is None:
                graph = optimize(trtnn.trace(net, list(given), machine.device), library)
                engine = build_engine(graph, Allowed(library.trt), options)
                names = [value.name for value in graph.inputs]
            else:
                if kind == "int8":
                    net, facts["quantized_layers"] = _quantized(case, net, machine.device)
                    facts["calibration_s"] = round(time.perf_counter() - start, 1)
                engine, names = _compiled(net, given, precision, options, facts)
        except Exception as error:
            facts["failed"] = f"{type(error).__name__}: {error}"
        else:
            (folder / f"{model}-{batch}-{kind}.plan").write_bytes(engine.plan)
            facts.update(inputs=names, plan_bytes=len(engine.plan))
        facts["seconds"] = round(time.perf_counter() - start, 1)
        (folder / f"{model}-{batch}-{kind}.json").write_text(json.dumps(facts))
        print(model, batch, kind, facts, flush=True)


def _compiled(
    net: Callable[..., Any], given: Any, precision: str, options: BuildOptions, facts: Any
) -> tuple[Engine, list[str]]:
    model = trtnn.compile(
        net, inputs=list(given), precision=precision, options=options, cache=False, verify=True
    )
    facts.update(verified=model.verified.described(), verified_said=str(model.verified))
    return model.engine, list(model.input_specs)


def _quantized(case: Case, net: nn.Module, device: torch.device) -> tuple[Any, int]:
    make = MODELS[case.size][case.model].inputs
    data = [moved(make(8, 100 + seed), device, torch.float32) for seed in range(CALIBRATED)]
    quantized = trtnn.quantize(net, data, progress=False)
    return quantized, len(quantized.report.quantized)


@app.command(name="time")
@torch.no_grad()
def time_(folder: Path, results: Path, size: str = "full") -> None:
    """Time every plan of a folder beside eager half, one case a row."""
    machine = find_machine()
    for name in sorted({"-".join(p.stem.split("-")[:2]) for p in folder.glob("*.plan")}):
        model, _, batch = name.partition("-")
        case = _case(model, int(batch), size)
        row = {**machine.facts(), **_timed(case, folder / name, machine)}
        merge(results, case.key, row)
        print(case.key, {k: v for k, v in row.items() if k != "kinds"}, flush=True)
        machine.free()


def _timed(case: Case, stem: Path, machine: Machine) -> dict[str, Any]:
    reference = exact(case, machine.device)
    half, given = _prepared(case, torch.float16, machine.device)
    eager = eager_calls(half, given)  # kept: what is captured needs its memory
    calls: dict[tuple[str, str], Any] = {
        ("eager half", layout): captured(call) for layout, call in eager.items()
    }
    kinds: dict[str, Any] = {"eager half": {"error": finite_error(half(*given), reference)}}
    alive = []
    for kind, (dtype, _) in KINDS.items():
        facts, plan = (stem.with_name(f"{stem.name}-{kind}.{end}") for end in ("json", "plan"))
        if facts.exists():
            kinds[kind] = json.loads(facts.read_text())
        if plan.exists():
            inputs = _prepared(case, dtype, machine.device)[1]
            engine = Engine(plan.read_bytes(), machine.gpu)
            named = dict(zip(kinds[kind]["inputs"], inputs, strict=True))
            bound, calls[kind, "contiguous"], method = inference(engine, named)
            alive.append(bound)
            kinds[kind].update(error=finite_error(bound.outputs, reference), method=method)
    times = best(gpu_times(calls, FULL))
    for kind, found in times.items():
        speedup = times["eager half"]["median"] / found["median"]
        kinds[kind].update(gpu_us=found, speedup=round(speedup, 3))
    ratios = {
        f"{kind} / {free}": round(times[kind]["median"] / times[free]["median"], 4)
        for kind, free in RATIOS.items()
        if kind in times and free in times
    }
    return {"kinds": kinds, **ratios}


if __name__ == "__main__":
    app()
