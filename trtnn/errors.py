"""The typed errors and warnings of trtnn, each with the user's line where there is one."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from trtnn.source import SourceLine, find_user_line

_thread = threading.local()


@contextmanager
def noted() -> Iterator[list[TrtnnError]]:
    """Give a list of all errors of ours that this thread makes, also of those that are caught."""
    outer = getattr(_thread, "made", None)
    made: list[TrtnnError] = []
    _thread.made = made
    try:
        yield made
    finally:
        _thread.made = outer


class TrtnnError(Exception):
    """Say what is wrong, with which values, at which line of the user's code, and what to try.

    Args:
        message: One sentence: what was given and what was expected.
        hint: What to try next.
        where: The user's line; found on the call stack if omitted.
        sizes: The sizes that contradict; the recorder adds where they come from, as ``origins``.

    >>> print(TrtnnError("axis 3 is out of range", hint="use 0, 1 or 2", where=None, search=False))
    axis 3 is out of range
      hint: use 0, 1 or 2
    """

    origins: tuple[str, ...]

    def __init__(
        self,
        message: str,
        *,
        hint: str | None = None,
        where: SourceLine | None = None,
        search: bool = True,
        sizes: tuple[Any, ...] = (),
    ) -> None:
        self.message = message
        self.hint = hint
        self.where = where if where is not None or not search else find_user_line()
        self.sizes, self.origins = sizes, ()
        super().__init__(message)
        made = getattr(_thread, "made", None)
        if made is not None:
            made.append(self)

    def __str__(self) -> str:
        lines = [self.message]
        if self.where is not None:
            lines.append(f"  at {self.where}")
        lines += [f"  {origin}" for origin in self.origins]
        if self.hint:
            lines.append(f"  hint: {self.hint}")
        return "\n".join(lines)


class ShapeError(TrtnnError, ValueError):
    """Sizes that do not fit each other or the op."""


class DTypeError(TrtnnError, TypeError):
    """A dtype that the op does not take."""


class UnsupportedError(TrtnnError, NotImplementedError):
    """Something that PyTorch can do and trtnn, or this TensorRT, cannot."""


class TraceError(UnsupportedError):
    """Code in ``forward`` that has no meaning in a graph, such as a branch on data."""


class GraphError(TrtnnError, RuntimeError):
    """A graph that breaks its own rules: a defect of trtnn, never of the user."""


class InputError(TrtnnError, ValueError):
    """An argument of a compiled model's call that does not fit its declaration."""


class OptionError(TrtnnError, ValueError):
    """A build option out of range, or absent from this TensorRT."""


class BuildError(TrtnnError, RuntimeError):
    """TensorRT refused a layer, a build, a plan or a context; carries its own log lines."""


class WrongEngineError(BuildError):
    """An engine that computes something else than its graph; nothing of it is kept."""


class StreamError(TrtnnError, RuntimeError):
    """A call on a stream that cannot take it."""


class CudaError(TrtnnError, RuntimeError):
    """A call of CUDA that failed; ``name`` is CUDA's own of the error."""

    def __init__(self, message: str, name: str, *, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.args = (message, name)  # what it is made of again, where another process had it
        self.name = name


class BackendError(TrtnnError, RuntimeError):
    """A backend that was asked for by name and is not there."""


class AbsentError(BackendError):
    """TensorRT is not installed, or there is no GPU: ``"auto"`` then takes the reference."""


class LoadError(TrtnnError, RuntimeError):
    """A saved model that is damaged, foreign, or made for another GPU, TensorRT or platform."""


class CopyWarning(UserWarning):
    """An input had to be copied before the call; the message says why and how to avoid it."""


class AssumptionWarning(UserWarning):
    """An answer about a size that changed nothing on random inputs, and may on others."""


class PrecisionWarning(UserWarning):
    """Values that are computed in another type than was asked for."""


class VerifyWarning(UserWarning):
    """An engine that is further off than rounding explains, or that could not be verified."""


class RecompileWarning(UserWarning):
    """A call with new static shapes built another engine."""
