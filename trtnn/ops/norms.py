"""Norms of vectors and matrices, in float32 whatever the dtype."""

from __future__ import annotations

import math
from typing import Any

import torch

from trtnn.errors import ShapeError, UnsupportedError
from trtnn.ops.arithmetic import add, cast, gt, mul, ne, where
from trtnn.ops.division import div
from trtnn.ops.movement import reshape
from trtnn.ops.op import TensorT, axis_of, require_float, shape_of, spec_of, torch_function
from trtnn.ops.pointwise import clamp, pow
from trtnn.ops.reduction import amax, amin, axes_of, sum
from trtnn.ops.unary import unary

__all__ = ["linalg_norm", "matrix_norm", "norm", "normalize", "renorm", "vector_norm"]

T = torch.Tensor


@torch_function(torch.linalg.vector_norm)
def vector_norm(
    x: TensorT, ord: Any = 2, dim: Any = None, keepdim: bool = False, *, dtype: Any = None
) -> TensorT:
    """Compute ``sum(|x| ** ord) ** (1 / ord)`` along dims, all of them if None.

    >>> vector_norm(torch.tensor([300.0, 400.0], dtype=torch.float16))
    tensor(500., dtype=torch.float16)
    """
    x = cast(x, dtype) if dtype is not None else x
    require_float("vector_norm", spec_of(x))
    if not isinstance(ord, (int, float)):
        raise UnsupportedError(f"vector_norm: expected a number as ord, got {ord!r}")
    size = unary("ABS", cast(x, torch.float32))
    axes = tuple(range(len(shape_of(x)))) if dim is None else dim
    if math.isinf(ord):
        result = (amax if ord > 0 else amin)(size, axes, keepdim)
    elif ord == 0:
        result = sum(cast(ne(size, 0.0), torch.float32), axes, keepdim)
    else:
        result = pow(sum(pow(size, ord), axes, keepdim), 1 / ord)
    return cast(result, spec_of(x).dtype)


@torch_function(torch.norm, torch.functional.norm, T.norm)
def norm(
    input: TensorT, p: Any = "fro", dim: Any = None, keepdim: bool = False, dtype: Any = None
) -> TensorT:
    """Compute the norm of the entries along dims as one vector."""
    if p == "nuc":
        raise _singular("norm", p)
    return vector_norm(input, 2 if p in ("fro", None) else p, dim, keepdim, dtype=dtype)


def _singular(function: str, order: Any) -> UnsupportedError:
    return UnsupportedError(
        f"{function}: {order!r} needs singular values, which TensorRT does not give",
        hint="use the Frobenius norm, or compute it outside of the model",
    )


@torch_function(torch.linalg.matrix_norm)
def matrix_norm(
    A: TensorT, ord: Any = "fro", dim: Any = (-2, -1), keepdim: bool = False, *, dtype: Any = None
) -> TensorT:
    """Compute a norm of the matrices along two dims.

    Raises:
        UnsupportedError: A norm of singular values: 2, -2 or ``"nuc"``.

    >>> matrix_norm(torch.tensor([[1.0, -2.0], [3.0, 4.0]]), 1)
    tensor(6.)
    """
    rank = len(shape_of(A))
    rows, columns = (axis_of("matrix_norm", d, rank) for d in dim)
    if rank < 2 or rows == columns:
        raise ShapeError(f"matrix_norm: expected two dims of a matrix, got {tuple(dim)}")
    if ord == "fro":
        return vector_norm(A, 2, (rows, columns), keepdim, dtype=dtype)
    if ord not in (1, -1, math.inf, -math.inf):
        raise _singular("matrix_norm", ord)
    added, picked = (rows, columns) if abs(ord) == 1 else (columns, rows)
    result = vector_norm(A, 1, added, True, dtype=dtype)
    if shape_of(A)[picked] == 0:
        result = sum(result, picked, True)
    else:
        result = (amax if ord > 0 else amin)(result, picked, True)
    left = tuple(s for i, s in enumerate(shape_of(result)) if i not in (rows, columns))
    return result if keepdim else reshape(result, left)


@torch_function(torch.linalg.norm)
def linalg_norm(
    A: TensorT, ord: Any = None, dim: Any = None, keepdim: bool = False, *, dtype: Any = None
) -> TensorT:
    """Compute the norm of vectors or of matrices, as ``ord`` and the number of dims say."""
    rank = len(shape_of(A))
    if ord is None:
        return vector_norm(A, 2, dim, keepdim, dtype=dtype)
    named = tuple(range(rank)) if dim is None else dim
    count = len(named) if isinstance(named, (tuple, list)) else 1
    if count > 2:
        raise ShapeError(f"norm: ord={ord!r} of {count} dims is no norm of a vector or a matrix")
    if count == 2:
        return matrix_norm(A, ord, named, keepdim, dtype=dtype)
    return vector_norm(A, ord, named, keepdim, dtype=dtype)


@torch_function(torch.nn.functional.normalize)
def normalize(
    input: TensorT, p: float = 2.0, dim: Any = 1, eps: float = 1e-12, out: Any = None
) -> TensorT:
    """Divide the entries along ``dim`` by their norm, or by ``eps`` where that is greater."""
    return div(input, clamp(vector_norm(input, p, dim, True), eps))


@torch_function(torch.renorm, T.renorm)
def renorm(input: TensorT, p: Any, dim: int, maxnorm: Any) -> TensorT:
    """Shrink what stands at each place of ``dim`` to a norm of at most ``maxnorm``."""
    axis = axis_of("renorm", dim, len(shape_of(input)))
    others = tuple(i for i in axes_of("renorm", input, None) if i != axis)
    size = vector_norm(cast(input, torch.float32), p, others, True)
    shrunk = div(float(maxnorm), add(size, 1e-7))
    factor = where(gt(size, maxnorm), shrunk, torch.ones(()))
    return cast(mul(input, factor), spec_of(input).dtype)
