"""Attention: one layer where TensorRT has it, else two products around a softmax."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from trtnn.errors import ShapeError, UnsupportedError
from trtnn.ops.arithmetic import add, cast, logical_and, logical_not, mul, where
from trtnn.ops.creation import arange, new_zeros
from trtnn.ops.joining import chunk
from trtnn.ops.matrix import linear, matmul
from trtnn.ops.movement import (
    expand,
    permute,
    repeat_interleave,
    reshape,
    squeeze,
    transpose,
    unsqueeze,
)
from trtnn.ops.op import (
    Op,
    Spec,
    TensorT,
    bind,
    broadcast,
    require_float,
    require_same_dtype,
    shape_of,
    spec_of,
    torch_function,
    unequal,
)
from trtnn.ops.padding import pad
from trtnn.ops.reduction import amax, mean, softmax
from trtnn.ops.slicing import cat, known_of
from trtnn.sizes.dims import Size, decide

if TYPE_CHECKING:
    from trtnn.lower.network import ITensor, Net

__all__ = ["Attention", "multi_head_attention_forward", "scaled_dot_product_attention"]


@dataclass(frozen=True, repr=False)
class Attention(Op):
    """``softmax(q @ k.T + mask) @ v`` on (B, H, S, D), without a scale; a bool mask keeps True.

    All three have one D: TensorRT refuses values of another width.
    """

    causal: bool

    def needs_decomposition(self, target: Any) -> bool:
        return "attention" not in target.layers

    def infer(self, q: Spec, k: Spec, v: Spec, mask: Spec | None = None) -> Spec:
        require_float("attention", q)
        require_same_dtype("attention", q, k, v)
        if not q.rank == k.rank == v.rank == 4:
            raise ShapeError(f"attention: expected rank 4, got q {q}, k {k} and v {v}")
        pairs = ((q, k, -1), (q, v, -1), (k, v, -2), (q, k, 0), (q, k, 1), (q, v, 0), (q, v, 1))
        for one, other, axis in pairs:
            sizes = (one.shape[axis], other.shape[axis])
            if sizes[0] != sizes[1]:
                raise ShapeError(
                    f"attention: q {q}, k {k} and v {v} do not fit: sizes {unequal(*sizes)}",
                    hint="declare one Dim for both",
                    sizes=sizes,
                )
        if mask is not None:
            scores = (*q.shape[:-1], k.shape[-2])
            if mask.rank != 4 or broadcast("attention", scores, mask.shape) != scores:
                raise ShapeError(f"attention: mask {mask} does not broadcast to {scores}")
        return Spec((*q.shape[:-1], v.shape[-1]), q.dtype)

    def reference(
        self,
        q: torch.Tensor,
        k: torch.Tensor,
        v: torch.Tensor,
        mask: torch.Tensor | None = None,
    ) -> torch.Tensor:
        return torch.nn.functional.scaled_dot_product_attention(
            q, k, v, mask, 0.0, self.causal, scale=1.0
        )

    def lower(self, net: Net, q: ITensor, k: ITensor, v: ITensor, mask: Any = None) -> ITensor:
        return net.attention(q, k, v, mask, self.causal)

    def decompose(self, q: TensorT, k: TensorT, v: TensorT, mask: TensorT | None = None) -> TensorT:
        """Return the composition of products and softmax that the op stands for."""
        return _composed(q, k, v, mask, self.causal)


def _composed(q: TensorT, k: TensorT, v: TensorT, mask: TensorT | None, causal: bool) -> TensorT:
    dtype, alive = spec_of(q).dtype, None
    if causal:
        mask = _causal(shape_of(q)[-2], shape_of(k)[-2])
    elif mask is not None and spec_of(mask).dtype == torch.bool:
        alive = _alive(mask, dtype)
    scores = matmul(q, transpose(k, -2, -1))
    if mask is not None:
        scores = add(scores, _additive(mask, dtype))
    result = matmul(softmax(scores, -1), v)
    # PyTorch gives 0 where a mask leaves nothing to attend to.
    return result if alive is None else mul(result, alive)


def _causal(queries: Any, keys: Any) -> TensorT:
    """Return the mask that keeps keys up to the query's own place."""
    return unsqueeze(arange(keys), 0) <= unsqueeze(arange(queries), 1)


def _additive(mask: TensorT, dtype: torch.dtype) -> TensorT:
    """Return what to add to the scores: 0 where a bool mask is True, the least number elsewhere."""
    if spec_of(mask).dtype != torch.bool:
        return cast(mask, dtype)
    # Finite, so that a row without any key stays free of NaN.
    least = torch.tensor(torch.finfo(dtype).min / 2, dtype=dtype)
    return where(mask, torch.tensor(0.0, dtype=dtype), least)


def _alive(mask: TensorT, dtype: torch.dtype) -> TensorT | None:
    known = known_of(mask)
    if known is not None and bool(known.any(-1).all()):
        return None
    return amax(cast(mask, dtype), (-1,), True)


