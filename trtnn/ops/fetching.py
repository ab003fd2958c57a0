"""Gathers with TensorRT's own meaning of an index out of range, and other layers of indices."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from trtnn.errors import DTypeError, ShapeError
from trtnn.ops.indexing import require_indices
from trtnn.ops.op import Op, Spec, unequal
from trtnn.sizes.dims import Size, decide

if TYPE_CHECKING:
    from trtnn.lower.network import ITensor, Net

__all__ = ["Fetch", "OneHot", "ReverseSequence"]

INTEGERS = (torch.int32, torch.int64)


@dataclass(frozen=True, repr=False)
class Fetch(Op):
    """TensorRT's Gather layer in each mode: an index out of range reads 0.

    A negative index counts from the end. ``shared`` leading dims of data and indices are walked
    through together.
    """

    mode: str
    axis: int
    shared: int

    def infer(self, x: Spec, indices: Spec) -> Spec:
        require_indices("gather", indices)
        for axis in range(self.shared):
            _require_equal("gather", x, indices, axis)
        if self.mode == "ELEMENT":
            for axis in range(x.rank):
                if axis != self.axis:
                    _require_equal("gather", x, indices, axis)
            return Spec(indices.shape, x.dtype)
        if self.mode == "ND":
            depth = indices.shape[-1]
            if not isinstance(depth, int) or not 1 <= depth <= x.rank - self.shared:
                raise ShapeError(f"gather: {depth} indices a row do not fit {x}")
            return Spec((*indices.shape[:-1], *x.shape[self.shared + depth :]), x.dtype)
        tail = (*indices.shape[self.shared :], *x.shape[self.axis + 1 :])
        return Spec((*x.shape[: self.axis], *tail), x.dtype)

    def reference(self, x: torch.Tensor, indices: torch.Tensor) -> torch.Tensor:
        indices = indices.long()
        if self.mode == "ND":
            return self._rows(x, indices)
        length = x.shape[self.axis]
        places, inside = _from_front(indices, torch.tensor(length, device=x.device))
        if not length:
            return x.new_zeros([int(s) for s in self.infer(_spec(x), _spec(indices)).shape])  # type: ignore[arg-type]
        if self.mode == "ELEMENT":
            return _or_zero(inside, torch.gather(x, self.axis, places))
        if self.shared:
            parts = [
                Fetch("DEFAULT", self.axis - 1, 0).reference(one, at)
                for one, at in zip(x, indices, strict=True)
            ]
            return torch.stack(parts) if parts else x.new_zeros((0, *self._tail(x, indices)))
        taken = x.index_select(self.axis, places.reshape(-1))
        shape = (*x.shape[: self.axis], *indices.shape, *x.shape[self.axis + 1 :])
        after = (1,) * (x.dim() - self.axis - 1)
        return _or_zero(inside.reshape(*indices.shape, *after), taken.reshape(shape))

    def _tail(self, x: torch.Tensor, indices: torch.Tensor) -> tuple[int, ...]:
        return (*x.shape[1 : self.axis], *indices.shape[1:], *x.shape[self.axis + 1 :])

    def _rows(self, x: torch.Tensor, indices: torch.Tensor) -> torch.Tensor:
        depth = indices.shape[-1]
        sizes = torch.tensor(x.shape[self.shared : self.shared + depth], device=x.device)
        places, each = _from_front(indices, sizes)
        inside = each.all(-1)
        leading = []
        for axis in range(self.shared):
            shape = [1] * (indices.dim() - 1)
            shape[axis] = -1
            leading.append(torch.arange(x.shape[axis], device=x.device).reshape(shape))
        at = (*leading, *places.unbind(-1))
        taken = x[at]
        after = (1,) * (taken.dim() - inside.dim())
        return _or_zero(inside.reshape(*inside.shape, *after), taken)

    def lower(self, net: Net, x: ITensor, indices: ITensor) -> ITensor:
        return net.fetch(x, indices, self.mode, self.axis, self.shared)


def _spec(x: torch.Tensor) -> Spec:
    return Spec(tuple(x.shape), x.dtype)


def _from_front(indices: torch.Tensor, sizes: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return indices that may be read, and which of them are meant."""
    inside = (indices >= -sizes) & (indices < sizes)
    return torch.where(inside, indices % sizes.clamp(min=1), 0), inside


def _or_zero(inside: torch.Tensor, taken: torch.Tensor) -> torch.Tensor:
    return torch.where(inside, taken, torch.zeros((), dtype=taken.dtype, device=taken.device))


def _require_equal(function: str, x: Spec, other: Spec, axis: int) -> None:
    sizes = x.shape[axis], other.shape[axis]
    if sizes[0] != sizes[1]:
        message = f"{function}: {other} does not fit {x}: sizes {unequal(*sizes)} at dim {axis}"
        raise ShapeError(message, sizes=sizes)


@dataclass(frozen=True, repr=False)
class OneHot(Op):
    """TensorRT's OneHot layer: operands indices, and values [off, on]; a new axis of ``depth``.

    What an index outside of it gives, no version says: here all are off.
    """

    depth: int
    axis: int

    def infer(self, indices: Spec, values: Spec) -> Spec:
        require_indices("one_hot", indices)
        if values.shape != (2,):
            raise ShapeError(f"one_hot: expected values [off, on], got {values}")
        shape = (*indices.shape[: self.axis], self.depth, *indices.shape[self.axis :])
        return Spec(shape, values.dtype)

    def reference(self, indices: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
        shape = [1] * (indices.dim() + 1)
        shape[self.axis] = self.depth
        places = torch.arange(self.depth, device=indices.device).reshape(shape)
        hot = indices.unsqueeze(self.axis) == places
        return torch.where(hot, values[1], values[0])

    def lower(self, net: Net, indices: Any, values: Any) -> ITensor:
        return net.one_hot(indices, values, self.depth, self.axis)


@dataclass(frozen=True, repr=False)
class ReverseSequence(Op):
    """TensorRT's ReverseSequence layer: the first entries of each sequence, the last one first."""

    batch_axis: int
    sequence_axis: int

    def infer(self, x: Spec, lengths: Spec) -> Spec:
        if lengths.dtype not in INTEGERS:
            raise DTypeError(f"reverse_sequence: expected integers, got {lengths.dtype}")
        size: Size = x.shape[self.batch_axis]
        if lengths.rank != 1 or decide("ne", lengths.shape[0], size):
            raise ShapeError(f"reverse_sequence: expected {size} lengths, got {lengths}")
        return x

    def reference(self, x: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        moved = x.movedim((self.batch_axis, self.sequence_axis), (0, 1))
        places = torch.arange(moved.shape[1], device=x.device).expand(moved.shape[:2])
        ends = lengths.to(x.device).long().unsqueeze(1)
        places = torch.where(places < ends, ends - 1 - places, places)
        rows = torch.arange(moved.shape[0], device=x.device).unsqueeze(1)
        return moved[rows, places].movedim((0, 1), (self.batch_axis, self.sequence_axis))

    def lower(self, net: Net, x: ITensor, lengths: ITensor) -> ITensor:
        return net.reverse_sequence(x, lengths, self.batch_axis, self.sequence_axis)
