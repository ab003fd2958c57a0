"""Ops that move entries without computing: reshape, transpose, expand, and what they make up."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from trtnn.errors import ShapeError, UnsupportedError
from trtnn.ops.op import (
    Op,
    Spec,
    TensorT,
    as_size,
    as_sizes,
    axis_of,
    bind,
    broadcast,
    shape_of,
    spec_of,
    text_of,
    torch_function,
    unmet,
)
from trtnn.sizes.dims import Size, decide, failures, product

if TYPE_CHECKING:
    from trtnn.lower.network import ITensor, Net

__all__ = [
    "Expand",
    "Identity",
    "Shuffle",
    "broadcast_tensors",
    "broadcast_to",
    "clone",
    "contiguous",
    "detach",
    "expand",
    "expand_as",
    "flatten",
    "mT",
    "movedim",
    "permute",
    "repeat",
    "repeat_interleave",
    "reshape",
    "reshape_as",
    "squeeze",
    "t",
    "transpose",
    "unflatten",
    "unsqueeze",
    "view",
    "view_as",
]

# The getters of properties; type checkers see plain tensors.
_GETTERS: Any = torch.Tensor
_T, _MT = _GETTERS.T.__get__, _GETTERS.mT.__get__
_H, _MH = _GETTERS.H.__get__, _GETTERS.mH.__get__


@dataclass(frozen=True, repr=False)
class Shuffle(Op):
    """Transpose, reshape, transpose; each may be None."""

    first: tuple[int, ...] | None
    shape: tuple[Size, ...] | None
    second: tuple[int, ...] | None

    def infer(self, x: Spec) -> Spec:
        shape = x.shape if self.first is None else tuple(x.shape[a] for a in self.first)
        if self.shape is not None:
            _require_volume("reshape", shape, self.shape)
            shape = self.shape
        if self.second is not None:
            shape = tuple(shape[a] for a in self.second)
        return Spec(shape, x.dtype)

    def reference(self, x: torch.Tensor) -> torch.Tensor:
        x = x if self.first is None else x.permute(self.first)
        x = x if self.shape is None else x.reshape([int(str(s)) for s in self.shape])
        return x if self.second is None else x.permute(self.second)

    def lower(self, net: Net, x: ITensor) -> ITensor:
        return net.shuffle(x, first=self.first, shape=self.shape, second=self.second)


@dataclass(frozen=True, repr=False)
class Expand(Op):
    """Repeat axes of size 1; the rank stays."""

    shape: tuple[Size, ...]

    def infer(self, x: Spec) -> Spec:
        if x.rank != len(self.shape):
            raise ShapeError(f"expand: rank {x.rank} does not fit {len(self.shape)} sizes")
        for axis, (size, target) in enumerate(zip(x.shape, self.shape, strict=True)):
            if size not in (1, target):
                raise ShapeError(
                    f"expand: size {size} at dim {axis} is neither 1 nor {target}",
                    hint="only dims of size 1 expand; use repeat() to copy others",
                    sizes=(size, target),
                )
        return Spec(self.shape, x.dtype)

    def reference(self, x: torch.Tensor) -> torch.Tensor:
        return x.expand([int(str(s)) for s in self.shape])

    def lower(self, net: Net, x: ITensor) -> ITensor:
        strides = tuple(int(a == b) for a, b in zip(x.shape, self.shape, strict=True))
        return net.slice(x, (0,) * len(self.shape), self.shape, strides)


@dataclass(frozen=True, repr=False)
class Identity(Op):
    """A copy."""

    def infer(self, x: Spec) -> Spec:
        return x

    def reference(self, x: torch.Tensor) -> torch.Tensor:
        return x.clone()

    def lower(self, net: Net, x: ITensor) -> ITensor:
        return net.identity(x)


def _require_volume(function: str, given: Sequence[Size], wanted: Sequence[Size]) -> None:
    before, after = product(given), product(wanted)
    if found := failures("eq", before, after):
        raise unmet(
            found,
            f"{function}: {text_of(given)} has {before} elements, {text_of(wanted)} has {after}",
            sizes=(before, after),
            hint="leave one size to be computed: -1",
        )


def _listed(dims: int | Sequence[int]) -> Sequence[int]:
    return [dims] if isinstance(dims, int) else dims


def _resolve(function: str, total: Size, sizes: tuple[Size, ...]) -> tuple[Size, ...]:
    """Return the sizes with a -1 computed by division."""
    free = [i for i, size in enumerate(sizes) if size == -1]
    if len(free) > 1:
        raise ShapeError(f"{function}: only one size can be -1, got {text_of(sizes)}")
    for size in sizes:
        if decide("lt", size, -1 if free else 0):
            raise ShapeError(f"{function}: size {size} in {text_of(sizes)} is negative")
    if not free:
        return sizes
    rest = product([size for size in sizes if size != -1])
    if empty := failures("ne", rest, 0):
        message = f"{function}: -1 beside a 0 in {text_of(sizes)} is ambiguous"
        raise unmet(empty, message, sizes=(rest,))
    found = total // rest
    if wrong := failures("eq", found * rest, total):
        raise unmet(
            wrong,
            f"{function}: {total} elements do not divide into {text_of(sizes)}",
            sizes=(total, rest),
            hint=f"{total} would have to be a multiple of {rest}",
        )
    return tuple(found if size == -1 else size for size in sizes)


@torch_function(torch.reshape, torch.Tensor.reshape)
def reshape(input: TensorT, *shape: Any) -> TensorT:
    """Give the entries another shape; one size may be -1, sizes may be symbolic.

    Raises:
        ShapeError: The numbers of elements differ.

    >>> reshape(torch.zeros(2, 6), 3, -1).shape
    torch.Size([3, 4])
    """
    old = shape_of(input)
    new = _resolve("reshape", product(old), as_sizes(shape))
    _require_volume("reshape", old, new)
    return input if new == old else bind(Shuffle(None, new, None), input)


@torch_function(torch.Tensor.view)
def view(input: TensorT, *size: Any, dtype: torch.dtype | None = None) -> TensorT:
    """Give the entries another shape; the same as ``reshape`` in a graph.

    Raises:
        UnsupportedError: ``view(dtype)``: bits are not read as another type.
    """
    asked = size[0] if size and isinstance(size[0], torch.dtype) else dtype
    if asked is not None:
        if asked == spec_of(input).dtype:
            return input
        raise UnsupportedError(
            f"view: cannot read {spec_of(input).dtype} as {asked} bit by bit",
            hint="to convert the values, use .to(dtype)",
        )
    return reshape(input, *size)


@torch_function(torch.Tensor.view_as)
def view_as(input: TensorT, other: TensorT) -> TensorT:
    """Give the entries the shape of ``other``."""
    return reshape(input, shape_of(other))


@torch_function(torch.Tensor.reshape_as)
def reshape_as(input: TensorT, other: TensorT) -> TensorT:
    """Give the entries the shape of ``other``."""
    return reshape(input, shape_of(other))


@torch_function(torch.flatten, torch.Tensor.flatten, torch.ravel, torch.Tensor.ravel)
def flatten(input: TensorT, start_dim: int = 0, end_dim: int = -1) -> TensorT:
    """Merge the dims from ``start_dim`` to ``end_dim`` into one.

    >>> flatten(torch.zeros(2, 3, 4), 1).shape
    torch.Size([2, 12])
    """
    shape = shape_of(input)
    if not shape:
        return reshape(input, 1)
    first = axis_of("flatten", start_dim, len(shape))
    last = axis_of("flatten", end_dim, len(shape))
    if first > last:
        raise ShapeError(f"flatten: start_dim {start_dim} comes after end_dim {end_dim}")
    merged = product(shape[first : last + 1])
    return reshape(input, (*shape[:first], merged, *shape[last + 1 :]))


@torch_function(torch.unflatten, torch.Tensor.unflatten)
def unflatten(input: TensorT, dim: int, sizes: Any) -> TensorT:
    """Split ``dim`` into ``sizes``; one of them may be -1.

    >>> unflatten(torch.zeros(2, 12), 1, (3, -1)).shape
    torch.Size([2, 3, 4])
    """
    shape = shape_of(input)
    axis = axis_of("unflatten", dim, len(shape))
    parts = _resolve("unflatten", shape[axis], as_sizes(sizes))
    _require_volume("unflatten", shape[axis : axis + 1], parts)
    return reshape(input, (*shape[:axis], *parts, *shape[axis + 1 :]))


@torch_function(torch.squeeze, torch.Tensor.squeeze)
def squeeze(input: TensorT, dim: int | Sequence[int] | None = None, *more: int) -> TensorT:
    """Drop dims of size 1: all of them, or those that ``dim`` names.

    Raises:
        ShapeError: It is not known whether a symbolic dim is 1.

    >>> squeeze(torch.zeros(1, 2, 1), -1).shape
    torch.Size([1, 2])
    """
    shape = shape_of(input)
    named = range(len(shape)) if dim is None else (*_listed(dim), *more)
    axes = {axis_of("squeeze", a, len(shape)) for a in named} if shape else set()
    for axis in sorted(axes):
        one = decide("eq", shape[axis], 1)
        if one is None:
            raise ShapeError(
                f"squeeze: size {shape[axis]} of dim {axis} may or may not be 1",
                hint="name the dims to drop, or give the Dim min=2",
            )
        if not one:
            axes.discard(axis)
    return reshape(input, tuple(s for a, s in enumerate(shape) if a not in axes))


@torch_function(torch.unsqueeze, torch.Tensor.unsqueeze)
def unsqueeze(input: TensorT, dim: int) -> TensorT:
    """Insert a dim of size 1 at ``dim``.

    >>> unsqueeze(torch.zeros(2, 3), -1).shape
    torch.Size([2, 3, 1])
    """
    shape = shape_of(input)
    axis = axis_of("unsqueeze", dim, len(shape) + 1)
    return reshape(input, (*shape[:axis], 1, *shape[axis:]))


@torch_function(torch.permute, torch.Tensor.permute)
def permute(input: TensorT, *dims: Any) -> TensorT:
    """Reorder the dims.

    >>> permute(torch.zeros(2, 3, 4), 2, 0, 1).shape
    torch.Size([4, 2, 3])
    """
    rank = spec_of(input).rank
    named = dims[0] if len(dims) == 1 and isinstance(dims[0], (tuple, list)) else dims
    order = tuple(axis_of("permute", d, rank) for d in named)
    if sorted(order) != list(range(rank)):
        raise ShapeError(f"permute: {tuple(named)} is no permutation of {rank} dims")
    return input if order == tuple(range(rank)) else bind(Shuffle(order, None, None), input)


@torch_function(
    torch.transpose,
    torch.Tensor.transpose,
    torch.swapaxes,
    torch.Tensor.swapaxes,
    torch.swapdims,
    torch.Tensor.swapdims,
)
def transpose(input: TensorT, dim0: int, dim1: int) -> TensorT:
    """Swap two dims.

    >>> transpose(torch.zeros(2, 3, 4), -2, -1).shape
    torch.Size([2, 4, 3])
    """
    rank = spec_of(input).rank
    a, b = axis_of("transpose", dim0, rank), axis_of("transpose", dim1, rank)
    order = list(range(rank))
    if rank:
        order[a], order[b] = order[b], order[a]
    return permute(input, order)


@torch_function(torch.t, torch.Tensor.t, _T, _H)
def t(input: TensorT) -> TensorT:
    """Transpose a matrix; a vector or a scalar stays.

    Raises:
        UnsupportedError: The rank is above 2, where PyTorch deprecates it.
    """
    rank = spec_of(input).rank
    if rank > 2:
        raise UnsupportedError(f"t: expected at most 2 dims, got {rank}", hint="use .mT or permute")
    return permute(input, list(reversed(range(rank))))


@torch_function(_MT, _MH, torch.adjoint, torch.Tensor.adjoint)
def mT(input: TensorT) -> TensorT:
    """Swap the last two dims."""
    if spec_of(input).rank < 2:
        raise ShapeError(f"mT: expected at least 2 dims, got {spec_of(input).rank}")
    return transpose(input, -2, -1)


@torch_function(torch.movedim, torch.Tensor.movedim, torch.moveaxis, torch.Tensor.moveaxis)
def movedim(
    input: TensorT, source: int | Sequence[int], destination: int | Sequence[int]
) -> TensorT:
    """Move dims to other places; the rest keep their order.

    >>> movedim(torch.zeros(2, 3, 4), 0, -1).shape
    torch.Size([3, 4, 2])
    """
    rank = spec_of(input).rank
    start, end = _listed(source), _listed(destination)
    if len(start) != len(end):
        raise ShapeError(f"movedim: {len(start)} sources but {len(end)} destinations")
    places = {
        axis_of("movedim", e, rank): axis_of("movedim", s, rank)
        for s, e in zip(start, end, strict=True)
    }
    if len(places) != len(end) or len(set(places.values())) != len(end):
        raise ShapeError(f"movedim: dims repeat in {source} or {destination}")
    rest = iter(a for a in range(rank) if a not in places.values())
    return permute(input, [places[a] if a in places else next(rest) for a in range(rank)])


@torch_function(torch.Tensor.contiguous)
def contiguous(input: TensorT, memory_format: Any = None) -> TensorT:
    """Return the input: layouts are TensorRT's choice."""
    return input


