"""Train a small network on scikit-learn's digits, compile it, and hold the two side by side.

Exits with 1 if the compiled network gives any held-out digit another label than PyTorch does.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable

import torch
from rich.console import Console
from rich.table import Table
from sklearn.datasets import load_digits
from torch import nn

import trtnn

HELD_OUT = 360
EPOCHS = 12


class Digits(trtnn.Module):
    """Two convolutions and a linear layer: (N, 1, 8, 8) grey images to (N, 10) scores."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, 16, 3, padding=1, bias=False)
        self.stem_norm = nn.BatchNorm2d(16)
        self.body = nn.Conv2d(16, 32, 3, padding=1, bias=False)
        self.body_norm = nn.BatchNorm2d(32)
        self.head = nn.Linear(32 * 4, 10)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.stem_norm(self.stem(images)))
        x = nn.functional.max_pool2d(x, 2)
        x = torch.relu(self.body_norm(self.body(x)))
        x = nn.functional.max_pool2d(x, 2)
        return self.head(x.flatten(1))


def load(device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """Return all 1797 images (N, 1, 8, 8), from 0 to 1, and their labels, in a fixed order."""
    digits = load_digits()
    order = torch.randperm(len(digits.target), generator=torch.Generator().manual_seed(0))
    images = torch.tensor(digits.images, dtype=torch.float32)[order, None] / 16
    return images.to(device), torch.tensor(digits.target)[order].to(device)


def train(net: nn.Module, images: torch.Tensor, labels: torch.Tensor) -> None:
    """Fit ``net`` by Adam on batches of 64, and leave it in eval mode."""
    optimizer = torch.optim.Adam(net.parameters(), lr=3e-3)
    for _ in range(EPOCHS):
        for batch in torch.randperm(len(images), device=images.device).split(64):
            optimizer.zero_grad()
            nn.functional.cross_entropy(net(images[batch]), labels[batch]).backward()
            optimizer.step()
    net.eval()


def time_per_call(function: Callable[[torch.Tensor], torch.Tensor], images: torch.Tensor) -> float:
    """Return the median time of a call, its result included, in microseconds."""
    times = []
    for _ in range(60):
        start = time.perf_counter()
        function(images)
        if images.is_cuda:
            torch.cuda.synchronize()
        times.append((time.perf_counter() - start) * 1e6)
    return statistics.median(times[10:])


def main() -> int:
    """Train, compile, compare; return the exit status."""
    torch.manual_seed(0)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    images, labels = load(device)
    net = Digits().to(device)
    train(net, images[HELD_OUT:], labels[HELD_OUT:])

    batch = trtnn.Dim("batch", 1, 64, 512)
    model = trtnn.compile(net, inputs=[trtnn.Input((batch, 1, 8, 8))])
    print(model.graph)
    print(f"backend: {model.backend}, on {device}")

    images, labels = images[:HELD_OUT], labels[:HELD_OUT]
    runs: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {"eager": net, "compiled": model}
    table = Table(title=f"{HELD_OUT} held-out digits")
    for heading in ("", "accuracy", "time per call"):
        table.add_column(heading, justify="right")
    scores = {}
    with torch.inference_mode():
        for name, run in runs.items():
            scores[name] = run(images)
            accuracy = (scores[name].argmax(1) == labels).float().mean().item()
            table.add_row(name, f"{accuracy:.2%}", f"{time_per_call(run, images):.0f} µs")
    Console().print(table)

    difference = (scores["eager"] - scores["compiled"]).abs().max().item()
    differing = int((scores["eager"].argmax(1) != scores["compiled"].argmax(1)).sum())
    print(f"largest difference of a score: {difference:.2e}")
    print(f"labels that differ: {differing} of {HELD_OUT}")
    return 1 if differing else 0


if __name__ == "__main__":
    sys.exit(main())
