"""Which TensorRT a module is: TensorRT, or TensorRT for RTX; asked by name."""

from __future__ import annotations

import importlib.util
from types import ModuleType

TENSORRT, RTX = "tensorrt", "tensorrt_rtx"
TITLES = {TENSORRT: "TensorRT", RTX: "TensorRT for RTX"}


def package_of(trt: ModuleType) -> str:
    """Return the name of the package: only TensorRT for RTX builds for GPUs that it names."""
    return RTX if hasattr(trt, "ComputeCapability") else TENSORRT


def title_of(trt: ModuleType) -> str:
    """Return name and version, as errors say them: ``TensorRT for RTX 1.7.1.116``."""
    return f"{TITLES[package_of(trt)]} {trt.__version__}"


def is_installed(package: str) -> bool:
    """Say whether a package's module can be found, without importing it."""
    return importlib.util.find_spec(package) is not None
