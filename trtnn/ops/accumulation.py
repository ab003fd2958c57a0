"""Running sums and differences along an axis."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from trtnn.errors import ShapeError, UnsupportedError
from trtnn.ops.arithmetic import (
    add,
    cast,
    eq,
    ge,
    gt,
    le,
    logical_and,
    logical_or,
    logical_xor,
    lt,
    mul,
    ne,
    promote,
    sub,
    where,
)
from trtnn.ops.creation import arange, zeros
from trtnn.ops.division import div
from trtnn.ops.movement import reshape, unsqueeze
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
)
from trtnn.ops.reduction import amax, amin, logsumexp, prod, sum
from trtnn.ops.slicing import along, cat, narrow, select
from trtnn.sizes.dims import decide

if TYPE_CHECKING:
    from trtnn.lower.network import ITensor, Net

__all__ = [
    "Cumulative", "cummax", "cummin", "cumprod", "cumsum", "cumulative_trapezoid", "diff",
    "logcumsumexp", "trapezoid",
]  # fmt: skip

T = torch.Tensor
PARTS = {(False, False): le, (True, False): lt, (False, True): ge, (True, True): gt}
"""Which entries are added, before a place: by whether exclusive, and whether in reverse."""


@dataclass(frozen=True, repr=False)
class Cumulative(Op):
    """The sum of all entries up to each, along ``axis``; ``exclusive`` of its own.

    ``reverse`` begins at the end.
    """

    axis: int
    exclusive: bool = False
    reverse: bool = False

    def needs_decomposition(self, target: Any) -> bool:
        return "cumulative" not in target.layers

    def infer(self, x: Spec) -> Spec:
        if not x.shape or x.dtype == torch.bool:
            raise UnsupportedError(f"cumsum: expected numbers along a dim, got {x}")
        return x

    def reference(self, x: torch.Tensor) -> torch.Tensor:
        x = x.flip(self.axis) if self.reverse else x
        if self.exclusive:
            size = x.shape[self.axis]
            first = torch.zeros_like(x.narrow(self.axis, 0, min(size, 1)))
            x = torch.cat((first, x.narrow(self.axis, 0, max(size - 1, 0))), self.axis)
        total = torch.cumsum(x, self.axis, dtype=x.dtype)
        return total.flip(self.axis) if self.reverse else total

    def lower(self, net: Net, x: ITensor) -> ITensor:
        return net.cumulative(x, self.axis, self.exclusive, self.reverse)

    def decompose(self, x: TensorT) -> TensorT:
        """Return the sum of what a triangle keeps: unlike a product, exact for integers and inf."""
        compare = PARTS[self.exclusive, self.reverse]
        rows, kept = _triangle(x, self.axis, compare)
        zero = torch.zeros((), dtype=spec_of(x).dtype)
        return sum(where(kept, rows, zero), self.axis + 1, dtype=zero.dtype)


@torch_function(torch.cumsum, T.cumsum)
def cumsum(input: TensorT, dim: int, *, dtype: Any = None) -> TensorT:
    """Sum up along ``dim``; integers and bools in int64.

    >>> cumsum(torch.tensor([1, 2, 3]), 0)
    tensor([1, 3, 6])
    """
    spec = spec_of(input)
    axis = axis_of("cumsum", dim, spec.rank)
    wanted = dtype or (spec.dtype if spec.dtype.is_floating_point else torch.int64)
    x = cast(input, wanted)
    return x if spec.rank == 0 else bind(Cumulative(axis), x)


@torch_function(torch.diff, T.diff)
def diff(
    input: TensorT, n: int = 1, dim: int = -1, prepend: Any = None, append: Any = None
) -> TensorT:
    """Subtract from each entry along ``dim`` the one before, ``n`` times.

    >>> diff(torch.tensor([1, 4, 9]))
    tensor([3, 5])
    """
    axis = axis_of("diff", dim, spec_of(input).rank)
    if not shape_of(input):
        raise ShapeError("diff: expected at least one dim, got a scalar")
    if n == 0:
        return input
    parts = [part for part in (prepend, input, append) if part is not None]
    x = cat(parts, axis) if len(parts) > 1 else input
    for _ in range(n):
        size = shape_of(x)[axis]
        if decide("eq", size, 0):
            return x
        if decide("ge", size, 1) is not True:
            raise ShapeError(f"diff: size {size} of dim {axis} may be 0", hint="narrow its Dim")
        after, before = narrow(x, axis, 1, size - 1), narrow(x, axis, 0, size - 1)
        both = spec_of(x).dtype == torch.bool
        x = logical_xor(after, before) if both else sub(after, before)
    return x


def _triangle(
    input: TensorT, axis: int, compare: Callable[[TensorT, TensorT], TensorT] = le
) -> tuple[TensorT, TensorT]:
    """Return a tensor with a dim before ``axis``, and which entries along ``axis + 1`` come up to
    each place along ``axis``."""
    shape = shape_of(input)
    places = arange(shape[axis])
    kept = compare(unsqueeze(places, 0), unsqueeze(places, 1))
    after = (1,) * (len(shape) - 1 - axis)
    return unsqueeze(input, axis), reshape(kept, (*(shape[axis],) * 2, *after))


@torch_function(torch.cumprod, T.cumprod)
def cumprod(input: TensorT, dim: int, *, dtype: Any = None) -> TensorT:
    """Multiply up along ``dim``; integers and bools in int64.

    >>> cumprod(torch.tensor([1, 2, 3]), 0)
    tensor([1, 2, 6])
    """
    spec = spec_of(input)
    axis = axis_of("cumprod", dim, spec.rank)
    x = cast(input, dtype or (spec.dtype if spec.dtype.is_floating_point else torch.int64))
    if spec.rank == 0:
        return x
    rows, kept = _triangle(x, axis)
    factors = where(kept, rows, torch.ones((), dtype=spec_of(x).dtype))
    return prod(factors, axis + 1, dtype=spec_of(x).dtype)


def _running(function: str, largest: bool, input: TensorT, dim: int) -> tuple[TensorT, TensorT]:
    """Return the extreme of all entries up to each, and the last place up to there that has it."""
    spec = spec_of(input)
    axis = axis_of(function, dim, spec.rank)
    if spec.rank == 0:
        return input, torch.zeros((), dtype=torch.int64)
    if 0 in spec.shape:
        return input, zeros(spec.shape, dtype=torch.int64)
    x = cast(input, torch.int32) if spec.dtype == torch.bool else input
    rows, kept = _triangle(x, axis)
    first = along(rows, axis + 1, 0, 1)  # which is among those up to any place
    best = (amax if largest else amin)(where(kept, rows, first), axis + 1)
    here = logical_and(kept, logical_or(eq(rows, unsqueeze(best, axis + 1)), ne(rows, rows)))
    places = reshape(arange(spec.shape[axis]), (-1, *(1,) * (spec.rank - 1 - axis)))
    found = amax(where(here, places, torch.tensor(0)), axis + 1)
    return cast(best, spec.dtype), found


@torch_function(torch.cummax, T.cummax)
def cummax(input: TensorT, dim: int) -> Any:
    """Take the largest of all entries up to each along ``dim``, and its place, the last of equals.

    >>> cummax(torch.tensor([1, 3, 2, 3]), 0).indices
    tensor([0, 1, 1, 3])
    """
    return torch.return_types.cummax(_running("cummax", True, input, dim))


@torch_function(torch.cummin, T.cummin)
def cummin(input: TensorT, dim: int) -> Any:
    """Take the smallest of all entries up to each along ``dim``, and its place."""
    return torch.return_types.cummin(_running("cummin", False, input, dim))


@torch_function(torch.logcumsumexp, T.logcumsumexp)
def logcumsumexp(input: TensorT, dim: int) -> TensorT:
    """Compute ``log(sum(exp(x)))`` of all entries up to each, in float32 and without overflow."""
    spec = spec_of(input)
    require_float("logcumsumexp", spec)
    axis = axis_of("logcumsumexp", dim, spec.rank)
    if spec.rank == 0:
        return input
    rows, kept = _triangle(cast(input, torch.float32), axis)
    masked = where(kept, rows, torch.tensor(-math.inf))
    return cast(logsumexp(masked, axis + 1), spec.dtype)


def _strips(y: TensorT, x: Any, dx: Any, dim: int) -> tuple[TensorT, int]:
    """Return twice the areas below a line, between each two points along an axis."""
    rank = spec_of(y).rank
    axis = axis_of("trapezoid", dim, rank)
    size = shape_of(y)[axis]
    if decide("ge", size, 1) is not True:
        raise UnsupportedError(f"trapezoid: size {size} of dim {axis} may be 0")
    heights = add(narrow(y, axis, 1, size - 1), narrow(y, axis, 0, size - 1))
    if x is None:
        return mul(heights, dx), axis
    own = spec_of(x).rank
    places = reshape(x, (-1, *(1,) * (rank - 1 - axis))) if own == 1 else x
    return mul(diff(places, dim=axis - rank), heights), axis


@torch_function(torch.trapezoid, torch.trapz)
def trapezoid(y: TensorT, x: Any = None, *, dx: Any = 1, dim: int = -1) -> TensorT:
    """Compute the area below a line along ``dim``, of points ``dx`` apart, or at ``x``.

    >>> trapezoid(torch.tensor([0.0, 1.0, 2.0]))
    tensor(2.)
    """
    if shape_of(y)[axis_of("trapezoid", dim, spec_of(y).rank)] == 0:
        return sum(promote(y, floating=True)[0], dim)
    if x is None:  # as PyTorch computes it, which shows where an end is infinite
        (y,) = promote(y, floating=True)
        ends = add(select(y, dim, 0), select(y, dim, -1))
        return mul(sub(sum(y, dim), mul(ends, 0.5)), dx)
    strips, axis = _strips(y, x, dx, dim)
    return div(sum(strips, axis - spec_of(y).rank), 2.0)


@torch_function(torch.cumulative_trapezoid)
def cumulative_trapezoid(y: TensorT, x: Any = None, *, dx: Any = 1, dim: int = -1) -> TensorT:
    """Compute the area below a line up to each point but the first."""
    strips, axis = _strips(y, x, dx, dim)
    return div(cumsum(strips, axis - spec_of(y).rank), 2.0)
