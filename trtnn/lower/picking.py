"""TensorRT layers that pick entries by place or by rank, and those that run along an axis."""

from __future__ import annotations

import torch

from trtnn.lower.layers import Handle, ITensor, Layers, Operand, bits, picked
from trtnn.sizes.dims import Size


class Picking(Layers):
    """The layers whose result is entries of an operand, or where these are."""

    def gather(self, x: Operand, indices: Operand, axis: int) -> ITensor:
        x, i = self.tensor(x), self.tensor(indices)
        layer = self.network.add_gather(x.handle, i.handle, axis)
        shape = (*x.shape[:axis], *i.shape, *x.shape[axis + 1 :])
        return self.done(layer, x.dtype, shape, None)

    def gather_elements(self, x: Operand, indices: Operand, axis: int) -> ITensor:
        x, i = self.tensor(x), self.tensor(indices)
        mode = self.library.trt.GatherMode.ELEMENT
        layer = self.network.add_gather_v2(x.handle, i.handle, mode)
        if layer is not None:
            layer.axis = axis
        return self.done(layer, x.dtype, i.shape, None)

    def gather_nd(self, x: Operand, indices: Operand) -> ITensor:
        """Take what each row of ``indices`` names in the leading dims of ``x``."""
        x, i = self.tensor(x), self.tensor(indices)
        layer = self.network.add_gather_v2(x.handle, i.handle, self.library.trt.GatherMode.ND)
        depth = i.shape[-1]
        assert isinstance(depth, int)
        return self.done(layer, x.dtype, (*i.shape[:-1], *x.shape[depth:]), None)

    def topk(self, x: Operand, largest: bool, count: Size, axis: int) -> tuple[ITensor, ITensor]:
        """Return the first ``count`` entries along an axis in order, and their int64 indices."""
        x = self.tensor(x)
        trt = self.library.trt
        kind = trt.TopKOperation.MAX if largest else trt.TopKOperation.MIN
        first = count if isinstance(count, int) else 1
        layer = self.network.add_topk(x.handle, kind, first, bits((axis,)))
        if layer is not None and not isinstance(count, int):
            scalar = self.cast(self.size_tensor(count), torch.int32)
            layer.set_input(1, scalar.handle)
        shape = (*x.shape[:axis], count, *x.shape[axis + 1 :])
        values = self.done(layer, x.dtype, shape, picked(x.dtype))
        indices = ITensor(layer.get_output(1), torch.int32, shape)
        return values, self.cast(indices, torch.int64)

    def cumulative(
        self, x: Operand, axis: int, exclusive: bool = False, reverse: bool = False
    ) -> ITensor:
        """Sum up along an axis."""
        x = self.tensor(x)
        where = self.tensor(Handle(torch.tensor(axis, dtype=torch.int32)))
        kind = self.library.trt.CumulativeOperation.SUM
        layer = self.network.add_cumulative(x.handle, where.handle, kind, exclusive, reverse)
        return self.done(layer, x.dtype, x.shape, x.dtype)

    def nonzero(self, x: Operand, count: Size) -> ITensor:
        """Return the indices of entries that are not zero, (count, rank), as int64."""
        # 8.6.0 cannot build what follows a NonZero of an input ("recolorMyelin..."), but of a copy.
        x = self.identity(x)
        found = self.done(self.network.add_non_zero(x.handle), torch.int32, (x.rank, count), None)
        return self.cast(self.shuffle(self.counted(found), first=(1, 0)), torch.int64)

    def scatter(self, x: Operand, indices: Operand, updates: Operand, axis: int | None) -> ITensor:
        """Write updates along an axis, or where each row of indices says in the leading dims."""
        dtype = x.dtype
        if dtype == torch.bool:  # which only 11 takes
            x, updates = self.cast(x, torch.int32), self.cast(updates, torch.int32)
        x, i, u = self.tensor(x), self.tensor(self.cast(indices, torch.int32)), self.tensor(updates)
        kinds = self.library.trt.ScatterMode
        mode = kinds.ND if axis is None else kinds.ELEMENT
        layer = self.network.add_scatter(x.handle, i.handle, u.handle, mode)
        if layer is not None and axis is not None:
            layer.axis = axis
        return self.cast(self.done(layer, x.dtype, x.shape, None), dtype)
