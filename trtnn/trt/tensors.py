"""What an engine says of its inputs and outputs: the truth that a description is held against.

The functions take the ``tensorrt`` module as an argument, and ask it for facts by name.
"""

from __future__ import annotations

import ctypes
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from types import ModuleType
from typing import Any

Shape = tuple[int, ...]
DTYPES = {
    "float32": "FLOAT",
    "float16": "HALF",
    "bfloat16": "BF16",
    "int64": "INT64",
    "int32": "INT32",
    "int8": "INT8",
    "uint8": "UINT8",
    "float8_e4m3fn": "FP8",
    "bool": "BOOL",
}
"""TensorRT's names of torch's dtypes."""


@dataclass(frozen=True)
class TensorFacts:
    """An input or output of an engine; a size is -1 where it is known at run time only.

    Attributes:
        dtype: torch's name of it.
        on_host: TensorRT reads the input on the host, because shapes need its values.
        format: TensorRT's name of the memory format.
    """

    name: str
    is_input: bool
    dtype: str
    shape: Shape
    on_host: bool
    format: str


def dtype_name(dtype: Any) -> str:
    """Return torch's name of a DataType, TensorRT's own where torch has none."""
    return next((name for name, member in DTYPES.items() if member == dtype.name), str(dtype.name))


def tensor_facts(trt: ModuleType, engine: Any) -> dict[str, TensorFacts]:
    """Return what an engine says of each of its inputs and outputs, in binding order."""
    found = {}
    for i in range(engine.num_io_tensors):
        name = engine.get_tensor_name(i)
        is_input = engine.get_tensor_mode(name) == trt.TensorIOMode.INPUT
        found[name] = TensorFacts(
            name,
            is_input,
            dtype_name(engine.get_tensor_dtype(name)),
            tuple(engine.get_tensor_shape(name)),
            is_input and engine.get_tensor_location(name) == trt.TensorLocation.HOST,
            engine.get_tensor_format(name).name,
        )
    return found


def profile_ranges(engine: Any, facts: TensorFacts, profile: int) -> list[Shape]:
    """Return min, opt and max of an input in one profile: shapes, or of one on the host values."""
    if not facts.on_host:
        return [tuple(shape) for shape in engine.get_tensor_profile_shape(facts.name, profile)]
    if hasattr(engine, "get_tensor_profile_values"):  # its arguments' names are exchanged
        values = engine.get_tensor_profile_values(profile, facts.name)
    else:
        with warnings.catch_warnings():  # deprecated, and the only way on 8.6
            warnings.simplefilter("ignore", DeprecationWarning)
            values = engine.get_profile_shape_input(profile, facts.name)
    return [tuple(numbers) for numbers in values]


def place_integers(context: Any, dtypes: Mapping[str, str], values: Mapping[str, int]) -> Any:
    """Let a context read inputs on the host; return the memory, which has to live as long."""
    kinds = {"int32": ctypes.c_int32, "int64": ctypes.c_int64}
    memory = {name: kinds[dtypes[name]](value) for name, value in values.items()}
    for name, held in memory.items():
        context.set_tensor_address(name, ctypes.addressof(held))
    return memory
