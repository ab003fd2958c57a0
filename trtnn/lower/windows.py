"""TensorRT layers over spatial dims: convolution, pooling, scale, resize, normalization."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from trtnn.errors import UnsupportedError
from trtnn.lower.layers import Handle, ITensor, Layers, Operand, bits, is_static
from trtnn.sizes.dims import Size, product


def spread_out(kernel: torch.Tensor, steps: tuple[int, ...]) -> torch.Tensor:
    """Return a kernel whose entries stand ``steps`` apart, with zeros between them.

    >>> spread_out(torch.ones(1, 1, 1, 2), (1, 2))
    tensor([[[[1., 0., 1.]]]])
    """
    sizes = [(size - 1) * step + 1 for size, step in zip(kernel.shape[2:], steps, strict=True)]
    result = kernel.new_zeros(*kernel.shape[:2], *sizes)
    places = (slice(None), slice(None), *(slice(None, None, step) for step in steps))
    result[places] = kernel.detach()
    return result


class Windows(Layers):
    """The layers that look at images, and those that normalize them."""

    def widened(self, x: Operand) -> Operand:
        """Return an operand in float32; a constant stays one."""
        if isinstance(x, Handle):
            return self.derive(torch.Tensor.float, x)[0]
        return self.cast(x, torch.float32)

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
        if x.dtype == torch.bfloat16:  # TensorRT for RTX 1.7.1: "Could not infer output types"
            wide, own, more = self._deconvolution_operands(x, kernel, bias)
            done = self.deconvolution(wide, own, more, stride, pre, post, dilation, groups)
            if bias is not None and more is None:
                column = self.shuffle(self.widened(bias), shape=(1, maps, *(1,) * (x.rank - 2)))
                done = self.elementwise(done, column, "SUM")
            return self.cast(done, x.dtype)
        if max(stride) > 1 and max(dilation) > 1:
            kernel, dilation = self._without_dilation(kernel, dilation)
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

    def _deconvolution_operands(
        self, x: ITensor, kernel: Operand, bias: Operand | None
    ) -> tuple[Operand, Operand, Operand | None]:
        """Return the operands in float32, without a bias that is a tensor: it is added later.

        Inside, it fails after such casts: "CHECK(graph->ssa_validation()) failed" (RTX 1.7.1).
        """
        inside = self.widened(bias) if isinstance(bias, Handle) else None
        return self.widened(x), self.widened(kernel), inside

    def _without_dilation(
        self, kernel: Operand, dilation: Sequence[int]
    ) -> tuple[Operand, Sequence[int]]:
        """Return a kernel with its gaps filled with zeros, where TensorRT needs it, and steps of 1.

        Raises:
            UnsupportedError: The kernel is not a constant.
        """
        if self.library.target.dilates_strided_deconvolutions:
            return kernel, dilation
        if not isinstance(kernel, Handle):
            raise UnsupportedError(
                f"conv_transpose: {self.library.target.name} takes no stride above 1 with a "
                "dilation above 1 where the kernel is computed",
                hint="make the kernel a parameter or a buffer, or its dilation 1",
                where=self._where(),
            )
        return self.derive(spread_out, kernel, tuple(dilation))[0], (1,) * len(dilation)

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
        blend: float = 0.0,
    ) -> ITensor:
        x = self.tensor(x)
        layer = self.network.add_pooling_nd(
            x.handle, getattr(self.library.trt.PoolingType, kind), tuple(window)
        )
        if layer is not None:
            layer.stride_nd = tuple(stride)
            layer.pre_padding, layer.post_padding = tuple(pre), tuple(post)
            if kind != "MAX" and any((*pre, *post)):
                layer.average_count_excludes_padding = not count_include_pad
            if kind == "MAX_AVERAGE_BLEND":
                layer.blend_factor = blend
        out = [
            (s + a + b - k) // t + 1
            for s, a, b, k, t in zip(x.shape[2:], pre, post, window, stride, strict=True)
        ]
        return self.done(layer, x.dtype, (*x.shape[:2], *out), x.dtype)

    def parted(self, x: Operand) -> ITensor:
        """Copy a tensor by a pool of one entry, which nothing is fused with."""
        x = self.tensor(x)
        if x.rank not in (4, 5):
            few = (*x.shape[:1], *(1,) * (4 - x.rank), *x.shape[1:])
            many = (product(x.shape[:-3]), *x.shape[-3:])
            rows = self.shuffle(x, shape=few if x.rank < 4 else many)
            return self.shuffle(self.parted(rows), shape=x.shape)
        ones, zeros = (1,) * (x.rank - 2), (0,) * (x.rank - 2)
        return self.pooling(x, "MAX", ones, ones, zeros, zeros, False)

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
                # HALF_PIXEL gives the place of an entry's middle, from which half is taken again.
                rounding = "HALF_UP" if coordinates == "HALF_PIXEL" else "FLOOR"
                layer.nearest_rounding = getattr(trt.ResizeRoundMode, rounding)
            if mode == "CUBIC":
                layer.cubic_coeff = -0.75
            if coordinates == "ALIGN_CORNERS":
                layer.selector_for_single_pixel = trt.ResizeSelector.UPPER
            if is_static(size):
                layer.shape = tuple(size)
            else:
                layer.set_input(1, self.size_vector(size))
        return self.done(layer, x.dtype, size, x.dtype)

    def local_response(self, x: Operand, size: int, alpha: float, beta: float, k: float) -> ITensor:
        x = self.tensor(x)
        layer = self.network.add_lrn(x.handle, size, alpha, beta, k)
        return self.done(layer, x.dtype, x.shape, x.dtype)

    def grid_sample(
        self, x: Operand, grid: Operand, mode: str, padding: str, align_corners: bool
    ) -> ITensor:
        x, grid, trt = self.tensor(x), self.tensor(grid), self.library.trt
        layer = self.network.add_grid_sample(x.handle, grid.handle)
        if layer is not None:
            layer.interpolation_mode = getattr(trt.InterpolationMode, mode)
            layer.sample_mode = getattr(trt.SampleMode, padding)
            layer.align_corners = align_corners
        return self.done(layer, x.dtype, (*x.shape[:2], *grid.shape[1:3]), x.dtype)

    def normalization(
        self,
        x: Operand,
        scale: Operand,
        bias: Operand,
        axes: Sequence[int],
        epsilon: float,
        groups: int = 1,
        *,
        by_channel: bool = False,
    ) -> ITensor:
        """Normalize; statistics in float32 whatever the dtype, by casts where typing is strong."""
        x = self.tensor(x)
        dtype = x.dtype
        if dtype != torch.float32 and self.library.target.strongly_typed:
            full, wide = self.widened(x), (self.widened(scale), self.widened(bias))
            made = self.normalization(full, *wide, axes, epsilon, groups, by_channel=by_channel)
            return self.cast(made, dtype)
        s, b = self.tensor(scale, x.rank), self.tensor(bias, x.rank)
        if x.rank < 4 and groups > 1 and not self.library.target.strongly_typed:
            image, s, b = map(self._with_space, (x, s, b))  # all that 8.6 takes in groups
            y = self.normalization(image, s, b, (*axes, *range(x.rank, 4)), epsilon, groups)
            return self.shuffle(y, shape=x.shape)
        network = self.network
        add = network.add_normalization_v2 if by_channel else network.add_normalization
        layer = add(x.handle, s.handle, b.handle, bits(axes))
        if layer is not None:
            layer.epsilon, layer.num_groups = epsilon, groups
        return self.done(layer, dtype, x.shape, dtype)

    def _with_space(self, x: ITensor) -> ITensor:
        return self.shuffle(x, shape=(*x.shape, *(1,) * (4 - x.rank)))
