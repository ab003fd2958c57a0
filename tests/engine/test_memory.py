"""Weights are shared with the module, not copied, and nothing of a build is kept after it."""

from __future__ import annotations

import copy
import gc
import json
import mmap
import subprocess
import sys
import weakref
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.multiprocessing.reductions import StorageWeakRef

import trtnn
from benchmarks.__main__ import attempt
from benchmarks.instruments.builds import Builds
from benchmarks.instruments.machine import Machine
from benchmarks.instruments.timing import TINY
from benchmarks.measures import memory
from benchmarks.subjects.cases import Case
from benchmarks.tables import table
from tests import double
from tests.double.surface import VERSIONS
from tests.zoo import MODELS
from trtnn.compiler import optimize
from trtnn.engine.builder import build
from trtnn.lower.network import lower
from trtnn.options import BuildOptions
from trtnn.trt.library import TensorRT

DTYPES = (torch.float32, torch.float16, torch.bfloat16)
# Kernels that a norm is folded into, and the norms.
FOLDED = ("conv", "bn", "downsample")
POSITIONS = 16 * 48  # the rows of BERT's table of positions that a text has


def given_weights(name: str, dtype: torch.dtype, version: str) -> tuple[Any, dict[int, int]]:
    """Return a network, and the bytes that TensorRT is given by address."""
    model = MODELS["small"][name]
    net = model.build().eval().to(dtype)
    inputs = [x.to(dtype) if x.is_floating_point() else x for x in model.inputs(1, 3)]
    library = TensorRT(double.load(version))
    network = library.network(library.builder())
    lowered = lower(optimize(trtnn.trace(net, inputs), library), library, network)
    kind = library.trt.Weights
    values = (v for layer in network._layers for v in layer._attributes.values())
    found = {v._pointer: v.nbytes for v in values if isinstance(v, kind) and v.size}
    assert lowered.held  # alive until here
    return net, found


CASES = [(d, v) for d in DTYPES for v in VERSIONS if (d, v) != (torch.bfloat16, "8.6")]


@pytest.mark.parametrize("name", ["resnet18", "bert_encoder"])
@pytest.mark.parametrize(("dtype", "version"), CASES)
def test_weights_are_the_parameters_own_memory(name: str, dtype: torch.dtype, version: str) -> None:
    net, found = given_weights(name, dtype, version)
    state = {k: t for k, t in net.state_dict(keep_vars=True).items() if t.numel() > 16}
    if name == "resnet18":
        folded = {k for k in state if any(part in k for part in FOLDED)}
        kernels = [state[k] for k in folded if state[k].dim() == 4]
        # A kernel and a bias for each convolution, once.
        made = sum(k.nbytes + k.shape[0] * k.element_size() for k in kernels)
    else:
        folded = {"embeddings.positions.weight"}
        made = POSITIONS * dtype.itemsize
        if dtype is not torch.float32 and version != "8.6":  # norms compute in float32
            norms = {k for k in state if "norm." in k}
            folded |= norms
            made += sum(4 * state[k].numel() for k in norms)
    shared = {k for k, t in state.items() if t.data_ptr() in found}
    assert shared == state.keys() - folded
    own = {t.data_ptr() for t in state.values()}
    others = sum(size for address, size in found.items() if address not in own)
    assert made <= others <= made + 64  # and a few scalars


def test_a_transposed_parameter_is_copied_once() -> None:
    weight = torch.randn(8, 32)
    library = TensorRT(double.load("10"))
    network = library.network(library.builder())
    graph = optimize(
        trtnn.trace(lambda x, y: (x + weight.T, y + weight.T), [trtnn.Input((32, 8))] * 2), library
    )
    lower(graph, library, network)
    kind = library.trt.Weights
    values = [v for layer in network._layers for v in layer._attributes.values()]
    assert len([v for v in values if isinstance(v, kind)]) == 1


@pytest.mark.parametrize("version", VERSIONS)
def test_nothing_of_a_build_is_kept(version: str, monkeypatch: pytest.MonkeyPatch) -> None:
    trt = double.load(version)
    monkeypatch.setitem(sys.modules, "tensorrt", trt)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    storages: list[StorageWeakRef] = []
    alive: list[Any] = []
    net = torch.nn.Sequential(torch.nn.Conv2d(3, 16, 3), torch.nn.BatchNorm2d(16)).eval()
    given = TensorRT.weights

    def note(self: TensorRT, array: Any, dtype: str) -> Any:
        if array.size > 100:
            storages.append(StorageWeakRef(torch.from_numpy(array).untyped_storage()))
        alive.append(weakref.ref(array))
        return given(self, array, dtype)

    monkeypatch.setattr(TensorRT, "weights", note)
    model: Any = trtnn.compile(
        net, inputs=[trtnn.Input((1, 3, 8, 8))], device="cpu", backend="tensorrt", cache=False
    )
    gc.collect()
    assert storages and all(reference() is None for reference in alive)
    kept = [t for t in gc.get_objects() if type(t) is torch.Tensor and t.shape == (16, 3, 3, 3)]
    assert [t.data_ptr() for t in kept if t.data_ptr() != net[0].weight.data_ptr()] == []
    assert model.graph.constants  # the module's own
    assert not model._runner.graph.constants


