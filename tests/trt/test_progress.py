"""The progress of a build: what is shown, who is told, and what Ctrl-C does during it."""

from __future__ import annotations

import io
import sys
from typing import Any

import pytest
import torch

import tests.double as double
import trtnn
from tests.double.phases import PHASES
from tests.double.surface import VERSIONS
from trtnn.engine.builder import build
from trtnn.engine.engine import Engine
from trtnn.errors import BuildError, OptionError
from trtnn.options import BuildOptions
from trtnn.trt import progress
from trtnn.trt.library import TensorRT
from trtnn.trt.progress import Bars, Line, Lines, Watch, display

DOUBLES = {version: double.load(version) for version in VERSIONS}
LATER = ("10", "11")


def built(version: str, *, progress: bool | None = None, **chosen: Any) -> Engine:
    library = TensorRT(DOUBLES[version])
    graph = trtnn.trace(lambda x: torch.relu(x) + 1, [trtnn.Input((2, 3))])
    return build(graph, library, BuildOptions(**chosen), progress=progress)


class Terminal(io.StringIO):
    """A stream that says that it is a terminal."""

    def isatty(self) -> bool:
        return True


# The user's own monitor -----------------------------------------------------------------------


def monitor_of(version: str, stop_at: str = "", fail_at: str = "") -> Any:
    """Return a user's monitor, with ``calls``; it stops a build, or raises, at a phase's step."""

    class Mine(DOUBLES[version].IProgressMonitor):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.calls: list[tuple[Any, ...]] = []

        def phase_start(self, name: str, parent: str | None, steps: int) -> None:
            self.calls.append(("start", name, parent, steps))

        def step_complete(self, name: str, step: int) -> bool:
            self.calls.append(("step", name, step))
            if name == fail_at:
                raise ZeroDivisionError("mine")
            return name != stop_at

        def phase_finish(self, name: str) -> None:
            self.calls.append(("finish", name))

    return Mine()


