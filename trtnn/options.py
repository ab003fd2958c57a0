"""The build options, with TensorRT's own names."""

from __future__ import annotations

import logging
from dataclasses import dataclass

from trtnn.errors import OptionError


@dataclass(frozen=True, kw_only=True)
class BuildOptions:
    """What TensorRT's builder is told. ``None`` everywhere means TensorRT's own default.

    Args:
        workspace_bytes: Limit of the WORKSPACE memory pool, in bytes.
        builder_optimization_level: 0 (fastest build) to 5 (fastest engine).
        timing_cache: A serialized timing cache, in bytes, to start from.
        log_level: A level of ``logging`` for TensorRT's messages: below it they are dropped.

    Raises:
        OptionError: A value is out of its range.

    >>> BuildOptions(builder_optimization_level=5).builder_optimization_level
    5
    """

    workspace_bytes: int | None = None
    builder_optimization_level: int | None = None
    timing_cache: bytes | None = None
    log_level: int = logging.WARNING

    def __post_init__(self) -> None:
        level = self.builder_optimization_level
        if level is not None and level not in range(6):
            raise OptionError(
                f"builder_optimization_level: expected an int from 0 to 5, got {level!r}"
            )
        size = self.workspace_bytes
        if size is not None and (not isinstance(size, int) or size <= 0):
            raise OptionError(f"workspace_bytes: expected a positive int, got {size!r}")
        if self.timing_cache is not None and not isinstance(self.timing_cache, bytes):
            raise OptionError(
                f"timing_cache: expected bytes, got {type(self.timing_cache).__name__}",
                hint="read the file and give its content",
            )
