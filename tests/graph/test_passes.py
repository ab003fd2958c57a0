"""What the passes take away, counted; that nothing else changes is for the rows to show."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F

import trtnn
from tests import double
from tests.compare import error
from trtnn import Dim, Input
from trtnn.compiler import graph_of, optimize
from trtnn.graph import passes
from trtnn.graph.graph import Graph
from trtnn.graph.interpreter import run
from trtnn.graph.passes.fused import fused_regions
from trtnn.graph.passes.rewriter import Rewriter
from trtnn.lower.network import lower
from trtnn.ops.pooling import Part
from trtnn.tracing.signature import declare
from trtnn.trt.library import TensorRT

X = Input((2, 3, 8, 8))
W = torch.randn(4, 3, 3, 3)


def count(graph: Graph, name: str) -> int:
    return sum(node.op.name == name for node in graph.nodes)


PADS: dict[str, tuple[Callable[..., Any], int]] = {
    "one side before a conv": (lambda x: F.conv2d(F.pad(x, (0, 1, 0, 1)), W, None, 2), 0),
    "added to the conv's own": (lambda x: F.conv2d(F.pad(x, (1, 0)), W, None, 1, 1), 0),
    "an average of zeros": (lambda x: F.avg_pool2d(F.pad(x, (1, 1, 1, 1)), 3), 0),
    "not counted by the pool": (
        lambda x: F.avg_pool2d(F.pad(x, (1, 1)), 3, 1, 1, count_include_pad=False),
        1,
    ),
    "wider than the window": (lambda x: F.avg_pool2d(F.pad(x, (2, 2)), 2), 1),
    "a maximum": (lambda x: F.max_pool2d(F.pad(x, (1, 1)), 3), 1),
    "of ones": (lambda x: F.conv2d(F.pad(x, (1, 1), value=1.0), W), 1),
    "of channels": (lambda x: F.conv2d(F.pad(x[:, :1], (0, 0, 0, 0, 1, 1)), W), 1),
    "cropping": (lambda x: F.conv2d(F.pad(x, (-1, 1)), W), 1),
    "reflected": (lambda x: F.conv2d(F.pad(x, (1, 1, 0, 0), mode="reflect"), W), 1),
    "read twice": (lambda x: (lambda y: F.conv2d(y, W) + y.sum())(F.pad(x, (1, 1))), 1),
}


@pytest.mark.parametrize("name", PADS)
def test_pads_are_absorbed_where_zeros_mean_the_same(name: str) -> None:
    function, left = PADS[name]
    graph = trtnn.trace(function, [X])
    absorbed = passes.absorb_pads(graph)
    absorbed.check()
    fills = [n for n in absorbed.nodes if n.op.name == "Slice" and n.op.mode != "STRICT_BOUNDS"]  # type: ignore[attr-defined]
    assert len(fills) == left
    x = torch.randn(2, 3, 8, 8)
    (result,), _ = run(absorbed, [x])
    assert error(result, function(x)) <= 1e-6


def test_constants_of_a_type_without_a_layer_are_cast_before_they_are_cut() -> None:
    wide = torch.arange(6, dtype=torch.float64).view(3, 2)

    def forward(x: torch.Tensor, i: torch.Tensor) -> Any:
        part = wide.t()[:, : x.shape[0]]
        return part.float() + x, part[:, i].half(), torch.where(x > 0, part, wide[0, 0]).int()

    batch = Dim("batch", 1, 2, 3)
    graph = trtnn.trace(forward, [Input((batch,)), Input((2,), torch.int64)])
    target = TensorRT(double.load("11")).target
    changed = passes.cast_constants(graph, target)
    changed.check()
    assert not [v for v in changed.values() if v.spec.dtype == torch.float64]
    inputs = [torch.tensor([1.0, -1.0]), torch.tensor([1, 0])]
    for given, wanted in zip(run(changed, inputs)[0], forward(*inputs), strict=True):
        assert given.dtype == wanted.dtype and torch.equal(given, wanted)


def test_a_constant_of_a_type_without_a_layer_is_left_to_what_computes_with_it() -> None:
    wide = torch.arange(3, dtype=torch.float64)
    batch = Dim("batch", 1, 2, 3)

    def forward(x: torch.Tensor) -> Any:
        part = wide[: x.shape[0]]
        return part * 2, part.float(), part

    graph = trtnn.trace(forward, [Input((batch,))])
    changed = passes.cast_constants(graph, TensorRT(double.load("11")).target)
    changed.check()
    results = run(changed, [torch.zeros(2)])[0]
    for given, wanted in zip(results, forward(torch.zeros(2)), strict=True):
        assert given.dtype == wanted.dtype and torch.equal(given, wanted)


def test_equal_nodes_are_merged_but_for_outputs() -> None:
    def forward(x: torch.Tensor) -> Any:
        a, b = torch.exp(x), torch.exp(x)
        return torch.sin(a) + torch.sin(b), torch.exp(x), torch.exp(x) + 1

    graph = trtnn.trace(forward, [X])
    merged = passes.merge_equal(graph)
    merged.check()
    assert (count(graph, "Unary"), count(merged, "Unary")) == (6, 3)
    x = torch.randn(2, 3, 8, 8)
    for given, want in zip(run(merged, [x])[0], forward(x), strict=True):
        torch.testing.assert_close(given, want)


def test_other_numbers_are_not_equal() -> None:
    graph = trtnn.trace(lambda x: F.elu(x, 1.0) + F.elu(x, 2.0), [X])
    assert count(passes.merge_equal(graph), "Activation") == 2


class Attend(torch.nn.Module):
    """Self-attention from one product, cut into heads in one of the ways that libraries have."""

    def __init__(self, cut: str) -> None:
        super().__init__()
        self.cut, self.heads = cut, 4
        self.packed, self.out = torch.nn.Linear(32, 96), torch.nn.Linear(32, 32)

    def parts(self, x: torch.Tensor) -> Any:
        batch, length, width = x.shape
        y = self.packed(x)
        if self.cut == "unbind":  # timm
            return y.reshape(batch, length, 3, self.heads, -1).permute(2, 0, 3, 1, 4).unbind(0)
        if self.cut == "inside heads":  # GPT-NeoX
            return y.view(batch, length, self.heads, -1).transpose(1, 2).chunk(3, -1)
        if self.cut == "addmm":  # GPT-2
            y = torch.addmm(self.packed.bias, x.view(-1, width), self.packed.weight.t())
            y = y.view(batch, length, 3 * width)
        split = y.split(width, dim=2)
        return [p.view(batch, length, self.heads, -1).transpose(1, 2) for p in split]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        q, k, v = self.parts(x)
        y = F.scaled_dot_product_attention(q, k, v)
        return self.out(y.transpose(1, 2).reshape(x.shape))


@pytest.mark.parametrize("length", [10, trtnn.Dim("length", 1, 10, 20)])
@pytest.mark.parametrize("cut", ["unbind", "inside heads", "addmm", "split"])
def test_queries_keys_and_values_get_a_product_each(cut: str, length: Any) -> None:
    net, x = Attend(cut).eval(), torch.randn(2, 10, 32)
    graph = trtnn.trace(net, [Input((2, length, 32))])
    split = optimize(graph, TensorRT(double.load("8.6")))
    assert count(split, "MatrixMultiply") == 6 and count(split, "Slice") == 0
    assert count(split, "Shuffle") <= 5
    assert error(run(split, [x])[0][0], net(x)) <= 1e-6


def test_a_transposed_attention_of_torch_is_transposed_no_more() -> None:
    for batch_first, shuffles in ((True, 4), (False, 6)):
        net = torch.nn.MultiheadAttention(32, 4, batch_first=batch_first).eval()
        graph = trtnn.trace(
            lambda x, net=net: net(x, x, x, need_weights=False)[0], [Input((2, 3, 32))]
        )
        assert count(optimize(graph, TensorRT(double.load("8.6"))), "Shuffle") == shuffles


def shown(x: torch.Tensor, w: torch.Tensor) -> Any:
    y = x @ w
    a, b = y.chunk(2, -1)
    return a @ b.mT, y


UNSPLIT: dict[str, Callable[..., Any]] = {
    "a gated unit": lambda x, w: (lambda a, b: torch.sigmoid(a) * b)(*(x @ w).chunk(2, -1)),
    "seen as a whole": shown,
    "cut by a step": lambda x, w: (x @ w)[..., ::2] @ (x @ w)[..., 1::2].mT,
}


@pytest.mark.parametrize("name", UNSPLIT)
def test_a_product_that_feeds_no_heads_alone_stays_one(name: str) -> None:
    w, function, x = torch.randn(8, 12), UNSPLIT[name], torch.randn(2, 3, 8)
    graph = trtnn.trace(lambda x: function(x, w), [x])
    kept = optimize(graph, TensorRT(double.load("8.6")))
    products = [n for n in kept.nodes if n.op.name == "MatrixMultiply"]
    assert sum(n.inputs[1] in kept.constants for n in products) == 1
    outputs = function(x, w)
    wanted = outputs if isinstance(outputs, tuple) else (outputs,)
    for ours, theirs in zip(run(kept, [x])[0], wanted, strict=True):
        assert error(ours, theirs) <= 1e-6


class Mixed(torch.nn.Module):
    """Attention in half whose perceptron stays in float32, and a convolution before both."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = torch.nn.Conv1d(32, 32, 1)
        self.attend = Attend("split")
        self.norm = torch.nn.LayerNorm(32)
        self.wide = torch.nn.Sequential(torch.nn.Linear(32, 64), torch.nn.Linear(64, 32))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.conv(x.mT).mT
        x = x + self.attend(x)
        return self.attend(x + self.wide(self.norm(x)))


