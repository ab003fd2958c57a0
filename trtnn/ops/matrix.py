"""Matrix products."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch

from trtnn.errors import ShapeError, UnsupportedError
from trtnn.ops.arithmetic import add, mul
from trtnn.ops.movement import mT, reshape, squeeze, unsqueeze
from trtnn.ops.op import (
    Op,
    Spec,
    TensorT,
    bind,
    broadcast,
    require_same_dtype,
    shape_of,
    spec_of,
    torch_function,
    unequal,
)
from trtnn.ops.reduction import sum

__all__ = [
    "MatrixMultiply", "addbmm", "addmm", "addmv", "addr", "baddbmm", "bmm", "dot", "linear",
    "matmul", "mm", "multiply", "mv",
]  # fmt: skip

T = torch.Tensor
FLOAT = torch.float32


@dataclass(frozen=True, repr=False)
class MatrixMultiply(Op):
    """TensorRT's MatrixMultiply layer on matrices, either side transposed or not.

    Attributes:
        wide_sums: Of 16 bits: TensorRT is told to add up in float32, as PyTorch does.
    """

    transpose_a: bool
    transpose_b: bool
    wide_sums: bool = False

    def __repr__(self) -> str:
        text = super().__repr__()
        return text if self.wide_sums else text.replace(", wide_sums=False", "")

    def infer(self, a: Spec, b: Spec) -> Spec:
        for spec in (a, b):
            # Not a DTypeError: torch's operators turn a TypeError into NotImplemented.
            if not spec.dtype.is_floating_point:
                raise UnsupportedError(
                    f"matmul: expected a floating dtype, got {spec.dtype}",
                    hint="TensorRT multiplies float matrices only: use .float()",
                )
        require_same_dtype("matmul", a, b)
        rows, left = a.shape[-2:][:: -1 if self.transpose_a else 1]
        right, columns = b.shape[-2:][:: -1 if self.transpose_b else 1]
        if left != right:
            raise ShapeError(
                f"matmul: {a.shape} @ {b.shape}: inner sizes {unequal(left, right)}",
                hint="transpose one side, or check the in_features of the layer before",
                sizes=(left, right),
            )
        batch = broadcast("matmul", a.shape[:-2], b.shape[:-2])
        return Spec((*batch, rows, columns), a.dtype)

    def reference(self, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        return torch.matmul(a.mT if self.transpose_a else a, b.mT if self.transpose_b else b)

    def lower(self, net: Any, a: Any, b: Any) -> Any:
        if not self.wide_sums:
            return net.matmul(a, b, self.transpose_a, self.transpose_b)
        # TensorRT makes one kernel of 16 bits of these four layers: so the casts stay, that of a
        # constant too, and each product has its own.
        rank = max(a.rank, b.rank)
        wide = (net.cast(net.tensor(x, rank), torch.float32) for x in (a, b))
        return net.cast(net.matmul(*wide, self.transpose_a, self.transpose_b), a.dtype)


def multiply(a: TensorT, b: TensorT, *, transpose_b: bool = False) -> TensorT:
    """Multiply matrices, or batches of them that broadcast.

    TensorRT multiplies float matrices only: of integers, entries are multiplied and added up.
    """
    dtype = spec_of(a).dtype
    if dtype.is_floating_point or dtype == torch.bool or dtype != spec_of(b).dtype:
        return bind(MatrixMultiply(False, transpose_b), a, b)
    other = mT(b) if transpose_b else b
    MatrixMultiply(False, False).infer(*(replace(spec_of(x), dtype=FLOAT) for x in (a, other)))
    return sum(mul(unsqueeze(a, -1), unsqueeze(other, -3)), -2, dtype=dtype)


@torch_function(torch.matmul, T.matmul, T.__matmul__, torch.linalg.matmul)
def matmul(input: TensorT, other: TensorT) -> TensorT:
    """Multiply matrices, batches of them, or vectors, by PyTorch's rules for each rank.

    >>> matmul(torch.ones(2, 3), torch.ones(3))
    tensor([3., 3.])
    """
    left, right = len(shape_of(input)), len(shape_of(other))
    if 0 in (left, right):
        raise ShapeError("matmul: expected tensors of rank 1 or more, got a scalar")
    a = unsqueeze(input, 0) if left == 1 else input
    b = unsqueeze(other, 1) if right == 1 else other
    result = multiply(a, b)
    if right == 1:
        result = squeeze(result, -1)
    return squeeze(result, -1 if right == 1 else -2) if left == 1 else result


@torch_function(T.__rmatmul__)
def rmatmul(input: TensorT, other: TensorT) -> TensorT:
    """Multiply ``other`` by ``input``."""
    return matmul(other, input)


def _product(function: str, a: TensorT, b: TensorT, ranks: tuple[int, int]) -> TensorT:
    left, right = shape_of(a), shape_of(b)
    if (len(left), len(right)) != ranks:
        raise ShapeError(
            f"{function}: expected ranks {ranks[0]} and {ranks[1]}, got {spec_of(a)} and "
            f"{spec_of(b)}",
            hint="torch.matmul takes every rank",
        )
    if ranks == (3, 3) and left[0] != right[0]:
        raise ShapeError(
            f"{function}: batch sizes {unequal(left[0], right[0])}", sizes=(left[0], right[0])
        )
    return matmul(a, b)


@torch_function(torch.mm, T.mm)
def mm(input: TensorT, mat2: TensorT) -> TensorT:
    """Multiply two matrices."""
    return _product("mm", input, mat2, (2, 2))


@torch_function(torch.bmm, T.bmm)
def bmm(input: TensorT, mat2: TensorT) -> TensorT:
    """Multiply two batches of matrices, without broadcasting."""
    return _product("bmm", input, mat2, (3, 3))


@torch_function(torch.mv, T.mv)
def mv(input: TensorT, vec: TensorT) -> TensorT:
    """Multiply a matrix by a vector."""
    return _product("mv", input, vec, (2, 1))


@torch_function(torch.vdot, T.vdot)
def vdot(input: TensorT, other: TensorT) -> TensorT:
    """Multiply two vectors."""
    return dot(input, other)


@torch_function(torch.dot, T.dot)
def dot(input: TensorT, tensor: TensorT) -> TensorT:
    """Multiply two vectors."""
    return _product("dot", input, tensor, (1, 1))


def _plus(input: TensorT, product: TensorT, beta: Any, alpha: Any) -> TensorT:
    if not spec_of(product).dtype.is_floating_point:  # PyTorch cuts off what the numbers have more
        beta, alpha = int(beta), int(alpha)
    scaled = product if alpha == 1 else mul(product, alpha)
    return scaled if beta == 0 else add(input if beta == 1 else mul(input, beta), scaled)


@torch_function(torch.addmm, T.addmm)
def addmm(
    input: TensorT, mat1: TensorT, mat2: TensorT, *, beta: Any = 1, alpha: Any = 1
) -> TensorT:
    """Compute ``beta * input + alpha * (mat1 @ mat2)``."""
    return _plus(input, mm(mat1, mat2), beta, alpha)


@torch_function(torch.baddbmm, T.baddbmm)
def baddbmm(
    input: TensorT, batch1: TensorT, batch2: TensorT, *, beta: Any = 1, alpha: Any = 1
) -> TensorT:
    """Compute ``beta * input + alpha * (batch1 @ batch2)``, batch by batch."""
    return _plus(input, bmm(batch1, batch2), beta, alpha)


@torch_function(torch.addbmm, T.addbmm)
def addbmm(
    input: TensorT, batch1: TensorT, batch2: TensorT, *, beta: Any = 1, alpha: Any = 1
) -> TensorT:
    """Compute ``beta * input + alpha * sum(batch1 @ batch2)``, the sum over the batch."""
    product = bmm(batch1, batch2)
    return _plus(input, sum(product, 0, dtype=spec_of(product).dtype), beta, alpha)


@torch_function(torch.addmv, T.addmv)
def addmv(input: TensorT, mat: TensorT, vec: TensorT, *, beta: Any = 1, alpha: Any = 1) -> TensorT:
    """Compute ``beta * input + alpha * (mat @ vec)``."""
    return _plus(input, mv(mat, vec), beta, alpha)


@torch_function(torch.addr, T.addr)
def addr(input: TensorT, vec1: TensorT, vec2: TensorT, *, beta: Any = 1, alpha: Any = 1) -> TensorT:
    """Compute ``beta * input + alpha * outer(vec1, vec2)``."""
    return _plus(input, mul(unsqueeze(vec1, 1), unsqueeze(vec2, 0)), beta, alpha)


@torch_function(torch.nn.functional.linear)
def linear(input: TensorT, weight: TensorT, bias: TensorT | None = None) -> TensorT:
    """Compute ``input @ weight.T + bias``: weight is (out, in), as in ``state_dict``."""
    spec, kernel = spec_of(input), spec_of(weight)
    if kernel.rank not in (1, 2):
        raise ShapeError(f"linear: expected a weight (out, in), got {kernel}")
    if not spec.shape or spec.shape[-1] != kernel.shape[-1]:
        raise ShapeError(
            f"linear: input {spec} has last size {spec.shape[-1] if spec.shape else None}, "
            f"weight {kernel} takes {kernel.shape[-1]}",
            sizes=(*spec.shape[-1:], kernel.shape[-1]),
        )
    x = unsqueeze(input, 0) if spec.rank == 1 else input
    if kernel.rank == 1:
        result = squeeze(multiply(x, unsqueeze(weight, 0), transpose_b=True), -1)
    else:
        result = multiply(x, weight, transpose_b=True)
    result = add(result, bias) if bias is not None else result
    return reshape(result, shape_of(result)[1:]) if spec.rank == 1 else result
