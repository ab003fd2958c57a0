"""What a trace costs grows with what forward does, and not with its square."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import trtnn
from trtnn import Input
from trtnn.run import reference


def written_views(count: int) -> int:
    """Return how many nodes a trace records that writes to each of as many living views."""

    def forward(x: torch.Tensor) -> Any:
        y = x * 2
        views = [y[i] for i in range(count)]
        for view in views:
            view.add_(1)
        return y, views[0] + views[-1]

    recorded: list[Any] = []
    original = trtnn.tracing.recorder.Recorder._record

    def record(self: Any, op: Any, operands: Any) -> Any:
        recorded.append(op)
        return original(self, op, operands)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trtnn.tracing.recorder.Recorder, "_record", record)
        graph = trtnn.trace(forward, [Input((count, 3))])
    graph.check()
    return len(recorded)


def test_live_views_times_writes_are_linear() -> None:
    assert written_views(80) < 2.2 * written_views(40)


def test_views_read_what_was_written_last() -> None:
    def forward(x: torch.Tensor) -> Any:
        y = x * 2
        row, column = y[1], y[:, 1]
        y.add_(1)
        first = row + 0
        column.mul_(2)
        row[0] = 7.0
        return y, row, column, first

    x = torch.randn(3, 3)
    model = trtnn.compile(forward, inputs=[Input((3, 3))], backend="reference")
    assert all(map(torch.equal, model(x), forward(x)))


def test_a_call_of_the_reference_asks_each_output_once(monkeypatch: pytest.MonkeyPatch) -> None:
    count = 50
    model = trtnn.compile(
        lambda x: [x + i for i in range(count)], inputs=[Input((2,))], backend="reference"
    )
    asked: list[torch.Tensor] = []
    original = reference._memory
    monkeypatch.setattr(reference, "_memory", lambda t: asked.append(t) or original(t))
    model(torch.ones(2))
    assert len(asked) <= 3 * count


def test_as_many_nested_modules_as_eager_takes() -> None:
    module: torch.nn.Module = torch.nn.Linear(3, 3)
    for _ in range(200):
        module = torch.nn.Sequential(module)
    x = torch.ones(2, 3)
    expected = module(x).detach()
    model = trtnn.compile(module, inputs=[Input((2, 3))], backend="reference")
    torch.testing.assert_close(model(x), expected)
