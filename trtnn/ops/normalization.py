"""Normalizations: batch norm as a scale per channel; layer, group and instance norm."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from trtnn.errors import ShapeError, UnsupportedError
from trtnn.ops.arithmetic import add, cast, mul, sub
from trtnn.ops.creation import full, zeros
from trtnn.ops.movement import reshape, squeeze
from trtnn.ops.op import (
    Op,
    Spec,
    TensorT,
    as_size,
    as_sizes,
    bind,
    has_sizes,
    require_float,
    require_same_dtype,
    spec_of,
    torch_function,
)
from trtnn.ops.reduction import mean
from trtnn.ops.slicing import known_of
from trtnn.ops.unary import rsqrt
from trtnn.sizes.dims import Size, decide

if TYPE_CHECKING:
    from trtnn.lower.network import ITensor, Net

__all__ = [
    "BatchNorm",
    "Normalization",
    "batch_norm",
    "group_norm",
    "instance_norm",
    "layer_norm",
    "rms_norm",
]


@dataclass(frozen=True, repr=False)
class BatchNorm(Op):
    """Operands x (N, C, ...) and the constants mean, variance, weight and bias, all (C,)."""

    epsilon: float

    def infer(self, x: Spec, *constants: Spec) -> Spec:
        require_float("batch_norm", x, *constants)
        if x.rank < 2 or any(c.shape != (x.shape[1],) for c in constants):
            raise ShapeError(f"batch_norm: {list(constants)} do not fit the channels of {x}")
        return x

    def folded(
        self, mean: torch.Tensor, var: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return scale and shift per channel, computed in float64."""
        mean, var, weight, bias = (t.detach().double() for t in (mean, var, weight, bias))
        scale = weight / torch.sqrt(var + self.epsilon)
        return scale, bias - mean * scale

    def reference(self, x: torch.Tensor, *constants: torch.Tensor) -> torch.Tensor:
        mean, var, weight, bias = (c.float() for c in constants)
        wide = x.float() if x.dtype in (torch.float16, torch.bfloat16) else x
        if wide.dtype == torch.float64:
            mean, var, weight, bias = (c.double() for c in constants)
        result = torch.nn.functional.batch_norm(
            wide, mean, var, weight, bias, False, 0.0, self.epsilon
        )
        return result.to(x.dtype)

    def lower(self, net: Net, x: ITensor, *constants: Any) -> ITensor:
        return net.scale(x, *net.derive(self.folded, *constants))


