"""A BERT encoder written by hand as a ``trtnn.Module``: the module a user of trtnn would write."""

from __future__ import annotations

import math

import torch
from torch import nn

from trtnn import Module


class Embeddings(Module):
    """Add a position table to the token table and normalise."""

    def __init__(self, vocabulary: int, positions: int, width: int) -> None:
        super().__init__()
        self.tokens = nn.Embedding(vocabulary, width)
        self.positions = nn.Embedding(positions, width)
        self.norm = nn.LayerNorm(width, eps=1e-12)

    def forward(self, token_ids: torch.Tensor) -> torch.Tensor:
        """Embed ``token_ids`` of shape (N, L) as (N, L, width)."""
        positions = torch.arange(token_ids.shape[1], device=token_ids.device)
        return self.norm(self.tokens(token_ids) + self.positions(positions))


class SelfAttention(Module):
    """Let every token look at the tokens that the mask leaves visible."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.head_width = width // heads
        self.query = nn.Linear(width, width)
        self.key = nn.Linear(width, width)
        self.value = nn.Linear(width, width)
        self.output = nn.Linear(width, width)

    def forward(self, x: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """Attend within ``x`` of shape (N, L, width); ``mask`` (N, 1, 1, L) is added to scores."""
        query = self._split(self.query(x)) * (1 / math.sqrt(self.head_width))
        scores = query @ self._split(self.key(x)).transpose(-1, -2) + mask
        context = scores.softmax(dim=-1) @ self._split(self.value(x))
        return self.output(context.transpose(1, 2).flatten(2))

    def _split(self, x: torch.Tensor) -> torch.Tensor:
        """Turn (N, L, width) into (N, heads, L, head_width)."""
        batch, length, _ = x.shape
        return x.view(batch, length, self.heads, self.head_width).transpose(1, 2)


class Layer(Module):
    """Attention and a GELU perceptron, each added to its input and normalised after."""

    def __init__(self, width: int, heads: int, hidden: int) -> None:
        super().__init__()
        self.attention = SelfAttention(width, heads)
        self.attention_norm = nn.LayerNorm(width, eps=1e-12)
        self.expand = nn.Linear(width, hidden)
        self.contract = nn.Linear(hidden, width)
        self.output_norm = nn.LayerNorm(width, eps=1e-12)

    def forward(self, x: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """Map (N, L, width) to the same shape."""
        x = self.attention_norm(x + self.attention(x, mask))
        hidden = nn.functional.gelu(self.expand(x))
        return self.output_norm(x + self.contract(hidden))


class BertEncoder(Module):
    """Encode token ids as one vector a token and one for the whole text.

    The defaults are BERT-base; ``layers=4`` with a shorter text is the encoder of the benchmark.
    """

    def __init__(
        self,
        *,
        vocabulary: int = 30522,
        positions: int = 512,
        width: int = 768,
        heads: int = 12,
        layers: int = 12,
        hidden: int = 3072,
    ) -> None:
        super().__init__()
        self.embeddings = Embeddings(vocabulary, positions, width)
        self.layers = nn.ModuleList(Layer(width, heads, hidden) for _ in range(layers))
        self.pooler = nn.Linear(width, width)

    def forward(
        self, token_ids: torch.Tensor, attention_mask: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the hidden states (N, L, width) and the pooled vector (N, width).

        ``token_ids`` and ``attention_mask`` are int64 of shape (N, L); 0 in the mask hides a token.
        """
        x = self.embeddings(token_ids)
        hidden = 1 - attention_mask[:, None, None, :].to(x.dtype)
        mask = hidden * torch.finfo(x.dtype).min
        for layer in self.layers:
            x = layer(x, mask)
        return x, torch.tanh(self.pooler(x[:, 0]))
