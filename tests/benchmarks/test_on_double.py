"""The GPU side of the benchmark, on the double: builds, bound memory, and every measurement."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

import benchmarks.__main__ as program
import trtnn
from benchmarks.instruments import bound, machine, timing
from benchmarks.instruments.bound import Bound
from benchmarks.instruments.builds import Builds
from benchmarks.instruments.machine import Machine
from benchmarks.measures import activities, dynamic, refit
from benchmarks.race.building import Free
from benchmarks.subjects import cases
from benchmarks.subjects.cases import CALLS, FLOW, WHAT
from benchmarks.tables import table
from tests import double
from tests.benchmarks.test_benchmarks import run
from trtnn.compiler import optimize
from trtnn.engine.builder import build
from trtnn.engine.engine import Engine
from trtnn.errors import BuildError
from trtnn.options import BuildOptions
from trtnn.trt.library import TensorRT


def test_one_timing_cache_grows_from_build_to_build(tmp_path: Path) -> None:
    path, seen = tmp_path / "timings", []
    library = TensorRT(double.load("8.6"))
    graph = optimize(trtnn.trace(lambda x: x + 1, [trtnn.Input((2,), name="x")]), library)

    def make(options: BuildOptions) -> Engine:
        seen.append(options.timing_cache)
        return build(graph, library, options)

    first, second, level_0, fresh = (
        Builds(Machine(None), path).build(level, make, lambda made: made, fresh=fresh)[1]
        for level, fresh in ((1, False), (3, False), (0, False), (1, True))
    )
    assert seen == [path, path, False, False] and path.exists()
    assert first["timing_cache"] == "empty" and len(second["timing_cache"]) == 12
    assert level_0["timing_cache"] == fresh["timing_cache"] == "unused"


def test_a_refused_timing_cache_is_said_and_deleted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "timings"
    path.write_bytes(b"of another TensorRT")
    library = TensorRT(double.load("8.6"))
    graph = optimize(trtnn.trace(lambda x: x + 1, [trtnn.Input((2,), name="x")]), library)

    def make(options: BuildOptions) -> Engine:
        return build(graph, library, options)

    _, facts = Builds(Machine(None), path).build(1, make, lambda made: made)
    assert facts["timing_cache"] == "empty" and path.read_bytes() != b"of another TensorRT"
    assert f"{path} is deleted: TensorRT could not read" in capsys.readouterr().err


def test_the_free_network_is_not_constrained() -> None:
    trt = double.load("8.6")
    given = [trtnn.Input((2, 3), torch.float16, name="x")]
    graph = trtnn.trace(lambda x: torch.relu(x) * 2, given)
    flags, constrained = {}, {}
    for library in (TensorRT(trt), Free(trt)):
        lowered = optimize(graph, library)
        builder = library.builder()
        network = library.network(builder)
        net = trtnn.lower.network.lower(lowered, library, network)
        config = library.config(builder, BuildOptions(), tf32=True, half=net.half)
        names = ("FP16", "OBEY_PRECISION_CONSTRAINTS")
        kind = type(library).__name__
        flags[kind] = [config.get_flag(getattr(trt.BuilderFlag, name)) for name in names]
        layers = [network.get_layer(i) for i in range(network.num_layers)]
        constrained[kind] = any(layer.precision_is_set for layer in layers)
    assert flags == {"TensorRT": [True, True], "Free": [True, False]}
    assert constrained == {"TensorRT": True, "Free": False}


@pytest.mark.parametrize("version", ["8.6", "10", "11"])
def test_bound_memory_fits_the_engine(version: str) -> None:
    trt = double.load(version)
    library = TensorRT(trt)
    given = [trtnn.Input((2, 3), torch.int64, name="x")]
    graph = optimize(trtnn.trace(lambda x: (x.float(), x + 1), given), library)
    seen: list[dict[str, Any]] = []
    double.on_execute(trt, lambda _, tensors: seen.append(dict(tensors)))
    bound = Bound(build(graph, library, BuildOptions()), {"x": torch.ones(2, 3, dtype=torch.int64)})
    integer = torch.int32 if version == "8.6" else torch.int64
    assert [t.dtype for t in bound.outputs] == [torch.float32, integer]
    assert bound.memory["x"].dtype == integer
    assert bool(bound.outputs[0].isnan().all())  # nothing has run
    bound.execute()
    addresses = {name: address for name, (address, _, _) in seen[0].items()}
    assert addresses == {name: tensor.data_ptr() for name, tensor in bound.memory.items()}


@pytest.mark.parametrize("version", ["8.6", "10", "11"])
def test_bound_memory_fits_a_profile(version: str) -> None:
    trt = double.load(version)
    size = trtnn.Dim("n", profiles=[(4, 4, 4), (8, 8, 8)])
    library = TensorRT(trt)
    graph = optimize(trtnn.trace(lambda x: x * 2, [trtnn.Input((size,), name="x")]), library)
    engine = build(graph, library, BuildOptions())
    for profile, length in ((0, 4), (1, 8)):
        bound = Bound(engine, {"x": torch.ones(length)}, profile)
        assert bound.context.active_optimization_profile == profile
        assert bound.outputs[0].shape == (length,)
        bound.execute()
    with pytest.raises(BuildError, match=r"x: \(8,\): .*is not in"):
        Bound(engine, {"x": torch.ones(8)}, 0)


# What runs on the GPU; test_calls.py, test_flow.py and tests/engine/test_memory.py have the rest.
NEEDED = [what for what in WHAT if what not in ("tracing", "growth", "memory", *CALLS, *FLOW)]


class Doubled(Machine):
    """A double of TensorRT, as if the CPU were its GPU."""

    device = torch.device("cpu")


def times_of(calls: Any, _: Any) -> Any:
    """Stand in for times: run each call once, and let each take longer than the one before."""
    times = {}
    for place, (name, call) in enumerate(calls.items()):
        call()
        rounds = [100.0 + 10 * place, 101.0 + 10 * place]
        times[name] = {"median": rounds[0], "spread": 1.0, "rounds": rounds}
    return times


def trace_of(call: Any) -> Any:
    """Stand in for a trace: run the call, and name its engine's number of profiles."""
    call()
    owner = getattr(call, "__self__", None)
    profiles = owner.engine.handle.num_optimization_profiles if owner else 0
    names = ("gemm", f"fmha_{profiles}", "gemm")
    return [{"cat": "kernel", "name": name} for name in names]


