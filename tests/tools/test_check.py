"""``check``: what is wrong is named, with what repairs it; what is right is not accused."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import torch._dynamo  # which looks for tensorrt, before the double stands there
from torch import nn

import trtnn
from benchmarks.subjects.faults import FAULTS
from tests.zoo import MODELS, build_lively
from trtnn import InputError, OptionError, UnsupportedError
from trtnn.graph.graph import Graph
from trtnn.options import BuildOptions

REFERENCE = {"backend": "reference"}
HALF = trtnn.Precision("fp16", ranges=False)
INF = float("inf")


class Chain(nn.Module):
    """Layers in a row, with a norm behind them; ``scales`` makes some large."""

    def __init__(self, count: int = 4, **scales: float) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(16, 16, bias=False) for _ in range(count))
        self.norm, self.head = nn.LayerNorm(16), nn.Linear(16, 4)
        with torch.no_grad():
            for name, scale in scales.items():
                self.layers[int(name[1:])].weight.mul_(scale)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for layer in self.layers:
            x = layer(x)  # <- the layer
        return self.head(self.norm(x))


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norm, self.linear = nn.LayerNorm(16), nn.Linear(16, 16)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.linear(self.norm(x)) * 3e4


class Then(nn.Module):
    """A linear layer, and something after it."""

    def __init__(self, after: Callable[[torch.Tensor], Any]) -> None:
        super().__init__()
        self.linear, self.after = nn.Linear(16, 16), after

    def forward(self, x: torch.Tensor) -> Any:
        return self.after(self.linear(x))


def inputs(scale: float = 1.0) -> torch.Tensor:
    return torch.randn(8, 16) * scale


# What 16 bits do ----------------------------------------------------------------------------------


@pytest.mark.parametrize("place", [0, 2, 3])
def test_a_planted_overflow_is_named_and_repaired(place: int) -> None:
    net, x = Chain(**{f"_{place}": 1e5}), inputs(3.0**place)
    report = trtnn.check(net, x, precision=HALF, **REFERENCE, fix=True)
    assert not report and report.reproduced and report.node is not None
    assert report.node.label == f"layers.{place}/MatrixMultiply"
    assert report.node.rows[-1].infinities and report.node.rows[-1].most > 65504
    text = str(report)
    assert f"layers.{place}/MatrixMultiply is the first node" in text.splitlines()[0]
    assert "# <- the layer" in text and "beyond float16" in text
    assert {f"layers.{place}", "layers"} & set(report.modules) and report.precision is not None
    assert len(report.modules) <= 2 + (3 - place)  # it, and what takes large values after it
    model = trtnn.compile(net, inputs=[x], precision=report.precision, **REFERENCE)
    assert trtnn.check(model, x) and "within the tolerance" in str(trtnn.check(model, x))
    assert torch.allclose(model(x), net(x), atol=2e-2)


def test_a_module_less_in_float32_and_it_is_wrong() -> None:
    net, x = Chain(_1=1e5), inputs(9.0)
    report = trtnn.check(net, x, precision=HALF, **REFERENCE, fix=True)
    for path in report.modules:
        fewer = {name: "fp32" for name in report.modules if name != path}
        assert not trtnn.check(net, x, precision=replace(HALF, modules=fewer), **REFERENCE)


def test_residuals_that_overflow_are_named_and_repaired() -> None:
    net, x = nn.Sequential(*(Block() for _ in range(5)), nn.LayerNorm(16)), inputs()
    report = trtnn.check(net, x, precision=HALF, **REFERENCE, fix=True)
    assert report.node is not None and report.node.path in {"0", "1", "2"}
    assert report.precision is not None
    assert trtnn.check(net, x, precision=report.precision, **REFERENCE)


def test_what_underflows_is_named() -> None:
    net = Then(lambda y: (y * 1e-9) @ torch.eye(16) * 1e9)
    report = trtnn.check(net, inputs(), precision=HALF, **REFERENCE)
    assert report.node is not None and report.node.label == "Elementwise PROD"
    assert "float16 loses what is below 6.1e-05" in str(report) and report.precision is None
    assert report.modules


def test_weights_that_half_does_not_hold_are_named() -> None:
    net = nn.Sequential(*(nn.Linear(16, 16, bias=False) for _ in range(3)))
    with torch.no_grad():
        net[1].weight.mul_(1e-6)
    report = trtnn.check(net, inputs(), precision=HALF, **REFERENCE, fix=True)
    assert report.node is not None and report.node.label == "1/MatrixMultiply"
    assert report.modules[0] == "1" and "float16 loses what is below" in str(report)


def test_a_half_module_is_repaired_as_well() -> None:
    net, x = Chain(_1=4e3).half(), inputs(40.0).half()
    report = trtnn.check(net, x, **REFERENCE, fix=True)
    assert report.node is not None and report.node.label == "layers.1/MatrixMultiply"
    assert report.precision is not None and report.precision.dtype == "tf32"
    assert trtnn.check(net, x, precision=report.precision, **REFERENCE)


def test_what_the_user_said_stays_beside_what_is_added() -> None:
    net = nn.Sequential(Chain(_1=1e5))
    asked = replace(HALF, modules={"0.head": "fp32", "0.layers.*": "fp16"})
    report = trtnn.check(net, inputs(9.0), precision=asked, **REFERENCE, fix=True)
    assert report.precision is not None and report.precision.modules["0.layers.*"] == "fp16"
    assert trtnn.check(net, inputs(9.0), precision=report.precision, **REFERENCE)


@pytest.mark.parametrize("word", ["fp16", "fp32"])
def test_a_norm_that_is_folded_can_be_named(word: str) -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Conv2d(4, 4, 3)).eval()
    with torch.no_grad():
        net[0].weight.mul_(3e5)
    x = torch.randn(2, 3, 8, 8)
    asked = replace(HALF, modules={"1": word})
    report = trtnn.check(net, x, precision=asked, **REFERENCE, fix=True)
    assert report.node is not None and report.node.path == "0" and report.precision is not None
    assert report.precision.modules["1"] == word or "1" in report.modules
    assert trtnn.check(net, x, precision=report.precision, **REFERENCE)


def test_a_tolerance_of_ones_own_is_met() -> None:
    net, x = Chain(), inputs()
    assert trtnn.check(net, x, precision="fp16", **REFERENCE)
    report = trtnn.check(net, x, precision="fp16", **REFERENCE, tolerance=5e-4, fix=True)
    assert not report and report.precision is not None and report.trials < 40
    repaired = trtnn.check(net, x, precision=report.precision, **REFERENCE, tolerance=5e-4)
    assert repaired, str(repaired)
    assert report.node is not None and report.node.rows[-1].error > 5e-4


def test_an_error_that_grows_from_node_to_node_is_said_to() -> None:
    net = Chain(40)
    for layer in net.layers:
        nn.init.orthogonal_(layer.weight)
    report = trtnn.check(net, inputs(), precision="bf16", **REFERENCE, tolerance=8e-3)
    assert report.node is not None and "no node alone makes the error" in report.node.advice


def test_a_cast_of_forward_is_told_to_be_its_own() -> None:
    report = trtnn.check(lambda x: (x * 1e6).half(), inputs(), **REFERENCE, fix=True)
    assert report.node is not None and report.precision is None and not report.modules
    assert "forward itself casts to float16" in report.node.advice
    assert "with all modules in float32 it is wrong too" in str(report)


# What float32 does too ----------------------------------------------------------------------------

MADE: dict[str, tuple[Callable[[torch.Tensor], Any], str, str]] = {
    "log": (lambda y: y.relu() * y.relu().log(), "Unary LOG", "clamp"),
    "division": (lambda y: y / (y - y), "Elementwise DIV", "divides by 0"),
    "root": (lambda y: (-y.abs() - 1).sqrt().sum(-1), "Unary SQRT", "clamp"),
    "all hidden": (
        lambda y: y.masked_fill(y < 9e9, -INF).softmax(-1) + y,
        "Softmax",
        "at least",
    ),
}


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
@pytest.mark.parametrize("name", MADE)
def test_what_is_not_finite_in_float32_is_told_apart(name: str, precision: str) -> None:
    after, label, advice = MADE[name]
    report = trtnn.check(Then(after), inputs(), precision=precision, **REFERENCE, fix=True)
    assert not report and report.node is not None and report.node.label == label
    assert "not finite in float32 either" in report.finding and advice in str(report)
    assert report.precision is None


def test_an_infinity_that_forward_puts_there_is_none() -> None:
    net = Then(lambda y: (y.masked_fill(y < 0, -INF), y.argmax(-1), y > 0))
    assert trtnn.check(net, inputs(), **REFERENCE)


@pytest.mark.parametrize("precision", ["fp32", "fp16", "bf16"])
@pytest.mark.parametrize("name", list(MODELS["small"])[:6])
def test_the_zoo_is_right(name: str, precision: str) -> None:
    model = MODELS["small"][name]
    report = trtnn.check(build_lively(model), *model.inputs(2, 1), precision=precision, **REFERENCE)
    assert report, str(report)


# What only an engine does -------------------------------------------------------------------------


def in_module(path: str, graph: Graph) -> Graph:
    """Swap channels of a module's product."""
    for fault in FAULTS["swapped channels"](graph):
        if fault.place.startswith(f"{path}/"):
            return fault.graph
    return graph


