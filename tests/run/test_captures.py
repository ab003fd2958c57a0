"""What a capture leaves behind: PyTorch's rules for the pools of captures, played by a fake."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from trtnn.errors import StreamError
from trtnn.run import cuda_graphs

CPU = torch.device("cpu")


class Rules:
    """What PyTorch keeps of pools: which exist, which are being recorded into, and who has them."""

    def __init__(self) -> None:
        self.recording: set[Any] = set()
        self.users: dict[Any, int] = {}
        self.broken = False

    def end(self, _: int, pool: Any) -> None:
        if pool not in self.recording:
            raise RuntimeError("not currently recording to mempool_id")
        self.recording.discard(pool)


class Raw:
    """``torch._C._CUDAGraph``."""

    rules: Rules

    def capture_begin(self, pool: Any = None, capture_error_mode: str = "") -> None:
        rules = self.rules
        assert capture_error_mode == "thread_local"
        if pool is None:
            pool = (len(rules.users) + 1, 0)
        elif not rules.users[pool]:
            raise RuntimeError("it->second->use_count > 0 INTERNAL ASSERT FAILED")
        if pool in rules.recording:
            raise RuntimeError("already recording to mempool_id")
        self.own = pool
        rules.recording.add(pool)
        rules.users[pool] = rules.users.get(pool, 0) + 1

    def capture_end(self) -> None:
        if self.rules.broken:  # cudaStreamEndCapture comes first
            raise RuntimeError("operation failed due to a previous error during capture")
        self.rules.end(0, self.own)

    def pool(self) -> Any:
        return self.own

    def replay(self) -> None: ...

    def __del__(self) -> None:
        if hasattr(self, "own"):
            self.rules.users[self.own] -= 1


@pytest.fixture
def rules(monkeypatch: pytest.MonkeyPatch) -> Iterator[Rules]:
    kept = Rules()
    fakes = {
        "CUDAGraph": type("CUDAGraph", (Raw,), {"rules": kept}),
        "Stream": lambda _: SimpleNamespace(
            cuda_stream=1, wait_stream=lambda _: None, synchronize=lambda: None
        ),
        "current_stream": lambda _: None,
        "stream": lambda _: nullcontext(),
    }
    for name, fake in fakes.items():
        monkeypatch.setattr(torch.cuda, name, fake)
    monkeypatch.setattr(torch._C, "_cuda_endAllocateToPool", kept.end, raising=False)
    cuda_graphs._pool.cache_clear()
    yield kept
    cuda_graphs._pool.cache_clear()


def capture(enqueue: Any = lambda stream: True, *, capturable: bool = True) -> Any:
    streams: Any = SimpleNamespace(device=CPU, index=0)
    context = SimpleNamespace(enqueue=enqueue, capturable=lambda stream: capturable)
    return cuda_graphs.record(context, streams, [])


def test_captures_share_a_pool_that_lives_on(rules: Rules) -> None:
    kept = [capture() for _ in range(3)]
    assert len(rules.users) == 1 and not rules.recording
    del kept
    capture()  # nobody but the pool's own graph has it now
    assert rules.users == {(1, 0): 1}


def refuse(rules: Rules) -> Any:
    """Return an engine that runs once, and breaks the capture of its second run."""
    runs: list[int] = []

    def enqueue(stream: int) -> bool:
        runs.append(stream)
        rules.broken = len(runs) > 1
        return not rules.broken

    return enqueue


def interrupt() -> Any:
    """Return an engine whose second run is interrupted."""
    runs: list[int] = []

    def enqueue(stream: int) -> bool:
        runs.append(stream)
        if len(runs) > 1:
            raise KeyboardInterrupt
        return True

    return enqueue


@pytest.mark.parametrize("kind", ["refused", "interrupted"])
def test_a_capture_that_breaks_breaks_no_other(rules: Rules, kind: str) -> None:
    capture()
    enqueue = refuse(rules) if kind == "refused" else interrupt()
    with pytest.raises(StreamError if kind == "refused" else KeyboardInterrupt):
        capture(enqueue)
    assert not rules.recording  # or memory is held back
    rules.broken = False
    capture()
    assert len(rules.users) == 2 and not rules.recording


def test_an_engine_that_says_that_it_cannot_be_captured_is_not(rules: Rules) -> None:
    with pytest.raises(StreamError, match="the engine says that it cannot be captured"):
        capture(capturable=False)
    assert not rules.users and not rules.recording
