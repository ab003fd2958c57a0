"""The timing cache's file, which several processes may read and add to at once."""

from __future__ import annotations

import fcntl
import hashlib
import os
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from trtnn.errors import BuildError, OptionError
from trtnn.options import BuildOptions

if TYPE_CHECKING:
    from trtnn._trt import Target


def timing_cache_file(folder: Path, target: Target, gpu_name: str, sm_count: int) -> Path:
    """Return the file of one kind of GPU and TensorRT: timings of another are worth nothing."""
    return folder / f"timing-{target.version}-{quote(gpu_name, safe='')}-{sm_count}.cache"


@dataclass(frozen=True)
class Timings:
    """The serialized timings that a build starts from, and the file that its own will join."""

    content: bytes
    path: Path | None = None

    @property
    def digest(self) -> str:
        """The SHA-256 of the content."""
        return hashlib.sha256(self.content).hexdigest()

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
                content = combine(present, measured) if present else measured
                if content != present:
                    _replace(self.path, content)
        except (OSError, BuildError) as error:
            warnings.warn(f"timing cache {self.path}: not changed: {error}", stacklevel=2)


def load(options: BuildOptions) -> Timings | None:
    """Return the timings to start from; None where the options leave no use for them.

    Raises:
        OptionError: The file cannot be read, or its folder cannot be made.
    """
    if options.without_timings:
        return None
    given = options.timing_cache
    if not isinstance(given, Path):
        return Timings(given if isinstance(given, bytes) else b"")
    try:
        given.parent.mkdir(parents=True, exist_ok=True)
        with _locked(given):
            return Timings(_read(given), given)
    except OSError as error:
        raise OptionError(f"timing_cache: {given} cannot be used: {error}") from error


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return b""


def _replace(path: Path, content: bytes) -> None:
    partial = path.with_name(path.name + ".partial")
    with open(partial, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    os.replace(partial, path)


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold the lock of a file: one beside it, since the file itself is replaced."""
    with open(path.with_name(path.name + ".lock"), "ab") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
