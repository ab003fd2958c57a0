"""What the processes of a Ray cluster are given: light, for each of them imports it."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import numpy
import torch

import trtnn
from trtnn.serving import RayPredictor

ROWS, BATCH, FATAL, BAD = 2000, 64, 1000, 100
CALLS, WRONG = 60, 10  # requests, and one of them
TOLERANCE = 1e-6  # another batch is summed in another order


class Net(torch.nn.Module):
    """An index that is out of range fails on the reference, and in eager."""

    def __init__(self) -> None:
        super().__init__()
        self.table = torch.nn.Embedding(ROWS, 8)
        self.head = torch.nn.Linear(8, 3)

    def forward(self, index: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"scores": self.head(self.table(index)), "next": index + 1}


def net() -> Net:
    """Return the same network in every process."""
    torch.manual_seed(0)
    return Net().eval()


def make() -> trtnn.CompiledModule:
    """Return it compiled for the reference."""
    inputs = [trtnn.Input((trtnn.Dim("batch", 1, BATCH, BATCH),), torch.int64)]
    return trtnn.compile(net(), inputs=inputs, backend="reference")


class Mortal(RayPredictor):
    """Says which process has computed a row; the first one to see a certain row is killed."""

    def __init__(self, marker: str) -> None:
        super().__init__(make, keep=["row"])
        self.marker = Path(marker)

    def __call__(self, batch: Any) -> dict[str, Any]:
        if FATAL in batch["row"] and not self.marker.exists():
            self.marker.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return {**super().__call__(batch), "process": numpy.full(len(batch["row"]), os.getpid())}
