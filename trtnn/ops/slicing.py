"""Ops that cut and join: slices, concatenation, and what one of them makes up."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from trtnn.errors import ShapeError
from trtnn.ops.arithmetic import cast
from trtnn.ops.movement import reshape
from trtnn.ops.op import (
    Op,
    Spec,
    TensorT,
    as_size,
    axis_of,
    bind,
    recorder_of,
    require_same_dtype,
    shape_of,
    spec_of,
    torch_function,
    unmet,
)
from trtnn.sizes.dims import Size, decide, failures

if TYPE_CHECKING:
    from trtnn.lower.network import ITensor, Net

__all__ = ["Concat", "Slice", "cat", "narrow", "select"]

Sizes = tuple[Size, ...]


@dataclass(frozen=True, repr=False)
class Slice(Op):
    """``out[i] = x[start + i * stride]``; ``mode`` says what lies outside (FILL: an operand)."""

    start: Sizes
    size: Sizes
    stride: Sizes
    mode: str = "STRICT_BOUNDS"

    def infer(self, x: Spec, fill: Spec | None = None) -> Spec:
        if not x.rank == len(self.start) == len(self.size) == len(self.stride):
            raise ShapeError(f"slice: {len(self.start)} starts for rank {x.rank}")
        for axis, size in enumerate(self.size):
            if found := failures("ge", size, 0):
                message = f"slice: size {size} at dim {axis} is negative"
                raise unmet(found, message, sizes=(size,))
        if fill is not None:
            require_same_dtype("slice", x, fill)
        return Spec(self.size, x.dtype)

    def reference(self, x: torch.Tensor, fill: torch.Tensor | None = None) -> torch.Tensor:
        inside = None
        for axis in range(x.dim()):
            start, size, stride, length = self._ints(axis, x.shape[axis])
            if (start, size, stride) == (0, length, 1):
                continue
            if self.mode == "STRICT_BOUNDS" and stride > 0:
                end = start + (size - 1) * stride + 1 if size else start
                x = x[(slice(None),) * axis + (slice(start, end, stride),)]
                continue
            at = start + torch.arange(size, device=x.device) * stride
            if self.mode == "REFLECT":
                period = max(2 * length - 2, 1)
                at = at.abs() % period
                at = torch.where(at >= length, period - at, at)
            if self.mode == "WRAP":
                at = at % max(length, 1)
            if self.mode == "FILL":
                there = ((at >= 0) & (at < length)).view(-1, *(1,) * (x.dim() - 1 - axis))
                inside = there if inside is None else inside & there
            if self.mode != "STRICT_BOUNDS":
                at = at.clamp(0, max(length - 1, 0))
            x = x.index_select(axis, at) if length else x.new_zeros(self._empty(x, axis, size))
        if inside is None or fill is None:
            return x
        return torch.where(inside, x, fill.to(x.device))

    def _ints(self, axis: int, length: int) -> tuple[int, int, int, int]:
        start, size, stride = (int(str(v[axis])) for v in (self.start, self.size, self.stride))
        return start, size, stride, int(length)

    @staticmethod
    def _empty(x: torch.Tensor, axis: int, size: int) -> tuple[int, ...]:
        return (*x.shape[:axis], size, *x.shape[axis + 1 :])

    def lower(self, net: Net, x: ITensor, fill: Any = None) -> ITensor:
        return net.slice(x, self.start, self.size, self.stride, mode=self.mode, fill=fill)


@dataclass(frozen=True, repr=False)
class Concat(Op):
    """Join tensors along an axis."""

    axis: int

    def infer(self, *specs: Spec) -> Spec:
        require_same_dtype("cat", *specs)
        first = specs[0]
        total: Size = 0
        for spec in specs:
            pairs = enumerate(zip(first.shape, spec.shape, strict=False))
            if spec.rank != first.rank or any(a != b for i, (a, b) in pairs if i != self.axis):
                sizes = zip(first.shape, spec.shape, strict=False)
                raise ShapeError(
                    f"cat: {first} and {spec} differ in more than dim {self.axis}",
                    hint="all other sizes must be equal, or be the same Dim",
                    sizes=next(
                        (p for i, p in enumerate(sizes) if i != self.axis and p[0] != p[1]), ()
                    ),
                )
            total = total + spec.shape[self.axis]
        shape = (*first.shape[: self.axis], total, *first.shape[self.axis + 1 :])
        return Spec(shape, first.dtype)

    def reference(self, *tensors: torch.Tensor) -> torch.Tensor:
        return torch.cat(tensors, self.axis)

    def lower(self, net: Net, *tensors: ITensor) -> ITensor:
        return net.concat(list(tensors), self.axis)


def known_of(tensor: Any) -> torch.Tensor | None:
    """Return a tensor whose value is known while tracing as it is, None for others.

    What is asked of it is remembered: other parameters must give the same answer.
    """
    is_known = recorder_of(tensor) is None or getattr(tensor, "_trtnn_known", None) is not None
    return tensor if is_known and isinstance(tensor, torch.Tensor) else None


def items_of(index: Any) -> list[Any]:
    """Return what ``x[index]`` names, item by item.

    A list that holds more than numbers is read as a tuple, as NumPy once did: PyTorch's rule.
    """
    if isinstance(index, list) and len(index) < 32:
        more = (torch.Tensor, slice, tuple, list, range)
        if any(i is None or i is Ellipsis or isinstance(i, more) for i in index):
            return index
    return list(index) if isinstance(index, tuple) else [index]


def slice_of(input: TensorT, start: Sizes, size: Sizes, stride: Sizes) -> TensorT:
    """Record a Slice inside the bounds; return the input where nothing is cut."""
    whole = all(s == 0 for s in start) and all(s == 1 for s in stride)
    if whole and size == shape_of(input):
        return input
    return bind(Slice(start, size, stride), input)


def along(input: TensorT, axis: int, start: Size, size: Size, step: Size = 1) -> TensorT:
    """Cut one axis."""
    shape = shape_of(input)
    starts = tuple(start if i == axis else 0 for i in range(len(shape)))
    sizes = tuple(size if i == axis else s for i, s in enumerate(shape))
    steps = tuple(step if i == axis else 1 for i in range(len(shape)))
    return slice_of(input, starts, sizes, steps)


def require_no_larger(function: str, index: TensorT, other: TensorT, axis: int | None) -> None:
    """Raise ShapeError unless an index has at most the sizes of ``other``, but along ``axis``."""
    for i, (size, own) in enumerate(zip(shape_of(index), shape_of(other), strict=True)):
        if i != axis and (found := failures("le", size, own)):
            pair = f"{spec_of(index)} is larger than {spec_of(other)}"
            raise unmet(found, f"{function}: index {pair} at dim {i}", sizes=(size, own))


def position_of(function: str, index: Size, length: Size) -> Size:
    """Return an index counted from the front, checked as far as ranges tell."""
    negative = decide("lt", index, 0)
    if negative is None:
        raise ShapeError(f"{function}: index {index} may be negative or not", hint="narrow its Dim")
    place = index + length if negative else index
    if found := failures("ge", place, 0) or failures("lt", place, length):
        message = f"{function}: index {index} is out of range for size {length}"
        raise unmet(found, message, sizes=(length, index))
    return place


def narrow(input: TensorT, dim: int, start: Any, length: Any) -> TensorT:
    """Take ``length`` entries of ``dim`` from ``start`` on.

    >>> narrow(torch.arange(5), 0, 1, 3)
    tensor([1, 2, 3])
    """
    shape = shape_of(input)
    axis = axis_of("narrow", dim, len(shape))
    begin, size = as_size(start), as_size(length)
    begin = begin + shape[axis] if decide("lt", begin, 0) else begin
    if found := failures("ge", begin, 0) or failures("le", begin + size, shape[axis]):
        message = f"narrow: {begin} to {begin + size} is outside size {shape[axis]}"
        raise unmet(found, message, sizes=(shape[axis], begin, size))
    return along(input, axis, begin, size)


@torch_function(torch.select, torch.Tensor.select)
def select(input: TensorT, dim: int, index: Any) -> TensorT:
    """Take one entry of ``dim`` and drop the dim.

    >>> select(torch.arange(6).view(2, 3), 1, -1)
    tensor([2, 5])
    """
    shape = shape_of(input)
    if not shape:
        raise ShapeError("select: a scalar has no dim to select from")
    axis = axis_of("select", dim, len(shape))
    place = position_of("select", as_size(index), shape[axis])
    return reshape(along(input, axis, place, 1), (*shape[:axis], *shape[axis + 1 :]))


@torch_function(torch.cat, torch.concat, torch.concatenate)
def cat(tensors: Sequence[TensorT], dim: int = 0, *, axis: int | None = None) -> TensorT:
    """Join tensors along ``dim``; their dtypes are promoted.

    >>> cat([torch.zeros(2, 1), torch.ones(2, 2)], 1)
    tensor([[0., 1., 1.],
            [0., 1., 1.]])
    """
    items = [t for t in tensors if shape_of(t) != (0,)] or list(tensors[:1])
    if not items:
        raise ShapeError("cat: expected at least one tensor")
    rank = spec_of(items[0]).rank
    if rank == 0:
        raise ShapeError("cat: scalars cannot be joined", hint="use torch.stack")
    place = axis_of("cat", dim if axis is None else axis, rank)
    dtype = spec_of(items[0]).dtype
    for item in tensors:
        dtype = torch.promote_types(dtype, spec_of(item).dtype)
    items = [cast(item, dtype) for item in items]
    return items[0] if len(items) == 1 else bind(Concat(place), *items)
