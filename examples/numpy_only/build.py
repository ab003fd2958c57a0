"""Write a network to a file that ``run.py``, beside this one, runs without PyTorch.

``python build.py net.trtnn`` builds for the GPU at hand with TensorRT, and where there is none with
TensorRT for RTX, for GPUs that are not there.
"""

from __future__ import annotations

import sys

import torch

import trtnn

BATCH = trtnn.Dim("batch", 1, 8, 64)
INPUTS = {"features": trtnn.Input((BATCH, 16))}


class Scorer(trtnn.Module):
    """Features (N, 16) to what each of four classes gets, and the best class."""

    def __init__(self) -> None:
        super().__init__()
        self.hidden = torch.nn.Linear(16, 32)
        self.head = torch.nn.Linear(32, 4)

    def forward(self, features: torch.Tensor) -> dict[str, torch.Tensor]:
        scores = self.head(torch.relu(self.hidden(features))).softmax(-1)
        return {"scores": scores, "best": scores.argmax(-1)}


def main(path: str) -> int:
    """Write the file; return the exit status."""
    torch.manual_seed(0)
    net = Scorer().eval()
    if torch.cuda.is_available():
        trtnn.build(net, path, inputs=INPUTS)
    else:
        gpus = ("8.6", "8.9", "12.0")
        trtnn.build(net, path, inputs=INPUTS, backend="tensorrt_rtx", compute_capabilities=gpus)
    print(f"wrote {path}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
