"""Rows of attention."""

from __future__ import annotations

import warnings

import torch
import torch.nn.functional as F

from tests.rows import B, C, Row, S, T
from trtnn.errors import ShapeError, UnsupportedError

HALF, BOOL = torch.float16, torch.bool
sdpa = F.scaled_dot_product_attention


def multi_head(
    need_weights: bool,
    dropout: float = 0.0,
    bias_k: torch.Tensor | None = None,
    bias_v: torch.Tensor | None = None,
    zeros: bool = False,
    **names: object,
) -> object:
    """Return self-attention of width 8 with two heads."""

    def attend(x: torch.Tensor, w: torch.Tensor, b: torch.Tensor, out: torch.Tensor) -> object:
        result = F.multi_head_attention_forward(
            x, x, x, 8, 2, w, b, bias_k, bias_v, zeros, dropout, out, None, dropout > 0.0,
            need_weights=need_weights, **names,  # type: ignore[arg-type]
        )  # fmt: skip
        return result if need_weights else result[0]

    return attend


def apart(query: torch.Tensor, key: torch.Tensor, *weights: torch.Tensor) -> object:
    """Return attention whose keys and values have another width than its queries."""
    q, k, v, out = weights
    return F.multi_head_attention_forward(
        query, key, key, 8, 2, None, None, None, None, False, 0.0, out, None, False,
        use_separate_proj_weight=True, q_proj_weight=q, k_proj_weight=k, v_proj_weight=v,
        need_weights=False,
    )[0]  # fmt: skip


MHA = (T(S, B, 8), C(24, 8), C(24), C(8, 8))
MHA_STATIC = (T(3, 2, 8), *MHA[1:])
PADDING = torch.tensor([[False, False, True], [False, True, True]])
ADDED = torch.zeros(2, 3).masked_fill(PADDING, float("-inf"))
BIAS = torch.linspace(-1, 1, 8).view(1, 1, 8)
CAUSAL = torch.ones(3, 3, dtype=BOOL).triu(1)

ENCODER = torch.nn.TransformerEncoder(
    torch.nn.TransformerEncoderLayer(8, 2, 16, batch_first=True), 2
)
TRANSFORMER = torch.nn.Transformer(8, 2, 1, 1, 16, activation="gelu", batch_first=True)
for _module in (ENCODER, TRANSFORMER):
    _module.eval().requires_grad_(False)


