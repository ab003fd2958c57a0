"""Calibration: how large values are, and the scale that loses least of them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch

from trtnn.errors import InputError

BINS = 2048
LEVELS = 128
PERCENTILE = 99.99
LITTLE = 1e-4  # what share an empty bin counts as, so that one outlier decides nothing
Counts = np.ndarray[tuple[int], np.dtype[np.float64]]


class Histogram:
    """Counts the magnitudes of a value, seen batch by batch, in bins from 0 up."""

    def __init__(self) -> None:
        self.counts: torch.Tensor | None = None
        self.end = 0.0  # where the last bin ends
        self.largest = 0.0

    def add(self, name: str, tensor: torch.Tensor) -> None:
        """Count the entries of a tensor.

        Raises:
            InputError: One is NaN or infinite.
        """
        entries = tensor.detach().float().abs().flatten()
        if not entries.numel():
            return
        largest = float(entries.amax())
        if not np.isfinite(largest):
            raise InputError(
                f"calibration: {name} holds NaN or infinity, which have no scale",
                hint="calibrate with inputs that the model takes; in half, values may overflow",
            )
        self.largest = max(self.largest, largest)
        if self.counts is None or self.end == 0.0:
            zeros = 0.0 if self.counts is None else float(self.counts[0])
            self.counts = torch.zeros(BINS, dtype=torch.float64, device=entries.device)
            self.counts[0] = zeros
            self.end = largest
        if largest == 0.0:
            self.counts[0] += entries.numel()
            return
        while largest > self.end:  # two bins become one: nothing has to be seen again
            pairs = self.counts.reshape(BINS // 2, 2).sum(1)
            self.counts = torch.cat([pairs, torch.zeros_like(pairs)])
            self.end *= 2
        self.counts += torch.histc(entries, BINS, 0.0, self.end).double()

    def amax(self, method: str) -> float:
        """Return the magnitude that the largest step of a quantized value stands for."""
        if self.counts is None or self.largest == 0.0:
            return 0.0
        counts: Counts = self.counts.cpu().numpy()
        return min(METHODS[method](counts, self.end), self.largest)


def _largest(counts: Counts, end: float) -> float:
    return end


def _percentile(counts: Counts, end: float) -> float:
    """Return the least bin's end that all but the few largest entries are below."""
    share = counts.cumsum() / counts.sum()
    return float((np.searchsorted(share, PERCENTILE / 100) + 1) * end / len(counts))


def _entropy(counts: Counts, end: float) -> float:
    """Return the end of the first bins whose 128 levels tell least less of the counts.

    TensorRT's calibration: the divergence of the counts, what is beyond put into the last bin,
    from what is left of them when the bins of a level share its entries.
    """
    counts = counts.copy()
    counts[0] = counts[1]  # zeros are exact in any scale
    best, least = len(counts), np.inf
    beyond = counts.sum() - counts.cumsum()
    for used in range(LEVELS, len(counts) + 1):
        part = counts[:used]
        full = part > 0
        level = np.minimum(np.arange(used) * LEVELS // used, LEVELS - 1)
        sums = np.bincount(level, part, LEVELS)
        shared = np.bincount(level, full, LEVELS)
        left = np.where(full, sums[level] / np.maximum(shared[level], 1), 0.0)
        told = part.copy()
        told[-1] += beyond[used - 1]
        p, q = told / told.sum(), left / max(left.sum(), 1.0)
        divergence = float((p[full] * np.log(p[full] / q[full])).sum())
        if not full[-1] and p[-1] > LITTLE:  # what is beyond, where nothing is just below
            divergence += float(p[-1] * np.log(p[-1] / LITTLE))
        if divergence < least:
            best, least = used, divergence
    return best * end / len(counts)


def _squares(counts: Counts, end: float) -> float:
    """Return the end whose steps lose least in squares."""
    width = end / len(counts)
    centers = (np.arange(len(counts)) + 0.5) * width
    best, least = end, np.inf
    for used in range(LEVELS // 8, len(counts) + 1, 8):
        step = used * width / (LEVELS - 1)
        rounded = np.minimum(np.rint(centers / step), LEVELS - 1) * step
        loss = float((counts * (rounded - centers) ** 2).sum())
        if loss < least:
            best, least = used * width, loss
    return best


METHODS: dict[str, Callable[[Counts, float], float]] = {
    "entropy": _entropy,
    "max": _largest,
    "percentile": _percentile,
    "mse": _squares,
}
