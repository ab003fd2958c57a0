"""Activations with slopes of their own, thresholds or a gate."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F

from trtnn.errors import DTypeError, ShapeError
from trtnn.ops.arithmetic import add, ge, gt, le, logical_and, lt, mul, require_fit, sub, where
from trtnn.ops.joining import chunk
from trtnn.ops.movement import reshape
from trtnn.ops.op import (
    Op,
    Spec,
    TensorT,
    axis_of,
    bind,
    broadcast,
    require_float,
    require_same_dtype,
    shape_of,
    spec_of,
    torch_function,
)
from trtnn.ops.pointwise import Activation, sigmoid
from trtnn.ops.reduction import log_softmax_of, softmax
from trtnn.ops.unary import neg
from trtnn.sizes.dims import Size

__all__ = [
    "ParametricRelu", "glu", "hardshrink", "prelu", "scaled_tanh", "softmin", "softshrink",
    "threshold",
]  # fmt: skip


@dataclass(frozen=True, repr=False)
class ParametricRelu(Op):
    """TensorRT's ParametricReLU layer: slopes of the input's rank, which broadcast to it."""

    def infer(self, x: Spec, slopes: Spec) -> Spec:
        require_float("prelu", x)
        require_same_dtype("prelu", x, slopes)
        if x.rank != slopes.rank or broadcast("prelu", x.shape, slopes.shape) != x.shape:
            raise ShapeError(f"prelu: expected slopes that broadcast to {x}, got {slopes}")
        return x

    def reference(self, x: torch.Tensor, slopes: torch.Tensor) -> torch.Tensor:
        return torch.where(x > 0, x, x * slopes)

    def lower(self, net: Any, x: Any, slopes: Any) -> Any:
        return net.parametric_relu(x, slopes)


@torch_function(F.prelu, torch.prelu, torch.Tensor.prelu)
def prelu(input: TensorT, weight: TensorT) -> TensorT:
    """Scale negative entries by ``weight``: one number, or one for each channel, dim 1.

    >>> prelu(torch.tensor([-2.0, 2.0]), torch.tensor([0.25]))
    tensor([-0.5000,  2.0000])
    """
    shape, own = shape_of(input), shape_of(weight)
    channels = shape[1] if len(shape) > 1 else 1
    if len(own) > 1 or (own and own[0] not in (1, channels)):
        raise ShapeError(f"prelu: expected 1 or {channels} slopes, got {spec_of(weight)}")
    sizes: list[Size] = [1] * len(shape)
    if own and own[0] != 1:
        sizes[1] = own[0]
    return bind(ParametricRelu(), input, reshape(weight, sizes))


@torch_function(F.threshold, torch.threshold)
def threshold(input: TensorT, threshold: float, value: float, inplace: bool = False) -> TensorT:
    """Replace entries up to ``threshold`` by ``value``."""
    dtype = spec_of(input).dtype
    for number in (threshold, value):
        require_fit("threshold", number, dtype)
    if value == 0 and dtype.is_floating_point:
        return bind(Activation("THRESHOLDED_RELU", float(threshold)), input)
    return where(le(input, threshold), value, input)


def scaled_tanh(input: TensorT, alpha: float = 1.0, beta: float = 1.0) -> TensorT:
    """Compute ``alpha * tanh(beta * x)``, which is one layer of TensorRT's; PyTorch has no name.

    >>> scaled_tanh(torch.tensor([0.0, 100.0]), alpha=1.5)
    tensor([0.0000, 1.5000])
    """
    return bind(Activation("SCALED_TANH", float(alpha), float(beta)), input)


@torch_function(F.hardshrink, torch.hardshrink, torch.Tensor.hardshrink)
def hardshrink(input: TensorT, lambd: float = 0.5) -> TensorT:
    """Replace entries from ``-lambd`` to ``lambd`` by 0."""
    require_float("hardshrink", spec_of(input))
    return where(logical_and(ge(input, -lambd), le(input, lambd)), 0.0, input)


@torch_function(F.softshrink)
def softshrink(input: TensorT, lambd: float = 0.5) -> TensorT:
    """Move every entry towards 0 by ``lambd``, and not beyond."""
    require_float("softshrink", spec_of(input))
    if lambd < 0:
        raise DTypeError(f"softshrink: expected lambd from 0 on, got {lambd}")
    below = where(lt(input, -lambd), add(input, lambd), mul(input, 0.0))
    return where(gt(input, lambd), sub(input, lambd), below)


@torch_function(F.glu)
def glu(input: TensorT, dim: int = -1) -> TensorT:
    """Multiply the first half along ``dim`` by the sigmoid of the second."""
    shape = shape_of(input)
    size = shape[axis_of("glu", dim, len(shape))] if shape else 1
    if isinstance(size, int) and size % 2:
        raise ShapeError(f"glu: expected an even size along dim {dim}, got {size}")
    first, second = chunk(input, 2, dim)
    return mul(first, sigmoid(second))


@torch_function(F.softmin)
def softmin(
    input: TensorT, dim: int | None = None, _stacklevel: int = 3, dtype: Any = None
) -> TensorT:
    """Normalize exponentials of ``-x`` along ``dim`` to sum 1."""
    return softmax(neg(input), dim, dtype=dtype)


torch_function(torch.special.log_softmax)(log_softmax_of)
