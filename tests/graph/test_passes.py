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
from trtnn.graph import passes
from trtnn.graph.graph import Graph
from trtnn.graph.interpreter import run
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
