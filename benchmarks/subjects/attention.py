"""Two encoder layers around an attention that is written in one form or another.

``attention_mask_128`` and so on: which form, how many tokens. All of a length compute the same
where nothing is hidden; what differs is what TensorRT makes of them. Width 768, 12 heads.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import torch
import torch.nn.functional as F
from torch import nn

from tests.zoo import Inputs

WIDTH, HEADS, LAYERS = {"full": 768, "small": 48}, {"full": 12, "small": 4}, 2
HIDDEN = -30000.0  # what a mask adds: within half, and 0 after the softmax
LENGTHS = {"full": (64, 128, 197, 384, 1024), "small": (16,)}

Attend = Callable[[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]


def plain(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Let every token see every other."""
    return F.scaled_dot_product_attention(q, k, v)


def added(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Add a mask of (N, 1, 1, L) to the scores."""
    return F.scaled_dot_product_attention(q, k, v, mask)


def selected(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Take a truth for each key."""
    return F.scaled_dot_product_attention(q, k, v, mask > HIDDEN / 2)


def causal(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Let a token see itself and those before."""
    return F.scaled_dot_product_attention(q, k, v, is_causal=True)


def column(width: int) -> Attend:
    """Return an attention whose mask is one more entry of each key, beside a 1 of each query.

    Its scores are those of ``added`` without a layer that adds, with heads ``width`` wide.
    """

    def attend(
        q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, mask: torch.Tensor
    ) -> torch.Tensor:
        depth = q.shape[-1]
        one = torch.zeros(width - depth, dtype=q.dtype, device=q.device)
        one[0] = math.sqrt(depth)
        rows = one.expand(*q.shape[:-1], -1)
        hidden = mask.transpose(-1, -2).expand(*k.shape[:-1], 1)
        keys = torch.cat([k, F.pad(hidden, (0, width - depth - 1))], -1)
        y = F.scaled_dot_product_attention(
            torch.cat([q, rows], -1), keys, F.pad(v, (0, width - depth)), scale=depth**-0.5
        )
        return y[..., :depth]

    return attend


FORMS: Mapping[str, Attend] = {
    "plain": plain,
    "added": added,
    "selected": selected,
    "causal": causal,
    "column72": column(72),
    "column80": column(80),
}


class Layer(nn.Module):
    """An encoder layer, its norms behind, as BERT's."""

    def __init__(self, attend: Attend, width: int, heads: int, *, packed: bool) -> None:
        super().__init__()
        self.attend, self.heads, self.packed = attend, heads, packed
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(2))

    def forward(self, x: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """Map (N, L, width)."""
        q, k, v = (p.unflatten(-1, (self.heads, -1)).transpose(1, 2) for p in self._parts(x))
        y = self.attend(q, k, v, mask).transpose(1, 2).flatten(2)
        x = self.norms[0](x + self.out(y))
        z: torch.Tensor = self.norms[1](x + self.down(F.gelu(self.up(x))))
        return z

    def _parts(self, x: torch.Tensor) -> list[torch.Tensor]:
        if self.packed:
            return list(self.qkv(x).chunk(3, -1))
        weights, biases = self.qkv.weight.chunk(3), self.qkv.bias.chunk(3)
        return [F.linear(x, w, b) for w, b in zip(weights, biases, strict=True)]


class Encoder(nn.Module):
    """Layers, and a mask that hides two fifths of the keys; lengths are padded to ``multiple``."""

    def __init__(
        self, attend: Attend, size: str, *, packed: bool = False, multiple: int = 1
    ) -> None:
        super().__init__()
        self.multiple, self.hides = multiple, attend not in (plain, causal)
        layers = (Layer(attend, WIDTH[size], HEADS[size], packed=packed) for _ in range(LAYERS))
        self.layers = nn.ModuleList(layers)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map (N, L, width)."""
        batch, length, _ = x.shape
        padding = -length % self.multiple
        seen = length * 3 // 5 if self.multiple == 1 and self.hides else length
        mask = torch.zeros(1, 1, 1, length + padding, dtype=x.dtype, device=x.device)
        mask[..., seen:] = HIDDEN
        y = F.pad(x, (0, 0, 0, padding)) if padding else x
        for layer in self.layers:
            y = layer(y, mask.expand(batch, -1, -1, -1))
        return y[:, :length]


def make(
    form: str, length: int, *, packed: bool = False, multiple: int = 1
) -> Callable[..., object]:
    """Return the maker of an encoder and its inputs, for the suite."""

    def made(size: str) -> tuple[nn.Module, Callable[[int, int], Inputs]]:
        torch.manual_seed(0)
        tokens = length if size == "full" else LENGTHS["small"][0]
        net = Encoder(FORMS[form], size, packed=packed, multiple=multiple)

        def inputs(batch: int, seed: int) -> Inputs:
            generator = torch.Generator().manual_seed(seed)
            return (torch.randn(batch, tokens, WIDTH[size], generator=generator),)

        return net.eval(), inputs

    return made
