"""Losses: compositions, of which some models return one beside their result."""

from __future__ import annotations

import math
from typing import Any

import torch.nn.functional as F

from trtnn.errors import OptionError, ShapeError, UnsupportedError
from trtnn.ops.arithmetic import (
    add,
    cast,
    le,
    lt,
    mul,
    ne,
    rsub,
    sub,
    where,
)
from trtnn.ops.creation import full_like
from trtnn.ops.division import div
from trtnn.ops.indexing import gather, index_select
from trtnn.ops.movement import reshape, squeeze, unsqueeze
from trtnn.ops.op import TensorT, shape_of, spec_of, torch_function
from trtnn.ops.pointwise import clamp, logsigmoid, pow, relu
from trtnn.ops.reduction import log_softmax, mean, sum
from trtnn.ops.special import xlogy
from trtnn.ops.unary import abs, exp, log, log1p, neg
from trtnn.sizes.dims import product

__all__ = [
    "binary_cross_entropy", "binary_cross_entropy_with_logits", "cross_entropy",
    "gaussian_nll_loss", "hinge_embedding_loss", "huber_loss", "kl_div", "l1_loss",
    "margin_ranking_loss", "mse_loss", "nll_loss", "poisson_nll_loss", "smooth_l1_loss",
    "soft_margin_loss",
]  # fmt: skip


def _reduced(
    loss: TensorT, reduction: str, size_average: Any = None, reduce: Any = None
) -> TensorT:
    """Return a loss as it is, its mean or its sum."""
    if size_average is not None or reduce is not None:
        averaged = "mean" if size_average in (None, True) else "sum"
        reduction = "none" if reduce is False else averaged
    if reduction == "none":
        return loss
    if reduction not in ("mean", "sum"):
        raise OptionError(f"reduction: expected 'none', 'mean' or 'sum', got {reduction!r}")
    return mean(loss) if reduction == "mean" else sum(loss)


def _weighed(
    loss: TensorT, weight: TensorT | None, reduction: str, size_average: Any, reduce: Any
) -> TensorT:
    """Reduce a loss with a weight for each entry, whose mean is over the weights."""
    if weight is None:
        return _reduced(loss, reduction, size_average, reduce)
    loss = mul(loss, weight)
    average = reduction == "mean" and size_average is None and reduce is None
    return div(sum(loss), sum(weight)) if average else _reduced(loss, reduction)


@torch_function(F.mse_loss)
def mse_loss(
    input: TensorT, target: TensorT, size_average: Any = None, reduce: Any = None,
    reduction: str = "mean", weight: TensorT | None = None,
) -> TensorT:  # fmt: skip
    """Compute the mean of squared differences."""
    return _weighed(pow(sub(input, target), 2), weight, reduction, size_average, reduce)


@torch_function(F.l1_loss)
def l1_loss(
    input: TensorT, target: TensorT, size_average: Any = None, reduce: Any = None,
    reduction: str = "mean", weight: TensorT | None = None,
) -> TensorT:  # fmt: skip
    """Compute the mean of absolute differences."""
    return _weighed(abs(sub(input, target)), weight, reduction, size_average, reduce)


@torch_function(F.huber_loss)
def huber_loss(
    input: TensorT, target: TensorT, reduction: str = "mean", delta: float = 1.0,
    weight: TensorT | None = None,
) -> TensorT:  # fmt: skip
    """Compute half the square of differences, and from ``delta`` on go straight."""
    off = abs(sub(input, target))
    straight = mul(sub(off, 0.5 * delta), delta)
    loss = where(le(off, delta), mul(mul(off, off), 0.5), straight)
    return _weighed(loss, weight, reduction, None, None)


@torch_function(F.smooth_l1_loss)
def smooth_l1_loss(
    input: TensorT, target: TensorT, size_average: Any = None, reduce: Any = None,
    reduction: str = "mean", beta: float = 1.0,
) -> TensorT:  # fmt: skip
    """Compute absolute differences, rounded to a parabola below ``beta``."""
    off = abs(sub(input, target))
    if beta > 0:
        off = where(lt(off, beta), div(mul(mul(off, off), 0.5), beta), sub(off, 0.5 * beta))
    return _reduced(off, reduction, size_average, reduce)


