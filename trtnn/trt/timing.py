"""The timing cache: what TensorRT reads of one, and its file, which many processes may change."""

from __future__ import annotations

import hashlib
import logging
import warnings
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from trtnn.errors import BuildError, OptionError
from trtnn.files import locked, replacing
from trtnn.options import BuildOptions

if TYPE_CHECKING:
    from trtnn.trt.listening import Log
    from trtnn.trt.target import Target

TIMINGS = "timing-"
"""How the names of the files begin that the engine cache's folder has for timings."""


def timing_cache_file(folder: Path, target: Target, gpu_name: str, sm_count: int) -> Path:
    """Return the file of one kind of GPU and TensorRT: timings of another are worth nothing."""
    return folder / f"{TIMINGS}{target.version}-{quote(gpu_name, safe='')}-{sm_count}.cache"


# TensorRT 8.6.0 says so of timings of fused regions alone, its own of a moment ago included. Such a
# build is right and times everything anew, which is no reason for an error.
UNUSED = "The timing cache will not be used"


@dataclass(frozen=True)
class Timings:
    """The serialized timings that a build starts from, and the file that its own will join.

    Attributes:
        content: As TensorRT serialized them; empty for none.
        path: The file.
        spare: The file is the engine cache's own: one that TensorRT refuses is worth no error.
        refused: What the file held instead, where TensorRT refused it.
    """

    content: bytes
    path: Path | None = None
    spare: bool = False
    refused: bytes = b""

    @property
    def digest(self) -> str:
        """The SHA-256 of the content."""
        return hashlib.sha256(self.content).hexdigest()

    def start(self, begin: Callable[[Timings], None]) -> Timings:
        """Let a build start from these timings, or from none; return what it started from.

        Args:
            begin: Gives the timings to TensorRT, BuildError where it refuses them.
        """
        try:
            begin(self)
        except BuildError as error:
            if not self.spare and UNUSED not in error.message:
                raise
            warnings.warn(f"{error.message}; it is made anew", stacklevel=2)
            fresh = replace(self, content=b"", refused=self.content)
            begin(fresh)
            return fresh
        return self

    def add(self, measured: bytes, combine: Callable[[bytes, bytes], bytes]) -> None:
        """Add what a build measured to the file, if there is one.

        The file is replaced at once, under a lock: what others added in the meantime stays, and
        nobody sees half of it. A file that cannot be changed is a warning: the engine is built.

        Args:
            measured: The timing cache after the build, what it started from among it.
            combine: Returns the entries of two timing caches as one.
        """
        if self.path is None:
            return
        try:
            with _locked(self.path):
                present = _read(self.path)
                content = self._combined(present, measured, combine)
                if content != present:
                    with replacing(self.path) as file:
                        file.write(content)
        except (OSError, BuildError) as error:
            warnings.warn(f"timing cache {self.path}: not changed: {error}", stacklevel=2)

    def _combined(
        self, present: bytes, measured: bytes, combine: Callable[[bytes, bytes], bytes]
    ) -> bytes:
        if present in (self.content, self.refused):
            return measured  # which began with the content
        try:
            return combine(present, measured)
        except BuildError:
            if self.spare:
                return present  # another build's, worth as much as ours
            raise


def load(options: BuildOptions, spare: Path | None = None) -> Timings | None:
    """Return the timings to start from; None where the options leave no use for them.

    Args:
        spare: The engine cache's file of timings, for where the options name none.

    Raises:
        OptionError: The file that they name cannot be read, or its folder cannot be made.
    """
    if options.without_timings:
        return None
    given = options.timing_cache
    if isinstance(given, bytes):
        return Timings(given)
    path = given if isinstance(given, Path) else spare
    # Whether TensorRT mixes timings that can be edited with others is not known: they stay apart.
    if path is None or (path is spare and options.editable_timing_cache):
        return Timings(b"")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with _locked(path):
            return Timings(_read(path), path, spare=path is spare)
    except OSError as error:
        if path is not spare:
            raise OptionError(f"timing_cache: {path} cannot be used: {error}") from error
        warnings.warn(f"timing cache {path}: not used: {error}", stacklevel=2)
        return Timings(b"")


def begin(config: Any, log: Log, timings: Timings) -> None:
    """Let a build start from timings, and add its own to them.

    Raises:
        BuildError: TensorRT refuses them, or reads none of them.
    """
    where = f"the timing cache {timings.path or ''}".strip()
    cache = _cache_of(config, log, timings.content, where)
    # 8.6's cache carries the board's UUID; options.py says who answers for the GPU's model.
    if not config.set_timing_cache(cache, ignore_mismatch=True):
        raise BuildError(f"TensorRT refused {where}{log.said()}", search=False)


def combine(config: Any, log: Log, first: bytes, second: bytes) -> bytes:
    """Return the entries of two serialized timing caches as one.

    Raises:
        BuildError: TensorRT cannot, as 8.6.0, or cannot read one.
    """
    cache, other = (_cache_of(config, log, c, "the timing cache") for c in (first, second))
    with log.hold() as lines:
        done, said = cache.combine(other, ignore_mismatch=True), _taken(lines)
    if not done:
        raise BuildError(f"TensorRT could not combine the timing caches{said}", search=False)
    return bytes(cache.serialize())


def keep(timings: Timings, measured: bytes, config: Any, log: Log) -> None:
    """Add what a build measured to the timings' file, if there is one.

    Nobody asked for the engine cache's own: what no later build can read is not put there.
    """
    if timings.spare:
        with log.hold() as lines:
            cache = config.create_timing_cache(measured)
            _taken(lines)
            if cache is None or not _holds(config, cache, measured):
                return
    timings.add(measured, partial(combine, config, log))


def _cache_of(config: Any, log: Log, content: bytes, where: str) -> Any:
    """Return the timing cache that TensorRT makes of a serialized one.

    8.6.0 never reads what it keeps there of fused regions (Myelin), and says in its log that the
    cache will not be used. All else is read and used, and then that is no error.
    """
    log.take()
    with log.hold() as lines:
        cache = config.create_timing_cache(content)
        if cache is not None and _holds(config, cache, content):
            _taken(lines)
    if (said := log.said()) or cache is None:
        raise BuildError(f"TensorRT could not read {where}{said}", search=False)
    return cache


def _taken(lines: list[tuple[int, str]]) -> str:
    """Take the errors out of lines, and return them as an error's message continues with them."""
    errors = [text for level, text in lines if level >= logging.ERROR]
    lines[:] = [line for line in lines if line[0] < logging.ERROR]
    return "".join(f"\n    {text}" for text in errors)


def _holds(config: Any, cache: Any, content: bytes) -> bool:
    """Say whether a timing cache holds entries of what it was made from, or that had none."""
    size, empty = (len(bytes(c.serialize())) for c in (cache, config.create_timing_cache(b"")))
    return size > empty or empty == len(content)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return b""


def _locked(path: Path) -> AbstractContextManager[None]:
    """Hold the lock of a file: one beside it, since the file itself is replaced."""
    return locked(path.with_name(path.name + ".lock"))
