"""What this machine has: versions, GPUs, and which backends work here."""

from __future__ import annotations

import importlib.metadata
import platform
from dataclasses import asdict, dataclass
from typing import Any

import torch

from trtnn.errors import BackendError
from trtnn.saved.description import gpu_of
from trtnn.trt.identity import RTX, TENSORRT
from trtnn.trt.library import TensorRT

PACKAGES = ("trtnn", "torch", "numpy", "cuda-python", "rich", "matplotlib", "graphviz")


@dataclass(frozen=True)
class Backend:
    """One backend, and what of it works here.

    Attributes:
        version: Of its library; empty where it is absent.
        why: Why it does not work here, or what it can do beside.
        works: Whether a model can be compiled and called with it here.
    """

    name: str
    version: str
    why: str
    works: bool = False


@dataclass(frozen=True)
class Machine:
    """What ``trtnn info`` tells."""

    python: str
    system: str
    packages: dict[str, str]
    gpus: tuple[dict[str, Any], ...]
    backends: tuple[Backend, ...]

    def described(self) -> dict[str, Any]:
        """Return it as JSON holds it."""
        return asdict(self)


def machine() -> Machine:
    """Return what this machine has."""
    gpus = _gpus()
    return Machine(
        platform.python_version(),
        f"{platform.system()} {platform.machine()}",
        {name: found for name in PACKAGES if (found := _version(name))},
        gpus,
        (
            *(_backend(name, gpus) for name in (TENSORRT, RTX)),
            Backend("reference", str(torch.__version__), why="PyTorch runs the graph", works=True),
        ),
    )


def _version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return ""


def _gpus() -> tuple[dict[str, Any], ...]:
    count = torch.cuda.device_count()
    found = (gpu_of(torch.device("cuda", index)) for index in range(count))
    return tuple(gpu for gpu in found if gpu is not None)


def _backend(package: str, gpus: tuple[dict[str, Any], ...]) -> Backend:
    try:
        library = TensorRT(package=package)
    except BackendError as error:
        hint = f" ({error.hint})" if error.hint else ""
        return Backend(package, "", f"{error.message}{hint}")
    version, ahead = library.target.version, ""
    if library.target.compute_capabilities:
        names = ", ".join(library.target.compute_capabilities)
        ahead = f"trtnn build makes files for GPUs of compute capability {names}"
    if not gpus:
        told = "; ".join(filter(None, ("PyTorch sees no CUDA device", ahead)))
        return Backend(package, version, told)
    try:
        library.require_gpu(gpus[0]["name"], gpus[0]["compute_capability"])
    except BackendError as error:
        return Backend(package, version, "; ".join(filter(None, (error.message, ahead))))
    return Backend(package, version, ahead, works=True)
