"""TensorRT's Resize layer with every choice that it has."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from trtnn.errors import ShapeError
from trtnn.ops.op import Op, Spec, require_float, unmet
from trtnn.sizes.dims import Size, failures

if TYPE_CHECKING:
    from trtnn.lower.network import ITensor, Net

__all__ = ["Resample"]

MOST = {"NEAREST": 8, "LINEAR": 3, "CUBIC": 2}
"""How many of the last dims may change."""
Real = torch.Tensor
ROUNDINGS: dict[str, Callable[[Real], Real]] = {
    "FLOOR": torch.floor,
    "CEIL": torch.ceil,
    "HALF_UP": lambda at: torch.floor(at + 0.5),
    "HALF_DOWN": lambda at: torch.ceil(at - 0.5),
}


@dataclass(frozen=True, repr=False)
class Resample(Op):
    """Give a tensor other sizes, by TensorRT's names of the ways.

    Each dim is taken by itself: where an entry lies in the input, by ``coordinates``; which
    entries around it count how much, by ``mode``. Beyond the ends the last entry goes on.
    """

    shape: tuple[Size, ...]
    mode: str
    coordinates: str
    selector: str
    rounding: str
    cubic_coeff: float
    exclude_outside: bool

    def infer(self, x: Spec) -> Spec:
        require_float("resize", x)
        if len(self.shape) != x.rank:
            raise ShapeError(f"resize: {len(self.shape)} sizes do not fit {x}")
        for axis, size in enumerate(self.shape):
            if found := failures("ge", size, 1):
                raise unmet(found, f"resize: size {size} at dim {axis}", sizes=(size,))
            if axis < x.rank - MOST[self.mode] and size != x.shape[axis]:
                raise ShapeError(
                    f"resize: {self.mode} changes the last {MOST[self.mode]} dims, and dim {axis} "
                    f"of {x} is to be {size}",
                    sizes=(size, x.shape[axis]),
                )
        return Spec(self.shape, x.dtype)

    def reference(self, x: torch.Tensor) -> torch.Tensor:
        result = x.to(torch.promote_types(x.dtype, torch.float32))
        for axis, given in enumerate(self.shape):
            size, length = int(str(given)), x.shape[axis]
            if size == length and axis < x.dim() - MOST[self.mode]:
                continue
            places, weights = self._taps(length, size)
            taken = result.index_select(axis, places.reshape(-1).to(x.device))
            parts = taken.reshape(*result.shape[:axis], *places.shape, *result.shape[axis + 1 :])
            after = (1,) * (x.dim() - 1 - axis)
            shaped = weights.to(parts).reshape(*weights.shape, *after)
            result = (parts * shaped).sum(axis + 1)
        return result.to(x.dtype)

    def _taps(self, length: int, size: int) -> tuple[Real, Real]:
        """Return which entries (size, taps) of an axis count, and how much."""
        at = self._places(length, size)
        if self.mode == "NEAREST":
            at = ROUNDINGS[self.rounding](at).unsqueeze(1)
            return at.clamp(0, length - 1).long(), torch.ones(size, 1)
        low = torch.floor(at)
        behind = at - low
        steps = torch.tensor((0, 1) if self.mode == "LINEAR" else (-1, 0, 1, 2))
        away = (behind.unsqueeze(1) - steps).abs()
        weights = 1 - away if self.mode == "LINEAR" else self._cubic(away)
        places = low.unsqueeze(1) + steps
        if self.exclude_outside:
            weights = weights.where((places >= 0) & (places < length), 0.0)
            weights = weights / weights.sum(1, keepdim=True)
        return places.clamp(0, length - 1).long(), weights

    def _places(self, length: int, size: int) -> Real:
        index = torch.arange(size, dtype=torch.float64)
        if size == 1 and self.selector == "UPPER":
            return index
        if self.coordinates == "ALIGN_CORNERS":
            return index * (length - 1) / max(size - 1, 1)
        if self.coordinates == "HALF_PIXEL":
            return (index + 0.5) * length / size - 0.5
        return index * length / size

    def _cubic(self, away: Real) -> Real:
        """Return the weights of entries by how far away they are (Keys, 1981)."""
        a = self.cubic_coeff
        near = ((a + 2) * away - (a + 3)) * away * away + 1
        far = ((a * away - 5 * a) * away + 8 * a) * away - 4 * a
        return torch.where(away <= 1, near, far.where(away < 2, 0.0))

    def lower(self, net: Net, x: ITensor) -> ITensor:
        return net.resample(
            x,
            self.shape,
            self.mode,
            (self.coordinates, self.selector, self.rounding),
            self.cubic_coeff,
            self.exclude_outside,
        )
