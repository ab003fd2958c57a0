"""Rows for plugins that TensorRT brings; the doubles list them as 8.6.0 does."""

from __future__ import annotations

from typing import Any

import torch

from tests.rows import B, Row, T
from trtnn.plugins import plugin

HALF = torch.float16
BIAS = [0.5, -1.0, 0.25]
CELLS = 3  # a side, of a region of interest
LEAST, MOST, SHOWN = 0.1, 0.5, 6  # a score, an overlap, boxes


def gelu(x: torch.Tensor) -> torch.Tensor:
    moved = x.float() + torch.tensor(BIAS, device=x.device)
    return torch.nn.functional.gelu(moved, approximate="tanh").to(x.dtype)


def regions(x: torch.Tensor, boxes: torch.Tensor, images: torch.Tensor) -> torch.Tensor:
    """Sample each box of an image at two places a side of each of its cells, and average these."""
    height, width = x.shape[2:]
    steps = (torch.arange(2 * CELLS, device=x.device) + 0.5) / (2 * CELLS)
    corner, size = boxes[:, :2] - 0.5, boxes[:, 2:] - boxes[:, :2]
    columns = 2 / (width - 1) * (corner[:, :1] + size[:, :1] * steps) - 1
    rows = 2 / (height - 1) * (corner[:, 1:] + size[:, 1:] * steps) - 1
    shape = len(boxes), 2 * CELLS, 2 * CELLS
    grid = torch.stack((columns[:, None].expand(shape), rows[..., None].expand(shape)), -1)
    how: dict[str, Any] = {"padding_mode": "border", "align_corners": True}
    found = torch.nn.functional.grid_sample(x[images.long()], grid, **how)
    return torch.nn.functional.avg_pool2d(found, 2)


def cells(x: torch.Tensor, boxes: torch.Tensor, images: torch.Tensor) -> torch.Tensor:
    return x.new_empty(boxes.shape[0], x.shape[1], CELLS, CELLS)


def detections(boxes: torch.Tensor, scores: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """Take the best boxes of all classes, without those that overlap a better one of their own."""
    counts, found = declared(boxes, scores)[0].zero_(), declared(boxes, scores)[1:]
    for tensor in found:
        tensor.zero_()
    for image in range(boxes.shape[0]):
        kept: list[tuple[int, int]] = []
        for index in scores[image].reshape(-1).argsort(descending=True, stable=True).tolist():
            place, kind = divmod(index, scores.shape[2])
            score, box = scores[image, place, kind], boxes[image, place]
            rivals = [boxes[image, other] for other, same in kept if same == kind]
            if len(kept) == SHOWN or score <= LEAST or any(overlap(box, r) > MOST for r in rivals):
                continue
            for tensor, entry in zip(found, (box, score, torch.tensor(kind)), strict=True):
                tensor[image, len(kept)] = entry
            kept.append((place, kind))
        counts[image] = len(kept)
    return (counts, *found)


def overlap(one: torch.Tensor, other: torch.Tensor) -> float:
    inner = (torch.minimum(one[2:], other[2:]) - torch.maximum(one[:2], other[:2])).clamp(min=0)
    both = (one[2:] - one[:2]).prod() + (other[2:] - other[:2]).prod() - inner.prod()
    return float(inner.prod() / both)


def declared(boxes: torch.Tensor, scores: torch.Tensor) -> tuple[torch.Tensor, ...]:
    batch, count = boxes.shape[0], {"dtype": torch.int32, "device": boxes.device}
    return (
        torch.empty(batch, 1, **count),
        boxes.new_empty(batch, SHOWN, 4),
        boxes.new_empty(batch, SHOWN),
        torch.empty(batch, SHOWN, **count),
    )


def gelu_of(kind: int) -> Any:
    how: Any = {"infer": torch.empty_like, "reference": gelu}
    return plugin("CustomGeluPluginDynamic", type_id=kind, bias=BIAS, **how)


align = plugin(
    "ROIAlign_TRT",
    infer=cells,
    reference=regions,
    coordinate_transformation_mode=1,
    mode=1,
    output_height=CELLS,
    output_width=CELLS,
    sampling_ratio=2,
    spatial_scale=1.0,
)
suppress = plugin(
    "EfficientNMS_TRT",
    infer=declared,
    reference=detections,
    score_threshold=LEAST,
    iou_threshold=MOST,
    max_output_boxes=SHOWN,
    background_class=-1,
    score_activation=False,
    box_coding=0,
)


def detect(corner: torch.Tensor, size: torch.Tensor, scores: torch.Tensor) -> Any:
    return suppress(torch.cat((corner, corner + size), -1), scores)


def pool(x: torch.Tensor, corner: torch.Tensor, size: torch.Tensor, images: torch.Tensor) -> Any:
    return align(x, torch.cat((corner, corner + size), -1), images)


ROWS = [
    Row(gelu_of(0), T(B, 2, 3), name="plugin"),
    Row(gelu_of(1), T(2, 2, 3, dtype=HALF), name="plugin in half"),
    Row(
        pool,
        T(2, 3, 8, 9),
        T(B, 2, low=0.0, high=3.0),
        T(B, 2, low=1.0, high=4.0),
        T(B, dtype=torch.int32, low=0, high=2),
        name="plugin of another shape",
    ),
    Row(
        detect,
        T(B, 10, 2, low=0.0, high=0.5),
        T(B, 10, 2, low=0.2, high=0.5),
        T(B, 10, 3, low=0.0, high=1.0),
        name="plugin of four results",
    ),
]
