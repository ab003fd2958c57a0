"""Rows of TensorRT's layers by name over spatial dims."""

from __future__ import annotations

import math
from itertools import product
from typing import Any

import torch
import torch.nn.functional as F

from tests.rows import B, C, Row, S, T
from trtnn import nvinfer
from trtnn.errors import OptionError, ShapeError, UnsupportedError
from trtnn.sizes.dims import Dim

HALF, INT = torch.float16, torch.int32
P = Dim("pixels", 4, 6, 11)
Q = Dim("rows", 6, 6, 7)  # at 5, the last window would see nothing but padding


def places(
    size: int, window: int, step: int, mode: str, pre: int, post: int
) -> tuple[int, int, int]:
    """Return how many windows there are, and the padding before and after, by the header."""
    if mode.startswith("SAME"):
        count = math.ceil(size / step)
        total = (count - 1) * step + window - size
        less = total // 2
        return count, *((less, total - less) if mode == "SAME_UPPER" else (total - less, less))
    room = size + pre + post - window
    return (math.ceil if mode.endswith("UP") else math.floor)(room / step) + 1, pre, post


def windows(x: torch.Tensor, window: Any, stride_nd: Any, mode: str, pre: Any, post: Any) -> Any:
    """Yield where each window is put, which entries it has, and how many of padded input."""
    count = len(window)
    found = [
        places(int(s), w, t, mode, a, b)
        for s, w, t, a, b in zip(x.shape[2:], window, stride_nd, pre, post, strict=True)
    ]
    for place in product(*(range(n) for n, _, _ in found)):
        parts, padded = [], 1
        for axis in range(count):
            size, (_, a, b) = int(x.shape[2 + axis]), found[axis]
            low = place[axis] * stride_nd[axis] - a
            high = low + window[axis]
            parts.append(slice(max(low, 0), min(high, size)))
            padded *= min(high, size + b) - low
        yield [n for n, _, _ in found], place, x[(..., *parts)], padded


def pooled(
    x: torch.Tensor,
    kind: str,
    window: Any,
    stride_nd: Any = None,
    padding_nd: Any = None,
    pre_padding: Any = None,
    post_padding: Any = None,
    padding_mode: str = "EXPLICIT_ROUND_DOWN",
    blend_factor: float = 0.0,
    average_count_excludes_padding: bool = True,
) -> torch.Tensor:
    zeros, ones = (0,) * len(window), (1,) * len(window)
    around = (pre_padding or padding_nd or zeros, post_padding or padding_nd or zeros)
    result = torch.empty(0)
    wide = x.double()
    for counts, place, entries, padded in windows(
        wide, window, stride_nd or ones, padding_mode, *around
    ):
        if not result.numel():
            result = torch.zeros(*x.shape[:2], *counts, dtype=torch.float64)
        axes = tuple(range(2, x.dim()))
        own = math.prod(entries.shape[2:])
        divisor = own if average_count_excludes_padding else padded
        most, mean = entries.amax(axes), entries.sum(axes) / divisor
        blend = {"MAX": 0.0, "AVERAGE": 1.0}.get(kind, blend_factor)
        result[(..., *place)] = (1 - blend) * most + blend * mean
    return result.to(x.dtype)


def convolved(
    x: torch.Tensor, maps: int, window: Any, kernel: torch.Tensor, bias: Any = None, **how: Any
) -> torch.Tensor:
    """Pad as the header says, and convolve."""
    kernel = kernel.reshape(maps, -1, *window)
    count = len(window)
    zeros, ones = (0,) * count, (1,) * count
    stride, gaps = how.get("stride_nd") or ones, how.get("dilation_nd") or ones
    pre = how.get("pre_padding") or how.get("padding_nd") or zeros
    post = how.get("post_padding") or how.get("padding_nd") or zeros
    sides = []
    for axis in reversed(range(count)):
        reach = gaps[axis] * (window[axis] - 1) + 1
        mode, size = how.get("padding_mode", "EXPLICIT_ROUND_DOWN"), int(x.shape[2 + axis])
        number, a, _ = places(size, reach, stride[axis], mode, pre[axis], post[axis])
        sides += [a, max((number - 1) * stride[axis] + reach - size - a, 0)]
    run = F.conv2d if count == 2 else F.conv3d
    return run(F.pad(x, sides), kernel, bias, stride, 0, gaps, how.get("num_groups", 1))


def spread(
    x: torch.Tensor, maps: int, window: Any, kernel: torch.Tensor, bias: Any = None, **how: Any
) -> torch.Tensor:
    """Cover all, and cut."""
    stride = how.get("stride_nd") or (1,) * len(window)
    full = F.conv_transpose2d(x, kernel, bias, stride, groups=how.get("num_groups", 1))
    for axis in range(len(window)):
        if how.get("padding_mode", "").startswith("SAME"):
            total = max(window[axis] - stride[axis], 0)
            less = total // 2
            pre, post = (less, total - less)
            if how["padding_mode"] == "SAME_LOWER":
                pre, post = post, pre
        else:
            pre, post = how["pre_padding"][axis], how["post_padding"][axis]
        full = full.narrow(2 + axis, pre, full.shape[2 + axis] - pre - post)
    return full