def mixed(version: str, precision: trtnn.Precision) -> tuple[Graph, Any]:
    library, x = TensorRT(double.load(version)), Input((2, 10, 32))
    net = Mixed().eval()
    typed, _ = graph_of(net, precision, library, declare(net, [x]), torch.device("cpu"))
    return optimize(typed.graph, library), typed.graph


WIDE = trtnn.Precision("fp16", modules={"wide*": "fp32"}, ranges=False)


def test_half_and_float32_share_no_region_that_8_6_fuses() -> None:
    graph, typed = mixed("8.6", WIDE)
    before = [{v.spec.dtype for n in r for v in n.outputs} for r in fused_regions(typed)]
    assert before == [{torch.float16, torch.float32}]
    regions = [[n for n in r if n.op.name != "Cast"] for r in fused_regions(graph)]
    assert len(regions) == 2
    assert all(len({v.spec.dtype for n in r for v in n.outputs}) == 1 for r in regions)
    x = torch.randn(2, 10, 32)
    plain = optimize(typed, TensorRT(double.load("10")))
    assert error(run(graph, [x])[0][0], run(plain, [x])[0][0]) <= 2e-3


@pytest.mark.parametrize(
    ("version", "precision"),
    [("10", WIDE), ("11", WIDE), ("8.6", trtnn.Precision("fp16", ranges=False))],
)
def test_what_is_of_one_type_or_strongly_typed_is_not_parted(
    version: str, precision: trtnn.Precision
) -> None:
    graph, _ = mixed(version, precision)
    assert count(graph, "Part") == 0