@pytest.mark.parametrize("version", VERSIONS)
def test_the_network_is_gone_before_the_engine_is_made(
    version: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    library = TensorRT(double.load(version))
    made: list[Any] = []
    counts: list[int] = []
    create, deserialize = library.network, library.deserialize

    def network(builder: Any) -> Any:
        result = create(builder)
        made.extend((weakref.ref(builder), weakref.ref(result)))
        return result

    def deserialized(plan: bytes, **how: Any) -> Any:
        counts.append(sum(reference() is not None for reference in made))
        return deserialize(plan, **how)

    monkeypatch.setattr(library, "network", network)
    monkeypatch.setattr(library, "deserialize", deserialized)
    graph = optimize(trtnn.trace(torch.nn.Linear(4, 4), [trtnn.Input((2, 4))]), library)
    gc.disable()  # the double's layers and network refer to each other, and are to stay young
    try:
        build(graph, library, BuildOptions())
    finally:
        gc.enable()
    assert counts == [0]


def test_the_plan_is_copied_once(monkeypatch: pytest.MonkeyPatch) -> None:
    trt = double.load("10")
    copies: list[int] = []
    whole = trt.IHostMemory.__bytes__

    def counted(memory: Any) -> bytes:
        content: bytes = whole(memory)
        if content.startswith(b"plan"):
            copies.append(len(content))
        return content

    type.__setattr__(trt.IHostMemory, "__bytes__", counted)
    library = TensorRT(trt)
    graph = trtnn.trace(torch.nn.ReLU(), [trtnn.Input((2, 4))])
    engine = build(optimize(graph, library), library, BuildOptions())
    assert len(copies) == 1 and engine.plan is engine.serialize()


def test_a_boundary_has_no_weights_and_runs_like_its_graph() -> None:
    graph = trtnn.trace(torch.nn.Linear(4, 2), [trtnn.Input((3, 4))])
    edge = copy.copy(graph).boundary()
    assert not edge.constants and not edge.nodes
    for name in ("inputs", "outputs", "dims", "hosts", "formats", "result", "leaves"):
        assert getattr(edge, name) == getattr(graph, name)
    assert edge.integers() == graph.integers()


# The benchmark --------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["half", "tf32"])
def test_a_row_of_memory_is_measured_on_the_double(
    dtype: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    trt = double.load("8.6")
    monkeypatch.setitem(sys.modules, "tensorrt", trt)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    device = torch.device("cpu")
    monkeypatch.setattr(Machine, "device", device)
    monkeypatch.setattr(Machine, "facts", lambda _: {"device": "double", "date": "2000-01-01"})
    for name in ("synchronize", "empty_cache"):
        monkeypatch.setattr(torch.cuda, name, lambda: None)
    kinds: list[str] = []

    def start(kind: str, case: Case, _: Builds) -> dict[str, int]:
        kinds.append(kind)
        return memory.compile_once(kind, case.model, case.size, case.dtype, case.level, device)

    monkeypatch.setattr(memory, "start", start)
    case = Case("memory", "bert_encoder", "small", dtype, 1)
    row = attempt(case, Builds(Machine(TensorRT(trt))), TINY)
    assert "failed" not in row and kinds == list(memory.KINDS)
    assert all(found["rise"] >= found["kept"] for found in row["memory_bytes"].values())
    assert table.tables({case.key: row}).count("### Host memory of a build\n") == 1


ON_THE_DOUBLE = """
import sys, torch
from benchmarks.measures import memory
from tests import double
sys.modules["tensorrt"] = double.load("8.6")
torch.cuda.is_available = lambda: True
memory.main("host", *sys.argv[1:3], sys.argv[3], 1, "cpu")
"""


@pytest.mark.parametrize(
    # Folded kernels are the only copy, and TensorRT's plan would be the second. What is beside them
    # is Python's objects and what is loaded for the first time.
    ("model", "dtype", "times"),
    [("resnet18", "tf32", 1.25), ("bert_encoder", "half", 0.15)],
)
def test_a_compile_copies_what_it_folds_and_no_more(model: str, dtype: str, times: float) -> None:
    program = [sys.executable, "-c", ON_THE_DOUBLE, model, "full", dtype]
    done = subprocess.run(program, capture_output=True, text=True, check=True)
    found = json.loads(done.stdout)
    assert found["weights"] > 4e7
    assert found["rise"] <= times * found["weights"]
    assert found["kept"] <= 0.4 * found["weights"]


def test_the_peak_is_that_of_the_build_alone() -> None:
    size = 2**26
    with mmap.mmap(-1, 2 * size) as block:
        block.write(bytes(1) * 2 * size)
        high, _ = memory.resident_memory()
    before = memory.reset_peak()
    assert before < high
    with mmap.mmap(-1, size) as block:
        for _ in range(0, size, 2**20):
            block.write(bytes(1) * 2**20)
    rise, kept = (amount - before for amount in memory.resident_memory())
    assert 0.9 * size <= rise <= 1.1 * size and kept <= 0.1 * size


def test_the_peak_and_what_is_resident_are_of_one_reading(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[str] = []

    class Status(type(tmp_path)):  # type: ignore[misc]
        def read_text(self, *args: Any, **named: Any) -> str:
            read.append(self.name)
            return str(super().read_text(*args, **named))

    (tmp_path / "status").write_text("Name:\tpython\nVmHWM:\t    5 kB\nVmRSS:\t    3 kB\n")
    monkeypatch.setattr(memory, "PROCESS", Status(tmp_path))
    assert memory.resident_memory() == (5 * 1024, 3 * 1024) and read == ["status"]
    (tmp_path / "status").write_text("VmRSS:\t    3 kB\n")
    with pytest.raises(RuntimeError, match="does not tell VmHWM"):
        memory.resident_memory()


def test_a_process_that_fails_is_said() -> None:
    case = Case("memory", "no_such", "small", "half", 1)
    with pytest.raises(RuntimeError, match=r"a process ended with 1: [\s\S]*KeyError: 'no_such'"):
        memory.start("raw", case, Builds(Machine(None)))
