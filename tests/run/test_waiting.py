"""Calls, bound calls and refits that wait for each other: nobody starves or slips through."""

from __future__ import annotations

import threading
import time
import weakref
from typing import Any

import pytest
import torch

import trtnn
from tests.run.test_calls import EXECUTIONS, make, pair, plain_record
from trtnn.run import cuda_graphs
from trtnn.run.cuda_graphs import Captured


@pytest.fixture(autouse=True)
def no_cuda_graphs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cuda_graphs, "record", plain_record)


def test_an_interrupt_while_a_refit_waits_leaves_everything_as_it_was() -> None:
    model = make("8.6", max_contexts=1)
    x, y = pair(4)
    model(x, y)
    pool = model._runner.pool
    (context,) = pool.contexts
    context.home.remove(context)  # as if a call used it

    def interrupt(*_: Any) -> None:
        raise KeyboardInterrupt

    pool.returned.wait = interrupt
    with pytest.raises(KeyboardInterrupt), pool.exclusive():
        pass
    del pool.returned.wait
    pool.put(context)
    torch.testing.assert_close(model(x, y)[0], x + y)
    assert pool.contexts == [context] and pool.owner is None and not pool.waiting


@pytest.mark.parametrize("execution", EXECUTIONS)
def test_no_context_is_left_while_weights_change(execution: str) -> None:
    model = make("8.6", execution)
    x, y = pair(4)
    bound = model.bind(x, y)
    model(x, y)
    bound()
    pool = model._runner.pool
    handles = [weakref.ref(c.handle) for c in pool.contexts]
    handles += [weakref.ref(h.context.handle) for h in pool.holders if isinstance(h, Captured)]
    with pool.exclusive():
        assert [handle() for handle in handles] == [None] * len(handles)


@pytest.mark.parametrize("busy", ["bound", "out"])
def test_nobody_starves_behind_a_thread_that_calls_without_a_pause(busy: str) -> None:
    model = make("8.6", max_contexts=1)
    x, y = pair(4)
    out, other = model(x, y), pair(7)
    bound = model.bind(x, y)
    slow = lambda addresses: time.sleep(2e-4) is None  # noqa: E731 - the GIL is free, as in TensorRT
    for context in (
        *model._runner.pool.contexts,
        *(h.ready[0] for h in model._runner.pool.holders),
    ):
        context.execute = slow
    stop = threading.Event()

    def loop() -> None:
        while not stop.is_set():
            bound() if busy == "bound" else model(x, y, out=out)

    worker = threading.Thread(target=loop)
    worker.start()
    answered = threading.Event()

    def wait() -> None:
        model(*other)
        with model._runner.pool.exclusive():
            answered.set()

    waiter = threading.Thread(target=wait, daemon=True)
    waiter.start()
    try:
        assert answered.wait(20)
    finally:
        stop.set()
        worker.join()
        waiter.join()


@pytest.mark.parametrize("execution", EXECUTIONS)
def test_nothing_is_made_while_weights_change(execution: str) -> None:
    model = make("8.6", execution)
    x, y = pair(4)
    model(x, y)
    made: list[str] = []

    def bind() -> None:
        model.bind(x, y)
        made.append("bind")

    def call() -> None:
        model(x, y)
        made.append("call")

    threads = [threading.Thread(target=act) for act in (bind, call)]
    with model._runner.pool.exclusive():
        for thread in threads:
            thread.start()
            thread.join(0.05)
        assert made == []
    for thread in threads:
        thread.join()
    assert sorted(made) == ["bind", "call"]


@pytest.mark.parametrize("execution", EXECUTIONS)
def test_a_bound_call_that_cannot_be_made_anew_says_so(execution: str) -> None:
    model = make("8.6", execution)
    x, y = pair(4)
    bound = model.bind(x, y)
    library = model.engine.library
    working = library.context
    with pytest.raises(trtnn.BuildError, match="no context"), model._runner.pool.exclusive():
        library.context = lambda *args, **how: (_ for _ in ()).throw(trtnn.BuildError("no context"))
    for _ in range(2):
        with pytest.raises(trtnn.BuildError, match="bind once more"):
            bound()
    library.context = working
    with model._runner.pool.exclusive():
        pass
    torch.testing.assert_close(bound()[0], x + y)
    torch.testing.assert_close(model(x, y)[0], x + y)