def refuse(_: Any) -> Any:
    raise BuildError("not capturable")


@pytest.fixture(scope="module", params=[refuse, lambda call: call], ids=["queued", "replays"])
def rig(request: Any, tmp_path_factory: Any) -> tuple[dict[str, Any], str]:
    """Run everything on the double of 8.6; return the rows and the capture's method."""
    trt, path = double.load("8.6"), tmp_path_factory.mktemp("rig")
    gpu = SimpleNamespace(name="GPU", multi_processor_count=2)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "tensorrt", trt)
        for name, value in {
            "is_available": True,
            "synchronize": None,
            "empty_cache": None,
            "get_device_name": gpu.name,
            "get_device_properties": gpu,
            "current_stream": SimpleNamespace(cuda_stream=0),
        }.items():
            patch.setattr(torch.cuda, name, lambda *_, value=value: value)
        for module in (dynamic, refit):
            patch.setattr(module, "gpu_times", times_of)
        patch.setattr(bound, "captured", request.param)
        patch.setattr(activities, "_trace", trace_of)
        patch.setattr(machine, "_driver", lambda: "1")
        patch.setattr(program, "FULL", timing.TINY)
        patch.setattr(cases, "COPIED", "bert_encoder")
        for name in ("REFITTED", "DYNAMIC"):
            patch.setattr(cases, name, ("bert_encoder",))
        patch.setattr(cases, "DTYPES", ("half",))
        what = ("--what", ",".join(NEEDED), "--size", "small")
        files = ("--results", str(path / "rows.json"), "--timing-cache", str(path / "timings"))
        run("measure", *what, *files, on=Doubled(TensorRT(trt)))
    return cases.load(path / "rows.json"), "queued" if request.param is refuse else "replays"


def test_every_row_for_a_gpu_is_measured_on_the_double(rig: Any) -> None:
    rows, _ = rig
    assert {row["what"] for row in rows.values()} == set(NEEDED)
    assert [row["failed"] for row in rows.values() if "failed" in row] == []
    text = table.tables(rows)
    assert all(text.count(f"### {table.TITLES[what][0]}\n") == 1 for what in NEEDED)


def test_a_row_of_lengths_compares_three_engines_at_each(rig: Any) -> None:
    rows, method = rig
    row = rows["dynamic bert_encoder small half batch 1"]
    note = "" if method == "replays" else ", queued"
    cells = [f"{time} ± 1{note}" for time in (100, 110, 120)] + ["1.10 ± 0.001", "1.20 ± 0.002"]
    assert f"| 16 | {' | '.join([*cells, *['yes, 3 kernels'] * 3])} |" in table.tables(rows)
    assert {name: facts["level"] for name, facts in row["builds"].items()} == dict.fromkeys(
        ("static 8", "static 16", "dynamic", "bucketed"), 1
    )
    for length in ("8", "16"):
        assert {time["method"] for time in row["gpu_us"][length].values()} == {method}
        assert row["ratio"][length]["dynamic"] == {"ratio": 1.1, "spread": 0.001}
        assert row["ratio"][length]["bucketed"]["ratio"] == 1.2
        fused = {k: kernels["fused_names"] for k, kernels in row["kernels"][length].items()}
        assert fused == {"static": ["fmha_1"], "dynamic": ["fmha_1"], "bucketed": ["fmha_2"]}
        assert row["kernels"][length]["bucketed"]["names"] == ["gemm", "fmha_2"]


def test_a_row_of_refit_compares_two_engines_and_refits_one(rig: Any) -> None:
    rows, method = rig
    row = rows["refit bert_encoder small half batch 1"]
    assert set(row["builds"]) == {"plain", "refit"} and row["ratio"]["ratio"] == 1.1
    assert {time["method"] for time in row["gpu_us"].values()} == {method}
    assert len(row["refit_s"]) == refit.REFITS
    assert row["error"]["eager"] < 0.1 and row["met"] is False  # the double computes nothing
