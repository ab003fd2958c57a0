"""``report`` of engines: the smallest part that is wrong or refused, and its script, run."""

from __future__ import annotations

import ast
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import trtnn
from benchmarks.subjects.faults import FAULTS
from tests import double
from tests.answering import Answers
from tests.cache.test_compiling import World
from tests.double.surface import VERSIONS
from tests.real_builder import needs_builder
from tests.tools.scripts import run_apart, run_here
from tests.tools.test_check import Chain, in_module, inputs
from tests.tools.test_report import FILES, labels, names_in, trials, weighty
from trtnn import Report
from trtnn.graph.graph import Graph
from trtnn.trt.target import Target

TYPES = [(v, p) for v in VERSIONS for p in ("fp32", "fp16", "bf16") if (v, p) != ("8.6", "bf16")]


# What only an engine does -------------------------------------------------------------------------


def test_an_engine_that_is_wrong_is_cut_to_the_node(world: Any, tmp_path: Path) -> None:
    world.fault = lambda graph: in_module("layers.2", graph)
    x = inputs()
    model, _ = world.compile(Chain(8), inputs=[x], precision="fp16", verify=False)
    report = trtnn.report(model, x, path=tmp_path / "net.zip")
    assert labels(report) == ["layers.2/MatrixMultiply"] and report.manifest["how"] == "engine"
    assert report.manifest["seen"] and trials(report) == 1
    assert len(world.answers) == 4  # itself, marked, the node, and the node with random weights
    read = Report.load(report.path)
    assert names_in(report.path) == FILES | {"reproduce.py", "engine.npz"}
    assert not torch.allclose(read.found[0].float(), read.expected[0], atol=1e-2)
    assert torch.allclose(read.run()[0].float(), read.expected[0], atol=1e-2)
    assert world.files() == ["KEY.trtnn-engine", *world.files()[1:]]
    assert len([name for name in world.files() if "KEY" in name]) == 1  # no trial is kept


def both(graph: Graph) -> Graph:
    """Be wrong where two products meet in one network, as a fusion of them would."""
    found = {node.label for node in graph.nodes}
    return in_module("layers.5", graph) if "layers.1/MatrixMultiply" in found else graph


def test_a_fault_of_two_nodes_takes_both(world: Any, tmp_path: Path) -> None:
    world.fault = both
    x = inputs()
    model, _ = world.compile(Chain(8), inputs=[x], verify=False, precision="fp32")
    report = trtnn.report(model, x, path=tmp_path / "net.zip")
    assert labels(report) == ["layers.1/MatrixMultiply", "layers.5/MatrixMultiply"]
    assert report.manifest["seen"] and trials(report) <= 16


def test_builds_are_counted(world: Any, tmp_path: Path, monkeypatch: Any) -> None:
    world.fault = both
    monkeypatch.setattr("trtnn.reporting.MOST_BUILDS", 6)
    x = inputs()
    model, _ = world.compile(Chain(8), inputs=[x], verify=False, precision="fp32")
    report = trtnn.report(model, x, path=tmp_path / "net.zip")
    assert trials(report) == 6 and report.manifest["seen"]
    assert {"layers.1/MatrixMultiply", "layers.5/MatrixMultiply"} <= set(labels(report))


@pytest.mark.parametrize("dynamic", [False, True])
def test_sizes_stay_dynamic_only_where_they_must(dynamic: bool, world: Any, tmp_path: Path) -> None:
    world.fault = lambda g: in_module("layers.2", g) if g.dims or not dynamic else g
    batch = trtnn.Dim("b", 1, 4, 16)
    declared = [trtnn.Input((batch, 16), name="x")]
    model, _ = world.compile(Chain(), inputs=declared, verify=False, precision="fp32")
    report = trtnn.report(model, inputs(), path=tmp_path / "net.zip")
    assert labels(report) == ["layers.2/MatrixMultiply"] and report.manifest["seen"]
    assert report.manifest["held"]["sizes"] == ("as declared" if dynamic else "of the call")
    assert [str(dim) for dim in report.graph.dims] == (["b"] if dynamic else [])


def test_an_engine_that_is_right_when_built_again_is_held_whole(world: Any, tmp_path: Path) -> None:
    world.fault = lambda graph: in_module("layers.2", graph)
    x = inputs()
    model, _ = world.compile(Chain(), inputs=[x], verify=False)
    world.fault = lambda graph: graph
    report = trtnn.report(model, x, path=tmp_path / "net.zip")
    assert not report.manifest["seen"] and report.manifest["how"] == "engine"
    assert "not seen when the graph is built once more" in str(report.manifest["notes"])
    assert report.manifest["held"]["nodes"] == report.manifest["held"]["of"]


