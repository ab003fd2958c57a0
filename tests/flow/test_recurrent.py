"""``torch.nn``'s recurrent networks and cells, unmodified: against eager, on all builders."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import trtnn
from tests.flow.proving import prove

BATCH, STEPS = trtnn.Dim("batch", 1, 2, 4), trtnn.Dim("steps", 1, 3, 7)
ROW, TIMES = trtnn.Input((BATCH, STEPS, 5)), trtnn.Input((STEPS, BATCH, 5))


def lively(module: torch.nn.Module) -> torch.nn.Module:
    torch.manual_seed(5)
    for parameter in module.parameters():
        torch.nn.init.uniform_(parameter, -0.6, 0.6)
    return module.eval()


@pytest.mark.parametrize("kind", [torch.nn.LSTM, torch.nn.GRU])
def test_two_layers_both_ways_over_a_symbolic_length(kind: Any) -> None:
    module = lively(kind(5, 4, num_layers=2, bidirectional=True, batch_first=True))
    calls = [(torch.randn(b, n, 5),) for b, n in ((1, 1), (2, 3), (4, 7))]
    graph = prove(module, [ROW], calls, tolerance=1e-5)
    assert [node.op.name for node in graph.nodes].count("Loop") == 4


@pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN")
@pytest.mark.parametrize(
    "module",
    [
        torch.nn.RNN(5, 4, nonlinearity="tanh", bias=False),
        torch.nn.RNN(5, 4, nonlinearity="relu"),
        torch.nn.LSTM(5, 6, proj_size=3, bidirectional=True),
    ],
    ids=["tanh", "relu", "projected"],
)
def test_other_networks(module: torch.nn.Module) -> None:
    prove(lively(module), [TIMES], [(torch.randn(3, 2, 5),)], tolerance=1e-5)


def test_a_short_static_length_is_unrolled_and_a_long_one_is_not() -> None:
    module = lively(torch.nn.GRU(5, 4, bidirectional=True))
    short = prove(module, [trtnn.Input((8, BATCH, 5))], [(torch.randn(8, 2, 5),)], tolerance=1e-5)
    long = prove(module, [trtnn.Input((9, BATCH, 5))], [(torch.randn(9, 2, 5),)], tolerance=1e-5)
    loops = [[node.op.name for node in graph.nodes].count("Loop") for graph in (short, long)]
    assert loops == [0, 2]


def test_initial_states_that_are_given() -> None:
    module = lively(torch.nn.LSTM(5, 4, batch_first=True))
    states = (torch.randn(1, 2, 4), torch.randn(1, 2, 4))
    inputs = [trtnn.Input((2, STEPS, 5)), trtnn.Input((1, 2, 4)), trtnn.Input((1, 2, 4))]
    prove(
        lambda x, h, c: module(x, (h, c)), inputs, [(torch.randn(2, 4, 5), *states)], tolerance=1e-5
    )


@pytest.mark.parametrize(
    "cell", [torch.nn.LSTMCell, torch.nn.GRUCell, torch.nn.RNNCell], ids=["lstm", "gru", "rnn"]
)
def test_cells(cell: Any) -> None:
    prove(lively(cell(5, 4)), [trtnn.Input((BATCH, 5))], [(torch.randn(2, 5),)], tolerance=1e-5)
