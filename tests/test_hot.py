"""Hot calls: what they ask for, as counts, and the default stream's detour, played by fakes."""

from __future__ import annotations

import sys
from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from tests.test_calls import EXECUTIONS, VERSIONS, make, pair, plain_record
from trtnn import graphs, guards, hot
from trtnn.errors import InputError
from trtnn.streams import make_detour


@pytest.fixture(autouse=True)
def no_cuda_graphs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(graphs, "record", plain_record)


def test_a_hot_call_runs_one_python_function_and_asks_for_nothing() -> None:
    """The bars of the call on a GPU, as counts: Python calls, TensorRT calls, allocations."""
    model = make("8.6")
    runner = model._runner
    x, y = pair(4)
    out = model(x, y)
    bound = model.bind(x, y)
    (context,) = runner.pool.contexts
    for held in runner.pool.holders:
        held.ready[0].execute = lambda addresses: True
    context.execute = lambda addresses: True
    for call in (lambda: model(x, y), lambda: model(x, y, out=out), bound):
        call()
        before = dict(context.handle.calls), dict(runner.engine.handle.calls)
        seen: list[str] = []
        sys.setprofile(partial(_note, seen))
        try:
            call()
        finally:
            sys.setprofile(None)
        assert [name for name in seen if name != "<lambda>"] == ["call"]
        assert (dict(context.handle.calls), dict(runner.engine.handle.calls)) == before


def test_a_hot_replay_asks_for_nothing_but_its_stream() -> None:
    model = make("8.6", "graph")
    x, y = pair(4)
    out = model(x, y)
    for call in (lambda: model(x, y), lambda: model(x, y, out=out)):
        call()
        seen: list[str] = []
        sys.setprofile(partial(_note, seen))
        try:
            call()
        finally:
            sys.setprofile(None)
        done = [name for name in seen if name not in ("<lambda>", "enqueue")]
        assert done[:5] == ["call", "run", "number", "keep", "keep"]


def _note(seen: list[str], frame: Any, event: str, _: Any) -> None:
    if event == "call":
        seen.append(frame.f_code.co_name)


@pytest.mark.parametrize("version", VERSIONS)
def test_a_queued_call_tells_tensorrt_only_addresses_that_changed(version: str) -> None:
    model = make(version, "async")
    large = pair(8)
    whole = model(*large)
    small, results = (tuple(t[:4] for t in tensors) for tensors in (large, whole))
    model(*small, out=results)
    (context,) = model._runner.pool.contexts
    for given, out, count in (
        (small, results, 0),
        (small, results, 0),
        (small, tuple(torch.zeros(4, 3) for _ in range(2)), 4),
        (small, results, 4),
        (large, whole, 4),  # the same addresses, but the context got other shapes
        (small, results, 4),
        (small, results, 0),
    ):
        before = context.handle.calls["set_tensor_address"]
        answer = model(*given, out=out)
        told = context.handle.calls["set_tensor_address"] - before
        assert torch.equal(answer[0], sum(given))
        assert told == count


@pytest.mark.parametrize("execution", EXECUTIONS)
def test_calls_that_alternate_between_shapes_stay_hot(execution: str) -> None:
    model = make("8.6", execution)
    calls = [pair(4), pair(7)]
    for x, y in calls:
        model(x, y)
    model._runner.prepare = None  # what is not hot fails
    for x, y in calls * 3:
        out = model(x, y)
        torch.testing.assert_close(out[0], x + y)
        x.add_(1)
        assert model(x, y) is not out
        torch.testing.assert_close(model(x, y)[1], x * 2)


def test_the_plain_guard_is_as_strict_as_pytorchs(monkeypatch: pytest.MonkeyPatch) -> None:
    x = torch.randn(4, 3)
    others = [x.double(), x.t(), x[:2], x.to("meta"), x._neg_view(), torch.nn.Parameter(x), 3, None]
    for made in (guards.guard([x]), guards.plain_guard([x])):
        assert made(torch.randn(4, 3)) and not any(made(other) for other in others)
    monkeypatch.setattr(hot, "guard", guards.plain_guard)
    model = make("8.6")
    for size in (4, 4, 7):
        a, b = pair(size)
        torch.testing.assert_close(model(a, b)[0], a + b)
    with pytest.raises(InputError, match="y: size 5 of dim 0 should be 7"):
        model(a, torch.zeros(5, 3))


# The detour --------------------------------------------------------------------------------------


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    """Return what CUDA is told, in order: streams by name, events by their number."""
    kept: list[tuple[Any, ...]] = []

    class Base:
        made = 0

        def __init__(self) -> None:
            self.number = Base.made
            Base.made += 1

        def record(self, stream: Any) -> None:
            kept.append(("record", self.number, stream.name))

        def wait(self, stream: Any) -> None:
            kept.append(("wait", self.number, stream.name))

    side = SimpleNamespace(name="side", cuda_stream=7)
    monkeypatch.setattr(torch.cuda, "Event", type("Event", (Base,), {}))
    monkeypatch.setattr(torch.cuda, "Stream", lambda device: side)
    return kept


DEFAULT: Any = SimpleNamespace(name="default", device="cuda:0")
ORDER = [
    ("record", 0, "default"),
    ("wait", 0, "side"),
    ("enqueue", 7),
    ("record", 1, "side"),
    ("wait", 1, "default"),
]


@pytest.mark.parametrize("answer", [True, False])
def test_the_engine_runs_after_and_before_the_default_stream(told: Any, answer: bool) -> None:
    call = make_detour(lambda stream: told.append(("enqueue", stream)) or answer, DEFAULT)
    for _ in range(2):  # the same events again
        assert call() is answer
        assert told == ORDER
        told.clear()


def test_the_default_stream_waits_for_what_was_begun_before_an_error(told: Any) -> None:
    def interrupted(_: int) -> bool:
        told.append(("enqueue", 7))
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        make_detour(interrupted, DEFAULT)()
    assert told == ORDER


@pytest.mark.parametrize("stream", [0, 5])
def test_a_hot_call_takes_it_on_the_default_stream_alone(stream: int) -> None:
    kind = hot.Kind(1, 1, ("a0", "b0"), ("x", "y"), None, "async", 1, True, True, False, False)
    names: dict[str, Any] = {}
    exec(kind.source(), names)
    calls: list[tuple[str, Any]] = []

    def note(what: str) -> Any:
        return lambda given: calls.append((what, given)) or True

    x: Any = SimpleNamespace(
        is_nested=False, data_ptr=lambda: 256, record_stream=note("record_stream")
    )
    context = SimpleNamespace(where=None, locate=lambda *_: True, enqueue=note("enqueue"))
    known = hot.Known(None, "stream object")  # type: ignore[arg-type]
    state = hot.State(1)
    state.entry = (lambda x: True, None, {}, [context], stream, known, (2,), (1,))
    given = {
        **dict.fromkeys(hot.FIXED),
        "state": state,
        "pool": SimpleNamespace(waiting=0),
        "current": lambda index: stream,
        "capturing": lambda: False,
        "allocate": lambda *_, **__: SimpleNamespace(data_ptr=lambda: 512),
        "detour": note("detour"),
        "dtype0": None,
    }
    names["make"](**given)(x)
    launched = ("enqueue", 5) if stream else ("detour", context)
    assert calls == [launched, ("record_stream", "stream object")]
