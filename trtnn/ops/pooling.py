"""Pooling: the maximum or the mean of sliding or of adaptive windows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from trtnn.errors import ShapeError, UnsupportedError
from trtnn.ops.convolution import ints_of
from trtnn.ops.joining import pad
from trtnn.ops.movement import reshape, squeeze, unsqueeze
from trtnn.ops.op import (
    Op,
    Spec,
    TensorT,
    as_size,
    bind,
    require_float,
    shape_of,
    spec_of,
    torch_function,
    unmet,
)
from trtnn.ops.reduction import amax, mean
from trtnn.ops.slicing import cat, narrow
from trtnn.sizes.dims import Size, ceil_div, failures

if TYPE_CHECKING:
    from trtnn.lower.network import ITensor, Net

__all__ = [
    "Pool",
    "adaptive_avg_pool1d",
    "adaptive_avg_pool2d",
    "adaptive_max_pool2d",
    "avg_pool1d",
    "avg_pool2d",
    "avg_pool3d",
    "max_pool1d",
    "max_pool2d",
    "max_pool3d",
]

Ints = tuple[int, ...]


@dataclass(frozen=True, repr=False)
class Pool(Op):
    """``kind`` is MAX or AVERAGE; the mean counts padding where ``count_include_pad`` says so."""

    kind: str
    window: Ints
    stride: Ints
    pre: Ints
    post: Ints
    count_include_pad: bool = False

    def infer(self, x: Spec) -> Spec:
        require_float("pool", x)
        if x.rank != len(self.window) + 2:
            raise ShapeError(f"pool: expected rank {len(self.window) + 2}, got {x}")
        if found := failures("ge", x.shape[1], 1):  # PyTorch takes an empty batch, of channels
            raise unmet(found, f"pool: {x} may have no channels", sizes=(x.shape[1],))
        sizes: list[Size] = []
        for axis, window in enumerate(self.window):
            room = x.shape[2 + axis] + self.pre[axis] + self.post[axis] - window
            if found := failures("ge", room, 0):
                message = f"pool: window {window} is larger than dim {2 + axis} of {x}"
                raise unmet(found, message, sizes=(x.shape[2 + axis],))
            sizes.append(room // self.stride[axis] + 1)
        return Spec((*x.shape[:2], *sizes), x.dtype)

    def reference(self, x: torch.Tensor) -> torch.Tensor:
        functional = torch.nn.functional
        flat = len(self.window) == 2
        amounts = [n for ab in zip(self.pre[::-1], self.post[::-1], strict=True) for n in ab]
        if self.kind == "MAX":
            padded = functional.pad(x, amounts, value=float("-inf"))
            most = functional.max_pool2d if flat else functional.max_pool3d
            result: torch.Tensor = most(padded, self.window, self.stride)
            return result
        wide = x.to(torch.promote_types(x.dtype, torch.float32))
        average: Any = functional.avg_pool2d if flat else functional.avg_pool3d
        result = average(functional.pad(wide, amounts), self.window, self.stride)
        if not self.count_include_pad and any(amounts):
            ones = functional.pad(torch.ones_like(wide), amounts)
            result = result / average(ones, self.window, self.stride)
        return result.to(x.dtype)

    def lower(self, net: Net, x: ITensor) -> ITensor:
        return net.pooling(
            x, self.kind, self.window, self.stride, self.pre, self.post, self.count_include_pad
        )


@dataclass(frozen=True, repr=False)
class Part(Op):
    """A copy by a layer that TensorRT fuses with nothing; what is NaN becomes the least number."""

    def infer(self, x: Spec) -> Spec:
        require_float("part", x)
        return x

    def reference(self, x: torch.Tensor) -> torch.Tensor:
        return x.clone()

    def lower(self, net: Net, x: ITensor) -> ITensor:
        return net.parted(x)


def _overhang(function: str, size: Size, window: int, stride: int, padding: int) -> int:
    """Return the padding at the end that gives the size of ``ceil_mode``."""
    if not isinstance(size, int):
        if window >= padding + stride:
            return padding + stride - 1
        raise UnsupportedError(
            f"{function}: ceil_mode with window {window}, stride {stride} and padding {padding} "
            f"on the symbolic size {size}",
            hint="give the size statically, or a window of at least stride + padding",
        )
    room = size + 2 * padding - window
    count = room // stride + 1
    if ceil_div(room, stride) == room // stride:
        return padding
    if count * stride >= size + padding:  # a window that starts in the padding is dropped
        return padding
    return count * stride + window - size - padding


def _pool(
    function: str,
    count: int,
    x: TensorT,
    numbers: tuple[Any, Any, Any],
    ceil_mode: bool,
    include: bool | None = None,
) -> TensorT:
    """Pool over ``count`` dims; ``include`` is None for a maximum."""
    rank = spec_of(x).rank
    if rank == count + 1:
        return squeeze(_pool(function, count, unsqueeze(x, 0), numbers, ceil_mode, include), 0)
    if rank != count + 2:
        raise ShapeError(f"{function}: expected rank {count + 1} or {count + 2}, got {spec_of(x)}")
    window = ints_of(numbers[0], count)
    given = numbers[1]
    stride = window if given is None or given in ((), []) else ints_of(given, count)
    pre = ints_of(numbers[2], count)
    if any(2 * p > w for p, w in zip(pre, window, strict=True)):
        raise ShapeError(f"{function}: padding {pre} is more than half of the window {window}")
    post = pre
    if ceil_mode:
        sizes = shape_of(x)[2:]
        parts = zip(sizes, window, stride, pre, strict=True)
        post = tuple(_overhang(function, *part) for part in parts)
    if include and post != pre and any(pre):
        # Padding counts but what ceil_mode adds does not: make the padding part of the input.
        x = pad(x, [p for p in reversed(pre) for _ in range(2)])
        post, pre = tuple(b - a for a, b in zip(pre, post, strict=True)), (0,) * count
        include = False
    elif not any(pre):
        include = False if include is not None else None
    kind = "MAX" if include is None else "AVERAGE"
    if count > 1:
        return bind(Pool(kind, window, stride, pre, post, bool(include)), x)
    wide = Pool(kind, (*window, 1), (*stride, 1), (*pre, 0), (*post, 0), bool(include))
    return squeeze(bind(wide, unsqueeze(x, -1)), -1)


def _max_pool(function: str, count: int) -> Callable[..., TensorT]:
    def max_pool(
        input: TensorT,
        kernel_size: Any,
        stride: Any = None,
        padding: Any = 0,
        dilation: Any = 1,
        ceil_mode: bool = False,
        return_indices: bool = False,
    ) -> TensorT:
        """Take the maximum of each window over the trailing dims."""
        if return_indices:
            raise UnsupportedError(f"{function}: return_indices has no layer in TensorRT")
        if any(d != 1 for d in ints_of(dilation, count)):
            raise UnsupportedError(f"{function}: dilation {dilation} has no layer in TensorRT")
        return _pool(function, count, input, (kernel_size, stride, padding), ceil_mode)

    max_pool.__name__ = max_pool.__qualname__ = function
    return max_pool


F = torch.nn.functional
max_pool1d = torch_function(F.max_pool1d, torch.max_pool1d)(_max_pool("max_pool1d", 1))
max_pool2d = torch_function(F.max_pool2d, torch.max_pool2d)(_max_pool("max_pool2d", 2))
max_pool3d = torch_function(F.max_pool3d, torch.max_pool3d)(_max_pool("max_pool3d", 3))


def _avg_pool(function: str, count: int) -> Callable[..., TensorT]:
    def avg_pool(
        input: TensorT,
        kernel_size: Any,
        stride: Any = None,
        padding: Any = 0,
        ceil_mode: bool = False,
        count_include_pad: bool = True,
        divisor_override: int | None = None,
    ) -> TensorT:
        """Take the mean of each window over the trailing dims."""
        if divisor_override is not None:
            raise UnsupportedError(f"{function}: divisor_override has no layer in TensorRT")
        numbers = (kernel_size, stride, padding)
        return _pool(function, count, input, numbers, ceil_mode, bool(count_include_pad))

    avg_pool.__name__ = avg_pool.__qualname__ = function
    return avg_pool


avg_pool1d = torch_function(F.avg_pool1d, torch.avg_pool1d)(_avg_pool("avg_pool1d", 1))
avg_pool2d = torch_function(F.avg_pool2d)(_avg_pool("avg_pool2d", 2))
avg_pool3d = torch_function(F.avg_pool3d)(_avg_pool("avg_pool3d", 3))


def _adaptive(function: str, x: TensorT, output_size: Any, count: int) -> TensorT:
    """Cut the last ``count`` dims into windows and reduce each."""
    rank = spec_of(x).rank
    given = output_size if isinstance(output_size, (tuple, list)) else (output_size,) * count
    axes = list(range(rank - count, rank))
    sizes = shape_of(x)[rank - count :]
    wanted = [s if g is None else as_size(g) for s, g in zip(sizes, given, strict=True)]
    reduce = amax if "max" in function else mean
    if all(w == 1 for w in wanted):
        return reduce(x, tuple(axes), True)
    exact = all(isinstance(s, int) and isinstance(w, int) and s % w == 0
                for s, w in zip(sizes, wanted, strict=True))  # fmt: skip
    if exact and rank in (count + 1, count + 2):
        window = tuple(int(str(s // w)) for s, w in zip(sizes, wanted, strict=True))
        include = None if reduce is amax else False
        return _pool(function, count, x, (window, window, 0), False, include)
    for axis, size, bins in zip(axes, sizes, wanted, strict=True):
        x = _bins(function, x, axis, size, bins, reduce)
    return x


def _bins(function: str, x: TensorT, axis: int, size: Size, bins: Size, reduce: Any) -> TensorT:
    if size == bins:
        return x
    if bins == 1:
        return reduce(x, (axis,), True)
    if not isinstance(bins, int):
        raise UnsupportedError(
            f"{function}: {bins} windows of size {size}: their number is not static",
            hint="interpolate(mode='area') has the same limit; use F.interpolate(mode='bilinear')",
        )
    if not isinstance(size, int) and size % bins == 0:
        shape = shape_of(x)
        parts = (*shape[:axis], bins, size // bins, *shape[axis + 1 :])
        return reduce(reshape(x, parts), (axis + 1,), False)
    windows = []
    for i in range(bins):
        start, end = i * size // bins, ceil_div((i + 1) * size, bins)
        windows.append(reduce(narrow(x, axis, start, end - start), (axis,), True))
    return cat(windows, axis)


@torch_function(F.adaptive_avg_pool1d, torch.adaptive_avg_pool1d)
def adaptive_avg_pool1d(input: TensorT, output_size: Any) -> TensorT:
    """Take the mean of ``output_size`` windows that cover the last dim."""
    return _adaptive("adaptive_avg_pool1d", input, output_size, 1)


@torch_function(F.adaptive_avg_pool2d)
def adaptive_avg_pool2d(input: TensorT, output_size: Any) -> TensorT:
    """Take the mean of ``output_size`` windows that cover the last two dims.

    >>> adaptive_avg_pool2d(torch.arange(4.0).view(1, 1, 2, 2), 1)
    tensor([[[[1.5000]]]])
    """
    return _adaptive("adaptive_avg_pool2d", input, output_size, 2)


@torch_function(F.adaptive_max_pool2d)
def adaptive_max_pool2d(input: TensorT, output_size: Any, return_indices: bool = False) -> TensorT:
    """Take the maximum of ``output_size`` windows that cover the last two dims."""
    if return_indices:
        raise UnsupportedError("adaptive_max_pool2d: return_indices has no layer in TensorRT")
    return _adaptive("adaptive_max_pool2d", input, output_size, 2)
