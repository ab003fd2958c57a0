"""The engine cache: a folder with one file per plan, which many processes share.

A file's first line names the format and the SHA-256 of the rest; the second is a ``Summary`` with
the key, as JSON; then follows the plan as TensorRT made it.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import logging
import os
import re
import stat
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, TypeVar

from trtnn.errors import BuildError, LoadError, OptionError
from trtnn.files import PARTIAL, locked, remove_unlocked, replacing
from trtnn.trt.kernels import KERNELS
from trtnn.trt.timing import TIMINGS

FOLDER, LIMIT = "TRTNN_CACHE_DIR", "TRTNN_CACHE_BYTES"
"""The environment variables: where the cache is, and how large it may become."""

DEFAULT_LIMIT = 10 * 2**30  # bytes
ABANDONED = 3600  # seconds after which nobody writes to a partial file any more
# Suffixes that nobody else gives: a folder may hold files of others, which are not to be touched.
SUFFIX, LOCK = ".trtnn-engine", ".trtnn-lock"
# The files of what is measured and compiled for one GPU model and TensorRT.
_SHARED = (
    re.compile(rf"{TIMINGS}\d+(?:\.\d+)+-.+-\d+\.cache"),
    re.compile(rf"{KERNELS}\d+(?:\.\d+)+-.+\.cache"),
)
_HEAD = re.compile(rb"trtnn engine, format 1, sha256 ([0-9a-f]{64})\n")
_log = logging.getLogger("trtnn.cache.folder")
T = TypeVar("T")


@dataclass(frozen=True)
class Summary:
    """What ``trtnn cache list`` tells of a plan without TensorRT."""

    module: str = ""
    inputs: str = ""
    gpu: str = ""
    tensorrt: str = ""
    timing_digest: str | None = None
    verified: str | None = None  # as JSON


@dataclass(frozen=True)
class Entry:
    """A plan from the cache, as it was stored."""

    plan: bytes
    summary: Summary
    digest: str


@dataclass(frozen=True)
class Listed:
    """A file of the cache: bytes, time of last use, and what it says of itself, if it is whole."""

    path: Path
    size: int
    used: float
    summary: Summary | None

    @property
    def key(self) -> str:
        return self.path.name.removesuffix(SUFFIX)


@dataclass(frozen=True)
class Cache:
    """A folder of plans, at most ``limit`` bytes of them."""

    folder: Path
    limit: int = DEFAULT_LIMIT

    def obtain(
        self,
        key: str,
        use: Callable[[Entry], T],
        build: Callable[[], tuple[T, bytes, Summary]],
    ) -> T:
        """Return ``use`` of the plan that is stored under a key, or what ``build`` makes.

        Of many processes, and threads, that want one key at once, one builds, and the others wait
        for it. A file that is damaged, or that ``use`` refuses with a BuildError or a LoadError,
        is built anew, with a warning; a folder that cannot be written is a warning too.

        Args:
            key: A text of letters and digits that says all that decides which plan is right.
            use: Makes an engine of a plan.
            build: Returns an engine, its plan, and what to tell of it.
        """
        refused = ""
        entry = self._intact(key)
        while True:
            if entry is not None and entry.digest != refused:
                try:
                    return use(entry)
                except (BuildError, LoadError) as error:
                    _warn(f"{self._path(key)}: built anew: {error.message}")
                    refused = entry.digest
            with contextlib.ExitStack() as held:
                self._enter(held, key)
                entry = self._intact(key, say=True)
                if entry is None or entry.digest == refused:
                    result, plan, summary = build()
                    self._store(key, plan, summary)
                    return result

    def read(self, key: str) -> Entry:
        """Return a stored plan, and note that it was used.

        Raises:
            FileNotFoundError: There is none.
            LoadError: The file is not as it was written.
            OSError: It cannot be read.
        """
        path = self._path(key)
        with open(path, "rb") as file:
            digest, head = _head(path, file)
            plan = file.read()
            content = hashlib.sha256(head)
            content.update(plan)
            if content.hexdigest() != digest:
                raise LoadError(f"{path}: truncated or altered")
            found, summary = _summary(path, head)
            if found != key:
                raise LoadError(f"{path}: holds the plan of another key")
            with contextlib.suppress(OSError):
                os.utime(file.fileno())
        return Entry(plan, summary, digest)

    def write(self, key: str, plan: bytes, summary: Summary) -> None:
        """Store a plan; the file is there whole or not at all, whenever the process ends.

        Raises:
            OSError: The folder cannot be written.
        """
        head = json.dumps({"key": key, **dataclasses.asdict(summary)}).encode("ascii") + b"\n"
        content = hashlib.sha256(head)
        content.update(plan)
        with replacing(self._path(key)) as file:
            file.write(f"trtnn engine, format 1, sha256 {content.hexdigest()}\n".encode("ascii"))
            file.write(head)
            file.write(plan)

    def entries(self) -> list[Listed]:
        """Return the files of the cache, the one used last first."""
        found = []
        for path in self.folder.glob(f"*{SUFFIX}"):
            with contextlib.suppress(OSError):
                facts = path.stat()
                try:
                    with open(path, "rb") as file:
                        summary = _summary(path, _head(path, file)[1])[1]
                except LoadError:
                    summary = None
                found.append(Listed(path, facts.st_size, facts.st_mtime, summary))
        return sorted(found, key=lambda entry: (-entry.used, entry.key))

    def clear(self, older_than: float | None = None) -> tuple[int, int]:
        """Remove plans; return how many, and their bytes. Nobody who reads one is disturbed.

        Args:
            older_than: Only those that nobody used for so many seconds. None: all, with timings
                and compiled kernels.
        """
        before = time.time() - (older_than or 0.0)
        gone = [e for e in self.entries() if older_than is None or e.used <= before]
        for entry in gone:
            entry.path.unlink(missing_ok=True)
        if older_than is None:
            for path in self.folder.glob("*.cache"):
                if any(pattern.fullmatch(path.name) for pattern in _SHARED):
                    path.unlink(missing_ok=True)
        self._tidy()
        return len(gone), sum(entry.size for entry in gone)

    def _path(self, key: str) -> Path:
        return self.folder / f"{key}{SUFFIX}"

    def _intact(self, key: str, *, say: bool = False) -> Entry | None:
        """Return a stored plan, None where there is none to rely on."""
        try:
            return self.read(key)
        except FileNotFoundError:
            return None
        except (LoadError, OSError) as error:
            if say:
                _warn(f"built anew: {error}")
            return None

    def _enter(self, held: contextlib.ExitStack, key: str) -> None:
        """Take the lock of a key."""

        def waits() -> None:
            _log.info("another process builds this engine: waiting for it")

        path = self.folder / f"{key}{LOCK}"
        try:
            held.enter_context(locked(path, waits=waits, remove=True))
        except OSError as error:
            _warn(f"other processes may build the same engine: {error}")

    def _store(self, key: str, plan: bytes, summary: Summary) -> None:
        try:
            self.write(key, plan, summary)
            self._shrink(key)
        except OSError as error:
            _warn(f"the engine was not stored: {error}")

    def _shrink(self, newest: str) -> None:
        """Remove the plans used least recently until the rest fits the limit."""
        room = self.limit
        for entry in sorted(self.entries(), key=lambda entry: entry.key != newest):
            room -= entry.size
            if room < 0 and entry.key != newest:
                entry.path.unlink(missing_ok=True)
        self._tidy()

    def _tidy(self) -> None:
        """Remove what processes that were killed left behind."""
        for path in self.folder.glob(f"*{LOCK}"):
            remove_unlocked(path)
        for path in self.folder.glob(PARTIAL):
            with contextlib.suppress(FileNotFoundError):
                if time.time() - path.stat().st_mtime > ABANDONED:
                    path.unlink()


def open_cache(given: Any = None) -> Cache | None:
    """Return the engine cache, its folder made; None where there is none.

    Args:
        given: The folder. None: the one that TRTNN_CACHE_DIR names, else ``trtnn`` in
            XDG_CACHE_HOME, else ``~/.cache/trtnn``. ``False``: no cache.

    Raises:
        OptionError: ``given`` is none of these, or a folder that was named is not the user's
            alone. For the one that nobody named this is a warning, and there is no cache.

    >>> open_cache(False) is None
    True
    """
    check(given)
    if given is False:
        return None
    limit = _limit()
    named = ("cache", given) if given is not None else (FOLDER, os.environ.get(FOLDER))
    folder: Path | None = None
    try:
        folder = Path(named[1]).expanduser() if named[1] else default_folder()
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        _require_own(folder)
    except (OSError, RuntimeError) as error:  # pathlib's, where nobody knows the user's home
        if named[1]:
            raise OptionError(f"{named[0]}: {named[1]} cannot be the cache: {error}") from error
        _warn(f"not used: {folder or '~/.cache'}: {error}; cache=False says so silently")
        return None
    return Cache(folder.absolute(), limit)


def check(given: Any) -> None:
    """Raise OptionError unless ``open_cache`` takes it."""
    if given is None or given is False or (isinstance(given, (str, os.PathLike)) and str(given)):
        return
    raise OptionError(f"cache: expected a folder, False or None, got {given!r}")


def default_folder() -> Path:
    """Return the user's own folder, where no other is named."""
    home = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(home) if os.path.isabs(home) else Path.home() / ".cache") / "trtnn"


