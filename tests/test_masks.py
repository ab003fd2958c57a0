"""Transformers in half with padding: their masks hold numbers at the edge of half, or beyond."""

from __future__ import annotations

import importlib
from typing import Any

import pytest
import torch
from torch import nn

import trtnn
from tests.compare import error
from tests.ops.test_ops import check_lowering
from tests.real_builder import build, needs_builder
from trtnn.sizes.dims import Dim

BATCH, LENGTH = Dim("batch", 1, 3, 4), Dim("length", 2, 9, 16)
BOUND = 2e-3
LAYERS = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4}
PLAIN = {"use_cache": False, "bos_token_id": 0, "eos_token_id": 0}
MODELS: dict[str, tuple[str, dict[str, Any]]] = {
    "Bert": ("BertModel", {**LAYERS, "intermediate_size": 64, "max_position_embeddings": 32}),
    "GPT2": ("GPT2Model", {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 32, **PLAIN}),
    "OPT": ("OPTModel", {**LAYERS, "ffn_dim": 64, "word_embed_proj_dim": 32, **PLAIN}),
    "T5": (
        "T5EncoderModel",
        {"d_model": 32, "d_kv": 8, "d_ff": 64, "num_layers": 2, "num_heads": 4},
    ),
}


class Padded(nn.Module):
    """The last hidden state of texts, of which a mask shows what is no padding."""

    def __init__(self, name: str, attention: str) -> None:
        super().__init__()
        head, sizes = MODELS[name]
        config = getattr(importlib.import_module("transformers"), f"{name}Config")
        family = name.lower()
        home = importlib.import_module(f"transformers.models.{family}.modeling_{family}")
        torch.manual_seed(0)
        made = config(vocab_size=50, **sizes, attn_implementation=attention)
        self.net = getattr(home, head)(made).half()

    def forward(self, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor = self.net(input_ids=ids, attention_mask=mask)[0]
        return result


@pytest.fixture(params=[(name, way) for name in MODELS for way in ("eager", "sdpa")], ids="-".join)
def padded(request: Any) -> Any:
    net = Padded(*request.param).eval()
    ids = trtnn.Input((BATCH, LENGTH), torch.int64)
    return net, trtnn.compile(net, inputs=[ids, ids], backend="reference")


def test_padding_in_half_is_as_in_eager(padded: Any) -> None:
    net, compiled = padded
    ids = torch.randint(3, 50, (3, 9), generator=torch.Generator().manual_seed(1))
    mask = (torch.arange(9) < torch.tensor([[9], [5], [2]])).long()
    with torch.no_grad():
        assert error(compiled(ids, mask), net(ids, mask)) <= BOUND


@pytest.mark.parametrize("version", ["8.6", "10", "11"])
def test_padding_in_half_lowers(padded: Any, version: str) -> None:
    check_lowering(padded[1].graph, version, [BATCH, LENGTH])


@needs_builder
def test_padding_in_half_is_built(padded: Any) -> None:
    assert len(build(padded[1].graph)) > 1000
