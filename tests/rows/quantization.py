"""Rows of quantization: values rounded to those that 8 bits can hold."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F

from tests.rows import B, C, Row, S, T
from trtnn import functional
from trtnn.errors import DTypeError, ShapeError, UnsupportedError

FP8, INT8 = torch.float8_e4m3fn, torch.int8
# What is documented of TensorRT for RTX is int8 of weights alone.
ACTIVATIONS = {"rtx": r"not known to compute with int8 activations(.|\n)*activations=False"}
OF_8_6 = {"8.6": "does not quantize to float8_e4m3fn"}


def zeros(count: int) -> torch.Tensor:
    return torch.zeros(count, dtype=torch.int32)


def fake(x: Any, scale: Any, low: int = -128, high: int = 127, axis: int | None = None) -> Any:
    """Quantize as modules do that PyTorch made aware of it."""
    if axis is None:
        return torch.fake_quantize_per_tensor_affine(x, scale, 0, low, high)
    scale = scale.float()  # of any type of x
    return torch.fake_quantize_per_channel_affine(x, scale, zeros(scale.numel()), axis, low, high)


def linear(x: Any, weight: Any, scales: Any, bias: Any, step: float | None = None) -> Any:
    x = x if step is None else fake(x, step)
    return F.linear(x, fake(weight, scales, -127, 127, 0), bias)


def convolved(x: Any, kernel: Any, scales: Any, bias: Any, step: float | None = None) -> Any:
    x = x if step is None else fake(x, step)
    return F.conv2d(x, fake(kernel, scales, axis=0), bias, padding=1)


def transposed(x: Any, kernel: Any, scales: Any) -> Any:
    return F.conv_transpose2d(x, fake(kernel, scales, axis=1), stride=2)


def eight(x: Any, scale: Any) -> Any:
    """Return what E4M3 holds of ``x``."""
    entries = (x.float() / scale).clamp(-448, 448).to(FP8)
    return (entries.float() * scale).to(x.dtype)


def in_eight(x: Any, scale: Any) -> Any:
    return functional.quantize_dequantize(x, scale, dtype=FP8)


def scales(count: int) -> Any:
    return C(count, low=0.02, high=0.3)


ROWS = [
    Row(fake, T(B, 5), 0.1, name="one step", unsupported=ACTIVATIONS),
    Row(fake, T(B, 5, low=-50, high=50), 0.1, name="beyond its ends", unsupported=ACTIVATIONS),
    Row(fake, T(B, 5, low=-50, high=50), 0.1, -127, name="narrow", unsupported=ACTIVATIONS),
    Row(fake, T(), 0.1, name="a scalar", unsupported=ACTIVATIONS),
    Row(fake, T(3, dtype=torch.float16), 0.1, name="half", unsupported=ACTIVATIONS),
    Row(
        torch.fake_quantize_per_tensor_affine,
        T(B, S), C(low=0.1, high=0.2), torch.tensor(0), -128, 127,
        name="a step that is a tensor", unsupported=ACTIVATIONS,
    ),
    Row(
        torch.fake_quantize_per_tensor_affine,
        T(B, S), C(1, low=0.1, high=0.2), zeros(1), -127, 127,
        name="a step of one entry, narrow", unsupported=ACTIVATIONS,
    ),
    Row(lambda x, w: x + fake(w, 0.1), T(B, 5), C(5), name="a constant"),
    Row(linear, T(B, 4), C(8, 4), scales(8), C(8), name="weights of linear"),
    Row(linear, T(B, S, 4), C(8, 4), scales(8), C(8), name="weights of linear, rank 3"),
    Row(linear, T(B, S, 4), C(8, 4), scales(8), C(8), 0.1, name="linear", unsupported=ACTIVATIONS),
    Row(convolved, T(B, 4, 6, 5), C(8, 4, 3, 3), scales(8), C(8), name="weights of conv2d"),
    Row(
        convolved, T(B, 4, 6, 5), C(8, 4, 3, 3), scales(8), C(8), 0.1,
        name="conv2d", unsupported=ACTIVATIONS,
    ),
    Row(transposed, T(B, 4, 3, 3), C(4, 8, 2, 2), scales(8), name="weights of conv_transpose2d"),
    Row(in_eight, T(B, 5, low=-500, high=500), 0.7, name="E4M3", oracle=eight, unsupported=OF_8_6),
    Row(in_eight, T(B, 5), 0.003, name="E4M3, small", oracle=eight, unsupported=OF_8_6),
    Row(
        lambda x, w, s: F.linear(
            in_eight(x, 0.01), functional.quantize_dequantize(w, s, 0, dtype=FP8)
        ),
        T(B, 16), C(16, 16), scales(16), name="linear in E4M3", unsupported=OF_8_6,
        oracle=lambda x, w, s: F.linear(eight(x, 0.01), eight(w, s[:, None])),
    ),
    Row(fake, T(B, 5), 0.1, 0, 255, name="unsigned", raises=UnsupportedError),
    Row(fake, T(B, 5), 0.1, -8, 7, name="four bits", raises=UnsupportedError),
    Row(
        torch.fake_quantize_per_tensor_affine, T(B, 5), 0.1, 3, -128, 127,
        name="a zero point", raises=UnsupportedError,
    ),
    Row(
        torch.fake_quantize_per_channel_affine,
        T(B, 3), scales(3), torch.tensor([0, 1, 0]), 1, -128, 127,
        name="a zero point of a channel", raises=UnsupportedError,
    ),
    Row(
        torch.fused_moving_avg_obs_fake_quant,
        T(B, 5), *(torch.tensor([n]) for n in (0, 1)), *(torch.ones(1) for _ in range(3)), zeros(1),
        0.01, -128, 127, 0, name="fused with its observer", raises=UnsupportedError,
    ),
    Row(fake, T(B, 3), T(low=0.1), name="a step that inputs decide", raises=UnsupportedError),
    Row(fake, T(B, 5), 0.0, name="a step of 0", raises=UnsupportedError),
    Row(fake, T(B, 3), scales(4), axis=1, name="too many steps", raises=ShapeError),
    Row(
        functional.quantize_dequantize, T(B, 5, dtype=torch.int32), 0.1,
        name="integers", raises=DTypeError,
    ),
    Row(
        functional.quantize_dequantize, T(B, 5), 0.1, dtype=torch.uint8,
        name="to uint8", raises=UnsupportedError,
    ),
]  # fmt: skip
