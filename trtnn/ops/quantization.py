"""Quantization: values rounded to those that 8 bits can hold, which TensorRT then computes with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import torch

from trtnn.errors import DTypeError, ShapeError, UnsupportedError
from trtnn.ops.arithmetic import cast, maximum, mul, tensor_of
from trtnn.ops.movement import reshape
from trtnn.ops.op import (
    Op,
    Spec,
    TensorT,
    axis_of,
    bind,
    require_float,
    spec_of,
    torch_function,
)
from trtnn.ops.slicing import known_of

if TYPE_CHECKING:
    from trtnn.lower.network import ITensor, Net

__all__ = [
    "QuantizeDequantize", "fake_quantize_per_channel_affine", "fake_quantize_per_tensor_affine",
    "quantize_dequantize",
]  # fmt: skip

INT8, FP8 = torch.int8, torch.float8_e4m3fn
LARGEST = {INT8: 127.0, FP8: 448.0}
"""The largest entry of each type that values are quantized to."""
RANGES = ((-128, 127), (-127, 127))


@dataclass(frozen=True, repr=False)
class QuantizeDequantize(Op):
    """TensorRT's Quantize and Dequantize layers: operands x, and scale () or (x.shape[axis],).

    ``axis`` is None for one scale of all. A node of it stays where all operands are known, too:
    TensorRT quantizes weights by it.
    """

    axis: int | None
    dtype: torch.dtype
    stays: ClassVar[bool] = True

    def infer(self, x: Spec, scale: Spec) -> Spec:
        require_float("quantize", x)
        if scale.dtype != torch.float32:
            raise DTypeError(f"quantize: expected scales of torch.float32, got {scale.dtype}")
        expected = () if self.axis is None else (x.shape[self.axis],)
        if scale.shape != expected:
            raise ShapeError(f"quantize: expected scales of shape {expected}, got {scale.shape}")
        return x

    def reference(self, x: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
        if self.dtype == FP8:
            shape = [1] * x.dim()
            if self.axis is not None:
                shape[self.axis] = -1
            wide = scale.reshape(shape)
            entries = (x.float() / wide).clamp(-LARGEST[FP8], LARGEST[FP8])
            return (entries.to(FP8).float() * wide).to(x.dtype)
        zeros = torch.zeros_like(scale, dtype=torch.int32)
        if self.axis is None:
            return torch.fake_quantize_per_tensor_affine(x, scale, zeros, *RANGES[0])
        return torch.fake_quantize_per_channel_affine(x, scale, zeros, self.axis, *RANGES[0])

    def lower(self, net: Net, x: Any, scale: Any) -> ITensor:
        return net.quantize_dequantize(x, scale, self.axis, self.dtype)


def quantize_dequantize(
    input: TensorT, scale: Any, axis: int | None = None, dtype: torch.dtype = INT8
) -> TensorT:
    """Round ``input`` to what ``dtype`` can hold in steps of ``scale``.

    Args:
        scale: A number or a known tensor: one for all, or one for each index along ``axis``.
        dtype: ``torch.int8``, or ``torch.float8_e4m3fn``.

    Raises:
        UnsupportedError: The scale depends on an input, or is not above 0; or another dtype.

    >>> quantize_dequantize(torch.tensor([0.26, 99.0]), 0.5)
    tensor([ 0.5000, 63.5000])
    """
    if dtype not in LARGEST:
        raise UnsupportedError(
            f"quantize: expected dtype torch.int8 or torch.float8_e4m3fn, got {dtype}"
        )
    held = scale if isinstance(scale, torch.Tensor) else tensor_of(float(scale), torch.float32)
    held = cast(_known("scale", held), torch.float32)
    if not bool((held > 0).all()) or not bool((held < torch.inf).all()):
        raise UnsupportedError(
            "quantize: expected scales above 0 and finite, got others",
            hint="a channel that is all 0 takes the scale 1",
        )
    if axis is None:
        held = reshape(held, ())
    else:
        axis = axis_of("quantize", axis, spec_of(input).rank)
    return bind(QuantizeDequantize(axis, dtype), input, held)


def _known(name: str, tensor: TensorT) -> TensorT:
    """Return a tensor of numbers that no input has a part in, or refuse it."""
    if known_of(tensor) is None:
        raise UnsupportedError(
            f"quantize: expected {name} to be known while tracing, got one that inputs decide",
            hint="calibrate first and keep it in a buffer: TensorRT quantizes by constants",
        )
    return tensor


def rounded_within(function: str, input: TensorT, scale: Any, axis: int | None) -> TensorT:
    """Return ``input`` with what is below -127 steps cut off: TensorRT has an entry for -128."""
    held = scale if isinstance(scale, torch.Tensor) else tensor_of(float(scale), torch.float32)
    around = [1] * spec_of(input).rank if axis is not None else []
    if axis is not None:
        around[axis_of(function, axis, len(around))] = -1
    lowest = mul(reshape(_known("scale", held), around), -LARGEST[INT8])
    return maximum(input, cast(lowest, spec_of(input).dtype))


def _fake_quantize(
    function: str, input: TensorT, scale: Any, axis: int | None, zero_point: Any, ends: Any
) -> TensorT:
    """Quantize as PyTorch's callables do, where TensorRT can."""
    zeros = _known("zero_point", tensor_of(zero_point))
    if bool((zeros != 0).any()):
        raise UnsupportedError(
            f"{function}: expected zero_point 0, got {float(zeros.float().min()):g} to "
            f"{float(zeros.float().max()):g}",
            hint="TensorRT's quantization is symmetric: use a symmetric observer, as "
            "qscheme=torch.per_tensor_symmetric and dtype=torch.qint8",
        )
    if tuple(map(int, ends)) not in RANGES:
        raise UnsupportedError(
            f"{function}: expected quant_min and quant_max of -128 and 127, or -127 and 127, got "
            f"{ends[0]} and {ends[1]}",
            hint="TensorRT's integers have a sign and 8 bits: quantize to torch.qint8",
        )
    x = input if ends[0] == -128 else rounded_within(function, input, scale, axis)
    return quantize_dequantize(x, scale, axis)


@torch_function(torch.fake_quantize_per_tensor_affine)
def fake_quantize_per_tensor_affine(
    input: TensorT, scale: Any, zero_point: Any, quant_min: int, quant_max: int
) -> TensorT:
    """Round to whole multiples of ``scale``, those from ``quant_min`` to ``quant_max``.

    Raises:
        UnsupportedError: A zero point that is not 0, another range than that of int8, or a scale
            that depends on an input.

    >>> fake_quantize_per_tensor_affine(torch.tensor([0.26, 99.0]), 0.5, 0, -128, 127)
    tensor([ 0.5000, 63.5000])
    """
    ends = quant_min, quant_max
    return _fake_quantize("fake_quantize_per_tensor_affine", input, scale, None, zero_point, ends)


@torch_function(torch.fake_quantize_per_channel_affine)
def fake_quantize_per_channel_affine(
    input: TensorT, scale: TensorT, zero_point: TensorT, axis: int, quant_min: int, quant_max: int
) -> TensorT:
    """Round to whole multiples of a scale for each index along ``axis``.

    Raises:
        UnsupportedError: As for ``fake_quantize_per_tensor_affine``.
    """
    ends = quant_min, quant_max
    return _fake_quantize("fake_quantize_per_channel_affine", input, scale, axis, zero_point, ends)
