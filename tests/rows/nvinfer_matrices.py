"""Rows of TensorRT's layers by name that multiply, reduce, normalize and attend."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from tests.rows import B, C, Row, S, T
from trtnn import nvinfer
from trtnn.errors import DTypeError, OptionError, ShapeError, UnsupportedError

HALF, INT, LONG, BOOL = torch.float16, torch.int32, torch.int64, torch.bool
REDUCTIONS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "SUM": lambda x: x[:, 0] + x[:, 1] + x[:, 2],
    "PROD": lambda x: x[:, 0] * x[:, 1] * x[:, 2],
    "MAX": lambda x: x[:, 0].maximum(x[:, 1]).maximum(x[:, 2]),
    "MIN": lambda x: x[:, 0].minimum(x[:, 1]).minimum(x[:, 2]),
    "AVG": lambda x: (x[:, 0] + x[:, 1] + x[:, 2]) / 3,
}


def multiplied(a: torch.Tensor, op0: str, b: torch.Tensor, op1: str) -> torch.Tensor:
    letters = {"NONE": ("ij", "jk"), "TRANSPOSE": ("ji", "kj"), "VECTOR": ("j", "j")}
    left, right = letters[op0][0], letters[op1][1]
    result = ("i" if "i" in left else "") + ("k" if "k" in right else "")
    return torch.einsum(f"...{left},...{right}->...{result}", a, b)


def normal(
    x: torch.Tensor,
    scale: torch.Tensor,
    bias: torch.Tensor,
    mask: int,
    epsilon: float = 1e-5,
    num_groups: int = 1,
) -> torch.Tensor:
    """Normalize in float64, group by group."""
    axes = [axis for axis in range(x.dim()) if mask >> axis & 1]
    wide = x.double()
    if num_groups > 1:
        wide = wide.reshape(x.shape[0], num_groups, -1)
        axes = [2]
    mean = wide.mean(axes, keepdim=True)
    var = ((wide - mean) ** 2).mean(axes, keepdim=True)
    result = ((wide - mean) / torch.sqrt(var + epsilon)).reshape(x.shape)
    if scale.shape[1] not in (1, x.shape[1]):
        each = x.shape[1] // num_groups
        scale, bias = (torch.repeat_interleave(t, each, 1) for t in (scale, bias))
    return (result * scale + bias).to(x.dtype)


def ragged(x: torch.Tensor, bounds: torch.Tensor) -> torch.Tensor:
    result = torch.zeros_like(x)
    for n in range(x.shape[0]):
        for z in range(x.shape[1]):
            end = int(bounds[n, z, 0])
            weights = torch.exp(x[n, z, :end].double())
            result[n, z, :end] = (weights / weights.sum()).to(x.dtype)
    return result


def running(
    x: torch.Tensor, axis: int, op: str = "SUM", exclusive: bool = False, reverse: bool = False
) -> torch.Tensor:
    """Add up what a triangle has."""
    size = x.shape[axis]
    kept = torch.ones(size, size, dtype=BOOL).tril(-1 if exclusive else 0)
    kept = kept.T if reverse else kept
    rows = x.movedim(axis, -1).unsqueeze(-2)
    total = torch.where(kept, rows, torch.zeros_like(rows)).sum(-1, dtype=x.dtype)
    return total.movedim(-1, axis)


def attended(
    q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, norm: str, causal: Any, mask: Any = None
) -> torch.Tensor:
    """Attend in float64, head by head."""
    q, k, v = (t.double() for t in (q, k, v))
    each = q.shape[1] // k.shape[1]
    heads = []
    for head in range(q.shape[1]):
        scores = q[:, head] @ k[:, head // each].mT
        kept = torch.ones(scores.shape[1:], dtype=BOOL)
        shift = k.shape[2] - q.shape[2] if causal == "LOWER_RIGHT" else 0
        if causal not in ("NONE", False):
            kept = kept.tril(shift)
        if mask is not None and mask.dtype == BOOL:
            kept = kept & mask[:, 0]
        elif mask is not None:
            scores = scores + mask[:, 0]
        if norm == "SOFTMAX":
            weights = scores.masked_fill(~kept, -torch.inf).softmax(-1)
        else:
            weights = scores.masked_fill(~kept, 0.0)
        heads.append(weights @ v[:, head // each])
    return torch.stack(heads, 1)


def attention(dtype: torch.dtype = torch.float32) -> Callable[..., torch.Tensor]:
    return lambda *given, **named: attended(*given, **named).to(dtype)


def rotated(
    x: torch.Tensor,
    cos: torch.Tensor,
    sin: torch.Tensor,
    interleaved: bool,
    width: int,
    position_ids: Any = None,
) -> torch.Tensor:
    """Turn pairs as complex numbers."""
    if position_ids is not None:
        cos, sin = cos[position_ids.long()], sin[position_ids.long()]
    width = width or x.shape[-1]
    angles = torch.complex(cos.float(), sin.float()).unsqueeze(1)
    turned, rest = x[..., :width].float(), x[..., width:]
    if interleaved:
        pairs = torch.view_as_complex(turned.unflatten(-1, (-1, 2)).contiguous())
        result = torch.view_as_real(pairs * angles).flatten(-2)
    else:
        pairs = torch.complex(turned[..., : width // 2], turned[..., width // 2 :])
        both = pairs * angles
        result = torch.cat((both.real, both.imag), -1)
    return torch.cat((result.to(x.dtype), rest), -1)


def updated(cache: torch.Tensor, update: torch.Tensor, places: torch.Tensor) -> torch.Tensor:
    result = cache.clone()
    for row, new, place in zip(result, update, places.tolist(), strict=True):
        for step in range(new.shape[1]):
            if 0 <= place + step < row.shape[1]:
                row[:, place + step] = new[:, step]
    return result


def letters(operands: Any, equation: str) -> torch.Tensor:
    return torch.einsum(equation, *operands)


QKV = (T(B, 4, S, 6), T(B, 2, S, 6), T(B, 2, S, 6))

ROWS: list[Row] = [
    Row(nvinfer.matrix_multiply, T(B, 2, 3), "NONE", T(1, 4, 3), "TRANSPOSE", oracle=multiplied),
    Row(nvinfer.matrix_multiply, T(B, 3), "VECTOR", T(B, 3, S), "NONE", oracle=multiplied),
    Row(
        nvinfer.matrix_multiply,
        T(3, S, dtype=HALF),
        "TRANSPOSE",
        T(3, dtype=HALF),
        "VECTOR",
        oracle=multiplied,
    ),
    Row(nvinfer.matrix_multiply, T(S), "VECTOR", T(S), "VECTOR", oracle=multiplied),
    Row(nvinfer.einsum, (T(B, 2, S), T(B, S, 3)), "bij,bjk->bik", oracle=letters),
    Row(nvinfer.einsum, (T(2, 3, dtype=HALF), T(2, 1, dtype=HALF)), "ij,ij->j", oracle=letters),
    Row(nvinfer.einsum, (T(B, 3),), "ij->ji", oracle=letters),
    Row(nvinfer.einsum, (T(B, 3), T(3, 2), T(2)), "ij,jk,k", oracle=letters, name="of three"),
    Row(nvinfer.einsum, (T(B, 3, 3),), "...ii->...i", oracle=letters, name="a diagonal"),
    Row(
        lambda x: [nvinfer.reduce(x, kind, 1 << 1, False) for kind in REDUCTIONS],
        T(B, 3, 2),
        oracle=lambda x: [formula(x) for formula in REDUCTIONS.values()],
        name="reductions",
    ),
    Row(
        nvinfer.reduce,
        T(2, 3, S, dtype=INT),
        "SUM",
        (0, -1),
        True,
        oracle=lambda x, *_: x.sum((0, 2), True, dtype=INT),
        name="tuple of axes",
    ),
    Row(
        nvinfer.reduce,
        T(2, 0),
        "MAX",
        1 << 1,
        False,
        oracle=lambda x, *_: torch.full((2,), -torch.inf),
        name="MAX of nothing",
    ),
    Row(nvinfer.softmax, T(2, B, 3, S), oracle=lambda x: torch.exp(x) / torch.exp(x).sum(1, True)),
    Row(
        nvinfer.softmax,
        T(B, 3, dtype=HALF),
        axes=1 << 1,
        oracle=lambda x, axes: (x.float().exp() / x.float().exp().sum(1, True)).half(),
    ),
    Row(nvinfer.ragged_softmax, T(B, 2, S), T(B, 2, 1, dtype=INT, low=1, high=2), oracle=ragged),
    Row(nvinfer.ragged_softmax, T(2, 3, 5), T(2, 3, 1, dtype=INT, low=1, high=6), oracle=ragged),
    Row(
        nvinfer.ragged_softmax,
        T(2, 3, 5, dtype=HALF),
        T(2, 3, 1, dtype=INT, low=1, high=6),
        oracle=ragged,
    ),
    Row(nvinfer.normalization, T(B, 3, 4), C(1, 1, 4), C(1, 1, 4), 1 << 2, oracle=normal),
    Row(
        nvinfer.normalization,
        T(B, 4, 2, 3),
        C(1, 2, 1, 1),
        C(1, 2, 1, 1),
        0b1100,
        num_groups=2,
        oracle=normal,
    ),
    Row(
        nvinfer.normalization_v2,
        T(B, 4, 2, S),
        C(1, 4, 1, 1),
        C(1, 4, 1, 1),
        0b1100,
        num_groups=2,
        epsilon=1e-3,
        oracle=normal,
    ),
    Row(
        nvinfer.normalization_v2,
        T(B, 4, 3, dtype=HALF),
        C(1, 4, 1, dtype=HALF),
        C(1, 4, 1, dtype=HALF),
        0b100,
        num_groups=4,
        oracle=normal,
        name="a group of each",
    ),
    Row(nvinfer.normalization_v2, T(B, 2, 3), C(1, 1, 3), C(1, 1, 3), 0b110, oracle=normal),
    Row(nvinfer.cumulative, T(B, 3), 1, "SUM", True, False, oracle=running, name="exclusive"),
    Row(nvinfer.cumulative, T(S, 2, dtype=HALF), 0, reverse=True, oracle=running, name="reverse"),
    Row(nvinfer.cumulative, T(2, S, dtype=INT), -1, "SUM", True, True, oracle=running, name="both"),
    Row(nvinfer.attention, *QKV, "SOFTMAX", True, oracle=attention()),
    Row(
        nvinfer.attention_v2,
        T(B, 2, 3, 4, dtype=HALF),
        T(B, 2, S, 4, dtype=HALF),
        T(B, 2, S, 4, dtype=HALF),
        "SOFTMAX",
        "NONE",
        mask=T(1, 1, 3, S, dtype=HALF),
        oracle=attention(HALF),
    ),
    Row(
        nvinfer.attention_v2,
        T(1, 2, 3, 4),
        T(1, 2, 5, 4),
        T(1, 2, 5, 4),
        "SOFTMAX",
        "LOWER_RIGHT",
        oracle=attention(),
        name="LOWER_RIGHT",
    ),
    Row(nvinfer.attention_v2, *QKV, "NONE", "LOWER_RIGHT", oracle=attention(), name="no softmax"),
    Row(
        nvinfer.attention_v2,
        T(1, 1, 3, 4),
        T(1, 1, 3, 4),
        T(1, 1, 3, 4),
        "NONE",
        "NONE",
        mask=T(1, 1, 3, 3),
        oracle=attention(),
        name="no softmax, a mask",
    ),
    Row(nvinfer.rotary_embedding, T(B, 2, S, 6), T(B, S, 3), T(B, S, 3), False, 0, oracle=rotated),
    Row(
        nvinfer.rotary_embedding,
        T(B, 2, 3, 6, dtype=HALF),
        T(B, 3, 2, dtype=HALF),
        T(B, 3, 2, dtype=HALF),
        True,
        4,
        oracle=rotated,
    ),
    Row(
        nvinfer.rotary_embedding,
        T(B, 2, 3, 4),
        C(9, 2),
        C(9, 2),
        True,
        0,
        position_ids=T(B, 3, dtype=LONG, low=0, high=9),
        oracle=rotated,
        name="positions",
    ),
    Row(
        nvinfer.kv_cache_update,
        T(B, 2, 6, 3),
        T(B, 2, 2, 3),
        T(B, dtype=INT, low=0, high=6),
        oracle=updated,
    ),
    Row(nvinfer.einsum, (T(2, 3), T(4, 2)), "ij,jk->ik", raises=ShapeError),
    Row(nvinfer.matrix_multiply, T(2, 3), "NONE", T(1, 3, 2), "NONE", raises=ShapeError),
    Row(nvinfer.matrix_multiply, T(2, 3), "T", T(3, 2), "NONE", raises=OptionError),
    Row(nvinfer.reduce, T(3, dtype=INT), "AVG", 1, False, raises=UnsupportedError),
    Row(nvinfer.reduce, T(3), "SUM", 2, False, raises=ShapeError, name="a bit too many"),
    Row(nvinfer.ragged_softmax, T(2, 3, 5), T(2, 3, 1), raises=DTypeError),
    Row(nvinfer.attention, T(1, 3, 2, 4), T(1, 2, 2, 4), T(1, 2, 2, 4), raises=ShapeError),
]
