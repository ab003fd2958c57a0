"""The kernels that TensorRT for RTX compiled on this GPU: one file, which many processes share.

TensorRT for RTX calls it the runtime cache. A file is right for one version, GPU model and platform
only, which its name says; the library refuses any other, and then it is made anew.
"""

from __future__ import annotations

import atexit
import hashlib
import logging
import os
import platform
import threading
import warnings
from collections.abc import Hashable
from pathlib import Path
from types import ModuleType
from typing import Any
from urllib.parse import quote

from trtnn.errors import BuildError
from trtnn.files import replacing

KERNELS = "kernels-"
"""How the names of the files begin that the engine cache's folder has for compiled kernels."""

_log = logging.getLogger("trtnn.kernels")


def kernels_file(folder: Path, version: str, gpu_name: str) -> Path:
    """Return the file of one version of TensorRT for RTX, GPU model and platform."""
    place = f"{platform.system()}-{platform.machine()}".lower()
    return folder / f"{KERNELS}{version}-{quote(gpu_name, safe='')}-{place}.cache"


_opened: dict[tuple[int, Path], Kernels] = {}
_opening = threading.Lock()


def open_kernels(trt: ModuleType, path: Path) -> Kernels:
    """Return the kernels of a file, the same for each library of a module that names it."""
    with _opening:
        key = id(trt), path.absolute()
        if key not in _opened:
            _opened[key] = Kernels(path)
            atexit.register(_opened[key].save)
        return _opened[key]


class Kernels:
    """The compiled kernels of a process, which all engines share that name one file.

    They are written after calls with new shapes and when the process ends: what it compiled in the
    background is there then. The file is replaced as a whole; of two processes the last one stays.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._cache: Any = None
        self._written = b""  # the digest of what the file holds, as far as we know
        self._seen: set[Hashable] = set()
        self._process, self._given_up = os.getpid(), False
        self._changing = threading.Lock()

    def attach(self, config: Any) -> None:
        """Let a context that is made of ``config`` take its kernels from here, and leave them here.

        Raises:
            BuildError: TensorRT for RTX refuses.
        """
        with self._changing:
            if self._cache is None:
                self._cache = self._read(config)
            if not config.set_runtime_cache(self._cache):
                raise BuildError("TensorRT for RTX could not take a runtime cache", search=False)

    def _read(self, config: Any) -> Any:
        cache = config.create_runtime_cache()
        if cache is None:
            raise BuildError("TensorRT for RTX could not make a runtime cache", search=False)
        try:
            content = self.path.read_bytes()
        except FileNotFoundError:
            return cache
        except OSError as error:
            warnings.warn(f"compiled kernels are not read: {error}", stacklevel=2)
            return cache
        if content and cache.deserialize(content):
            self._written = hashlib.sha256(content).digest()
        else:  # of another driver, or damaged
            _log.info("%s: refused, and made anew", self.path)
        return cache

    def ran(self, key: Hashable) -> None:
        """Tell that a call ended; with new shapes, what was compiled for it is written."""
        if key not in self._seen:
            self._seen.add(key)
            self.save()

    def save(self) -> None:
        """Write the kernels, if there are new ones; a file that cannot be written is a warning."""
        if self._given_up or self._process != os.getpid():  # in a fork CUDA cannot be called
            return
        with self._changing:
            content = b"" if self._cache is None else bytes(self._cache.serialize() or b"")
            digest = hashlib.sha256(content).digest()
            if not content or digest == self._written:
                return
            try:
                self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                with replacing(self.path) as file:
                    file.write(content)
            except OSError as error:
                self._given_up = True  # or it would be said again at each new shape
                warnings.warn(f"compiled kernels are not kept: {error}", stacklevel=2)
            self._written = digest
