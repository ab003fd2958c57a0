"""Layers over spatial dims: convolutions, pools, resizing and sampling."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch

from trtnn.errors import OptionError, ShapeError, UnsupportedError
from trtnn.nvinfer.members import listed, member
from trtnn.ops.arithmetic import add, cast, mul
from trtnn.ops.convolution import Convolution
from trtnn.ops.creation import full
from trtnn.ops.deconvolution import Deconvolution
from trtnn.ops.division import div
from trtnn.ops.movement import reshape
from trtnn.ops.op import TensorT, as_size, bind, shape_of, spec_of
from trtnn.ops.padding import pad
from trtnn.ops.pooling import Pool
from trtnn.ops.resampling import Resample
from trtnn.ops.sampling import GridSample
from trtnn.sizes.dims import Size, bounds, ceil_div
from trtnn.sizes.reals import computed, rounded

Sizes = tuple[Size, ...]
Ints = tuple[int, ...]


def _around(
    function: str, count: int, padding_nd: Any, pre_padding: Any, post_padding: Any
) -> tuple[Ints, Ints]:
    """Return the padding before and after each dim."""
    if padding_nd is not None and (pre_padding is not None or post_padding is not None):
        raise OptionError(f"{function}: expected padding_nd, or pre_padding and post_padding")
    both = listed(function, "padding_nd", padding_nd, count, 0)
    if padding_nd is not None:
        return both, both
    pre = listed(function, "pre_padding", pre_padding, count, 0)
    return pre, listed(function, "post_padding", post_padding, count, 0)


def _implied(
    mode: str, sizes: Sizes, reach: Ints, stride: Ints, around: tuple[Ints, Ints]
) -> tuple[Sizes, Sizes]:
    """Return the padding of a convolution or a pool that a member of PaddingMode implies.

    Raises:
        UnsupportedError: SAME with steps past the window, where TensorRT does not say what it does.
    """
    pre: list[Size] = []
    post: list[Size] = []
    more: tuple[Size, Size]
    for size, window, step, a, b in zip(sizes, reach, stride, *around, strict=True):
        if mode == "EXPLICIT_ROUND_DOWN":
            more = (a, b)
        elif mode == "EXPLICIT_ROUND_UP":
            room = size + a + b - window
            more = (a, ceil_div(room, step) * step - room + b)
        else:
            total = (size - 1) // step * step + window - size
            if bounds(total)[0] < 0:
                raise UnsupportedError(
                    f"padding_mode {mode}: a window that reaches over {window} entries of {size}, "
                    f"in steps of {step}",
                    hint="give pre_padding and post_padding",
                )
            less = total // 2
            more = (less, total - less) if mode == "SAME_UPPER" else (total - less, less)
        pre.append(more[0])
        post.append(more[1])
    return tuple(pre), tuple(post)


def _widened(x: TensorT, pre: Sizes, post: Sizes, value: float) -> tuple[TensorT, Ints, Ints]:
    """Return a tensor and the paddings of its layer; what a Dim decides goes into the tensor."""
    if all(isinstance(n, int) for n in (*pre, *post)):
        return x, pre, post  # type: ignore[return-value]
    sides = zip(reversed(pre), reversed(post), strict=True)
    wide = pad(x, [n for both in sides for n in both], value=value)
    return wide, (0,) * len(pre), (0,) * len(pre)


def _kernel(
    function: str, kernel: TensorT, wanted: Sizes, maps: int, bias: TensorT | None
) -> tuple[TensorT, ...]:
    """Return the operands that a kernel and perhaps a bias are, in the shapes that they have."""
    if len(shape_of(kernel)) == 1:
        kernel = reshape(kernel, wanted)
    if shape_of(kernel) != wanted:
        raise ShapeError(f"{function}: expected a kernel of shape {wanted}, got {spec_of(kernel)}")
    return (kernel,) if bias is None else (kernel, reshape(bias, (maps,)))


def convolution_nd(
    input: TensorT,
    num_output_maps: int,
    kernel_shape: Sequence[int],
    kernel: TensorT,
    bias: TensorT | None = None,
    *,
    stride_nd: Sequence[int] | None = None,
    padding_nd: Sequence[int] | None = None,
    pre_padding: Sequence[int] | None = None,
    post_padding: Sequence[int] | None = None,
    padding_mode: Any = "EXPLICIT_ROUND_DOWN",
    dilation_nd: Sequence[int] | None = None,
    num_groups: int = 1,
) -> TensorT:
    """Convolve (N, C, H, W) or (N, C, D, H, W) with a kernel (maps, C / groups, *kernel_shape).

    Strides and dilations are 1 and paddings 0 by default. EXPLICIT_ROUND_UP takes a last window
    that reaches over the padded input; SAME_UPPER and SAME_LOWER give ``ceil(size / stride)``, and
    do not look at the paddings. The kernel may lie flat, as TensorRT's weights do, or be computed.

    Raises:
        UnsupportedError: SAME padding with a stride that steps past the window.

    >>> image = torch.ones(1, 1, 3, 3)
    >>> convolution_nd(image, 1, (3, 3), torch.ones(1, 1, 3, 3), stride_nd=(3, 3))
    tensor([[[[9.]]]])
    """
    window = tuple(kernel_shape)
    count, shape = len(window), shape_of(input)
    mode = member("convolution", "padding_mode", "PaddingMode", padding_mode)
    stride = listed("convolution", "stride_nd", stride_nd, count, 1)
    dilation = listed("convolution", "dilation_nd", dilation_nd, count, 1)
    wanted = (num_output_maps, shape[1] // num_groups, *window)
    operands = _kernel("convolution", kernel, wanted, num_output_maps, bias)
    reach = tuple(d * (w - 1) + 1 for d, w in zip(dilation, window, strict=True))
    around = _around("convolution", count, padding_nd, pre_padding, post_padding)
    implied = _implied(mode, _spatial("convolution", input, count), reach, stride, around)
    x, pre, post = _widened(input, *implied, 0.0)
    return bind(Convolution(stride, pre, post, dilation, num_groups), x, *operands)


def _spatial(function: str, input: TensorT, count: int) -> Sizes:
    shape = shape_of(input)
    if count not in (2, 3) or len(shape) != count + 2:
        raise ShapeError(
            f"{function}: {count} sizes of a window do not fit {spec_of(input)}",
            hint="TensorRT takes 2 or 3 spatial dims: put one of size 1 in where there is one",
        )
    return shape[2:]


def deconvolution_nd(
    input: TensorT,
    num_output_maps: int,
    kernel_shape: Sequence[int],
    kernel: TensorT,
    bias: TensorT | None = None,
    *,
    stride_nd: Sequence[int] | None = None,
    padding_nd: Sequence[int] | None = None,
    pre_padding: Sequence[int] | None = None,
    post_padding: Sequence[int] | None = None,
    padding_mode: Any = "EXPLICIT_ROUND_DOWN",
    dilation_nd: Sequence[int] | None = None,
    num_groups: int = 1,
) -> TensorT:
    """Spread each entry of (N, C, ...) over a kernel (C, maps / groups, *kernel_shape).

    ``pre_padding`` and ``post_padding`` are cut off what is covered; SAME padding leaves
    ``size * stride`` entries where there are as many. EXPLICIT_ROUND_UP is EXPLICIT_ROUND_DOWN.

    >>> deconvolution_nd(torch.ones(1, 1, 1, 1), 1, (1, 2), torch.ones(1, 1, 1, 2))
    tensor([[[[1., 1.]]]])
    """
    window = tuple(kernel_shape)
    count, shape = len(window), shape_of(input)
    _spatial("deconvolution", input, count)
    mode = member("deconvolution", "padding_mode", "PaddingMode", padding_mode)
    stride = listed("deconvolution", "stride_nd", stride_nd, count, 1)
    dilation = listed("deconvolution", "dilation_nd", dilation_nd, count, 1)
    wanted = (shape[1], num_output_maps // num_groups, *window)
    operands = _kernel("deconvolution", kernel, wanted, num_output_maps, bias)
    pre, post = _around("deconvolution", count, padding_nd, pre_padding, post_padding)
    if mode.startswith("SAME"):
        reach = [d * (w - 1) + 1 for d, w in zip(dilation, window, strict=True)]
        totals = [max(r - s, 0) for r, s in zip(reach, stride, strict=True)]
        less = tuple(total // 2 for total in totals)
        more = tuple(total - half for total, half in zip(totals, less, strict=True))
        pre, post = (less, more) if mode == "SAME_UPPER" else (more, less)
    return bind(Deconvolution(stride, pre, post, dilation, num_groups), input, *operands)


def pooling_nd(
    input: TensorT,
    type: Any,
    window_size: Sequence[int],
    *,
    stride_nd: Sequence[int] | None = None,
    padding_nd: Sequence[int] | None = None,
    pre_padding: Sequence[int] | None = None,
    post_padding: Sequence[int] | None = None,
    padding_mode: Any = "EXPLICIT_ROUND_DOWN",
    blend_factor: float = 0.0,
    average_count_excludes_padding: bool = True,
) -> TensorT:
    """Take the maximum, the mean or a blend of both, of windows over the dims behind (N, C).

    Two defaults are not PyTorch's: strides are 1, not the window, and means do not count padding.
    MAX_AVERAGE_BLEND is ``(1 - blend_factor) * maximum + blend_factor * mean``.

    >>> pooling_nd(torch.arange(4.0).view(1, 1, 2, 2), "MAX", (1, 2))
    tensor([[[[1.],
              [3.]]]])
    """
    kind, window = member("pooling", "type", "PoolingType", type), tuple(window_size)
    count = len(window)
    sizes = _spatial("pooling", input, count)
    mode = member("pooling", "padding_mode", "PaddingMode", padding_mode)
    if not 0.0 <= blend_factor <= 1.0:
        raise OptionError(f"pooling: expected blend_factor from 0 to 1, got {blend_factor}")
    stride = listed("pooling", "stride_nd", stride_nd, count, 1)
    around = _around("pooling", count, padding_nd, pre_padding, post_padding)
    pre, post = _implied(mode, sizes, window, stride, around)
    include = not average_count_excludes_padding
    zeros = (0,) * count
    blend = float(blend_factor) if kind == "MAX_AVERAGE_BLEND" else 0.0
    if kind == "MAX" or (kind != "AVERAGE" and blend == 0.0):
        x, pre, post = _widened(input, pre, post, -math.inf)
        return bind(Pool("MAX", window, stride, pre, post), x)
    static = all(isinstance(n, int) for n in (*pre, *post))
    if static and not (include and mode == "EXPLICIT_ROUND_UP"):
        return bind(Pool(kind, window, stride, pre, post, include, blend), input)  # type: ignore[arg-type]
    counted = (pre, post) if mode.startswith("SAME") else around
    mean = _mean(input, window, stride, (pre, post), counted if include else (zeros, zeros))
    if kind == "AVERAGE":
        return mean
    x, pre, post = _widened(input, pre, post, -math.inf)
    most = bind(Pool("MAX", window, stride, pre, post), x)
    return add(mul(most, 1 - blend), mul(mean, blend))


def _mean(
    x: TensorT, window: Ints, stride: Ints, implied: tuple[Sizes, Sizes], counted: Any
) -> TensorT:
    """Return means over padding, some of which counts: sums over the number of what does."""
    zeros, dtype = (0,) * len(window), spec_of(x).dtype
    plain = Pool("AVERAGE", window, stride, zeros, zeros)
    sizes = tuple(s + a + b for s, a, b in zip(shape_of(x)[2:], *counted, strict=True))
    ones = full((1, 1, *sizes), 1.0, dtype=torch.float32)
    rest = [
        tuple(whole - own for whole, own in zip(*sides, strict=True))
        for sides in zip(implied, counted, strict=True)
    ]

    def averaged(tensor: TensorT, pre: Sizes, post: Sizes) -> TensorT:
        sides = zip(reversed(pre), reversed(post), strict=True)
        return bind(plain, pad(tensor, [n for both in sides for n in both]))

    means = averaged(cast(x, torch.float32), *implied)
    return cast(div(means, averaged(ones, *rest)), dtype)


def resize(
    input: TensorT,
    *,
    shape: Sequence[Any] | None = None,
    scales: Sequence[float] | None = None,
    resize_mode: Any = "NEAREST",
    coordinate_transformation: Any = "ASYMMETRIC",
    selector_for_single_pixel: Any = "FORMULA",
    nearest_rounding: Any = "FLOOR",
    cubic_coeff: float = -0.75,
    exclude_outside: bool = False,
) -> TensorT:
    """Give a float tensor other sizes: ``shape``, or ``floor(size * scale)`` for each dim.

    NEAREST changes up to the last 8 dims, LINEAR 3, CUBIC 2. An entry ``i`` of O lies in an input
    of I at ``i * (I - 1) / (O - 1)`` (ALIGN_CORNERS), ``i * I / O`` (ASYMMETRIC) or ``(i + 0.5) *
    I / O - 0.5`` (HALF_PIXEL), whatever ``scales`` are; the selector UPPER takes the first entry
    where O is 1. The defaults are TensorRT's: none of PyTorch's ``interpolate`` but nearest.

    >>> resize(torch.tensor([1.0, 2.0]), scales=(2.0,))
    tensor([1., 1., 2., 2.])
    """
    own = shape_of(input)
    if (shape is None) == (scales is None):
        raise OptionError("resize: expected shape or scales")
    if scales is not None:
        if len(scales) != len(own):
            raise ShapeError(f"resize: {len(scales)} scales do not fit {spec_of(input)}")
        pairs = zip(own, map(float, scales), strict=True)
        wanted = tuple(rounded("floor", computed("mul", size, scale)) for size, scale in pairs)
    else:
        assert shape is not None
        wanted = tuple(as_size(size) for size in shape)
    how = Resample(
        wanted,
        member("resize", "resize_mode", "InterpolationMode", resize_mode),
        member(
            "resize",
            "coordinate_transformation",
            "ResizeCoordinateTransformation",
            coordinate_transformation,
        ),
        member("resize", "selector_for_single_pixel", "ResizeSelector", selector_for_single_pixel),
        member("resize", "nearest_rounding", "ResizeRoundMode", nearest_rounding),
        float(cubic_coeff),
        bool(exclude_outside),
    )
    return bind(how, input)


def grid_sample(
    input: TensorT,
    grid: TensorT,
    *,
    interpolation_mode: Any = "LINEAR",
    align_corners: bool = False,
    sample_mode: Any = "FILL",
) -> TensorT:
    """Sample (N, C, H, W) at the places (N, H', W', 2) of a grid, x and y from -1 to 1.

    Outside are zeros (FILL), the entries at the border (CLAMP) or those mirrored at it (REFLECT).
    NEAREST and CUBIC are composed: how the layer rounds, and which cubic it takes, is not told.

    >>> grid_sample(torch.tensor([[[[1.0, 2.0]]]]), torch.zeros(1, 1, 1, 2))
    tensor([[[[1.5000]]]])
    """
    mode = member("grid_sample", "interpolation_mode", "InterpolationMode", interpolation_mode)
    outside = member("grid_sample", "sample_mode", "SampleMode", sample_mode)
    if outside not in ("FILL", "CLAMP", "REFLECT"):
        raise OptionError(
            f"grid_sample: sample_mode {outside}", hint="use 'FILL', 'CLAMP' or 'REFLECT'"
        )
    x, places = spec_of(input), spec_of(grid)
    if x.rank != 4 or places.rank != 4 or places.shape[3] != 2 or x.shape[0] != places.shape[0]:
        raise ShapeError(f"grid_sample: the grid {places} does not fit {x}")
    return bind(GridSample(mode, outside, bool(align_corners)), input, grid)


def padding_nd(input: TensorT, pre_padding: Sequence[int], post_padding: Sequence[int]) -> TensorT:
    """Put zeros around the last two dims of 4 or more; negative amounts crop.

    It is a Slice layer in its FILL mode on every version: of the Padding layer, TensorRT keeps
    zeros and two dims only.

    >>> padding_nd(torch.ones(1, 1, 1, 1), (0, 1), (0, 0))
    tensor([[[[0., 1.]]]])
    """
    if len(shape_of(input)) < 4:
        raise ShapeError(f"padding: expected 4 dims or more, got {spec_of(input)}")
    pre = listed("padding", "pre_padding", pre_padding, 2, 0)
    post = listed("padding", "post_padding", post_padding, 2, 0)
    return pad(input, (pre[1], post[1], pre[0], post[0]))
