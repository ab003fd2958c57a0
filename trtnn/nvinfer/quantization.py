"""The layers between which TensorRT computes with few bits."""

from __future__ import annotations

from typing import Any

import torch

from trtnn.errors import DTypeError, OptionError, ShapeError, UnsupportedError
from trtnn.nvinfer.members import dtype_of, name_of
from trtnn.ops.arithmetic import cast, mul
from trtnn.ops.division import div
from trtnn.ops.movement import reshape
from trtnn.ops.op import TensorT, axis_of, require_float, shape_of, spec_of
from trtnn.ops.pointwise import clamp
from trtnn.ops.quantization import quantize_dequantize
from trtnn.ops.slicing import known_of
from trtnn.ops.unary import unary

INT8, FP8 = torch.int8, torch.float8_e4m3fn
RANGES = {INT8: (-128.0, 127.0), FP8: (-448.0, 448.0)}
FEW = ("INT4", "FP4", "E8M0")


def quantize(
    input: TensorT, scale: TensorT, output_type: Any = "INT8", *, axis: int | None = None
) -> TensorT:
    """Round ``x / scale`` half to even, to INT8 or FP8, and cut off what they cannot hold.

    ``scale`` is known: a scalar, or a vector with a number for each index along ``axis``. What is
    dequantized by the same scale again is a pair of TensorRT's Quantize and Dequantize layers,
    between which it computes with 8 bits; used otherwise, the integers are composed of others.

    Raises:
        UnsupportedError: INT4 and FP4, which torch has no tensors of; FP8 on 8.6.

    >>> quantize(torch.tensor([0.26, 99.0]), torch.tensor(0.5))
    tensor([  1, 127], dtype=torch.int8)
    """
    dtype = _type("quantize", "output_type", output_type)
    require_float("quantize", spec_of(input))
    steps, place = _scale("quantize", scale, axis, spec_of(input).rank)
    around = quantize_dequantize(input, scale, place, dtype)
    entries = div(cast(input, torch.float32), steps)
    low, high = RANGES[dtype]
    whole = unary("ROUND", entries) if dtype == INT8 else entries
    result = cast(clamp(whole, low, high), dtype)
    if known_of(result) is None:  # for dequantize, unless it is written to
        result._trtnn_quantized = (result._trtnn_value, known_of(scale), place, around)
    return result


def dequantize(
    input: TensorT, scale: TensorT, output_type: Any = "FLOAT", *, axis: int | None = None
) -> TensorT:
    """Multiply INT8 or FP8 by a scale, in FLOAT, HALF or BF16.

    ``scale`` is a scalar, or a vector with a number for each index along ``axis``.

    Raises:
        UnsupportedError: FP8 by another scale than it was quantized with.

    >>> dequantize(torch.tensor([1, 127], dtype=torch.int8), torch.tensor(0.5))
    tensor([ 0.5000, 63.5000])
    """
    dtype, own = dtype_of("dequantize", "output_type", output_type), spec_of(input).dtype
    if own not in RANGES or not dtype.is_floating_point:
        raise DTypeError(f"dequantize: expected INT8 or FP8, and floats of it, got {own}, {dtype}")
    steps, place = _scale("dequantize", scale, axis, spec_of(input).rank)
    if known_of(input) is not None:
        entries = mul(cast(input, torch.float32), steps)
        return cast(quantize_dequantize(entries, scale, place, own), dtype)
    value, own_scale, own_place, around = getattr(input, "_trtnn_quantized", (None,) * 4)
    held = known_of(scale)
    same = value is input._trtnn_value and own_place == place
    if same and own_scale is not None and held is not None and torch.equal(own_scale, held):
        return cast(around, dtype)
    if own == FP8:
        raise UnsupportedError(
            "dequantize: FP8 by another scale than it was quantized with",
            hint="dequantize by the same scale and axis, and multiply after it",
        )
    return cast(mul(cast(input, torch.float32), steps), dtype)


def _type(function: str, argument: str, given: Any) -> torch.dtype:
    name = name_of(given)
    if name in FEW:
        raise UnsupportedError(
            f"{function}: {argument} {name}, of which PyTorch has no tensors",
            hint="use 'INT8' or 'FP8'",
        )
    dtype = dtype_of(function, argument, given)
    if dtype not in RANGES:
        raise OptionError(f"{function}: expected {argument} 'INT8' or 'FP8', got {given!r}")
    return dtype


def _scale(
    function: str, scale: TensorT, axis: int | None, rank: int
) -> tuple[TensorT, int | None]:
    """Return a scale that broadcasts to what is quantized, and the axis that it belongs to."""
    shape = shape_of(scale)
    if len(shape) > 1 or (axis is None) != (shape == ()):
        raise ShapeError(
            f"{function}: expected a scalar, or a vector and an axis, got {spec_of(scale)} and "
            f"{axis}",
            hint="blocks of their own scale are not taken",
        )
    wide = cast(scale, torch.float32)
    if axis is None:
        return wide, None
    place = axis_of(function, axis, rank)
    return reshape(wide, (*(1,) * place, -1, *(1,) * (rank - place - 1))), place


def dynamic_quantize(
    input: TensorT, axis: int, block_size: int, output_type: Any, scale_type: Any
) -> TensorT:
    """Refuse to find the scales of blocks anew in each run.

    Raises:
        UnsupportedError: Always: the layer gives FP4, or FP8 with scales in E8M0, of which PyTorch
            has no tensors; 8.6 has no such layer.
    """
    raise _blocks("dynamic_quantize")


def dynamic_quantize_v2(
    input: TensorT, block_shape: Any, output_type: Any, scale_type: Any
) -> TensorT:
    """Refuse to find the scales of blocks anew in each run, as ``dynamic_quantize``.

    Raises:
        UnsupportedError: Always.
    """
    raise _blocks("dynamic_quantize_v2")


def _blocks(function: str) -> UnsupportedError:
    return UnsupportedError(
        f"{function}: scales of blocks, in E8M0 or of FP4: PyTorch has no tensors of these",
        hint="quantize() with a known scale, to 'INT8' or 'FP8'",
    )
