"""torchvision's operators of boxes as their kernels are written, where its binary is not loaded."""

from __future__ import annotations

import contextlib
import math
import sys
from collections.abc import Iterator
from typing import Any
from unittest import mock

import torch


def nms(dets: torch.Tensor, scores: torch.Tensor, iou_threshold: float) -> torch.Tensor:
    order = scores.argsort(descending=True, stable=True)
    boxes, kept = dets[order], []
    areas = (boxes[:, 2:] - boxes[:, :2]).prod(-1)
    dropped = torch.zeros(len(boxes), dtype=torch.bool)
    for index, box in enumerate(boxes):
        if not dropped[index]:
            kept.append(index)
            low, high = box[:2].maximum(boxes[:, :2]), box[2:].minimum(boxes[:, 2:])
            common = (high - low).clamp(min=0).prod(-1)
            dropped |= common / (areas[index] + areas - common) > iou_threshold
    return order[torch.tensor(kept, dtype=torch.int64)]


def roi_align(
    input: torch.Tensor,
    rois: torch.Tensor,
    spatial_scale: float,
    pooled_height: int,
    pooled_width: int,
    sampling_ratio: int,
    aligned: bool,
) -> torch.Tensor:
    bins = (pooled_height, pooled_width)
    found = torch.zeros(len(rois), input.shape[1], *bins)
    for number, roi in enumerate(rois):
        corners = (roi[1:] * spatial_scale - (0.5 if aligned else 0.0)).tolist()
        image = input[int(roi[0])]
        grids = []
        for axis, count in enumerate(bins):
            low, extent = corners[1 - axis], corners[3 - axis] - corners[1 - axis]
            each = (extent if aligned else max(extent, 1.0)) / count
            points = sampling_ratio if sampling_ratio > 0 else math.ceil(each)
            steps = [(i + 0.5) * each / points for i in range(points)]
            grids.append([[low + b * each + s for s in steps] for b in range(count)])
        for i, rows in enumerate(grids[0]):
            for j, columns in enumerate(grids[1]):
                values = [_at(image, y, x) for y in rows for x in columns]
                if values:
                    found[number, :, i, j] = torch.stack(values).mean(0)
    return found


def _at(image: torch.Tensor, y: float, x: float) -> torch.Tensor:
    _, height, width = image.shape
    if not (-1.0 <= y <= height and -1.0 <= x <= width):
        return image.new_zeros(len(image))
    y, x = min(max(y, 0.0), height - 1.0), min(max(x, 0.0), width - 1.0)
    top, left = min(int(y), height - 1), min(int(x), width - 1)
    below, right = min(top + 1, height - 1), min(left + 1, width - 1)
    down, along = y - top, x - left
    upper = image[:, top, left] * (1 - along) + image[:, top, right] * along
    lower = image[:, below, left] * (1 - along) + image[:, below, right] * along
    return upper * (1 - down) + lower * down


@contextlib.contextmanager
def operators() -> Iterator[None]:
    """Have torchvision's operators run, by its binary or by the functions above."""
    extension: Any = sys.modules["torchvision.extension"]
    if extension._has_ops():
        yield
        return
    library = torch.library.Library("torchvision", "FRAGMENT")
    if not hasattr(torch.ops.torchvision, "roi_align"):
        library.define(
            "roi_align(Tensor input, Tensor rois, float spatial_scale, int pooled_height, "
            "int pooled_width, int sampling_ratio, bool aligned) -> Tensor"
        )
    library.impl("nms", nms, "CPU")
    library.impl("roi_align", roi_align, "CPU")
    homes = (extension, sys.modules["torchvision.ops.roi_align"])
    with contextlib.ExitStack() as stack:
        for home in homes:
            stack.enter_context(mock.patch.object(home, "_has_ops", lambda: True))
        try:
            yield
        finally:
            library._destroy()
