"""Classify a photograph and its four quarters with torchvision's ResNet-18.

The photograph is one that scikit-learn ships; the path of another may be given. Weights are random,
and so are the labels, unless ``--pretrained`` downloads torchvision's. Exits with 1 if the compiled
network is off from PyTorch.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import operators  # noqa: F401 - before torchvision
import sklearn.datasets
import torch
from PIL import Image
from setting import DEVICE, PRECISION, TOLERANCE, off_by
from torchvision.models import ResNet18_Weights, resnet18

import trtnn

WEIGHTS = ResNet18_Weights.DEFAULT
PHOTOGRAPH = Path(sklearn.datasets.__file__).parent / "images" / "china.jpg"
SIDE = 224


def views(path: str | Path) -> torch.Tensor:
    """Return the photograph and its quarters, each as the network takes it: (5, 3, 224, 224)."""
    whole = Image.open(path).convert("RGB")
    width, height = (size // 2 for size in whole.size)
    corners = [(x, y) for y in (0, height) for x in (0, width)]
    parts = [whole.crop((x, y, x + width, y + height)) for x, y in corners]
    return torch.stack([WEIGHTS.transforms()(part) for part in (whole, *parts)])


@torch.inference_mode()
def main(arguments: Sequence[str] = ()) -> int:
    """Compile, classify, compare; return the exit status."""
    pretrained = "--pretrained" in arguments
    paths = [word for word in arguments if not word.startswith("--")]
    torch.manual_seed(0)
    net = resnet18(weights=WEIGHTS if pretrained else None).eval().to(DEVICE)

    batch = trtnn.Dim("batch", 1, 5, 16)
    inputs = [trtnn.Input((batch, 3, SIDE, SIDE))]
    model = trtnn.compile(net, inputs=inputs, precision=PRECISION)

    images = views(paths[0] if paths else PHOTOGRAPH).to(DEVICE)
    scores, expected = model(images), net(images)
    for name, row in zip(("whole", "1st", "2nd", "3rd", "4th"), scores.softmax(1), strict=True):
        likely = row.topk(3)
        labels = [WEIGHTS.meta["categories"][index] for index in likely.indices]
        found = (f"{n} {p:.1%}" for n, p in zip(labels, likely.values.tolist(), strict=True))
        print(f"{name:6}{', '.join(found)}")
    error = off_by(scores, expected)
    print(f"backend: {model.backend}, off by {error:.1e}")
    return int(error > TOLERANCE)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