@torch_function(torch.Tensor.detach, torch.detach)
def detach(input: TensorT) -> TensorT:
    """Return the input: a graph has no gradients."""
    return input


@torch_function(torch.clone, torch.Tensor.clone)
def clone(input: TensorT, *, memory_format: Any = None) -> TensorT:
    """Copy a tensor."""
    return bind(Identity(), input)


def _expanded(function: str, old: tuple[Size, ...], sizes: tuple[Size, ...]) -> tuple[Size, ...]:
    missing = len(sizes) - len(old)
    if missing < 0:
        raise ShapeError(f"{function}: {len(sizes)} sizes for {len(old)} dims: {text_of(sizes)}")
    if any(size == -1 for size in sizes[:missing]):
        raise ShapeError(f"{function}: -1 in {text_of(sizes)} stands for a dim that does not exist")
    new = (*sizes[:missing], *(o if s == -1 else s for o, s in zip(old, sizes[missing:])))  # noqa: B905
    for axis, (size, target) in enumerate(zip(old, new[missing:], strict=True)):
        if size not in (1, target):
            raise ShapeError(
                f"{function}: size {size} at dim {axis + missing} is neither 1 nor {target}",
                hint="only dims of size 1 expand; use repeat() to copy others",
                sizes=(size, target),
            )
    return new