@pytest.mark.parametrize(("world", "precision"), TYPES, indirect=["world"])
def test_the_script_shows_what_the_engine_does(
    precision: str, world: Any, tmp_path: Path, monkeypatch: Any, capsys: Any
) -> None:
    world.fault = lambda graph: in_module("layers.2", graph)
    x = inputs()
    model, _ = world.compile(Chain(), inputs=[x], precision=precision, verify=False)
    report = trtnn.report(model, x, path=tmp_path / "net.zip")
    assert run_here(report.path, world.trt, monkeypatch, gpu=False) is None
    said = capsys.readouterr().out
    assert "built the engine" in said and "no GPU here: nothing ran" in said
    errors = []
    for fault in (world.fault, lambda graph: graph):
        double.on_execute(world.trt, Answers(fault(report.graph)))
        assert run_here(report.path, world.trt, monkeypatch, gpu=True) is None
        line = capsys.readouterr().out.splitlines()[-1]
        assert line.startswith("output_0: relative error ")
        errors.append(float(line.split()[3].rstrip(",")))
    assert errors[0] > 0.1 > 0.02 > errors[1]


def test_the_script_runs_dims_host_inputs_and_narrow_integers(
    world: Any, tmp_path: Path, monkeypatch: Any, capsys: Any
) -> None:
    batch, times = trtnn.Dim("b", 1, 4, 16), trtnn.Dim("n", 1, 2, 8)
    declared = [
        trtnn.Input((batch, 3), torch.int64, name="x"),
        trtnn.Input(times, host=True),
        trtnn.Input((batch,), torch.bool, name="y"),
    ]

    def forward(x: torch.Tensor, n: int, y: torch.Tensor) -> Any:
        return torch.where(y[:, None], x, -x).repeat(1, n), y.float() * 0.5

    model, _ = world.compile(forward, inputs=declared, verify=False)
    x, y = torch.randint(-9, 9, (5, 3)), torch.rand(5) > 0.5
    report = trtnn.report(model, x, 3, y, path=tmp_path / "net.zip")
    double.on_execute(world.trt, Answers(report.graph))
    assert run_here(report.path, world.trt, monkeypatch, gpu=True) is None
    said = capsys.readouterr().out
    assert "output_0: relative error 0, largest 0" in said
    assert "output_1: relative error 0, largest 0" in said


# What is not built --------------------------------------------------------------------------------


def refusing(world: World, monkeypatch: Any, says: Callable[[list[str]], str]) -> None:
    """Let builds fail with what ``says`` of the kinds of their layers; empty: they do not."""
    kind = world.trt.Builder

    class Refusing(kind):  # type: ignore[misc, valid-type]
        def build_serialized_network(self, network: Any, config: Any) -> Any:
            if said := says([layer._kind for layer in network._layers]):
                self._log("ERROR", said)
                return None
            return super().build_serialized_network(network, config)

    monkeypatch.setattr(world.trt, "Builder", Refusing)


