"""A decoder of text whose greedy loop is part of the network."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn.functional import gelu

import trtnn


@dataclass(frozen=True)
class Shape:
    """How large a decoder is; as it stands, GPT-2's, of fewer layers."""

    width: int = 768
    heads: int = 12
    vocabulary: int = 50257
    steps: int = 32
    layers: int = 2


SHAPES = {"full": Shape(), "small": Shape(width=16, heads=2, vocabulary=97, steps=8)}


class Block(nn.Module):
    """One layer of GPT-2's, for one token at a time."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.heads = shape.heads
        self.before = nn.LayerNorm(shape.width)
        self.attention = nn.Linear(shape.width, 3 * shape.width)
        self.project = nn.Linear(shape.width, shape.width)
        self.after = nn.LayerNorm(shape.width)
        self.up = nn.Linear(shape.width, 4 * shape.width)
        self.down = nn.Linear(4 * shape.width, shape.width)

    def forward(
        self, x: torch.Tensor, place: torch.Tensor, keys: torch.Tensor, values: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Attend to what was before ``place``, and to itself; return the caches with its own part.

        Args:
            x: (batch, width).
            place: (1,), the step.
            keys: (batch, heads, steps, width / heads), as ``values``.
        """
        heads = self.attention(self.before(x)).reshape(x.shape[0], 3, self.heads, 1, -1)
        query, key, value = heads.unbind(1)
        keys, values = (keys.index_copy(2, place, key), values.index_copy(2, place, value))
        seen = torch.arange(keys.shape[2], device=x.device) <= place
        scores = (query @ keys.transpose(-1, -2)) * keys.shape[-1] ** -0.5
        weights = torch.softmax(scores.masked_fill(~seen, float("-inf")), -1)
        x = x + self.project((weights @ values).flatten(1))
        return x + self.down(gelu(self.up(self.after(x)), approximate="tanh")), keys, values


class Step(nn.Module):
    """The next token of each sequence, and the caches with what this one adds."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        self.tokens = nn.Embedding(shape.vocabulary, shape.width)
        self.places = nn.Embedding(shape.steps, shape.width)
        self.blocks = nn.ModuleList(Block(shape) for _ in range(shape.layers))
        self.last = nn.LayerNorm(shape.width)

    def forward(
        self, token: torch.Tensor, place: torch.Tensor, *caches: torch.Tensor
    ) -> tuple[torch.Tensor, ...]:
        """Take tokens (batch,) and the step (1,); each layer has two caches."""
        x = self.tokens(token) + self.places(place)
        found: list[torch.Tensor] = []
        for index, block in enumerate(self.blocks):
            x, *both = block(x, place, *caches[2 * index : 2 * index + 2])
            found += both
        return (self.last(x) @ self.tokens.weight.T).argmax(-1), *found

    def caches(self, batch: int, like: torch.Tensor) -> list[torch.Tensor]:
        """Return empty caches."""
        shape = self.shape
        sizes = (batch, shape.heads, shape.steps, shape.width // shape.heads)
        return [like.new_zeros(sizes) for _ in range(2 * shape.layers)]


class Greedy(nn.Module):
    """The most probable tokens after a first one, until all sequences have ended."""

    def __init__(self, step: Step) -> None:
        super().__init__()
        self.step = step

    def forward(self, first: torch.Tensor, end: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the tokens (batch, steps), ``end`` where there are none, and how many steps ran.

        Args:
            first: (batch,), the token that each sequence begins with.
            end: (1,), the token that ends one.
        """
        batch, steps = first.shape[0], self.step.shape.steps
        weight = self.step.tokens.weight
        written = end.expand(batch, steps)
        place = torch.zeros(1, dtype=first.dtype, device=first.device)

        def running(place: torch.Tensor, token: torch.Tensor, *_: torch.Tensor) -> torch.Tensor:
            return (place[0] < steps) & (token != end).any()

        def once(
            place: torch.Tensor, token: torch.Tensor, written: torch.Tensor, *caches: torch.Tensor
        ) -> Sequence[torch.Tensor]:
            following, *caches_after = self.step(token, place, *caches)
            following = torch.where(token == end, end, following)
            written = written.index_copy(1, place, following[:, None])
            return place + 1, following, written, *caches_after

        start = (place, first, written, *self.step.caches(batch, weight))
        place, _, written, *_ = trtnn.while_loop(running, once, start)
        return written, place


def decoder(shape: Shape) -> Greedy:
    """Return a decoder in float32 on the CPU, whose weights give other tokens at each step."""
    torch.manual_seed(0)
    net = Greedy(Step(shape)).eval()
    for parameter in net.parameters():
        if parameter.dim() == 2:
            nn.init.normal_(parameter, std=parameter.shape[1] ** -0.5)
    with torch.no_grad():
        net.step.places.weight.mul_(4)  # else a token is the most probable one after itself
    return net
