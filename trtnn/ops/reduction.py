"""Reductions and softmax."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from trtnn.errors import DTypeError, ShapeError
from trtnn.ops.arithmetic import HALVES, Elementwise, Select, add, cast, eq, logical_not, sub
from trtnn.ops.creation import Full, full
from trtnn.ops.movement import reshape
from trtnn.ops.op import (
    Op,
    Spec,
    TensorT,
    axis_of,
    bind,
    require_float,
    shape_of,
    spec_of,
    torch_function,
    unmet,
)
from trtnn.ops.slicing import cat
from trtnn.ops.unary import isinf, unary
from trtnn.sizes.dims import Size, failures

__all__ = [
    "Reduce", "Softmax", "all", "amax", "amin", "aminmax", "any", "count_nonzero", "log_softmax",
    "logsumexp", "mean", "nanmean", "nansum", "prod", "softmax", "sum",
]  # fmt: skip

T = torch.Tensor
Axes = tuple[int, ...]


def _prod(x: torch.Tensor, axes: Axes, keep: bool) -> torch.Tensor:
    for axis in sorted(axes, reverse=True):
        x = torch.prod(x, axis, keepdim=keep, dtype=x.dtype)
    return x


KINDS: dict[str, Callable[[torch.Tensor, Axes, bool], torch.Tensor]] = {
    "SUM": lambda x, axes, keep: torch.sum(x, axes, keepdim=keep, dtype=x.dtype),
    "AVG": lambda x, axes, keep: torch.mean(x, axes, keepdim=keep),
    "MAX": lambda x, axes, keep: torch.amax(x, axes, keepdim=keep),
    "MIN": lambda x, axes, keep: torch.amin(x, axes, keepdim=keep),
    "PROD": _prod,
}
ACCUMULATE = frozenset({"SUM", "AVG", "PROD"})


@dataclass(frozen=True, repr=False)
class Reduce(Op):
    """TensorRT's Reduce layer."""

    kind: str
    axes: Axes
    keep_dims: bool

    def infer(self, x: Spec) -> Spec:
        if x.dtype == torch.bool:
            raise DTypeError(f"reduce {self.kind}: expected numbers, got {x.dtype}")
        shape = [
            1 if i in self.axes else s
            for i, s in enumerate(x.shape)
            if self.keep_dims or i not in self.axes
        ]
        return Spec(tuple(shape), x.dtype)

    def reference(self, x: torch.Tensor) -> torch.Tensor:
        require_entries(self.kind, x.shape, self.axes)
        return KINDS[self.kind](x, self.axes, self.keep_dims)

    def lower(self, net: Any, x: Any) -> Any:
        # PyTorch adds and multiplies 16 bits in float32: a mean does not overflow as its sum does.
        wide = net.cast(x, torch.float32) if self.kind in ACCUMULATE and x.dtype in HALVES else x
        return net.cast(net.reduce(wide, self.kind, self.axes, self.keep_dims), x.dtype)


@dataclass(frozen=True, repr=False)
class Softmax(Op):
    """TensorRT's SoftMax layer over one axis."""

    axis: int

    def infer(self, x: Spec) -> Spec:
        require_float("softmax", x)
        return x

    def reference(self, x: torch.Tensor) -> torch.Tensor:
        return torch.softmax(x, self.axis)

    def lower(self, net: Any, x: Any) -> Any:
        return net.softmax(x, self.axis)


def require_entries(kind: str, shape: Sequence[Size], axes: Axes) -> None:
    """Raise ShapeError where the extreme of no entries is asked for."""
    for axis in axes if kind in ("MAX", "MIN") else ():
        if found := failures("ge", shape[axis], 1):
            message = f"{kind.lower()}: dim {axis} of size {shape[axis]} may have no entries"
            raise unmet(found, message, sizes=(shape[axis],))


def axes_of(function: str, input: TensorT, dim: Any) -> Axes:
    """Return the axes that ``dim`` names, in order; all of them if it names none."""
    rank = len(shape_of(input))
    if dim is None or dim == () or dim == []:
        return tuple(range(rank))
    given = dim if isinstance(dim, (tuple, list)) else (dim,)
    axes = sorted(axis_of(function, d, rank) for d in given)
    if len(set(axes)) < len(axes):
        raise ShapeError(f"{function}: expected different dims, got {tuple(given)}")
    return tuple(axes)


