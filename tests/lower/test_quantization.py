"""What TensorRT is told of quantized graphs, on the doubles."""

from __future__ import annotations

import re
from typing import Any

import pytest
import torch
import torch.nn.functional as F

import trtnn
from tests import double
from trtnn.compiler import optimize
from trtnn.engine.builder import build_plan
from trtnn.errors import UnsupportedError
from trtnn.graph.interpreter import run
from trtnn.graph.passes import fold_lone_weights
from trtnn.lower.network import lower
from trtnn.ops.quantization import QuantizeDequantize
from trtnn.options import BuildOptions
from trtnn.trt.library import TensorRT


class Aware(torch.nn.Module):
    """A linear layer and a convolution whose weights and inputs are fake quantized."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.head = torch.nn.Conv2d(3, 4, 3), torch.nn.Linear(4, 5)
        self.register_buffer("steps", torch.tensor(0.05))

    def quantized(self, x: torch.Tensor) -> torch.Tensor:
        zero = torch.zeros((), dtype=torch.int32)
        return torch.fake_quantize_per_tensor_affine(x, self.steps.float(), zero, -128, 127)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.conv2d(self.quantized(x), self.quantized(self.conv.weight), self.conv.bias)
        x = self.quantized(torch.relu(x).flatten(2).mT)
        return F.linear(x, self.quantized(self.head.weight), self.head.bias)


def lowered(module: torch.nn.Module, version: str, dtype: torch.dtype) -> tuple[Any, Any]:
    graph = trtnn.trace(module, [trtnn.Input((2, 3, 5, 5), dtype)])
    library = TensorRT(double.load(version))
    builder = library.builder()
    network = library.network(builder)
    net = lower(optimize(graph, library), library, network)
    types = {"half": net.half, "quantized": net.quantized}
    return network, library.config(builder, BuildOptions(), tf32=True, **types)


def layers_of(network: Any) -> list[Any]:
    return [network.get_layer(i) for i in range(network.num_layers)]


@pytest.mark.parametrize("version", ("8.6", "10", "11"))
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_weights_are_quantized_in_the_network_and_nothing_stands_before_what_computes(
    version: str, dtype: torch.dtype
) -> None:
    network, config = lowered(Aware().to(dtype).eval(), version, dtype)
    layers = layers_of(network)
    computing = ("IConvolutionLayer", "IMatrixMultiplyLayer")
    found = [x for x in layers if x._kind in computing]
    assert len(found) == 2
    for layer in found:
        before = [t._producer._kind for t in layer._inputs[:2]]
        assert before == ["IDequantizeLayer"] * 2, layer._name
        if version == "8.6":
            assert not layer.precision_is_set and not layer.output_type_is_set(0)
    assert config._has("INT8") == (version == "8.6")
    assert config._has("FP16") == (version == "8.6" and dtype == torch.float16)


def test_a_quantized_constant_is_a_node_and_a_new_state_gives_new_scales() -> None:
    module = Aware().eval()
    graph = trtnn.trace(module, [trtnn.Input((2, 3, 5, 5))])
    nodes = [node for node in graph.nodes if isinstance(node.op, QuantizeDequantize)]
    assert [node.inputs[0] in graph.constants for node in nodes].count(True) == 2
    state = {**module.state_dict(), "steps": torch.tensor(0.5)}
    again = graph.recompute(state)
    assert {float(again[node.inputs[1]]) for node in nodes} == {0.5}


def test_8_6_refuses_to_refit_a_quantized_network() -> None:
    graph = trtnn.trace(Aware().eval(), [trtnn.Input((2, 3, 5, 5))])
    library = TensorRT(double.load("8.6"))
    with pytest.raises(UnsupportedError, match="cannot refit a quantized network"):
        build_plan(optimize(graph, library), library, BuildOptions(refit="refit"))


@pytest.mark.parametrize(
    ("version", "dtype", "weights", "match"),
    [
        ("8.6", torch.float8_e4m3fn, False, "8.6.* does not quantize to float8_e4m3fn"),
        ("rtx", torch.int8, False, "activations=False"),
        ("rtx", torch.int8, True, None),
        ("rtx", torch.float8_e4m3fn, False, None),
        ("10", torch.int8, False, None),
        ("11", torch.float8_e4m3fn, False, None),
    ],
)
def test_what_each_version_takes(
    version: str, dtype: torch.dtype, weights: bool, match: str | None
) -> None:
    def function(x: torch.Tensor) -> torch.Tensor:
        y = torch.ones(2, 3, 5, 5) if weights else x
        return x + trtnn.functional.quantize_dequantize(y, 0.1, dtype=dtype)  # <- here

    network = None
    try:
        network, _ = lowered(function, version, torch.float32)  # type: ignore[arg-type]
    except UnsupportedError as error:
        assert match is not None and "# <- here" in str(error)
        assert error.hint is not None
        assert re.search(match, str(error))
    assert (network is None) == (match is not None)


def test_weights_beside_floats_are_rounded_where_8_6_would_multiply_them_wrong() -> None:
    class Weights(Aware):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return F.conv2d(x, self.quantized(self.conv.weight), self.conv.bias)

    module = Weights().eval()
    kinds = {}
    for version in ("8.6", "10"):
        network, _ = lowered(module, version, torch.float32)
        kinds[version] = [type(layer).__name__ for layer in layers_of(network)]
    assert "IQuantizeLayer" in kinds["10"] and "IQuantizeLayer" not in kinds["8.6"]
    graph = trtnn.trace(module, [trtnn.Input((2, 3, 5, 5))])
    rounded = fold_lone_weights(graph, TensorRT(double.load("8.6")).target)
    assert not any(isinstance(node.op, QuantizeDequantize) for node in rounded.nodes)
    x = torch.randn(2, 3, 5, 5)
    assert torch.equal(run(rounded, [x])[0][0], module(x))


def test_weights_beside_both_are_of_8_bits_beside_one_alone() -> None:
    class Twice(Aware):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            weight = self.quantized(self.conv.weight)
            return F.conv2d(self.quantized(x), weight) + F.conv2d(x, weight)

    graph = trtnn.trace(Twice().eval(), [trtnn.Input((2, 3, 5, 5))])
    rounded = fold_lone_weights(graph, TensorRT(double.load("8.6")).target)
    makers = {value: node for node in rounded.nodes for value in node.outputs}
    found = [
        [isinstance(makers[v].op, QuantizeDequantize) for v in node.inputs[:2] if v in makers]
        for node in rounded.nodes
        if node.op.name == "Convolution"
    ]
    assert found == [[True, True], []]
