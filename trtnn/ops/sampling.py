"""Sampling at computed places: grids over images and volumes, and affine grids."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING, Any

import torch

from trtnn.errors import DTypeError, ShapeError, UnsupportedError
from trtnn.ops.arithmetic import (
    add,
    cast,
    eq,
    ge,
    gt,
    le,
    logical_and,
    maximum,
    minimum,
    mul,
    rsub,
    sub,
    tensor_of,
    where,
)
from trtnn.ops.creation import arange, full
from trtnn.ops.division import div
from trtnn.ops.indexing import index_select
from trtnn.ops.matrix import matmul
from trtnn.ops.movement import expand, permute, reshape, transpose, unsqueeze
from trtnn.ops.op import (
    Op,
    Spec,
    TensorT,
    as_sizes,
    bind,
    require_float,
    require_same_dtype,
    shape_of,
    spec_of,
    torch_function,
)
from trtnn.ops.slicing import cat, select
from trtnn.ops.unary import abs as magnitude
from trtnn.ops.unary import floor, round
from trtnn.sizes.dims import Size, decide
from trtnn.sizes.dims import maximum as largest
from trtnn.sizes.dims import product as volume

if TYPE_CHECKING:
    from trtnn.lower.network import ITensor, Net

__all__ = ["GridSample", "affine_grid", "cubic_weights", "grid_sample"]

MODES = {"bilinear": "LINEAR", "nearest": "NEAREST", "bicubic": "CUBIC"}
PADDINGS = {"zeros": "FILL", "border": "CLAMP", "reflection": "REFLECT"}
FLOAT = torch.float32


@dataclass(frozen=True, repr=False)
class GridSample(Op):
    """Sample x (N, C, H, W) at the places of a grid (N, H', W', 2); modes are TensorRT's names."""

    mode: str
    padding: str
    align_corners: bool

    def needs_decomposition(self, target: Any) -> bool:
        # How TensorRT rounds to the nearest, and which cubic it takes, its headers do not say.
        return "grid_sample" not in target.layers or self.mode != "LINEAR"

    def infer(self, x: Spec, grid: Spec) -> Spec:
        require_float("grid_sample", x)
        require_same_dtype("grid_sample", x, grid)
        return Spec((*x.shape[:2], *grid.shape[1:-1]), x.dtype)

    def reference(self, x: torch.Tensor, grid: torch.Tensor) -> torch.Tensor:
        mode = next(name for name, kind in MODES.items() if kind == self.mode)
        padding = next(name for name, kind in PADDINGS.items() if kind == self.padding)
        dtype = torch.promote_types(x.dtype, FLOAT)
        result = torch.nn.functional.grid_sample(
            x.to(dtype), grid.to(dtype), mode, padding, self.align_corners
        )
        return result.to(x.dtype)

    def lower(self, net: Net, x: ITensor, grid: Any) -> ITensor:
        return net.grid_sample(x, grid, self.mode, self.padding, self.align_corners)

    def decompose(self, x: TensorT, grid: TensorT) -> TensorT:
        """Return the weighted sum of the entries around each place."""
        return sampled(x, grid, self.mode, self.padding, self.align_corners)


def sampled(x: TensorT, grid: TensorT, mode: str, padding: str, align: bool) -> TensorT:
    """Compose the sampling of any number of spatial dims, in float32."""
    shape, dtype, around = shape_of(x), spec_of(x).dtype, shape_of(grid)[1:-1]
    sizes = shape[2:]
    batch, channels, places = shape[0], shape[1], volume(around)
    flat = reshape(cast(grid, FLOAT), (batch, places, len(sizes)))
    taps = [
        _taps(select(flat, 2, len(sizes) - 1 - axis), size, mode, padding, align)
        for axis, size in enumerate(sizes)
    ]
    order = (0, *range(2, len(shape)), 1)
    table = reshape(permute(cast(x, FLOAT), order), (batch * volume(sizes), channels))
    first = unsqueeze(mul(arange(batch), volume(sizes)), 1)
    total = None
    for corner in product(*taps):
        part = _corner(table, first, sizes, corner)
        total = part if total is None else add(total, part)
    assert total is not None
    result = reshape(permute(total, (0, 2, 1)), (batch, channels, *around))
    return cast(result, dtype)


