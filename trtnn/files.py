"""Files that several processes share: replaced as a whole, and locked."""

from __future__ import annotations

import contextlib
import os
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

fcntl: Any
try:
    import fcntl
except ImportError:  # Windows, where a model can be loaded and nothing locked
    fcntl = None

PARTIAL = ".trtnn-*.partial"
"""What a process that is killed while it writes leaves behind; nobody reads it."""


@contextmanager
def replacing(path: Path) -> Iterator[IO[bytes]]:
    """Give a new file that takes the place of ``path`` once it is complete and on the disk.

    Nobody ever sees half of it, whenever the process ends. Any number of processes may write to
    one path at once: the last one stays.

    Raises:
        OSError: The folder is missing, or cannot be written.
    """
    partial = path.with_name(PARTIAL.replace("*", uuid.uuid4().hex))
    try:
        with open(partial, "x+b") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
    if not hasattr(os, "O_DIRECTORY"):
        return  # a folder cannot be opened on Windows
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


@contextmanager
def locked(
    path: Path, *, waits: Callable[[], None] | None = None, remove: bool = False
) -> Iterator[None]:
    """Hold the lock that is the file ``path``, made if it is missing; a killed process frees it.

    Args:
        waits: Called once if another process, or thread, has the lock.
        remove: Remove the file in the end, while the lock is still held.

    Raises:
        OSError: The file cannot be made, or its file system has no locks.
    """
    while True:
        with open(path, "ab") as lock:
            try:
                _lock(lock, at_once=True)
            except BlockingIOError:
                if waits is not None:
                    waits()
                waits = None
                _lock(lock, at_once=False)
            # Who had the lock may have removed the file: this is then no longer the lock.
            if not _is_at(lock, path):
                continue
            try:
                yield
            finally:
                if remove:
                    path.unlink(missing_ok=True)
            return


def remove_unlocked(path: Path) -> None:
    """Remove a lock's file, left behind by a process that was killed, unless somebody has it."""
    with contextlib.suppress(OSError), open(path, "rb") as lock:
        _lock(lock, at_once=True)
        if _is_at(lock, path):
            path.unlink()


def _lock(file: IO[bytes], *, at_once: bool) -> None:
    if fcntl is None:
        raise OSError("this platform has no locks of files")
    fcntl.flock(file, fcntl.LOCK_EX | (fcntl.LOCK_NB if at_once else 0))


def _is_at(file: IO[bytes], path: Path) -> bool:
    """Say whether an open file is still the one at a path."""
    try:
        return os.path.samestat(os.fstat(file.fileno()), os.stat(path))
    except FileNotFoundError:
        return False
