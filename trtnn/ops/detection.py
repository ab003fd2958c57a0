"""torchvision's operators of boxes: which overlap a better one, and what a feature map has in them.

They are known by name, since torchvision may not be there.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from trtnn.errors import DTypeError, OptionError, ShapeError, UnsupportedError
from trtnn.ops.arithmetic import cast
from trtnn.ops.creation import arange
from trtnn.ops.op import TensorT, shape_of, spec_of
from trtnn.ops.ranking import MOST
from trtnn.ops.suppression import BOXES, NMS, selected
from trtnn.sizes.dims import Size, bounds


def nms(dets: TensorT, scores: TensorT, iou_threshold: float) -> TensorT:
    """Select boxes by score, without those that overlap a better one too far: torchvision's.

    By TensorRT's NMS layer, to which the boxes go in the order of their scores: equal scores keep
    their order, and a score may be of either sign. An overlap that is the threshold but for
    rounding may be decided otherwise.

    Args:
        dets: Boxes (N, 4), each its corners (x1, y1, x2, y2).
        scores: (N,)

    Returns:
        The indices of what is kept, int64, the best first: as many as the data leave.

    Raises:
        UnsupportedError: There may be more than 3840 boxes, which TensorRT puts in order.

    >>> nms(torch.tensor([[0.0, 0, 2, 2], [0, 0, 2, 1.9], [5, 5, 6, 6]]), torch.ones(3), 0.5)
    tensor([0, 2])
    """
    low, high = bounds(_checked(dets, scores, iou_threshold))
    if low == 0:  # TensorRT ranks one at least: this one comes last, and is dropped
        dets = torch.cat((dets, dets.new_zeros(1, 4)))
        scores = torch.cat((scores, scores.new_full((1,), float("-inf"))))
    if high + (low == 0) > MOST:
        raise UnsupportedError(
            f"nms: {high} boxes; TensorRT puts {MOST} in order",
            hint="take the best of them first: scores.topk(k)",
        )
    order = torch.argsort(scores, descending=True, stable=True)
    left = scores.shape[0] - _range(scores.shape[0], scores) - float(low == 0)
    how = NMS(0, max(1, high), float(iou_threshold), 0.0, "CORNER_PAIRS", BOXES)
    rows, _ = selected(dets[order].float()[None], left[None, :, None], how)
    return order[rows[:, 2].long()]


def _checked(dets: TensorT, scores: TensorT, iou_threshold: float) -> Size:
    """Return the number of boxes."""
    boxes, given = spec_of(dets), spec_of(scores)
    if boxes.rank != 2 or given.rank != 1 or boxes.shape != (*given.shape, 4):
        raise ShapeError(f"nms: expected boxes (N, 4) and scores (N,), got {boxes} and {given}")
    if not (boxes.dtype.is_floating_point and given.dtype.is_floating_point):
        raise DTypeError(f"nms: expected boxes and scores of floats, got {boxes} and {given}")
    if not 0.0 <= iou_threshold <= 1.0:
        raise OptionError(f"nms: expected iou_threshold from 0 to 1, got {iou_threshold}")
    return given.shape[0]


def batched_nms(boxes: TensorT, scores: TensorT, idxs: TensorT, iou_threshold: float) -> TensorT:
    """Select boxes as :func:`nms` does, but compare only those of one class: torchvision's.

    Each class is moved to a place of its own, as torchvision does with up to 1000 boxes on a CPU;
    with more it takes one class after another, and overlaps are less rounded.

    Args:
        idxs: The class of each box, (N,).
    """
    offsets = idxs.to(boxes) * (boxes.max() + 1)
    return nms(boxes + offsets[:, None], scores, iou_threshold)


def roi_align(
    input: TensorT,
    rois: TensorT,
    spatial_scale: float,
    pooled_height: int,
    pooled_width: int,
    sampling_ratio: int,
    aligned: bool,
) -> TensorT:
    """Average a feature map in the bins of boxes: torchvision's, of which two products are made.

    A bin's mean over a grid of points is a weighted mean of rows, then of columns. Where
    ``sampling_ratio`` is not positive, the grid has as many points as the box has rows and columns
    in a bin; a box of more than ``pooled_height`` (or width) times those of the map gives NaN.

    Args:
        input: (N, C, H, W)
        rois: (K, 5): the index in the batch, and the corners (x1, y1, x2, y2).

    Returns:
        (K, C, pooled_height, pooled_width)

    >>> box = torch.tensor([[0.0, 0, 0, 4, 4]])
    >>> roi_align(torch.arange(16.0).reshape(1, 1, 4, 4), box, 1.0, 1, 1, 2, True)
    tensor([[[[7.5000]]]])
    """
    if spec_of(input).rank != 4 or spec_of(rois).rank != 2 or shape_of(rois)[1] != 5:
        raise ShapeError(
            "roi_align: expected a map (N, C, H, W) and boxes (K, 5), got "
            f"{spec_of(input)} and {spec_of(rois)}"
        )
    batch, channels, height, width = input.shape
    boxes = rois.float()
    corners = boxes[:, 1:] * spatial_scale - (0.5 if aligned else 0.0)
    rows = _shares(corners[:, 1], corners[:, 3], height, pooled_height, sampling_ratio, aligned)
    columns = _shares(corners[:, 0], corners[:, 2], width, pooled_width, sampling_ratio, aligned)
    own = boxes[:, :1] == _range(batch, boxes)
    rows = (rows[:, :, None] * own[:, None, :, None]).flatten(2).flatten(0, 1).to(input.dtype)
    lines = rows @ input.permute(0, 2, 1, 3).reshape(batch * height, channels * width)
    lines = lines.reshape(-1, pooled_height * channels, width)
    found = lines @ columns.to(input.dtype).transpose(1, 2)
    return found.reshape(-1, pooled_height, channels, pooled_width).permute(0, 2, 1, 3)


def _shares(
    low: TensorT, high: TensorT, size: Any, bins: int, ratio: int, aligned: bool
) -> TensorT:
    """Return how much of each row of a map is in the mean of each bin: (boxes, bins, rows)."""
    extent = high - low if aligned else (high - low).clamp(min=1.0)
    extent = extent[:, None, None, None]
    each = extent / bins
    points = each.new_full((), ratio) if ratio > 0 else torch.ceil(each)
    place = _range(ratio if ratio > 0 else size, low)[:, None]
    at = low[:, None, None, None] + each * _range(bins, low)[:, None, None]
    at = at + (place + 0.5) * each / points  # (boxes, bins, points, 1)
    inside = (at >= -1.0) & (at <= size)
    if ratio <= 0:
        inside = inside & (place < points)
    nearest = at.clamp(min=0.0).minimum(at.new_full((), 1.0) * (size - 1))
    weights = (1.0 - (nearest - _range(size, low)).abs()).clamp(min=0.0)
    total = torch.where(inside, weights, 0.0).sum(2)
    if ratio > 0:
        return total / ratio
    points = points[..., 0]
    return torch.where(points <= size, total / points.clamp(min=1.0), float("nan"))


def _range(count: Any, like: TensorT) -> TensorT:
    return cast(arange(count), torch.float32).to(like.device)


OPERATORS: dict[str, Callable[..., Any]] = {
    "torchvision::nms": nms,
    "torchvision::roi_align": roi_align,
}
"""What stands for an operator of another library, by its qualified name."""
