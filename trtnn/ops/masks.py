"""Ops whose sizes depend on data: where entries are not zero, and what a mask picks."""

from __future__ import annotations

import weakref
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import torch

from trtnn.errors import DTypeError, ShapeError
from trtnn.ops.arithmetic import where
from trtnn.ops.movement import broadcast_tensors, movedim, reshape
from trtnn.ops.op import Op, Spec, TensorT, bind, recorder_of, shape_of, spec_of, torch_function
from trtnn.ops.slicing import along, known_of, select
from trtnn.sizes.dims import Expr, Size, bounds, decide, product, symbols
from trtnn.sizes.expressions import DataSymbol

if TYPE_CHECKING:
    from trtnn.lower.network import ITensor, Net

__all__ = ["GatherND", "NonZero", "masked_select", "nonzero"]


@torch_function(torch.where)
def where_or_nonzero(condition: TensorT, input: Any = None, other: Any = None) -> Any:
    """Take ``input`` where ``condition`` holds, ``other`` elsewhere; alone, the places of it."""
    if input is None and other is None:
        return nonzero(condition, as_tuple=True)
    return where(condition, input, other)


def depends_on_data(*sizes: Size) -> bool:
    """Say whether a size follows from the content of a tensor."""
    return any(isinstance(s, DataSymbol) for size in sizes for s in symbols(size))


@dataclass(frozen=True, repr=False)
class NonZero(Op):
    """The indices of the entries that are not 0, as rows; ``count`` is known at run time only."""

    count: Size

    def infer(self, x: Spec) -> Spec:
        return Spec((self.count, x.rank), torch.int64)

    def reference(self, x: torch.Tensor) -> torch.Tensor:
        return torch.nonzero(x)

    def lower(self, net: Net, x: ITensor) -> ITensor:
        return net.nonzero(x, self.count)

    def at(self, bindings: Mapping[str, int]) -> Op:
        """Return the op itself until the count is known."""
        bound = isinstance(self.count, Expr) and str(self.count) in bindings
        return super().at(bindings) if bound else self

    def bind_sizes(self, outputs: Any) -> dict[str, int]:
        """Return the value of ``count``, read off the actual output."""
        result = outputs[0] if isinstance(outputs, (tuple, list)) else outputs
        return {str(self.count): int(result.shape[0])}


@dataclass(frozen=True, repr=False)
class GatherND(Op):
    """Take what each row of indices (..., depth) names in the leading ``depth`` dims of x."""

    def infer(self, x: Spec, rows: Spec) -> Spec:
        depth = rows.shape[-1]
        if rows.dtype not in (torch.int32, torch.int64):
            raise DTypeError(f"indexing: expected int32 or int64 indices, got {rows.dtype}")
        if not isinstance(depth, int) or not 1 <= depth <= x.rank:
            raise ShapeError(f"indexing: {depth} indices a row do not fit {x}")
        return Spec((*rows.shape[:-1], *x.shape[depth:]), x.dtype)

    def reference(self, x: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
        return x[tuple(rows.long().unbind(-1))]

    def lower(self, net: Net, x: ITensor, rows: ITensor) -> ITensor:
        return net.gather_nd(x, rows)


_counts: weakref.WeakKeyDictionary[Any, dict[Any, Expr]] = weakref.WeakKeyDictionary()


@torch_function(torch.nonzero, torch.Tensor.nonzero, torch.argwhere, torch.Tensor.argwhere)
def nonzero(input: TensorT, *, as_tuple: bool = False) -> Any:
    """Return the indices of the entries that are not 0, one row each.

    The number of rows is a size of its own, bounded by the number of entries; of one tensor it is
    one size, however often it is asked.

    >>> nonzero(torch.tensor([0, 3, 4]))
    tensor([[1],
            [2]])
    """
    if not shape_of(input):  # as a vector of one, whose place a scalar has no dim for
        row = nonzero(reshape(input, 1), as_tuple=as_tuple)
        return row if as_tuple else along(row, 1, 0, 0)
    count: Size = 0
    recorder = recorder_of(input)
    if recorder is not None and known_of(input) is None:
        counts = _counts.setdefault(recorder, {})
        most = product([bounds(size)[1] for size in shape_of(input)])
        assert isinstance(most, int)
        fresh = Expr(DataSymbol(f"nonzero_{len(counts)}", 0, most))
        count = counts.setdefault(input._trtnn_value, fresh)
    rows = bind(NonZero(count), input)
    if not as_tuple:
        return rows
    return tuple(select(rows, 1, axis) for axis in range(spec_of(input).rank))


@dataclass(frozen=True, eq=False)
class Column:
    """One of the index tensors that a mask stands for: what ``nonzero`` says of one dim.

    A scalar mask is one of a ``fresh`` dim of size 1. ``found`` holds the rows that all columns of
    a mask share, once they are asked for.
    """

    mask: TensorT
    place: int
    size: Size
    fresh: bool
    found: list[TensorT]
    _trtnn_leaf: ClassVar[bool] = True

    @property
    def rows(self) -> TensorT:
        """Return what ``nonzero`` says of the mask."""
        if not self.found:
            self.found.append(nonzero(self.mask))
        return self.found[0]

    def tensor(self) -> TensorT:
        """Return the indices as a vector."""
        count, depth = shape_of(self.rows)
        return reshape(self.rows, count) if depth == 1 else select(self.rows, 1, self.place)


def columns_of(mask: TensorT) -> list[Column]:
    """Return one column per dim of a mask, one also for a scalar."""
    fresh, found = not shape_of(mask), list[TensorT]()
    mask = reshape(mask, 1) if fresh else mask
    return [Column(mask, place, s, fresh, found) for place, s in enumerate(shape_of(mask))]


def require_mask_fits(column: Column, length: Size) -> None:
    """Raise ShapeError unless a mask's size is shown to be that of the dim it picks from.

    An engine would read what lies behind, or leave out the rest.
    """
    if not decide("eq", column.size, length):
        raise ShapeError(
            f"indexing: dim {column.place} of the mask has size {column.size}, "
            f"the indexed dim {length}",
            hint="declare one Dim for both, or slice one of them",
            sizes=(column.size, length),
        )


def take_rows(input: TensorT, first: int, columns: list[Column]) -> TensorT:
    """Pick from the dims that the columns of one mask cover, beginning at ``first``."""
    depth = len(columns)
    moved = movedim(input, list(range(first, first + depth)), list(range(depth)))
    return movedim(bind(GatherND(), moved, columns[0].rows), 0, first)


@torch_function(torch.masked_select, torch.Tensor.masked_select)
def masked_select(input: TensorT, mask: TensorT) -> TensorT:
    """Return the entries where ``mask`` holds, as a vector whose size depends on data.

    >>> masked_select(torch.tensor([1, 2, 3]), torch.tensor([True, False, True]))
    tensor([1, 3])
    """
    if spec_of(mask).dtype != torch.bool:
        raise DTypeError(f"masked_select: expected a bool mask, got {spec_of(mask).dtype}")
    wide, kept = broadcast_tensors(input, mask)
    if not shape_of(kept):
        wide, kept = reshape(wide, 1), reshape(kept, 1)
    return bind(GatherND(), wide, nonzero(kept))