def test_convolutions_of_two_types_are_not_parted() -> None:
    net = torch.nn.Sequential(*(torch.nn.Conv2d(3, 3, 1) for _ in range(3)))
    library = TensorRT(double.load("8.6"))
    precision = trtnn.Precision("fp16", modules={"1": "fp32"}, ranges=False)
    typed, _ = graph_of(net, precision, library, declare(net, [X]), torch.device("cpu"))
    graph = optimize(typed.graph, library)
    assert {v.spec.dtype for v in graph.values()} == {torch.float16, torch.float32}
    assert count(graph, "Part") == 0


@pytest.mark.parametrize("rank", range(7))
def test_a_part_keeps_any_shape(rank: int) -> None:
    shape = tuple(range(2, 2 + rank))
    library = TensorRT(double.load("8.6"))
    graph = trtnn.trace(lambda x: torch.exp(x), [Input(shape)])
    rewriter = Rewriter(graph)
    (node,) = graph.nodes
    rewriter.substitute(node.outputs, rewriter.record(Part(), [rewriter.tensor(node.inputs[0])]))
    parted = rewriter.finish()
    network = library.network(library.builder())
    lower(parted, library, network)
    kinds = [network.get_layer(i).type.name for i in range(network.num_layers)]
    assert "MAX" in kinds and tuple(network.get_output(0).shape) == shape


S = trtnn.Dim("s", 2, 64, 128)


def by_hand(q: torch.Tensor) -> torch.Tensor:
    return (q @ q.mT / 8 + torch.ones(1, 1)).softmax(-1) @ q


def by_torch(q: torch.Tensor) -> torch.Tensor:
    return F.scaled_dot_product_attention(q, q, q)


@pytest.mark.parametrize("function", [by_hand, by_torch])
def test_attention_over_a_range_is_noted(function: Any) -> None:
    def notes(size: Any) -> str:
        inputs = [Input((1, 2, size, 8))]
        return " ".join(trtnn.compile(function, inputs=inputs, backend="reference").graph.notes)

    assert 'Dim("s", profiles=[(64, 64, 64), ...])' in notes(S)
    assert not notes(64)
    assert not notes(trtnn.Dim("s", profiles=[(64, 64, 64), (128, 128, 128)]))


def test_other_softmaxes_are_not_noted() -> None:
    model = trtnn.compile(lambda x: x.softmax(-1), inputs=[Input((2, S))], backend="reference")
    assert not model.graph.notes
