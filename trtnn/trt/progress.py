"""The progress of a build: what TensorRT tells of it, shown on a terminal; and Ctrl-C during it."""

from __future__ import annotations

import importlib
import os
import shutil
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, Protocol, TextIO

_ONCE = threading.Lock()  # there is one terminal, and two displays would overwrite each other
_PAUSE = 0.1  # seconds between two texts of a line
# A piece of a line that TensorRT without a progress monitor logs, and the phase that is then on.
_PHASES = (
    ("", "optimizing the graph"),
    ("Graph optimization time", "timing kernels"),
    ("Computing costs for", "timing kernels"),
    ("Formats and tactics selection completed", "assigning memory"),
    ("Engine generation completed", "serializing"),
)


class Monitor(Protocol):
    """What is told of a build: TensorRT's own names and arguments."""

    def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None: ...

    def step_complete(self, phase_name: str, step: int) -> bool: ...

    def phase_finish(self, phase_name: str) -> None: ...


class Watch:
    """Passes on what TensorRT tells to a display and to a user's monitor. It never raises.

    An exception may not cross TensorRT. The display's ends the display. The user's monitor's is
    kept, and stops the build; the build is told to stop as soon as anything is kept.

    Attributes:
        refused: Whether the user's monitor stopped the build.
        broken: The exception that ended the display.
    """

    def __init__(self, display: Monitor | None, user: Monitor | None, kept: list[BaseException]):
        self.display, self.user, self.kept = display, user, kept
        self.refused = False
        self.broken: Exception | None = None

    def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
        self._tell("phase_start", phase_name, parent_phase, num_steps)

    def step_complete(self, phase_name: str, step: int) -> bool:
        if not self._tell("step_complete", phase_name, step):
            self.refused = True
        return not self.refused and not self.kept

    def phase_finish(self, phase_name: str) -> None:
        self._tell("phase_finish", phase_name)

    def _tell(self, event: str, *facts: Any) -> bool:
        """Return False where the user's monitor answered that the build shall end."""
        if self.display is not None:
            try:
                getattr(self.display, event)(*facts)
            except Exception as error:
                self.display, self.broken = None, error
        if self.user is not None:
            try:
                answer = getattr(self.user, event)(*facts)
                return event != "step_complete" or bool(answer)
            except BaseException as error:  # crosses later, when TensorRT is not in between
                self.user = None
                self.kept.append(error)
        return True


class Lines:
    """Reads the phases of a build off the log. There is no telling how many steps each has."""

    def __init__(self, monitor: Monitor) -> None:
        self.monitor, self.phase, self.name, self.step = monitor, -1, "", 0
        self("")

    def __call__(self, line: str) -> None:
        place = max(i for i, (piece, _) in enumerate(_PHASES) if piece in line)
        name = _PHASES[place][1]
        if place > self.phase:
            self.phase = place
            if name != self.name:
                self.finish()
                self.name, self.step = name, 0
                self.monitor.phase_start(name, None, 0)
        elif place == self.phase > 0:
            self.monitor.step_complete(name, self.step)
            self.step += 1

    def finish(self) -> None:
        """Say that the phase that is on has ended."""
        if self.name:
            self.monitor.phase_finish(self.name)


@contextmanager
def uninterrupted() -> Iterator[list[BaseException]]:
    """Keep what Ctrl-C raises until the block ends: it may not be raised in TensorRT's callbacks.

    Yields the list of what is kept, to which the block may add; the first is raised at the end.
    What Ctrl-C does stays the affair of the handler that is set: one that raises nothing
    interrupts nothing.
    """
    kept: list[BaseException] = []
    handler = signal.getsignal(signal.SIGINT)
    here = threading.current_thread() is threading.main_thread() and callable(handler)

    def handle(number: int, frame: Any) -> None:
        try:
            handler(number, frame)  # type: ignore[operator, misc]
        except BaseException as error:
            kept.append(error)

    if here:
        signal.signal(signal.SIGINT, handle)
    try:
        yield kept
    finally:
        if here:
            signal.signal(signal.SIGINT, handler)
        if kept:
            raise kept[0]


