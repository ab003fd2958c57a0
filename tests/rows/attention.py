"""Rows of attention."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from tests.rows import B, C, Row, S, T
from trtnn.errors import UnsupportedError

HALF, BOOL = torch.float16, torch.bool
sdpa = F.scaled_dot_product_attention


def multi_head(need_weights: bool, **names: object) -> object:
    """Return self-attention of width 8 with two heads."""

    def attend(x: torch.Tensor, w: torch.Tensor, b: torch.Tensor, out: torch.Tensor) -> object:
        result = F.multi_head_attention_forward(
            x, x, x, 8, 2, w, b, None, None, False, 0.0, out, None, False,
            need_weights=need_weights, **names,  # type: ignore[arg-type]
        )  # fmt: skip
        return result if need_weights else result[0]

    return attend


MHA = (T(S, B, 8), C(24, 8), C(24), C(8, 8))

ROWS: list[Row] = [
    Row(sdpa, T(B, 2, S, 4), T(B, 2, S, 4), T(B, 2, S, 4)),
    Row(sdpa, T(B, 2, S, 4), T(B, 2, S, 4), T(B, 2, S, 4), is_causal=True),
    Row(sdpa, T(B, 2, S, 4), T(B, 2, S, 4), T(B, 2, S, 4), T(S, S), scale=0.3),
    Row(sdpa, T(B, 2, 5, 4), T(B, 2, S, 4), T(B, 2, S, 4), T(B, 1, 1, S, dtype=BOOL)),
    Row(sdpa, T(B, S, 4, dtype=HALF), T(B, S, 4, dtype=HALF), T(B, S, 6, dtype=HALF)),
    Row(sdpa, T(3, 4), T(5, 4), T(5, 4), name="attention rank 2"),
    Row(sdpa, T(1, 2, 3, 4), T(1, 2, 3, 4), T(1, 2, 3, 4), None, 0.1, raises=UnsupportedError),
    Row(multi_head(False), *MHA, name="multi_head_attention"),
    Row(multi_head(True), *MHA, name="multi_head_attention with weights"),
    Row(multi_head(True, average_attn_weights=False), *MHA, name="weights of each head"),
]
