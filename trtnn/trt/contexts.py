"""Execution contexts: how they are made, what they are told, and the memory that they work in.

The functions take the ``tensorrt`` module as an argument, and ask it for facts by name.
"""

from __future__ import annotations

from types import ModuleType
from typing import Any

from trtnn.errors import OptionError
from trtnn.options import RuntimeOptions
from trtnn.trt.identity import title_of
from trtnn.trt.kernels import Kernels

# The property of a runtime config, and the enumeration of its values, by option.
_STRATEGIES = {
    "kernel_specialization": (
        "dynamic_shapes_kernel_specialization_strategy",
        "DynamicShapesKernelSpecializationStrategy",
    ),
    "cuda_graph_strategy": ("cuda_graph_strategy", "CudaGraphStrategy"),
}


def check_runtime(trt: ModuleType, options: RuntimeOptions) -> None:
    """Raise OptionError where contexts of this TensorRT cannot be told what the options say."""
    for name, value in options.describe().items():
        if not hasattr(trt, "IRuntimeCache"):
            raise OptionError(
                f"runtime: {title_of(trt)} has no {name}={value!r}; it is in TensorRT for RTX"
            )


def create_context(
    trt: ModuleType, engine: Any, *, own: bool, options: RuntimeOptions, kernels: Kernels | None
) -> Any:
    """Create an execution context.

    Args:
        own: Whether it has scratch memory of its own.
        options: What a context of TensorRT for RTX is told.
        kernels: Where its compiled kernels are kept.

    Raises:
        OptionError: TensorRT for RTX keeps another value than it was given.
    """
    if hasattr(trt, "IRuntimeCache"):
        config = engine.create_runtime_config()
        if config is not None:
            _share_memory(trt, config, own=own)
            _tell(trt, config, options)
            if kernels is not None:
                kernels.attach(config)
        return None if config is None else engine.create_execution_context(config)
    if own:
        return engine.create_execution_context()
    if hasattr(trt, "ExecutionContextAllocationStrategy"):
        strategy = trt.ExecutionContextAllocationStrategy.USER_MANAGED
        return engine.create_execution_context(strategy)
    return engine.create_execution_context_without_device_memory()


def _share_memory(trt: ModuleType, config: Any, *, own: bool) -> None:
    strategies = trt.ExecutionContextAllocationStrategy
    wanted = strategies.STATIC if own else strategies.USER_MANAGED
    config.set_execution_context_allocation_strategy(wanted)
    held = config.get_execution_context_allocation_strategy()
    if held != wanted:
        raise OptionError(f"memory: {title_of(trt)} took {held.name} instead of {wanted.name}")


def _tell(trt: ModuleType, config: Any, options: RuntimeOptions) -> None:
    for option, (name, enumeration) in _STRATEGIES.items():
        value = getattr(options, option)
        if value is None:
            continue
        member = getattr(getattr(trt, enumeration), value.upper())
        setattr(config, name, member)
        held = getattr(config, name)
        if held != member:
            raise OptionError(f"{option}: {title_of(trt)} took {held.name} instead of {value!r}")


def scratch_bytes(trt: ModuleType, engine: Any) -> int:
    """Return how much scratch memory a context of an engine needs, in bytes."""
    later = hasattr(trt.ICudaEngine, "device_memory_size_v2")
    return int(engine.device_memory_size_v2 if later else engine.device_memory_size)


def lend_memory(context: Any, address: int, size: int) -> None:
    """Tell a context without scratch memory of its own where to work."""
    if hasattr(context, "set_device_memory"):
        context.set_device_memory(address, size)
    else:
        context.device_memory = address