@torch_function(torch.Tensor.expand)
def expand(input: TensorT, *size: Any, implicit: bool = False) -> TensorT:
    """Repeat dims of size 1 without copying; -1 keeps a size; dims may be added in front.

    >>> expand(torch.zeros(3, 1), 2, -1, 4).shape
    torch.Size([2, 3, 4])
    """
    old = shape_of(input)
    new = _expanded("expand", old, as_sizes(size))
    padded = reshape(input, (1,) * (len(new) - len(old)) + old)
    return padded if shape_of(padded) == new else bind(Expand(new), padded)


@torch_function(torch.Tensor.expand_as)
def expand_as(input: TensorT, other: TensorT) -> TensorT:
    """Expand to the shape of ``other``."""
    return expand(input, shape_of(other))


@torch_function(torch.broadcast_to, torch.Tensor.broadcast_to)
def broadcast_to(input: TensorT, *size: Any) -> TensorT:
    """Expand to a shape."""
    return expand(input, *size)


@torch_function(torch.broadcast_tensors, torch.functional.broadcast_tensors)
def broadcast_tensors(*tensors: Any) -> tuple[TensorT, ...]:
    """Expand tensors to their common shape."""
    items = tensors[0] if isinstance(tensors[0], (tuple, list)) else tensors
    shape = broadcast("broadcast_tensors", *map(shape_of, items))
    return tuple(expand(item, shape) for item in items)


