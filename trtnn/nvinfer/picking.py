"""Layers of indices: reading and writing at them, and finding them."""

from __future__ import annotations

from typing import Any

import torch

from trtnn.errors import DTypeError, OptionError, ShapeError
from trtnn.nvinfer.members import indices_of, member, one_axis
from trtnn.ops.arithmetic import cast
from trtnn.ops.fetching import Fetch, OneHot
from trtnn.ops.masks import nonzero
from trtnn.ops.movement import permute
from trtnn.ops.op import TensorT, axis_of, bind, shape_of, spec_of
from trtnn.ops.ranking import topk as ranked
from trtnn.ops.scattering import Scatter
from trtnn.ops.slicing import known_of
from trtnn.ops.suppression import BOXES, NMS, selected


def gather(input: TensorT, indices: TensorT, axis: int) -> TensorT:
    """Replace ``axis`` by the dims of an int32 or int64 tensor: ``gather_v2`` in its mode DEFAULT.

    >>> gather(torch.tensor([1.0, 2.0]), torch.tensor([1, -1, 5]), 0)
    tensor([2., 2., 0.])
    """
    return gather_v2(input, indices, "DEFAULT", axis=axis)


def gather_v2(
    input: TensorT,
    indices: TensorT,
    mode: Any,
    *,
    axis: int = 0,
    num_elementwise_dims: int = 0,
) -> TensorT:
    """Read entries at int32 or int64 indices; one that is out of range reads 0, unlike PyTorch's.

    DEFAULT replaces ``axis`` by the dims of the indices; with ``num_elementwise_dims=1`` the first
    dim of both is walked through together. ELEMENT reads an entry for each index, as
    ``torch.gather``. ND reads what each row of indices names in the dims after the
    ``num_elementwise_dims`` first. Negative indices count from the end, on every version.

    >>> gather_v2(torch.eye(2), torch.tensor([[1, 1], [0, 1]]), "ND")
    tensor([1., 0.])
    """
    kind, rank = member("gather", "mode", "GatherMode", mode), len(shape_of(input))
    if not rank or (kind == "ND" and not shape_of(indices)):
        raise ShapeError(f"gather: expected dims, got {spec_of(input)} and {spec_of(indices)}")
    most = {"DEFAULT": 1, "ELEMENT": 0, "ND": max(rank - 1, 0)}[kind]
    if not 0 <= num_elementwise_dims <= min(most, len(shape_of(indices))):
        raise OptionError(
            f"gather: expected num_elementwise_dims from 0 to {most} in mode {kind}, got "
            f"{num_elementwise_dims}"
        )
    place = axis_of("gather", axis, rank) if kind != "ND" else 0
    if kind == "DEFAULT" and place < num_elementwise_dims:
        raise ShapeError("gather: expected an axis behind the elementwise dim")
    if kind == "ELEMENT" and len(shape_of(indices)) != rank:
        raise ShapeError(f"gather: expected indices of rank {rank}, got {spec_of(indices)}")
    return bind(Fetch(kind, place, num_elementwise_dims), input, indices)


def scatter(
    data: TensorT, indices: TensorT, updates: TensorT, mode: Any, *, axis: int = 0
) -> TensorT:
    """Copy ``data`` with ``updates`` at the places that indices name, counted from the front.

    ELEMENT writes each update along ``axis``; indices and updates have one shape. ND writes what
    each row of indices names in the leading dims. What is kept where several updates meet, and
    what an index out of range does, is not defined.

    >>> scatter(torch.zeros(3), torch.tensor([2]), torch.ones(1), "ELEMENT")
    tensor([0., 0., 1.])
    """
    kind, shape = member("scatter", "mode", "ScatterMode", mode), shape_of(data)
    rank = len(shape)
    if not rank or not shape_of(indices):
        raise ShapeError(f"scatter: expected dims, got {spec_of(data)} and {spec_of(indices)}")
    if kind == "ELEMENT":
        if len(shape_of(indices)) != rank:
            raise ShapeError(f"scatter: expected indices of rank {rank}, got {spec_of(indices)}")
        return bind(Scatter(axis_of("scatter", axis, rank)), data, indices, updates)
    depth = shape_of(indices)[-1]
    if not isinstance(depth, int) or not 1 <= depth <= rank:
        raise ShapeError(f"scatter: {depth} indices a row do not fit {spec_of(data)}")
    return bind(Scatter(None), data, indices, updates)


