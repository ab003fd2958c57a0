"""Layers that multiply, reduce or normalize along axes, and those of attention."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch

from trtnn.errors import DTypeError, OptionError, ShapeError, UnsupportedError
from trtnn.nvinfer.members import masked_axes, member, one_axis, require_rank
from trtnn.ops.accumulation import Cumulative
from trtnn.ops.arithmetic import add, cast, ge, le, logical_and, lt, sub, tensor_of, where
from trtnn.ops.attention import Attention
from trtnn.ops.channels import ChannelNormalization
from trtnn.ops.creation import arange, full
from trtnn.ops.einsum import einsum as contracted
from trtnn.ops.fetching import Fetch
from trtnn.ops.matrix import MatrixMultiply, matmul
from trtnn.ops.movement import expand, repeat_interleave, reshape, squeeze, transpose, unsqueeze
from trtnn.ops.normalization import Normalization
from trtnn.ops.op import (
    TensorT,
    axis_of,
    bind,
    require_float,
    require_same_dtype,
    shape_of,
    spec_of,
)
from trtnn.ops.pointwise import clamp
from trtnn.ops.positioning import RotaryEmbedding
from trtnn.ops.reduction import Reduce, Softmax, require_entries
from trtnn.ops.shaping import Einsum, RaggedSoftmax, plain_equation
from trtnn.sizes.dims import Size

EXTREMES = {"MAX": -math.inf, "MIN": math.inf}
OF_NOTHING = {"SUM": 0.0, "PROD": 1.0, "AVG": math.nan, **EXTREMES}
"""What a reduction leaves of no entries."""


def matrix_multiply(input0: TensorT, op0: Any, input1: TensorT, op1: Any) -> TensorT:
    """Multiply float matrices, or collections of them of one rank whose dims are equal, or 1.

    TRANSPOSE takes the last two dims the other way round. VECTOR takes the last dim as a row of
    the first operand, as a column of the second, and the result has no dim for it.

    >>> matrix_multiply(torch.ones(2, 3), "NONE", torch.ones(3), "VECTOR")
    tensor([3., 3.])
    """
    kinds = [
        member("matrix_multiply", name, "MatrixOperation", given)
        for name, given in (("op0", op0), ("op1", op1))
    ]
    pairs = list(zip(kinds, (input0, input1), strict=True))
    for kind, x in pairs:
        if len(shape_of(x)) < (1 if kind == "VECTOR" else 2):
            raise ShapeError(f"matrix_multiply: {kind} of {spec_of(x)}")
    vectors = [kind == "VECTOR" for kind in kinds]
    a = unsqueeze(input0, -2) if vectors[0] else input0
    b = unsqueeze(input1, -1) if vectors[1] else input1
    require_rank("matrix_multiply", a, b)
    result = bind(MatrixMultiply(kinds[0] == "TRANSPOSE", kinds[1] == "TRANSPOSE"), a, b)
    result = squeeze(result, -1) if vectors[1] else result
    return squeeze(result, -1 if vectors[1] else -2) if vectors[0] else result


def einsum(inputs: Sequence[TensorT], equation: str) -> TensorT:
    """Multiply float tensors, and add up along the dims whose letters the result has not.

    One or two operands, of which each names every dim by a letter of its own, are one layer. What
    not every version has, more operands, an ellipsis and a diagonal, is composed of others.

    >>> einsum((torch.ones(2, 3), torch.ones(3)), "ij,j->i")
    tensor([3., 3.])
    """
    plain = plain_equation(equation)
    specs = [spec_of(x) for x in inputs]
    require_float("einsum", *specs)
    require_same_dtype("einsum", *specs)
    if plain is None or plain.count(",") + 1 != len(inputs):
        return contracted(equation, *inputs)
    return bind(Einsum(plain), *inputs)


def reduce(input: TensorT, op: Any, axes: Any, keep_dims: bool) -> TensorT:
    """Add up, multiply, average, or take the extreme of entries along axes.

    ``axes`` is a bit mask, as TensorRT has it, or a tuple of axes. The dtype stays: sums of
    integers may leave it. Of no entries SUM leaves 0, PROD 1, MAX and MIN the least and the
    greatest number there is, AVG NaN.

    Raises:
        UnsupportedError: AVG of integers, of which TensorRT does not say how it rounds.

    >>> reduce(torch.ones(2, 3), "SUM", 1 << 1, False)
    tensor([3., 3.])
    """
    kind, spec = member("reduce", "op", "ReduceOperation", op), spec_of(input)
    axes = masked_axes("reduce", axes, spec.rank)
    if kind == "AVG" and not spec.dtype.is_floating_point:
        raise UnsupportedError(
            f"reduce: AVG of {spec.dtype}: how TensorRT rounds it is not documented",
            hint="cast to 'FLOAT' before",
        )
    how = Reduce(kind, axes, bool(keep_dims))
    result = how.infer(spec)
    if any(spec.shape[axis] == 0 for axis in axes):
        return full(result.shape, _of_nothing(kind, spec.dtype), dtype=spec.dtype)
    require_entries(kind, spec.shape, axes)
    return bind(how, input)


def _of_nothing(kind: str, dtype: torch.dtype) -> float:
    if kind in EXTREMES and not dtype.is_floating_point:
        limits = torch.iinfo(dtype)
        return limits.min if kind == "MAX" else limits.max
    return OF_NOTHING[kind] if dtype.is_floating_point else int(OF_NOTHING[kind])


def softmax(input: TensorT, *, axes: Any = None) -> TensorT:
    """Normalize exponentials along one axis to sum 1.

    ``axes`` is a bit mask, as TensorRT has it, or a tuple of one axis. Left out, it is TensorRT's
    axis ``max(0, rank - 3)``, the channels of an image: seldom what is meant.

    >>> softmax(torch.zeros(2, 2), axes=(1,))
    tensor([[0.5000, 0.5000],
            [0.5000, 0.5000]])
    """
    rank = len(shape_of(input))
    if rank == 0:
        raise ShapeError("softmax: expected dims, got a scalar")
    axis = max(0, rank - 3) if axes is None else one_axis("softmax", axes, rank)
    return bind(Softmax(axis), input)


def ragged_softmax(input: TensorT, bounds: TensorT) -> TensorT:
    """Normalize exponentials along the last dim of (N, Z, S), of its first ``bounds`` entries.

    ``bounds`` are int32, (N, Z, 1); the entries behind become 0.

    >>> ragged_softmax(torch.zeros(1, 1, 3), torch.tensor([[[2]]], dtype=torch.int32))
    tensor([[[0.5000, 0.5000, 0.0000]]])
    """
    return bind(RaggedSoftmax(), input, bounds)


def normalization(
    input: TensorT,
    scale: TensorT,
    bias: TensorT,
    axesMask: Any,
    *,
    epsilon: float = 1e-5,
    num_groups: int = 1,
) -> TensorT:
    """Compute ``(x - mean) / sqrt(variance + epsilon) * scale + bias`` over axes.

    ``axesMask`` is a bit mask, as TensorRT has it, or a tuple of axes. Scale and bias have the
    rank of the input, and broadcast to it; with ``num_groups`` above 1, whose axes are all those
    behind the channels, they are (1, groups, 1, ...), one of each group: a trap that
    ``normalization_v2`` has not. Statistics are computed in float32 whatever the dtype.

    >>> x = torch.tensor([[1.0, 3.0]])
    >>> normalization(x, torch.ones(1, 2), torch.zeros(1, 2), 1 << 1, epsilon=0.0)
    tensor([[-1.,  1.]])
    """
    axes = _groups("normalization", input, axesMask, num_groups)
    if num_groups > 1:
        wanted = (1, num_groups, *(1,) * len(axes))
        for given in (scale, bias):
            if shape_of(given) != wanted:
                raise ShapeError(
                    f"normalization: expected {wanted} of groups, got {spec_of(given)}"
                )
    return bind(Normalization(axes, float(epsilon), num_groups), input, scale, bias)


def normalization_v2(
    input: TensorT,
    scale: TensorT,
    bias: TensorT,
    axesMask: Any,
    *,
    epsilon: float = 1e-5,
    num_groups: int = 1,
) -> TensorT:
    """Normalize as ``normalization``, with scale and bias of channels where there are groups, too.

    Versions before 10.15 have no such layer: it is composed there.

    >>> x, one = torch.arange(4.0).view(1, 4, 1), torch.ones(1, 4, 1)
    >>> normalization_v2(x, one, one, 1 << 2, num_groups=2, epsilon=0.0).view(-1)
    tensor([0., 2., 0., 2.])
    """
    axes = _groups("normalization_v2", input, axesMask, num_groups)
    return bind(ChannelNormalization(axes, float(epsilon), num_groups), input, scale, bias)


def _groups(function: str, input: TensorT, mask: Any, groups: int) -> tuple[int, ...]:
    """Return the axes of a normalization."""
    shape = shape_of(input)
    axes = masked_axes(function, mask, len(shape))
    if groups == 1:
        return axes
    channels = shape[1] if len(shape) > 2 else 0
    fits = isinstance(channels, int) and groups > 0 and channels % groups == 0
    if not fits or axes != tuple(range(2, len(shape))):
        raise ShapeError(
            f"{function}: {groups} groups of {spec_of(input)} over the axes {axes}",
            hint="groups divide the channels, axis 1, and the axes are all those behind",
        )
    return axes


def cumulative(
    input: TensorT, axis: int, op: Any = "SUM", exclusive: bool = False, reverse: bool = False
) -> TensorT:
    """Add up all entries up to each along ``axis``.

    ``exclusive`` leaves its own out, ``reverse`` begins at the end.

    8.6 has no such layer: it is composed there.

    >>> cumulative(torch.tensor([1, 2, 3]), 0, exclusive=True)
    tensor([0, 1, 3])
    """
    member("cumulative", "op", "CumulativeOperation", op)
    place = axis_of("cumulative", axis, len(shape_of(input)))
    return bind(Cumulative(place, bool(exclusive), bool(reverse)), input)


def attention(
    query: TensorT,
    key: TensorT,
    value: TensorT,
    norm_op: Any = "SOFTMAX",
    causal: bool = False,
    *,
    mask: TensorT | None = None,
) -> TensorT:
    """Attend: ``attention_v2`` with the causal mask UPPER_LEFT, or none.

    >>> x = torch.ones(1, 1, 2, 4)
    >>> attention(x, x, x, "SOFTMAX", True).shape
    torch.Size([1, 1, 2, 4])
    """
    return attention_v2(query, key, value, norm_op, "UPPER_LEFT" if causal else "NONE", mask=mask)


def attention_v2(
    query: TensorT,
    key: TensorT,
    value: TensorT,
    norm_op: Any = "SOFTMAX",
    causal_kind: Any = "NONE",
    *,
    mask: TensorT | None = None,
) -> TensorT:
    """Compute ``softmax(query @ key.T + mask) @ value`` on (B, heads, S, D), without a scale.

    Heads of key and value divide those of the query, and each serves several of it, one after
    another. A bool ``mask`` keeps what is True, one of the query's dtype is added; beside a causal
    one it is an error. LOWER_RIGHT lets the last query see every key. ``norm_op="NONE"`` leaves
    the softmax out. 8.6 has no such layer: it is composed there, as is NONE everywhere.

    Raises:
        OptionError: ``mask`` beside a causal mask.

    >>> x = torch.ones(1, 1, 2, 4)
    >>> attention_v2(x, x, x, "NONE")[0, 0, 0]
    tensor([8., 8., 8., 8.])
    """
    norm = member("attention", "norm_op", "AttentionNormalizationOp", norm_op)
    kind = member("attention", "causal_kind", "CausalMaskKind", causal_kind)
    if mask is not None and kind != "NONE":
        raise OptionError("attention: expected mask or a causal mask, got both")
    if require_rank("attention", query, key, value) != 4:
        raise ShapeError(f"attention: expected (B, heads, S, D), got {spec_of(query)}")
    heads, own = shape_of(query)[1], shape_of(key)[1]
    if heads != own:
        if not isinstance(heads, int) or not isinstance(own, int) or own == 0 or heads % own:
            raise ShapeError(f"attention: {own} heads of the key do not divide the query's {heads}")
        key, value = (repeat_interleave(t, heads // own, 1) for t in (key, value))
    sizes = shape_of(query)[2], shape_of(key)[2]
    if kind == "LOWER_RIGHT" or (kind != "NONE" and norm == "NONE"):
        mask = _causal(*sizes, sizes[1] - sizes[0] if kind == "LOWER_RIGHT" else 0)
    causal = kind == "UPPER_LEFT" and mask is None
    if norm == "SOFTMAX":
        return bind(Attention(causal), query, key, value, *([] if mask is None else [mask]))
    scores = matmul(query, transpose(key, -2, -1))
    if mask is not None and spec_of(mask).dtype == torch.bool:
        scores = where(mask, scores, torch.zeros((), dtype=spec_of(scores).dtype))
    elif mask is not None:
        scores = add(scores, mask)
    return matmul(scores, value)


def _causal(queries: Size, keys: Size, shift: Size) -> TensorT:
    """Return the mask that keeps keys up to the query's own place, (1, 1, queries, keys)."""
    places = add(unsqueeze(arange(queries), 1), tensor_of(shift))
    return reshape(le(unsqueeze(arange(keys), 0), places), (1, 1, queries, keys))


