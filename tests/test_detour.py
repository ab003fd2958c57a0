"""The legacy default stream's detour: its order, and that a hot call takes it, played by fakes."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from trtnn import hot
from trtnn.streams import make_detour


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