@torch_function(torch.nn.functional.batch_norm)
def batch_norm(
    input: TensorT,
    running_mean: TensorT | None,
    running_var: TensorT | None,
    weight: TensorT | None = None,
    bias: TensorT | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> TensorT:
    """Shift and scale each channel by its running statistics.

    Statistics of the batch are computed where there are no others to be updated.

    Raises:
        UnsupportedError: ``training`` with running statistics, which are then written.

    >>> batch_norm(torch.ones(1, 2), torch.zeros(2), torch.ones(2), eps=0.0)
    tensor([[1., 1.]])
    """
    spec = spec_of(input)
    if spec.rank < 2:
        raise UnsupportedError(f"batch_norm: expected (N, C, ...), got {spec}")
    if training and running_mean is None and running_var is None:
        axes = tuple(i for i in range(spec.rank) if i != 1)
        return _affinely(_standardized("batch_norm", input, axes, float(eps))[0], weight, bias)
    if training:
        raise UnsupportedError(
            "batch_norm: training=True updates the running statistics, which are buffers",
            hint="call .eval() on the module before",
        )
    if running_mean is None or running_var is None:
        raise ShapeError("batch_norm: expected running statistics, or training=True")
    given = (running_mean, running_var, weight, bias)
    if any(p is not None and known_of(p) is None for p in given):
        return _by_statistics(input, given, float(eps))
    weight = torch.ones(spec_of(running_var).shape) if weight is None else weight  # type: ignore[arg-type]
    bias = torch.zeros(spec_of(running_var).shape) if bias is None else bias  # type: ignore[arg-type]
    return bind(BatchNorm(float(eps)), input, running_mean, running_var, weight, bias)


@torch_function(torch.native_batch_norm)
def native_batch_norm(
    input: TensorT,
    weight: TensorT | None,
    bias: TensorT | None,
    running_mean: TensorT | None,
    running_var: TensorT | None,
    training: bool,
    momentum: float,
    eps: float,
) -> tuple[TensorT, TensorT, TensorT]:
    """Return ``batch_norm`` by running statistics, and nothing of what training saves."""
    if training:
        raise UnsupportedError("native_batch_norm: training=True", hint="pass training=False")
    result = batch_norm(input, running_mean, running_var, weight, bias, False, momentum, eps)
    return result, zeros(0), zeros(0)


def _by_statistics(input: TensorT, given: Sequence[TensorT | None], eps: float) -> TensorT:
    """Compute a batch norm of statistics or parameters that are not known, in float32."""
    spec = spec_of(input)
    shape = (1, spec.shape[1], *(1,) * (spec.rank - 2))
    dtype = torch.promote_types(spec.dtype, torch.float32)
    shaped = [p if p is None else cast(reshape(p, shape), dtype) for p in given]
    middle, var, weight, bias = shaped
    factor = rsqrt(add(var, eps))
    factor = factor if weight is None else mul(factor, weight)
    result = mul(sub(cast(input, dtype), middle), factor)
    return cast(result if bias is None else add(result, bias), spec.dtype)


def _standardized(
    function: str, input: TensorT, axes: tuple[int, ...], eps: float
) -> tuple[TensorT, TensorT, TensorT]:
    """Return the input with mean 0 and variance 1 over axes, its means, and what it was times."""
    spec = spec_of(input)
    require_float(function, spec)
    wide = cast(input, torch.promote_types(spec.dtype, torch.float32))
    middle = mean(wide, axes, True)
    away = sub(wide, middle)
    factor = rsqrt(add(mean(mul(away, away), axes, True), eps))
    return cast(mul(away, factor), spec.dtype), middle, factor


def _affinely(x: TensorT, weight: TensorT | None, bias: TensorT | None) -> TensorT:
    """Scale and shift each channel (axis 1)."""
    spec = spec_of(x)
    shape = (1, spec.shape[1], *(1,) * (spec.rank - 2))
    if weight is not None:
        x = mul(x, cast(reshape(weight, shape), spec.dtype))
    return x if bias is None else add(x, cast(reshape(bias, shape), spec.dtype))


@dataclass(frozen=True, repr=False)
class Normalization(Op):
    """``(x - mean) / sqrt(var + epsilon) * scale + bias`` over axes, or over groups of channels.

    Scale and bias have the rank of x; with ``groups`` above 1 they are (1, groups, 1, ...).
    """

    axes: tuple[int, ...]
    epsilon: float
    groups: int = 1

    def infer(self, x: Spec, scale: Spec, bias: Spec) -> Spec:
        require_float("normalization", x)
        require_same_dtype("normalization", x, scale, bias)
        if not x.rank == scale.rank == bias.rank:
            raise ShapeError(f"normalization: {scale} and {bias} do not have the rank of {x}")
        return x

    def reference(self, x: torch.Tensor, scale: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
        dtype = torch.promote_types(x.dtype, torch.float32)
        wide, scale, bias = x.to(dtype), scale.to(dtype), bias.to(dtype)
        if self.groups > 1:
            result = torch.nn.functional.group_norm(wide, self.groups, eps=self.epsilon)
            each = x.shape[1] // self.groups
            scale, bias = (t.repeat_interleave(each, 1) for t in (scale, bias))
        else:
            var, mean = torch.var_mean(wide, self.axes, correction=0, keepdim=True)
            result = (wide - mean) / torch.sqrt(var + self.epsilon)
        return (result * scale + bias).to(x.dtype)

    def lower(self, net: Net, x: ITensor, scale: Any, bias: Any) -> ITensor:
        return net.normalization(x, scale, bias, self.axes, self.epsilon, self.groups)


def _affine(
    given: TensorT | None, value: float, shape: tuple[Size, ...], dtype: torch.dtype
) -> TensorT:
    """Return a parameter in a shape and dtype, or a constant where there is none."""
    if given is None:
        return full(shape, value, dtype=dtype)
    shaped = reshape(given, shape)
    return shaped if spec_of(shaped).dtype == dtype else cast(shaped, dtype)


@torch_function(torch.nn.functional.rms_norm, torch.rms_norm)
def rms_norm(
    input: TensorT,
    normalized_shape: Sequence[int],
    weight: TensorT | None = None,
    eps: float | None = None,
) -> TensorT:
    """Divide the trailing ``normalized_shape`` axes by the root of their mean square, and scale.

    Computed in float32 whatever the dtype of ``input``; ``eps`` defaults to that of float32.

    >>> rms_norm(torch.tensor([[3.0, 3.0]]), (2,))
    tensor([[1., 1.]])
    """
    spec, axes = _trailing("rms_norm", input, normalized_shape)
    require_float("rms_norm", spec)
    dtype = torch.promote_types(spec.dtype, torch.float32)
    wide = cast(input, dtype)
    least = torch.finfo(dtype).eps if eps is None else float(eps)
    result = mul(wide, rsqrt(add(mean(mul(wide, wide), axes, True), least)))
    if weight is not None:
        result = mul(result, cast(weight, dtype))
    return cast(result, spec.dtype)


def _trailing(function: str, input: TensorT, normalized_shape: Any) -> tuple[Spec, tuple[int, ...]]:
    """Return the trailing axes that have given sizes."""
    spec, tail = spec_of(input), as_sizes(normalized_shape)
    first = spec.rank - len(tail)
    if not tail or first < 0 or spec.shape[first:] != tail:
        raise ShapeError(f"{function}: {spec} does not end in {tail}")
    return spec, tuple(range(first, spec.rank))


@torch_function(torch.nn.functional.layer_norm, torch.layer_norm)
def layer_norm(
    input: TensorT,
    normalized_shape: Sequence[int],
    weight: TensorT | None = None,
    bias: TensorT | None = None,
    eps: float = 1e-5,
    cudnn_enable: bool = True,
) -> TensorT:
    """Shift and scale the trailing ``normalized_shape`` axes to mean 0 and variance 1.

    Statistics are computed in float32 whatever the dtype of ``input``.

    >>> layer_norm(torch.tensor([[1.0, 3.0]]), (2,))
    tensor([[-1.0000,  1.0000]])
    """
    spec, axes = _trailing("layer_norm", input, normalized_shape)
    shape = (1,) * axes[0] + spec.shape[axes[0] :]
    scale, shift = _affine(weight, 1.0, shape, spec.dtype), _affine(bias, 0.0, shape, spec.dtype)
    return bind(Normalization(axes, float(eps)), input, scale, shift)


@torch_function(torch.native_layer_norm)
def native_layer_norm(
    input: TensorT,
    normalized_shape: Sequence[int],
    weight: TensorT | None,
    bias: TensorT | None,
    eps: float,
) -> tuple[TensorT, TensorT, TensorT]:
    """Return ``layer_norm``, with the means and the inverse deviations that it took."""
    _, axes = _trailing("native_layer_norm", input, normalized_shape)
    _, middle, factor = _standardized("native_layer_norm", input, axes, float(eps))
    return layer_norm(input, normalized_shape, weight, bias, eps), middle, factor


@torch_function(torch.nn.functional.group_norm, torch.group_norm)
def group_norm(
    input: TensorT,
    num_groups: int,
    weight: TensorT | None = None,
    bias: TensorT | None = None,
    eps: float = 1e-5,
    cudnn_enabled: bool = True,
) -> TensorT:
    """Normalize groups of channels of (N, C, ...), then scale and shift each channel.

    >>> group_norm(torch.tensor([[1.0, 3.0, 5.0, 7.0]]), 2)
    tensor([[-1.0000,  1.0000, -1.0000,  1.0000]])
    """
    spec = spec_of(input)
    if spec.rank < 2 or decide("ne", spec.shape[1] % num_groups, 0):
        raise ShapeError(f"group_norm: {num_groups} groups do not divide the channels of {spec}")
    if num_groups > 1 and has_sizes(spec.shape[1:2]):
        raise UnsupportedError(
            f"group_norm: the number of channels of {spec} is not static",
            hint="declare it as a number",
        )
    full = (*spec.shape, *(1,) * (4 - spec.rank))
    x = reshape(input, full)
    rank, channels = len(full), spec.shape[1]
    ones, per_channel = (1,) * (rank - 2), (1, channels, *(1,) * (rank - 2))
    axes = tuple(range(1 if num_groups == 1 else 2, rank))
    groups = 1 if num_groups == channels else num_groups
    scales = [_affine(None, v, (1, num_groups, *ones), spec.dtype) for v in (1.0, 0.0)]
    x = bind(Normalization(axes, float(eps), groups), x, *scales)
    given = [p for p in (weight, bias) if p is not None]
    if given and all(known_of(p) is not None for p in given):
        # One scale layer: what a batch norm of mean 0 and variance 1 is.
        x = batch_norm(x, *_standard(given[0]), weight, bias, eps=0.0)
    elif given:
        x = mul(x, _affine(weight, 1.0, per_channel, spec.dtype))
        x = add(x, _affine(bias, 0.0, per_channel, spec.dtype))
    return reshape(x, spec.shape)


@torch_function(torch.native_group_norm)
def native_group_norm(
    input: TensorT,
    weight: TensorT | None,
    bias: TensorT | None,
    N: Any,
    C: Any,
    HxW: Any,
    group: int,
    eps: float,
) -> tuple[TensorT, TensorT, TensorT]:
    """Return ``group_norm``, with the mean and the inverse deviation of each group."""
    sizes = (as_size(N), group, as_size(C) // group * as_size(HxW))
    groups = reshape(input, sizes)
    _, middle, factor = _standardized("native_group_norm", groups, (2,), float(eps))
    result = group_norm(input, group, weight, bias, eps)
    return result, squeeze(middle, 2), squeeze(factor, 2)


def _standard(parameter: TensorT) -> tuple[TensorT, TensorT]:
    """Return mean 0 and variance 1 for each channel."""
    shape, dtype = spec_of(parameter).shape, spec_of(parameter).dtype
    sizes = [int(str(size)) for size in shape]
    return torch.zeros(sizes, dtype=dtype), torch.ones(sizes, dtype=dtype)


@torch_function(torch.nn.functional.instance_norm)
def instance_norm(
    input: TensorT,
    running_mean: TensorT | None = None,
    running_var: TensorT | None = None,
    weight: TensorT | None = None,
    bias: TensorT | None = None,
    use_input_stats: bool = True,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> TensorT:
    """Normalize each channel of each sample of (N, C, ...) over its spatial dims."""
    if not use_input_stats:
        return batch_norm(input, running_mean, running_var, weight, bias, False, momentum, eps)
    if running_mean is not None:
        raise UnsupportedError(
            "instance_norm: use_input_stats=True updates the running statistics, which are buffers",
            hint="call .eval() on the module before",
        )
    spec = spec_of(input)
    if spec.rank < 3:
        raise ShapeError(f"instance_norm: expected (N, C, ...), got {spec}")
    full = (*spec.shape, *(1,) * (4 - spec.rank))
    shape = (1, full[1], *(1,) * (len(full) - 2))
    scale, shift = _affine(weight, 1.0, shape, spec.dtype), _affine(bias, 0.0, shape, spec.dtype)
    norm = Normalization(tuple(range(2, len(full))), float(eps))
    return reshape(bind(norm, reshape(input, full), scale, shift), spec.shape)
