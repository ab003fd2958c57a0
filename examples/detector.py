"""Follow a square through a film with a small detector of YOLO's kind, at one launch a frame.

The network is trained here, in seconds, on frames that are made up. It looks once at a frame, and
each cell of its grid says whether a square's middle is in it, and where its edges are. ``bind``
fixes the memory of frame and result, and a CUDA graph makes a frame one launch. Exits with 1 if it
loses the square, or is off from PyTorch.
"""

from __future__ import annotations

import itertools
import sys
import time

import torch
from setting import DEVICE
from torch import nn

import trtnn

SIDE, CELL = 64, 8
GRID = SIDE // CELL
STEPS, BATCH, FRAMES = 150, 32, 60


class Detector(trtnn.Module):
    """Frames (N, 1, 64, 64) to a box (N, 4), as left, top, right, bottom, and its score (N,)."""

    def __init__(self) -> None:
        super().__init__()
        widths = (1, 8, 16, 32)
        layers: list[nn.Module] = []
        for before, after in itertools.pairwise(widths):
            layers += [nn.Conv2d(before, after, 3, stride=2, padding=1), nn.SiLU()]
        self.body = nn.Sequential(*layers, nn.Conv2d(32, 32, 3, padding=1), nn.SiLU())
        self.head = nn.Conv2d(32, 5, 1)  # the cell's score, its middle within it, width and height

    def cells(self, frames: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return what each cell says: scores (N, 64), before the sigmoid, and boxes (N, 64, 4)."""
        found = self.head(self.body(frames)).flatten(2)
        scores, middle, size = found[:, 0], found[:, 1:3].sigmoid(), found[:, 3:].sigmoid()
        places = torch.arange(GRID, device=frames.device, dtype=found.dtype)
        across, down = torch.meshgrid(places, places, indexing="xy")
        corner = torch.stack((across.flatten(), down.flatten()))
        middle, half = (corner + middle) * CELL, size * SIDE / 2
        return scores, torch.cat((middle - half, middle + half), 1).transpose(1, 2)

    def forward(self, frames: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        scores, boxes = self.cells(frames)
        best, cell = scores.sigmoid().max(1)
        return boxes.gather(1, cell[:, None, None].expand(-1, 1, 4))[:, 0], best


def draw(middle: torch.Tensor, size: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return frames with a square on noise, and its box (N, 4), from middles (N, 2) and sizes."""
    boxes = torch.cat((middle - size / 2, middle + size / 2), 1)
    along = torch.arange(SIDE) + 0.5
    inside = (along > boxes[:, :2, None]) & (along < boxes[:, 2:, None])  # (N, 2, 64)
    frames = 0.3 * torch.rand(len(boxes), 1, SIDE, SIDE)
    frames += 0.6 * (inside[:, 1, :, None] & inside[:, 0, None, :])[:, None]
    return frames, boxes


def train(net: Detector) -> None:
    """Fit the detector by Adam, and leave it in eval mode."""
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-2)
    for _ in range(STEPS):
        size = 10 + 14 * torch.rand(BATCH, 1)
        middle = 12 + (SIDE - 24) * torch.rand(BATCH, 2)
        frames, boxes = (x.to(DEVICE) for x in draw(middle, size))
        place = (middle // CELL).long().to(DEVICE)
        cell = place[:, 1] * GRID + place[:, 0]
        scores, found = net.cells(frames)
        chosen = found[torch.arange(BATCH, device=DEVICE), cell]
        loss = nn.functional.cross_entropy(scores, cell) + (chosen - boxes).abs().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    net.eval()


def overlap(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Return the area that boxes (N, 4) share, over the area of both.

    >>> overlap(torch.tensor([[0.0, 0, 2, 2]]), torch.tensor([[0.0, 1, 2, 3]]))
    tensor([0.3333])
    """
    shared = (torch.minimum(a, b)[:, 2:] - torch.maximum(a, b)[:, :2]).clamp(min=0).prod(1)
    areas = [(box[:, 2:] - box[:, :2]).prod(1) for box in (a, b)]
    return shared / (areas[0] + areas[1] - shared)


def film() -> tuple[torch.Tensor, torch.Tensor]:
    """Return frames in which a square goes round, and where it is."""
    turn = torch.linspace(0, 2 * torch.pi, FRAMES)[:, None]
    middle = SIDE / 2 + 18 * torch.cat((turn.cos(), turn.sin()), 1)
    return draw(middle, 16 + 4 * turn.sin())


def main() -> int:
    """Train, compile, follow, compare; return the exit status."""
    torch.manual_seed(0)
    net = Detector().to(DEVICE)
    train(net)
    frames, boxes = (x.to(DEVICE) for x in film())

    frame = torch.empty(1, 1, SIDE, SIDE, device=DEVICE)
    model = trtnn.compile(net, inputs=[frame], execution="graph")
    with torch.inference_mode():
        detect = model.bind(frame)
        found = []
        start = time.perf_counter()
        for picture in frames:
            frame.copy_(picture[None])  # the camera writes here
            box, _ = detect()  # into the same memory each time, so what is to stay is copied
            found.append(box.clone())
        results = torch.cat(found).cpu()
        seconds = time.perf_counter() - start
        expected = net(frames)[0].cpu()
    shared, same = overlap(results, boxes.cpu()), overlap(results, expected)
    print(f"{FRAMES / seconds:.0f} frames a second")
    print(f"the square is overlapped by {shared.mean():.0%}, by {shared.min():.0%} at least")
    print(f"backend: {model.backend}, which overlaps PyTorch's boxes by {same.mean():.1%}")
    return int(same.mean() < 0.9 or shared.min() < 0.5)


if __name__ == "__main__":
    sys.exit(main())
