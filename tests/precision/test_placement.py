"""Where values are quantized, by small graphs that each meet one rule."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import trtnn
from tests import double
from trtnn.compiler import optimize
from trtnn.lower.network import lower
from trtnn.ops.arithmetic import Elementwise
from trtnn.ops.convolution import Convolution
from trtnn.ops.matrix import MatrixMultiply
from trtnn.ops.pooling import Pool
from trtnn.ops.quantization import QuantizeDequantize
from trtnn.ops.slicing import Concat
from trtnn.precision.placement import insert, names_of, points_of, prepared, weighted
from trtnn.trt.library import TensorRT

IMAGE = (2, 16, 8, 8)


class Net(nn.Module):
    """A function of one input and of layers by name."""

    def __init__(self, function: Any, **layers: nn.Module) -> None:
        super().__init__()
        self.function = function
        for name, layer in layers.items():
            self.add_module(name, layer)

    def forward(self, x: torch.Tensor) -> Any:
        return self.function(self, x)


def conv(*args: Any, **kwargs: Any) -> nn.Conv2d:
    return nn.Conv2d(*args, **{"padding": 1, **kwargs})


def reasons(net: nn.Module, shape: Any = IMAGE, *, attention: bool = False) -> Any:
    """Return the layers that are quantized, and why others are not."""
    graph = prepared(trtnn.trace(net.eval(), [trtnn.Input(shape)]), attention=attention)
    chosen, left = weighted(graph, attention=attention)
    return set(chosen), left


def placed(net: nn.Module, shape: Any = IMAGE, **how: Any) -> Any:
    """Return the graph with Q/DQ, and each quantized operand as (op of the reader, index)."""
    attention = how.pop("attention", False)
    traced = trtnn.trace(net.eval(), [trtnn.Input(shape)])
    graph = prepared(traced, attention=attention)
    chosen, _ = weighted(graph, attention=attention)
    points = points_of(graph, set(chosen.values()))
    names = names_of(graph)
    scales = {
        names[value]: 0.02 * (i + 1) for i, value in enumerate(dict.fromkeys(points.values()))
    }
    given = {"per_channel": True, "activations": True, "dtype": torch.int8, **how}
    result = insert(graph, set(chosen), scales, **given)
    result.check()
    makers = {v: node for node in result.nodes for v in node.outputs}
    found = [
        (type(node.op), index)
        for node in result.nodes
        for index, value in enumerate(node.inputs)
        if value in makers and isinstance(makers[value].op, QuantizeDequantize)
    ]
    return result, found


def axes(graph: Any) -> list[int | None]:
    """Return the axis of each quantized constant."""
    return [
        node.op.axis
        for node in graph.nodes
        if isinstance(node.op, QuantizeDequantize) and node.inputs[0] in graph.constants
    ]


LEFT = [
    (Net(lambda s, x: s.c(x), c=conv(8, 16, 3)), (2, 8, 8, 8), "fewer than 16"),
    (Net(lambda s, x: s.c(x), c=conv(16, 8, 3)), IMAGE, "fewer than 16"),
    (Net(lambda s, x: s.c(x), c=conv(20, 20, 3, groups=20)), (2, 20, 8, 8), "groups"),
    (Net(lambda s, x: s.c(x), c=conv(16, 16, 1, groups=16, padding=0)), IMAGE, "groups"),
    (Net(lambda s, x: s.c(x), c=nn.ConvTranspose2d(16, 8, 2)), IMAGE, "fewer than 16"),
    (Net(lambda s, x: s.l(x), l=nn.Linear(16, 1)), (4, 16), "vector"),
    (Net(lambda s, x: s.l(x), l=nn.Linear(16, 16)), (1, 16), "vector"),
    (Net(lambda s, x: x @ x.mT), (2, 4, 16), "both operands are activations"),
    (Net(lambda s, x: s.c(x.mean((2, 3), True)), c=conv(16, 16, 1, padding=0)), IMAGE, "one entry"),
    (
        Net(
            lambda s, x: x * torch.sigmoid(s.l(x.mean((2, 3))))[:, :, None, None],
            l=nn.Linear(16, 16),
        ),
        IMAGE, "squeeze and excite",
    ),
    (
        Net(lambda s, x: s.l(torch.fake_quantize_per_tensor_affine(x, 0.1, 0, -128, 127)),
            l=nn.Linear(16, 16)),
        (4, 16), "quantized already",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("net", "shape", "reason"), LEFT, ids=[row[2] for row in LEFT])
def test_a_layer_that_8_bits_do_not_pay_for_is_left_with_the_reason(
    net: nn.Module, shape: Any, reason: str
) -> None:
    chosen, left = reasons(net, shape)
    assert not chosen and len(left) == 1
    assert reason in next(iter(left.values()))


TAKEN: list[tuple[Any, Any, list[int | None], list[Any]]] = [
    (Net(lambda s, x: s.c(x), c=conv(16, 24, 3)), IMAGE, [0], [(Convolution, 0), (Convolution, 1)]),
    (Net(lambda s, x: s.c(x), c=conv(16, 16, 3, groups=16)), IMAGE, [0], []),
    (Net(lambda s, x: s.c(x), c=nn.ConvTranspose2d(16, 24, 2)), IMAGE, [1], []),
    (Net(lambda s, x: s.c(x), c=nn.ConvTranspose2d(16, 24, 3, groups=8)), IMAGE, [None], []),
    (
        Net(lambda s, x: s.l(x), l=nn.Linear(16, 24)), (4, 16), [0],
        [(MatrixMultiply, 0), (MatrixMultiply, 1)],
    ),
    (Net(lambda s, x: x @ s.l.weight, l=nn.Linear(24, 16)), (4, 16), [1], []),
    (Net(lambda s, x: s.l.weight @ x, l=nn.Linear(16, 24)), (2, 16, 4), [0], []),
]  # fmt: skip


@pytest.mark.parametrize(("net", "shape", "axis", "found"), TAKEN)
def test_weights_have_a_scale_for_each_output(
    net: nn.Module, shape: Any, axis: list[int | None], found: list[Any]
) -> None:
    graph, operands = placed(net, shape)
    assert axes(graph) == axis
    assert len(operands) == 2 and (not found or operands == found)
    single, _ = placed(net, shape, per_channel=False)
    assert axes(single) == [None]
    only, operands = placed(net, shape, activations=False)
    assert axes(only) == axis and len(operands) == 1


def test_the_skip_of_a_residual_block_is_quantized_and_shares_its_pair() -> None:
    net = Net(
        lambda s, x: torch.relu(s.b(torch.relu(s.a(x))) + x), a=conv(16, 16, 3), b=conv(16, 16, 3)
    )
    graph, operands = placed(net)
    assert (Elementwise, 1) in operands and (Elementwise, 0) not in operands
    (skip,) = [node for node in graph.nodes if isinstance(node.op, Elementwise)]
    first = next(node for node in graph.nodes if isinstance(node.op, Convolution))
    assert skip.inputs[1] is first.inputs[0]  # one pair for both readers


@pytest.mark.parametrize("both", [True, False])
def test_a_skip_is_not_quantized_where_its_convolution_has_other_readers(both: bool) -> None:
    def function(s: Any, x: Any) -> Any:
        y = s.a(x)
        return (y + x, y) if both else y + x

    operands = placed(Net(function, a=conv(16, 16, 3)))[1]
    assert ((Elementwise, 1) in operands) == (not both)


def test_a_sum_with_a_constant_or_of_other_shape_has_no_pair() -> None:
    net = Net(lambda s, x: s.a(x) + x.mean((2, 3), True) + 3.0, a=conv(16, 16, 3))
    assert all(kind is Convolution for kind, _ in placed(net)[1])


@pytest.mark.parametrize("all_read", [True, False])
def test_all_inputs_of_a_concat_have_one_scale_or_none(all_read: bool) -> None:
    def function(s: Any, x: Any) -> Any:
        y = torch.cat([torch.relu(x), torch.tanh(x)], 1)
        return s.a(F.max_pool2d(y, 2)) if all_read else (s.a(y), y)

    graph, operands = placed(Net(function, a=conv(32, 16, 3)))
    inputs = [(kind, i) for kind, i in operands if kind is Concat]
    assert inputs == ([(Concat, 0), (Concat, 1)] if all_read else [])
    if all_read:
        (concat,) = [node for node in graph.nodes if isinstance(node.op, Concat)]
        makers = {v: node for node in graph.nodes for v in node.outputs}
        values = {float(graph.constants[makers[v].inputs[1]].tensor) for v in concat.inputs}
        assert len(values) == 1


@pytest.mark.parametrize("both", [True, False])
def test_an_average_pool_is_quantized_where_both_sides_are(both: bool) -> None:
    def function(s: Any, x: Any) -> Any:
        y = F.avg_pool2d(torch.relu(x), 2)
        return s.a(y) if both else s.a(y) + y.sum()

    assert ((Pool, 0) in placed(Net(function, a=conv(16, 16, 3)))[1]) == both


def test_max_pool_and_reshape_get_no_pair() -> None:
    net = Net(lambda s, x: s.l(F.max_pool2d(x, 2).flatten(1)), l=nn.Linear(256, 16))
    assert placed(net)[1] == [(MatrixMultiply, 0), (MatrixMultiply, 1)]


@pytest.mark.parametrize("attention", [True, False])
def test_products_of_attention_are_opted_in(attention: bool) -> None:
    net = Net(lambda s, x: F.scaled_dot_product_attention(x, x, x))
    operands = placed(net, (2, 4, 8, 16), attention=attention)[1]
    assert operands == ([(MatrixMultiply, i) for i in (0, 1, 0, 1)] if attention else [])


def test_scales_are_found_on_the_folded_kernel() -> None:
    net = Net(lambda s, x: s.n(s.c(x)), c=conv(16, 16, 3), n=nn.BatchNorm2d(16))
    with torch.no_grad():
        net.n.weight.fill_(50.0)
    graph, operands = placed(net)
    assert operands == [(Convolution, 0), (Convolution, 1)]
    step = next(
        graph.constants[n.inputs[1]].tensor
        for n in graph.nodes
        if isinstance(n.op, QuantizeDequantize) and n.op.axis == 0
    )
    assert torch.allclose(
        step, net.c.weight.detach().abs().amax((1, 2, 3)) * 50 / (1 + 1e-5) ** 0.5 / 127
    )


def test_weights_of_0_have_the_scale_1_and_a_new_state_gives_new_scales() -> None:
    net = Net(lambda s, x: s.l(x), l=nn.Linear(16, 16))
    with torch.no_grad():
        net.l.weight[3] = 0
    graph, _ = placed(net, (4, 16))
    (node,) = [n for n in graph.nodes if isinstance(n.op, QuantizeDequantize) and n.op.axis == 0]
    assert float(graph.constants[node.inputs[1]].tensor[3]) == 1.0
    state = {name: tensor * 2 for name, tensor in net.state_dict().items()}
    again = graph.recompute(state)[node.inputs[1]]
    expected = graph.constants[node.inputs[1]].tensor * 2
    expected[3] = 1.0
    assert torch.allclose(again, expected)


def test_weights_that_are_not_finite_are_refused() -> None:
    net = Net(lambda s, x: s.l(x), l=nn.Linear(16, 16))
    with torch.no_grad():
        net.l.weight[0, 0] = torch.inf
    with pytest.raises(trtnn.UnsupportedError, match="NaN or infinity"):
        placed(net, (4, 16))


@pytest.mark.parametrize("version", ["8.6", "10", "11"])
def test_pairs_reach_the_layers_of_every_version(version: str) -> None:
    def function(s: Any, x: Any) -> Any:
        y = torch.relu(s.n(s.c(F.pad(x, (1, 1, 1, 1)))) + x)
        return s.l(y.flatten(2).mT)

    layers = {"c": conv(16, 16, 3, padding=0), "n": nn.BatchNorm2d(16), "l": nn.Linear(16, 16)}
    graph, _ = placed(Net(function, **layers))
    library = TensorRT(double.load(version))
    network = library.network(library.builder())
    lower(optimize(graph, library), library, network)
    made = [network.get_layer(i) for i in range(network.num_layers)]
    computing = [x for x in made if x._kind in ("IConvolutionLayer", "IMatrixMultiplyLayer")]
    assert len(computing) == 2
    for layer in computing:
        kinds = [t._producer._kind for t in layer._inputs[:2]]
        assert kinds == ["IDequantizeLayer"] * 2
