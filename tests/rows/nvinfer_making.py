"""Rows of TensorRT's layers by name that make tensors, check sizes and quantize."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from tests.rows import B, C, Row, S, T
from trtnn import nvinfer
from trtnn.errors import DTypeError, InputError, OptionError, ShapeError, UnsupportedError

HALF, INT, LONG, INT8 = torch.float16, torch.int32, torch.int64, torch.int8
FP8 = torch.float8_e4m3fn
# What is documented of TensorRT for RTX is int8 of weights alone.
ACTIVATIONS = {"rtx": r"not known to compute with int8 activations"}
BORDER = {"8.6": "takes int8 beside quantization only"}
OF_8_6 = {"8.6": "does not quantize to float8_e4m3fn"}


def ramp(shape: Any, alpha: Any, beta: Any, dtype: torch.dtype) -> torch.Tensor:
    grids = torch.meshgrid(*(torch.arange(int(size)) for size in shape), indexing="ij")
    total = torch.full([int(size) for size in shape], float(alpha), dtype=torch.float64)
    for step, grid in zip(beta, grids, strict=True):
        total = total + float(step) * grid
    return total.to(dtype)


def drawn(low: float, high: float, *given: Any, **more: Any) -> Callable[..., Any]:
    """Return a function that says what of drawn numbers can be said: shape, dtype and range."""

    def ask(x: torch.Tensor) -> Any:
        numbers = nvinfer.fill((x.shape[0], 30), *given, **more)
        inside = (numbers >= low) & (numbers <= high)
        return inside, (numbers * 0).to(numbers.dtype)

    return ask


def expected(dtype: torch.dtype) -> Callable[..., Any]:
    return lambda x: (torch.ones(x.shape[0], 30) > 0, torch.zeros(x.shape[0], 30, dtype=dtype))


def asserted(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    nvinfer.assertion(nvinfer.elementwise(nvinfer.shape(x), nvinfer.shape(y), "EQUAL"), "differ")
    return x + y


HELD = "what is true of sizes is no output: it cannot be built (ShapeHostToDeviceCopy)"


def equal_sizes(x: torch.Tensor) -> torch.Tensor:
    sizes = nvinfer.shape(x)
    return nvinfer.assertion(nvinfer.elementwise(sizes, sizes, "EQUAL"), "no size is itself")


def paired(x: Any, scale: Any, axis: int | None = None, output_type: str = "INT8") -> Any:
    entries = nvinfer.quantize(x, scale, output_type, axis=axis)
    return nvinfer.dequantize(entries, scale, axis=axis)


def rounded(x: Any, scale: Any, axis: int | None = None) -> Any:
    wide = scale if axis is None else scale.reshape(-1, *(1,) * (x.dim() - 1 - axis))
    return (x / wide).round().clamp(-128, 127) * wide


def integers(x: Any, scale: Any, axis: int | None = None) -> torch.Tensor:
    wide = scale if axis is None else scale.reshape(-1, *(1,) * (x.dim() - 1 - axis))
    return (x.float() / wide).round().clamp(-128, 127).to(INT8)


def product_of_weights(x: Any, entries: Any, scales: Any) -> Any:
    weights = nvinfer.dequantize(entries, scales, axis=0)
    return nvinfer.matrix_multiply(x, "NONE", weights, "TRANSPOSE")


NUMBERS = {"low": -9.0, "high": 9.0}

ROWS: list[Row] = [
    Row(
        lambda x: x + nvinfer.constant((1, 3), [1.0, 2.0, 3.0]),
        T(B, 3),
        oracle=lambda x: x + torch.tensor([1.0, 2.0, 3.0]),
        name="constant",
    ),
    Row(
        lambda x: nvinfer.fill((x.shape[0], 3), "LINSPACE", "INT32", alpha=2, beta=(10, -1)),
        T(S),
        oracle=lambda x: ramp((x.shape[0], 3), 2, (10, -1), INT),
        name="LINSPACE of two dims",
    ),
    Row(
        lambda a, b: nvinfer.fill((2, 3), "LINSPACE", alpha=a, beta=b),
        T(),
        T(2),
        oracle=lambda a, b: ramp((2, 3), a, b, torch.float32),
        name="LINSPACE of tensors",
    ),
    Row(
        lambda a: nvinfer.fill((4,), "LINSPACE", "INT64", alpha=a, beta=3),
        T(dtype=LONG),
        oracle=lambda a: ramp((4,), a, (3,), LONG),
        name="LINSPACE of int64",
    ),
    Row(
        drawn(2.0, 3.0, "RANDOM_UNIFORM", alpha=2.0, beta=3.0), T(S), oracle=expected(torch.float32)
    ),
    Row(
        drawn(-1.0, 0.5, "RANDOM_UNIFORM", "HALF", alpha=-1.0, beta=0.5),
        T(B),
        oracle=expected(HALF),
    ),
    Row(
        drawn(90.0, 110.0, "RANDOM_NORMAL", alpha=100.0, beta=0.5),
        T(2),
        oracle=expected(torch.float32),
    ),
    Row(nvinfer.shape, T(B, 3, S), oracle=lambda x: torch.tensor(x.shape)),
    Row(nvinfer.shape, T(2, dtype=INT), oracle=lambda x: torch.tensor(x.shape)),
    Row(
        lambda x: nvinfer.shape(x) * 2,
        T(S, S),
        oracle=lambda x: 2 * torch.tensor(x.shape),
        name="sizes",
    ),
    Row(asserted, T(B, 3), T(B, 3), oracle=lambda x, y: x + y),
    Row(equal_sizes, T(B, S), oracle=lambda x: torch.ones(2) > 0, differs=HELD),
    Row(
        equal_sizes,
        T(S, 2, 3),
        oracle=lambda x: torch.ones(3) > 0,
        name="of three",
        differs=HELD,
    ),
    Row(paired, T(B, 3, **NUMBERS), C(low=0.02, high=0.3), unsupported=ACTIVATIONS, oracle=rounded),
    Row(paired, C(4, 3, **NUMBERS), C(4, low=0.02, high=0.3), 0, oracle=rounded, name="of weights"),
    Row(
        nvinfer.quantize,
        T(B, 3, 2, dtype=HALF, **NUMBERS),
        C(3, low=0.02, high=0.3),
        axis=1,
        oracle=integers,
        unsupported=BORDER,
    ),
    Row(
        lambda x, s: paired(x, s, output_type="FP8"),
        T(B, 3, **NUMBERS),
        C(low=0.02, high=0.3),
        oracle=lambda x, s: (x / s).clamp(-448, 448).to(FP8).float() * s,
        unsupported=OF_8_6,
        name="FP8",
    ),
    Row(
        product_of_weights,
        T(B, 3),
        C(2, 3, dtype=INT8, low=-128, high=128),
        C(2, low=0.02, high=0.3),
        oracle=lambda x, w, s: x @ (w.float() * s[:, None]).T,
    ),
    Row(
        nvinfer.dequantize,
        T(B, 3, dtype=INT8),
        C(low=0.02, high=0.3),
        "HALF",
        oracle=lambda x, s, _: (x.float() * s).half(),
        unsupported=BORDER,
    ),
    Row(nvinfer.fill, (2, 2), "LINSPACE", T(), raises=OptionError, name="a tensor as a type"),
    Row(lambda x: nvinfer.fill((2,), "LINSPACE", "INT32", alpha=x), T(), raises=DTypeError),
    Row(lambda x: nvinfer.fill((2,), "RANDOM_UNIFORM", alpha=2.0), T(1), raises=OptionError),
    Row(lambda x: nvinfer.assertion(torch.tensor([False]), "no"), T(1), raises=InputError),
    Row(nvinfer.quantize, T(2), C(1), raises=ShapeError),
    Row(nvinfer.quantize, T(2), C(low=0.1), "FP4", raises=UnsupportedError),
    Row(nvinfer.dynamic_quantize, T(2, 32), -1, 16, "FP4", "FP8", raises=UnsupportedError),
]
