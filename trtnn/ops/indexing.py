"""Ops that pick entries by index: gathers, indexing, embedding."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from trtnn.errors import DTypeError, ShapeError, UnsupportedError
from trtnn.ops.arithmetic import add, cast, mul
from trtnn.ops.creation import full
from trtnn.ops.masks import Column, columns_of, require_mask_fits, take_rows
from trtnn.ops.movement import movedim, reshape
from trtnn.ops.op import (
    Op,
    Spec,
    TensorT,
    as_size,
    axis_of,
    bind,
    broadcast,
    shape_of,
    spec_of,
    torch_function,
)
from trtnn.ops.slicing import (
    Concat,
    Slice,
    cat,
    items_of,
    known_of,
    narrow,
    position_of,
    require_no_larger,
    select,
    slice_of,
)
from trtnn.sizes.dims import Size, bounds, ceil_div, decide, maximum, minimum, product

if TYPE_CHECKING:
    from trtnn.lower.network import ITensor, Net

__all__ = [
    "Concat",
    "Gather",
    "GatherElements",
    "Slice",
    "cat",
    "embedding",
    "gather",
    "getitem",
    "index_select",
    "narrow",
    "select",
]

INDICES = (torch.int32, torch.int64)
MASKS = (torch.bool, torch.uint8)


def require_indices(function: str, index: Spec) -> None:
    if index.dtype not in INDICES:
        raise DTypeError(
            f"{function}: expected int32 or int64 indices, got {index.dtype}",
            hint="convert the indices with .long()",
        )


def require_inside(axis: int, index: torch.Tensor, length: int, low: int) -> None:
    """Raise IndexError, in PyTorch's words, unless ``low <= index < length`` for all entries."""
    outside = index[(index < low) | (index >= length)]
    if outside.numel():
        raise IndexError(
            f"index out of range: {int(outside[0])} is out of bounds for dimension {axis} with "
            f"size {length}"
        )


def _lower_wrapped(net: Net, indices: Any, length: Size) -> ITensor:
    """Add ``length`` to negative indices."""
    indices = net.tensor(indices)
    size = (
        net.scalar(length, indices)
        if isinstance(length, int)
        else net.cast(net.size_tensor(length), indices.dtype)
    )
    negative = net.elementwise(indices, net.scalar(0, indices), "LESS")
    return net.select(negative, net.elementwise(indices, size, "SUM"), indices)


@dataclass(frozen=True, repr=False)
class Place(Op):
    """Count the indices of ``axis`` from its front, negative ones from its end.

    An index out of range raises IndexError in the reference, as in PyTorch; in an engine it goes
    on as it is, and what a Gather of several axes reads is another entry.
    """

    axis: int
    length: Size

    def infer(self, indices: Spec) -> Spec:
        require_indices("indexing", indices)
        return indices

    def reference(self, indices: torch.Tensor) -> torch.Tensor:
        assert isinstance(self.length, int)
        require_inside(self.axis, indices, self.length, -self.length)
        return torch.where(indices < 0, indices + self.length, indices)

    def lower(self, net: Net, indices: ITensor) -> ITensor:
        return _lower_wrapped(net, indices, self.length)


@dataclass(frozen=True, repr=False)
class Gather(Op):
    """Replace ``axis`` by the axes of an index tensor.

    Negative indices count from the end, unless ``nonnegative``. An index out of range raises
    IndexError in the reference, as in PyTorch; TensorRT gives 0, and raises nothing.
    """

    axis: int
    nonnegative: bool = False

    def infer(self, x: Spec, indices: Spec) -> Spec:
        require_indices("gather", indices)
        head, tail = x.shape[: self.axis], x.shape[self.axis + 1 :]
        return Spec((*head, *indices.shape, *tail), x.dtype)

    def reference(self, x: torch.Tensor, indices: torch.Tensor) -> torch.Tensor:
        flat, length = indices.reshape(-1).long(), x.shape[self.axis]
        require_inside(self.axis, flat, length, 0 if self.nonnegative else -length)
        flat = torch.where(flat < 0, flat + length, flat)
        shape = (*x.shape[: self.axis], *indices.shape, *x.shape[self.axis + 1 :])
        return x.index_select(self.axis, flat).reshape(shape)

    def lower(self, net: Net, x: ITensor, indices: ITensor) -> ITensor:
        length = x.shape[self.axis]
        # Where the length is static, TensorRT adds it itself.
        if not self.nonnegative and not isinstance(length, int):
            indices = _lower_wrapped(net, indices, length)
        return net.gather(x, indices, self.axis)


