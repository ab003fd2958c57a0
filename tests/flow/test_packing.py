"""Packed sequences made in ``forward``: against eager, on all builders; what is refused."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

import trtnn
from tests.flow.proving import prove
from tests.flow.test_recurrent import lively
from trtnn.errors import TraceError, UnsupportedError

BATCH, STEPS = trtnn.Dim("batch", 1, 3, 4), trtnn.Dim("steps", 1, 6, 12)
INPUTS = [trtnn.Input((BATCH, STEPS, 5)), trtnn.Input((BATCH,), torch.int64)]
CALLS = [
    (torch.randn(len(lengths), steps, 5), torch.tensor(lengths))
    for lengths, steps in (([6, 4, 1], 6), ([7], 12), ([3, 3, 2, 1], 5))
]


def network(kind: Any, *, is_sorted: bool = True, total: Any = None, **how: Any) -> Any:
    net = lively(kind(5, 4, batch_first=True, **how))

    def function(x: torch.Tensor, lengths: torch.Tensor) -> Any:
        packed = pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=is_sorted)
        output, last = net(packed)
        long = x.shape[1] if total == "all" else total
        return pad_packed_sequence(
            output, batch_first=True, padding_value=-3.0, total_length=long
        ), last

    return function


@pytest.mark.parametrize("kind", [torch.nn.LSTM, torch.nn.GRU, torch.nn.RNN])
def test_as_long_as_the_input(kind: Any) -> None:
    function = network(kind, total="all", bidirectional=True)
    graph = prove(function, INPUTS, CALLS, tolerance=1e-5)
    assert [node.op.name for node in graph.nodes].count("Loop") == 2


def test_as_long_as_the_longest_in_any_order() -> None:
    calls = [(torch.randn(3, 6, 5), torch.tensor(order)) for order in ([2, 5, 3], [1, 1, 1])]
    function = network(torch.nn.LSTM, is_sorted=False, num_layers=2, bidirectional=True)
    prove(function, INPUTS, calls, versions=("10", "11"), tolerance=1e-5, real=False)


def test_few_static_steps_and_lengths_that_are_known() -> None:
    function = network(torch.nn.GRU, bidirectional=True, total=8)
    given = [trtnn.Input((3, 6, 5)), trtnn.Input((3,), torch.int64)]
    prove(function, given, CALLS[:1], tolerance=1e-5)
    prove(lambda x: function(x, [6, 4, 1]), given[:1], [CALLS[0][:1]], tolerance=1e-5)


def test_what_is_packed_may_be_read() -> None:
    def function(x: torch.Tensor, lengths: torch.Tensor) -> Any:
        return pack_padded_sequence(x, lengths, batch_first=True).data * 2

    prove(function, INPUTS, CALLS, versions=("10", "11"), real=False)


def of(change: Any) -> Any:
    net = lively(torch.nn.LSTM(5, 4, batch_first=True))

    def function(x: torch.Tensor, lengths: torch.Tensor) -> Any:
        return net(change(pack_padded_sequence(x, lengths, batch_first=True)))[1]

    return function


def written(packed: PackedSequence) -> PackedSequence:
    packed.data.mul_(2)
    return packed


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (written, "lstm of a packed sequence whose data were computed after it was packed"),
        (
            lambda p: PackedSequence(torch.relu(p.data), p.batch_sizes),
            "lstm of a packed sequence whose data were computed after it was packed",
        ),
        (lambda p: p.batch_sizes[1], r"batch_sizes\[1\] of a packed sequence"),
        (lambda p: torch.sum(p.batch_sizes), "does not go there: sum.*, not BatchSizes"),
    ],
    ids=["written", "another", "second", "summed"],
)
def test_what_is_refused(change: Any, text: str) -> None:
    with pytest.raises(UnsupportedError, match=text):
        trtnn.trace(of(change), INPUTS)


def test_a_packed_sequence_is_no_result() -> None:
    with pytest.raises(TraceError, match="forward returns a BatchSizes"):
        trtnn.trace(lambda x, n: pack_padded_sequence(x, n, batch_first=True), INPUTS)
