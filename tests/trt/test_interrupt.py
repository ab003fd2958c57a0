"""Ctrl-C during a build: it ends as soon as TensorRT lets it, and nothing is left half done."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import tests.double as double
import trtnn
from tests.double.phases import PHASES
from tests.double.surface import VERSIONS
from tests.trt.test_progress import DOUBLES, LATER, Terminal, built, compiled_on_gpu, monitor_of
from trtnn.cache import engines
from trtnn.cache.folder import Cache
from trtnn.trt.library import TensorRT
from trtnn.trt.progress import Watch, uninterrupted


@pytest.fixture(autouse=True)
def nothing_meanwhile() -> Any:
    yield
    for trt in DOUBLES.values():
        double.meanwhile(trt, None)


def interrupt(at: str) -> Callable[[str], None]:
    """Return what presses Ctrl-C once, where a phase or a line of the log is named so."""
    pressed: list[str] = []

    def meanwhile(name: str) -> None:
        if at in name and not pressed:
            pressed.append(name)
            signal.raise_signal(signal.SIGINT)

    return meanwhile


POINTS = [("8.6", line) for line in ("Original", "Timing Runner", "Engine generation completed")]
POINTS += [(version, name) for version in LATER for name, _ in PHASES]


@pytest.mark.parametrize(("version", "at"), POINTS)
def test_ctrl_c_ends_a_build_and_nothing_is_written(version: str, at: str, tmp_path: Path) -> None:
    path = tmp_path / "timings"
    handler = signal.getsignal(signal.SIGINT)
    double.meanwhile(DOUBLES[version], interrupt(at))
    with pytest.raises(KeyboardInterrupt):
        built(version, timing_cache=path)
    assert [p.name for p in tmp_path.iterdir()] == ["timings.lock"]
    assert signal.getsignal(signal.SIGINT) is handler
    assert not TensorRT(DOUBLES[version]).log.readers
    assert built(version, timing_cache=path).plan and path.exists()  # the process is as before


@pytest.mark.parametrize("version", LATER)
def test_ctrl_c_ends_it_at_the_next_step(version: str) -> None:
    seen: list[str] = []
    press = interrupt(PHASES[1][0])

    def meanwhile(name: str) -> None:
        seen.append(name)
        press(name)

    double.meanwhile(DOUBLES[version], meanwhile)
    with pytest.raises(KeyboardInterrupt):
        built(version)
    outer, inner, innermost = (name for name, _ in PHASES)
    # The innermost phase starts within the step that is interrupted, and ends after one of its own.
    assert seen == [outer, inner, innermost]


def test_on_8_6_the_running_build_ends_first() -> None:
    seen: list[str] = []
    press = interrupt("Original")

    def meanwhile(line: str) -> None:
        seen.append(line)
        press(line)

    double.meanwhile(DOUBLES["8.6"], meanwhile)
    with pytest.raises(KeyboardInterrupt):
        built("8.6")
    assert "Original" in seen[0] and "Engine generation completed" in seen[-1]


@pytest.mark.parametrize("version", VERSIONS)
def test_ctrl_c_through_compile_leaves_no_entry_in_the_cache(
    version: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trt = DOUBLES[version]
    monkeypatch.setitem(sys.modules, "tensorrt", trt)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    gpu = {"name": "GPU", "compute_capability": [9, 0], "sm_count": 2, "memory_bytes": 2**30}
    monkeypatch.setattr(engines, "gpu_facts", lambda _: gpu)
    lazy = trtnn.compile(torch.nn.ReLU(), device="cpu", backend="tensorrt", cache=tmp_path)
    double.meanwhile(trt, interrupt("e"))
    with pytest.raises(KeyboardInterrupt):
        lazy(torch.zeros(2))
    assert not Cache(tmp_path).entries() and not list(tmp_path.glob("timing-*.cache"))
    assert lazy(torch.zeros(2)).shape == (2,)
    assert len(Cache(tmp_path).entries()) == 1
    builds: list[str] = []
    double.meanwhile(trt, builds.append)
    stderr = Terminal()
    monkeypatch.setattr(sys, "stderr", stderr)
    again = trtnn.compile(
        torch.nn.ReLU(), device="cpu", backend="tensorrt", cache=tmp_path, progress=True
    )
    again(torch.zeros(2))
    assert builds == [] and stderr.getvalue() == ""  # a hit builds nothing, and shows nothing


def test_a_handler_that_raises_nothing_interrupts_nothing() -> None:
    calls: list[int] = []
    before = signal.signal(signal.SIGINT, lambda number, frame: calls.append(number))
    try:
        for version in VERSIONS:
            double.meanwhile(DOUBLES[version], interrupt("e"))
            assert built(version).plan
    finally:
        signal.signal(signal.SIGINT, before)
    assert calls == [signal.SIGINT] * len(VERSIONS)


def test_other_threads_leave_the_handler_alone() -> None:
    done: list[Any] = []

    def run() -> None:
        with uninterrupted():
            done.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert done == [signal.getsignal(signal.SIGINT)]


def test_what_is_ignored_stays_ignored() -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with uninterrupted() as kept:
            signal.raise_signal(signal.SIGINT)
        assert not kept and signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)


def test_ctrl_c_leaves_the_users_monitor_its_ends() -> None:
    mine = monitor_of("10")
    double.meanwhile(DOUBLES["10"], interrupt(PHASES[2][0]))
    with pytest.raises(KeyboardInterrupt):
        built("10", progress_monitor=mine)
    assert [c[1] for c in mine.calls if c[0] == "finish"] == [n for n, _ in reversed(PHASES)]


@pytest.mark.gpu
def test_ctrl_c_while_tensorrt_builds(monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[str] = []
    start = Watch.phase_start

    def interrupted(self: Watch, name: str, parent: str | None, steps: int) -> None:
        start(self, name, parent, steps)
        started.append(name)
        if len(started) == 2:
            os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(Watch, "phase_start", interrupted)
    with pytest.raises(KeyboardInterrupt):
        compiled_on_gpu()
    assert len(started) >= 2
    model = compiled_on_gpu()
    assert bool(model(torch.zeros(1, 3, 32, 32, device="cuda")).isfinite().all())