def rotary_embedding(
    input: TensorT,
    cos_cache: TensorT,
    sin_cache: TensorT,
    interleaved: bool = False,
    rotary_embedding_dim: int = 0,
    *,
    position_ids: TensorT | None = None,
) -> TensorT:
    """Turn pairs of entries of (B, heads, S, D) by angles, in the first ``rotary_embedding_dim``.

    0 stands for all of D. Pairs are neighbours if ``interleaved``, else of the first and the
    second half. The caches are (B, S, dim / 2); or with ``position_ids``, (B, S), tables of all
    positions (positions, dim / 2). 8.6 has no such layer: it is composed there.

    >>> x, one = torch.tensor([[[[1.0, 0.0]]]]), torch.ones(1, 1, 1)
    >>> rotary_embedding(x, 0 * one, one)
    tensor([[[[0., 1.]]]])
    """
    width = rotary_embedding_dim or shape_of(input)[-1]
    if not isinstance(width, int) or width % 2 or not width > 0:
        raise ShapeError(f"rotary_embedding: expected an even number to be turned, got {width}")
    more = [] if position_ids is None else [position_ids]
    return bind(RotaryEmbedding(bool(interleaved), width), input, cos_cache, sin_cache, *more)


def kv_cache_update(
    cache: TensorT, update: TensorT, write_indices: TensorT, cache_mode: Any = "LINEAR"
) -> TensorT:
    """Copy ``cache`` (B, heads, most, D), with ``update`` (B, heads, S, D) put into it.

    ``write_indices`` (B,) says at which place; what is beyond the end is left out. The result is
    a new tensor on every version: TensorRT's own layer (10.15 on) writes into its input, which
    must be the output's memory, and trtnn gives each output memory of its own.

    >>> kv_cache_update(torch.zeros(1, 1, 3, 1), torch.ones(1, 1, 1, 1), torch.tensor([1])).view(-1)
    tensor([0., 1., 0.])
    """
    member("kv_cache_update", "cache_mode", "KVCacheMode", cache_mode)
    own, new = shape_of(cache), shape_of(update)
    if len(own) != 4 or len(new) != 4 or (*own[:2], own[3]) != (*new[:2], new[3]):
        raise ShapeError(f"kv_cache_update: {spec_of(update)} does not fit {spec_of(cache)}")
    require_same_dtype("kv_cache_update", spec_of(cache), spec_of(update))
    if spec_of(write_indices).dtype not in (torch.int32, torch.int64):
        raise DTypeError(f"kv_cache_update: expected integers, got {spec_of(write_indices)}")
    if shape_of(write_indices) != own[:1]:
        raise ShapeError(f"kv_cache_update: expected {own[0]} places, got {spec_of(write_indices)}")
    starts = reshape(cast(write_indices, torch.int64), (own[0], 1, 1, 1))
    places = sub(reshape(arange(own[2]), (1, 1, own[2], 1)), starts)
    written = logical_and(ge(places, 0), lt(places, tensor_of(new[2])))
    found = bind(Fetch("ELEMENT", 2, 0), update, expand(clamp(places, 0), own))  # 0 behind its end
    return where(written, found, cache)
