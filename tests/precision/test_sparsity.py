"""Weights that are 2:4 sparse."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

import trtnn
from trtnn import InputError, sparsify


def is_sparse(weight: torch.Tensor) -> bool:
    groups = weight.detach().movedim(1, -1).reshape(-1, 4)
    return bool(((groups == 0).sum(1) >= 2).all())


@pytest.mark.parametrize(
    "layer",
    [
        nn.Linear(8, 5),
        nn.Conv1d(8, 5, 3),
        nn.Conv2d(8, 6, 3, groups=2),
        nn.Conv3d(4, 5, 2),
        nn.Linear(8, 5).half(),
    ],
)
def test_of_four_weights_along_the_inputs_the_two_larger_stay(layer: Any) -> None:
    net = nn.Sequential(layer)
    before = layer.weight.detach().clone()
    made = sparsify(net)
    weight = made[0].weight
    assert is_sparse(weight) and torch.equal(layer.weight, before)
    kept = weight != 0
    assert torch.equal(weight[kept], before[kept])
    groups = before.movedim(1, -1).reshape(-1, 4).abs().sort(1).values
    larger = groups[:, 2:].double().square().sum().sqrt() / before.double().norm()
    assert made.sparsity_report.kept == {"0": pytest.approx(float(larger))}
    assert isinstance(weight, nn.Parameter) and weight.requires_grad


def test_what_is_left_is_told_and_shared_weights_are_cut_once() -> None:
    net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.Linear(8, 8), nn.Linear(8, 8), nn.BatchNorm2d(8))
    net[2].weight = net[1].weight
    made = sparsify(net)
    assert made[1].weight is made[2].weight and is_sparse(made[1].weight)
    report = made.sparsity_report
    assert set(report.kept) == {"1", "2"} and set(report.left) == {"0"}
    assert "3 inputs are no multiple of 4" in str(report)
    with pytest.raises(InputError, match="module: expected"):
        sparsify(lambda x: x)  # type: ignore[type-var]


def test_a_sparse_module_compiles_and_stays_sparse_with_its_norm_folded() -> None:
    net = nn.Sequential(nn.Conv2d(8, 8, 3), nn.BatchNorm2d(8)).eval()
    made = sparsify(net)
    x = torch.randn(1, 8, 5, 5)
    compiled = trtnn.compile(made, inputs=[x], backend="reference")
    torch.testing.assert_close(compiled(x), made(x).detach())
    graph = trtnn.graph.passes.fold_norms(trtnn.trace(made, [x]))
    kernel = next(c.tensor for c in graph.constants.values() if c.tensor.dim() == 4)
    assert is_sparse(kernel)
