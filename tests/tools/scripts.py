"""The scripts of reports, run: by another Python, or beside a double of TensorRT and of CUDA."""

from __future__ import annotations

import ctypes
import runpy
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest

from tests.double import own


def unpacked(path: str | Path) -> Path:
    """Return the folder of a report's files."""
    folder = Path(path).with_suffix("")
    with zipfile.ZipFile(path) as archive:
        archive.extractall(folder)
    return folder


def run_apart(path: str | Path, package: str) -> subprocess.CompletedProcess[str]:
    """Run the script in a process that finds installed packages alone."""
    code = [sys.executable, "-P", "reproduce.py", package] if sys.version_info >= (3, 11) else []
    command = code or [sys.executable, "reproduce.py", package]
    folder = unpacked(path)
    return subprocess.run(
        command, cwd=folder, env={}, capture_output=True, text=True, check=False, timeout=300
    )


class Driver:
    """CUDA's driver, whose GPU's memory is the host's."""

    def __init__(self) -> None:
        self.memory: list[Any] = []

    def cuInit(self, flags: int) -> int:
        return 0

    def cuDeviceGetCount(self, count: Any) -> int:
        count._obj.value = 1
        return 0

    def cuDeviceGet(self, device: Any, index: int) -> int:
        return 0

    def cuDevicePrimaryCtxRetain(self, context: Any, device: Any) -> int:
        return 0

    def cuCtxSetCurrent(self, context: Any) -> int:
        return 0

    def cuCtxSynchronize(self) -> int:
        return 0

    def cuMemAlloc_v2(self, pointer: Any, size: Any) -> int:
        self.memory.append(ctypes.create_string_buffer(size.value))
        pointer._obj.value = ctypes.addressof(self.memory[-1])
        return 0

    def cuMemcpyHtoD_v2(self, target: Any, source: Any, size: Any) -> int:
        ctypes.memmove(target.value, source, size.value)
        return 0

    def cuMemcpyDtoH_v2(self, target: Any, source: Any, size: Any) -> int:
        ctypes.memmove(target, source.value, size.value)
        return 0


def run_here(path: str | Path, trt: Any, monkeypatch: pytest.MonkeyPatch, *, gpu: bool) -> Any:
    """Run the script beside a double of TensorRT; return what it exits with, None where it ends."""
    folder, kind = unpacked(path), trt.Weights

    def weights(*given: Any) -> Any:
        if len(given) == 3:  # at an address: the double asks who owns it
            own(sys._getframe(1).f_globals["held"][-1])
        return kind(*given)

    with monkeypatch.context() as patch:
        patch.setattr(trt, "Weights", weights)
        patch.setitem(sys.modules, "tensorrt", trt)
        patch.setattr(sys, "argv", [str(folder / "reproduce.py"), "tensorrt"])
        if gpu:
            driver = Driver()
            patch.setattr(ctypes, "CDLL", lambda name: driver)
        try:
            runpy.run_path(str(folder / "reproduce.py"), run_name="__main__")
        except SystemExit as exit:
            return exit.code
    return None
