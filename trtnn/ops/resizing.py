"""Resizing of images and sequences."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import torch

from trtnn.errors import ShapeError, UnsupportedError
from trtnn.ops.movement import squeeze, unsqueeze
from trtnn.ops.op import (
    Op,
    Spec,
    TensorT,
    as_sizes,
    bind,
    require_float,
    shape_of,
    spec_of,
    torch_function,
)
from trtnn.ops.pooling import adaptive_avg_pool1d, adaptive_avg_pool2d
from trtnn.sizes.dims import Expr, Size, decide
from trtnn.sizes.reals import computed, rounded

if TYPE_CHECKING:
    from trtnn.lower.network import ITensor, Net

__all__ = ["Resize", "interpolate"]

MODES = {
    "nearest": ("NEAREST", (1, 2, 3)),
    "linear": ("LINEAR", (1,)),
    "bilinear": ("LINEAR", (2,)),
    "trilinear": ("LINEAR", (3,)),
    "bicubic": ("CUBIC", (2,)),
}


@dataclass(frozen=True, repr=False)
class Resize(Op):
    """Give the spatial dims of (N, C, ...) other sizes; mode and coordinates are TensorRT's."""

    size: tuple[Size, ...]
    mode: str
    coordinates: str

    def infer(self, x: Spec) -> Spec:
        require_float("interpolate", x)
        if x.rank != len(self.size) + 2:
            raise ShapeError(f"interpolate: {len(self.size)} sizes do not fit {x}")
        if any(decide("le", size, 0) for size in self.size):
            raise ShapeError(f"interpolate: sizes {self.size} must be positive")
        return Spec((*x.shape[:2], *self.size), x.dtype)

    def reference(self, x: torch.Tensor) -> torch.Tensor:
        count = len(self.size)
        names = {"LINEAR": {2: "bilinear", 3: "trilinear"}, "CUBIC": {2: "bicubic"}}
        mode = "nearest" if self.mode == "NEAREST" else names[self.mode][count]
        align = None if mode == "nearest" else self.coordinates == "ALIGN_CORNERS"
        size = [int(str(s)) for s in self.size]
        return torch.nn.functional.interpolate(x, size, mode=mode, align_corners=align)

    def lower(self, net: Net, x: ITensor) -> ITensor:
        return net.resize(x, (*x.shape[:2], *self.size), self.mode, self.coordinates)


def _sizes(shape: tuple[Size, ...], factor: Any, by_sizes: bool) -> tuple[Size, ...]:
    """Return the sizes that a scale factor gives, where coordinates follow from them.

    PyTorch computes coordinates with the factor itself, TensorRT with the ratio of the sizes.
    """
    factors = factor if isinstance(factor, (tuple, list)) else (factor,) * len(shape)
    if len(factors) != len(shape):
        raise ShapeError(f"interpolate: {len(factors)} scale factors for {len(shape)} dims")
    result: list[Size] = []
    for size, scale in zip(shape, factors, strict=True):
        new = rounded("trunc", computed("mul", size, float(scale)))
        if not by_sizes and not _is_ratio(float(scale), size, new):
            raise UnsupportedError(
                f"interpolate: {size} times {scale} is not shown to be a whole number, and so "
                f"coordinates by the factor and by the sizes differ",
                hint="give size=, or recompute_scale_factor=True",
            )
        result.append(new)
    return tuple(result)


def _is_ratio(scale: float, size: Size, new: Size) -> bool:
    """Say whether ``1 / scale`` is ``size / new`` in float32, as coordinates are computed."""
    exact = Fraction(scale)
    if decide("eq", new * exact.denominator, size * exact.numerator):
        return True
    if isinstance(size, Expr) or isinstance(new, Expr) or new < 1:
        return False
    inverse = torch.tensor(1 / scale, dtype=torch.float32)
    return bool(torch.tensor(float(size)) / torch.tensor(float(new)) == inverse)


@torch_function(torch.nn.functional.interpolate)
def interpolate(
    input: TensorT,
    size: Any = None,
    scale_factor: Any = None,
    mode: str = "nearest",
    align_corners: bool | None = None,
    recompute_scale_factor: bool | None = None,
    antialias: bool = False,
) -> TensorT:
    """Resize the spatial dims of (N, C, ...) to ``size``, or by ``scale_factor``.

    Raises:
        UnsupportedError: ``antialias``, ``nearest-exact``, or a factor that gives no whole size.

    >>> interpolate(torch.tensor([[[1.0, 2.0]]]), scale_factor=2)
    tensor([[[1., 1., 2., 2.]]])
    """
    shape = shape_of(input)[2:]
    count = len(shape)
    if antialias:
        raise UnsupportedError("interpolate: antialias has no layer in TensorRT")
    if mode != "area" and (mode not in MODES or count not in MODES[mode][1]):
        raise UnsupportedError(
            f"interpolate: mode {mode!r} on {spec_of(input)}", hint=f"use {', '.join(MODES)}"
        )
    if (size is None) == (scale_factor is None):
        raise ShapeError("interpolate: expected either size or scale_factor")
    if size is not None:
        given = as_sizes(size)
        wanted = given * count if len(given) == 1 else given
    else:
        by_sizes = bool(recompute_scale_factor) or bool(align_corners) or mode == "area"
        wanted = _sizes(shape, scale_factor, by_sizes)
    if len(wanted) != count:
        raise ShapeError(f"interpolate: {len(wanted)} sizes for {count} spatial dims")
    if mode == "area":
        if count > 2:
            raise UnsupportedError("interpolate: mode 'area' on three spatial dims")
        return (adaptive_avg_pool1d if count == 1 else adaptive_avg_pool2d)(input, wanted)
    if wanted == shape:
        return input
    kind = MODES[mode][0]
    coordinates = "ALIGN_CORNERS" if align_corners else "HALF_PIXEL"
    coordinates = "ASYMMETRIC" if kind == "NEAREST" else coordinates
    if count == 1:
        wide = bind(Resize((1, *wanted), kind, coordinates), unsqueeze(input, 2))
        return squeeze(wide, 2)
    return bind(Resize(wanted, kind, coordinates), input)
