"""A U-Net of unpadded convolutions: where its skips are cropped depends on the input's size."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import nn

from trtnn import Module


class Block(Module):
    """Two unpadded convolutions with batch norm and ReLU: each size shrinks by 4."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(inputs, outputs, 3, bias=False)
        self.first_norm = nn.BatchNorm2d(outputs)
        self.second = nn.Conv2d(outputs, outputs, 3, bias=False)
        self.second_norm = nn.BatchNorm2d(outputs)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map (N, inputs, H, W) to (N, outputs, H - 4, W - 4)."""
        x = torch.relu(self.first_norm(self.first(x)))
        return torch.relu(self.second_norm(self.second(x)))


def crop(skip: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    """Cut the middle out of ``skip``, as large as ``x``."""
    height, width = x.shape[-2:]
    top, left = (skip.shape[-2] - height) // 2, (skip.shape[-1] - width) // 2
    return skip[..., top : top + height, left : left + width]


class UNet(Module):
    """Segment an image: contract, expand, and join what both ways have at each level."""

    def __init__(self, maps: int = 64, levels: int = 4, classes: int = 2) -> None:
        super().__init__()
        widths = [maps * 2**level for level in range(levels + 1)]
        pairs = list(pairwise(widths))
        self.stem = Block(3, maps)
        self.down = nn.ModuleList(Block(a, b) for a, b in pairs)
        self.up = nn.ModuleList(nn.ConvTranspose2d(b, a, 2, stride=2) for a, b in reversed(pairs))
        self.join = nn.ModuleList(Block(b, a) for a, b in reversed(pairs))
        self.head = nn.Conv2d(maps, classes, 1)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Map (N, 3, H, W) to the scores of each class, (N, classes, H', W')."""
        x = self.stem(image)
        skips = []
        for block in self.down:
            skips.append(x)
            x = block(nn.functional.max_pool2d(x, 2))
        for up, join in zip(self.up, self.join, strict=True):
            x = up(x)
            x = join(torch.cat([crop(skips.pop(), x), x], 1))
        return self.head(x)
