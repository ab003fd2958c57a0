"""Rows of TensorRT's layers by name that read, write and find at indices."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy
import torch

from tests.rows import B, C, Row, S, T
from trtnn import nvinfer
from trtnn.errors import DTypeError, OptionError, ShapeError

HALF, INT, LONG, BOOL = torch.float16, torch.int32, torch.int64, torch.bool


def I(*shape: Any, high: int, low: int = 0, dtype: torch.dtype = LONG) -> Any:  # noqa: E743
    """An index tensor."""
    return T(*shape, dtype=dtype, low=low, high=high)


def gathered(
    x: torch.Tensor, indices: torch.Tensor, mode: Any, axis: int = 0, num_elementwise_dims: int = 0
) -> torch.Tensor:
    """Read entry by entry what ONNX's Gather, GatherElements and GatherND read, 0 outside."""
    data, found = x.numpy(), indices.numpy()
    if isinstance(mode, int):
        mode, axis = "DEFAULT", mode
    axis, n = axis % x.dim(), num_elementwise_dims
    if mode == "ELEMENT":
        shape: tuple[int, ...] = found.shape
    elif mode == "ND":
        shape = (*found.shape[:-1], *data.shape[n + found.shape[-1] :])
    else:
        shape = (*data.shape[:axis], *found.shape[n:], *data.shape[axis + 1 :])
    result = numpy.zeros(shape, data.dtype)
    for place in product(*map(range, shape)):
        if mode == "ELEMENT":
            at = [*place[:axis], found[place], *place[axis + 1 :]]
        elif mode == "ND":
            rest = len(found.shape) - 1
            at = [*place[:n], *found[place[:rest]], *place[rest:]]
        else:
            end = axis + found.ndim - n
            own = (*place[:n], *place[axis:end])
            at = [*place[:axis], found[own], *place[end:]]
        if all(-d <= i < d for i, d in zip(at, data.shape, strict=True)):
            result[place] = data[tuple(at)]
    return torch.from_numpy(result)


def written(
    x: torch.Tensor, indices: torch.Tensor, updates: torch.Tensor, mode: str, axis: int = 0
) -> torch.Tensor:
    result = x.clone()
    if mode == "ND":
        for place in product(*map(range, indices.shape[:-1])):
            result[tuple(indices[place].tolist())] = updates[place]
        return result
    for place in product(*map(range, indices.shape)):
        at = list(place)
        at[axis] = int(indices[place])
        result[tuple(at)] = updates[place]
    return result


def hot(indices: torch.Tensor, values: torch.Tensor, depth: int, axis: int) -> torch.Tensor:
    rows = torch.nn.functional.one_hot(indices.long(), depth).bool()
    return torch.where(rows, values[1], values[0]).movedim(-1, axis)


def first(x: torch.Tensor, op: str, k: int, axes: int, indices_type: str = "INT32") -> Any:
    axis = axes.bit_length() - 1
    found = torch.sort(x, dim=axis, descending=op == "MAX", stable=True)
    kept = [t.narrow(axis, 0, k) for t in found]
    return kept[0], kept[1].to(INT if indices_type == "INT32" else LONG)


def selected(
    boxes: torch.Tensor,
    scores: torch.Tensor,
    most: int,
    iou_threshold: float = 0.0,
    score_threshold: float = 0.0,
    bounding_box_format: str = "CORNER_PAIRS",
    indices_type: str = "INT32",
) -> Any:
    """Go through the boxes of each class, the best first, in NumPy."""
    places = boxes.double().numpy()
    places = places if places.ndim == 4 else places[:, :, None]
    if bounding_box_format == "CENTER_SIZES":
        half = places[..., 2:] / 2
        places = numpy.concatenate((places[..., :2] - half, places[..., :2] + half), -1)
    rows = []
    for n, c in product(range(scores.shape[0]), range(scores.shape[2])):
        kept: list[int] = []
        own = places[n, :, min(c, places.shape[2] - 1)]
        low, high = numpy.minimum(own[:, :2], own[:, 2:]), numpy.maximum(own[:, :2], own[:, 2:])
        for box in torch.argsort(scores[n, :, c], descending=True, stable=True).tolist():
            sides = numpy.minimum(high[box], high[kept]) - numpy.maximum(low[box], low[kept])
            common = sides.clip(0).prod(-1)
            both = (high[box] - low[box]).prod() + (high[kept] - low[kept]).prod(-1) - common
            fits = (common <= iou_threshold * both).all()
            if fits and scores[n, box, c] > score_threshold and len(kept) < most:
                kept.append(box)
        rows += [(n, -float(scores[n, box, c]), c, box) for box in kept]
    found = [(n, c, box) for n, _, c, box in sorted(rows)]
    dtype = INT if indices_type == "INT32" else LONG
    return torch.tensor(found, dtype=dtype).reshape(-1, 3), torch.tensor(len(found), dtype=INT)


