"""What follows the heads of torchvision's detectors: all sizes are known, but the last one.

torchvision drops boxes of low scores first, and then ranks what is left. Here all are ranked, and
TensorRT's NMS drops those of low scores, and boxes that overlap, at once. It looks at the 5000 of
an image with the best scores, of all classes; torchvision looks at more, which shows only where
so many leave fewer boxes than ``detections_per_img``.
"""

from __future__ import annotations

from typing import Any

import torch

from trtnn.ops.op import TensorT
from trtnn.ops.suppression import BOXES, NMS, selected

Found = list[dict[str, TensorT]]


def single_shot(self: Any, head_outputs: Any, image_anchors: Any, image_shapes: Any) -> Found:
    """Stand for ``SSD.postprocess_detections``: the best of each class are ranked on their own."""
    everything = torch.softmax(head_outputs["cls_logits"], -1)
    found = []
    for index, (anchors, shape) in enumerate(zip(image_anchors, image_shapes, strict=True)):
        boxes = _decoded(self, head_outputs["bbox_regression"][index], anchors, shape)
        of_classes = everything[index, :, 1:]
        most = min(self.topk_candidates, of_classes.shape[0])
        scores, places = of_classes.topk(most, 0)
        rows = _rows(self, boxes[places], scores, most)
        place = rows[:, 2] * scores.shape[1] + rows[:, 1]
        chosen = boxes[places.flatten()[place]]
        found.append(_result(chosen, scores.flatten()[place], rows[:, 1] + 1))
    return found


def by_level(self: Any, head_outputs: Any, anchors: Any, image_shapes: Any) -> Found:
    """Stand for ``RetinaNet.postprocess_detections``: the best of each level are ranked."""
    found = []
    for index, shape in enumerate(image_shapes):
        levels = []
        for logits, deltas, own in zip(
            head_outputs["cls_logits"],
            head_outputs["bbox_regression"],
            anchors[index],
            strict=True,
        ):
            classes = logits.shape[-1]
            flat = torch.sigmoid(logits[index]).flatten()
            scores, places = flat.topk(min(self.topk_candidates, flat.shape[0]))
            anchor = places // classes
            boxes = _decoded(self, deltas[index][anchor], own[anchor], shape)
            levels.append((boxes, scores, places % classes))
        boxes, scores, labels = (torch.cat(parts) for parts in zip(*levels, strict=True))
        is_of = labels[:, None] == torch.arange(classes, device=labels.device)
        # One that is of another class has no score, and is dropped: the threshold is above -1.
        rows = _rows(self, boxes, torch.where(is_of, scores[:, None], -1.0), boxes.shape[0])
        found.append(_result(boxes[rows[:, 2]], scores[rows[:, 2]], rows[:, 1]))
    return found


def _decoded(self: Any, deltas: TensorT, anchors: TensorT, shape: Any) -> TensorT:
    """Return boxes (N, 4) that lie in their image."""
    boxes = self.box_coder.decode_single(deltas, anchors)
    height, width = shape
    x, y = boxes[:, 0::2].clamp(min=0, max=width), boxes[:, 1::2].clamp(min=0, max=height)
    return torch.stack((x, y), 2).flatten(1)


def _rows(self: Any, boxes: TensorT, scores: TensorT, most: int) -> TensorT:
    """Return (image, class, box) of the detections, int64, the best first."""
    least = max(0.0, float(self.score_thresh))
    how = NMS(0, most, float(self.nms_thresh), least, "CORNER_PAIRS", BOXES)
    rows, _ = selected(boxes.float()[None], scores.float()[None], how)
    return rows[: self.detections_per_img].long()


def _result(boxes: TensorT, scores: TensorT, labels: TensorT) -> dict[str, TensorT]:
    return {"boxes": boxes, "scores": scores, "labels": labels}