@torch_function(torch.nn.functional.scaled_dot_product_attention)
def scaled_dot_product_attention(
    query: TensorT,
    key: TensorT,
    value: TensorT,
    attn_mask: TensorT | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> TensorT:
    """Compute ``softmax(query @ key.T * scale + attn_mask) @ value`` on (..., S, D).

    Where ``enable_gqa`` says so, each head of key and value serves several of the query, one after
    another.

    Raises:
        UnsupportedError: ``dropout_p`` above 0.

    >>> x = torch.ones(1, 1, 2, 4)
    >>> scaled_dot_product_attention(x, x, x).shape
    torch.Size([1, 1, 2, 4])
    """
    name = "scaled_dot_product_attention"
    if dropout_p > 0.0:
        raise UnsupportedError(f"{name}: dropout_p is {dropout_p}", hint="pass 0.0 in eval mode")
    if is_causal and attn_mask is not None:
        raise UnsupportedError(f"{name}: expected attn_mask or is_causal, got both")
    ranks = {spec_of(t).rank for t in (query, key, value)}
    if min(ranks) < (3 if enable_gqa else 2):
        raise ShapeError(f"{name}: expected ranks of at least 2, 3 in groups, got {sorted(ranks)}")
    if enable_gqa:
        key, value = (_in_groups(name, t, shape_of(query)[-3]) for t in (key, value))
    width = shape_of(query)[-1]
    if scale is None:
        if not isinstance(width, int):
            raise UnsupportedError(f"{name}: the head size {width} is not static")
        scale = 1.0 / math.sqrt(width)
    q = query if scale == 1.0 else mul(query, scale)
    heads = {shape_of(t)[:-2] for t in (query, key, value)}
    if max(ranks) > 4 or len(heads) > 1 or shape_of(value)[-1] != width:
        return _composed(q, key, value, attn_mask, is_causal)
    operands = [_four(t) for t in (q, key, value)]
    if attn_mask is not None:
        kept = spec_of(attn_mask).dtype == torch.bool
        mask = attn_mask if kept else cast(attn_mask, spec_of(query).dtype)
        operands.append(_four(mask))
    result = bind(Attention(bool(is_causal)), *operands)
    return reshape(result, (*shape_of(query)[:-1], shape_of(value)[-1]))


def _in_groups(function: str, tensor: TensorT, heads: Size) -> TensorT:
    """Repeat each head of key or value as often as the query's heads ask for."""
    own = shape_of(tensor)[-3]
    if not isinstance(heads, int) or not isinstance(own, int) or own == 0 or heads % own:
        raise ShapeError(
            f"{function}: {own} heads of key or value do not divide the query's {heads}"
        )
    return tensor if own == heads else repeat_interleave(tensor, heads // own, -3)


def _four(tensor: TensorT) -> TensorT:
    shape = shape_of(tensor)
    return reshape(tensor, (1,) * (4 - len(shape)) + shape)


def _heads(tensor: TensorT, count: int) -> TensorT:
    """(N, L, E) to (N, heads, L, E / heads)."""
    batch, length, width = shape_of(tensor)
    return permute(reshape(tensor, (batch, length, count, width // count)), 0, 2, 1, 3)


def _join_masks(
    attn_mask: TensorT | None, padding: TensorT | None, count: int, dtype: torch.dtype
) -> TensorT | None:
    """Return one mask for scores (N, heads, L, S): bool (True attends) if both are, else added.

    In ``multi_head_attention_forward`` a True means the opposite: do not attend.
    """
    masks = []
    if attn_mask is not None:
        shape = shape_of(attn_mask)
        split = (shape[0] // count, count, *shape[1:]) if len(shape) == 3 else (1, 1, *shape)
        masks.append(reshape(attn_mask, split))
    if padding is not None:
        batch, keys = shape_of(padding)
        masks.append(reshape(padding, (batch, 1, 1, keys)))
    masks = [logical_not(m) if spec_of(m).dtype == torch.bool else cast(m, dtype) for m in masks]
    if len(masks) < 2:
        return masks[0] if masks else None
    if all(spec_of(m).dtype == torch.bool for m in masks):
        return logical_and(*masks)
    return add(*(_additive(m, dtype) for m in masks))


def _project(
    inputs: tuple[TensorT, ...],
    packed: TensorT | None,
    apart: tuple[TensorT, TensorT, TensorT] | None,
    bias: TensorT | None,
) -> list[TensorT]:
    """Return the projected query, key and value, by a product each."""
    weights = chunk(packed, 3, 0) if apart is None else apart
    biases = (None,) * 3 if bias is None else chunk(bias, 3, 0)
    return [linear(x, w, b) for x, w, b in zip(inputs, weights, biases, strict=True)]


def _batch_first(*inputs: TensorT) -> tuple[TensorT, ...]:
    """Return inputs of (L, N, E) or (L, E) as (N, L, E), which TensorRT is fast on.

    What was one tensor stays one, and a transpose that the caller made before is undone by it.
    """
    turned = {
        id(x): transpose(x, 0, 1) if spec_of(x).rank == 3 else unsqueeze(x, 0) for x in inputs
    }
    return tuple(turned[id(x)] for x in inputs)


def _more(heads: TensorT, bias: TensorT | None, instead: TensorT | None, zeros: bool) -> TensorT:
    """Return keys or values (N, heads, S, E), one given instead, and what is put behind them."""
    batch, count, _, width = shape_of(heads)
    if bias is not None:
        row = expand(reshape(bias, (1, count, 1, width)), batch, -1, -1, -1)
        heads = cat([heads, row], 2)
    if instead is not None:
        heads = reshape(instead, (batch, count, shape_of(instead)[1], width))
    return cat([heads, new_zeros(heads, (batch, count, 1, width))], 2) if zeros else heads


def _attend(
    heads: list[TensorT], mask: TensorT | None, causal: bool, need_weights: bool
) -> tuple[TensorT, TensorT | None]:
    """Return the attended values and, where asked for, the weights of each head."""
    q, k, v = heads
    if not need_weights:
        return scaled_dot_product_attention(q, k, v, mask, 0.0, causal), None
    width, dtype = shape_of(q)[-1], spec_of(q).dtype
    assert isinstance(width, int)
    scores = matmul(mul(q, 1.0 / math.sqrt(width)), transpose(k, -2, -1))
    weights = softmax(scores if mask is None else add(scores, _additive(mask, dtype)), -1)
    return matmul(weights, v), weights


@torch_function(torch.nn.functional.multi_head_attention_forward)
def multi_head_attention_forward(
    query: TensorT,
    key: TensorT,
    value: TensorT,
    embed_dim_to_check: int,
    num_heads: int,
    in_proj_weight: TensorT | None,
    in_proj_bias: TensorT | None,
    bias_k: TensorT | None,
    bias_v: TensorT | None,
    add_zero_attn: bool,
    dropout_p: float,
    out_proj_weight: TensorT,
    out_proj_bias: TensorT | None,
    training: bool = True,
    key_padding_mask: TensorT | None = None,
    need_weights: bool = True,
    attn_mask: TensorT | None = None,
    use_separate_proj_weight: bool = False,
    q_proj_weight: TensorT | None = None,
    k_proj_weight: TensorT | None = None,
    v_proj_weight: TensorT | None = None,
    static_k: TensorT | None = None,
    static_v: TensorT | None = None,
    average_attn_weights: bool = True,
    is_causal: bool = False,
) -> tuple[TensorT, TensorT | None]:
    """Project, attend and project again: what ``nn.MultiheadAttention`` calls, on (L, N, E)."""
    name = "multi_head_attention_forward"
    if training and dropout_p > 0.0:
        raise UnsupportedError(f"{name}: dropout_p is {dropout_p}", hint="call .eval() before")
    if is_causal and attn_mask is None:
        raise UnsupportedError(f"{name}: is_causal needs attn_mask")
    apart = (q_proj_weight, k_proj_weight, v_proj_weight) if use_separate_proj_weight else None
    inputs = _batch_first(query, key, value)
    if spec_of(query).rank == 2 and key_padding_mask is not None:
        key_padding_mask = unsqueeze(key_padding_mask, 0)
    batch, length, width = shape_of(inputs[0])
    if decide("ne", width, embed_dim_to_check) or embed_dim_to_check % num_heads:
        raise ShapeError(f"{name}: width {width}, expected {embed_dim_to_check}, {num_heads} heads")
    parts = _project(inputs, in_proj_weight, apart, in_proj_bias)
    q, k, v = (_heads(part, num_heads) for part in parts)
    k = _more(k, bias_k, static_k, add_zero_attn)
    v = _more(v, bias_v, static_v, add_zero_attn)
    heads, extra = [q, k, v], (bias_k is not None) + bool(add_zero_attn)
    causal = is_causal and key_padding_mask is None and not need_weights
    masks = (None, None) if causal else (attn_mask, key_padding_mask)
    mask = _join_masks(*masks, num_heads, spec_of(q).dtype)
    if mask is not None and extra:  # what is put behind the keys is always attended to
        mask = pad(mask, (0, extra), value=float(spec_of(mask).dtype == torch.bool))
    attended, weights = _attend(heads, mask, causal, need_weights)
    joined = reshape(permute(attended, 0, 2, 1, 3), (batch, length, width))
    result = linear(joined, out_proj_weight, out_proj_bias)
    if weights is not None and average_attn_weights:
        weights = mean(weights, (1,))
    if spec_of(query).rank == 3:
        return transpose(result, 0, 1), weights
    return squeeze(result, 0), None if weights is None else squeeze(weights, 0)
