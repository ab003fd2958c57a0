"""One trace at a time: other threads, traces inside traces, tensors that outlive their trace."""

from __future__ import annotations

import threading
from typing import Any

import pytest
import torch

from tests.tracing.traced import X
from trtnn import TraceError, TrtnnError, trace


def test_other_threads_calls_are_untouched() -> None:
    started, done = threading.Event(), threading.Event()
    kinds: list[type] = []

    def other() -> None:
        started.wait(10)
        kinds.append(type(torch.zeros(3) + 1))
        kinds.append(type(torch.nn.Linear(2, 2)(torch.zeros(1, 2))))
        done.set()

    def forward(x: torch.Tensor) -> Any:
        started.set()
        done.wait(10)
        return torch.relu(x)

    thread = threading.Thread(target=other)
    thread.start()
    graph = trace(forward, [X])
    thread.join(10)
    assert kinds == [torch.Tensor, torch.Tensor]
    assert [(n.op.name, n.origin.path) for n in graph.nodes] == [("Activation", "")]


def test_traces_in_two_threads_run_one_after_the_other() -> None:
    inside, most, lengths = [0], [0], []

    def forward(x: torch.Tensor) -> Any:
        inside[0] += 1
        most[0] = max(most[0], inside[0])
        for _ in range(50):
            x = x + 1
        inside[0] -= 1
        return x

    threads = [
        threading.Thread(target=lambda: lengths.append(len(trace(forward, [X]).nodes)))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert lengths == [50] * 4 and most == [1]


def test_a_traced_tensor_stays_in_its_thread() -> None:
    errors: list[str] = []

    def forward(x: torch.Tensor) -> Any:
        def use() -> None:
            try:
                x + 1
            except TrtnnError as error:
                errors.append(error.message)

        thread = threading.Thread(target=use)
        thread.start()
        thread.join(10)
        return x * 1

    trace(forward, [X])
    assert errors == ["a symbolic tensor was used in another thread than the one that traces"]


def test_a_trace_inside_a_trace() -> None:
    inner: list[Any] = []

    def forward(x: torch.Tensor) -> Any:
        y = x * 2
        inner.append(trace(lambda z: torch.relu(z) + torch.ones(6) * 2, [X]))
        with pytest.raises(TraceError, match="of another trace"):
            trace(lambda z: z + x, [X])
        assert torch.compiler.is_compiling()
        return y + torch.ones(6)

    outer = trace(forward, [X])
    assert [node.op.name for node in outer.nodes] == ["Elementwise", "Elementwise"]
    assert [node.op.name for node in inner[0].nodes] == ["Activation", "Elementwise"]


def test_a_tensor_of_an_ended_trace_is_refused() -> None:
    kept: list[torch.Tensor] = []

    def forward(x: torch.Tensor) -> Any:
        kept.append(x)
        return x + 1

    trace(forward, [X])
    with pytest.raises(TrtnnError, match="trace ended"):
        kept[0] + 1
