"""Hot calls: what they ask for, as counts, and the default stream's detour, played by fakes."""

from __future__ import annotations

import gc
import sys
import warnings
import weakref
from collections.abc import Callable
from itertools import product
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from tests.run.test_calls import EXECUTIONS, VERSIONS, make, pair, plain_record
from trtnn.errors import InputError, StreamError
from trtnn.run import cuda_graphs, guards, hot
from trtnn.run.streams import make_detour


@pytest.fixture(autouse=True)
def no_cuda_graphs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cuda_graphs, "record", plain_record)


def python_calls(call: Callable[[], Any]) -> list[str]:
    """Return the names of the Python functions that a call runs, in order."""
    seen: list[str] = []

    def note(frame: Any, event: str, _: Any) -> None:
        if event == "call":
            seen.append(frame.f_code.co_name)

    sys.setprofile(note)
    try:
        call()
    finally:
        sys.setprofile(None)
    return seen


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
        assert [name for name in python_calls(call) if name != "<lambda>"] == ["call"]
        assert (dict(context.handle.calls), dict(runner.engine.handle.calls)) == before


def test_a_hot_replay_asks_for_nothing_but_its_stream() -> None:
    model = make("8.6", "graph")
    x, y = pair(4)
    out = model(x, y)
    (captured,) = model._runner.graphs.values()
    captured.replay = int  # no Python function
    for call in (lambda: model(x, y), lambda: model(x, y, out=out)):
        call()
        assert python_calls(call) == ["<lambda>", "call", "run", "number", "keep", "keep"]


@pytest.mark.parametrize("graphs_kept", [0, 8])
def test_a_call_without_its_graph_allocates_once(
    graphs_kept: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any) -> Any:
        raise StreamError("no capture here", search=False)

    made: list[Any] = []
    real = torch.empty_strided
    monkeypatch.setattr(
        torch, "empty_strided", lambda *a, **k: made.append(real(*a, **k)) or made[-1]
    )
    if not graphs_kept:
        monkeypatch.setattr(cuda_graphs, "record", refuse)
    model = make("8.6", "graph")
    calls = [pair(size) for size in range(1, 10)]  # one more than the graphs that are kept
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        for x, y in calls:
            model(x, y)
    made.clear()
    for x, y in calls:
        model(x, y)
    # Two outputs a call, and as many of the graph that is captured anew.
    assert len(made) == len(calls) * (4 if graphs_kept else 2)


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


class Told(list[tuple[Any, ...]]):
    """What CUDA is told, in order; Ctrl-C falls into the call ``last``."""

    last: tuple[Any, ...] | None = None

    def append(self, item: tuple[Any, ...]) -> None:
        super().append(item)
        if item == self.last:
            raise KeyboardInterrupt


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> Told:
    """Return what CUDA is told: streams by name, events by their number."""
    kept = Told()

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


@pytest.mark.parametrize("last", [("enqueue", 7), ("record", 1, "side")])
def test_the_default_stream_waits_for_what_was_begun_before_an_interrupt(
    told: Told, last: tuple[Any, ...]
) -> None:
    told.last = last
    with pytest.raises(KeyboardInterrupt):
        make_detour(lambda stream: told.append(("enqueue", stream)) or True, DEFAULT)()
    assert told == ORDER


class Refused(Exception):
    """A capture was found."""


