"""The door of the command line: it works, or says what to install."""

from __future__ import annotations

import sys
from typing import Any

PACKAGES = ("typer", "rich")
application: Any = None
missing: str | None = None
try:
    from trtnn.commands import application
except ModuleNotFoundError as error:
    missing = (error.name or "").partition(".")[0]
    if missing not in PACKAGES:
        raise


def main() -> None:
    """Run a command of ``trtnn``."""
    if missing is not None:
        print(f'trtnn: the command line needs {missing}: pip install "trtnn[cli]"', file=sys.stderr)
        raise SystemExit(1)
    application(prog_name="trtnn")
