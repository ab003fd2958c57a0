"""A network for a first look: trained in a second on stripes that it makes itself."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

SIDE, CLASSES, STEPS, BATCH = 12, 4, 80, 64


class Stripes(nn.Module):
    """Two convolutions and a linear layer: (N, 1, 12, 12) images to (N, 4) scores."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, 8, 3, padding=1)
        self.norm = nn.BatchNorm2d(8)
        self.body = nn.Conv2d(8, 16, 3, padding=1)
        self.head = nn.Linear(16, CLASSES)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        x = nn.functional.max_pool2d(torch.relu(self.norm(self.stem(images))), 2)
        scores: torch.Tensor = self.head(torch.relu(self.body(x)).mean((2, 3)))
        return scores


def images_of(count: int, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    """Return images of stripes in noise, (N, 1, 12, 12), and which way each set of stripes goes."""
    labels = torch.randint(CLASSES, (count,), generator=generator)
    angles = labels * torch.pi / CLASSES
    rows, columns = torch.meshgrid(torch.arange(SIDE), torch.arange(SIDE), indexing="ij")
    along = rows * angles.cos()[:, None, None] + columns * angles.sin()[:, None, None]
    shift = torch.rand(count, 1, 1, generator=generator) * 6
    noise = torch.randn(count, SIDE, SIDE, generator=generator)
    return (torch.sin(along * 1.6 + shift) + 0.5 * noise)[:, None], labels


def trained(device: torch.device) -> Stripes:
    """Return the network, trained by Adam, in eval mode."""
    torch.manual_seed(0)
    generator, net = torch.Generator().manual_seed(0), Stripes()
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-2)
    for _ in range(STEPS):
        images, labels = images_of(BATCH, generator)
        optimizer.zero_grad()
        torch.autograd.backward(nn.functional.cross_entropy(net(images), labels))
        optimizer.step()
    return net.to(device).eval()


@dataclass(frozen=True)
class Agreement:
    """How PyTorch and the compiled model see the same images.

    Attributes:
        right: The share of labels that each finds, by name.
        differing: Images of which they say different labels.
        error: The largest difference of a score.
    """

    count: int
    right: dict[str, float]
    differing: int
    error: float


def agreement(scores: dict[str, torch.Tensor], labels: torch.Tensor) -> Agreement:
    """Hold the scores of two networks against the labels and each other."""
    first, second = scores.values()
    found = {name: own.argmax(1).cpu() for name, own in scores.items()}
    right = {name: float((own == labels).float().mean()) for name, own in found.items()}
    one, other = found.values()
    error = float((first - second).abs().max())
    return Agreement(len(labels), right, int((one != other).sum()), error)
