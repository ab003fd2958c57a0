"""What TensorRT for RTX has beside TensorRT: GPUs to build for, runtime configs, compiled kernels.

The rules are those of 1.7.1's own messages and documentation. ``PLAYED`` is the GPU of the
process: a plan runs where it was built for its compute capability.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from tests.double.facts import RuleError, Violation
from tests.double.surface import Plain

VERSION = "1.7.1.116"
WITHOUT_KERNELS = ("INonZeroLayer", "INMSLayer")
DEFAULT_TARGETS = ("SM80", "SM86", "SM89", "SM120", "SM121")


@dataclass
class Gpu:
    """The GPU that the double plays: as a driver tells it, and whether there is one."""

    capability: str = "SM89"
    name: str = "NVIDIA L4"
    driver: bool = True


PLAYED = Gpu()


def targets(config: Any) -> tuple[str, ...]:
    """Return the GPUs that a configuration names."""
    named = tuple(member.name for member in config._targets if member is not None)
    if len(named) < len(config._targets) or "NONE" in named:
        raise RuleError("a compute capability was announced and not set")
    if "CURRENT" in named and not PLAYED.driver:
        raise RuleError("CUDA driver version is insufficient for CUDA runtime version")
    return tuple(PLAYED.capability if n == "CURRENT" else n for n in named) or DEFAULT_TARGETS


def check(network: Any, config: Any) -> None:
    """Refuse what TensorRT for RTX does not build."""
    for layer in network._layers:
        if layer._kind in WITHOUT_KERNELS:
            raise RuleError(f"{layer._name} has no runners that implement it")
    for flag in ("REFIT", "REFIT_IDENTICAL", "STRIP_PLAN"):
        if config._has(flag) and not PLAYED.driver:
            raise RuleError("graph_jit.cpp:278: CHECK(status == CUDA_SUCCESS) failed")
    if config._has("VERSION_COMPATIBLE"):
        raise RuleError("Unable to load library: libnvinfer_lean.so.1")


class RuntimeCache(Plain):
    """Stand in for ``trt.IRuntimeCache``: names of kernels, of one version and GPU."""

    def _setup(self) -> None:
        self._kernels: set[str] = set()

    def _head(self) -> dict[str, str]:
        return {"version": VERSION, "gpu": PLAYED.name}

    def deserialize(self, blob: Any) -> bool:
        if not PLAYED.driver:
            raise Violation("IRuntimeCache.deserialize without a CUDA context")
        try:
            read = json.loads(bytes(blob))
        except ValueError:
            return False
        if {key: read.get(key) for key in ("version", "gpu")} != self._head():
            return False
        self._kernels.update(read["kernels"])
        return True

    def serialize(self) -> Any:
        content = {**self._head(), "kernels": sorted(self._kernels)}
        return self._surface.new("IHostMemory", json.dumps(content).encode())

    def reset(self) -> bool:
        self._kernels.clear()
        return True


class RuntimeConfig(Plain):
    """Stand in for ``trt.IRuntimeConfig``: what a context reads when it is made."""

    def _setup(self) -> None:
        surface = self._surface
        self._strategy = surface.ExecutionContextAllocationStrategy.STATIC
        self._cache: Any = None
        if surface.rtx:
            self._value_cuda_graph_strategy = surface.CudaGraphStrategy.DISABLED
            lazy = surface.DynamicShapesKernelSpecializationStrategy.LAZY
            self._value_dynamic_shapes_kernel_specialization_strategy = lazy

    def set_execution_context_allocation_strategy(self, strategy: Any) -> None:
        self._strategy = strategy

    def get_execution_context_allocation_strategy(self) -> Any:
        return self._strategy

    def create_runtime_cache(self) -> Any:
        return self._surface.new("IRuntimeCache")

    def set_runtime_cache(self, cache: Any) -> bool:
        self._cache = cache
        return True

    def get_runtime_cache(self) -> Any:
        return self._cache


def compiled(context: Any) -> None:
    """Note that a context ran: its kernels are compiled now, and in its cache."""
    config = getattr(context, "_config", None)
    if config is None or config._cache is None:
        return
    kind = config._value_dynamic_shapes_kernel_specialization_strategy.name
    shapes = "x".join(f"{name}{tuple(s)}" for name, s in sorted(context._shapes.items()))
    layers = context._plan.layers
    names = layers if kind == "NONE" else [f"{layer} {shapes}" for layer in layers]
    config._cache._kernels.update(names)