# No kernel of TensorRT for RTX has it.
NO_NMS = {"rtx": r'TensorRT for RTX .* has no NMS(.|\n)*backend="tensorrt"'}
BOX = {"low": 0.0, "high": 1.0}

ROWS: list[Row] = [
    Row(nvinfer.gather, T(B, 3, S), I(2, 2, low=-5, high=5, dtype=INT), 1, oracle=gathered),
    Row(
        nvinfer.gather,
        T(S, 2, dtype=HALF),
        I(3, low=-12, high=12),
        0,
        oracle=gathered,
        name="of a Dim",
    ),
    Row(
        nvinfer.gather_v2,
        T(B, 3, 2),
        I(B, 4, low=-4, high=4),
        "DEFAULT",
        axis=1,
        num_elementwise_dims=1,
        oracle=gathered,
    ),
    Row(
        nvinfer.gather_v2,
        T(3, 4, dtype=LONG),
        I(3, 2, low=-5, high=5),
        "ELEMENT",
        axis=1,
        oracle=gathered,
    ),
    Row(
        nvinfer.gather_v2,
        T(2, S, dtype=BOOL),
        I(2, 3, high=9),
        "ELEMENT",
        axis=-1,
        oracle=gathered,
        name="bools",
    ),
    Row(nvinfer.gather_v2, T(3, S, 2), I(4, 2, low=-5, high=5), "ND", oracle=gathered),
    Row(
        nvinfer.gather_v2,
        T(B, 3, 2, dtype=HALF),
        I(B, 2, 1, low=-4, high=4, dtype=INT),
        "ND",
        num_elementwise_dims=1,
        oracle=gathered,
    ),
    Row(nvinfer.scatter, T(B, 4), I(B, 1, high=4), T(B, 1), "ELEMENT", axis=1, oracle=written),
    Row(
        nvinfer.scatter,
        T(4, 1, dtype=HALF),
        I(1, 2, high=1, dtype=INT),
        T(1, dtype=HALF),
        "ND",
        oracle=written,
    ),
    Row(nvinfer.one_hot, I(B, 3, high=4, dtype=INT), C(2), 4, 0, oracle=hot),
    Row(nvinfer.one_hot, I(B, high=4), T(2, dtype=HALF), 4, -1, oracle=hot),
    Row(nvinfer.one_hot, I(2, 3, high=4), C(2, dtype=INT), 4, 1, oracle=hot),
    Row(nvinfer.non_zero, T(B, 3, dtype=BOOL), oracle=lambda x: x.nonzero().T.int()),
    Row(
        nvinfer.non_zero,
        T(3, S),
        indices_type="INT64",
        oracle=lambda x, **_: x.nonzero().T,
        name="64",
    ),
    Row(nvinfer.topk, T(B, 7), "MAX", 3, 1 << 1, oracle=first),
    Row(nvinfer.topk, T(4, S, dtype=HALF), "MIN", 2, 1 << 0, indices_type="INT64", oracle=first),
    Row(
        nvinfer.nms,
        T(B, 6, 4, **BOX),
        T(B, 6, 2, **BOX),
        3,
        iou_threshold=0.3,
        score_threshold=0.2,
        oracle=selected,
        unsupported=NO_NMS,
    ),
    Row(
        nvinfer.nms,
        T(2, S, 3, 4, **BOX),
        T(2, S, 3, **BOX),
        9,
        bounding_box_format="CENTER_SIZES",
        indices_type="INT64",
        oracle=selected,
        unsupported=NO_NMS,
    ),
    Row(
        nvinfer.nms,
        T(1, 5, 4, dtype=HALF, **BOX),
        T(1, 5, 1, dtype=HALF, **BOX),
        1,
        iou_threshold=1.0,
        oracle=selected,
        unsupported=NO_NMS,
    ),
    Row(
        nvinfer.gather_v2,
        T(2, 3),
        I(2, 1, high=2),
        "ND",
        num_elementwise_dims=2,
        raises=OptionError,
    ),
    Row(nvinfer.gather, T(2, 3), T(2), 0, raises=DTypeError, name="at floats"),
    Row(nvinfer.topk, T(2, 3), "MAX", 1, 3, raises=ShapeError, name="topk along two axes"),
    Row(nvinfer.nms, T(1, 5, 4), T(1, 4, 1), 1, raises=ShapeError),
]
