"""Weights, and whether the memory behind them is still alive.

The real binding keeps a NumPy array alive with the network, and nothing for the pointer
route. The double is stricter, alike in all versions: what owns the memory (the storage of
a torch tensor, else the array at the root of a view) must be held by the frontend itself
until the build; the double holds a weak reference only. For the pointer route the owner
is looked for among the arrays registered by ``own`` and the living torch tensors.
"""

from __future__ import annotations

import ctypes
import gc
import importlib
import sys
import weakref
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy

from tests.double.facts import MOST_VALUES, Violation
from tests.double.surface import Plain

NUMPY = {
    "float32": "FLOAT",
    "float16": "HALF",
    "int8": "INT8",
    "int32": "INT32",
    "int64": "INT64",
    "bool": "BOOL",
    "uint8": "UINT8",
}
BITS = {"FLOAT": 32, "HALF": 16, "BF16": 16, "INT32": 32, "INT64": 64, "INT4": 4, "FP4": 4}
Alive = Callable[[], bool]
owned: dict[int, Callable[[], Any]] = {}
storages: dict[int, tuple[int, Alive]] = {}


def own(array: Any) -> Any:
    """Register an array whose pointer is going to be given to ``Weights``; return it."""
    if isinstance(array, numpy.ndarray):
        owned[int(array.__array_interface__["data"][0])] = weakref.ref(array)
    else:
        owned[int(array.data_ptr())] = weakref.ref(array)
    return array


def tensors(objects: Iterable[Any]) -> Iterator[Any]:
    """Yield the torch tensors that have memory on the host."""
    torch = sys.modules.get("torch")
    if torch is None:
        return
    for item in objects:
        if torch.Tensor not in type(item).__mro__:  # isinstance would wake lazy modules
            continue
        try:
            if item.device.type == "cpu" and item.data_ptr():
                yield item
        except (RuntimeError, ReferenceError, NotImplementedError):
            continue


def storage_alive(tensor: Any) -> Alive:
    """Return a question whether the storage of a tensor still lives."""
    reductions: Any = importlib.import_module("torch.multiprocessing.reductions")
    reference = reductions.StorageWeakRef(tensor.untyped_storage())
    return lambda: not reference.expired()


def remember(generation: int) -> None:
    """Note where the storages of the living torch tensors of a generation lie."""
    for start in [start for start, (_, alive) in storages.items() if not alive()]:
        del storages[start]
    for tensor in tensors(gc.get_objects(generation=generation)):
        storage = tensor.untyped_storage()
        start = int(storage.data_ptr())
        found = storages.get(start)
        if found is None or not found[1]():
            storages[start] = start + max(int(storage.nbytes()), 1), storage_alive(tensor)


def covering(pointer: int) -> Alive | None:
    """Return the living storage, among those noted, that holds a pointer."""
    exact = storages.get(pointer)
    if exact is not None and exact[1]():
        return exact[1]
    for start, (end, alive) in storages.items():
        if start < pointer < end and alive():
            return alive
    return None


def pointer_alive(pointer: int) -> Alive | None:
    """Find the owner of host memory, looking at young objects first; None if there is none."""
    registered = owned.get(pointer, lambda: None)
    if registered() is not None:
        return lambda: registered() is not None
    found = covering(pointer)
    for generation in range(3):
        if found is None:
            remember(generation)
            found = covering(pointer)
    return found


def array_alive(array: Any) -> Alive:
    """Return a question whether the memory of a NumPy array still lives."""
    root = array
    while isinstance(root.base, numpy.ndarray):
        root = root.base
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(root.base, torch.Tensor):
        return storage_alive(root.base)
    reference = weakref.ref(root)
    return lambda: reference() is not None


class Weights(Plain):
    """Stand in for ``trt.Weights``."""

    def _init(self, *arguments: Any) -> None:
        self._count = 0
        self._values: list[Any] | None = None
        self._form: tuple[int, ...] | None = None
        self._alive: Alive | None = None
        self._pointer = 0
        if len(arguments) == 3:
            self._from_pointer(*arguments)
        elif isinstance(arguments[0], numpy.ndarray):
            self._from_array(arguments[0])
        else:
            self._dtype, self._count = arguments[0].name, 0

    def _from_array(self, array: Any) -> None:
        dtype = NUMPY.get(array.dtype.name)
        if dtype is None or dtype not in self._surface.DataType.__members__:
            raise ValueError(
                f"[TRT] [E] Could not implicitly convert NumPy data type: {array.dtype.name}"
            )
        if not array.flags.c_contiguous:
            raise ValueError("Weights must be contiguous. Please use numpy.ascontiguousarray()")
        self._dtype, self._count, self._form = dtype, int(array.size), array.shape
        self._pointer = int(array.__array_interface__["data"][0])
        self._alive = array_alive(array) if array.size else None
        if array.dtype.kind in "bi" and 0 < array.size <= MOST_VALUES:
            self._values = array.ravel().tolist()

    def _from_pointer(self, dtype: Any, pointer: int, count: int) -> None:
        self._dtype, self._count, self._pointer = dtype.name, count, pointer
        if not count:
            return
        self._alive = pointer_alive(pointer)
        if self._alive is None:
            raise Violation(
                f"Weights at {pointer:#x}: no torch tensor owns this host memory; it is freed, "
                "or the array has to be registered with tests.double.own"
            )
        kind = {"INT32": numpy.int32, "INT64": numpy.int64, "BOOL": numpy.bool_}.get(dtype.name)
        if kind is not None and count <= MOST_VALUES:
            size = count * numpy.dtype(kind).itemsize
            self._values = numpy.frombuffer(ctypes.string_at(pointer, size), dtype=kind).tolist()

    @classmethod
    def _adopt(cls, value: Any) -> Any:
        """Convert an array, as pybind11 does implicitly."""
        return cls(value)

    @property
    def dtype(self) -> Any:
        return getattr(self._surface.DataType, self._dtype)

    @property
    def size(self) -> int:
        return self._count

    @property
    def nbytes(self) -> int:
        return self._count * BITS.get(self._dtype, 8) // 8

    def numpy(self) -> Any:
        raise NotImplementedError("the double does not hold weights")


def small_values(weights: Any) -> list[Any] | None:
    """Return the integers in small weights, for shape tensors."""
    values: list[Any] | None = weights._values
    return values


def stored_shape(weights: Any) -> tuple[int, ...] | None:
    """Return the shape of the array that weights were made of."""
    form: tuple[int, ...] | None = weights._form
    return form


def is_alive(weights: Any) -> bool:
    """Tell whether the memory behind weights is still there."""
    return weights._alive is None or weights._alive()


def identity(weights: Any) -> tuple[str, int, int]:
    """Return what TensorRT tells weights apart by: type, pointer, count."""
    return weights._dtype, weights._pointer, weights._count
