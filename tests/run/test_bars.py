"""How far engines may be off: norms, bars, and the graph in wider types and in their own."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch

import trtnn
from tests.zoo import MODELS, build_lively
from trtnn.graph.interpreter import run
from trtnn.run.bars import REFUSED, Results, VagueError, measure, ranked
from trtnn.run.rounding import own, widened, without_tf32

INF = float("inf")

RIGHT_VALUES = torch.randn(8, 100, generator=torch.Generator().manual_seed(0))


def worst(engine: Any, exact: Any, near: Any = None, kind: str = "half") -> float:
    given = [torch.as_tensor(t) for t in (engine, exact, exact if near is None else near)]
    return max(one.times for one in measure(0, Results(*given), kind))


def test_a_dead_logit_of_a_thousand_is_found() -> None:
    right = torch.randn(1, 1000, generator=torch.Generator().manual_seed(0))
    wrong = right.clone()
    wrong[0, 3] = 0
    (l2, channel) = measure(0, Results(wrong, right, right * (1 + 3e-4)), "half")
    assert l2.error < 0.05 and channel.error > 0.3 and channel.times > REFUSED


@pytest.mark.parametrize(
    ("engine", "exact", "near", "low", "high"),
    [
        ([1.0, 2.0], [1.0, 2.0], None, 0, 0),
        ([1.0, INF], [1.0, 2.0], None, INF, INF),
        ([1.0, float("nan")], [1.0, 2.0], None, INF, INF),
        ([1.0, 5.0], [1.0, INF], None, 0, 0),
        ([1.0, INF], [1.0, 9e4], [1.0, INF], 0, 0),
        ([-1e38, *[1.0] * 9], [-3e38, *[1.0] * 9], None, 0, 0),
        ([-1e38, *[500.0] * 9], [-1e38, *[1.0] * 9], None, 20, INF),  # not beside the mask's
        ([True] * 100, [True] * 99 + [False], None, 0.9, 1.0),
        ([True] * 100, [True] * 50 + [False] * 50, None, 49, 51),
        ([1.0] * 90, [1.0] * 100, None, 9, 11),  # a count
    ],
)
def test_how_far_an_output_is(engine: Any, exact: Any, near: Any, low: float, high: float) -> None:
    assert low <= worst(engine, exact, near) <= high


def test_what_rounding_explains_is_allowed() -> None:
    near = RIGHT_VALUES * 1.02
    assert worst(RIGHT_VALUES * 1.05, RIGHT_VALUES, near) < 1
    assert worst(RIGHT_VALUES * 1.05, RIGHT_VALUES) > REFUSED


@pytest.mark.parametrize("near", [RIGHT_VALUES * 1.2])
def test_an_output_that_rounding_moves_shows_nothing(near: torch.Tensor) -> None:
    with pytest.raises(VagueError, match="by rounding alone"):
        worst(RIGHT_VALUES, RIGHT_VALUES, near)


def test_indices_are_judged_by_what_stands_there() -> None:
    scores = torch.tensor([[1.0, 2.0, 2.0001], [3.0, 0.0, 1.0]])
    right = torch.tensor([2, 0])
    for found, low, high in (([1, 0], 0, 0.1), ([2, 1], REFUSED, INF), ([2, 7], INF, INF)):
        results = Results(torch.tensor(found), right, right)
        times = max(one.times for one in ranked(0, results, scores, 1, "half"))
        assert low <= times <= high


# What it is held against --------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@torch.no_grad()
def test_the_reference_is_the_graph_in_wider_types(dtype: torch.dtype) -> None:
    net = build_lively(MODELS["small"]["bert_encoder"]).half()
    given = MODELS["small"]["bert_encoder"].inputs(2, 1)
    graph = trtnn.trace(net, list(given))
    (hidden, _), _ = run(graph, given, compute=widened(dtype, torch.device("cpu")))
    assert hidden.dtype == dtype
    expected = copy.deepcopy(net).to(dtype)(*given)[0]
    assert float((hidden - expected).norm() / expected.norm()) < 1e-5
    assert {c.tensor.dtype for c in graph.constants.values()} >= {torch.float16}


def test_switches_of_pytorch_are_put_back() -> None:
    switches = torch.backends.cuda.matmul, torch.backends.cudnn.conv
    before = [switch.fp32_precision for switch in switches]
    with pytest.raises(KeyError), without_tf32():
        assert [switch.fp32_precision for switch in switches] == ["ieee", "ieee"]
        raise KeyError
    assert [switch.fp32_precision for switch in switches] == before


def test_products_are_cut_to_ten_bits() -> None:
    x = torch.tensor([[1 + 2.0**-10 + 2.0**-11]])
    graph = trtnn.trace(lambda a, b: a @ b, [x, torch.ones(1, 1)])
    for tf32, expected in ((True, 1 + 2.0**-10), (False, float(x))):
        compute = own(torch.device("cpu"), tf32=tf32)
        assert float(run(graph, [x, torch.ones(1, 1)], compute=compute)[0][0]) == expected
