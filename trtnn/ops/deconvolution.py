"""Transposed convolutions over one, two or three spatial dims."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from trtnn.errors import ShapeError
from trtnn.ops.arithmetic import add
from trtnn.ops.convolution import ints_of, require_static_kernel
from trtnn.ops.movement import reshape, squeeze, unsqueeze
from trtnn.ops.op import (
    Op,
    Spec,
    TensorT,
    bind,
    refuse_integers,
    require_float,
    require_same_dtype,
    shape_of,
    spec_of,
    torch_function,
    unmet,
)
from trtnn.ops.padding import pad
from trtnn.sizes.dims import Size, decide, failures

if TYPE_CHECKING:
    from trtnn.lower.network import ITensor, Net

__all__ = ["Deconvolution", "conv_transpose1d", "conv_transpose2d", "conv_transpose3d"]

Ints = tuple[int, ...]


@dataclass(frozen=True, repr=False)
class Deconvolution(Op):
    """Operands x (N, C, *spatial), kernel (C, K / groups, *window) and perhaps bias (K,).

    ``pre`` and ``post`` are cut off the ends of what the windows cover.
    """

    stride: Ints
    pre: Ints
    post: Ints
    dilation: Ints
    groups: int

    def infer(self, x: Spec, kernel: Spec, bias: Spec | None = None) -> Spec:
        require_float("conv_transpose", x)
        require_same_dtype("conv_transpose", x, kernel, *([] if bias is None else [bias]))
        if x.rank != kernel.rank or x.rank != len(self.stride) + 2:
            raise ShapeError(f"conv_transpose: input {x} does not fit kernel {kernel}")
        if x.shape[1] != kernel.shape[0] or decide("ne", x.shape[1] % self.groups, 0):
            raise ShapeError(
                f"conv_transpose: expected {kernel.shape[0]} channels in {self.groups} groups, "
                f"got {x.shape[1]}",
                hint="the number of channels must be static",
                sizes=(x.shape[1], kernel.shape[0]),
            )
        maps = kernel.shape[1] * self.groups
        if bias is not None and bias.shape != (maps,):
            raise ShapeError(f"conv_transpose: bias {bias} does not fit {maps} maps")
        sizes = [self._size(axis, x, kernel) for axis in range(len(self.stride))]
        return Spec((x.shape[0], maps, *sizes), x.dtype)

    def _size(self, axis: int, x: Spec, kernel: Spec) -> Size:
        reach = self.dilation[axis] * (kernel.shape[2 + axis] - 1) + 1
        covered = (x.shape[2 + axis] - 1) * self.stride[axis] + reach
        size = covered - self.pre[axis] - self.post[axis]
        if found := failures("ge", size, 1):
            message = f"conv_transpose: the padding leaves nothing of dim {2 + axis}"
            raise unmet(found, message, sizes=(x.shape[2 + axis],))
        return size

    def reference(
        self, x: torch.Tensor, kernel: torch.Tensor, bias: torch.Tensor | None = None
    ) -> torch.Tensor:
        count = len(self.stride)
        run: Any = torch.conv_transpose2d if count == 2 else torch.conv_transpose3d
        # Bias does not depend on the place, so that what is cut off may be cut off afterwards.
        full: torch.Tensor = run(x, kernel, bias, self.stride, 0, 0, self.groups, self.dilation)
        for axis, (pre, post) in enumerate(zip(self.pre, self.post, strict=True), start=2):
            full = full.narrow(axis, pre, full.shape[axis] - pre - post)
        return full

    def lower(self, net: Net, x: ITensor, kernel: Any, bias: Any = None) -> ITensor:
        return net.deconvolution(
            x, kernel, bias, self.stride, self.pre, self.post, self.dilation, self.groups
        )


def _transposed(function: str, count: int) -> Callable[..., TensorT]:
    def conv_transpose(
        input: TensorT,
        weight: TensorT,
        bias: TensorT | None = None,
        stride: Any = 1,
        padding: Any = 0,
        output_padding: Any = 0,
        groups: int = 1,
        dilation: Any = 1,
    ) -> TensorT:
        """Spread each entry over a window (C, K / groups, *window) of the result."""
        rank = spec_of(input).rank
        numbers = (stride, padding, output_padding, dilation)
        refuse_integers(function, spec_of(input), spec_of(weight))
        if rank == count + 1:
            given = (weight, bias, stride, padding, output_padding, groups, dilation)
            return squeeze(conv_transpose(unsqueeze(input, 0), *given), 0)
        if rank != count + 2 or spec_of(weight).rank != count + 2:
            raise ShapeError(
                f"{function}: expected input and kernel of rank {count + 2}, "
                f"got {spec_of(input)} and {spec_of(weight)}"
            )
        require_static_kernel(function, spec_of(weight))
        steps, cut, extra, gaps = (ints_of(number, count) for number in numbers)
        if any(e >= s and e >= d for e, s, d in zip(extra, steps, gaps, strict=True)):
            raise ShapeError(
                f"{function}: output_padding {extra} must be below stride or dilation",
            )
        if count > 1:
            return _spread(input, weight, bias, (steps, cut, extra, gaps), groups)
        wide = ((*steps, 1), (*cut, 0), (*extra, 0), (*gaps, 1))
        result = _spread(unsqueeze(input, -1), unsqueeze(weight, -1), bias, wide, groups)
        return squeeze(result, -1)

    conv_transpose.__name__ = conv_transpose.__qualname__ = function
    return conv_transpose


def _spread(
    x: TensorT,
    kernel: TensorT,
    bias: TensorT | None,
    numbers: tuple[Ints, Ints, Ints, Ints],
    groups: int,
) -> TensorT:
    """Bind a Deconvolution; what output_padding adds beyond the last window are zeros and bias."""
    steps, cut, extra, gaps = numbers
    post = tuple(c - e for c, e in zip(cut, extra, strict=True))
    beyond = tuple(-min(p, 0) for p in post)
    inside = Deconvolution(steps, cut, tuple(max(p, 0) for p in post), gaps, groups)
    if not any(beyond):
        return bind(inside, *((x, kernel) if bias is None else (x, kernel, bias)))
    result = pad(bind(inside, x, kernel), [n for b in reversed(beyond) for n in (0, b)])
    if bias is None:
        return result
    return add(result, reshape(bias, (*shape_of(bias), *(1,) * len(steps))))


F = torch.nn.functional
conv_transpose1d = torch_function(F.conv_transpose1d)(_transposed("conv_transpose1d", 1))
conv_transpose2d = torch_function(F.conv_transpose2d)(_transposed("conv_transpose2d", 2))
conv_transpose3d = torch_function(F.conv_transpose3d)(_transposed("conv_transpose3d", 3))