def _reduce(function: str, kind: str, input: TensorT, dim: Any, keepdim: bool) -> TensorT:
    axes = axes_of(function, input, dim)
    if not shape_of(input):
        return input
    require_entries(kind, shape_of(input), axes)
    reduction = Reduce(kind, axes, bool(keepdim))
    if kind in OF_NOTHING and 0 in [shape_of(input)[axis] for axis in axes]:
        result = reduction.infer(spec_of(input))  # TensorRT 8.6 builds no reduction of no entries
        return bind(Full(result.shape, OF_NOTHING[kind], result.dtype))
    return bind(reduction, input)


OF_NOTHING = {"SUM": 0, "PROD": 1, "AVG": float("nan")}
"""What is left of no entries."""


@torch_function(torch.sum, T.sum)
def sum(input: TensorT, dim: Any = None, keepdim: bool = False, *, dtype: Any = None) -> TensorT:
    """Add up the entries along ``dim``, all of them if None; integers sum in int64."""
    own = spec_of(input).dtype
    wanted = dtype or (own if own.is_floating_point else torch.int64)
    return _reduce("sum", "SUM", cast(input, wanted), dim, keepdim)


@torch_function(torch.mean, T.mean)
def mean(input: TensorT, dim: Any = None, keepdim: bool = False, *, dtype: Any = None) -> TensorT:
    """Average the entries along ``dim``, all of them if None.

    >>> mean(torch.tensor([[1.0, 3.0]]), 1)
    tensor([2.])
    """
    x = cast(input, dtype) if dtype is not None else input
    require_float("mean", spec_of(x))
    return _reduce("mean", "AVG", x, dim, keepdim)


@torch_function(torch.amax, T.amax)
def amax(input: TensorT, dim: Any = (), keepdim: bool = False) -> TensorT:
    """Take the largest entry along ``dim``."""
    if spec_of(input).dtype == torch.bool:
        return cast(amax(cast(input, torch.int32), dim, keepdim), torch.bool)
    return _reduce("amax", "MAX", input, dim, keepdim)


@torch_function(torch.amin, T.amin)
def amin(input: TensorT, dim: Any = (), keepdim: bool = False) -> TensorT:
    """Take the smallest entry along ``dim``."""
    if spec_of(input).dtype == torch.bool:
        return cast(amin(cast(input, torch.int32), dim, keepdim), torch.bool)
    return _reduce("amin", "MIN", input, dim, keepdim)


@torch_function(torch.prod, T.prod)
def prod(input: TensorT, dim: Any = None, keepdim: bool = False, *, dtype: Any = None) -> TensorT:
    """Multiply the entries along ``dim``, all of them if None."""
    own = spec_of(input).dtype
    wanted = dtype or (own if own.is_floating_point else torch.int64)
    return _reduce("prod", "PROD", cast(input, wanted), dim, keepdim)


@torch_function(torch.aminmax, T.aminmax)
def aminmax(input: TensorT, *, dim: Any = None, keepdim: bool = False) -> Any:
    """Take the smallest and the largest entry along ``dim``, of all of them if None."""
    ends = (extreme(input, dim, keepdim) for extreme in (amin, amax))
    return torch.return_types.aminmax(tuple(ends))


@torch_function(torch.count_nonzero, T.count_nonzero)
def count_nonzero(input: TensorT, *dim: Any) -> TensorT:
    """Count the entries along ``dim`` that are not 0.

    >>> count_nonzero(torch.tensor([0.0, 2.0, -1.0]))
    tensor(2)
    """
    return sum(cast(input, torch.bool), dim[0] if len(dim) == 1 else dim)


@torch_function(torch.nansum, T.nansum)
def nansum(input: TensorT, dim: Any = None, keepdim: bool = False, *, dtype: Any = None) -> TensorT:
    """Add up the entries along ``dim`` that are not NaN."""
    return sum(_numbers(input), dim, keepdim, dtype=dtype)


@torch_function(torch.nanmean, T.nanmean)
def nanmean(
    input: TensorT, dim: Any = None, keepdim: bool = False, *, dtype: Any = None
) -> TensorT:
    """Average the entries along ``dim`` that are not NaN.

    >>> nanmean(torch.tensor([1.0, math.nan, 3.0]))
    tensor(2.)
    """
    require_float("nanmean", spec_of(input))
    count = sum(cast(eq(input, input), torch.float32), dim, keepdim)
    total = sum(_numbers(input), dim, keepdim, dtype=torch.float32)
    result = bind(Elementwise("DIV"), total, count)
    return cast(result, dtype or spec_of(input).dtype)


def _numbers(input: TensorT) -> TensorT:
    dtype = spec_of(input).dtype
    if not dtype.is_floating_point:
        return input
    return bind(Select(), eq(input, input), input, torch.zeros((), dtype=dtype))


