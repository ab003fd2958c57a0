"""What examples begin with: where they run, and how far apart two results are."""

from __future__ import annotations

import torch

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
# The reference computes in half on a CPU too, as it was told, and slowly.
PRECISION = "fp16" if DEVICE.type == "cuda" else "tf32"
TOLERANCE = 0.02  # relative L2, in TF32 and in half


def off_by(result: torch.Tensor, expected: torch.Tensor) -> float:
    """Return the relative L2 of the difference of two results.

    >>> off_by(torch.tensor([3.0, 5.25]), torch.tensor([3.0, 4.0]))
    0.25
    """
    return ((result - expected).norm() / expected.norm()).item()
