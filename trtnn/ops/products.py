"""Products that are made of others: inner, outer and cross products, powers, several factors."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from typing import Any

import torch

from trtnn.errors import ShapeError, UnsupportedError
from trtnn.ops.arithmetic import add, mul, sub
from trtnn.ops.creation import ones_like
from trtnn.ops.diagonals import diagonal
from trtnn.ops.einsum import contract
from trtnn.ops.joining import flip, roll, stack
from trtnn.ops.matrix import matmul
from trtnn.ops.movement import expand, movedim, reshape, squeeze, unsqueeze
from trtnn.ops.op import (
    TensorT,
    axis_of,
    broadcast,
    shape_of,
    spec_of,
    torch_function,
    unequal,
)
from trtnn.ops.positions import eye
from trtnn.ops.reduction import sum
from trtnn.sizes.dims import Size

__all__ = [
    "bilinear", "cross", "inner", "kron", "matrix_power", "multi_dot", "tensordot", "trace",
    "vander", "vecdot",
]  # fmt: skip

T = torch.Tensor


@torch_function(torch.inner, T.inner)
def inner(input: TensorT, other: TensorT) -> TensorT:
    """Multiply along the last dim of both, and add up; a scalar multiplies every entry.

    >>> inner(torch.tensor([1, 2]), torch.tensor([3, 4]))
    tensor(11)
    """
    if not shape_of(input) or not shape_of(other):
        return mul(input, other)
    return tensordot(input, other, ([-1], [-1]))


@torch_function(torch.tensordot, torch.functional.tensordot)
def tensordot(a: TensorT, b: TensorT, dims: Any = 2) -> TensorT:
    """Multiply along some dims of each, and add up: the last of ``a`` and the first of ``b``.

    Args:
        dims: How many, or two lists of those of ``a`` and of ``b``.

    >>> tensordot(torch.ones(2, 3, 4), torch.ones(4, 3), ([2, 1], [0, 1]))
    tensor([12., 12.])
    """
    left, right = shape_of(a), shape_of(b)
    if isinstance(dims, torch.Tensor):
        raise UnsupportedError("tensordot: expected ints as dims, got a tensor")
    if isinstance(dims, int):
        if not 0 <= dims <= min(len(left), len(right)):
            raise ShapeError(f"tensordot: {dims} dims of ranks {len(left)} and {len(right)}")
        first: list[int] = list(range(len(left) - dims, len(left)))
        second = list(range(dims))
    else:
        first, second = (
            [axis_of("tensordot", d, len(shape)) for d in given]
            for given, shape in zip(dims, (left, right), strict=True)
        )
    if len(first) != len(second):
        raise ShapeError(f"tensordot: {len(first)} dims of a, but {len(second)} of b")
    for one, other in zip(first, second, strict=True):
        sizes = left[one], right[other]
        if sizes[0] != sizes[1] and 1 not in sizes:
            raise ShapeError(f"tensordot: sizes {unequal(*sizes)}", sizes=sizes)
    rows = tuple(f"a{i}" for i in range(len(left)))
    columns = tuple(
        rows[first[second.index(i)]] if i in second else f"b{i}" for i in range(len(right))
    )
    kept = {*rows, *columns} - {rows[i] for i in first}
    return contract(a, rows, b, columns, kept)[0]


@torch_function(torch.kron, T.kron)
def kron(input: TensorT, other: TensorT) -> TensorT:
    """Multiply each entry of one tensor by the whole of the other.

    >>> kron(torch.tensor([1, 2]), torch.tensor([1, 10]))
    tensor([ 1, 10,  2, 20])
    """
    rank = max(len(shape_of(input)), len(shape_of(other)))
    left, right = ((1,) * (rank - len(shape_of(x))) + shape_of(x) for x in (input, other))
    apart: list[Size] = [size for pair in zip(left, (1,) * rank, strict=True) for size in pair]
    beside: list[Size] = [size for pair in zip((1,) * rank, right, strict=True) for size in pair]
    shape = tuple(a * b for a, b in zip(left, right, strict=True))
    return reshape(mul(reshape(input, tuple(apart)), reshape(other, tuple(beside))), shape)


@torch_function(torch.linalg.vecdot)
def vecdot(x: TensorT, y: TensorT, *, dim: int = -1) -> TensorT:
    """Multiply the vectors along a dim, and add up.

    >>> vecdot(torch.tensor([[1, 2], [3, 4]]), torch.tensor([1, 1]))
    tensor([3, 7])
    """
    product = mul(x, y)
    return sum(product, dim, dtype=spec_of(product).dtype)


@torch_function(torch.linalg.cross)
def cross(input: TensorT, other: TensorT, *, dim: int = -1) -> TensorT:
    """Return the vector that stands on two others, along a dim of size 3.

    >>> cross(torch.tensor([1, 0, 0]), torch.tensor([0, 1, 0]))
    tensor([0, 0, 1])
    """
    if len(shape_of(input)) != len(shape_of(other)):
        ranks = len(shape_of(input)), len(shape_of(other))
        raise ShapeError(f"cross: expected tensors of one rank, got {ranks[0]} and {ranks[1]}")
    shape = broadcast("cross", shape_of(input), shape_of(other))
    axis = axis_of("cross", dim, len(shape))
    if 3 not in (shape_of(input)[axis], shape_of(other)[axis]) or shape[axis] != 3:
        raise ShapeError(f"cross: expected size 3 at dim {dim}, got {shape[axis]}")
    # Entry i is a[i + 1] * b[i + 2] - a[i + 2] * b[i + 1], counted round the circle.
    turned = [[roll(x, -n, axis) for n in (1, 2)] for x in (input, other)]
    (a1, a2), (b1, b2) = turned
    return sub(mul(a1, b2), mul(a2, b1))


@torch_function(torch.cross, T.cross)
def cross_of(input: TensorT, other: TensorT, dim: int | None = None) -> TensorT:
    """Return the vector that stands on two others, along the first dim of size 3."""
    if dim is None:
        found = [i for i, size in enumerate(shape_of(input)) if size == 3]
        if not found:
            raise ShapeError(f"cross: expected a dim of size 3, got {spec_of(input)}")
        dim = found[0]
    return cross(input, other, dim=dim)


@torch_function(torch.trace, T.trace)
def trace(input: TensorT) -> TensorT:
    """Add up the diagonal of a matrix.

    >>> trace(torch.eye(3))
    tensor(3.)
    """
    shape = shape_of(input)
    if len(shape) != 2:
        raise ShapeError(f"trace: expected a matrix, got {spec_of(input)}")
    rows, columns = shape
    if rows == columns:
        return sum(diagonal(input))
    dtype = spec_of(input).dtype
    ones_there = eye(rows, columns, dtype=torch.float32 if dtype == torch.bool else dtype)
    return sum(mul(input, ones_there))


@torch_function(torch.linalg.multi_dot)
def multi_dot(tensors: Sequence[TensorT]) -> TensorT:
    """Multiply two or more matrices, in the order that takes the fewest products.

    The first and the last may be vectors. With a symbolic size among them, from the left.
    """
    if len(tensors) < 2:
        raise ShapeError(f"multi_dot: expected 2 or more tensors, got {len(tensors)}")
    sizes = [shape_of(t)[-2] if len(shape_of(t)) > 1 else 1 for t in tensors]
    sizes.append(shape_of(tensors[-1])[-1])
    if len(tensors) < 3 or not all(isinstance(size, int) for size in sizes):
        return reduce(matmul, tensors)
    if len(shape_of(tensors[-1])) == 1:
        return reduce(lambda product, factor: matmul(factor, product), reversed(tensors))
    if len(shape_of(tensors[0])) == 1:
        return reduce(matmul, tensors)
    return _in_order(list(tensors), [size for size in sizes if isinstance(size, int)])


def _in_order(factors: list[TensorT], sizes: list[int]) -> TensorT:
    """Multiply matrices of known sizes as cheaply as any order does."""
    if len(factors) == 1:
        return factors[0]
    cost: dict[tuple[int, int], tuple[int, int]] = {(i, i): (0, i) for i in range(len(factors))}
    for span in range(1, len(factors)):
        for first in range(len(factors) - span):
            last = first + span
            cost[first, last] = min(
                (
                    cost[first, cut][0]
                    + cost[cut + 1, last][0]
                    + sizes[first] * sizes[cut + 1] * sizes[last + 1],
                    cut,
                )
                for cut in range(first, last)
            )
    cut = cost[0, len(factors) - 1][1] + 1
    return matmul(_in_order(factors[:cut], sizes[: cut + 1]), _in_order(factors[cut:], sizes[cut:]))


@torch_function(torch.chain_matmul, torch.functional.chain_matmul)
def chain_matmul(*matrices: TensorT) -> TensorT:
    """Multiply matrices, in the order that takes the fewest products."""
    return matrices[0] if len(matrices) == 1 else multi_dot(matrices)


@torch_function(torch.linalg.matrix_power, torch.matrix_power, T.matrix_power)
def matrix_power(input: TensorT, n: int) -> TensorT:
    """Multiply a square matrix by itself, ``n`` factors in all.

    Raises:
        UnsupportedError: ``n`` is negative, which asks for an inverse.
    """
    shape = shape_of(input)
    if len(shape) < 2 or shape[-1] != shape[-2]:
        raise ShapeError(f"matrix_power: expected square matrices, got {spec_of(input)}")
    if n < 0:
        raise UnsupportedError(f"matrix_power: n={n} asks for an inverse, which TensorRT lacks")
    if n == 0:
        return expand(eye(shape[-1], dtype=spec_of(input).dtype), shape)
    if n == 1:
        return input
    half = matrix_power(input, n // 2)
    square = matmul(half, half)
    return matmul(square, input) if n % 2 else square


@torch_function(torch.linalg.vander)
def vander(x: TensorT, *, N: int | None = None) -> TensorT:
    """Return the powers of each entry, from 0 to ``N - 1``, as a new last dim.

    >>> vander(torch.tensor([2, 3]), N=3)
    tensor([[1, 2, 4],
            [1, 3, 9]])
    """
    x = x if shape_of(x) else reshape(x, (1,))
    count = shape_of(x)[-1] if N is None else N
    if not isinstance(count, int):
        raise UnsupportedError(f"vander: expected a static number of powers, got {count}")
    powers = [ones_like(x, dtype=_whole(spec_of(x).dtype))]
    while len(powers) < count:
        powers.append(mul(powers[-1], x))
    return stack(powers, -1)


def _whole(dtype: torch.dtype) -> torch.dtype:
    """Return what PyTorch's products of a dtype are: those of integers are int64."""
    return dtype if dtype.is_floating_point else torch.int64


@torch_function(torch.vander)
def vander_of(x: TensorT, N: int | None = None, increasing: bool = False) -> TensorT:
    """Return the powers of each entry of a vector, by default the greatest first."""
    result = vander(x, N=N)
    return result if increasing else flip(result, -1)


@torch_function(torch.nn.functional.bilinear)
def bilinear(
    input1: TensorT, input2: TensorT, weight: TensorT, bias: TensorT | None = None
) -> TensorT:
    """Compute ``input1 @ weight[k] @ input2`` for each of the features ``k``, and add the bias."""
    outputs, first, second = shape_of(weight)
    left = reshape(movedim(weight, 0, 1), (first, outputs * second))
    front = shape_of(input1)[:-1]
    rows = reshape(matmul(input1, left), (*front, outputs, second))
    result = squeeze(matmul(rows, unsqueeze(input2, -1)), -1)
    return result if bias is None else add(result, bias)