def _limit() -> int:
    given = os.environ.get(LIMIT, "")
    if given and not given.isdecimal():
        raise OptionError(f"{LIMIT}: expected a number of bytes, got {given!r}")
    return int(given) if given else DEFAULT_LIMIT


def _require_own(folder: Path) -> None:
    """Raise PermissionError where somebody else could put a plan, which is code, in a folder."""
    facts = folder.stat()
    if facts.st_uid != os.geteuid():
        raise PermissionError(f"it belongs to user {facts.st_uid}")
    if facts.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise PermissionError("others can write to it: chmod go-w closes it")


def _head(path: Path, file: IO[bytes]) -> tuple[str, bytes]:
    """Return the digest, and the line that says what the plan is."""
    first = _HEAD.fullmatch(file.readline(200))
    if first is None:
        raise LoadError(f"{path}: no file of this cache")
    return first[1].decode(), file.readline()


def _summary(path: Path, head: bytes) -> tuple[str, Summary]:
    """Return the key and the summary that a file says of itself."""
    try:
        facts = json.loads(head)
        key, summary = facts.pop("key"), Summary(**facts)
        absent = (("timing_digest", None), ("verified", None))
        texts = [value for name, value in facts.items() if (name, value) not in absent]
        if not all(isinstance(value, str) for value in (key, *texts)):
            raise TypeError("a fact that is no text")
        return str(key), summary
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise LoadError(f"{path}: truncated or altered") from error


def _warn(text: str) -> None:
    warnings.warn(f"engine cache: {text}", stacklevel=2)
