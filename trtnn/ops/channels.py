"""Normalization whose scale and shift are those of channels, whatever the groups."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from trtnn.errors import ShapeError
from trtnn.ops.arithmetic import add, cast, mul
from trtnn.ops.creation import full
from trtnn.ops.normalization import Normalization
from trtnn.ops.op import (
    Op,
    Spec,
    TensorT,
    bind,
    broadcast,
    require_float,
    require_same_dtype,
    shape_of,
    spec_of,
)

if TYPE_CHECKING:
    from trtnn.lower.network import ITensor, Net

__all__ = ["ChannelNormalization"]


@dataclass(frozen=True, repr=False)
class ChannelNormalization(Op):
    """TensorRT's Normalization layer in its second form (10.15 on).

    Unlike that of ``Normalization``, scale and bias broadcast to x where there are groups, too.
    """

    axes: tuple[int, ...]
    epsilon: float
    groups: int

    def needs_decomposition(self, target: Any) -> bool:
        return "normalization_v2" not in target.layers

    def infer(self, x: Spec, scale: Spec, bias: Spec) -> Spec:
        require_float("normalization", x)
        require_same_dtype("normalization", x, scale, bias)
        for given in (scale, bias):
            if given.rank != x.rank or broadcast("normalization", x.shape, given.shape) != x.shape:
                raise ShapeError(f"normalization: {given} does not broadcast to {x}")
        return x

    def reference(self, x: torch.Tensor, scale: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
        wide = x.to(torch.promote_types(x.dtype, torch.float32))
        if self.groups > 1:
            result = torch.nn.functional.group_norm(wide, self.groups, eps=self.epsilon)
        else:
            var, mean = torch.var_mean(wide, self.axes, correction=0, keepdim=True)
            result = (wide - mean) / torch.sqrt(var + self.epsilon)
        return (result * scale + bias).to(x.dtype)

    def lower(self, net: Net, x: ITensor, scale: Any, bias: Any) -> ITensor:
        operands = (x, scale, bias)
        return net.normalization(*operands, self.axes, self.epsilon, self.groups, by_channel=True)

    def decompose(self, x: TensorT, scale: TensorT, bias: TensorT) -> TensorT:
        """Return the first form, and the scale and shift of channels after it."""
        how = Normalization(self.axes, self.epsilon, self.groups)
        if self.groups == 1:
            return bind(how, x, scale, bias)
        dtype = spec_of(x).dtype
        wide, scale, bias = (cast(t, torch.float32) for t in (x, scale, bias))
        shape = (1, self.groups, *(1,) * (len(shape_of(x)) - 2))
        plain = (full(shape, number, dtype=torch.float32) for number in (1.0, 0.0))
        return cast(add(mul(bind(how, wide, *plain), scale), bias), dtype)
