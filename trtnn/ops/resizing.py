"""Resizing of images and sequences."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import torch

from trtnn.errors import ShapeError, UnsupportedError
from trtnn.ops.adaptive import adaptive_avg_pool1d, adaptive_avg_pool2d, adaptive_avg_pool3d
from trtnn.ops.arithmetic import add, cast, maximum, minimum, mul, rsub, sub, tensor_of
from trtnn.ops.creation import arange
from trtnn.ops.indexing import index_select
from trtnn.ops.matrix import matmul
from trtnn.ops.movement import reshape, squeeze, unsqueeze
from trtnn.ops.op import (
    Op,
    Spec,
    TensorT,
    as_sizes,
    bind,
    refuse_integers,
    require_float,
    shape_of,
    spec_of,
    torch_function,
)
from trtnn.ops.sampling import cubic_weights, number
from trtnn.ops.unary import floor
from trtnn.sizes.dims import Expr, Size, decide
from trtnn.sizes.reals import computed, rounded

if TYPE_CHECKING:
    from trtnn.lower.network import ITensor, Net

__all__ = ["Resize", "interpolate"]

MODES = {
    "nearest": ("NEAREST", (1, 2, 3)),
    "nearest-exact": ("NEAREST", (1, 2, 3)),
    "linear": ("LINEAR", (1,)),
    "bilinear": ("LINEAR", (2,)),
    "trilinear": ("LINEAR", (3,)),
    "bicubic": ("CUBIC", (2,)),
    "area": ("AREA", (1, 2, 3)),
}
AREAS = (adaptive_avg_pool1d, adaptive_avg_pool2d, adaptive_avg_pool3d)


@dataclass(frozen=True, repr=False)
class Resize(Op):
    """Give the spatial dims of (N, C, ...) other sizes; mode and coordinates are TensorRT's.

    The nearest entry is the one before, or with HALF_PIXEL the one whose middle is nearest, of
    two the later.
    """

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
        if self.mode == "NEAREST":
            mode = "nearest-exact" if self.coordinates == "HALF_PIXEL" else "nearest"
        else:
            mode = names[self.mode][count]
        align = None if self.mode == "NEAREST" else self.coordinates == "ALIGN_CORNERS"
        size = [int(str(s)) for s in self.size]
        return torch.nn.functional.interpolate(x, size, mode=mode, align_corners=align)

    def lower(self, net: Net, x: ITensor) -> ITensor:
        return net.resize(x, (*x.shape[:2], *self.size), self.mode, self.coordinates)


def _wanted(
    shape: tuple[Size, ...], size: Any, scale_factor: Any
) -> tuple[tuple[Size, ...], tuple[float, ...] | None]:
    """Return the sizes asked for, and the factor of each where factors are given."""
    if (size is None) == (scale_factor is None):
        raise ShapeError("interpolate: expected either size or scale_factor")
    count = len(shape)
    if size is not None:
        given = as_sizes(size)
        sizes = given * count if len(given) == 1 else given
        if len(sizes) != count:
            raise ShapeError(f"interpolate: {len(sizes)} sizes for {count} spatial dims")
        return sizes, None
    many = isinstance(scale_factor, (tuple, list))
    factors = tuple(map(float, scale_factor)) if many else (float(scale_factor),) * count
    if len(factors) != count:
        raise ShapeError(f"interpolate: {len(factors)} scale factors for {count} dims")
    pairs = zip(shape, factors, strict=True)
    return tuple(rounded("trunc", computed("mul", s, n)) for s, n in pairs), factors


def _is_ratio(scale: float, size: Size, new: Size) -> bool:
    """Say whether ``1 / scale`` is ``size / new`` in float32, as coordinates are computed."""
    exact = Fraction(scale)
    if decide("eq", new * exact.denominator, size * exact.numerator):
        return True
    if isinstance(size, Expr) or isinstance(new, Expr) or new < 1:
        return False
    inverse = torch.tensor(1 / scale, dtype=torch.float32)
    return bool(torch.tensor(float(size)) / torch.tensor(float(new)) == inverse)


def _along(x: TensorT, axis: int, new: Size, scale: float, mode: str) -> TensorT:
    """Resize one dim where coordinates follow from the factor, not from the two sizes."""
    size = shape_of(x)[axis]
    special = [n * size for n in ((1, 2) if mode == "nearest" else (1,))]
    if not _is_ratio(scale, size, new) and any(decide("ne", new, s) is not True for s in special):
        raise UnsupportedError(
            f"interpolate: {size} times {scale} may be {' or '.join(map(str, special))}, where "
            "kernels of PyTorch round coordinates in several ways",
            hint="give size=, or recompute_scale_factor=True",
        )
    step = 1 / scale
    offset = 0.0 if mode == "nearest" else 0.5
    at = mul(add(cast(arange(new), torch.float32), offset), step)
    last = number(size - 1)
    if mode.startswith("nearest"):
        return index_select(x, axis, cast(minimum(floor(at), last), torch.int64))
    dtype, x = spec_of(x).dtype, cast(x, torch.float32)
    at = sub(at, 0.5)
    at = at if mode == "bicubic" else maximum(at, tensor_of(0.0))
    low = floor(at)
    behind = sub(at, low)
    weights = cubic_weights(behind) if mode == "bicubic" else [rsub(behind, 1.0), behind]
    first = -1 if mode == "bicubic" else 0
    total = None
    for step_, weight in enumerate(weights, start=first):
        place = maximum(minimum(add(low, float(step_)), last), tensor_of(0.0))
        column = reshape(weight, (new, *(1,) * (spec_of(x).rank - axis - 1)))
        part = mul(index_select(x, axis, cast(place, torch.int64)), column)
        total = part if total is None else add(total, part)
    return cast(total, dtype)


def _antialiased(
    x: TensorT, sizes: tuple[Size, ...], factors: tuple[float, ...] | None, mode: str, align: Any
) -> TensorT:
    """Resize by a matrix a dim: what PyTorch makes of the columns of the identity."""
    for axis, new in enumerate(sizes):
        old = shape_of(x)[2 + axis]
        if not isinstance(old, int) or not isinstance(new, int):
            raise UnsupportedError(
                f"interpolate: antialias from {old} to {new}, which are not static",
                hint="declare the sizes of images statically",
            )
        by = {"size": (old, new)} if factors is None else {"scale_factor": (1.0, factors[axis])}
        with torch._C.DisableTorchFunction():
            matrix = torch.nn.functional.interpolate(
                torch.eye(old)[None, None], **by, mode=mode, align_corners=align, antialias=True
            )[0, 0]
        matrix = torch.as_tensor(matrix)  # on the device of what is made here
        x = matmul(x, matrix) if axis else matmul(matrix.T.contiguous(), x)
    return x


def _resized(
    x: TensorT,
    sizes: tuple[Size, ...],
    factors: tuple[float, ...] | None,
    mode: str,
    align: bool | None,
) -> TensorT:
    """Resize by TensorRT's layer, or entry by entry where it knows no such coordinates."""
    shape = shape_of(x)[2:]
    by_sizes = factors is None or all(map(_is_ratio, factors, shape, sizes))
    if by_sizes and sizes == shape:
        return x
    if factors and not by_sizes:
        for axis, (new, scale) in enumerate(zip(sizes, factors, strict=True), start=2):
            x = _along(x, axis, new, scale, mode)
        return x
    coordinates = "ALIGN_CORNERS" if align else "HALF_PIXEL"
    coordinates = "ASYMMETRIC" if mode == "nearest" else coordinates
    kind = MODES[mode][0]
    if len(sizes) == 1:
        return squeeze(bind(Resize((1, *sizes), kind, coordinates), unsqueeze(x, 2)), 2)
    return bind(Resize(sizes, kind, coordinates), x)


