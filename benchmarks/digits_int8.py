"""``python -m benchmarks.digits_int8``: what INT8 costs the digits net, over several trainings.

Trains the example's net from several seeds, quantizes each, and counts held-out digits that each
labels right: the same samples, on the reference, which rounds as TensorRT's layers do.
"""

from __future__ import annotations

import json
import statistics
from pathlib import Path
from typing import Any

import torch

import trtnn
from examples.digits import HELD_OUT, Digits, load, train

SEEDS = 10
METHODS = ("entropy", "max", "percentile", "mse")
BATCHES = 4  # of 64 samples of training data, to calibrate on
BAR = 0.5  # points of accuracy, mean over the seeds
RESULT = Path(__file__).parent / "results" / "digits_int8.json"


def accuracy(model: Any, images: torch.Tensor, labels: torch.Tensor) -> float:
    """Return the share of images that a model labels right, in percent."""
    with torch.no_grad():
        return float((model(images).argmax(1) == labels).double().mean()) * 100


def measure(seed: int) -> dict[str, Any]:
    """Return the accuracy of one training, in floating point and by each method."""
    torch.manual_seed(seed)
    images, labels = load(torch.device("cpu"))
    net = Digits()
    train(net, images[HELD_OUT:], labels[HELD_OUT:])
    data = list(images[HELD_OUT:].split(64))[:BATCHES]
    held_out = images[:HELD_OUT], labels[:HELD_OUT]
    found: dict[str, Any] = {"seed": seed, "float32": accuracy(net, *held_out)}
    for method in METHODS:
        # All layers that quantize takes: the first has one channel, and stays.
        found[method] = accuracy(trtnn.quantize(net, data, method=method), *held_out)
    return found


def main() -> int:
    """Measure, write the result, and return the exit status."""
    rows = [measure(seed) for seed in range(SEEDS)]
    lost = {m: statistics.mean(row["float32"] - row[m] for row in rows) for m in METHODS}
    held = {"bar_points": BAR, "held_out": HELD_OUT, "mean_points_lost": lost, "rows": rows}
    RESULT.write_text(json.dumps(held, indent=1) + "\n")
    for method, points in lost.items():
        print(f"{method}: {points:+.3f} points of accuracy lost, mean of {SEEDS} trainings")
    return int(max(lost.values()) > BAR)


if __name__ == "__main__":
    raise SystemExit(main())