Tap = tuple[TensorT, TensorT | None, TensorT | None]
"""Indices (N, P) along an axis, all inside; their weights; and which are meant, None for all."""


def _corner(
    table: TensorT, first: TensorT, sizes: Sequence[Size], corner: Sequence[Tap]
) -> TensorT:
    """Return the entries (N, P, C) at one corner of each place, times its weight."""
    index, weight, inside = corner[0]
    for size, (more, by, meant) in zip(sizes[1:], corner[1:], strict=True):
        index = add(mul(index, size), more)
        weight = by if weight is None else weight if by is None else mul(weight, by)
        inside = meant if inside is None else logical_and(inside, meant)
    batch, places = shape_of(index)
    rows = index_select(table, 0, reshape(add(index, first), (batch * places,)))
    entries = reshape(rows, (batch, places, shape_of(table)[1]))
    if inside is not None:
        entries = where(unsqueeze(inside, 2), entries, 0.0)
    return entries if weight is None else mul(entries, unsqueeze(weight, 2))


def _taps(place: TensorT, size: Size, mode: str, padding: str, align: bool) -> list[Tap]:
    """Return what each place (N, P) of a grid reads along one axis."""
    at = mul(add(place, 1.0), mul(number(size - 1 if align else size), 0.5))
    if not align:
        at = sub(at, 0.5)
    if mode == "CUBIC":
        low = floor(at)
        weights = cubic_weights(sub(at, low))
        steps = [add(low, float(step)) for step in (-1, 0, 1, 2)]
        return [
            _tap(_padded(step, size, padding, align), size, weight, padding)
            for step, weight in zip(steps, weights, strict=True)
        ]
    at = _padded(at, size, padding, align)
    if mode == "NEAREST":
        return [_tap(round(at), size, None, padding)]
    low = floor(at)
    behind = sub(at, low)
    return [
        _tap(low, size, rsub(behind, 1.0), padding),
        _tap(add(low, 1.0), size, behind, padding),
    ]


def number(size: Size) -> TensorT:
    """Return a size as a float32 scalar."""
    return cast(tensor_of(size), FLOAT)


def _tap(at: TensorT, size: Size, weight: TensorT | None, padding: str) -> Tap:
    """Return an entry to read; beyond the end, where only zeros have weight, the last one."""
    last = number(size - 1)
    inside = logical_and(ge(at, 0.0), le(at, last)) if padding == "FILL" else None
    return cast(_between(at, last), torch.int64), weight, inside


def _between(at: TensorT, last: TensorT) -> TensorT:
    return minimum(maximum(at, tensor_of(0.0)), last)


def _padded(at: TensorT, size: Size, padding: str, align: bool) -> TensorT:
    """Return places with those outside put inside, as ``padding`` says."""
    if padding == "FILL":
        return at
    last = number(size - 1)
    if padding == "REFLECT":
        low = 0.0 if align else -0.5
        span = number(largest(size - 1, 1) if align else size)
        away = magnitude(sub(at, low))
        times = floor(div(away, span))
        rest = sub(away, mul(times, span))
        odd = sub(times, mul(floor(mul(times, 0.5)), 2.0))
        at = add(where(eq(odd, 0.0), rest, sub(span, rest)), low)
    return _between(at, last)


def cubic_weights(behind: TensorT, a: float = -0.75) -> list[TensorT]:
    """Return the weights of the four entries around a place, ``behind`` the second of them."""

    def near(x: TensorT) -> TensorT:
        return add(mul(mul(sub(mul(x, a + 2), a + 3), x), x), 1.0)

    def far(x: TensorT) -> TensorT:
        return sub(mul(add(mul(sub(mul(x, a), 5 * a), x), 8 * a), x), 4 * a)

    before = rsub(behind, 1.0)
    return [far(add(behind, 1.0)), near(behind), near(before), far(add(before, 1.0))]


F = torch.nn.functional