@dataclass(frozen=True, repr=False)
class GatherElements(Op):
    """``torch.gather`` where all sizes but that of ``axis`` are equal.

    A negative index, or one out of range, raises in the reference, as in PyTorch; TensorRT counts
    negative ones from the end where the size is static, and raises nothing.
    """

    axis: int

    def infer(self, x: Spec, indices: Spec) -> Spec:
        require_indices("gather", indices)
        other = [i for i in range(x.rank) if i != self.axis]
        if x.rank != indices.rank or any(x.shape[i] != indices.shape[i] for i in other):
            raise ShapeError(f"gather: index {indices} does not fit {x} along dim {self.axis}")
        return Spec(indices.shape, x.dtype)

    def reference(self, x: torch.Tensor, indices: torch.Tensor) -> torch.Tensor:
        require_inside(self.axis, indices, x.shape[self.axis], 0)
        return torch.gather(x, self.axis, indices.long())

    def lower(self, net: Net, x: ITensor, indices: ITensor) -> ITensor:
        return net.gather_elements(x, indices, self.axis)


@torch_function(torch.Tensor.__getitem__)
def getitem(input: TensorT, index: Any) -> TensorT:
    """Index as PyTorch does: ints, slices, None, Ellipsis, index tensors, lists and bool masks.

    What a mask picks has a size that depends on data, bounded by the mask's number of entries.

    >>> getitem(torch.arange(6).view(2, 3), (Ellipsis, slice(None, -1)))
    tensor([[0, 1],
            [3, 4]])
    """
    return _take(*cut_by(input, index))


def cut_by(input: TensorT, index: Any) -> tuple[TensorT, list[tuple[int, Any]]]:
    """Return what ints, slices and Nones leave of a tensor, and the index tensors at its dims."""
    items = _items(index, spec_of(input).rank)
    shape = shape_of(input)
    starts: list[Size] = []
    sizes: list[Size] = []
    strides: list[Size] = []
    result: list[Size] = []
    arrays: list[tuple[int, Any]] = []
    for item in items:
        if item is None or (isinstance(item, Column) and item.fresh):
            if item is not None:
                arrays.append((len(result), item))
            result.append(1)
            continue
        length = shape[len(starts)]
        start: Size = 0
        size, stride = length, as_size(1)
        if isinstance(item, slice):
            start, size, stride = bounds_of(item, length)
        elif isinstance(item, (torch.Tensor, Column)):
            if isinstance(item, Column):
                require_mask_fits(item, length)
            arrays.append((len(result), item))
        else:
            start, size = position_of("indexing", as_size(item), length), 1
        starts.append(start)
        sizes.append(size)
        strides.append(stride)
        if isinstance(item, (slice, torch.Tensor, Column)):
            result.append(size)
    cut = slice_of(input, tuple(starts), tuple(sizes), tuple(strides))
    return reshape(cut, tuple(result)), arrays


def _items(index: Any, rank: int) -> list[Any]:
    """Return one item per axis (and Nones): Ellipsis filled in, lists and scalars converted."""
    items: list[Any] = []
    for item in items_of(index):
        if isinstance(item, (str, float)):
            raise UnsupportedError(f"indexing: {item!r} as an index")
        if isinstance(item, bool):
            item = torch.tensor(item)
        elif isinstance(item, (list, tuple, range)):
            item = torch.tensor(list(item), dtype=None if item else torch.int64)
        elif hasattr(item, "__array__") and not isinstance(item, torch.Tensor):
            item = torch.tensor(item)
        if isinstance(item, torch.Tensor) and spec_of(item).dtype in MASKS:
            items += columns_of(cast(item, torch.bool))
        else:
            items.append(_array(item) if isinstance(item, torch.Tensor) else item)
    fresh = (isinstance(item, Column) and item.fresh for item in items)
    used = sum(item is not None and item is not Ellipsis for item in items) - sum(fresh)
    if used > rank:
        raise ShapeError(f"indexing: {used} indices for a tensor of rank {rank}")
    rest = [slice(None)] * (rank - used)
    places = [i for i, item in enumerate(items) if item is Ellipsis]
    if len(places) > 1:
        raise ShapeError("indexing: an index can only have a single ellipsis ('...')")
    at = places[0] if places else len(items)
    return [*items[:at], *rest, *items[at + 1 :]]


