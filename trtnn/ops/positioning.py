"""Rotary embeddings: pairs of entries, turned by angles of their positions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from trtnn.errors import ShapeError
from trtnn.ops.arithmetic import add, mul, sub
from trtnn.ops.indexing import Gather
from trtnn.ops.movement import reshape, unsqueeze
from trtnn.ops.op import (
    Op,
    Spec,
    TensorT,
    bind,
    require_float,
    require_same_dtype,
    shape_of,
)
from trtnn.ops.slicing import along, cat

if TYPE_CHECKING:
    from trtnn.lower.network import ITensor, Net

__all__ = ["RotaryEmbedding"]


@dataclass(frozen=True, repr=False)
class RotaryEmbedding(Op):
    """TensorRT's RotaryEmbedding layer (10 on): x (B, heads, S, D), turned in its first ``width``.

    Cosines and sines are (B, S, width / 2); or, beside positions (B, S), tables of all positions.
    """

    interleaved: bool
    width: int

    def needs_decomposition(self, target: Any) -> bool:
        return "rotary_embedding" not in target.layers

    def infer(self, x: Spec, cos: Spec, sin: Spec, positions: Spec | None = None) -> Spec:
        require_float("rotary_embedding", x)
        require_same_dtype("rotary_embedding", x, cos, sin)
        rows = (x.shape[0], x.shape[2]) if x.rank == 4 else ()
        tables = cos.shape[:1] if positions is not None else rows
        fits = positions is None or positions.shape == rows
        wanted = (*tables, self.width // 2)
        if x.rank != 4 or not fits or cos.shape != wanted or sin.shape != wanted:
            raise ShapeError(
                f"rotary_embedding: {cos}, {sin} and positions {positions} do not fit {x}, of "
                f"which {self.width} entries are turned"
            )
        return x

    def reference(self, x: torch.Tensor, *tables: torch.Tensor) -> torch.Tensor:
        return self.decompose(x, *tables)  # type: ignore[no-any-return]

    def lower(self, net: Net, x: Any, *tables: Any) -> ITensor:
        return net.rotary_embedding(x, tables, self.interleaved, self.width)

    def decompose(
        self, x: TensorT, cos: TensorT, sin: TensorT, positions: TensorT | None = None
    ) -> TensorT:
        """Return the products and sums that the op stands for."""
        if positions is not None:
            cos, sin = (bind(Gather(0, True), table, positions) for table in (cos, sin))
        cos, sin = unsqueeze(cos, 1), unsqueeze(sin, 1)
        shape, half = shape_of(x), self.width // 2
        turned = along(x, 3, 0, self.width)
        if self.interleaved:
            pairs = reshape(turned, (*shape[:3], half, 2))
            one, other = (reshape(along(pairs, 4, i, 1), (*shape[:3], half)) for i in (0, 1))
        else:
            one, other = along(turned, 3, 0, half), along(turned, 3, half, half)
        left = sub(mul(one, cos), mul(other, sin))
        right = add(mul(one, sin), mul(other, cos))
        if self.interleaved:
            both = cat((unsqueeze(left, -1), unsqueeze(right, -1)), 4)
            result = reshape(both, (*shape[:3], self.width))
        else:
            result = cat((left, right), 3)
        if self.width == shape[3]:
            return result
        return cat((result, along(x, 3, self.width, shape[3] - self.width)), 3)
