"""Short words to fill a network of the double, for its own tests."""

from __future__ import annotations

from typing import Any

import numpy

from tests.double import load

VERSIONS = ("8.6", "10", "11")
NEW = ("10", "11")
DTYPES = {"FLOAT": numpy.float32, "HALF": numpy.float16, "INT32": numpy.int32, "BOOL": numpy.bool_}
DTYPES |= {"INT64": numpy.int64, "INT8": numpy.int8}


class Lab:
    """One network of one version, and short words to fill it."""

    def __init__(self, version: str) -> None:
        self.version, self.trt = version, load(version)
        self.lines: list[tuple[str, str]] = []
        trt, lines = self.trt, self.lines

        class Log(trt.ILogger):  # type: ignore[misc, name-defined]
            def __init__(self) -> None:
                trt.ILogger.__init__(self)

            def log(self, severity: Any, message: str) -> None:
                lines.append((severity.name, message))

        self.builder = trt.Builder(Log())
        flag = {"8.6": "EXPLICIT_BATCH", "10": "STRONGLY_TYPED"}.get(version)
        flags = 1 << int(getattr(trt.NetworkDefinitionCreationFlag, flag)) if flag else 0
        self.net = self.builder.create_network(flags)
        self.config = self.builder.create_builder_config()
        self.held: list[Any] = []
        self.shape_type = "INT32" if version == "8.6" else "INT64"

    def input(self, shape: tuple[int, ...], dtype: str = "FLOAT", name: str = "") -> Any:
        name = name or f"x{self.net.num_inputs}"
        return self.net.add_input(name, getattr(self.trt.DataType, dtype), shape)

    def weights(self, shape: tuple[int, ...], dtype: str = "FLOAT") -> Any:
        self.held.append(numpy.ones(shape, DTYPES[dtype]))
        return self.held[-1]

    def constant(self, value: Any, dtype: str = "FLOAT") -> Any:
        self.held.append(numpy.ascontiguousarray(numpy.array(value, DTYPES[dtype])))
        return self.net.add_constant(numpy.shape(value), self.held[-1]).get_output(0)

    def member(self, enumeration: str, name: str) -> Any:
        return getattr(getattr(self.trt, enumeration), name)

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

    def activate(self, x: Any, name: str) -> Any:
        return self.net.add_activation(x, self.member("ActivationType", name))

    def convolve(self, x: Any, weights: Any, maps: int = 8, **attributes: Any) -> Any:
        return put(self.net.add_convolution_nd(x, maps, (3, 3), weights), **attributes)

    def build(self, *outputs: Any) -> Any:
        for output in outputs:
            self.net.mark_output(output)
        return self.builder.build_serialized_network(self.net, self.config)

    def profile(self, **shapes: tuple[tuple[int, ...], ...]) -> None:
        profile = self.builder.create_optimization_profile()
        for name, three in shapes.items():
            profile.set_shape(name, *three)
        self.config.add_optimization_profile(profile)


def put(layer: Any, **attributes: Any) -> Any:
    """Set attributes and inputs (``input1=...``) of a layer and return it."""
    for name, value in attributes.items():
        if name.startswith("input"):
            layer.set_input(int(name[5:]), value)
        else:
            setattr(layer, name, value)
    return layer


def put_slice(lab: Lab, dtype: str = "FLOAT") -> Any:
    return lab.net.add_slice(lab.input((2,), dtype), (0,), (1,), (1,))
