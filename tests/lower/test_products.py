"""In what linear layers of 16 bits add up: the layers that each TensorRT is told."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import trtnn
from tests import double, real_builder
from tests.answering import let_answer
from tests.cache.test_compiling import World
from tests.double.inference import facts
from trtnn import OptionError
from trtnn.compiler import optimize
from trtnn.engine.builder import build
from trtnn.lower.network import lower
from trtnn.ops.quantization import fake_quantize_per_tensor_affine
from trtnn.options import BuildOptions
from trtnn.precision.policy import Precision
from trtnn.precision.typing import typed
from trtnn.trt.library import TensorRT

X = trtnn.Input((2, 5, 8), name="x")
HALF = trtnn.Input((2, 5, 8), torch.float16, name="x")
MODES = (None, "fp32", "any")
# What makes the operands of each product of an engine, and in what it computes.
PLAIN, PAIRED, ISLAND = "half", "casts of half", "float"
NEW = {None: PAIRED, "fp32": PAIRED, "any": PLAIN}
EMITTED: dict[str, dict[str | None, str]] = {
    "8.6": {None: PLAIN, "fp32": ISLAND, "any": PLAIN},
    "10": NEW,
    "11": NEW,
    "rtx": {None: PLAIN, "fp32": PAIRED, "any": PLAIN},
}
ALL = [(version, mode) for version in EMITTED for mode in MODES]


class Attention(nn.Module):
    """Three linear layers of one value, the products of an attention, and one linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.q, self.k, self.v, self.o = (nn.Linear(8, 8) for _ in range(4))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        q, k, v = self.q(x), self.k(x), self.v(x)
        return self.o(F.softmax(q @ k.mT * 0.35, -1) @ v)


def emitted(version: str, graph: Any, mode: str | None) -> list[tuple[str, Any]]:
    """Return the label of each product of a network, and what it is."""
    library = TensorRT(double.load(version))
    graph = optimize(graph, library, accumulate=mode)
    build(graph, library, BuildOptions())  # the double's contract takes it
    network = library.network(library.builder())
    net = lower(graph, library, network)
    found = []
    for index in range(network.num_layers):
        layer = network.get_layer(index)
        if layer._kind == "IMatrixMultiplyLayer":
            found.append((layer.name.partition("#")[0], what_is(layer)))
    del net
    return found


PARTS = ("IShuffleLayer", "IPoolingLayer", "IShuffleLayer")


def unparted(tensor: Any) -> list[Any]:
    """Return what reads a tensor, behind the layers that part a region on 8.6."""
    around = [tensor]
    for kind in PARTS:
        if [x._kind for x in around[-1]._consumers] != [kind]:
            break
        around.append(around[-1]._consumers[0]._outputs[0])
    return list((around[-1] if len(around) == 4 else tensor)._consumers)


def what_is(layer: Any) -> str:
    """Return what a product of 16 bits has become."""
    made = [tensor._producer for tensor in layer._inputs]
    kinds = [maker._kind if maker is not None else "input" for maker in made]
    if facts(layer._outputs[0]).dtype == "HALF":
        return PLAIN
    after = unparted(layer._outputs[0])
    assert [x._kind for x in after] == ["ICastLayer"]
    assert [facts(x._outputs[0]).dtype for x in after] == ["HALF"]
    if kinds == ["ICastLayer", "IConstantLayer"]:
        assert facts(made[1]._outputs[0]).dtype == "FLOAT"
        return ISLAND
    assert kinds == ["ICastLayer"] * 2
    given = [maker._inputs[0] for maker in made]
    assert [facts(tensor).dtype for tensor in given] == ["HALF"] * 2
    assert given[1]._producer._kind == "IConstantLayer"
    assert all(len(maker._outputs[0]._consumers) == 1 for maker in made)
    return PAIRED


@pytest.mark.parametrize(("version", "mode"), ALL)
@pytest.mark.parametrize("half", [True, False], ids=["half module", "fp16"])
def test_a_linear_layer(version: str, mode: str | None, half: bool) -> None:
    net = nn.Linear(8, 4).half() if half else nn.Linear(8, 4)
    precision = Precision() if half else Precision("fp16")
    graph = typed(trtnn.trace(net, [HALF if half else X]), precision).graph
    assert emitted(version, graph, mode) == [("MatrixMultiply", EMITTED[version][mode])]


@pytest.mark.parametrize(("version", "mode"), ALL)
def test_the_products_of_an_attention_stay(version: str, mode: str | None) -> None:
    graph = typed(trtnn.trace(Attention(), [X]), Precision("fp16")).graph
    found = emitted(version, graph, mode)
    linear = EMITTED[version][mode]
    inside = [("MatrixMultiply", PLAIN)] * 2
    layers = {name: (f"{name}/MatrixMultiply", linear) for name in "qkvo"}
    assert found == [layers["q"], layers["k"], layers["v"], *inside, layers["o"]]


@pytest.mark.parametrize(("version", "mode"), ALL)
def test_float32_and_8_bits_have_nothing_to_say(version: str, mode: str | None) -> None:
    library = TensorRT(double.load(version))
    weight = torch.randn(8, 8).half()

    def rounded(x: torch.Tensor) -> torch.Tensor:
        return fake_quantize_per_tensor_affine(x, 0.1, 0, -128, 127) @ weight

    for function, given in ((nn.Linear(8, 4), X), (rounded, HALF)):
        graph = trtnn.trace(function, [given])
        changed = optimize(graph, library, accumulate=mode)
        assert changed.text() == optimize(graph, library, accumulate="any").text()


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("precision", ["fp16", "bf16"])
def test_the_real_builder_takes_it(precision: str, mode: str | None) -> None:
    graph = typed(trtnn.trace(Attention(), [X]), Precision(precision)).graph
    assert real_builder.build(graph, accumulate=mode)


@pytest.mark.parametrize("version", ["8.6", "10", "11"])
def test_models_are_right_and_the_report_and_the_key_name_it(
    version: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = World(version, tmp_path / "cache", monkeypatch)
    answers = let_answer(monkeypatch)
    net, x = Attention(), torch.randn(2, 5, 8)
    told = {
        PLAIN: "4 products of 16 bits add up as TensorRT chooses, perhaps in 16 bits",
        PAIRED: "4 products of 16 bits add up in float32",
        ISLAND: "4 products of 16 bits add up in float32, in which they are computed",
    }
    made = {}
    for mode in MODES:
        precision = Precision("fp16", accumulate=mode)
        model, _ = world.compile(net, inputs=[X], precision=precision)
        note = f"accumulate={mode!r}: {told[EMITTED[version][mode]]}"
        assert note in str(model.precision_report).splitlines()
        torch.testing.assert_close(model(x), net(x), rtol=2e-2, atol=2e-2)
        made[mode] = EMITTED[version][mode]
        assert world.compile(net, inputs=[X], precision=precision)[1] == ["Runtime"]
    assert len(answers) == len(set(made.values()))  # an engine for each that differs


def test_the_text_of_a_graph_says_what_adds_up_in_float32() -> None:
    graph = trtnn.trace(nn.Linear(8, 4).half(), [HALF])
    library = TensorRT(double.load("11"))
    texts = {mode: optimize(graph, library, accumulate=mode).text() for mode in MODES}
    assert "wide_sums" not in texts["any"] and "wide_sums=True" in texts[None] == texts["fp32"]


def test_only_these_words_are_taken() -> None:
    with pytest.raises(OptionError, match=r"precision.accumulate: expected one of fp32, any"):
        Precision(accumulate="fp16")
    assert str(Precision("fp16", accumulate="any")) == "fp16 (accumulate='any')"
