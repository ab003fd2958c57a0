"""Adaptive pooling: the maximum or the mean of a number of windows that cover a dim."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from trtnn.errors import ShapeError, UnsupportedError
from trtnn.ops.movement import reshape
from trtnn.ops.op import TensorT, as_size, refuse_integers, shape_of, spec_of, torch_function
from trtnn.ops.pooling import maxima, pool
from trtnn.ops.reduction import amax, mean
from trtnn.ops.slicing import cat, narrow
from trtnn.sizes.dims import Size, ceil_div

__all__ = [
    "adaptive_avg_pool1d",
    "adaptive_avg_pool2d",
    "adaptive_avg_pool3d",
    "adaptive_max_pool1d",
    "adaptive_max_pool2d",
    "adaptive_max_pool3d",
]

F = torch.nn.functional


def _wanted(function: str, x: TensorT, output_size: Any, count: int) -> list[Size]:
    rank = spec_of(x).rank
    if rank not in (count + 1, count + 2):
        raise ShapeError(f"{function}: expected rank {count + 1} or {count + 2}, got {spec_of(x)}")
    given = tuple(output_size) if isinstance(output_size, (tuple, list)) else (output_size,)
    given = given * count if len(given) == 1 else given
    if len(given) != count:
        raise ShapeError(f"{function}: expected {count} sizes, got {output_size}")
    sizes = shape_of(x)[rank - count :]
    return [s if g is None else as_size(g) for s, g in zip(sizes, given, strict=True)]


def _adaptive(function: str, x: TensorT, output_size: Any, count: int) -> TensorT:
    """Cut the last ``count`` dims into windows and reduce each."""
    rank = spec_of(x).rank
    refuse_integers(function, spec_of(x))
    axes = list(range(rank - count, rank))
    sizes = shape_of(x)[rank - count :]
    wanted = _wanted(function, x, output_size, count)
    reduce = amax if "max" in function else mean
    if all(w == 1 for w in wanted):
        return reduce(x, tuple(axes), True)
    exact = all(isinstance(s, int) and isinstance(w, int) and s % w == 0
                for s, w in zip(sizes, wanted, strict=True))  # fmt: skip
    if exact and rank in (count + 1, count + 2):
        window = tuple(int(str(s // w)) for s, w in zip(sizes, wanted, strict=True))
        include = None if reduce is amax else False
        return pool(function, count, x, (window, window, 0), False, include)
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


def _adaptive_pool(function: str, count: int) -> Callable[..., TensorT]:
    def adaptive_pool(input: TensorT, output_size: Any, return_indices: bool = False) -> TensorT:
        """Reduce ``output_size`` windows that cover the trailing dims."""
        return _adaptive(function, input, output_size, count)

    adaptive_pool.__name__ = adaptive_pool.__qualname__ = function
    return adaptive_pool


def _bins_of(size: int, bins: int) -> torch.Tensor:
    """Return where windows that cover a dim have their entries; short ones repeat their last."""
    ends = [(i * size // bins, -(-(i + 1) * size // bins)) for i in range(bins)]
    most = max((end - start for start, end in ends), default=1)
    rows = [[min(start + i, end - 1) for i in range(most)] for start, end in ends]
    return torch.tensor(rows, dtype=torch.int64).reshape(bins, most)


def _adaptive_maxima(function: str, count: int) -> Callable[..., tuple[TensorT, TensorT]]:
    def adaptive_max_pool(
        input: TensorT, output_size: Any, return_indices: bool = False
    ) -> tuple[TensorT, TensorT]:
        """Take the maxima of windows that cover the trailing dims, and their indices."""
        places = []
        sizes, wanted = shape_of(input)[-count:], _wanted(function, input, output_size, count)
        for size, bins in zip(sizes, wanted, strict=True):
            if not isinstance(size, int) or not isinstance(bins, int):
                raise UnsupportedError(
                    f"{function}: indices of {bins} windows of size {size}, which is not static",
                    hint="give the size statically, or leave the indices out",
                )
            places.append(_bins_of(size, bins))
        return maxima(input, places)

    return adaptive_max_pool


adaptive_avg_pool1d = torch_function(F.adaptive_avg_pool1d, torch.adaptive_avg_pool1d)(
    _adaptive_pool("adaptive_avg_pool1d", 1)
)
adaptive_avg_pool2d = torch_function(F.adaptive_avg_pool2d)(
    _adaptive_pool("adaptive_avg_pool2d", 2)
)
adaptive_avg_pool3d = torch_function(F.adaptive_avg_pool3d)(
    _adaptive_pool("adaptive_avg_pool3d", 3)
)
adaptive_max_pool1d = torch_function(F.adaptive_max_pool1d)(
    _adaptive_pool("adaptive_max_pool1d", 1)
)
adaptive_max_pool2d = torch_function(F.adaptive_max_pool2d)(
    _adaptive_pool("adaptive_max_pool2d", 2)
)
adaptive_max_pool3d = torch_function(F.adaptive_max_pool3d)(
    _adaptive_pool("adaptive_max_pool3d", 3)
)
torch_function(F.adaptive_max_pool1d_with_indices, torch.adaptive_max_pool1d)(
    _adaptive_maxima("adaptive_max_pool1d", 1)
)
torch_function(F.adaptive_max_pool2d_with_indices)(_adaptive_maxima("adaptive_max_pool2d", 2))
torch_function(F.adaptive_max_pool3d_with_indices)(_adaptive_maxima("adaptive_max_pool3d", 3))
