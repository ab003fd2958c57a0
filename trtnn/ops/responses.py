"""Local response normalization: each entry over what stands beside it in the channels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from trtnn.errors import ShapeError
from trtnn.ops.arithmetic import add, cast, mul
from trtnn.ops.division import div
from trtnn.ops.movement import reshape
from trtnn.ops.op import (
    Op,
    Spec,
    TensorT,
    bind,
    refuse_integers,
    require_float,
    shape_of,
    spec_of,
    torch_function,
)
from trtnn.ops.padding import pad
from trtnn.ops.pointwise import pow
from trtnn.ops.slicing import narrow
from trtnn.sizes.dims import decide, product

if TYPE_CHECKING:
    from trtnn.lower.network import ITensor, Net

__all__ = ["LocalResponse", "local_response_norm"]

WINDOWS = range(1, 16, 2)  # TensorRT takes these, and coefficients from these on
LEAST = {"beta": 0.01, "k": 1e-5}


@dataclass(frozen=True, repr=False)
class LocalResponse(Op):
    """``x / (k + alpha / size * sum of squares) ** beta``, over ``size`` channels of (N, C, H, W).

    Of an even number, one more stands before an entry than behind it.
    """

    size: int
    alpha: float
    beta: float
    k: float

    def needs_decomposition(self, target: Any) -> bool:
        fits = self.size in WINDOWS and self.beta >= LEAST["beta"] and self.k >= LEAST["k"]
        return "lrn" not in target.layers or not fits

    def infer(self, x: Spec) -> Spec:
        require_float("local_response_norm", x)
        return x

    def reference(self, x: torch.Tensor) -> torch.Tensor:
        wide = x.to(torch.promote_types(x.dtype, torch.float32))
        result = torch.nn.functional.local_response_norm(
            wide, self.size, self.alpha, self.beta, self.k
        )
        return result.to(x.dtype)

    def lower(self, net: Net, x: ITensor) -> ITensor:
        return net.local_response(x, self.size, self.alpha, self.beta, self.k)

    def decompose(self, x: TensorT) -> TensorT:
        """Return the sum of shifted squares that the op stands for, in float32."""
        wide = cast(x, torch.float32)
        before, behind = self.size // 2, (self.size - 1) // 2
        squares = pad(mul(wide, wide), (0, 0, 0, 0, before, behind))
        total = narrow(squares, 1, 0, shape_of(x)[1])
        for shift in range(1, self.size):
            total = add(total, narrow(squares, 1, shift, shape_of(x)[1]))
        divisor = pow(add(mul(total, self.alpha / self.size), self.k), self.beta)
        return cast(div(wide, divisor), spec_of(x).dtype)


@torch_function(torch.nn.functional.local_response_norm)
def local_response_norm(
    input: TensorT, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0
) -> TensorT:
    """Divide each entry of (N, C, ...) by a power of the squares in ``size`` channels around it.

    >>> local_response_norm(torch.ones(1, 1, 1), 1, alpha=3.0, beta=0.5)
    tensor([[[0.5000]]])
    """
    spec = spec_of(input)
    refuse_integers("local_response_norm", spec)
    if spec.rank < 3 or size < 1:
        raise ShapeError(f"local_response_norm: expected (N, C, ...) and a size, got {spec}")
    if any(decide("eq", n, 0) for n in spec.shape):
        return input
    image = reshape(input, (*spec.shape[:2], spec.shape[2], product(spec.shape[3:])))
    op = LocalResponse(int(size), float(alpha), float(beta), float(k))
    return reshape(bind(op, image), spec.shape)