def encoded(x: torch.Tensor) -> torch.Tensor:
    """Encode what PADDING leaves; of the rest, eager's fast path gives 0, and no other path."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The PyTorch API of nested tensors")
        result: torch.Tensor = ENCODER(x, src_key_padding_mask=PADDING)
    return result.masked_fill(PADDING[:, :, None], 0.0)


def transformed(source: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    mask = TRANSFORMER.generate_square_subsequent_mask(target.shape[1])
    return TRANSFORMER(source, target, tgt_mask=mask, tgt_is_causal=True)


ROWS: list[Row] = [
    Row(encoded, T(2, 3, 8), name="nn.TransformerEncoder with padding"),
    Row(transformed, T(B, S, 8), T(B, 4, 8), name="nn.Transformer"),
    Row(sdpa, T(B, 2, S, 4), T(B, 2, S, 4), T(B, 2, S, 4)),
    Row(sdpa, T(B, 2, S, 4), T(B, 2, S, 4), T(B, 2, S, 4), is_causal=True),
    Row(sdpa, T(B, 2, S, 4), T(B, 2, S, 4), T(B, 2, S, 4), T(S, S), scale=0.3),
    Row(sdpa, T(B, 2, 5, 4), T(B, 2, S, 4), T(B, 2, S, 4), T(B, 1, 1, S, dtype=BOOL)),
    Row(sdpa, T(B, S, 4, dtype=HALF), T(B, S, 4, dtype=HALF), T(B, S, 6, dtype=HALF)),
    Row(sdpa, T(B, 2, S, 4), T(B, 2, S, 4), T(B, 2, S, 6), is_causal=True, name="wider values"),
    Row(sdpa, T(B, 2, S, 4), *(T(B, 2, S, n) for n in (4, 6)), T(B, 1, 1, S, dtype=BOOL)),
    Row(sdpa, T(3, 4), T(5, 4), T(5, 4), name="attention rank 2"),
    Row(sdpa, T(1, 2, 3, 4), T(1, 2, 3, 4), T(1, 2, 3, 4), None, 0.1, raises=UnsupportedError),
    Row(multi_head(False), *MHA, name="multi_head_attention"),
    Row(multi_head(True), *MHA, name="multi_head_attention with weights"),
    Row(multi_head(True, average_attn_weights=False), *MHA, name="weights of each head"),
    Row(sdpa, T(B, 4, S, 4), *(T(B, 2, S, 4),) * 2, enable_gqa=True, name="heads in groups"),
    Row(sdpa, T(1, 3, 2, 4), *(T(1, 2, 2, 4),) * 2, enable_gqa=True, raises=ShapeError),
    Row(sdpa, *(T(1, 2, 3, 4),) * 3, C(3, 3), is_causal=True, raises=UnsupportedError),
    Row(sdpa, T(2, 3, 4), T(S, 4), T(S, 4), name="attention of two ranks"),
    Row(sdpa, *(T(1, 2, 3, S),) * 3, raises=UnsupportedError, name="a head size that is a Dim"),
    Row(sdpa, *(T(1, 2, 3, S),) * 3, scale=1.0, name="a head size that is a Dim, with a scale"),
    Row(sdpa, *(T(B, 2, 1, S, 4),) * 3, is_causal=True, name="causal, rank 5"),
    Row(sdpa, *(T(B, 2, 1, S, 4),) * 3, T(S, S, dtype=BOOL), name="bool mask, rank 5"),
    Row(sdpa, *(T(B, 2, 1, S, 4),) * 3, T(S, S), name="mask to add, rank 5"),
    Row(
        lambda q, k, v: sdpa(q, k, v, torch.ones(5, 5, dtype=BOOL).tril()),
        *(T(B, 2, 5, 4),) * 3,
        name="known mask",
    ),
    Row(multi_head(False, key_padding_mask=PADDING), *MHA_STATIC, name="padding mask"),
    Row(multi_head(True, key_padding_mask=PADDING), *MHA_STATIC, name="padding mask, weights"),
    Row(multi_head(False, attn_mask=CAUSAL), *MHA_STATIC, name="attn_mask"),
    Row(
        multi_head(False, attn_mask=CAUSAL, key_padding_mask=PADDING),
        *MHA_STATIC,
        name="attn_mask and padding mask",
    ),
    Row(
        multi_head(False, attn_mask=torch.zeros(4, 3, 3), key_padding_mask=PADDING),
        *MHA_STATIC,
        oracle=multi_head(False, attn_mask=torch.zeros(4, 3, 3), key_padding_mask=ADDED),
        name="attn_mask of each head and padding mask",
    ),
    Row(
        multi_head(False, attn_mask=CAUSAL, is_causal=True), *MHA_STATIC, name="attn_mask is causal"
    ),
    Row(multi_head(False), T(S, 8), *MHA[1:], name="without a batch"),
    Row(multi_head(True), T(S, 8), *MHA[1:], name="without a batch, weights"),
    Row(apart, T(S, B, 8), T(4, B, 6), *(C(8, w) for w in (8, 6, 6)), C(8, 8), name="kdim, vdim"),
    Row(multi_head(False, is_causal=True), *MHA_STATIC, raises=UnsupportedError),
    Row(multi_head(False), T(3, 2, 7), *MHA[1:], raises=ShapeError, name="width 7"),
    Row(apart, T(S, 8), T(4, 6), *(C(8, w) for w in (8, 6, 6)), C(8, 8), name="kdim, no batch"),
    Row(multi_head(False, dropout=0.1), *MHA, raises=UnsupportedError),
    Row(
        multi_head(True, bias_k=BIAS, bias_v=-BIAS, key_padding_mask=PADDING, zeros=True),
        *MHA_STATIC,
        name="bias_k, zeros and a padding mask",
    ),
    Row(multi_head(False, bias_k=BIAS, bias_v=BIAS), *MHA, name="bias_k"),
    Row(multi_head(False, zeros=True, attn_mask=torch.zeros(3, 3)), *MHA_STATIC, name="zeros"),
    Row(
        multi_head(True, static_k=torch.ones(4, 5, 4), static_v=torch.ones(4, 5, 4)),
        *MHA_STATIC,
        name="static keys",
    ),
]
