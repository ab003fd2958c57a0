"""The timing cache's file, which several processes may read and add to at once."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from trtnn.errors import BuildError, OptionError
from trtnn.files import locked, replacing
from trtnn.options import BuildOptions

if TYPE_CHECKING:
    from trtnn._trt import Target

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
    """

    content: bytes
    path: Path | None = None
    spare: bool = False

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
            fresh = replace(self, content=b"")
            begin(fresh)
            return fresh
        return self

    def add(self, measured: bytes, combine: Callable[[bytes, bytes], bytes]) -> None:
        """Add what a build measured to the file, if there is one.

        The file is replaced at once, under a lock: what others added in the meantime stays, and
        nobody sees half of it. A file that cannot be changed is a warning: the engine is built.

        Args:
            measured: The timing cache after the build.
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
        try:
            combine(b"", measured)
        except BuildError as error:
            if UNUSED not in error.message:
                raise
            # Nobody can read it; the cache's own file does without.
            return present if self.spare else present or measured
        try:
            return combine(present, measured)
        except BuildError as error:
            if not self.spare and UNUSED not in error.message:
                raise
            return measured


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


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return b""


def _locked(path: Path) -> AbstractContextManager[None]:
    """Hold the lock of a file: one beside it, since the file itself is replaced."""
    return locked(path.with_name(path.name + ".lock"))
