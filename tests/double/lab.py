"""Short words to fill a network of the double, or of the real builder, for tests of the rules."""

from __future__ import annotations

import functools
import importlib
import importlib.util
from typing import Any

import numpy

from tests.double import load, own

VERSIONS = ("8.6", "10", "11")
NEW = ("10", "11")
REAL = "rtx"  # NVIDIA's own builder, in the packages of TensorRT for RTX, which needs no GPU
TYPES = ("FLOAT", "HALF", "BF16", "INT8", "INT32", "INT64", "BOOL", "UINT8")
DTYPES = {"FLOAT": numpy.float32, "HALF": numpy.float16, "INT32": numpy.int32, "BOOL": numpy.bool_}
DTYPES |= {"INT64": numpy.int64, "INT8": numpy.int8, "UINT8": numpy.uint8}
RANGE = 2, 4, 8  # of a dynamic size


def has_real() -> bool:
    """Tell whether the real builder is installed."""
    return importlib.util.find_spec("tensorrt_rtx") is not None


@functools.cache
def library(version: str) -> Any:
    """Return a module: a double, or the real TensorRT for RTX."""
    return importlib.import_module("tensorrt_rtx") if version == REAL else load(version)


class Lab:
    """One network of one version, and short words to fill it."""

    def __init__(self, version: str) -> None:
        self.version, self.trt = version, library(version)
        self.lines: list[tuple[str, str]] = []
        trt, lines = self.trt, self.lines

        class Log(trt.ILogger):  # type: ignore[misc, name-defined]
            def __init__(self) -> None:
                trt.ILogger.__init__(self)

            def log(self, severity: Any, message: str) -> None:
                lines.append((severity.name, message))

        self.log = Log()
        self.builder = trt.Builder(self.log)
        flag = {"8.6": "EXPLICIT_BATCH", "10": "STRONGLY_TYPED"}.get(version)
        flags = 1 << int(getattr(trt.NetworkDefinitionCreationFlag, flag)) if flag else 0
        self.net = self.builder.create_network(flags)
        self.net.name = "lab"
        self.config = self.builder.create_builder_config()
        if version == REAL:
            self.config.num_compute_capabilities = 1
            self.config.set_compute_capability(trt.ComputeCapability.SM89, 0)
        self.held: list[Any] = []
        self.shape_type = "INT32" if version == "8.6" else "INT64"

    def input(self, shape: tuple[int, ...], dtype: str = "FLOAT", name: str = "") -> Any:
        name = name or f"x{self.net.num_inputs}"
        return self.net.add_input(name, getattr(self.trt.DataType, dtype), shape)

    def inputs(self, count: int, shape: tuple[int, ...], dtype: str = "FLOAT") -> list[Any]:
        return [self.input(shape, dtype) for _ in range(count)]

    def weights(self, shape: tuple[int, ...], dtype: str = "FLOAT") -> Any:
        return self.filled(numpy.ones(shape), dtype)

    def constant(self, value: Any, dtype: str = "FLOAT") -> Any:
        weights = self.filled(numpy.array(value), dtype)
        return self.net.add_constant(numpy.shape(value), weights).get_output(0)

    def filled(self, values: Any, dtype: str) -> Any:
        """Return weights of a type, held; NumPy has no bfloat16, so that those are a pointer."""
        if dtype == "BF16":
            bits = numpy.asarray(values, numpy.float32).view(numpy.uint32) >> 16
            self.held.append(own(numpy.ascontiguousarray(bits.astype(numpy.uint16))))
            address = self.held[-1].__array_interface__["data"][0]
            return self.trt.Weights(self.trt.DataType.BF16, address, self.held[-1].size)
        self.held.append(numpy.ascontiguousarray(numpy.array(values, DTYPES[dtype])))
        return self.held[-1]

    def member(self, enumeration: str, name: str) -> Any:
        return getattr(getattr(self.trt, enumeration), name)

    def type(self, name: str) -> Any:
        return self.member("DataType", name)

    def unary(self, x: Any, name: str) -> Any:
        return self.net.add_unary(x, self.member("UnaryOperation", name))

    def pair(self, a: Any, b: Any, name: str = "SUM") -> Any:
        return self.net.add_elementwise(a, b, self.member("ElementWiseOperation", name))

    def matmul(self, a: Any, b: Any, first: str = "NONE", second: str = "NONE") -> Any:
        kinds = self.trt.MatrixOperation
        return self.net.add_matrix_multiply(a, getattr(kinds, first), b, getattr(kinds, second))

    def reduce(self, x: Any, axes: int, name: str = "SUM", *, keep: bool = False) -> Any:
        return self.net.add_reduce(x, self.member("ReduceOperation", name), axes, keep)

    def topk(self, x: Any, k: int, axes: int) -> Any:
        return self.net.add_topk(x, self.trt.TopKOperation.MAX, k, axes)

    def activate(self, x: Any, name: str, **attributes: Any) -> Any:
        return put(self.net.add_activation(x, self.member("ActivationType", name)), **attributes)

    def convolve(self, x: Any, weights: Any, maps: int = 8, **attributes: Any) -> Any:
        return put(self.net.add_convolution_nd(x, maps, (3, 3), weights), **attributes)

    def shuffle(self, x: Any, **attributes: Any) -> Any:
        return put(self.net.add_shuffle(x), **attributes)

    def refuses(self, layer: Any) -> bool:
        """Tell whether a layer was refused: when it was added, by its shape, on 11 by a build."""
        if layer is None:
            return True
        unknown = RuntimeError if self.version == "11" else ValueError
        try:
            len(layer.get_output(0).shape)
        except unknown:
            return True
        return self.version == "11" and self.build(layer.get_output(0)) is None

    def build(self, *outputs: Any) -> Any:
        for output in outputs:
            self.net.mark_output(output)
        return self.builder.build_serialized_network(self.net, self.config)

    def profile(self, **shapes: tuple[tuple[int, ...], ...]) -> None:
        profile = self.builder.create_optimization_profile()
        for name, three in shapes.items():
            profile.set_shape(name, *three)
        self.config.add_optimization_profile(profile)

    def cover(self) -> None:
        """Give every dynamic size of the inputs one range, if there is any."""
        inputs = [self.net.get_input(index) for index in range(self.net.num_inputs)]
        shapes = {x.name: tuple(x.shape) for x in inputs if -1 in tuple(x.shape)}
        if shapes:
            self.profile(
                **{
                    name: tuple(
                        tuple(end if size == -1 else size for size in shape) for end in RANGE
                    )
                    for name, shape in shapes.items()
                }
            )


def put(layer: Any, **attributes: Any) -> Any:
    """Set attributes and inputs (``input1=...``) of a layer, if there is one, and return it."""
    for name, value in attributes.items() if layer is not None else ():
        if name.startswith("input"):
            layer.set_input(int(name[5:]), value)
        else:
            setattr(layer, name, value)
    return layer


def put_slice(lab: Lab, dtype: str = "FLOAT") -> Any:
    return lab.net.add_slice(lab.input((2,), dtype), (0,), (1,), (1,))
