"""Debug tensors: values inside an engine that TensorRT tells of while it runs.

The functions take the ``tensorrt`` module as an argument, and ask it for facts by name.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from trtnn.trt.tensors import Shape, dtype_name


@dataclass(frozen=True)
class Seen:
    """A debug tensor, while TensorRT tells of it; its content is valid no longer.

    Attributes:
        dtype: torch's name of it.
        stream: The CUDA stream that computes it, as a number.
    """

    name: str
    address: int
    dtype: str
    shape: Shape
    on_host: bool
    stream: int


def has_debug_tensors(trt: ModuleType) -> bool:
    """Say whether a network can mark them; 8.6 cannot."""
    return hasattr(trt.INetworkDefinition, "mark_debug")


def debug_listener(trt: ModuleType, see: Callable[[Seen], None]) -> Any:
    """Return a listener that calls ``see`` with each debug tensor; whoever runs has to hold it.

    ``see`` must raise nothing: TensorRT would print it and go on.
    """

    class Listener(trt.IDebugListener):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            trt.IDebugListener.__init__(self)

        def process_debug_tensor(
            self, addr: Any, location: Any, type: Any, shape: Any, name: str, stream: int
        ) -> bool:
            host = location == trt.TensorLocation.HOST
            see(Seen(name, address_of(addr), dtype_name(type), tuple(shape), host, int(stream)))
            return True

    return Listener()


def address_of(given: Any) -> int:
    """Return the address that a callback was given: a number, or a capsule around a pointer."""
    if isinstance(given, int):
        return given
    pointer = ctypes.pythonapi.PyCapsule_GetPointer
    pointer.restype, pointer.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]
    return int(pointer(given, None) or 0)


def listen(context: Any, listener: Any, names: Sequence[str]) -> str:
    """Let a context tell a listener of debug tensors; return what it did not take, or nothing."""
    if not context.set_debug_listener(listener):
        return "the debug listener"
    return next((n for n in names if not context.set_tensor_debug_state(n, True)), "")  # noqa: FBT003
