"""Debug tensors of the double: marked in a network, told to a listener while an engine runs.

Written from NVIDIA's bindings and documentation: a state is off until it is set, content is valid
during the callback alone, and an exception in it is printed and forgotten.
"""

from __future__ import annotations

import ctypes
import sys
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy

from tests.double.facts import RuleError, Violation
from tests.double.inference import facts
from tests.double.sizes import Size

STREAM = 0
Resolve = Callable[["Told"], tuple[int, ...]]
"""Returns the shape that a tensor has for the sizes of a call."""


@dataclass(frozen=True)
class Told:
    """A tensor that an engine can tell a listener of."""

    name: str
    dtype: str
    shape: tuple[Size, ...]


def told(network: Any) -> list[Told]:
    """Return what a network marks; RuleError where a name is another tensor's too."""
    marked = list(network._debug)
    ends = [t for t in [*network._inputs, *network._outputs] if t not in marked]
    names = [tensor._name for tensor in [*ends, *marked]]
    repeated = {name for name in names if names.count(name) > 1}
    if repeated:
        raise RuleError(f"repeated tensor name: {sorted(repeated)[0]}")
    return [Told(t._name, facts(t).dtype, facts(t).shape) for t in marked]


class Listening:
    """What an execution context does with a listener; nothing keeps the listener alive."""

    def __init__(self, tensors: list[Told]) -> None:
        self.tensors = {tensor.name: tensor for tensor in tensors}
        self.states = dict.fromkeys(self.tensors, False)
        self.listener: Any = None

    def set(self, listener: Any) -> bool:
        self.listener = None if listener is None else weakref.ref(listener)
        return True

    def emit(self, surface: Any, results: dict[str, Any], resolve: Resolve) -> None:
        """Tell the listener of each tensor that is on, in the order of the network."""
        for name, tensor in self.tensors.items():
            if not self.states[name] or self.listener is None:
                continue
            listener = self.listener()
            if listener is None:
                raise Violation("the debug listener was freed; the frontend has to hold it")
            array = numpy.ascontiguousarray(results[name]) if name in results else None
            shape = resolve(tensor) if array is None else numpy.shape(results[name])
            size = 64 + (1 if array is None else array.nbytes)
            memory = ctypes.create_string_buffer(size)
            address = ctypes.addressof(memory)
            if array is None:
                ctypes.memset(address, 0xAB, size)
            else:
                ctypes.memmove(address, array.ctypes.data, array.nbytes)
            kind = getattr(surface.DataType, tensor.dtype)
            place = surface.TensorLocation.DEVICE
            given = address if surface.major == 10 else capsule(address)
            try:
                listener.process_debug_tensor(given, place, kind, surface.dims(shape), name, STREAM)
            except Exception as error:
                print(f"[ERROR] Exception caught in processDebugTensor(): {error}", file=sys.stderr)
            ctypes.memset(address, 0xAB, size)  # the next kernel writes there


def capsule(address: int) -> Any:
    """Return an address as signatures show it; the source of some bindings passes an int."""
    make = ctypes.pythonapi.PyCapsule_New
    make.restype, make.argtypes = (
        ctypes.py_object,
        [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p],
    )
    return make(address, None, None)
