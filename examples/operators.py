"""Declares what PyPI's torchvision, which is built for CUDA, lacks beside a CPU build of PyTorch.

Import it before torchvision, transformers or diffusers. Networks then work; torchvision's own
operators, ``torchvision.ops.nms`` for one, do not.
"""

from __future__ import annotations

import torch

try:
    import torchvision  # noqa: F401
except RuntimeError:
    DECLARED = torch.library.Library("torchvision", "FRAGMENT")  # they go with it
    for name in ("nms", "qnms"):
        DECLARED.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