def _wide(x: TensorT, resize: Callable[[TensorT], TensorT]) -> TensorT:
    """Compute in float32, and return what came in its own type."""
    return cast(resize(cast(x, torch.float32)), spec_of(x).dtype)


def _checked(x: Spec, mode: str, align_corners: bool | None, antialias: bool) -> None:
    count = x.rank - 2
    if mode not in MODES or count not in MODES[mode][1]:
        raise UnsupportedError(f"interpolate: mode {mode!r} on {x}", hint=f"use {', '.join(MODES)}")
    if align_corners is not None and MODES[mode][0] in ("NEAREST", "AREA"):
        raise UnsupportedError(f"interpolate: align_corners with mode {mode!r}")
    if antialias and mode not in ("bilinear", "bicubic"):
        raise UnsupportedError(f"interpolate: antialias with mode {mode!r} on {x}")
    if x.dtype != torch.uint8 or not mode.startswith("nearest"):
        refuse_integers("interpolate", x)


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
        UnsupportedError: ``antialias`` of sizes that are not static; a factor that may or may not
            leave a symbolic size as it is; integers.

    >>> interpolate(torch.tensor([[[1.0, 2.0]]]), scale_factor=2)
    tensor([[[1., 1., 2., 2.]]])
    """
    _checked(spec_of(input), mode, align_corners, antialias)
    wanted, factors = _wanted(shape_of(input)[2:], size, scale_factor)
    if recompute_scale_factor or align_corners:
        factors = None
    if mode == "area":
        return AREAS[len(wanted) - 1](input, wanted)
    if antialias:
        return _wide(input, lambda x: _antialiased(x, wanted, factors, mode, align_corners))
    if mode.startswith("nearest") and not spec_of(input).dtype.is_floating_point:
        return _wide(input, lambda x: _resized(x, wanted, factors, mode, align_corners))
    return _resized(input, wanted, factors, mode, align_corners)
