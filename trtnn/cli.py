"""The door of the command line: it works, or says what to install."""

from __future__ import annotations

import sys
from typing import Any

PACKAGES = ("typer", "rich", "torch")
application: Any = None
missing: ModuleNotFoundError | None = None
try:
    from trtnn.commands import application
except ModuleNotFoundError as error:
    missing = error


def main() -> None:
    """Run a command of ``trtnn``."""
    try:
        if missing is not None:
            raise missing
        application(prog_name="trtnn")
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package not in PACKAGES:
            raise
        print(f'trtnn: the command line needs {package}: pip install "trtnn[cli]"', file=sys.stderr)
        raise SystemExit(1) from None
