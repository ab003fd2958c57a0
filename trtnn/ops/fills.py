"""What TensorRT's Fill, Shape and Assertion layers give: ramps, drawn numbers, sizes, a check."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import torch

from trtnn.errors import DTypeError, InputError, ShapeError
from trtnn.ops.op import Op, Spec
from trtnn.sizes.dims import Size

if TYPE_CHECKING:
    from trtnn.lower.network import ITensor, Net

__all__ = ["Assertion", "Ramp", "RandomFill", "ShapeOf"]

COUNTS = (torch.float32, torch.int32, torch.int64)
DRAWN = (torch.float32, torch.float16)


@dataclass(frozen=True, repr=False)
class Ramp(Op):
    """TensorRT's Fill layer, LINSPACE: ``alpha + sum(beta[i] * index[i])`` over all dims."""

    shape: tuple[Size, ...]

    def infer(self, alpha: Spec, beta: Spec) -> Spec:
        if alpha.dtype not in COUNTS or alpha.dtype != beta.dtype:
            raise DTypeError(
                f"fill: expected float32, int32 or int64, got {alpha.dtype} and {beta.dtype}"
            )
        if alpha.shape != () or beta.shape != (len(self.shape),):
            raise ShapeError(
                f"fill: expected a scalar and {len(self.shape)} steps, got {alpha} and {beta}"
            )
        return Spec(self.shape, alpha.dtype)

    def reference(self, alpha: torch.Tensor, beta: torch.Tensor) -> torch.Tensor:
        result = alpha
        for axis, size in enumerate(self.shape):
            line = torch.arange(int(str(size)), device=alpha.device).to(alpha.dtype) * beta[axis]
            result = result + line.reshape(-1, *(1,) * (len(self.shape) - 1 - axis))
        return result.clone()

    def lower(self, net: Net, alpha: Any, beta: Any) -> ITensor:
        return net.ramp(self.shape, alpha, beta)


@dataclass(frozen=True, repr=False)
class RandomFill(Op):
    """TensorRT's Fill layer, RANDOM_UNIFORM or RANDOM_NORMAL: other numbers at each run."""

    kind: str
    shape: tuple[Size, ...]
    alpha: float
    beta: float
    dtype: torch.dtype
    stays: ClassVar[bool] = True
    draws: ClassVar[bool] = True

    def infer(self) -> Spec:
        if self.dtype not in DRAWN:
            raise DTypeError(f"fill: expected to draw float32 or float16, got {self.dtype}")
        return Spec(self.shape, self.dtype)

    def reference(self) -> torch.Tensor:
        empty = torch.empty([int(str(s)) for s in self.shape])
        if self.kind == "RANDOM_UNIFORM":
            return empty.uniform_(self.alpha, self.beta).to(self.dtype)
        return empty.normal_(self.alpha, self.beta).to(self.dtype)

    def lower(self, net: Net) -> ITensor:
        return net.random_fill(self.shape, self.kind, self.alpha, self.beta, self.dtype)


@dataclass(frozen=True, repr=False)
class ShapeOf(Op):
    """TensorRT's Shape layer: the sizes of a tensor as int64, which are int32 in 8.6."""

    def infer(self, x: Spec) -> Spec:
        if not x.rank:
            raise ShapeError("shape: expected dims, got a scalar")
        return Spec((x.rank,), torch.int64)

    def reference(self, x: torch.Tensor) -> torch.Tensor:
        return torch.tensor(x.shape, device=x.device)

    def lower(self, net: Net, x: ITensor) -> ITensor:
        return net.shape_of(x)


@dataclass(frozen=True, repr=False)
class Assertion(Op):
    """TensorRT's Assertion layer: gives its condition, all of which must be true."""

    message: str
    asserts: ClassVar[bool] = True

    def infer(self, condition: Spec) -> Spec:
        if condition.dtype != torch.bool:
            raise DTypeError(f"assertion: expected a bool condition, got {condition.dtype}")
        return condition

    def reference(self, condition: torch.Tensor) -> torch.Tensor:
        if not bool(condition.all()):
            raise InputError(f"assertion failed: {self.message}")
        return condition.clone()

    def lower(self, net: Net, condition: ITensor) -> ITensor:
        return net.assertion(condition, self.message)
