"""TensorRT layers over spatial dims: convolution, pooling, scale, resize, normalization."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from trtnn.lower.layers import Handle, ITensor, Layers, Operand, bits, is_static
from trtnn.sizes.dims import Size


class Windows(Layers):
    """The layers that look at images, and those that normalize them."""

    def convolution(
        self,
        x: Operand,
        kernel: Operand,
        bias: Operand | None,
        stride: Sequence[int],
        pre: Sequence[int],
        post: Sequence[int],
        dilation: Sequence[int],
        groups: int,
    ) -> ITensor:
        x = self.tensor(x)
        maps, window = kernel.shape[0], tuple(kernel.shape[2:])
        layer = self._filter(self.network.add_convolution_nd, x, maps, (kernel, bias))
        if layer is not None:
            layer.stride_nd, layer.dilation_nd = tuple(stride), tuple(dilation)
            layer.pre_padding, layer.post_padding = tuple(pre), tuple(post)
            layer.num_groups = groups
        out = [
            (s + a + b - d * (k - 1) - 1) // t + 1
            for s, a, b, d, k, t in zip(
                x.shape[2:], pre, post, dilation, window, stride, strict=True
            )
        ]
        return self.done(layer, x.dtype, (x.shape[0], maps, *out), x.dtype)

    def deconvolution(
        self,
        x: Operand,
        kernel: Operand,
        bias: Operand | None,
        stride: Sequence[int],
        pre: Sequence[int],
        post: Sequence[int],
        dilation: Sequence[int],
        groups: int,
    ) -> ITensor:
        x = self.tensor(x)
        maps = kernel.shape[1] * groups
        window = tuple(kernel.shape[2:])
        layer = self._filter(self.network.add_deconvolution_nd, x, maps, (kernel, bias))
        if layer is not None:
            layer.stride_nd, layer.dilation_nd = tuple(stride), tuple(dilation)
            layer.pre_padding, layer.post_padding = tuple(pre), tuple(post)
            layer.num_groups = groups
        out = [
            (s - 1) * t + d * (k - 1) + 1 - a - b
            for s, t, d, k, a, b in zip(
                x.shape[2:], stride, dilation, window, pre, post, strict=True
            )
        ]
        return self.done(layer, x.dtype, (x.shape[0], maps, *out), x.dtype)

    def _filter(
        self, add: Any, x: ITensor, maps: Size, operands: tuple[Operand, Operand | None]
    ) -> Any:
        """Add a layer with a kernel and perhaps a bias, each as weights or as a tensor."""
        constants = [
            self.weights(t) if isinstance(t, Handle) else self.library.trt.Weights()
            for t in operands
        ]
        layer = add(x.handle, maps, tuple(operands[0].shape[2:]), *constants)
        for index, operand in enumerate(operands, start=1):
            if layer is not None and isinstance(operand, ITensor):
                layer.set_input(index, operand.handle)
        return layer

    def pooling(
        self,
        x: Operand,
        kind: str,
        window: Sequence[int],
        stride: Sequence[int],
        pre: Sequence[int],
        post: Sequence[int],
        count_include_pad: bool,
    ) -> ITensor:
        x = self.tensor(x)
        layer = self.network.add_pooling_nd(
            x.handle, getattr(self.library.trt.PoolingType, kind), tuple(window)
        )
        if layer is not None:
            layer.stride_nd = tuple(stride)
            layer.pre_padding, layer.post_padding = tuple(pre), tuple(post)
            if kind == "AVERAGE" and any((*pre, *post)):
                layer.average_count_excludes_padding = not count_include_pad
        out = [
            (s + a + b - k) // t + 1
            for s, a, b, k, t in zip(x.shape[2:], pre, post, window, stride, strict=True)
        ]
        return self.done(layer, x.dtype, (*x.shape[:2], *out), x.dtype)

    def scale(self, x: Operand, scale: Handle, shift: Handle) -> ITensor:
        """Multiply and shift each channel (axis 1)."""
        x = self.tensor(x)
        if x.rank < 4:
            rest = (*x.shape, *(1,) * (4 - x.rank))
            return self.shuffle(
                self.scale(self.shuffle(x, shape=rest), scale, shift), shape=x.shape
            )
        trt = self.library.trt
        shift_w, scale_w = (
            self.weights(self.derive(torch.Tensor.to, t, x.dtype)[0]) for t in (shift, scale)
        )
        power = self.library.no_weights(str(x.dtype).removeprefix("torch."))
        layer = self.network.add_scale_nd(
            x.handle, trt.ScaleMode.CHANNEL, shift_w, scale_w, power, 1
        )
        return self.done(layer, x.dtype, x.shape, x.dtype)

    def resize(self, x: Operand, size: Sequence[Size], mode: str, coordinates: str) -> ITensor:
        x = self.tensor(x)
        trt = self.library.trt
        layer = self.network.add_resize(x.handle)
        if layer is not None:
            layer.resize_mode = getattr(trt.InterpolationMode, mode)
            layer.coordinate_transformation = getattr(
                trt.ResizeCoordinateTransformation, coordinates
            )
            if mode == "NEAREST":
                layer.nearest_rounding = trt.ResizeRoundMode.FLOOR
            if coordinates == "ALIGN_CORNERS":
                layer.selector_for_single_pixel = trt.ResizeSelector.UPPER
            if is_static(size):
                layer.shape = tuple(size)
            else:
                layer.set_input(1, self.size_vector(size))
        return self.done(layer, x.dtype, size, x.dtype)

    def normalization(
        self,
        x: Operand,
        scale: Operand,
        bias: Operand,
        axes: Sequence[int],
        epsilon: float,
        groups: int = 1,
    ) -> ITensor:
        """Normalize; statistics in float32 whatever the dtype, by casts where typing is strong."""
        x = self.tensor(x)
        dtype = x.dtype
        if dtype != torch.float32 and self.library.target.strongly_typed:
            wide = [
                self.derive(torch.Tensor.float, t)[0]
                if isinstance(t, Handle)
                else self.cast(t, torch.float32)
                for t in (scale, bias)
            ]
            full = self.cast(x, torch.float32)
            return self.cast(
                self.normalization(full, wide[0], wide[1], axes, epsilon, groups), dtype
            )
        s, b = self.tensor(scale, x.rank), self.tensor(bias, x.rank)
        layer = self.network.add_normalization(x.handle, s.handle, b.handle, bits(axes))
        if layer is not None:
            layer.epsilon, layer.num_groups = epsilon, groups
        return self.done(layer, dtype, x.shape, dtype)
