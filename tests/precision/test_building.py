"""The same models in every precision, built for every TensorRT, each layer in its type."""

from __future__ import annotations

from functools import cache

import pytest
import torch

import trtnn
from tests import double, real_builder
from tests.compare import error
from tests.zoo import MODELS, build_lively
from trtnn.compiler import graph_of, optimize
from trtnn.engine.builder import build
from trtnn.errors import UnsupportedError
from trtnn.graph.graph import Graph
from trtnn.lower.network import lower
from trtnn.options import BuildOptions
from trtnn.precision.policy import WORDS, Precision
from trtnn.precision.typing import typed
from trtnn.tracing.signature import declare
from trtnn.trt.library import TensorRT

NAMES = ("mlp", "resnet18", "mobilenet_v3_small", "bert_encoder", "vit_b_16")


@cache
def traced(name: str) -> Graph:
    model = MODELS["small"][name]
    batch = trtnn.Dim("batch", 1, 2, 4)
    inputs = [trtnn.Input((batch, *x.shape[1:]), x.dtype) for x in model.inputs(2, 1)]
    return trtnn.trace(build_lively(model), inputs)


@pytest.mark.parametrize("precision", WORDS)
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("version", ["8.6", "10", "11"])
def test_on_the_doubles(version: str, name: str, precision: str) -> None:
    """Their contracts compare the types that TensorRT is told with those of the network."""
    library = TensorRT(double.load(version))
    asked = Precision(precision)
    if (version, precision) == ("8.6", "bf16"):
        with pytest.raises(UnsupportedError, match=r"precision: TensorRT 8\.6.* has no bfloat16"):
            asked.require_types(library.target)
        return
    lowered = optimize(typed(traced(name), asked).graph, library)
    build(lowered, library, BuildOptions(), tf32=asked.uses_tf32)
    low = sum(node.outputs[0].spec.dtype == asked.low for node in lowered.nodes)
    assert low > len(lowered.nodes) / 2 if asked.low else not low


def test_halves_beside_products_of_8_bits_are_not_told_their_type_on_8_6() -> None:
    net = torch.nn.Sequential(torch.nn.Linear(64, 64), torch.nn.GELU(), torch.nn.Linear(64, 64))
    net = torch.nn.Sequential(torch.nn.LayerNorm(64), net).eval()
    x = torch.randn(32, 64)
    library = TensorRT(double.load("8.6"))
    told = {}
    for name, module in (("plain", net), ("quantized", trtnn.quantize(net, [x]))):
        graph, _ = graph_of(
            module, Precision("fp16"), library, declare(module, [x]), torch.device("cpu")
        )
        lowered = optimize(graph.graph, library)
        network = library.network(library.builder())
        lower(lowered, library, network)
        layers = [network.get_layer(i) for i in range(network.num_layers)]
        set_ = [layer.precision.name for layer in layers if layer.precision_is_set]
        told[name] = set_.count("HALF")
        build(lowered, library, BuildOptions())
    assert told["plain"] > 5 and told["quantized"] == 0


# The real TensorRT --------------------------------------------------------------------------------


class Perceptron(torch.nn.Module):
    """A residual block between two products, whose numbers go beyond half and back."""

    def __init__(self, width: int = 64) -> None:
        super().__init__()
        self.first, self.last = torch.nn.Linear(width, width), torch.nn.Linear(width, width)
        self.norm = torch.nn.LayerNorm(width)
        self.wide = torch.nn.Sequential(torch.nn.Linear(width, width), torch.nn.GELU())
        self.back = torch.nn.Linear(width, width)
        with torch.no_grad():
            self.wide[0].weight.mul_(3e5)
            self.back.weight.div_(3e5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.first(x)
        return self.last(x + self.back(self.wide(self.norm(x))))


@pytest.mark.gpu
@pytest.mark.parametrize("kept", [("wide", "back"), ("norm", "wide", "back"), ("norm",)])
def test_what_is_kept_in_float32_is_computed_in_it(kept: tuple[str, ...]) -> None:
    torch.manual_seed(0)
    net, x = Perceptron().cuda().eval(), torch.randn(4, 16, 64, device="cuda")
    if "wide" not in kept:  # then nothing goes beyond half
        net.wide[0].weight.data.div_(3e5)
        net.back.weight.data.mul_(3e5)
    precision = Precision("fp16", modules={f"{name}*": "fp32" for name in kept}, ranges=False)
    model = trtnn.compile(net, inputs=[x], precision=precision, backend="tensorrt", cache=False)
    assert error(model(x), net(x)) <= 5e-3 and model.verified


@pytest.mark.gpu
@pytest.mark.parametrize("precision", ["tf32", "fp16"])
def test_a_quantized_transformer_is_built(precision: str) -> None:
    torch.manual_seed(0)
    net = torch.nn.TransformerEncoderLayer(128, 4, 256, batch_first=True).cuda().eval()
    x = torch.randn(4, 32, 128, device="cuda")
    quantized = trtnn.quantize(net, [torch.randn_like(x) for _ in range(2)], progress=False)
    assert quantized.report.quantized
    place = {"backend": "tensorrt", "cache": False}
    model = trtnn.compile(quantized, inputs=[x], precision=precision, **place)
    assert error(model(x), quantized(x)) <= 2e-2 and model.verified


@pytest.mark.parametrize("precision", WORDS)
@pytest.mark.parametrize("name", NAMES)
def test_by_the_real_builder(name: str, precision: str) -> None:
    graph = typed(traced(name), Precision(precision)).graph
    assert real_builder.build(graph)
    assert {v.spec.dtype for v in graph.outputs} == {torch.float32}