@torch_function(torch.logsumexp, T.logsumexp, torch.special.logsumexp)
def logsumexp(input: TensorT, dim: Any, keepdim: bool = False) -> TensorT:
    """Compute ``log(sum(exp(x)))`` along ``dim``, in float32 and without overflow.

    >>> logsumexp(torch.tensor([1000.0, 0.0]), 0)
    tensor(1000.)
    """
    dtype = spec_of(input).dtype
    wide = cast(input, torch.float32)
    axes = axes_of("logsumexp", wide, dim)
    most = amax(_with_least(wide, axes), axes, True)
    most = bind(Select(), isinf(most), torch.zeros(()), most)
    total = unary("LOG", sum(unary("EXP", sub(wide, most)), axes, True))
    result = add(total, most)
    if not keepdim and shape_of(input):
        left = tuple(s for i, s in enumerate(shape_of(result)) if i not in axes)
        result = reshape(result, left)
    return cast(result, dtype if dtype.is_floating_point else torch.float32)


def _with_least(x: TensorT, axes: Axes) -> TensorT:
    """Add one more where there may be no entries, never the greatest, so that there is one."""
    for axis in axes if shape_of(x) else ():
        shape = list(shape_of(x))
        if failures("ge", shape[axis], 1):
            shape[axis] = 1
            x = cat((x, full(shape, -math.inf)), axis)
    return x


@torch_function(torch.any, T.any)
def any(input: TensorT, dim: Any = None, keepdim: bool = False) -> TensorT:
    """Say whether an entry along ``dim`` is true; of no entries, none is."""
    truth = cast(cast(input, torch.bool), torch.int32)
    return cast(cast(_reduce("any", "SUM", truth, dim, keepdim), torch.bool), _answer(input))


@torch_function(torch.all, T.all)
def all(input: TensorT, dim: Any = None, keepdim: bool = False) -> TensorT:
    """Say whether every entry along ``dim`` is true; of no entries, every one is."""
    return cast(logical_not(any(logical_not(input), dim, keepdim)), _answer(input))


def _answer(input: TensorT) -> torch.dtype:
    """Return the dtype of an answer about entries: PyTorch keeps uint8."""
    return torch.uint8 if spec_of(input).dtype == torch.uint8 else torch.bool


@torch_function(torch.nn.functional.softmax)
def softmax(
    input: TensorT, dim: int | None = None, _stacklevel: int = 3, dtype: Any = None
) -> TensorT:
    """Normalize exponentials along ``dim`` to sum 1, by default as PyTorch did before it asked.

    >>> softmax(torch.zeros(1, 2))
    tensor([[0.5000, 0.5000]])
    """
    x = cast(input, dtype) if dtype is not None else input
    axis = axis_of("softmax", _unsaid(x) if dim is None else dim, len(shape_of(x)))
    return bind(Softmax(axis), x)


def _unsaid(x: TensorT) -> int:
    """Return the dim of a softmax that names none: the channels of images and of matrices."""
    return int(len(shape_of(x)) not in (0, 1, 3))


@torch_function(torch.softmax, T.softmax, torch.special.softmax)
def softmax_of(input: TensorT, dim: int, dtype: Any = None) -> TensorT:
    """Normalize exponentials, with a dtype that may come by position."""
    return softmax(input, dim, dtype=dtype)


@torch_function(torch.log_softmax, T.log_softmax)
def log_softmax_of(input: TensorT, dim: int, dtype: Any = None) -> TensorT:
    """Normalize in logarithms, with a dtype that may come by position."""
    return log_softmax(input, dim, dtype=dtype)


@torch_function(torch.nn.functional.log_softmax)
def log_softmax(
    input: TensorT, dim: int | None = None, _stacklevel: int = 3, dtype: Any = None
) -> TensorT:
    """Compute ``x - max - log(sum(exp(x - max)))`` in float32, whatever the dtype.

    >>> log_softmax(torch.zeros(1), 0)
    tensor([0.])
    """
    x = cast(input, dtype) if dtype is not None else input
    require_float("log_softmax", spec_of(x))
    wide = cast(x, torch.float32)
    axis = axis_of("log_softmax", _unsaid(x) if dim is None else dim, len(shape_of(wide)))
    shifted = sub(wide, amax(_with_least(wide, (axis,)), axis, keepdim=True))
    total = sum(unary("EXP", shifted), axis, keepdim=True)
    return cast(sub(shifted, unary("LOG", total)), spec_of(x).dtype)
