"""What is measured in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from typing import Any


def run(
    module: str,
    arguments: Sequence[object],
    *,
    seconds: float,
    environment: Mapping[str, str] | None = None,
    under: Sequence[str] = (),
) -> subprocess.CompletedProcess[str]:
    """Run a module of the benchmarks; what it prints is UTF-8, whatever the locale is.

    Args:
        seconds: How long it may take; ``subprocess.TimeoutExpired`` after that.
        environment: What is added to this process's.
        under: A tool that starts it, and its options.
    """
    return subprocess.run(
        [*under, sys.executable, "-m", module, *map(str, arguments)],
        env={**os.environ, **(environment or {})},
        capture_output=True,
        encoding="utf-8",
        errors="replace",
        timeout=seconds,
        check=False,
    )


def measure(module: str, arguments: Sequence[object], **how: Any) -> dict[str, Any]:
    """Return what a module prints last, as JSON.

    Raises:
        RuntimeError: It failed.
    """
    done = run(module, arguments, **how)
    if done.returncode:
        raise RuntimeError(f"a process ended with {done.returncode}: {done.stderr[-2000:]}")
    measured: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return measured
