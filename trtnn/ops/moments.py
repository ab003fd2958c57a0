"""Spread and size of the entries along dims: variances and norms, in float32 whatever the dtype."""

from __future__ import annotations

import math
from typing import Any

import torch

from trtnn.errors import UnsupportedError
from trtnn.ops.arithmetic import cast, maximum, mul, ne, sub, tensor_of
from trtnn.ops.creation import full
from trtnn.ops.division import div
from trtnn.ops.op import TensorT, require_float, shape_of, spec_of, torch_function
from trtnn.ops.pointwise import clamp, pow
from trtnn.ops.reduction import amax, amin, axes_of, mean, sum
from trtnn.ops.unary import unary
from trtnn.sizes.dims import product

__all__ = ["norm", "normalize", "std", "var", "vector_norm"]

T = torch.Tensor


@torch_function(torch.var, T.var)
def var(
    input: TensorT,
    dim: Any = None,
    unbiased: bool = True,
    keepdim: bool = False,
    *,
    correction: Any = None,
) -> TensorT:
    """Compute the variance along dims; without ``unbiased``, that of the entries alone.

    >>> var(torch.tensor([1.0, 3.0]), unbiased=False)
    tensor(1.)
    """
    if isinstance(dim, bool):  # torch's older form var(input, unbiased)
        dim, unbiased = None, dim
    freedom = correction if correction is not None else int(unbiased)
    require_float("var", spec_of(input))
    # In float32: squares overflow 16 bits where the result does not.
    x = cast(input, torch.float32)
    axes = axes_of("var", x, dim)
    count = product([shape_of(x)[axis] for axis in axes]) if shape_of(x) else 1
    centred = sub(x, mean(x, axes, keepdim=True))
    squares = sum(mul(centred, centred), axes, keepdim)
    if isinstance(count, int) and isinstance(freedom, (int, float)):
        left = float(max(count - freedom, 0))
        if not left and count <= 1:  # TensorRT 8.6 gives 0 for 0 / 0, and for 0 times NaN
            return full(shape_of(squares), math.nan, dtype=spec_of(input).dtype)
        result = div(squares, left)
    else:
        left = sub(cast(tensor_of(count), torch.float32), freedom)
        result = div(squares, maximum(left, 0.0))
    return cast(result, spec_of(input).dtype)


@torch_function(torch.std, T.std)
def std(
    input: TensorT,
    dim: Any = None,
    unbiased: bool = True,
    keepdim: bool = False,
    *,
    correction: Any = None,
) -> TensorT:
    """Compute the square root of the variance along dims."""
    require_float("std", spec_of(input))
    wide = cast(input, torch.float32)
    spread = var(wide, dim, unbiased, keepdim, correction=correction)
    return cast(unary("SQRT", spread), spec_of(input).dtype)


@torch_function(torch.linalg.vector_norm)
def vector_norm(
    input: TensorT, ord: Any = 2, dim: Any = None, keepdim: bool = False, *, dtype: Any = None
) -> TensorT:
    """Compute ``sum(|x| ** ord) ** (1 / ord)`` along dims, all of them if None.

    >>> vector_norm(torch.tensor([300.0, 400.0], dtype=torch.float16))
    tensor(500., dtype=torch.float16)
    """
    x = cast(input, dtype) if dtype is not None else input
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
        raise UnsupportedError("norm: p='nuc' needs singular values, which TensorRT does not give")
    return vector_norm(input, 2 if p in ("fro", None) else p, dim, keepdim, dtype=dtype)


@torch_function(torch.nn.functional.normalize)
def normalize(
    input: TensorT, p: float = 2.0, dim: Any = 1, eps: float = 1e-12, out: Any = None
) -> TensorT:
    """Divide the entries along ``dim`` by their norm, or by ``eps`` where that is greater."""
    return div(input, clamp(vector_norm(input, p, dim, True), eps))
