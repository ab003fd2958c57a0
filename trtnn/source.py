"""Where in the user's code something happened."""

from __future__ import annotations

import functools
import linecache
import os
import sys
import warnings
from dataclasses import dataclass
from types import FrameType, TracebackType

PACKAGE = os.path.dirname(os.path.abspath(__file__))
_FOREIGN = sys.stdlib_module_names | {"torch", "sympy", "numpy"}


@dataclass(frozen=True)
class SourceLine:
    """A line of source: file, number and enclosing function."""

    file: str
    line: int
    function: str

    @property
    def text(self) -> str:
        """The source line itself, stripped; empty where the file cannot be read."""
        return linecache.getline(self.file, self.line).strip()

    def __str__(self) -> str:
        head = f"{os.path.basename(self.file)}:{self.line} in {self.function}"
        return f"{head}\n    {self.text}" if self.text else head


def belongs_to_user(frame: FrameType) -> bool:
    """Say whether code is neither trtnn's, PyTorch's nor Python's own."""
    return _is_users(frame.f_code.co_filename, frame.f_globals.get("__name__", ""))


@functools.cache  # it is asked of every frame between an op and its line
def _is_users(file: str, module: object) -> bool:
    package = str(module).partition(".")[0]
    if package == "trtnn" and file == "<string>":  # what dataclasses write
        return False
    return package not in _FOREIGN and not file.startswith((PACKAGE + os.sep, "<frozen"))


def find_user_line() -> SourceLine | None:
    """Return the innermost line on the stack that is neither trtnn's nor PyTorch's.

    >>> find_user_line().function
    '<module>'
    """
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        if belongs_to_user(frame):
            code = frame.f_code
            return SourceLine(code.co_filename, frame.f_lineno, code.co_name)
        frame = frame.f_back
    return None


def warn_user(text: str, category: type[Warning]) -> None:
    """Warn at the user's line."""
    line = find_user_line()
    if line is None:
        warnings.warn(text, category, stacklevel=2)
    else:
        warnings.warn_explicit(text, category, line.file, line.line)


def find_error_line(traceback: TracebackType | None) -> SourceLine | None:
    """Return the innermost such line that an exception passed."""
    found = None
    while traceback is not None:
        if belongs_to_user(traceback.tb_frame):
            code = traceback.tb_frame.f_code
            found = SourceLine(code.co_filename, traceback.tb_lineno, code.co_name)
        traceback = traceback.tb_next
    return found
