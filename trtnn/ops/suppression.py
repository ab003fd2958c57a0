"""Boxes of which those that overlap a better one are left out: as many as data leave."""

from __future__ import annotations

import weakref
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch

from trtnn.errors import ShapeError
from trtnn.ops.op import (
    Op,
    Spec,
    TensorT,
    bind,
    recorder_of,
    require_float,
    require_same_dtype,
    shape_of,
    spec_of,
)
from trtnn.ops.slicing import known_of
from trtnn.sizes.dims import Expr, Size, bounds, product
from trtnn.sizes.expressions import DataSymbol

if TYPE_CHECKING:
    from trtnn.lower.network import ITensor, Net

__all__ = ["NMS"]

BOXES = 5000
"""How many boxes of a batch TensorRT looks at, at most."""
_counts: weakref.WeakKeyDictionary[Any, int] = weakref.WeakKeyDictionary()


@dataclass(frozen=True, repr=False)
class NMS(Op):
    """TensorRT's NMS layer: rows (batch, class, box), the best of a batch first, and their number.

    Boxes are (N, boxes, 4), or (N, boxes, classes, 4), scores (N, boxes, classes).
    """

    count: Size
    most: int
    overlap: float
    least: float
    form: str
    limit: int

    def infer(self, boxes: Spec, scores: Spec) -> tuple[Spec, Spec]:
        require_float("nms", boxes)
        require_same_dtype("nms", boxes, scores)
        wanted = scores.shape[:2] if boxes.rank == 3 else scores.shape
        if scores.rank != 3 or boxes.shape != (*wanted, 4):
            raise ShapeError(f"nms: boxes {boxes} do not fit scores {scores}")
        return Spec((self.count, 3), torch.int32), Spec((), torch.int32)

    def reference(
        self, boxes: torch.Tensor, scores: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        places = boxes.float() if boxes.dim() == 4 else boxes.float().unsqueeze(2)
        places = _corners(places, self.form).expand(*scores.shape, 4)
        found = [row for n in range(scores.shape[0]) for row in self._of(n, places[n], scores[n])]
        rows = torch.tensor(found, dtype=torch.int32, device=boxes.device).reshape(-1, 3)
        return rows, torch.tensor(len(found), dtype=torch.int32, device=boxes.device)

    def _of(
        self, batch: int, boxes: torch.Tensor, scores: torch.Tensor
    ) -> list[tuple[int, int, int]]:
        """Return the rows of one image."""
        flat = scores.float().reshape(-1)
        order = torch.argsort(flat, descending=True, stable=True)
        order = order[flat[order] > self.least][: self.limit]
        rows, kept = [], dict[int, list[torch.Tensor]]()
        for index in order.tolist():
            box, kind = divmod(index, scores.shape[1])
            own, others = boxes[box, kind], kept.setdefault(kind, [])
            if len(others) == self.most:
                continue
            if not others or bool((_overlaps(own, torch.stack(others)) <= self.overlap).all()):
                others.append(own)
                rows.append((batch, kind, box))
        return rows

    def lower(self, net: Net, boxes: Any, scores: Any) -> tuple[ITensor, ITensor]:
        return net.nms(boxes, scores, self)

    def at(self, bindings: Mapping[str, int]) -> Op:
        """Return the op itself until the count is known."""
        bound = isinstance(self.count, Expr) and str(self.count) in bindings
        return super().at(bindings) if bound else self

    def bind_sizes(self, outputs: Any) -> dict[str, int]:
        """Return the value of ``count``, read off the actual output."""
        return {str(self.count): int(outputs[0].shape[0])}


def _corners(boxes: torch.Tensor, form: str) -> torch.Tensor:
    """Return boxes as their lowest and highest corner."""
    if form == "CENTER_SIZES":
        middle, size = boxes[..., :2], boxes[..., 2:]
        return torch.cat((middle - size / 2, middle + size / 2), -1)
    one, other = boxes[..., :2], boxes[..., 2:]
    return torch.cat((torch.minimum(one, other), torch.maximum(one, other)), -1)


def _overlaps(one: torch.Tensor, others: torch.Tensor) -> torch.Tensor:
    """Return the intersection over the union of a box with each of some."""
    low, high = torch.maximum(one[:2], others[:, :2]), torch.minimum(one[2:], others[:, 2:])
    common = (high - low).clamp(min=0).prod(-1)
    both = (one[2:] - one[:2]).prod() + (others[:, 2:] - others[:, :2]).prod(-1) - common
    return torch.where(both > 0, common / both, 0.0)


def selected(boxes: TensorT, scores: TensorT, how: NMS) -> tuple[TensorT, TensorT]:
    """Record an NMS; its count, where it depends on data, is a size of its own."""
    how.infer(spec_of(boxes), spec_of(scores))
    recorder = recorder_of(boxes, scores)
    if recorder is not None and any(known_of(x) is None for x in (boxes, scores)):
        place = _counts[recorder] = _counts.get(recorder, -1) + 1
        how = replace(how, count=_number(place, shape_of(scores), how.most))
    found: tuple[TensorT, TensorT] = bind(how, boxes, scores)
    return found


def _number(place: int, shape: tuple[Size, ...], most: int) -> Size:
    """Return the number of boxes that an NMS gives, as a size that depends on data."""
    batch, boxes, classes = (bounds(size)[1] for size in shape)
    highest = product((batch, classes, min(boxes, most)))
    assert isinstance(highest, int)
    return Expr(DataSymbol(f"nms_{place}", 0, highest))
