"""Rows of TensorRT's layers by name that move entries."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy
import torch

from tests.rows import B, Row, S, T
from trtnn import nvinfer
from trtnn.errors import OptionError, ShapeError

HALF, INT, LONG, BOOL = torch.float16, torch.int32, torch.int64, torch.bool


def cut(
    x: torch.Tensor,
    start: Any,
    shape: Any,
    stride: Any,
    mode: str = "STRICT_BOUNDS",
    fill: Any = 0,
    axes: Any = None,
) -> torch.Tensor:
    """Read entry by entry, as the layer's documentation says."""
    axes = tuple(range(x.dim())) if axes is None else axes
    sizes = list(x.shape)
    for axis, size in zip(axes, shape, strict=True):
        sizes[axis] = int(size)
    given, result = x.numpy(), numpy.full(sizes, fill, dtype=x.numpy().dtype)
    for place in product(*map(range, sizes)):
        at = list(place)
        for axis, first, step in zip(axes, start, stride, strict=True):
            at[axis] = int(first) + place[axis] * int(step)
        at = [place_in(mode, i, d) for i, d in zip(at, x.shape, strict=True)]
        if all(0 <= i < d for i, d in zip(at, x.shape, strict=True)):
            result[place] = given[tuple(at)]
    return torch.from_numpy(result)


def place_in(mode: str, i: int, d: int) -> int:
    if mode == "WRAP":
        return i % d
    if mode == "CLAMP":
        return min(max(i, 0), d - 1)
    if mode == "REFLECT":
        period = max(2 * d - 2, 1)
        away = abs(i) % period
        return period - away if away >= d else away
    return i


def turned(
    x: torch.Tensor, lengths: torch.Tensor, batch_axis: int = 1, sequence_axis: int = 0
) -> torch.Tensor:
    rows = x.movedim((batch_axis, sequence_axis), (0, 1)).clone()
    for row, count in zip(rows, lengths.tolist(), strict=True):
        row[:count] = row[:count].flip(0)
    return rows.movedim((0, 1), (batch_axis, sequence_axis))


ROWS: list[Row] = [
    Row(
        nvinfer.shuffle,
        T(B, 2, S),
        first_transpose=(0, 2, 1),
        reshape_dims=(0, -1, 1),
        second_transpose=(2, 0, 1),
        oracle=lambda x, **_: x.mT.reshape(x.shape[0], -1, 1).permute(2, 0, 1),
    ),
    Row(
        lambda x: nvinfer.shuffle(x, reshape_dims=(x.shape[0], 0), zero_is_placeholder=False),
        T(B, 0, 3),
        oracle=lambda x: x.reshape(x.shape[0], 0),
        name="shuffle to nothing",
    ),
    Row(nvinfer.identity, T(B, dtype=BOOL), oracle=torch.clone),
    Row(nvinfer.slice, T(3, S), (2, 0), (2, 1), (-1, 1), oracle=cut, name="backwards"),
    Row(nvinfer.slice, T(3, 4, dtype=LONG), (1,), (3,), (0,), axes=(-1,), oracle=cut, name="axes"),
    Row(nvinfer.slice, T(S, 3), (-4, -3), (9, 8), (1, 2), mode="WRAP", oracle=cut, name="WRAP"),
    Row(nvinfer.slice, T(S, 3), (-4, 2), (9, 7), (1, -1), mode="CLAMP", oracle=cut, name="CLAMP"),
    Row(
        nvinfer.slice, T(3, 2), (-7, 2), (9, 7), (2, -1), mode="REFLECT", oracle=cut, name="REFLECT"
    ),
    Row(
        nvinfer.slice,
        T(S, 3, dtype=INT),
        (-1, 2),
        (4, 2),
        (3, 1),
        mode="FILL",
        fill=7,
        oracle=cut,
        name="FILL",
    ),
    Row(
        nvinfer.slice, T(3, 3), (0, -1), (3, 4), (1, 1), mode="FILL", oracle=cut, name="FILL with 0"
    ),
    Row(
        nvinfer.concatenation,
        (T(2, B, 3, 1), T(2, S, 3, 1)),
        oracle=lambda parts: torch.cat(parts, 1),
    ),
    Row(
        nvinfer.concatenation,
        (T(B, 3, dtype=INT), T(B, 1, dtype=INT)),
        axis=-1,
        oracle=lambda parts, axis: torch.cat(parts, axis),
    ),
    Row(nvinfer.squeeze, T(1, B, 1), (0, -1), oracle=lambda x, _: x[0, :, 0]),
    Row(nvinfer.squeeze, T(1, S, 1, 2, dtype=HALF), oracle=lambda x: x[0, :, 0]),
    Row(nvinfer.unsqueeze, T(B, 2, dtype=BOOL), (-1, 1), oracle=lambda x, _: x[:, None, :, None]),
    Row(nvinfer.reverse_sequence, T(4, 3), T(3, dtype=INT, low=0, high=5), oracle=turned),
    Row(
        nvinfer.reverse_sequence,
        T(B, 2, 5, dtype=HALF),
        T(B, dtype=LONG, low=0, high=6),
        batch_axis=0,
        sequence_axis=2,
        oracle=turned,
    ),
    Row(
        nvinfer.reverse_sequence, T(4, 2, dtype=INT), T(2, dtype=INT, low=1, high=5), oracle=turned
    ),
    Row(nvinfer.slice, T(3), (1,), (3,), (1,), raises=ShapeError),
    Row(nvinfer.slice, T(3), (1,), (1,), (1,), fill=1.0, raises=OptionError),
    Row(nvinfer.slice, T(S), (1,), (3,), (1,), raises=ShapeError, name="outside for some"),
    Row(nvinfer.shuffle, T(2, 3), first_transpose=(1, 1), raises=ShapeError),
    Row(nvinfer.shuffle, T(2, 3), reshape_dims=(-1, -1), raises=ShapeError),
    Row(nvinfer.squeeze, T(2, 3), (0,), raises=ShapeError),
]
