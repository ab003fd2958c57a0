"""Which entries are the largest or the smallest, and where they are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from trtnn.errors import DTypeError, ShapeError, UnsupportedError
from trtnn.ops.arithmetic import SizeValue, cast, eq, logical_or, maximum, minimum, ne, sub, where
from trtnn.ops.creation import arange
from trtnn.ops.movement import flatten, movedim, reshape, squeeze, unsqueeze
from trtnn.ops.op import (
    Op,
    Spec,
    TensorT,
    as_size,
    axis_of,
    bind,
    shape_of,
    spec_of,
    torch_function,
    unmet,
)
from trtnn.ops.reduction import amax, amin
from trtnn.sizes.dims import Size, bounds, decide, failures

if TYPE_CHECKING:
    from trtnn.lower.network import ITensor, Net

__all__ = ["TopK", "argmax", "argmin", "max", "min", "topk"]

T = torch.Tensor
MOST = 3840  # entries that TensorRT's TopK gives, in every version


@dataclass(frozen=True, repr=False)
class TopK(Op):
    """The first ``count`` entries along ``axis`` in order, and their indices."""

    largest: bool
    count: Size
    axis: int

    def infer(self, x: Spec) -> tuple[Spec, Spec]:
        size = x.shape[self.axis]
        if found := failures("ge", self.count, 1) or failures("le", self.count, size):
            message = f"topk: expected 1 to {size} entries, got k={self.count}"
            raise unmet(found, message, sizes=(size, self.count))
        if bounds(self.count)[1] > MOST:
            raise UnsupportedError(
                f"topk: k={self.count} may reach {bounds(self.count)[1]}; TensorRT gives {MOST}"
            )
        shape = (*x.shape[: self.axis], self.count, *x.shape[self.axis + 1 :])
        return Spec(shape, x.dtype), Spec(shape, torch.int64)

    def reference(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        assert isinstance(self.count, int)
        if self.count == x.shape[self.axis]:  # equal entries keep their order, as torch.sort's do
            order = torch.sort(x, dim=self.axis, descending=self.largest, stable=True)
            return order.values, order.indices
        values, indices = torch.topk(x, self.count, self.axis, self.largest)
        return values, indices

    def lower(self, net: Net, x: ITensor) -> tuple[ITensor, ITensor]:
        target = net.target
        if not x.dtype.is_floating_point and not target.strongly_typed:
            raise UnsupportedError(
                f"topk: {target.name} ranks floats only, got {x.dtype}",
                hint="convert with .float() where the numbers are below 2**24",
                where=net.node.origin.source if net.node is not None else None,
            )
        return net.topk(x, self.largest, self.count, self.axis)


@torch_function(torch.topk, T.topk)
def topk(
    input: TensorT, k: Any, dim: int = -1, largest: bool = True, sorted: bool = True
) -> TensorT:
    """Return the ``k`` largest entries along ``dim`` in order, and their indices.

    Which of several equal entries comes first is not defined, in PyTorch as in TensorRT.

    Raises:
        UnsupportedError: ``k`` may pass 3840.

    >>> topk(torch.tensor([1.0, 3.0, 2.0]), 2).indices
    tensor([1, 2])
    """
    spec = spec_of(input)
    if spec.dtype == torch.bool:
        raise DTypeError("topk: expected numbers, got torch.bool")
    axis = axis_of("topk", dim, spec.rank)
    count = as_size(k)
    if spec.rank < 2:  # TensorRT takes two dims or more
        parts = bind(TopK(largest, count, 1), reshape(input, (1, -1)))
        shape = () if spec.rank == 0 else (count,)
        values, indices = (reshape(part, shape) for part in parts)
    elif spec.rank - axis > 4:  # and ranks along the last four
        parts = bind(TopK(largest, count, spec.rank - 1), movedim(input, axis, -1))
        values, indices = (movedim(part, -1, axis) for part in parts)
    else:
        values, indices = bind(TopK(largest, count, axis), input)
    return torch.return_types.topk((values, indices))


def _extremes(largest: bool, input: TensorT, axis: int) -> tuple[TensorT, TensorT]:
    """Return the extreme along an axis and the first index that has it, both with the axis kept.

    By comparison: TensorRT does not say which of several equal entries its TopK names.
    """
    best = (amax if largest else amin)(input, axis, True)
    size, rank = shape_of(input)[axis], len(shape_of(input))
    places = reshape(arange(size), (-1, *(1,) * (rank - 1 - axis)))
    last = sub(bind(SizeValue(size)), 1) if not isinstance(size, int) else torch.tensor(size - 1)
    # A NaN is the extreme, and no NaN equals another.
    found = logical_or(eq(input, best), ne(input, input))
    return best, amin(where(found, places, last), axis, True)


def _along(name: str, largest: bool, input: TensorT, dim: int, keepdim: bool) -> Any:
    spec = spec_of(input)
    if decide("eq", spec.shape[axis_of(name, dim, spec.rank)] if spec.shape else 1, 0):
        raise ShapeError(f"{name}: dim {dim} has no entries")
    wide = cast(input, torch.int32) if spec.dtype == torch.bool else input
    wide = unsqueeze(wide, 0) if spec.rank == 0 else wide
    axis = axis_of(name, dim, spec.rank)
    values, indices = (
        part if keepdim and spec.rank else squeeze(part, axis)
        for part in _extremes(largest, wide, axis)
    )
    return cast(values, spec.dtype), indices


@torch_function(torch.max, T.max)
def max(input: TensorT, dim: Any = None, keepdim: bool = False, *, other: Any = None) -> Any:
    """Take the largest entry of all, or along ``dim`` with its index, or of two tensors.

    Of several equal entries the first is named, and a NaN is the largest of all.

    >>> max(torch.tensor([1, 3, 3]), 0).indices
    tensor(1)
    """
    other = dim if isinstance(dim, torch.Tensor) else other
    if other is not None:
        return maximum(input, other)
    if dim is None:
        return amax(input)
    return torch.return_types.max(_along("max", True, input, dim, keepdim))


@torch_function(torch.min, T.min)
def min(input: TensorT, dim: Any = None, keepdim: bool = False, *, other: Any = None) -> Any:
    """Take the smallest entry of all, or along ``dim`` with its index, or of two tensors.

    Of several equal entries the first is named, and a NaN is the smallest of all.
    """
    other = dim if isinstance(dim, torch.Tensor) else other
    if other is not None:
        return minimum(input, other)
    if dim is None:
        return amin(input)
    return torch.return_types.min(_along("min", False, input, dim, keepdim))


def _place(name: str, largest: bool, input: TensorT, dim: Any, keepdim: bool) -> TensorT:
    if spec_of(input).dtype == torch.bool:
        raise DTypeError(f"{name}: expected numbers, got torch.bool")
    if dim is not None:
        return _along(name, largest, input, dim, keepdim)[1]
    result = _along(name, largest, flatten(input), 0, False)[1]
    return reshape(result, (1,) * len(shape_of(input))) if keepdim else result


@torch_function(torch.argmax, T.argmax)
def argmax(input: TensorT, dim: Any = None, keepdim: bool = False) -> TensorT:
    """Return the index of the largest entry, of the first one where several are equal.

    >>> argmax(torch.tensor([1.0, 3.0, 3.0]))
    tensor(1)
    """
    return _place("argmax", True, input, dim, keepdim)


@torch_function(torch.argmin, T.argmin)
def argmin(input: TensorT, dim: Any = None, keepdim: bool = False) -> TensorT:
    """Return the index of the smallest entry, of the first one where several are equal."""
    return _place("argmin", False, input, dim, keepdim)