def _array(item: torch.Tensor) -> Any:
    spec, known = spec_of(item), known_of(item)
    require_indices("indexing", spec)
    if known is not None and not spec.shape:
        return int(known)
    return item


def bounds_of(item: slice, length: Size) -> tuple[Size, Size, Size]:
    """Return start, size and step of a Python slice, clamped as PyTorch clamps."""
    step = 1 if item.step is None else as_size(item.step)
    if not isinstance(step, int) or step < 1:
        raise ShapeError(f"indexing: expected a positive int as step, got {step}")

    def place(value: Any, default: Size) -> Size:
        if value is None:
            return default
        size = as_size(value)
        negative = decide("lt", size, 0)
        if negative is None:
            raise ShapeError(
                f"indexing: slice bound {size} may be negative or not",
                hint="PyTorch counts negative bounds from the end; narrow the Dim's range",
            )
        return maximum(0, size + length) if negative else minimum(length, size)

    start, stop = place(item.start, 0), place(item.stop, length)
    return start, maximum(0, ceil_div(stop - start, step)), step


def _take(input: TensorT, arrays: list[tuple[int, Any]]) -> TensorT:
    """Apply index tensors at axes of ``input``: scalars one by one, all others by one Gather.

    A scalar selects, as an int does, so that what stands beside it counts as adjacent.
    """
    for axis, item in reversed(arrays):
        if is_scalar(item):
            input = gather_along(input, item, axis)
    rest = without_scalars(arrays)
    if not rest:
        return input
    axes, items = [a for a, _ in rest], [t for _, t in rest]
    columns = [t for t in items if isinstance(t, Column)]
    if len(items) == 1:
        if columns:
            return bind(Gather(axes[0], True), input, columns[0].tensor())
        return gather_along(input, items[0], axes[0])
    if one_mask(items):
        return take_rows(input, axes[0], columns)
    moved, first, flat = merged(input, axes, items)
    return bind(Gather(first, True), moved, flat)


def is_scalar(item: Any) -> bool:
    """Say whether an index tensor selects, as an int does."""
    return not isinstance(item, Column) and not shape_of(item)


def without_scalars(arrays: list[tuple[int, Any]]) -> list[tuple[int, Any]]:
    """Return the index tensors that are no scalars, at the dims that those leave."""
    scalars = [axis for axis, item in arrays if is_scalar(item)]
    return [(a - sum(s < a for s in scalars), t) for a, t in arrays if a not in scalars]


def one_mask(items: list[Any]) -> bool:
    """Say whether index tensors are the columns of one mask, which stands once in an index."""
    mask = getattr(items[0], "mask", None)
    alike = all(isinstance(item, Column) and item.mask is mask for item in items)
    return alike and len(items) == spec_of(mask).rank


def merged(input: TensorT, axes: list[int], items: list[Any]) -> tuple[TensorT, int, TensorT]:
    """Return a tensor with the indexed dims as one, that dim, and its indices from the front."""
    first = axes[0]
    if axes != list(range(first, first + len(axes))):
        input, first = movedim(input, axes, list(range(len(axes)))), 0
    shape = shape_of(input)
    lengths = shape[first : first + len(axes)]
    vectors = [t.tensor() if isinstance(t, Column) else t for t in items]
    broadcast("indexing", *map(shape_of, vectors))
    flat = None
    for axis, (item, vector) in enumerate(zip(items, vectors, strict=True), first):
        length = shape[axis]
        place = vector if isinstance(item, Column) else from_front(vector, axis, length)
        flat = place if flat is None else add(mul(flat, length), place)
    one = (*shape[:first], product(lengths), *shape[first + len(axes) :])
    return reshape(input, one), first, flat


def require_inside_known(index: TensorT, axis: int, length: Size, *, signed: bool) -> bool | None:
    """Say whether a known index is never negative; return None for one that is not known.

    Raises:
        ShapeError: It is out of range, whatever the size.
    """
    known = known_of(index)
    if known is None:
        return None
    if not known.numel():
        return True
    low, high = int(known.min()), int(known.max())
    limit = bounds(length)[1]
    if low < (-limit if signed else 0) or high >= limit:
        raise ShapeError(
            f"indexing: index {low if high < limit else high} at dim {axis} is out of range for "
            f"size {length}"
        )
    return low >= 0