class Classifier(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.norm, self.head = nn.Linear(16, 16), nn.LayerNorm(16), nn.Linear(16, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.norm(self.first(x).relu())).softmax(-1) * 2


def test_a_layer_that_is_not_built_is_cut_out(world: Any, tmp_path: Path, monkeypatch: Any) -> None:
    def says(kinds: list[str]) -> str:
        return "[pick.cpp::choose::7] no kernel" if "ISoftMaxLayer" in kinds else ""

    refusing(world, monkeypatch, says)
    asked = {"backend": "tensorrt", "path": tmp_path / "net.zip"}
    monkeypatch.setattr("trtnn.reporting.place_for", lambda *_: torch.device("cpu"))
    report = trtnn.report(Classifier(), inputs(), **asked)
    assert labels(report) == ["Softmax"] and report.manifest["how"] == "refused"
    assert report.manifest["seen"] and "[pick.cpp::choose::7] no kernel" in report.finding
    assert trials(report) <= 8
    with zipfile.ZipFile(report.path) as archive:
        assert "ERROR: [pick.cpp::choose::7] no kernel" in archive.read("log.txt").decode()
    said = run_here(report.path, world.trt, monkeypatch, gpu=False)
    assert said == "TensorRT could not build the engine; its own words are above"


def test_another_refusal_is_not_taken_for_it(world: Any, tmp_path: Path, monkeypatch: Any) -> None:
    def says(kinds: list[str]) -> str:
        if "ISoftMaxLayer" not in kinds:
            return ""
        return f"[{'fuse' if 'IElementWiseLayer' in kinds else 'pick'}.cpp::choose::7] no kernel"

    refusing(world, monkeypatch, says)
    monkeypatch.setattr("trtnn.reporting.place_for", lambda *_: torch.device("cpu"))
    report = trtnn.report(Classifier(), inputs(), backend="tensorrt", path=tmp_path / "net.zip")
    assert len(labels(report)) == 2 and "Softmax" in labels(report)
    assert report.manifest["seen"] and "fuse.cpp" in report.finding


def test_a_call_that_is_refused_ends_the_script(
    world: Any, tmp_path: Path, monkeypatch: Any
) -> None:
    kind = world.trt.Builder

    class Refusing(kind):  # type: ignore[misc, valid-type]
        def create_network(self, flags: int) -> Any:
            network = super().create_network(flags)
            object.__setattr__(network, "add_softmax", lambda *_: network._error("no softmax"))
            return network

    monkeypatch.setattr(world.trt, "Builder", Refusing)
    monkeypatch.setattr("trtnn.reporting.place_for", lambda *_: torch.device("cpu"))
    report = trtnn.report(Classifier(), inputs(), backend="tensorrt", path=tmp_path / "net.zip")
    assert labels(report) == ["Softmax"] and report.manifest["seen"]
    assert "TensorRT refused a layer of Softmax: no softmax" in report.finding
    said = run_here(report.path, world.trt, monkeypatch, gpu=False)
    assert said == "TensorRT refused this call; its own words are above"


@pytest.mark.parametrize("world", ["11"], indirect=True)
def test_each_fault_that_benchmarks_plant_is_cut_small(world: Any, tmp_path: Path) -> None:
    """Whichever node is broken, it is in the part, and little beside it."""
    x = inputs()
    for number, fault in enumerate(list(FAULTS["swapped channels"](_lowered()))[:3]):
        path = fault.place.split("/")[0]
        world.fault = lambda graph, path=path: in_module(path, graph)
        model, _ = world.compile(
            Classifier(), inputs=[x], verify=False, precision="fp32", cache=False
        )
        report = trtnn.report(model, x, path=tmp_path / f"{number}.zip", weights=True)
        assert report.manifest["seen"] and len(labels(report)) <= 3
        assert any(label.startswith(path) for label in labels(report))


def _lowered() -> Graph:
    return trtnn.trace(Classifier(), [inputs()])


# NVIDIA's own builder -----------------------------------------------------------------------------


class Strided(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 8, 3)
        self.back = nn.ConvTranspose2d(8, 4, 3, stride=2, dilation=2)
        self.head = nn.Linear(4, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.back(self.first(x).relu()).relu().mean((2, 3))).softmax(-1)


def imported(path: str) -> set[str]:
    """Return what the script imports by name, beside TensorRT."""
    with zipfile.ZipFile(path) as archive:
        tree = ast.parse(archive.read("reproduce.py"))
    nodes = [node for node in ast.walk(tree) if isinstance(node, ast.Import)]
    assert not any(isinstance(node, ast.ImportFrom) for node in ast.walk(tree))
    return {alias.name.split(".")[0] for node in nodes for alias in node.names}


def attention(q: torch.Tensor) -> torch.Tensor:
    return nn.functional.scaled_dot_product_attention(q, q * 0.5, q, is_causal=True)


REAL: dict[str, tuple[Any, tuple[Any, ...], Any]] = {
    "a network": (weighty(), (torch.randn(2, 3, 4, 4),), "fp16"),
    "bfloat16": (weighty(), (torch.randn(2, 3, 4, 4),), "bf16"),
    "attention": (attention, (torch.randn(1, 2, 5, 16),), "tf32"),
}


@needs_builder
@pytest.mark.parametrize("name", REAL)
def test_the_script_builds_with_tensorrt_for_rtx(name: str, tmp_path: Path) -> None:
    module, given, precision = REAL[name]
    asked = {"backend": "tensorrt_rtx", "precision": precision}
    report = trtnn.report(module, *given, path=tmp_path / "net.zip", **asked)
    assert imported(report.path) - set(sys.stdlib_module_names) == {"numpy"}
    assert "builds it; nothing ran: there is no GPU here" in report.finding
    assert report.manifest["versions"]["tensorrt_rtx"] and not report.found
    done = run_apart(report.path, "tensorrt_rtx")
    assert done.returncode == 0, done.stderr
    assert "built the engine" in done.stdout and "no GPU here: nothing ran" in done.stdout


@needs_builder
def test_what_tensorrt_for_rtx_refuses_is_cut_out(tmp_path: Path, monkeypatch: Any) -> None:
    name = "dilates_strided_deconvolutions"  # else such a one is made of two layers
    monkeypatch.setattr(Target, name, property(lambda target: True))
    asked = {"backend": "tensorrt_rtx", "path": tmp_path / "net.zip"}
    report = trtnn.report(Strided().eval(), torch.randn(2, 3, 8, 8), **asked)
    assert labels(report) == ["back/Deconvolution"] and report.manifest["how"] == "refused"
    assert report.manifest["seen"] and "Strided & Dilated Deconv" in report.finding
    done = run_apart(report.path, "tensorrt_rtx")
    assert done.returncode == 1 and "Strided & Dilated Deconv" in done.stdout + done.stderr
    assert "could not build the engine" in done.stderr
