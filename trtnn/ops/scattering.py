"""Writing to places that indices name: TensorRT's Scatter layer, and what duplicates add up to."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from trtnn.errors import DTypeError, ShapeError, UnsupportedError
from trtnn.ops.arithmetic import add, cast, eq, maximum, minimum, mul, tensor_of, where
from trtnn.ops.creation import arange
from trtnn.ops.division import div
from trtnn.ops.indexing import (
    Gather,
    from_front,
    require_indices,
    require_inside,
    require_inside_known,
)
from trtnn.ops.movement import expand, flatten, reshape, unsqueeze
from trtnn.ops.op import Op, Spec, TensorT, axis_of, bind, shape_of, spec_of, torch_function
from trtnn.ops.reduction import amax, amin, any, prod, sum
from trtnn.ops.slicing import along, cat, known_of, require_no_larger, slice_of
from trtnn.sizes.dims import Size, bounds, product

if TYPE_CHECKING:
    from trtnn.lower.network import ITensor, Net

__all__ = [
    "Scatter",
    "index_add",
    "index_copy",
    "index_fill",
    "scatter",
    "scatter_add",
    "scatter_reduce",
]

T = torch.Tensor
MOST = 2**31 - 1  # entries of a tensor of TensorRT's


@dataclass(frozen=True, repr=False)
class Scatter(Op):
    """A copy of x with updates at the places that indices name.

    Along ``axis``, indices and updates have one shape; without one (ND), each row of indices
    names places in the leading dims. Indices count from the front. Which of several updates of
    one place is kept is not defined, in PyTorch as in TensorRT; an index out of range raises in
    the reference, as in PyTorch, and raises nothing in an engine.
    """

    axis: int | None

    def infer(self, x: Spec, indices: Spec, updates: Spec) -> Spec:
        require_indices("scatter", indices)
        if x.dtype != updates.dtype:
            raise DTypeError(f"scatter: expected one dtype, got {x.dtype} and {updates.dtype}")
        wanted = indices.shape
        if self.axis is None:
            depth = indices.shape[-1]
            assert isinstance(depth, int)
            wanted = (*indices.shape[:-1], *x.shape[depth:])
        if updates.shape != wanted:
            raise ShapeError(f"scatter: updates {updates} do not fit indices {indices} of {x}")
        return x

    def reference(
        self, x: torch.Tensor, indices: torch.Tensor, updates: torch.Tensor
    ) -> torch.Tensor:
        indices, updates = indices.long(), updates.to(x.device)
        if self.axis is not None:
            require_inside(self.axis, indices, x.shape[self.axis], 0)
            return torch.scatter(x, self.axis, indices, updates)
        rows = indices.unbind(-1)
        for axis, places in enumerate(rows):
            require_inside(axis, places, x.shape[axis], 0)
        return x.index_put(rows, updates)

    def lower(self, net: Net, x: ITensor, indices: ITensor, updates: ITensor) -> ITensor:
        return net.scatter(x, indices, updates, self.axis)


def put_along(input: TensorT, axis: int, index: TensorT, new: TensorT) -> TensorT:
    """Put the entries of ``new`` along ``axis`` at the places of a vector, counted from the front.

    Where these are known, a Gather picks from old and new ones: no place is written at run time.
    """
    shape, (count,) = shape_of(input), shape_of(index)
    if known_of(index) is not None and isinstance(shape[axis], int):
        places = arange(shape[axis])
        later = arange(shape[axis], shape[axis] + count)
        chosen = bind(Scatter(0), places, cast(index, torch.int64), later)
        return bind(Gather(axis, True), cat((input, new), axis), chosen)
    index = cast(index, torch.int32)  # before it is expanded: TensorRT's layer takes no other
    if axis == 0:
        return bind(Scatter(None), input, unsqueeze(index, 1), new)
    return bind(
        Scatter(axis), input, expand(along_axis(index, axis, len(shape)), shape_of(new)), new
    )


def along_axis(vector: TensorT, axis: int, rank: int) -> TensorT:
    """Return a vector as a tensor of ``rank`` whose entries lie along ``axis``."""
    return reshape(vector, (*(1,) * axis, -1, *(1,) * (rank - 1 - axis)))


# Reductions: each index is compared with each place, because no layer adds up what meets there.

REDUCTIONS: dict[str, Callable[..., TensorT]] = {
    "sum": sum, "mean": sum, "prod": prod, "amax": amax, "amin": amin,
}  # fmt: skip
COMBINED: dict[str, Callable[..., TensorT]] = {
    "sum": add, "mean": add, "prod": mul, "amax": maximum, "amin": minimum,
}  # fmt: skip


def reduced_along(
    kind: str, input: TensorT, axis: int, index: TensorT, new: TensorT, *, include_self: bool = True
) -> TensorT:
    """Reduce what ``new`` has for each place along ``axis``, the old entry too if it is included.

    ``index`` broadcasts to ``new``; all other dims are those of ``input``.

    Raises:
        UnsupportedError: The table of indices and places has more entries than a tensor.
    """
    shape, dtype = shape_of(input), spec_of(input).dtype
    if dtype == torch.bool:
        raise UnsupportedError(f"{kind} at indices of {dtype}", hint="convert with .int()")
    size = product((shape[axis], *shape_of(new)))
    if bounds(size)[1] > MOST:
        raise UnsupportedError(
            f"{kind} at indices: compares each of {product(shape_of(new))} entries with each of "
            f"{shape[axis]} places; of {size} entries, TensorRT takes no tensor above {MOST}",
            hint="reduce in parts, or sort the entries and sum in PyTorch",
        )
    places = unsqueeze(along_axis(arange(shape[axis]), axis, len(shape)), axis + 1)
    met = eq(unsqueeze(index, axis), places)
    entries = unsqueeze(new, axis)
    kept = where(met, entries, _neutral(kind, new))
    result = REDUCTIONS[kind](kept, axis + 1, **_in(kind, dtype))
    if include_self:
        result = COMBINED[kind](input, result)
    if kind == "mean":
        ones = cast(expand(met, shape_of(kept)), torch.int64)
        total = sum(ones, axis + 1)
        total = add(total, 1) if include_self else maximum(total, 1)
        whole = None if dtype.is_floating_point else "floor"
        result = cast(div(result, cast(total, dtype), rounding_mode=whole), dtype)
    if kind in ("sum", "prod") and include_self:
        return result
    return where(any(met, axis + 1), result, input)


def _in(kind: str, dtype: torch.dtype) -> dict[str, Any]:
    return {"dtype": dtype} if kind in ("sum", "mean", "prod") else {}


def _neutral(kind: str, new: TensorT) -> TensorT:
    """Return what changes no reduction: of integers, an extreme of all there are."""
    dtype = spec_of(new).dtype
    if kind in ("sum", "mean", "prod"):
        return torch.tensor(int(kind == "prod"), dtype=dtype)
    if dtype.is_floating_point:
        return torch.tensor(-math.inf if kind == "amax" else math.inf, dtype=dtype)
    return (amin if kind == "amax" else amax)(flatten(new), 0)


# PyTorch's functions ----------------------------------------------------------------------------


def _scattered(
    function: str, input: TensorT, dim: int, index: TensorT, source: Any
) -> tuple[TensorT, int, TensorT, TensorT, bool]:
    """Return input, axis, index and source of one shape, and whether anything is written."""
    dtype = spec_of(input).dtype
    axis = axis_of(function, dim, spec_of(input).rank)
    require_indices(function, spec_of(index))
    if not isinstance(source, torch.Tensor):
        source = expand(cast(tensor_of(source, dtype), dtype), shape_of(index))
    if spec_of(source).dtype != dtype:
        raise DTypeError(f"{function}: expected src of {dtype}, got {spec_of(source).dtype}")
    input, index, source = (reshape(t, 1) if not shape_of(t) else t for t in (input, index, source))
    shape, wanted = shape_of(input), shape_of(index)
    if 0 in wanted:
        return input, axis, index, source, False
    if not len(shape) == len(wanted) == spec_of(source).rank:
        raise ShapeError(
            f"{function}: input, index and src have {len(shape)}, {len(wanted)} and "
            f"{spec_of(source).rank} dims"
        )
    require_no_larger(function, index, source, None)
    require_no_larger(function, index, input, axis)
    require_inside_known(index, axis, shape[axis], signed=False)
    zeros, ones = (0,) * len(shape), (1,) * len(shape)
    return input, axis, index, slice_of(source, zeros, wanted, ones), True


@torch_function(torch.scatter, T.scatter)
def scatter(
    input: TensorT,
    dim: int,
    index: TensorT,
    src: Any = None,
    *,
    value: Any = None,
    reduce: str | None = None,
) -> TensorT:
    """Write each entry of ``src``, or a number, where ``index`` says along ``dim``.

    Which of several entries for one place is kept is not defined, as in PyTorch.

    >>> scatter(torch.zeros(3), 0, torch.tensor([2, 0]), torch.tensor([1.0, 2.0]))
    tensor([2., 0., 1.])
    """
    source = value if src is None else src
    kinds = {None: None, "add": "sum", "multiply": "prod"}
    if reduce not in kinds:
        raise UnsupportedError(f"scatter: expected reduce 'add' or 'multiply', got {reduce!r}")
    if reduce is not None:
        return _reduced("scatter", kinds[reduce], input, dim, index, source)
    x, axis, places, updates, writes = _scattered("scatter", input, dim, index, source)
    result = bind(Scatter(axis), x, places, updates) if writes else x
    return reshape(result, shape_of(input))


@torch_function(torch.scatter_add, T.scatter_add)
def scatter_add(input: TensorT, dim: int, index: TensorT, src: TensorT) -> TensorT:
    """Add each entry of ``src`` where ``index`` says along ``dim``, duplicates too.

    >>> scatter_add(torch.zeros(3), 0, torch.tensor([2, 2]), torch.tensor([1.0, 2.0]))
    tensor([0., 0., 3.])
    """
    return _reduced("scatter_add", "sum", input, dim, index, src)


@torch_function(torch.scatter_reduce, T.scatter_reduce)
def scatter_reduce(
    input: TensorT,
    dim: int,
    index: TensorT,
    src: TensorT,
    reduce: str,
    *,
    include_self: bool = True,
) -> TensorT:
    """Reduce what ``src`` has for each place along ``dim``: sum, prod, mean, amax or amin.

    >>> x, i = torch.ones(2), torch.tensor([1, 1])
    >>> scatter_reduce(x, 0, i, torch.tensor([2.0, 4.0]), "mean", include_self=False)
    tensor([1., 3.])
    """
    return _reduced("scatter_reduce", reduce, input, dim, index, src, include_self=include_self)


def _reduced(
    function: str,
    kind: str | None,
    input: TensorT,
    dim: int,
    index: TensorT,
    source: Any,
    *,
    include_self: bool = True,
) -> TensorT:
    if kind not in REDUCTIONS:
        raise UnsupportedError(f"{function}: expected one of {', '.join(REDUCTIONS)}, got {kind!r}")
    x, axis, places, updates, writes = _scattered(function, input, dim, index, source)
    if not writes:
        return input
    shape, wanted = shape_of(x), shape_of(places)
    zeros, ones = (0,) * len(shape), (1,) * len(shape)
    reach = (*wanted[:axis], shape[axis], *wanted[axis + 1 :])
    inner = slice_of(x, zeros, reach, ones)
    new = reduced_along(kind, inner, axis, places, updates, include_self=include_self)
    return reshape(replaced(x, zeros, reach, ones, new), shape_of(input))


def replaced(
    input: TensorT,
    start: tuple[Size, ...],
    size: tuple[Size, ...],
    stride: tuple[Size, ...],
    new: TensorT,
    axis: int = 0,
) -> TensorT:
    """Return ``input`` with ``new`` in the place of a slice of it; strides are positive."""
    shape = shape_of(input)
    if axis == len(shape):
        return new
    first, count, step = start[axis], size[axis], stride[axis]
    if first == 0 and count == shape[axis] and step == 1:
        return replaced(input, start, size, stride, new, axis + 1)
    middle = along(input, axis, first, count, step)
    inner = replaced(middle, start, size, stride, new, axis + 1)
    if step != 1:
        return _interleaved(input, inner, axis, first, step)
    end = first + count
    parts = [inner]
    if first != 0:
        parts.insert(0, along(input, axis, 0, first))
    if shape[axis] != end:
        parts.append(along(input, axis, end, shape[axis] - end))
    return cat(parts, axis)


def _interleaved(input: TensorT, new: TensorT, axis: int, start: Size, step: Size) -> TensorT:
    """Put the entries of ``new`` at every ``step``-th place of ``axis`` from ``start`` on."""
    length, count = shape_of(input)[axis], shape_of(new)[axis]
    places, first, every = arange(length), tensor_of(start), tensor_of(step)
    turn = div(maximum(places - first, 0), every, rounding_mode="floor")
    hit = (turn * every + first == places) & (turn < tensor_of(count))
    chosen = where(hit, turn + tensor_of(length), places)
    return bind(Gather(axis, True), cat((input, new), axis), chosen)


def _vector(
    function: str, input: TensorT, dim: int, index: TensorT
) -> tuple[TensorT, int, TensorT]:
    """Return input and the axis of a function that takes a vector of indices, and these."""
    require_indices(function, spec_of(index))
    if spec_of(index).rank > 1:
        raise ShapeError(f"{function}: expected a vector of indices, got {spec_of(index)}")
    axis = axis_of(function, dim, spec_of(input).rank)
    input = input if shape_of(input) else reshape(input, 1)
    return input, axis, reshape(index, -1)


def _fitted(function: str, input: TensorT, axis: int, index: TensorT, source: TensorT) -> TensorT:
    """Return the source of a function that takes one slice of it for each index."""
    shape = shape_of(input)
    if spec_of(source).dtype != spec_of(input).dtype:
        raise DTypeError(
            f"{function}: expected source of {spec_of(input).dtype}, got {spec_of(source).dtype}"
        )
    wanted = (*shape[:axis], *shape_of(index), *shape[axis + 1 :])
    if shape_of(source) != wanted and not (not shape_of(source) and product(wanted) == 1):
        raise ShapeError(f"{function}: source {spec_of(source)} does not have the shape {wanted}")
    return reshape(source, wanted)


@torch_function(torch.index_copy, T.index_copy)
def index_copy(input: TensorT, dim: int, index: TensorT, source: TensorT) -> TensorT:
    """Put the slices of ``source`` at the places of a vector along ``dim``.

    Which of several slices for one place is kept is not defined, as in PyTorch.

    >>> index_copy(torch.zeros(3), 0, torch.tensor([2]), torch.ones(1))
    tensor([0., 0., 1.])
    """
    x, axis, places = _vector("index_copy", input, dim, index)
    require_inside_known(places, axis, shape_of(x)[axis], signed=False)
    new = _fitted("index_copy", x, axis, places, source)
    return reshape(put_along(x, axis, places, new), shape_of(input))


@torch_function(torch.index_add, T.index_add)
def index_add(
    input: TensorT, dim: int, index: TensorT, source: TensorT, *, alpha: Any = 1
) -> TensorT:
    """Add the slices of ``source`` at the places of a vector along ``dim``, duplicates too.

    >>> index_add(torch.zeros(3), 0, torch.tensor([2, 2]), torch.ones(2))
    tensor([0., 0., 2.])
    """
    return _index_reduced("sum", input, dim, index, source if alpha == 1 else mul(source, alpha))


@torch_function(torch.index_reduce, T.index_reduce)
def index_reduce(
    input: TensorT,
    dim: int,
    index: TensorT,
    source: TensorT,
    reduce: str,
    *,
    include_self: bool = True,
) -> TensorT:
    """Reduce the slices of ``source`` at the places of a vector: prod, mean, amax or amin."""
    if reduce not in REDUCTIONS or reduce == "sum":
        raise UnsupportedError(f"index_reduce: expected prod, mean, amax or amin, got {reduce!r}")
    return _index_reduced(reduce, input, dim, index, source, include_self=include_self)


def _index_reduced(
    kind: str,
    input: TensorT,
    dim: int,
    index: TensorT,
    source: TensorT,
    *,
    include_self: bool = True,
) -> TensorT:
    function = "index_add" if kind == "sum" else "index_reduce"
    x, axis, places = _vector(function, input, dim, index)
    require_inside_known(places, axis, shape_of(x)[axis], signed=False)
    new = _fitted(function, x, axis, places, source)
    if 0 in shape_of(new):
        return input
    across = along_axis(places, axis, spec_of(x).rank)
    result = reduced_along(kind, x, axis, across, new, include_self=include_self)
    return reshape(result, shape_of(input))


@torch_function(torch.index_fill, T.index_fill)
def index_fill(input: TensorT, dim: int, index: TensorT, value: Any) -> TensorT:
    """Put a number at the places of a vector along ``dim``.

    >>> index_fill(torch.zeros(3), 0, torch.tensor([0, -1]), 1)
    tensor([1., 0., 1.])
    """
    x, axis, places = _vector("index_fill", input, dim, index)
    dtype = spec_of(x).dtype
    value = tensor_of(value, dtype)
    if shape_of(value):
        raise ShapeError(f"index_fill: expected a number or a scalar, got {spec_of(value)}")
    if 0 in shape_of(places):
        return input
    front = from_front(places, axis, shape_of(x)[axis])
    met = any(eq(unsqueeze(front, 0), unsqueeze(arange(shape_of(x)[axis]), 1)), 1)
    result = where(along_axis(met, axis, spec_of(x).rank), cast(value, dtype), x)
    return reshape(result, shape_of(input))