def from_front(index: TensorT, axis: int, length: Size) -> TensorT:
    """Return an index tensor with negative entries counted from the front."""
    inside = require_inside_known(index, axis, length, signed=True)
    static = isinstance(length, int)
    return index if inside and static else bind(Place(axis, length), index)


def gather_along(input: TensorT, index: TensorT, axis: int, *, signed: bool = True) -> TensorT:
    """Gather along one axis; unless ``signed``, no index is negative."""
    length = shape_of(input)[axis]
    inside = require_inside_known(index, axis, length, signed=signed)
    if inside is False and isinstance(length, int):
        index, inside = bind(Place(axis, length), index), True
    return bind(Gather(axis, not signed or bool(inside)), input, index)


@torch_function(torch.index_select, torch.Tensor.index_select)
def index_select(input: TensorT, dim: int, index: TensorT) -> TensorT:
    """Take the entries of ``dim`` that a vector of indices names.

    >>> index_select(torch.tensor([5, 6, 7]), 0, torch.tensor([2, 0]))
    tensor([7, 5])
    """
    axis = axis_of("index_select", dim, spec_of(input).rank)
    if spec_of(index).rank > 1:
        raise ShapeError(f"index_select: expected a vector of indices, got {spec_of(index)}")
    require_indices("index_select", spec_of(index))
    if not shape_of(input):
        return input
    return gather_along(input, reshape(index, -1), axis, signed=False)


@torch_function(torch.gather, torch.Tensor.gather)
def gather(input: TensorT, dim: int, index: TensorT, *, sparse_grad: bool = False) -> TensorT:
    """Take along ``dim`` the entry that ``index`` names, for each place of ``index``.

    >>> gather(torch.tensor([[1, 2], [3, 4]]), 1, torch.tensor([[1], [0]]))
    tensor([[2],
            [3]])
    """
    axis, result = axis_of("gather", dim, spec_of(input).rank), shape_of(index)
    if 0 in result:
        return full(result, 0, dtype=spec_of(input).dtype)
    input, index = (t if shape_of(t) else reshape(t, 1) for t in (input, index))
    shape, wanted = shape_of(input), shape_of(index)
    if len(shape) != len(wanted):
        raise ShapeError(f"gather: index has {len(wanted)} dims, input has {len(shape)}")
    sizes = tuple(s if i == axis else w for i, (s, w) in enumerate(zip(shape, wanted, strict=True)))
    require_no_larger("gather", index, input, axis)
    require_inside_known(index, axis, shape[axis], signed=False)
    input = slice_of(input, (0,) * len(shape), sizes, (1,) * len(shape))
    return reshape(bind(GatherElements(axis), input, index), result)


@torch_function(torch.nn.functional.embedding)
def embedding(
    input: TensorT,
    weight: TensorT,
    padding_idx: int | None = None,
    max_norm: float | None = None,
    norm_type: float = 2.0,
    scale_grad_by_freq: bool = False,
    sparse: bool = False,
) -> TensorT:
    """Look up the rows of a table; ``padding_idx`` matters only to gradients.

    >>> embedding(torch.tensor([1]), torch.tensor([[0.0, 1.0], [2.0, 3.0]]))
    tensor([[2., 3.]])
    """
    if not isinstance(weight, torch.Tensor) or not isinstance(input, torch.Tensor):
        raise DTypeError("embedding: expected two tensors, indices and table")
    if max_norm is not None:
        raise UnsupportedError("embedding: max_norm changes the table while it is read")
    if spec_of(weight).rank != 2:
        raise ShapeError(f"embedding: expected a table of rank 2, got {spec_of(weight)}")
    require_indices("embedding", spec_of(input))
    return gather_along(weight, input, 0, signed=False)


@torch_function(torch.embedding)
def rows_of(
    weight: TensorT,
    indices: TensorT,
    padding_idx: int = -1,
    scale_grad_by_freq: bool = False,
    sparse: bool = False,
) -> TensorT:
    """Look up the rows of a table that comes first, as ``torch.embedding`` has it."""
    return embedding(indices, weight)