@torch_function(F.soft_margin_loss)
def soft_margin_loss(
    input: TensorT, target: TensorT, size_average: Any = None, reduce: Any = None,
    reduction: str = "mean",
) -> TensorT:  # fmt: skip
    """Compute ``log(1 + exp(-target * input))``."""
    loss = log1p(exp(neg(mul(target, input))))
    return _reduced(loss, reduction, size_average, reduce)


@torch_function(F.hinge_embedding_loss)
def hinge_embedding_loss(
    input: TensorT, target: TensorT, margin: float = 1.0, size_average: Any = None,
    reduce: Any = None, reduction: str = "mean",
) -> TensorT:  # fmt: skip
    """Compute ``input`` where the target is 1, and what is missing to the margin where it is -1."""
    far = where(ne(target, 1), relu(rsub(input, margin)), 0.0)
    near = where(ne(target, -1), input, 0.0)
    return _reduced(add(far, near), reduction, size_average, reduce)


@torch_function(F.margin_ranking_loss)
def margin_ranking_loss(
    input1: TensorT, input2: TensorT, target: TensorT, margin: float = 0, size_average: Any = None,
    reduce: Any = None, reduction: str = "mean",
) -> TensorT:  # fmt: skip
    """Compute by how much the first misses to be ranked before the second."""
    loss = relu(add(mul(neg(target), sub(input1, input2)), margin))
    return _reduced(loss, reduction, size_average, reduce)


@torch_function(F.kl_div)
def kl_div(
    input: TensorT, target: TensorT, size_average: Any = None, reduce: Any = None,
    reduction: str = "mean", log_target: bool = False,
) -> TensorT:  # fmt: skip
    """Compute the divergence of a target from logarithms of probabilities."""
    if log_target:
        loss = mul(exp(target), sub(target, input))
    else:
        loss = sub(xlogy(target, target), mul(target, input))
    if reduction == "batchmean":
        shape = shape_of(input)
        return div(sum(loss), shape[0]) if shape else sum(loss)
    return _reduced(loss, reduction, size_average, reduce)


@torch_function(F.poisson_nll_loss)
def poisson_nll_loss(
    input: TensorT, target: TensorT, log_input: bool = True, full: bool = False,
    size_average: Any = None, eps: float = 1e-8, reduce: Any = None, reduction: str = "mean",
) -> TensorT:  # fmt: skip
    """Compute the negative logarithm of a Poisson distribution's likelihood."""
    if log_input:
        loss = sub(exp(input), mul(target, input))
    else:
        loss = sub(input, mul(target, log(add(input, eps))))
    if full:
        stirling = add(
            sub(mul(target, log(target)), target), mul(log(mul(target, 2 * math.pi)), 0.5)
        )
        loss = add(loss, where(le(target, 1), 0.0, stirling))
    return _reduced(loss, reduction, size_average, reduce)


@torch_function(F.gaussian_nll_loss)
def gaussian_nll_loss(
    input: TensorT, target: TensorT, var: Any, full: bool = False, eps: float = 1e-6,
    reduction: str = "mean",
) -> TensorT:  # fmt: skip
    """Compute the negative logarithm of a normal distribution's likelihood.

    Where a variance is negative PyTorch raises; here it is ``eps``.
    """
    shape, width = shape_of(input), var
    if isinstance(var, (int, float)):
        width = full_like(input, float(var))
    elif shape_of(var) != shape and shape_of(var) == shape[:-1]:
        width = unsqueeze(var, -1)
    width = clamp(width, eps)
    off = sub(input, target)
    loss = mul(add(log(width), div(mul(off, off), width)), 0.5)
    return _reduced(add(loss, 0.5 * math.log(2 * math.pi)) if full else loss, reduction)


