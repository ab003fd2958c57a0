"""What 16 bits cannot hold stays in float32: ranges, masks, integers, small spreads."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import trtnn
from tests.precision.test_typing import BFLOAT, HALF, Net, X, compiled, linear, results, types
from tests.zoo import MODELS
from trtnn.precision.policy import Precision
from trtnn.precision.typing import typed


class Decaying(nn.Module):
    """Each layer makes entries a hundred times smaller, the last gives them back."""

    def __init__(self, factors: list[float]) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(8, 8, bias=False) for _ in factors)
        for layer, factor in zip(self.layers, factors, strict=True):
            layer.weight.data = torch.eye(8) * factor

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for layer in self.layers:
            x = layer(x)
        return x


@pytest.mark.parametrize("factors", [[1e-3, 1e-3, 1e-3, 1e3, 1e3, 1e3], [1e3, 1e3, 1e-3, 1e-3]])
def test_what_leaves_the_range_of_half_stays_wide(factors: list[float]) -> None:
    net, x = Decaying(factors), torch.randn(2, 4, 8)
    model = compiled(net, inputs=[X], precision="fp16")
    torch.testing.assert_close(model(x), x, atol=2e-3, rtol=2e-3)
    reasons = " ".join(line.reason for line in model.precision_report.lines)
    assert "no value above" in reasons or "values up to" in reasons
    blind = compiled(net, inputs=[X], precision=Precision("fp16", ranges=False))
    assert not torch.allclose(blind(x), x, atol=2e-3, rtol=2e-3)


def test_mobilenet_as_it_is_initialised_is_not_0() -> None:
    net = MODELS["small"]["mobilenet_v3_small"].build().eval()
    x = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        wanted = net(x)
    given = compiled(net, inputs=[trtnn.Input(tuple(x.shape))], precision="fp16")(x)
    assert float((given - wanted).norm() / wanted.norm()) < 2e-2


def test_a_large_constant_is_kept_wide_and_a_large_factor_is_not() -> None:
    graph = trtnn.trace(lambda x: linear(x) + 1e6, [X])
    assert "SUM float" in types(typed(graph, Precision("fp16")).graph)
    graph = trtnn.trace(lambda x: linear(x) * 1e6, [X])
    assert "PROD half" in types(typed(graph, Precision("fp16")).graph)


def shifted(x: torch.Tensor) -> torch.Tensor:
    return F.layer_norm(x + 3000, (8,)) @ torch.eye(8)


def normalized(x: torch.Tensor) -> torch.Tensor:
    y = linear(x) * torch.tensor([0.0, 1.0] * 4)
    return F.normalize(y * 0) + F.normalize(y) + y / (y.abs().amax() + 1e-8)


def mean_of_squares(x: torch.Tensor) -> torch.Tensor:
    y = linear(x) * 500
    return linear(y * torch.rsqrt((y.pow(2).flatten(1) + 1e-6).mean()))


def angles(x: torch.Tensor) -> torch.Tensor:
    places = torch.arange(4).to(torch.float32)[:, None] * 1000
    return linear(x) + (places @ torch.linspace(0.9, 1.1, 8)[None]).cos()


TABLE = torch.linspace(0.9999, 0.005, 10)


def looked_up(x: torch.Tensor) -> torch.Tensor:
    step = (x[0, 0] > 100).int()
    return linear(x) / torch.sqrt(1 - TABLE[step])


def not_a_mask(x: torch.Tensor) -> torch.Tensor:
    return (x * 1e-5 * 1e5).softmax(-1) + (linear(x) @ linear(x).mT * 1e-5 * 1e5).softmax(-1).sum()


HARD = (shifted, normalized, mean_of_squares, angles, looked_up, not_a_mask)


@pytest.mark.parametrize("precision", ["fp16", "bf16"])
@pytest.mark.parametrize("function", HARD)
def test_what_16_bits_would_spoil_stays_right(function: Callable[..., Any], precision: str) -> None:
    x = torch.randn(2, 4, 8)
    wanted = function(x)
    (given,) = results(typed(trtnn.trace(function, [X]), Precision(precision)).graph, [x])
    assert float((given - wanted).norm() / wanted.norm()) < {"fp16": 5e-3, "bf16": 4e-2}[precision]


@pytest.mark.parametrize("precision", ["fp16", "bf16"])
@pytest.mark.parametrize("dtype", [torch.int64, torch.float32])
def test_rows_that_see_nothing_stay_finite(dtype: torch.dtype, precision: str) -> None:
    def forward(x: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        q = linear(x)
        least = torch.finfo(torch.float32).min
        added = mask if dtype.is_floating_point else (1 - mask.float()) * least
        scores = q @ q.mT + added[:, None, :]
        if not dtype.is_floating_point:
            scores = torch.where(mask[:, None, :] != 0, scores, torch.full_like(scores, least))
        return scores.softmax(-1) @ q

    batch = trtnn.Dim("batch", 1, 2, 4)
    inputs = [trtnn.Input((batch, 4, 8)), trtnn.Input((batch, 4), dtype)]
    mask = torch.tensor([[1, 1, 0, 0], [0, 0, 0, 0]])
    if dtype.is_floating_point:
        mask = (1 - mask.float()) * torch.finfo(torch.float32).min
    low = typed(trtnn.trace(forward, inputs), Precision(precision)).graph
    (given,) = results(low, (torch.randn(2, 4, 8), mask))
    assert given.isfinite().all()


def test_an_integer_is_not_cut() -> None:
    def forward(x: torch.Tensor, n: torch.Tensor) -> torch.Tensor:
        return linear(x) * 1000 / n.float()

    low = typed(trtnn.trace(forward, [X, trtnn.Input((8,), torch.int64)]), Precision("fp16")).graph
    x, n = torch.randn(2, 4, 8), torch.full((8,), 100000)
    torch.testing.assert_close(results(low, (x, n))[0], x / 100, atol=1e-4, rtol=2e-3)


def test_a_norm_that_is_asked_for_is_not_folded_away() -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4)).eval()
    graph = trtnn.trace(net, [trtnn.Input((1, 3, 4, 4))])
    wide = typed(graph, Precision("fp16", classes={nn.BatchNorm2d: "fp32"})).graph
    assert "BatchNorm float" in types(wide) and "Convolution half" in types(wide)


def test_a_half_module_takes_low_inputs() -> None:
    net, x = Net().half(), torch.randn(2, 4, 8).half()
    how = {"inputs": [trtnn.Input((2, 4, 8), HALF)], "precision": Precision("fp16", inputs="low")}
    assert compiled(net, **how)(x).dtype == HALF


def test_a_call_under_autocast_is_the_same() -> None:
    net, x = Net(), torch.randn(2, 4, 8)
    model = compiled(net, inputs=[X])
    with torch.autocast("cpu", dtype=BFLOAT):
        assert model(x).dtype == torch.float32