def test_a_right_engine_is_right(world: Any) -> None:
    x = inputs()
    model, _ = world.compile(Chain(), inputs=[x], precision="fp16")
    assert trtnn.check(model, x) and len(world.answers) == 1


def test_an_engine_that_is_wrong_whatever_the_precision(world: Any) -> None:
    world.fault = lambda graph: in_module("layers.2", graph)
    x = inputs()
    model, _ = world.compile(Chain(), inputs=[x], precision="fp16", verify=False)
    report = trtnn.check(model, x, fix=True)
    assert not report and not report.reproduced and report.precision is None
    assert report.node is not None and report.node.path == "layers.2"
    text = str(report)
    assert "is the first border of a module that is wrong" in text.splitlines()[0]
    assert "TensorRT's engine computes something else" in text
    assert "what they are computed in is not" in text
    assert len(world.answers) == 3 and len(world.files()) <= 3  # itself, marked, all in float32


def test_an_engine_that_is_wrong_in_half_alone(world: Any) -> None:
    def planted(graph: Graph) -> Graph:
        products = [n for n in graph.nodes if n.label == "layers.2/MatrixMultiply"]
        half = any(v.spec.dtype == torch.float16 for n in products for v in n.inputs)
        return in_module("layers.2", graph) if half else graph

    world.fault = planted
    net, x = Chain(), inputs()
    model, _ = world.compile(net, inputs=[x], precision="fp16", verify=False)
    report = trtnn.check(model, x, fix=True)
    assert not report.reproduced and report.modules == ("layers.2",)
    assert len(world.answers) <= 2 + 6  # each trial is a build
    again, _ = world.compile(net, inputs=[x], precision=report.precision)
    assert again.verified and trtnn.check(again, x)


