"""TensorRT layers that no torch callable has as its own: made by name in ``trtnn.nvinfer``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch

from trtnn.lower.layers import Handle, ITensor, Layers, Operand, is_static
from trtnn.sizes.dims import Size

if TYPE_CHECKING:
    from trtnn.ops.suppression import NMS


class Particular(Layers):
    """Layers with TensorRT's own meaning."""

    index_dtype: torch.dtype

    def no_output(self, layer: Any) -> None:
        raise NotImplementedError

    # Indices --------------------------------------------------------------------------------

    def fetch(self, x: Operand, indices: Operand, mode: str, axis: int, shared: int) -> ITensor:
        """Gather, with 0 where an index is out of range."""
        x, i = self.tensor(x), self.tensor(indices)
        depth = i.shape[-1] if mode == "ND" else 1
        assert isinstance(depth, int)
        first = shared if mode == "ND" else axis
        lengths = x.shape[first : first + depth]
        if not is_static(lengths):
            i = self._from_front(i, lengths)
        layer = self.network.add_gather_v2(
            x.handle, i.handle, getattr(self.library.trt.GatherMode, mode)
        )
        if layer is not None:
            if mode != "ND":
                layer.axis = axis
            layer.num_elementwise_dims = shared
        shape = {
            "ELEMENT": i.shape,
            "ND": (*i.shape[:-1], *x.shape[first + depth :]),
            "DEFAULT": (*x.shape[:axis], *i.shape[shared:], *x.shape[axis + 1 :]),
        }[mode]
        return self.done(layer, x.dtype, shape, None)

    def _from_front(self, indices: ITensor, lengths: Sequence[Size]) -> ITensor:
        """Count indices from the front: TensorRT does so where a length is static."""
        sizes = ITensor(self.size_vector(lengths), self.index_dtype, (len(lengths),))
        ends = self.cast(sizes, indices.dtype)
        zero = Handle(torch.zeros((), dtype=indices.dtype))

        def negative(x: ITensor) -> ITensor:
            return self.elementwise(x, zero, "LESS")

        more = self.elementwise(indices, ends, "SUM")
        found = self.select(negative(indices), more, indices)
        return self.select(negative(found), ends, found)  # beyond the end, as it was beyond both

    def one_hot(self, indices: Operand, values: Operand, depth: int, axis: int) -> ITensor:
        i, v = self.tensor(self.cast(indices, torch.int32)), self.tensor(values)
        count = self.tensor(Handle(torch.tensor(depth, dtype=torch.int32)))
        layer = self.network.add_one_hot(i.handle, v.handle, count.handle, axis)
        return self.done(layer, v.dtype, (*i.shape[:axis], depth, *i.shape[axis:]), None)

    def reverse_sequence(
        self, x: Operand, lengths: Operand, batch_axis: int, sequence_axis: int
    ) -> ITensor:
        x, ends = self.tensor(x), self.tensor(lengths)
        layer = self.network.add_reverse_sequence(x.handle, ends.handle)
        if layer is not None:
            layer.batch_axis, layer.sequence_axis = batch_axis, sequence_axis
        return self.done(layer, x.dtype, x.shape, None)

    def nms(self, boxes: Operand, scores: Operand, how: NMS) -> tuple[ITensor, ITensor]:
        trt, given = self.library.trt, (self.tensor(boxes), self.tensor(scores))
        most, overlap, least = (
            self.tensor(Handle(torch.tensor(number, dtype=dtype)))
            for number, dtype in (
                (how.most, torch.int32),
                (how.overlap, torch.float32),
                (how.least, torch.float32),
            )
        )
        layer = self.network.add_nms(*(t.handle for t in given), most.handle)
        if layer is not None:
            layer.set_input(3, overlap.handle)
            layer.set_input(4, least.handle)
            layer.bounding_box_format = getattr(trt.BoundingBoxFormat, how.form)
            layer.topk_box_limit = how.limit
        rows = self.counted(self.done(layer, torch.int32, (how.count, 3), None))
        return rows, ITensor(layer.get_output(1), torch.int32, ())

    # Fills and sizes ------------------------------------------------------------------------

    def linspace(
        self, shape: Sequence[Size], start: Any, deltas: Sequence[Any], dtype: torch.dtype
    ) -> ITensor:
        """Return ``start + sum(deltas[i] * index[i])``."""
        alpha, beta = (torch.tensor(number, dtype=dtype) for number in (start, list(deltas)))
        return self.ramp(shape, Handle(alpha), Handle(beta))

    def ramp(self, shape: Sequence[Size], alpha: Operand, beta: Operand) -> ITensor:
        start, steps = self.tensor(alpha), self.tensor(beta)
        layer = self._fill(shape, "LINSPACE", start.dtype)
        if layer is not None:
            layer.set_input(1, start.handle)
            layer.set_input(2, steps.handle)
        return self.done(layer, start.dtype, shape, None)

    def random_fill(
        self, shape: Sequence[Size], kind: str, alpha: float, beta: float, dtype: torch.dtype
    ) -> ITensor:
        # 8.6 has no type of a Fill: it is told later, or not at all.
        own = dtype if self.library.target.strongly_typed else torch.float32
        layer = self._fill(shape, kind, own)
        if layer is not None:
            layer.alpha, layer.beta = alpha, beta
        return self.cast(self.done(layer, own, shape, own), dtype)

    def _fill(self, shape: Sequence[Size], kind: str, dtype: torch.dtype) -> Any:
        dims = tuple(shape) if is_static(shape) else (1,) * len(shape)
        extra = (self.kind(dtype),) if self.library.target.strongly_typed else ()
        operation = getattr(self.library.trt.FillOperation, kind)
        layer = self.network.add_fill(dims, operation, *extra)
        if layer is not None and not is_static(shape):
            layer.set_input(0, self.size_vector(shape))
        return layer

    def shape_of(self, x: Operand) -> ITensor:
        x = self.tensor(x)
        layer = self.network.add_shape(x.handle)
        return self.cast(self.done(layer, self.index_dtype, (x.rank,), None), torch.int64)

    def assertion(self, condition: Operand, message: str) -> ITensor:
        held = self.tensor(condition)
        self.no_output(self.network.add_assertion(held.handle, message))
        return held

    # Along axes -----------------------------------------------------------------------------

    def ragged_softmax(self, x: Operand, bounds: Operand) -> ITensor:
        x, ends = self.tensor(x), self.tensor(bounds)
        if x.dtype == torch.float16 and not self.library.target.strongly_typed:
            wide = self.ragged_softmax(self.cast(x, torch.float32), bounds)  # 8.6 has no other
            return self.cast(wide, x.dtype)
        layer = self.network.add_ragged_softmax(x.handle, ends.handle)
        return self.done(layer, x.dtype, x.shape, x.dtype)

    def scaled(self, x: Operand, given: Mapping[str, Operand], mode: str, axis: int) -> ITensor:
        """Scale, shift and raise to a power, by weights where all are known."""
        x = self.tensor(x)
        known = {name: self.weights(t) for name, t in given.items() if isinstance(t, Handle)}
        if len(known) < len(given):
            for name, kind in (("scale", "PROD"), ("shift", "SUM"), ("power", "POW")):
                x = self.elementwise(x, given[name], kind) if name in given else x
            return x
        if x.rank < 4:
            wide = self.shuffle(x, shape=(*x.shape, *(1,) * (4 - x.rank)))
            return self.shuffle(self.scaled(wide, given, mode, axis), shape=x.shape)
        none = self.library.no_weights(str(x.dtype).removeprefix("torch."))
        weights = (known.get(name, none) for name in ("shift", "scale", "power"))
        kind = getattr(self.library.trt.ScaleMode, mode)
        layer = self.network.add_scale_nd(x.handle, kind, *weights, axis)
        return self.done(layer, x.dtype, x.shape, x.dtype)

    def ranked(self, x: Operand, kind: str, axes: Sequence[int], shape: Sequence[Size]) -> ITensor:
        """Take dims of size 1 away, or put them in."""
        x = self.tensor(x)
        where = self.tensor(Handle(torch.tensor(axes, dtype=torch.int32)))
        add = {"squeeze": "add_squeeze", "unsqueeze": "add_unsqueeze"}[kind]
        layer = getattr(self.network, add)(x.handle, where.handle)
        return self.done(layer, x.dtype, shape, None)

    def einsum(self, operands: Sequence[Operand], equation: str, shape: Sequence[Size]) -> ITensor:
        given = [self.tensor(x) for x in operands]
        layer = self.network.add_einsum([x.handle for x in given], equation)
        return self.done(layer, given[0].dtype, shape, given[0].dtype)

    def resample(
        self,
        x: Operand,
        shape: Sequence[Size],
        mode: str,
        how: tuple[str, str, str],
        cubic_coeff: float,
        exclude_outside: bool,
    ) -> ITensor:
        x, trt = self.tensor(x), self.library.trt
        layer = self.network.add_resize(x.handle)
        if layer is not None:
            coordinates, selector, rounding = how
            layer.resize_mode = getattr(trt.InterpolationMode, mode)
            kinds = trt.ResizeCoordinateTransformation
            layer.coordinate_transformation = getattr(kinds, coordinates)
            layer.selector_for_single_pixel = getattr(trt.ResizeSelector, selector)
            layer.nearest_rounding = getattr(trt.ResizeRoundMode, rounding)
            layer.cubic_coeff = cubic_coeff
            layer.exclude_outside = exclude_outside
            if is_static(shape):
                layer.shape = tuple(shape)
            else:
                layer.set_input(1, self.size_vector(shape))
        return self.done(layer, x.dtype, shape, x.dtype)

    def rotary_embedding(
        self, x: Operand, tables: Sequence[Operand], interleaved: bool, width: int
    ) -> ITensor:
        x, (cos, sin, *positions) = self.tensor(x), [self.tensor(t) for t in tables]
        layer = self.network.add_rotary_embedding(
            x.handle, cos.handle, sin.handle, interleaved, width
        )
        if layer is not None and positions:
            layer.set_input(3, positions[0].handle)
        return self.done(layer, x.dtype, x.shape, x.dtype)