def resized(
    x: torch.Tensor,
    shape: Any = None,
    scales: Any = None,
    resize_mode: str = "NEAREST",
    coordinate_transformation: str = "ASYMMETRIC",
    selector_for_single_pixel: str = "FORMULA",
    nearest_rounding: str = "FLOOR",
    cubic_coeff: float = -0.75,
    exclude_outside: bool = False,
) -> torch.Tensor:
    """Compute one dim after another, one entry after another."""
    result = x.double()
    for axis, size in enumerate(x.shape):
        new = math.floor(size * scales[axis]) if scales else int(shape[axis])
        if new == size and (not scales or scales[axis] == 1):
            continue
        columns = []
        for i in range(new):
            at = {
                "ALIGN_CORNERS": i * (size - 1) / max(new - 1, 1),
                "ASYMMETRIC": i * size / new,
                "HALF_PIXEL": (i + 0.5) * size / new - 0.5,
            }[coordinate_transformation]
            at = 0.0 if new == 1 and selector_for_single_pixel == "UPPER" else at
            if resize_mode == "NEAREST":
                rounded = {
                    "FLOOR": math.floor(at),
                    "CEIL": math.ceil(at),
                    "HALF_UP": math.floor(at + 0.5),
                    "HALF_DOWN": math.ceil(at - 0.5),
                }[nearest_rounding]
                taps = {rounded: 1.0}
            elif resize_mode == "LINEAR":
                low = math.floor(at)
                taps = {low: 1 - (at - low), low + 1: at - low}
            else:
                low, a = math.floor(at), cubic_coeff
                taps = {}
                for entry in range(low - 1, low + 3):
                    t = abs(at - entry)
                    near = (a + 2) * t**3 - (a + 3) * t**2 + 1
                    taps[entry] = near if t <= 1 else a * t**3 - 5 * a * t**2 + 8 * a * t - 4 * a
            if exclude_outside:
                taps = {entry: w for entry, w in taps.items() if 0 <= entry < size}
                taps = {entry: w / sum(taps.values()) for entry, w in taps.items()}
            parts = (result.select(axis, min(max(e, 0), size - 1)) * w for e, w in taps.items())
            columns.append(sum(parts))
        result = torch.stack(columns, axis)  # type: ignore[arg-type]
    return result.to(x.dtype)


def sampled(x: torch.Tensor, grid: torch.Tensor, **how: Any) -> torch.Tensor:
    modes = {"LINEAR": "bilinear", "NEAREST": "nearest"}
    around = {"FILL": "zeros", "CLAMP": "border", "REFLECT": "reflection"}
    return F.grid_sample(
        x,
        grid,
        modes[how.get("interpolation_mode", "LINEAR")],
        around[how.get("sample_mode", "FILL")],
        how.get("align_corners", False),
    )


def convolution(*given: Any, **how: Any) -> Row:
    return Row(nvinfer.convolution_nd, *given, oracle=convolved, **how)


def pooling(*given: Any, **how: Any) -> Row:
    return Row(nvinfer.pooling_nd, *given, oracle=pooled, **how)


def resizing(*given: Any, **how: Any) -> Row:
    return Row(nvinfer.resize, *given, oracle=resized, **how)


def deconvolution(*given: Any, **how: Any) -> Row:
    return Row(nvinfer.deconvolution_nd, *given, oracle=spread, **how)


UP, UPPER, LOWER = "EXPLICIT_ROUND_UP", "SAME_UPPER", "SAME_LOWER"
FLAT, WAYS = T(1, 2, 4, 5), ("ALIGN_CORNERS", "ASYMMETRIC", "HALF_PIXEL")
NEAREST = [
    {"scales": (1, 1, 2.5, 0.6), "nearest_rounding": rounding}
    for rounding in ("FLOOR", "CEIL", "HALF_UP", "HALF_DOWN")
]
LINEAR = [
    {"shape": (1, 2, 7, 1), "resize_mode": "LINEAR", "selector_for_single_pixel": selector}
    for selector in ("FORMULA", "UPPER")
]
CUBIC = [
    {"shape": (1, 2, 6, 9), "resize_mode": "CUBIC", "cubic_coeff": a, "exclude_outside": excludes}
    for a, excludes in ((-0.5, True), (-0.75, False))
]


def resizings(x: Any, way: str, hows: list[dict[str, Any]]) -> Row:
    """Resize one tensor in several ways."""
    return Row(
        lambda x: [nvinfer.resize(x, coordinate_transformation=way, **how) for how in hows],
        x,
        oracle=lambda x: [resized(x, coordinate_transformation=way, **how) for how in hows],
        name=f"{hows[0].get('resize_mode', 'NEAREST')} {way}",
    )


