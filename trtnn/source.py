"""Where in the user's code something happened."""

from __future__ import annotations

import linecache
import os
import sys
from dataclasses import dataclass
from types import CodeType, FrameType

_HERE = os.path.dirname(os.path.abspath(__file__)) + os.sep
_FOREIGN = tuple(
    f"{os.sep}{package}{os.sep}" for package in ("torch", "sympy", "importlib", "contextlib.py")
)
_is_user_code: dict[CodeType, bool] = {}


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


def _belongs_to_user(code: CodeType) -> bool:
    known = _is_user_code.get(code)
    if known is None:
        file = code.co_filename
        known = not (
            file.startswith(_HERE)
            or file.startswith("<frozen")
            or file.endswith("contextlib.py")
            or any(f"site-packages{part}" in file for part in _FOREIGN)
        )
        _is_user_code[code] = known
    return known


def find_user_line() -> SourceLine | None:
    """Return the innermost line on the stack that is neither trtnn's nor PyTorch's.

    >>> find_user_line().function
    '<module>'
    """
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        if _belongs_to_user(frame.f_code):
            code = frame.f_code
            return SourceLine(code.co_filename, frame.f_lineno, code.co_name)
        frame = frame.f_back
    return None
