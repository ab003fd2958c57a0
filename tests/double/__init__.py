"""A strict double of TensorRT 8.6, 10, 11 and for RTX, for machines without a GPU.

``load("8.6" | "10" | "11" | "rtx")`` returns what stands in for ``import tensorrt``. It proves form
(names, signatures, types, shapes, lifetimes, profiles), never numerics or speed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from types import ModuleType
from typing import Any

from tests.double import plugins, written
from tests.double.basics import (
    Dims,
    HostMemory,
    Logger,
    Permutation,
    TimingCache,
)
from tests.double.build import Builder, Config, Profile, typed
from tests.double.execution import Context
from tests.double.facts import RuleError, Violation, volume
from tests.double.flow import Conditional, Loop
from tests.double.inference import concrete, facts, layers_before, verify
from tests.double.inspection import EngineInspector
from tests.double.network import Network
from tests.double.phases import meanwhile
from tests.double.refit import Refitter
from tests.double.rtx import RuntimeCache, RuntimeConfig
from tests.double.runtime import Engine, Runtime, SerializationConfig, on_execute
from tests.double.sizes import Symbol, Unknown, evaluate
from tests.double.surface import RELEASES, Surface
from tests.double.tensors import Attention, Layer, Tensor
from tests.double.weights import NUMPY, Weights, own

__all__ = [
    "RuleError",
    "Unknown",
    "Violation",
    "data_sizes",
    "load",
    "meanwhile",
    "on_execute",
    "own",
    "shape_at",
    "shapes_at",
    "typed",
]

BEHAVIOURS: Mapping[str, type] = {
    **plugins.BEHAVIOURS,
    "Builder": Builder,
    "Dims": Dims,
    "EngineInspector": EngineInspector,
    "IAttention": Attention,
    "IBuilderConfig": Config,
    "ICudaEngine": Engine,
    "IExecutionContext": Context,
    "IHostMemory": HostMemory,
    "IIfConditional": Conditional,
    "ILayer": Layer,
    "ILoop": Loop,
    "INetworkDefinition": Network,
    "IOptimizationProfile": Profile,
    "IRuntimeCache": RuntimeCache,
    "IRuntimeConfig": RuntimeConfig,
    "ISerializationConfig": SerializationConfig,
    "ITensor": Tensor,
    "ITimingCache": TimingCache,
    "Logger": Logger,
    "Permutation": Permutation,
    "Refitter": Refitter,
    "Runtime": Runtime,
    "Weights": Weights,
}


class Module(ModuleType):
    """A stand-in for ``tensorrt``, whose names are made when they are first asked for."""

    _surface: Surface

    def __dir__(self) -> list[str]:
        return sorted({*vars(self), *filter(partial(hasattr, self), self._surface.entries)})

    def __getattr__(self, name: str) -> Any:
        surface = self.__dict__.get("_surface")
        if surface is None or name.startswith("__"):
            raise AttributeError(name)
        entry = surface.entries.get(name)
        made = surface.types.get(name)
        if made is None and isinstance(entry, dict) and "function" in entry:
            made = unavailable(name)
        elif isinstance(entry, dict) and entry.get("value", "").startswith("DataType."):
            made = getattr(surface.DataType, entry["value"].split(".")[1])
        if made is None:
            raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}")
        setattr(self, name, made)
        return made


def load(version: str) -> Any:
    """Return a fresh stand-in for ``import tensorrt`` of version "8.6", "10", "11", or "rtx"."""
    surface = Surface(version, BEHAVIOURS)
    module: Any = Module(f"tensorrt double {version}")
    module.__version__ = RELEASES[version]
    module._surface = surface
    module.volume = lambda shape: volume(tuple(shape))
    module.nptype = number_type
    plugins.install(module)
    if hasattr(module, "IPluginCreatorV3Quick") and not surface.rtx:
        module.plugin = written.module_of(module)
    return module


def unavailable(name: str) -> Any:
    """Return a function that says that the double does not have it."""

    def function(*given: Any, **named: Any) -> Any:
        raise NotImplementedError(f"the double has no {name}")

    return function


def number_type(dtype: Any) -> str:
    """Return the NumPy type of a ``DataType``, TypeError where NumPy has none."""
    for numpy_name, name in NUMPY.items():
        if name == dtype.name:
            return numpy_name
    raise TypeError(f"Could not resolve TensorRT datatype to an equivalent numpy datatype: {dtype}")


def shape_at(
    tensor: Any,
    shapes: Mapping[str, tuple[int, ...]],
    data: Mapping[str, int] | None = None,
) -> tuple[int, ...]:
    """Return a tensor's shape for concrete input shapes, checking every layer before it.

    ``data`` gives numbers for sizes that depend on values, by the name that the ``Unknown``
    error shows. Raises ``RuleError`` where the shapes break a layer's condition.
    """
    return shapes_at([tensor], shapes, data)[0]


def shapes_at(
    tensors: Sequence[Any],
    shapes: Mapping[str, tuple[int, ...]],
    data: Mapping[str, int] | None = None,
) -> list[tuple[int, ...]]:
    """Return the shapes of several tensors of one network, as ``shape_at`` does for one."""
    if not tensors:
        return []
    known = {**concrete(tensors[0]._network, dict(shapes)), **(data or {})}
    sizes = [facts(tensor).shape for tensor in tensors]
    fault = verify(layers_before(tensors), known)
    if fault:
        raise RuleError(fault)
    memory: dict[str, Any] = {}
    return [tuple(int(evaluate(size, known, memory)) for size in shape) for shape in sizes]


def data_sizes(network: Any) -> list[str]:
    """Return the names of the sizes that depend on values, in order of the layers."""
    names = {
        size.operands[0]: None
        for layer in network._layers
        for tensor in layer._outputs
        for size in facts(tensor).shape
        if isinstance(size, Symbol) and size.operation == "data"
    }
    return list(names)
