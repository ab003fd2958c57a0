"""Convolutions over one, two or three spatial dims."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from trtnn.errors import ShapeError, UnsupportedError
from trtnn.ops.movement import squeeze, unsqueeze
from trtnn.ops.op import (
    Op,
    Spec,
    TensorT,
    bind,
    has_sizes,
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

__all__ = ["Convolution", "conv1d", "conv2d", "conv3d"]

Ints = tuple[int, ...]


@dataclass(frozen=True, repr=False)
class Convolution(Op):
    """Operands x (N, C, *spatial), kernel (K, C / groups, *window) and perhaps bias (K,).

    ``pre`` and ``post`` zeros are put before and after each spatial dim.
    """

    stride: Ints
    pre: Ints
    post: Ints
    dilation: Ints
    groups: int

    def infer(self, x: Spec, kernel: Spec, bias: Spec | None = None) -> Spec:
        require_float("convolution", x)
        require_same_dtype("convolution", x, kernel, *([] if bias is None else [bias]))
        if x.rank != kernel.rank or x.rank != len(self.stride) + 2:
            raise ShapeError(f"convolution: input {x} does not fit kernel {kernel}")
        maps, depth = kernel.shape[:2]
        if x.shape[1] != depth * self.groups:
            raise ShapeError(
                f"convolution: expected {depth * self.groups} channels ({self.groups} groups of "
                f"{depth}), got {x.shape[1]}",
                hint="the number of channels must be static",
                sizes=(x.shape[1], depth * self.groups),
            )
        if decide("ne", maps % self.groups, 0) or (bias is not None and bias.shape != (maps,)):
            raise ShapeError(f"convolution: {maps} maps do not fit {self.groups} groups, {bias}")
        sizes = [self._size(axis, x, kernel) for axis in range(len(self.stride))]
        return Spec((x.shape[0], maps, *sizes), x.dtype)

    def _size(self, axis: int, x: Spec, kernel: Spec) -> Size:
        window, size = kernel.shape[2 + axis], x.shape[2 + axis]
        padding = self.pre[axis] + self.post[axis]
        room = size + padding - self.dilation[axis] * (window - 1) - 1
        if found := failures("ge", room, 0):
            raise unmet(
                found,
                f"convolution: window {window} (dilation {self.dilation[axis]}) is larger than "
                f"size {size} with padding {padding} at dim {2 + axis}",
                sizes=(size,),
            )
        return room // self.stride[axis] + 1

    def reference(
        self, x: torch.Tensor, kernel: torch.Tensor, bias: torch.Tensor | None = None
    ) -> torch.Tensor:
        run = torch.conv2d if len(self.stride) == 2 else torch.conv3d
        padding = self.pre
        if self.pre != self.post:
            sides = zip(reversed(self.pre), reversed(self.post), strict=True)
            x = torch.nn.functional.pad(x, [n for both in sides for n in both])
            padding = (0,) * len(self.pre)
        return run(x, kernel, bias, self.stride, padding, self.dilation, self.groups)

    def lower(self, net: Net, x: ITensor, kernel: Any, bias: Any = None) -> ITensor:
        return net.convolution(
            x, kernel, bias, self.stride, self.pre, self.post, self.dilation, self.groups
        )


def require_static_kernel(function: str, kernel: Spec) -> None:
    """Raise UnsupportedError for a kernel with a Dim: TensorRT is told its sizes as numbers."""
    if has_sizes(kernel.shape):
        raise UnsupportedError(
            f"{function}: expected a kernel of static sizes, got {kernel}",
            hint="declare its sizes as numbers",
        )


def ints_of(value: Any, count: int) -> Ints:
    """Return ``count`` ints, given as one or as a sequence of one or ``count``."""
    values = tuple(value) if isinstance(value, (tuple, list)) else (value,)
    if len(values) not in (1, count):
        raise ShapeError(f"expected one int or {count}, got {value}")
    return tuple(int(v) for v in (values * count if len(values) == 1 else values))


def _convolve(
    function: str,
    count: int,
    x: TensorT,
    kernel: TensorT,
    bias: TensorT | None,
    numbers: tuple[Any, Any, Any],
    groups: int,
) -> TensorT:
    rank = spec_of(x).rank
    refuse_integers(function, spec_of(x), spec_of(kernel))
    if rank == count + 1:
        result = _convolve(function, count, unsqueeze(x, 0), kernel, bias, numbers, groups)
        return squeeze(result, 0)
    if rank != count + 2 or spec_of(kernel).rank != count + 2:
        raise ShapeError(
            f"{function}: expected input and kernel of rank {count + 2}, "
            f"got {spec_of(x)} and {spec_of(kernel)}"
        )
    require_static_kernel(function, spec_of(kernel))
    stride, dilation = ints_of(numbers[0], count), ints_of(numbers[2], count)
    padding = numbers[1]
    if isinstance(padding, str):
        x, padding = _named(function, x, shape_of(kernel)[2:], padding, stride, dilation)
    padding = ints_of(padding, count)
    operands = (x, kernel) if bias is None else (x, kernel, bias)
    if count > 1:
        return bind(Convolution(stride, padding, padding, dilation, groups), *operands)
    around = (*padding, 0)
    wide = Convolution((*stride, 1), around, around, (*dilation, 1), groups)
    result = bind(wide, unsqueeze(x, -1), unsqueeze(kernel, -1), *operands[2:])
    return squeeze(result, -1)


def _named(
    function: str, x: TensorT, window: Sequence[Any], name: str, stride: Ints, dilation: Ints
) -> tuple[TensorT, Ints]:
    """Return the input, padded where one side needs more, and the padding of both sides."""
    if name == "valid":
        return x, (0,) * len(window)
    if name != "same" or any(step != 1 for step in stride):
        raise UnsupportedError(f"{function}: padding {name!r} with stride {stride}")
    totals = [d * (w - 1) for d, w in zip(dilation, window, strict=True)]
    if any(total % 2 for total in totals):
        x = pad(x, [n for total in reversed(totals) for n in (0, total % 2)])
    return x, tuple(total // 2 for total in totals)


@torch_function(torch.nn.functional.conv1d, torch.conv1d)
def conv1d(
    input: TensorT,
    weight: TensorT,
    bias: TensorT | None = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> TensorT:
    """Convolve (N, C, L) with a kernel (K, C / groups, R).

    >>> conv1d(torch.ones(1, 1, 4), torch.ones(1, 1, 2))
    tensor([[[2., 2., 2.]]])
    """
    return _convolve("conv1d", 1, input, weight, bias, (stride, padding, dilation), groups)


@torch_function(torch.nn.functional.conv2d, torch.conv2d)
def conv2d(
    input: TensorT,
    weight: TensorT,
    bias: TensorT | None = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> TensorT:
    """Convolve (N, C, H, W) with a kernel (K, C / groups, R, S).

    >>> conv2d(torch.ones(1, 1, 3, 3), torch.ones(1, 1, 3, 3))
    tensor([[[[9.]]]])
    """
    return _convolve("conv2d", 2, input, weight, bias, (stride, padding, dilation), groups)


@torch_function(torch.nn.functional.conv3d, torch.conv3d)
def conv3d(
    input: TensorT,
    weight: TensorT,
    bias: TensorT | None = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> TensorT:
    """Convolve (N, C, D, H, W) with a kernel (K, C / groups, Q, R, S)."""
    return _convolve("conv3d", 3, input, weight, bias, (stride, padding, dilation), groups)
