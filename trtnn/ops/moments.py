"""Spread of the entries along dims, and how they vary together."""

from __future__ import annotations

import math
from functools import reduce
from typing import Any

import torch

from trtnn.errors import ShapeError
from trtnn.ops.arithmetic import cast, maximum, mul, promote, sub, tensor_of
from trtnn.ops.creation import full
from trtnn.ops.diagonals import diagonal
from trtnn.ops.division import div
from trtnn.ops.matrix import matmul
from trtnn.ops.movement import mT, reshape, unsqueeze
from trtnn.ops.op import TensorT, require_float, shape_of, spec_of, torch_function
from trtnn.ops.pointwise import clamp
from trtnn.ops.reduction import axes_of, mean, sum
from trtnn.ops.unary import unary
from trtnn.sizes.dims import decide, product

__all__ = ["corrcoef", "cov", "std", "std_mean", "var", "var_mean"]

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


def _pair(spread: Any, callables: tuple[Any, ...], name: str) -> Any:
    """Register the function that gives a spread and the mean beside it."""

    def function(
        input: TensorT,
        dim: Any = None,
        unbiased: bool = True,
        keepdim: bool = False,
        *,
        correction: Any = None,
    ) -> tuple[TensorT, TensorT]:
        if isinstance(dim, bool):
            dim, unbiased = None, dim
        result = spread(input, dim, unbiased, keepdim, correction=correction)
        return result, mean(input, dim, keepdim)

    function.__name__ = name
    function.__doc__ = f"Return what ``torch.{spread.__name__}`` gives, and the mean."
    return torch_function(*callables)(function)


var_mean = _pair(var, (torch.var_mean,), "var_mean")
std_mean = _pair(std, (torch.std_mean,), "std_mean")


@torch_function(torch.cov, T.cov)
def cov(
    input: TensorT, *, correction: Any = 1, fweights: Any = None, aweights: Any = None
) -> TensorT:
    """Return the covariances of the rows: variables, whose columns are observations.

    >>> cov(torch.tensor([[0.0, 1.0, 2.0], [2.0, 1.0, 0.0]]))
    tensor([[ 1., -1.],
            [-1.,  1.]])
    """
    rank = len(shape_of(input))
    if rank > 2:
        raise ShapeError(f"cov: expected at most 2 dims, got {spec_of(input)}")
    alone = rank < 2 or decide("eq", shape_of(input)[0], 1)
    if alone is None:
        raise ShapeError(
            f"cov: {spec_of(input)} may have one row, of which PyTorch gives a scalar",
            hint="give the Dim min=2",
            sizes=(shape_of(input)[0],),
        )
    shares = [] if aweights is None else [aweights]
    x = promote(input, *shares, floating=True)[0]
    x = reshape(x, (1, -1)) if rank < 2 else x
    weights = [w for w in (fweights, aweights) if w is not None]
    weight = None if not weights else cast(reduce(mul, weights), spec_of(x).dtype)
    total = tensor_of(shape_of(x)[1]) if weight is None else sum(weight)
    total = cast(total, spec_of(x).dtype)
    scaled = x if weight is None else mul(x, weight)
    centred = sub(x, div(sum(scaled, 1, True), total))
    left: Any = sub(total, correction)
    if aweights is not None and correction:
        left = sub(total, mul(div(sum(mul(weight, aweights)), total), correction))
    other = centred if weight is None else mul(centred, weight)
    result = div(matmul(centred, mT(other)), maximum(left, 0.0))
    return reshape(result, ()) if alone else result


@torch_function(torch.corrcoef, T.corrcoef)
def corrcoef(input: TensorT) -> TensorT:
    """Return the covariances of the rows over the spreads of both."""
    covariance = cov(input)
    if not shape_of(covariance):
        return div(covariance, covariance)
    spread = unary("SQRT", diagonal(covariance))
    return clamp(div(div(covariance, unsqueeze(spread, 1)), unsqueeze(spread, 0)), -1.0, 1.0)
