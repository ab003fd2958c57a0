"""Pooling: the maximum or the mean of sliding windows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch

from trtnn.errors import ShapeError, UnsupportedError
from trtnn.ops.arithmetic import add, gt, lt, mul, rsub, sub, where
from trtnn.ops.convolution import ints_of
from trtnn.ops.division import remainder
from trtnn.ops.folding import count_of, laid_out, places_of
from trtnn.ops.movement import flatten, permute, reshape, squeeze, unsqueeze
from trtnn.ops.op import (
    Op,
    Spec,
    TensorT,
    bind,
    refuse_integers,
    require_float,
    shape_of,
    spec_of,
    torch_function,
    unmet,
)
from trtnn.ops.padding import pad
from trtnn.ops.pointwise import pow
from trtnn.ops.reduction import amax, amin
from trtnn.sizes.dims import Size, ceil_div, decide, failures, product

if TYPE_CHECKING:
    from trtnn.lower.network import ITensor, Net

__all__ = [
    "Pool",
    "avg_pool1d",
    "avg_pool2d",
    "avg_pool3d",
    "lp_pool1d",
    "lp_pool2d",
    "lp_pool3d",
    "max_pool1d",
    "max_pool2d",
    "max_pool3d",
]

Ints = tuple[int, ...]


@dataclass(frozen=True, repr=False)
class Pool(Op):
    """``kind`` is MAX or AVERAGE; the mean counts padding where ``count_include_pad`` says so.

    MAX_AVERAGE_BLEND is of both, of the mean the part ``blend``.
    """

    kind: str
    window: Ints
    stride: Ints
    pre: Ints
    post: Ints
    count_include_pad: bool = False
    blend: float = 0.0

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
        if self.kind == "MAX_AVERAGE_BLEND":
            most, mean = (replace(self, kind=k).reference(x.float()) for k in ("MAX", "AVERAGE"))
            return ((1 - self.blend) * most + self.blend * mean).to(x.dtype)
        amounts = [n for ab in zip(self.pre[::-1], self.post[::-1], strict=True) for n in ab]
        if self.kind == "MAX":
            padded = functional.pad(x, amounts, value=float("-inf"))
            largest = functional.max_pool2d if flat else functional.max_pool3d
            result: torch.Tensor = largest(padded, self.window, self.stride)
            return result
        wide = x.to(torch.promote_types(x.dtype, torch.float32))
        average: Any = functional.avg_pool2d if flat else functional.avg_pool3d
        result = average(functional.pad(wide, amounts), self.window, self.stride)
        if not self.count_include_pad and any(amounts):
            ones = functional.pad(torch.ones_like(wide), amounts)
            result = result / average(ones, self.window, self.stride)
        return result.to(x.dtype)

    def lower(self, net: Net, x: ITensor) -> ITensor:
        how = (self.window, self.stride, self.pre, self.post, self.count_include_pad, self.blend)
        return net.pooling(x, self.kind, *how)


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


def _numbers(function: str, numbers: tuple[Any, Any, Any], gaps: Ints) -> tuple[Ints, Ints, Ints]:
    """Return window, stride and padding of each dim."""
    count, given = len(gaps), numbers[1]
    window = ints_of(numbers[0], count)
    stride = window if given is None or given in ((), []) else ints_of(given, count)
    pre = ints_of(numbers[2], count)
    if any(2 * p > (w - 1) * g + 1 for p, w, g in zip(pre, window, gaps, strict=True)):
        raise ShapeError(f"{function}: padding {pre} is more than half of the window {window}")
    return window, stride, pre


def pool(
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
        return squeeze(pool(function, count, unsqueeze(x, 0), numbers, ceil_mode, include), 0)
    if rank != count + 2:
        raise ShapeError(f"{function}: expected rank {count + 1} or {count + 2}, got {spec_of(x)}")
    refuse_integers(function, spec_of(x))
    window, stride, pre = _numbers(function, numbers, (1,) * count)
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


def _max_pool(function: str, count: int, *, both: bool) -> Callable[..., Any]:
    def max_pool(
        input: TensorT,
        kernel_size: Any,
        stride: Any = None,
        padding: Any = 0,
        dilation: Any = 1,
        ceil_mode: bool = False,
        return_indices: bool = False,
    ) -> Any:
        """Take the maximum of each window over the trailing dims."""
        gaps, numbers = ints_of(dilation, count), (kernel_size, stride, padding)
        if both or max(gaps) > 1 or not spec_of(input).dtype.is_floating_point:
            if not count < spec_of(input).rank <= count + 2:
                raise ShapeError(f"{function}: {spec_of(input)} has not {count} spatial dims")
            result = _spread_max(function, input, numbers, gaps, ceil_mode)
            return result if both else result[0]
        return pool(function, count, input, numbers, ceil_mode)

    max_pool.__name__ = max_pool.__qualname__ = function
    return max_pool


def _spread_max(
    function: str, x: TensorT, numbers: tuple[Any, Any, Any], gaps: Ints, ceil_mode: bool
) -> tuple[TensorT, TensorT]:
    """Take maxima, and their indices, of windows that are laid out entry by entry."""
    places = []
    sizes = shape_of(x)[-len(gaps) :]
    for size, gap, *own in zip(sizes, gaps, *_numbers(function, numbers, gaps), strict=True):
        window, stride, pre = own
        count = count_of(function, size, window, stride, gap, pre)
        if ceil_mode:
            room = size + 2 * pre - gap * (window - 1) - 1
            count = ceil_div(room, stride) + 1
            beyond = decide("ge", (count - 1) * stride, size + pre)
            if beyond is None:
                raise UnsupportedError(
                    f"{function}: ceil_mode on the symbolic size {size}, with indices or dilation",
                    hint="give the size statically",
                )
            count = count - int(beyond)  # a window that starts in the padding is dropped
        at, last = places_of(count, window, stride, gap, pre), size - 1
        # In place of the padding stands another entry of the window: its maximum is the same.
        at = where(lt(at, 0), remainder(at, gap), at)
        places.append(where(gt(at, last), sub(last, remainder(rsub(at, last), gap)), at))
    return maxima(x, places)


def maxima(x: TensorT, places: list[TensorT]) -> tuple[TensorT, TensorT]:
    """Return the maximum of each window, and the index of the first such entry.

    ``places`` says where windows have their entries, (windows, entries) for each of the last dims.
    """
    count, sizes = len(places), shape_of(x)[-len(places) :]
    first = spec_of(x).rank - count
    index: TensorT = torch.tensor(0)
    for axis in reversed(range(count)):
        x = laid_out(x, first + axis, places[axis])
        own = (*shape_of(places[axis]), *(1, 1) * (count - axis - 1))
        index = add(mul(reshape(places[axis], own), product(sizes[axis + 1 :])), index)
    windows, entries = range(0, 2 * count, 2), range(1, 2 * count, 2)
    index = flatten(permute(index, (*windows, *entries)), count)
    order = (*range(first), *(first + i for i in (*windows, *entries)))
    x = flatten(permute(x, order), first + count)
    greatest = amax(x, -1, True)
    # Not less, rather than equal, so that of a window with NaN an entry is named as well.
    found = amin(where(lt(x, greatest), torch.iinfo(torch.int32).max, index), -1)
    return squeeze(greatest, -1), found


F = torch.nn.functional
max_pool1d = torch_function(F.max_pool1d, torch.max_pool1d)(_max_pool("max_pool1d", 1, both=False))
max_pool2d = torch_function(F.max_pool2d, torch.max_pool2d)(_max_pool("max_pool2d", 2, both=False))
max_pool3d = torch_function(F.max_pool3d, torch.max_pool3d)(_max_pool("max_pool3d", 3, both=False))
torch_function(F.max_pool1d_with_indices, torch.max_pool1d_with_indices)(
    _max_pool("max_pool1d", 1, both=True)
)
torch_function(F.max_pool2d_with_indices)(_max_pool("max_pool2d", 2, both=True))
torch_function(F.max_pool3d_with_indices)(_max_pool("max_pool3d", 3, both=True))


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
        numbers = (kernel_size, stride, padding)
        if divisor_override is None:
            return pool(function, count, input, numbers, ceil_mode, bool(count_include_pad))
        if divisor_override == 0:
            raise ShapeError(f"{function}: divisor_override is 0")
        return _divided(function, input, numbers, ceil_mode, divisor_override, count)

    avg_pool.__name__ = avg_pool.__qualname__ = function
    return avg_pool


def _divided(
    function: str,
    x: TensorT,
    numbers: tuple[Any, Any, Any],
    ceil_mode: bool,
    divisor: int,
    count: int,
) -> TensorT:
    """Add windows up, and divide by a number: means of windows that padding makes full."""
    window, stride, pre = _numbers(function, numbers, (1,) * count)
    post = pre
    if ceil_mode:
        parts = zip(shape_of(x)[-count:], window, stride, pre, strict=True)
        post = tuple(_overhang(function, *part) for part in parts)
    sides = zip(reversed(pre), reversed(post), strict=True)
    full = pad(x, [n for both in sides for n in both])
    means = pool(function, count, full, (window, stride, 0), False, False)
    return mul(means, product(window) / divisor)


avg_pool1d = torch_function(F.avg_pool1d, torch.avg_pool1d)(_avg_pool("avg_pool1d", 1))
avg_pool2d = torch_function(F.avg_pool2d)(_avg_pool("avg_pool2d", 2))
avg_pool3d = torch_function(F.avg_pool3d)(_avg_pool("avg_pool3d", 3))


def _lp_pool(average: Callable[..., TensorT], count: int) -> Callable[..., TensorT]:
    def lp_pool(
        input: TensorT,
        norm_type: int | float,
        kernel_size: Any,
        stride: Any = None,
        ceil_mode: bool = False,
    ) -> TensorT:
        """Take the root of the sum of powers of each window over the trailing dims."""
        means = average(pow(input, norm_type), kernel_size, stride, 0, ceil_mode)
        return pow(mul(means, product(ints_of(kernel_size, count))), 1.0 / norm_type)

    return lp_pool


lp_pool1d = torch_function(F.lp_pool1d)(_lp_pool(avg_pool1d, 1))
lp_pool2d = torch_function(F.lp_pool2d)(_lp_pool(avg_pool2d, 2))
lp_pool3d = torch_function(F.lp_pool3d)(_lp_pool(avg_pool3d, 3))