@pytest.mark.parametrize("version", LATER)
@pytest.mark.parametrize("shown", [True, False])
def test_the_users_monitor_is_told_everything(
    version: str, shown: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stderr", Terminal())
    mine = monitor_of(version)
    built(version, progress=shown, progress_monitor=mine)
    starts = [call for call in mine.calls if call[0] == "start"]
    above = [None, *(name for name, _ in PHASES)]
    assert starts == [("start", n, p, s) for (n, s), p in zip(PHASES, above, strict=False)]
    for name, steps in PHASES:
        assert [c[2] for c in mine.calls if c[:2] == ("step", name)] == list(range(steps))
    assert [c[1] for c in mine.calls if c[0] == "finish"] == [n for n, _ in reversed(PHASES)]


@pytest.mark.parametrize("version", LATER)
@pytest.mark.parametrize("at", [name for name, _ in PHASES])
def test_the_users_monitor_may_stop_a_build(version: str, at: str) -> None:
    mine = monitor_of(version, stop_at=at)
    with pytest.raises(BuildError, match="was told by progress_monitor to stop the engine"):
        built(version, progress_monitor=mine)
    assert mine.calls.count(("step", at, 0)) == 1 and ("step", at, 1) not in mine.calls
    assert built(version).plan


@pytest.mark.parametrize("version", LATER)
def test_what_the_users_monitor_raises_comes_out(version: str) -> None:
    mine = monitor_of(version, fail_at=PHASES[2][0])
    with pytest.raises(ZeroDivisionError, match="mine"):
        built(version, progress_monitor=mine)
    assert mine.calls[-1] == ("step", PHASES[2][0], 0)  # and it is not called again


# What is shown --------------------------------------------------------------------------------


def test_it_is_shown_on_a_terminal_that_someone_looks_at(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("CI", "PYTEST_CURRENT_TEST"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm")

    def shown(stream: Any, asked: bool | None) -> bool:
        monkeypatch.setattr(sys, "stderr", stream)
        with display("TensorRT", asked) as found:
            return found is not None

    assert shown(Terminal(), None)
    assert not shown(io.StringIO(), None) and not shown(None, None)
    assert not shown(Terminal(), False) and not shown(None, True)
    assert shown(io.StringIO(), True)
    for name, value in (("TERM", "dumb"), ("CI", "true"), ("PYTEST_CURRENT_TEST", "here")):
        with monkeypatch.context() as patch:
            patch.setenv(name, value)
            assert not shown(Terminal(), None), name
            assert shown(Terminal(), True), name


@pytest.mark.parametrize("version", VERSIONS)
def test_without_rich_it_is_one_line(version: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "rich.progress", None)
    monkeypatch.setattr(progress, "_PAUSE", 0)
    monkeypatch.setattr(sys, "stderr", terminal := Terminal())
    built(version, progress=True)
    texts = terminal.getvalue().split("\r\x1b[2K")
    assert texts[0] == texts[-1] == ""  # it starts with a clear line, and leaves one
    title = f"TensorRT {VERSIONS[version]}, 0 s: "
    assert all(text.startswith(title) for text in texts[1:-1])
    parts = [text.removeprefix(title) for text in texts[1:-1]]
    if version == "8.6":
        layers = len([p for p in parts if p.startswith("timing kernels ")]) - 1
        counted = [f"timing kernels {n or ''}" for n in range(layers + 1)]
        assert parts == ["optimizing the graph ", *counted, "assigning memory ", "serializing "]
        assert layers >= 1
    else:
        outer, steps = PHASES[0]
        assert parts[0] == f"{outer} 0/{steps}" and parts[-1] == f"{outer} {steps}/{steps}"
        assert f"{PHASES[2][0]} 1/{PHASES[2][1]}" in parts


@pytest.mark.parametrize("version", VERSIONS)
def test_in_a_file_it_is_a_line_for_each_phase(
    version: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stderr", file := io.StringIO())
    built(version, progress=True)
    names = [line.split(": ")[1] for line in file.getvalue().splitlines()]
    if version == "8.6":
        expected = ["optimizing the graph", "timing kernels", "assigning memory", "serializing"]
    else:
        expected = [f"{PHASES[0][0]} 0/{PHASES[0][1]}"]
    assert [name.strip() for name in names] == expected


def test_a_line_fits_its_terminal_and_is_not_written_too_often(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    now = [0.0]
    line = Line("TensorRT", terminal := Terminal(), clock=lambda: now[0])
    line.phase_start("a phase with a name that is long", None, 9)
    line.step_complete("a phase with a name that is long", 0)
    now[0] = 75.0
    line.step_complete("a phase with a name that is long", 1)
    first, second = terminal.getvalue().split("\r\x1b[2K")[1:]
    assert first == "TensorRT, 0 s: a phase with a name that is long 0/9"[:39]
    assert second == "TensorRT, 75 s: a phase with a name that is long 2/9"[:39]


@pytest.mark.parametrize("version", VERSIONS)
def test_with_rich_each_phase_is_a_bar(version: str, monkeypatch: pytest.MonkeyPatch) -> None:
    rich = pytest.importorskip("rich.progress")
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(sys, "stderr", terminal := Terminal())
    rows: list[list[tuple[str, Any, Any]]] = []

    class Seen(rich.Progress):  # type: ignore[misc, name-defined]
        def update(self, *args: Any, **kwargs: Any) -> None:
            super().update(*args, **kwargs)
            rows.append([(t.description, t.completed, t.total) for t in self.tasks])

    monkeypatch.setattr(rich, "Progress", Seen)
    built(version, progress=True)
    title = (f"TensorRT {VERSIONS[version]}", 0, None)
    if version == "8.6":  # no percentage: nothing says how many steps there will be
        assert rows[0] == [title, ("  timing kernels", 1, None)]
    else:
        (outer, steps), (inner, more), (innermost, most) = PHASES
        below = [
            (f"  {outer}", 0, steps),
            (f"    {inner}", 0, more),
            (f"      {innermost}", 1, most),
        ]
        assert rows[0] == [title, *below]
        assert rows[-1] == [title, (f"  {outer}", steps, steps)]
    assert terminal.getvalue()


def test_only_one_display_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    with display("one", True) as first:
        with display("two", True) as second:
            assert first is not None and second is None
        with display("three", True) as third:
            assert third is None
    with display("four", True) as fourth:
        assert fourth is not None


@pytest.mark.parametrize("version", VERSIONS)
def test_a_display_that_breaks_costs_no_engine(
    version: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Full(Terminal):
        def write(self, text: str) -> int:
            raise OSError("no space left")

    monkeypatch.setitem(sys.modules, "rich.progress", None)
    monkeypatch.setattr(sys, "stderr", Full())
    with pytest.warns(UserWarning, match=r"progress cannot be shown: OSError\('no space left'\)"):
        assert built(version, progress=True).plan


def test_the_log_is_read_forwards_only() -> None:
    calls: list[tuple[Any, ...]] = []

    class Told:
        def phase_start(self, *facts: Any) -> None:
            calls.append(("start", facts[0]))

        def step_complete(self, *facts: Any) -> bool:
            calls.append(("step", *facts))
            return True

        def phase_finish(self, name: str) -> None:
            calls.append(("finish", name))

    lines = Lines(Told())
    for line in ("Engine generation completed in 2 s", "Graph optimization time: 1 s", "anything"):
        lines(line)
    lines.finish()
    first, last = "optimizing the graph", "serializing"
    assert calls == [("start", first), ("finish", first), ("start", last), ("finish", last)]


def test_a_watch_without_anyone_goes_on() -> None:
    watch = Watch(None, None, [])
    watch.phase_start("a", None, 1)
    assert watch.step_complete("a", 0)
    assert not Watch(None, None, [KeyboardInterrupt()]).step_complete("a", 0)


def test_progress_is_true_false_or_none() -> None:
    with pytest.raises(OptionError, match="progress: expected one of None, True, False, got 'yes'"):
        trtnn.compile(torch.nn.ReLU(), progress="yes")  # type: ignore[arg-type]


def test_bars_take_what_was_never_started() -> None:
    rich = pytest.importorskip("rich.progress")
    with Bars("TensorRT", rich) as bars:
        assert bars.step_complete("unknown", 3)
        bars.phase_finish("unknown")


# On a GPU -------------------------------------------------------------------------------------


def compiled_on_gpu(**how: Any) -> Any:
    net = torch.nn.Sequential(
        torch.nn.Conv2d(3, 16, 3), torch.nn.ReLU(), torch.nn.Conv2d(16, 16, 3)
    )
    options = BuildOptions(timing_cache=False)
    given = [trtnn.Input((1, 3, 32, 32))]
    return trtnn.compile(net, inputs=given, backend="tensorrt", options=options, cache=False, **how)


@pytest.mark.gpu
def test_the_phases_that_tensorrt_tells(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", file := io.StringIO())
    compiled_on_gpu(progress=True)
    names = [line.split(": ")[1].strip() for line in file.getvalue().splitlines()]
    if hasattr(TensorRT().trt, "IProgressMonitor"):
        assert names
    else:
        assert names == list(dict.fromkeys(name for _, name in progress._PHASES))