def test_what_a_marked_engine_does_not_show_is_said(world: Any) -> None:
    world.fault = lambda g: in_module("layers.2", g) if len(g.outputs) == 1 else g
    x = inputs()
    model, _ = world.compile(Chain(), inputs=[x], verify=False)
    report = trtnn.check(model, x)
    assert not report and report.node is None and not report.reproduced
    way = "outputs" if world.trt.__version__.startswith("8.") else "debug tensors"
    assert f"right with values between modules marked as {way}" in report.finding


def test_debug_tensors_leave_the_outputs_as_they_are(world: Any) -> None:
    world.fault = lambda graph: in_module("layers.2", graph)
    x = inputs()
    model, _ = world.compile(Chain(), inputs=[x], precision="fp16", verify=False)
    names = []
    built = trtnn.compiler.build_engine  # type: ignore[attr-defined]

    def watched(*given: Any, **how: Any) -> Any:
        engine = built(*given, **how)
        names.append([name for name, is_input, _ in engine.tensors if not is_input])
        return engine

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("trtnn.compiler.build_engine", watched)
        report = trtnn.check(model, x)
    assert report.node is not None and report.node.path == "layers.2"
    old = world.trt.__version__.startswith("8.")
    assert (len(names[0]) > 4) if old else names[0] == ["output_0"]


def test_an_engine_that_tells_nothing_is_marked_by_outputs(world: Any) -> None:
    """As where the builder drops what it is told to tell of."""
    world.fault = lambda graph: in_module("layers.2", graph)
    x = inputs()
    model, _ = world.compile(Chain(), inputs=[x], precision="fp16", verify=False)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tests.double.debugging.Listening.emit", lambda *given: None)
        report = trtnn.check(model, x)
    assert report.node is not None and report.node.path == "layers.2"


def test_a_precision_that_pytorch_finds_is_tried_on_an_engine(world: Any) -> None:
    x = inputs(9.0)
    model, _ = world.compile(Chain(_1=1e5), inputs=[x], precision=HALF, verify=False)
    report = trtnn.check(model, x, fix=True)
    assert report.reproduced and "an engine that was built so is right" in str(report)
    assert len(world.answers) == 2
    world.fault = lambda graph: in_module("layers.3", graph)
    assert "an engine built so is not yet" in str(trtnn.check(model, x, fix=True))