@contextmanager
def display(title: str, progress: bool | None) -> Iterator[Monitor | None]:  # noqa: FBT001
    """Yield what shows a build's phases on stderr while the block runs, or None.

    Args:
        progress: Whether to show them; None: where stderr is a terminal that someone looks at.
    """
    stream = sys.stderr
    wanted = _watched(stream) if progress is None else progress
    if stream is None or not wanted or not _ONCE.acquire(blocking=False):
        yield None
        return
    try:
        bars = _bars(title) if stream.isatty() else None
        with bars if bars is not None else Line(title, stream) as shown:
            yield shown
    finally:
        _ONCE.release()


def _watched(stream: TextIO | None) -> bool:
    """Say whether a stream is a terminal with somebody in front of it."""
    if stream is None or not stream.isatty() or os.environ.get("TERM") == "dumb":
        return False
    return "CI" not in os.environ and "PYTEST_CURRENT_TEST" not in os.environ


def _bars(title: str) -> Bars | None:
    """Return a display by rich, or None where it is not installed."""
    try:
        return Bars(title, importlib.import_module("rich.progress"))
    except ImportError:
        return None


class Bars:
    """Shows the phases as bars, one below the other, by ``rich``."""

    def __init__(self, title: str, rich: Any) -> None:
        self.title, self.tasks, self.depths = title, {}, {}  # type: ignore[var-annotated]
        self.bars = rich.Progress(
            rich.TextColumn("{task.description}"),
            rich.BarColumn(),
            rich.TextColumn("{task.fields[steps]}"),
            rich.TimeElapsedColumn(),
            console=importlib.import_module("rich.console").Console(stderr=True),
            transient=True,
        )

    def __enter__(self) -> Bars:
        self.bars.start()
        self.bars.add_task(self.title, total=None, steps="")
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(OSError):  # the engine is not lost with the terminal
            self.bars.stop()

    def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
        depth = self.depths[phase_name] = self.depths.get(parent_phase, 0) + 1
        self.tasks[phase_name] = (
            self.bars.add_task(
                "  " * depth + phase_name, total=num_steps or None, steps=_steps(0, num_steps)
            ),
            num_steps,
        )

    def step_complete(self, phase_name: str, step: int) -> bool:
        if phase_name in self.tasks:
            task, steps = self.tasks[phase_name]
            self.bars.update(task, completed=step + 1, steps=_steps(step + 1, steps))
        return True

    def phase_finish(self, phase_name: str) -> None:
        if phase_name in self.tasks:
            self.bars.remove_task(self.tasks.pop(phase_name)[0])


class Line:
    """Shows the innermost phase in one line of a terminal, or the outermost each in a line."""

    def __init__(
        self, title: str, stream: TextIO, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.title, self.stream, self.clock = title, stream, clock
        self.terminal = stream.isatty()
        self.start, self.shown = clock(), float("-inf")
        self.steps: dict[str, tuple[int, int]] = {}

    def __enter__(self) -> Line:
        return self

    def __exit__(self, *_: object) -> None:
        if self.terminal:
            with suppress(OSError):  # the engine is not lost with the terminal
                self._write("\r\x1b[2K")

    def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
        self.steps[phase_name] = 0, num_steps
        if self.terminal:
            self._show()
        elif not parent_phase:
            self._write(f"{self._text()}\n")

    def step_complete(self, phase_name: str, step: int) -> bool:
        self.steps[phase_name] = step + 1, self.steps.get(phase_name, (0, 0))[1]
        if self.terminal:
            self._show()
        return True

    def phase_finish(self, phase_name: str) -> None:
        self.steps.pop(phase_name, None)

    def _text(self) -> str:
        name, (done, steps) = list(self.steps.items())[-1]
        return f"{self.title}, {self.clock() - self.start:.0f} s: {name} {_steps(done, steps)}"

    def _show(self) -> None:
        if self.clock() - self.shown >= _PAUSE:
            self.shown = self.clock()
            width = shutil.get_terminal_size().columns - 1
            self._write(f"\r\x1b[2K{self._text()[:width]}")

    def _write(self, text: str) -> None:
        self.stream.write(text)
        self.stream.flush()


def _steps(done: int, steps: int) -> str:
    """Return how far a phase is; of one without a known end, what was done.

    >>> _steps(3, 12), _steps(3, 0), _steps(0, 0)
    ('3/12', '3', '')
    """
    return f"{done}/{steps}" if steps else str(done or "")