@torch_function(torch.Tensor.repeat)
def repeat(input: TensorT, *repeats: Any) -> TensorT:
    """Lay copies of a tensor side by side along each dim; dims may be added in front.

    >>> repeat(torch.tensor([[1, 2]]), 2, 2)
    tensor([[1, 2, 1, 2],
            [1, 2, 1, 2]])
    """
    counts, shape = as_sizes(repeats), shape_of(input)
    if len(counts) < len(shape):
        raise ShapeError(f"repeat: {len(counts)} counts for {len(shape)} dims")
    shape = (1,) * (len(counts) - len(shape)) + shape
    split: list[Size] = []
    spread: list[Size] = []
    for count, size in zip(counts, shape, strict=True):
        apart = count != 1 and size != 1
        split += [1, size] if apart else [size]
        spread += [count, size] if apart else [count * size]
    result = expand(reshape(input, tuple(split)), tuple(spread))
    return reshape(result, tuple(c * s for c, s in zip(counts, shape, strict=True)))


def repeat_interleave(input: TensorT, repeats: Any, dim: int | None = None) -> TensorT:
    """Repeat each entry along ``dim`` a number of times, the same for all.

    >>> repeat_interleave(torch.tensor([1, 2]), 2)
    tensor([1, 1, 2, 2])
    """
    count = as_size(repeats)
    input = flatten(input) if dim is None else input
    shape = shape_of(input)
    axis = axis_of("repeat_interleave", dim or 0, len(shape))
    head, size, tail = shape[:axis], shape[axis], shape[axis + 1 :]
    result = expand(reshape(input, (*head, size, 1, *tail)), (*head, size, count, *tail))
    return reshape(result, (*head, size * count, *tail))
