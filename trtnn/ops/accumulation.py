"""Running sums and differences along an axis."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from trtnn.errors import ShapeError, UnsupportedError
from trtnn.ops.arithmetic import cast, logical_xor, sub, where
from trtnn.ops.creation import arange
from trtnn.ops.movement import reshape, unsqueeze
from trtnn.ops.op import Op, Spec, TensorT, axis_of, bind, shape_of, spec_of, torch_function
from trtnn.ops.reduction import sum
from trtnn.ops.slicing import cat, narrow
from trtnn.sizes.dims import decide

if TYPE_CHECKING:
    from trtnn.lower.network import ITensor, Net

__all__ = ["Cumulative", "cumsum", "diff"]

T = torch.Tensor


@dataclass(frozen=True, repr=False)
class Cumulative(Op):
    """The sum of all entries up to each, along ``axis``."""

    axis: int

    def needs_decomposition(self, target: Any) -> bool:
        return "cumulative" not in target.layers

    def infer(self, x: Spec) -> Spec:
        if not x.shape or x.dtype == torch.bool:
            raise UnsupportedError(f"cumsum: expected numbers along a dim, got {x}")
        return x

    def reference(self, x: torch.Tensor) -> torch.Tensor:
        return torch.cumsum(x, self.axis, dtype=x.dtype)

    def lower(self, net: Net, x: ITensor) -> ITensor:
        return net.cumulative(x, self.axis)

    def decompose(self, x: TensorT) -> TensorT:
        """Return the sum of what a triangle keeps: unlike a product, exact for integers and inf."""
        shape = shape_of(x)
        places = arange(shape[self.axis])
        kept = unsqueeze(places, 0) <= unsqueeze(places, 1)
        after = len(shape) - 1 - self.axis
        mask = reshape(kept, (*(shape[self.axis],) * 2, *(1,) * after))
        zero = torch.zeros((), dtype=spec_of(x).dtype)
        return sum(where(mask, unsqueeze(x, self.axis), zero), self.axis + 1, dtype=zero.dtype)


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
    parts = [part for part in (prepend, input, append) if part is not None]
    x = cat(parts, axis) if len(parts) > 1 else input
    for _ in range(n):
        size = shape_of(x)[axis]
        if decide("ge", size, 1) is not True:
            raise ShapeError(f"diff: size {size} of dim {axis} may be 0", hint="narrow its Dim")
        after, before = narrow(x, axis, 1, size - 1), narrow(x, axis, 0, size - 1)
        both = spec_of(x).dtype == torch.bool
        x = logical_xor(after, before) if both else sub(after, before)
    return x