def one_hot(indices: TensorT, values: TensorT, depth: int, axis: int) -> TensorT:
    """Put a dim of ``depth`` in at ``axis``: ``values[1]`` at each index, ``values[0]`` elsewhere.

    The values decide the dtype. No TensorRT says what an index out of range gives.

    >>> one_hot(torch.tensor([1]), torch.tensor([0.0, 9.0]), 2, -1)
    tensor([[0., 9.]])
    """
    if depth < 1:
        raise ShapeError(f"one_hot: expected a depth of 1 or more, got {depth}")
    place = axis_of("one_hot", axis, len(shape_of(indices)) + 1)
    return bind(OneHot(depth, place), indices, values)


def non_zero(input: TensorT, indices_type: Any = "INT32") -> TensorT:
    """Return where entries are not 0: one column each, (rank, number), a size that depends on data.

    TensorRT for RTX has no such layer that it can build.

    >>> non_zero(torch.tensor([0, 3, 4]))
    tensor([[1, 2]], dtype=torch.int32)
    """
    dtype = indices_of("non_zero", indices_type)
    if not shape_of(input):
        raise ShapeError("non_zero: expected dims, got a scalar")
    return cast(permute(nonzero(input), (1, 0)), dtype)


def topk(
    input: TensorT, op: Any, k: Any, axes: Any, indices_type: Any = "INT32"
) -> tuple[TensorT, TensorT]:
    """Return the ``k`` greatest (MAX) or least (MIN) entries along an axis in order, and where.

    ``axes`` is a bit mask of one axis, as TensorRT has it, or a tuple of one; ``k`` is a size up
    to 3840. Which of several equal entries comes first is not defined. 8.6 ranks floats only.

    >>> topk(torch.tensor([[1.0, 3.0, 2.0]]), "MAX", 2, 1 << 1)[1]
    tensor([[1, 2]], dtype=torch.int32)
    """
    kind, dtype = member("topk", "op", "TopKOperation", op), indices_of("topk", indices_type)
    axis = one_axis("topk", axes, len(shape_of(input)))
    values, indices = ranked(input, k, axis, kind == "MAX")
    return values, cast(indices, dtype)


def nms(
    boxes: TensorT,
    scores: TensorT,
    max_output_boxes_per_class: Any,
    indices_type: Any = "INT32",
    *,
    iou_threshold: float = 0.0,
    score_threshold: float = 0.0,
    bounding_box_format: Any = "CORNER_PAIRS",
    topk_box_limit: int = BOXES,
) -> tuple[TensorT, TensorT]:
    """Select boxes by score, without those that overlap a better one of their class too far.

    Boxes are (N, boxes, 4), or (N, boxes, classes, 4), scores (N, boxes, classes): float32 or
    float16. A box is a candidate where its score is above ``score_threshold``, and is kept where
    its intersection over the union with every kept one is at most ``iou_threshold``. Both are 0 by
    default, as TensorRT's: then nothing that touches another box is kept.

    Returns:
        Rows (batch, class, box), (number, 3): batch by batch, the best score first; their number
        depends on data. And this number, an int32 scalar.

    TensorRT for RTX has no such layer that it can build.

    >>> boxes = torch.tensor([[[0.0, 0, 2, 2], [0, 0, 2, 1.9], [5, 5, 6, 6]]])
    >>> nms(boxes, torch.tensor([[[0.9], [0.8], [0.7]]]), 9, iou_threshold=0.5)[0].tolist()
    [[0, 0, 0], [0, 0, 2]]
    """
    dtype = indices_of("nms", indices_type)
    form = member("nms", "bounding_box_format", "BoundingBoxFormat", bounding_box_format)
    known = known_of(max_output_boxes_per_class)
    most = int(max_output_boxes_per_class if known is None else known)
    if not 0.0 <= iou_threshold <= 1.0 or not 1 <= topk_box_limit <= BOXES or most < 1:
        raise OptionError(
            f"nms: expected iou_threshold from 0 to 1, topk_box_limit from 1 to {BOXES} and a "
            f"positive number of boxes, got {iou_threshold}, {topk_box_limit} and {most}"
        )
    if spec_of(boxes).dtype not in (torch.float32, torch.float16):
        raise DTypeError(f"nms: expected float32 or float16, got {spec_of(boxes)}")
    how = NMS(0, most, float(iou_threshold), float(score_threshold), form, topk_box_limit)
    rows, total = selected(boxes, scores, how)
    return cast(rows, dtype), total