@torch_function(F.binary_cross_entropy)
def binary_cross_entropy(
    input: TensorT, target: TensorT, weight: TensorT | None = None, size_average: Any = None,
    reduce: Any = None, reduction: str = "mean",
) -> TensorT:  # fmt: skip
    """Compute the cross entropy of probabilities; no logarithm is below -100."""
    yes, no = clamp(log(input), -100.0), clamp(log1p(neg(input)), -100.0)
    loss = sub(mul(sub(target, 1.0), no), mul(target, yes))
    return _reduced(loss if weight is None else mul(loss, weight), reduction, size_average, reduce)


@torch_function(F.binary_cross_entropy_with_logits)
def binary_cross_entropy_with_logits(
    input: TensorT, target: TensorT, weight: TensorT | None = None, size_average: Any = None,
    reduce: Any = None, reduction: str = "mean", pos_weight: TensorT | None = None,
) -> TensorT:  # fmt: skip
    """Compute the cross entropy of sigmoids."""
    tail = logsigmoid(input)
    if pos_weight is not None:
        tail = mul(tail, add(mul(sub(pos_weight, 1.0), target), 1.0))
    loss = sub(mul(rsub(target, 1.0), input), tail)
    return _reduced(loss if weight is None else mul(loss, weight), reduction, size_average, reduce)


@torch_function(F.nll_loss)
def nll_loss(
    input: TensorT, target: TensorT, weight: TensorT | None = None, size_average: Any = None,
    ignore_index: int = -100, reduce: Any = None, reduction: str = "mean",
) -> TensorT:  # fmt: skip
    """Take the negative logarithm at the class of each target, on dim 1.

    A target out of range raises in PyTorch, and on the reference; an engine reads 0 there.
    """
    axis = 1 if len(shape_of(input)) > 1 else 0
    counts = ne(target, ignore_index)
    inside = where(counts, target, 0)
    picked = squeeze(gather(input, axis, unsqueeze(inside, axis)), axis)
    part = cast(counts, spec_of(input).dtype)
    if weight is not None:
        flat = reshape(inside, (-1,))
        part = mul(part, reshape(index_select(weight, 0, flat), shape_of(inside)))
    loss = where(counts, neg(mul(picked, part)), 0.0)
    average = size_average is None and reduce is None and reduction == "mean"
    return div(sum(loss), sum(part)) if average else _reduced(loss, reduction, size_average, reduce)


@torch_function(F.cross_entropy)
def cross_entropy(
    input: TensorT, target: TensorT, weight: TensorT | None = None, size_average: Any = None,
    ignore_index: int = -100, reduce: Any = None, reduction: str = "mean",
    label_smoothing: float = 0.0,
) -> TensorT:  # fmt: skip
    """Compute the cross entropy of a softmax over dim 1, with classes or with their shares."""
    if label_smoothing != 0:
        raise UnsupportedError(
            f"cross_entropy: label_smoothing={label_smoothing} is not taken",
            hint="it is for training: leave it out",
        )
    axis = 1 if len(shape_of(input)) > 1 else 0
    logs = log_softmax(input, axis)
    if not spec_of(target).dtype.is_floating_point:
        return nll_loss(logs, target, weight, size_average, ignore_index, reduce, reduction)
    if shape_of(target) != shape_of(input):
        raise ShapeError(
            f"cross_entropy: {spec_of(target)} are no shares of {spec_of(input)}",
            hint="give classes as int64, or a share for each entry",
        )
    shares = mul(logs, target)
    if weight is not None:
        sizes = [1] * len(shape_of(input))
        sizes[axis] = -1
        shares = mul(shares, reshape(weight, sizes))
    loss = neg(sum(shares, axis))
    if reduction == "mean" and size_average is None and reduce is None:
        rows = [size for i, size in enumerate(shape_of(input)) if i != axis]
        return div(sum(loss), product(rows))
    return _reduced(loss, reduction, size_average, reduce)
