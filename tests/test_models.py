"""Whole models, unmodified, with lively weights: the reference against eager, and three doubles."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import trtnn
from tests.compare import error, leaves
from tests.ops.test_ops import check_lowering
from tests.real_builder import build, needs_builder
from tests.zoo import MODELS, SENTENCES, build_lively, minilm
from trtnn.graph.graph import Graph
from trtnn.sizes.dims import Dim

BATCH = Dim("batch", 1, 2, 4)
NAMES = list(MODELS["small"])


@pytest.fixture(scope="module", params=NAMES)
def compiled(request: Any) -> Any:
    model = MODELS["small"][request.param]
    net = build_lively(model, 0)
    inputs = [trtnn.Input((BATCH, *t.shape[1:]), t.dtype) for t in model.inputs(2, 1)]
    return model, net, trtnn.compile(net, inputs=inputs, backend="reference")


@pytest.mark.parametrize("size", [1, 2, 4])
def test_reference_equals_eager(compiled: Any, size: int) -> None:
    model, net, ours = compiled
    inputs = model.inputs(size, 5)
    with torch.no_grad():
        expected = list(leaves(net(*inputs)))
    for given, wanted in zip(leaves(ours(*inputs)), expected, strict=True):
        assert error(given, wanted) <= 1e-4


@pytest.mark.parametrize("version", ["8.6", "10", "11"])
def test_lowers(compiled: Any, version: str) -> None:
    _, _, ours = compiled
    check_lowering(ours.graph, version, [BATCH])


@needs_builder
def test_the_real_builder_takes_it(compiled: Any) -> None:
    _, _, ours = compiled
    assert len(build(ours.graph)) > 1000


@pytest.mark.parametrize("version", ["8.6", "10", "11"])
@pytest.mark.parametrize("name", ["resnet18", "swin_t", "vit_b_16", "bert_encoder"])
def test_half_lowers(name: str, version: str) -> None:
    model = MODELS["small"][name]
    net = build_lively(model, 0).half()
    inputs = [
        trtnn.Input((BATCH, *t.shape[1:]), torch.float16 if t.is_floating_point() else t.dtype)
        for t in model.inputs(2, 1)
    ]
    check_lowering(trtnn.trace(net, inputs), version, [BATCH])


def test_minilm_embeds_sentences_as_eager_does() -> None:
    model = minilm()
    net, given = model.module, model.inputs(SENTENCES)
    batch, length = Dim("batch", 1, 8, 32), Dim("length", 2, 16, 64)
    ids = trtnn.Input((batch, length), torch.int64)
    compiled = trtnn.compile(
        net, inputs={"input_ids": ids, "attention_mask": ids}, backend="reference"
    )
    ours, eager = (_embed(f(**given), given["attention_mask"]) for f in (compiled, net))
    assert bool((torch.cosine_similarity(ours, eager) >= 0.9999).all())
    assert torch.equal(_nearest(ours), _nearest(eager))


def _embed(output: Any, mask: torch.Tensor) -> torch.Tensor:
    weights = mask[..., None].float()
    mean = (output.last_hidden_state.detach() * weights).sum(1) / weights.sum(1)
    return torch.nn.functional.normalize(mean)


def _nearest(embedded: torch.Tensor) -> torch.Tensor:
    return (embedded @ embedded.T - 2 * torch.eye(len(embedded))).argmax(1)


def test_norms_are_folded_and_nothing_changes() -> None:
    model = MODELS["small"]["resnet18"]
    net = build_lively(model, 0)
    graph = trtnn.trace(net, [trtnn.Input(model.inputs(2, 1)[0].shape)])
    folded = trtnn.graph.passes.fold_norms(graph)
    assert _count(graph, "BatchNorm") == 20 and _count(folded, "BatchNorm") == 0
    x = model.inputs(2, 1)
    (before,), (after,) = (trtnn.graph.interpreter.run(g, list(x))[0] for g in (graph, folded))
    assert error(after, before) <= 1e-5


def _count(graph: Graph, name: str) -> int:
    return sum(node.op.name == name for node in graph.nodes)