ROWS: list[Row] = [
    convolution(
        T(B, 4, 5, 6),
        2,
        (3, 2),
        C(2, 2, 3, 2),
        C(2),
        num_groups=2,
        pre_padding=(1, 0),
        post_padding=(0, 2),
        dilation_nd=(1, 2),
    ),
    convolution(T(B, 1, 4, 4, 3), 2, (2, 2, 2), C(16), padding_mode=UP, stride_nd=(3, 2, 1)),
    convolution(
        T(B, 2, P, 4),
        3,
        (3, 3),
        T(3, 2, 3, 3),
        padding_mode=UPPER,
        stride_nd=(2, 2),
        name="SAME of a Dim",
    ),
    deconvolution(
        T(B, 2, 3, S),
        2,
        (3, 2),
        C(2, 1, 3, 2),
        C(2),
        num_groups=2,
        stride_nd=(2, 1),
        pre_padding=(1, 0),
        post_padding=(0, 1),
    ),
    deconvolution(T(1, 2, 3, 4), 1, (4, 3), C(2, 1, 4, 3), stride_nd=(2, 2), padding_mode=LOWER),
    pooling(T(B, 2, 4, 5), "MAX", (2, 3)),
    pooling(T(B, 2, P, 5), "AVERAGE", (3, 3), padding_nd=(1, 1), stride_nd=(2, 2)),
    pooling(
        T(1, 2, 6, 6, dtype=HALF),
        "AVERAGE",
        (3, 2),
        padding_nd=(1, 1),
        stride_nd=(2, 2),
        padding_mode=UP,
        average_count_excludes_padding=False,
        name="ROUND_UP that counts",
    ),
    pooling(
        T(B, 2, P, 5), "AVERAGE", (3, 2), stride_nd=(2, 2), padding_mode=UPPER, name="SAME_UPPER"
    ),
    pooling(T(B, 2, P, 5), "MAX", (3, 2), stride_nd=(2, 2), padding_mode=LOWER, name="SAME_LOWER"),
    pooling(
        T(B, 2, 4, 5),
        "MAX_AVERAGE_BLEND",
        (2, 3),
        blend_factor=0.3,
        padding_nd=(1, 1),
        name="blend",
    ),
    pooling(
        T(1, 2, Q, 4),
        "MAX_AVERAGE_BLEND",
        (3, 3),
        blend_factor=0.3,
        padding_mode=UP,
        stride_nd=(3, 3),
        padding_nd=(1, 1),
        average_count_excludes_padding=False,
        name="blend of a Dim",
    ),
    *(
        resizing(FLAT, scales=(1, 1, 2.5, 0.6), coordinate_transformation=way, nearest_rounding=to)
        for way in WAYS
        for to in ("FLOOR", "CEIL", "HALF_UP", "HALF_DOWN")
    ),
    *(resizings(FLAT, way, hows) for way in WAYS for hows in (NEAREST, LINEAR)),
    resizings(FLAT, "HALF_PIXEL", CUBIC),
    resizing(
        T(B, 2, S, dtype=HALF), scales=(1.0, 2.0, 1.5), resize_mode="LINEAR", name="linear of Dims"
    ),
    Row(
        lambda x, y: nvinfer.resize(x, shape=(x.shape[0], y.shape[0])),
        T(B, 4),
        T(S),
        oracle=lambda x, y: resized(x, (x.shape[0], y.shape[0])),
        name="to a size",
    ),
    Row(nvinfer.grid_sample, T(B, 2, 3, 4), T(B, 2, 2, 2), oracle=sampled),
    Row(
        nvinfer.grid_sample,
        T(1, 2, 3, 4),
        T(1, 2, 2, 2),
        interpolation_mode="NEAREST",
        sample_mode="REFLECT",
        align_corners=True,
        oracle=sampled,
    ),
    Row(
        nvinfer.padding_nd,
        T(B, 2, 3, S),
        (1, -1),
        (0, 2),
        oracle=lambda x, *_: F.pad(x[..., 1:], (0, 2, 1, 0)),
    ),
    Row(nvinfer.convolution_nd, T(1, 2, 4, 4), 3, (3, 3), C(3, 1, 3, 3), raises=ShapeError),
    Row(nvinfer.pooling_nd, T(1, 2, 4), "MAX", (2,), raises=ShapeError),
    Row(
        nvinfer.pooling_nd,
        T(1, 2, 3, 3),
        "MAX",
        (1, 1),
        stride_nd=(3, 3),
        padding_mode=UPPER,
        raises=UnsupportedError,
    ),
    Row(nvinfer.pooling_nd, T(1, 2, 4, 4), "MEAN", (2, 2), raises=OptionError),
    Row(nvinfer.resize, T(1, 2, 4, 4), shape=(1, 3, 4, 4), resize_mode="CUBIC", raises=ShapeError),
    Row(nvinfer.grid_sample, T(1, 1, 2, 2), T(1, 1, 1, 2), sample_mode="WRAP", raises=OptionError),
]
