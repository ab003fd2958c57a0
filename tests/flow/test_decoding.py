"""A greedy decoder whose loop is in the graph: eager's tokens, on the reference; all builders."""

from __future__ import annotations

import torch

import trtnn
from benchmarks.measures.decoding import stepped
from benchmarks.subjects.decoding import Shape, decoder
from tests.flow.proving import prove


@torch.no_grad()
def test_32_steps_that_an_end_token_stops() -> None:
    net = decoder(Shape(width=16, heads=2, vocabulary=97))
    first = torch.tensor([3, 5])
    tokens, ran = net(first, torch.tensor([-1]))
    assert tokens.shape == (2, 32) and int(ran) == 32
    assert all(len(row.unique()) > 9 for row in tokens)
    ran_to = {end: int(net(first, torch.tensor([end]))[1]) for end in tokens[0].tolist()}
    common = next(end for end, count in ran_to.items() if 1 < count < 32)
    calls = [(first, torch.tensor([end])) for end in (-1, common, 3)]
    calls.append((first[:1], torch.tensor([3])))  # which has ended before the first step
    for call in calls:
        written, ran = net(*call)
        assert torch.equal(written, stepped(net, net.step, *call))
        assert bool((written[:, int(ran) :] == call[1]).all())
    batch = trtnn.Dim("batch", 1, 2, 4)
    inputs = [trtnn.Input((batch,), torch.int64), trtnn.Input((1,), torch.int64)]
    graph = prove(net, inputs, calls)
    assert [node.op.name for node in graph.nodes].count("Loop") == 1
