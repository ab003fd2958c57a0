"""``python -m benchmarks.race.building``: one case's builds, in a process of their own."""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

import trtnn
from benchmarks.instruments import onnx_path
from benchmarks.instruments.machine import Machine, find_machine
from benchmarks.race.plans import AGAIN, Shelf
from benchmarks.subjects.cases import Case
from benchmarks.subjects.networks import KINDS, exact, inputs, moved, prepared
from trtnn.compiler import optimize
from trtnn.engine.builder import build as build_engine
from trtnn.options import BuildOptions
from trtnn.trt.library import TensorRT

CALIBRATED = 4  # batches of 8, of other seeds than what is measured

Facts = dict[str, Any]


class Free(TensorRT):
    """TensorRT 8.6 that may choose each layer's precision: FP16 allowed, nothing constrained."""

    def constrain(self, layer: Any, dtype: str, *, output: bool) -> None:
        """Leave the layer as it is."""

    def config(self, builder: Any, options: BuildOptions, **how: Any) -> Any:
        """Create the configuration without the obligation to keep types."""
        config = super().config(builder, options, **{**how, "half": True})
        config.clear_flag(self.trt.BuilderFlag.OBEY_PRECISION_CONSTRAINTS)
        return config


@torch.no_grad()
def build_all(shelf: Shelf, names: Sequence[str], machine: Machine) -> None:
    """Build what is named, in order, and write down each; a failure is a fact."""
    for name in names:
        shelf.place.mkdir(parents=True, exist_ok=True)
        start = time.perf_counter()
        try:
            facts = BUILDERS[name.removesuffix(AGAIN)](shelf, name, machine)
        except Exception as error:
            facts = {"failed": f"{type(error).__name__}: {error}"[:2000]}
        facts["seconds"] = round(time.perf_counter() - start, 1)
        shelf.keep(name, facts)
        print(f"{shelf.case.name}: {name}: {json.dumps(facts)}", flush=True)
        machine.free()


def _exact(shelf: Shelf, name: str, machine: Machine) -> Facts:
    torch.save(exact(shelf.case, machine.device), shelf.path(name))
    return {}


def _exported(shelf: Shelf, name: str, machine: Machine) -> Facts:
    """Write what the other interpreter measures, as eager computes it: in half but for tf32."""
    net, given = prepared(shelf.case, machine.device, eager_dtype(shelf.case))
    with onnx_path.exportable():
        program = torch.export.export(onnx_path.Flat(net), given, strict=False)
    torch.export.save(program, shelf.path(name))
    return {}


def eager_dtype(case: Case) -> torch.dtype:
    """Return what eager computes a case in."""
    return torch.float32 if case.dtype == "tf32" else torch.float16


def _trtnn(shelf: Shelf, name: str, machine: Machine) -> Facts:
    """Compile twice with an engine cache, empty at first; on the reference nothing is left."""
    case, facts = shelf.case, {}
    net, given = prepared(case, machine.device)
    if case.dtype == "int8":
        net, facts = _quantized(case, net, machine.device)
    how: Facts = {"precision": KINDS[case.dtype][1], "inputs": list(given)}
    how["device"] = machine.device
    if machine.library is None:
        return {**facts, "build_s": {"cold": _timed(lambda: compiled(net, machine, **how))[0]}}
    options = _options(shelf, name)
    with tempfile.TemporaryDirectory() as cache:
        how.update(options=options, cache=cache, verify=given, progress=False)
        cold, model = _timed(lambda: compiled(net, machine, **how))
        facts["verified"] = str(model.verified)
        model.save(shelf.path(name))
        plan_bytes = len(model.plan)
        del model
        machine.free()
        cached, _ = _timed(lambda: compiled(net, machine, **how))
    seconds = {"cold": cold, "cached": cached}
    return {**facts, "plan_bytes": plan_bytes, "build_s": seconds}


def compiled(net: Any, machine: Machine, **how: Any) -> Any:
    """Compile a network for a machine."""
    return trtnn.compile(net, backend=machine.backend, **how)


def _onnx(shelf: Shelf, name: str, machine: Machine) -> Facts:
    """Build as trtexec does: 8.6 is given float32 and may compute in half; later, what is typed."""
    case, options, library = shelf.case, _options(shelf, name), machine.gpu
    typed, dtype = library.target.strongly_typed, KINDS[case.dtype][0]
    if typed and case.dtype in ("fp16", "int8"):
        raise RuntimeError(f"TensorRT {library.target.version} leaves float32 as it is")
    net, given = prepared(case, machine.device, dtype if typed else torch.float32)
    half = case.dtype != "tf32" and not typed
    how = {"half": half, "half_border": half and dtype is torch.float16}
    seconds, plan = _timed(lambda: onnx_path.build(net, given, library, options, **how))
    shelf.path(name).write_bytes(plan)
    return {"plan_bytes": len(plan), "build_s": {"cold": seconds}}


def _free(shelf: Shelf, name: str, machine: Machine) -> Facts:
    case, library = shelf.case, machine.gpu
    if library.target.strongly_typed:
        raise RuntimeError(f"TensorRT {library.target.version} builds nothing that is not typed")
    net, given = prepared(case, machine.device)
    graph = optimize(trtnn.trace(net, list(given), machine.device), library)
    options = _options(shelf, name)
    seconds, engine = _timed(lambda: build_engine(graph, Free(library.trt), options))
    shelf.path(name).write_bytes(engine.plan)
    return {
        "inputs": [value.name for value in graph.inputs],
        "plan_bytes": len(engine.plan),
        "build_s": {"cold": seconds},
    }


def _options(shelf: Shelf, name: str) -> BuildOptions:
    timings = False if name.endswith(AGAIN) else shelf.timings
    return BuildOptions(builder_optimization_level=shelf.case.level, timing_cache=timings)


def _timed(call: Callable[[], Any]) -> tuple[float, Any]:
    start = time.perf_counter()
    made = call()
    return round(time.perf_counter() - start, 2), made


def _quantized(case: Case, net: nn.Module, device: torch.device) -> tuple[Any, Facts]:
    start = time.perf_counter()
    eight = Case(case.what, case.model, case.size, case.dtype, 8)
    data = [
        moved(inputs(eight, seed=100 + seed), device, torch.float32) for seed in range(CALIBRATED)
    ]
    quantized = trtnn.quantize(net, data, progress=False)
    seconds = round(time.perf_counter() - start, 1)
    layers = len(quantized.report.quantized)
    return quantized, {"quantized_layers": layers, "calibration_s": seconds}


BUILDERS: dict[str, Callable[[Shelf, str, Machine], Facts]] = {
    "exact": _exact,
    "trtnn": _trtnn,
    "exported": _exported,
    "onnx": _onnx,
    "free": _free,
}


def main(folder: str, case: str, *names: str) -> None:
    """Build for a case, given as the JSON of its fields."""
    build_all(Shelf(Path(folder), Case(**json.loads(case))), names, find_machine())


if __name__ == "__main__":
    main(*sys.argv[1:])