class Played:
    """A hot call on a GPU, with fakes of all that it uses, and what it did."""

    def __init__(self, stream: int, *, capturing: bool = False, **kind: Any) -> None:
        chosen = {"inputs": 1, "outputs": 1, "result": None, "execution": "async", **kind}
        ins, outs = (
            [f"{letter}{i}" for i in range(chosen[what])]
            for letter, what in (("a", "inputs"), ("b", "outputs"))
        )
        fixed = {"order": (*ins, *outs), "names": (*ins, *outs), "blocks": 1, "cuda": True}
        made = {"waits": True, "takes_out": False, "elsewhere": False, **fixed, **chosen}
        names: dict[str, Any] = {}
        exec(hot.Kind(**made).source(), names)
        self.calls: list[tuple[str, Any]] = []
        self.stream, self.state, self.outputs = stream, hot.State(len(outs)), len(outs)
        self.state.entry = self.entry(stream)
        graph = SimpleNamespace(run=lambda inputs, results: self.note("replay")(len(inputs)))
        given = {
            **dict.fromkeys([*hot.FIXED, *(f"dtype{i}" for i in range(len(outs)))]),
            "state": self.state,
            "find": lambda *_: self.entry(self.stream),
            "general": lambda *_: self.note("general")(None),
            "pool": SimpleNamespace(waiting=0),
            "current": lambda index: self.stream,
            "wait": self.note("wait"),
            "capturing": lambda: capturing,
            "refuse_capture": self.refuse,
            "device_now": lambda: None,
            "allocate": lambda *_, **__: self.tensor(4096),
            "written": lambda outputs: self.note("written")(len(outputs)),
            "detour": lambda context: self.note("detour")(context.number),
            "graphs": {"key": graph},
        }
        self.inputs = [self.tensor(256 * (i + 1)) for i in range(len(ins))]
        self.call = names["make"](**given)

    def tensor(self, address: int) -> Any:
        record = self.note("record_stream")
        return SimpleNamespace(is_nested=False, data_ptr=lambda: address, record_stream=record)

    def note(self, what: str) -> Any:
        return lambda given: self.calls.append((what, given)) or True

    def refuse(self) -> None:
        raise Refused

    def entry(self, stream: int) -> hot.Entry:
        context = SimpleNamespace(
            number=stream,
            where=None,
            locate=lambda *_: True,
            enqueue=self.note("enqueue"),
            execute=self.note("execute"),
        )
        known = hot.Known(SimpleNamespace(graph_key="key"), f"stream {stream}")  # type: ignore[arg-type]
        fits, layouts = lambda *_: True, [(2,), (1,)] * self.outputs
        return (fits, fits, {}, [context], stream, known, *layouts)


SHAPES = [(1, 1, None), (2, 1, tuple), (1, 2, list), (3, 3, tuple)]  # inputs, outputs, result


@pytest.mark.parametrize("capturing", [False, True])
@pytest.mark.parametrize("stream", [0, 5])
@pytest.mark.parametrize("execution", EXECUTIONS)
def test_every_source_for_a_gpu_runs(execution: str, stream: int, capturing: bool) -> None:
    """The CPU's have no streams: what only a GPU runs is at least run with fakes."""
    for (ins, outs, result), out, elsewhere in product(SHAPES, [False, True], [False, True]):
        kind = {"inputs": ins, "outputs": outs, "result": result, "execution": execution}
        played = Played(stream, capturing=capturing, takes_out=out, elsewhere=elsewhere, **kind)
        if capturing and (execution == "async" or (execution == "graph" and stream)):
            with pytest.raises(Refused):
                played.call(*played.inputs)
            continue
        answer = played.call(*played.inputs)
        assert type(answer) is (result or SimpleNamespace)
        if out:
            tensors = [played.tensor(8192 * (i + 1)) for i in range(outs)]
            mine = result(tensors) if result else tensors[0]
            addresses = tuple(t.data_ptr() for t in (*played.inputs, *tensors))
            hot.remember_apart(played.state.entry, addresses)
            assert played.call(*played.inputs, out=mine) is mine
            assert ("written", outs) in played.calls or execution == "graph"
        assert "general" not in dict(played.calls)


@pytest.mark.parametrize("stream", [0, 5])
def test_a_hot_call_takes_it_on_the_default_stream_alone(stream: int) -> None:
    played = Played(stream)
    played.call(*played.inputs)
    launched = ("enqueue", 5) if stream else ("detour", 0)
    assert played.calls == [launched, ("record_stream", f"stream {stream}")]


@pytest.mark.parametrize("stream", [0, 5])
def test_a_hot_call_looks_for_the_entry_of_its_stream(stream: int) -> None:
    played = Played(9)
    played.stream = stream  # another than that of the last call
    played.call(*played.inputs)
    assert played.calls[-1] == ("record_stream", f"stream {stream}")


def test_a_forked_process_keeps_what_it_may_not_destroy() -> None:
    model = make("8.6", "async")
    model(*pair(4))
    pool = model._runner.pool
    (context,) = pool.contexts
    context.detour = lambda: True
    detour = weakref.ref(context.detour)
    pool.abandon()
    del model, pool, context
    gc.collect()
    assert detour() is not None
