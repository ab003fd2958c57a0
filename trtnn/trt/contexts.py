"""Execution contexts, and the scratch memory that they work in.

The functions take the ``tensorrt`` module as an argument, and ask it for facts by name.
"""

from __future__ import annotations

from types import ModuleType
from typing import Any


def create_context(trt: ModuleType, engine: Any, *, own: bool) -> Any:
    """Create an execution context, with or without scratch memory of its own."""
    if own:
        return engine.create_execution_context()
    if hasattr(trt, "ExecutionContextAllocationStrategy"):
        strategy = trt.ExecutionContextAllocationStrategy.USER_MANAGED
        return engine.create_execution_context(strategy)
    return engine.create_execution_context_without_device_memory()


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