def test_tf32_that_is_too_coarse_is_told(world: Any) -> None:
    net, x = Then(lambda y: y), inputs()
    model, _ = world.compile(net, inputs=[x], verify=False)
    world.fault = lambda graph: in_module("linear", graph)
    model, _ = world.compile(net, inputs=[x], verify=False, cache=False)
    report = trtnn.check(model, x, fix=True)
    assert not report.reproduced and report.precision is None
    world.fault = lambda graph: graph
    report = trtnn.check(model, x, fix=True)
    assert report.precision is not None and report.precision.dtype == "fp32"
    assert 'precision="fp32"' in str(report)


# What is given ------------------------------------------------------------------------------------


def test_a_lazy_model_a_view_and_names_are_taken() -> None:
    x = inputs()
    lazy = trtnn.compile(Chain(_1=1e5), precision=HALF, **REFERENCE)
    assert not trtnn.check(lazy, named={"x": x * 9})
    assert not trtnn.check(lazy.with_execution("async"), x * 9)
    assert trtnn.check(Chain(), named={"x": x}, **REFERENCE)


def test_dims_and_host_inputs_are_taken() -> None:
    batch, times = trtnn.Dim("b", 1, 4, 16), trtnn.Dim("n", 1, 2, 8)
    declared = [trtnn.Input((batch, 16), name="x"), trtnn.Input(times, host=True)]
    model = trtnn.compile(lambda x, n: x.repeat(1, n) * 2, inputs=declared, **REFERENCE)
    assert trtnn.check(model, inputs(), 3)


def test_a_model_that_has_other_weights_than_its_graph_is_refused() -> None:
    net, x = nn.Linear(16, 4), inputs()
    model = trtnn.compile(net, inputs=[x], **REFERENCE)
    assert trtnn.check(model, x)
    view = model.with_profile(0)
    model.refit(nn.Linear(16, 4).state_dict())
    for one in (model, view):
        with pytest.raises(UnsupportedError, match="the model was refitted"):
            trtnn.check(one, x)
    model = trtnn.compile(net, inputs=[x], **REFERENCE)
    net.load_state_dict(nn.Linear(16, 4).state_dict())
    with pytest.raises(UnsupportedError, match="weights were written to"):
        trtnn.check(model, x)


@pytest.mark.parametrize("world", ["11"], indirect=True)
def test_a_loaded_model_does_not_know_its_module(world: Any, tmp_path: Path) -> None:
    x = inputs()
    model, _ = world.compile(Chain(), inputs=[x], options=BuildOptions())
    model.save(tmp_path / "net.trtnn")
    loaded = trtnn.load(tmp_path / "net.trtnn", device="cpu")
    with pytest.raises(UnsupportedError, match="it was loaded") as bad:
        trtnn.check(loaded, x)
    assert "give check the module" in str(bad.value)


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ({"tolerance": 0}, "tolerance: expected a number above 0, got 0"),
        ({"tolerance": True}, "tolerance: expected a number above 0, got True"),
        ({"tolerance": "small"}, "tolerance: expected a number"),
        ({"precision": "fp8"}, "precision: the model is compiled already"),
        ({"backend": "reference"}, "backend: the model is compiled already"),
        ({"options": BuildOptions()}, "options: the model is compiled already"),
    ],
)
def test_options_that_are_none_are_refused(given: dict[str, Any], text: str) -> None:
    model = trtnn.compile(Chain(), inputs=[inputs()], **REFERENCE)
    with pytest.raises(OptionError, match=text):
        trtnn.check(model, inputs(), **given)


def test_inputs_that_do_not_fit_are_refused_by_name() -> None:
    model = trtnn.compile(Chain(), inputs=[inputs()], **REFERENCE)
    with pytest.raises(InputError, match=r"x: expected torch.float32, got torch.float16"):
        trtnn.check(model, inputs().half())
    with pytest.raises(InputError, match="x"):
        trtnn.check(model)
    with pytest.raises(OptionError, match="model: expected a module, or what compile gave, got 3"):
        trtnn.check(3)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="the graph refuses them: index out of range"):
        trtnn.check(nn.Embedding(4, 2), torch.tensor([4]), **REFERENCE)


def test_nothing_is_warned_of() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        trtnn.check(Chain(_1=1e5), inputs(9.0), precision=HALF, **REFERENCE, fix=True)
