"""What TensorRT says: its log, and how far a build is.

The functions take the ``tensorrt`` module as an argument, and ask it for facts by name.
"""

from __future__ import annotations

import ctypes
import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from types import ModuleType
from typing import Any

from trtnn.trt.progress import Lines, Monitor, Watch

_LEVELS = {
    "INTERNAL_ERROR": logging.CRITICAL,
    "ERROR": logging.ERROR,
    "WARNING": logging.WARNING,
    "INFO": logging.INFO,
    "VERBOSE": logging.DEBUG,
}


# What a machine without a driver hears after each refusal, whatever was refused.
_NO_DRIVER = "CUDA driver version is insufficient"


@lru_cache(maxsize=1)
def _has_driver() -> bool:
    try:
        ctypes.CDLL("libcuda.so.1")
    except OSError:
        return False
    return True


class Log:
    """TensorRT's logger, bridged to ``logging`` (``trtnn.tensorrt``), and its recent errors."""

    def __init__(self, trt: ModuleType, level: int) -> None:
        self.errors: list[str] = []
        self.faulted: set[int] = set()  # threads that heard an error since the last ``take``
        # By the thread whose lines they are.
        self.readers: dict[int, Callable[[str], None]] = {}
        self.held: dict[int, list[tuple[int, str]]] = {}
        self.kept: dict[int, list[str]] = {}
        self.level = level
        self.sink = logging.getLogger("trtnn.tensorrt")
        log = self

        class Logger(trt.ILogger):  # type: ignore[misc, name-defined]
            def __init__(self) -> None:
                trt.ILogger.__init__(self)

            def log(self, severity: Any, message: str) -> None:
                held = log.held.get(threading.get_ident()) if log.held else None
                line = _LEVELS[severity.name], message
                log.receive(*line) if held is None else held.append(line)

        self.handle = Logger()

    def receive(self, level: int, message: str) -> None:
        """Pass one line on."""
        if _NO_DRIVER in message and not _has_driver():
            return
        if level >= logging.ERROR:
            self.errors.append(message)
            self.faulted.add(threading.get_ident())
            del self.errors[:-20]
        if level >= self.level:
            self.sink.log(level, message)
        reader = self.readers.get(threading.get_ident()) if self.readers else None
        if reader is not None:
            reader(message)
        kept = self.kept.get(threading.get_ident()) if self.kept else None
        if kept is not None:
            kept.append(f"{logging.getLevelName(level)}: {message}")

    @contextmanager
    def keep(self) -> Iterator[list[str]]:
        """Give a list that all further lines of this thread join, each with its level."""
        lines = self.kept[threading.get_ident()] = []
        try:
            yield lines
        finally:
            del self.kept[threading.get_ident()]

    @contextmanager
    def hold(self) -> Iterator[list[tuple[int, str]]]:
        """Keep this thread's lines back: levels and texts. What is left of them is passed on."""
        thread = threading.get_ident()
        lines = self.held[thread] = []
        try:
            yield lines
        finally:
            del self.held[thread]
            for line in lines:
                self.receive(*line)

    def take(self) -> str:
        """Return TensorRT's error lines since the last call."""
        lines, self.errors[:] = "\n    ".join(self.errors), []
        self.faulted.clear()
        return lines

    @property
    def complained(self) -> bool:
        """Whether this thread heard an error since the last ``take``."""
        return threading.get_ident() in self.faulted

    def said(self) -> str:
        """Return the same as an error's message continues with it."""
        lines = self.take()
        return f"\n    {lines}" if lines else ""


@contextmanager
def watching(
    trt: ModuleType, log: Log, config: Any, shown: Monitor | None, kept: list[BaseException]
) -> Iterator[Watch]:
    """Have a build tell its phases: to a monitor, or on 8.6, which has none, by its log."""
    if hasattr(trt, "IProgressMonitor"):
        watch = Watch(shown, config.progress_monitor, kept)
        config.progress_monitor = _monitor(trt, watch)
        yield watch
        return
    watch = Watch(shown, None, kept)
    lines = Lines(watch)
    log.readers[threading.get_ident()] = lines
    try:
        yield watch
    finally:
        del log.readers[threading.get_ident()]
        lines.finish()


def _monitor(trt: Any, watch: Watch) -> Any:
    """Return TensorRT's kind of monitor, which passes on to ``watch`` what it is told."""

    class ProgressMonitor(trt.IProgressMonitor):  # type: ignore[misc]
        def __init__(self) -> None:
            trt.IProgressMonitor.__init__(self)

        def phase_start(self, phase_name: str, parent_phase: str, num_steps: int) -> None:
            watch.phase_start(phase_name, parent_phase, num_steps)

        def step_complete(self, phase_name: str, step: int) -> bool:
            return watch.step_complete(phase_name, step)

        def phase_finish(self, phase_name: str) -> None:
            watch.phase_finish(phase_name)

    return ProgressMonitor()