@torch_function(F.grid_sample)
def grid_sample(
    input: TensorT,
    grid: TensorT,
    mode: str = "bilinear",
    padding_mode: str = "zeros",
    align_corners: bool | None = None,
) -> TensorT:
    """Sample (N, C, H, W) or (N, C, D, H, W) at the places of a grid (N, ..., 2 or 3).

    A place that is NaN or infinite reads another entry than in PyTorch.

    Raises:
        UnsupportedError: An unknown mode, or bicubic on volumes.

    >>> grid_sample(torch.tensor([[[[1.0, 2.0]]]]), torch.zeros(1, 1, 1, 2), align_corners=False)
    tensor([[[[1.5000]]]])
    """
    x, places = spec_of(input), spec_of(grid)
    if mode not in MODES or padding_mode not in PADDINGS or (mode == "bicubic" and x.rank != 4):
        raise UnsupportedError(
            f"grid_sample: mode {mode!r} with padding_mode {padding_mode!r} on {x}",
            hint=f"use {', '.join(MODES)} (the last on images only) with {', '.join(PADDINGS)}",
        )
    fits = x.rank in (4, 5) and places.rank == x.rank and places.shape[-1] == x.rank - 2
    if not fits or decide("ne", x.shape[0], places.shape[0]):
        raise ShapeError(f"grid_sample: the grid {places} does not fit {x}")
    if x.dtype != places.dtype or not x.dtype.is_floating_point:
        raise DTypeError(f"grid_sample: expected one floating dtype, got {x} and {places}")
    how = (MODES[mode], PADDINGS[padding_mode], bool(align_corners))
    return bind(GridSample(*how), input, grid) if x.rank == 4 else sampled(input, grid, *how)


@torch_function(torch.grid_sampler, torch.grid_sampler_2d, torch.grid_sampler_3d)
def grid_sampler(
    input: TensorT, grid: TensorT, interpolation_mode: int, padding_mode: int, align_corners: bool
) -> TensorT:
    """Sample at the places of a grid; modes are numbers, in the order that they are listed."""
    how = (list(MODES)[interpolation_mode], list(PADDINGS)[padding_mode])
    return grid_sample(input, grid, *how, align_corners)


@torch_function(F.affine_grid)
def affine_grid(theta: TensorT, size: Any, align_corners: bool | None = None) -> TensorT:
    """Return the grid (N, H, W, 2) or (N, D, H, W, 3) that matrices (N, 2, 3) or (N, 3, 4) give.

    >>> affine_grid(torch.eye(2, 3)[None], (1, 1, 1, 2), align_corners=True)
    tensor([[[[-1.,  0.],
              [ 1.,  0.]]]])
    """
    sizes, spec = as_sizes(size), spec_of(theta)
    require_float("affine_grid", spec)
    count = len(sizes) - 2
    if count not in (2, 3) or spec.rank != 3 or spec.shape[1:] != (count, count + 1):
        raise ShapeError(f"affine_grid: matrices {spec} do not fit the size {sizes}")
    axes = []
    for axis in reversed(range(count)):
        line = _line(sizes[2 + axis], bool(align_corners))
        shape = tuple(sizes[2 + axis] if i == axis else 1 for i in range(count))
        axes.append(expand(reshape(line, (*shape, 1)), (*sizes[2:], 1)))
    axes.append(full((*sizes[2:], 1), 1.0, dtype=FLOAT))
    base = reshape(cat(axes, count), (1, volume(sizes[2:]), count + 1))
    grid = matmul(cast(base, spec.dtype), transpose(theta, 1, 2))
    return reshape(grid, (spec.shape[0], *sizes[2:], count))


def _line(size: Size, align: bool) -> TensorT:
    """Return places from -1 to 1, of the middles of entries unless corners are aligned."""
    steps = mul(cast(arange(size), FLOAT), 2.0)
    if not align:
        return sub(div(add(steps, 1.0), number(size)), 1.0)
    line = sub(div(steps, number(largest(size - 1, 1))), 1.0)
    return line if decide("gt", size, 1) else where(gt(number(size), 1.0), line, 0.0)
