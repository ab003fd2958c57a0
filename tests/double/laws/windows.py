"""Laws of the layers that slide a window, and of resizing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tests.double.lab import Lab, put
from tests.double.laws.law import FLOATS, Laws, joined, members, typed

POOLS = ("MAX", "AVERAGE", "MAX_AVERAGE_BLEND")


def pool(rank: int) -> Callable[[Lab, str, str], Any]:
    def make(t: Lab, kind: str, dtype: str) -> Any:
        x = t.input((1, 4, *(9,) * rank), dtype)
        return t.net.add_pooling_nd(x, t.member("PoolingType", kind), (2,) * rank)

    return make


def filters(
    method: str,
    rank: int,
    *,
    groups: int = 1,
    given: bool = False,
    stored: str = "",
    **attributes: Any,
) -> Callable[[Lab, str], Any]:
    """Return a convolution or its transpose with weights, or a kernel that is an input."""
    forward = method == "add_convolution_nd"

    def make(t: Lab, dtype: str) -> Any:
        window, maps = (3,) * rank, 8 if groups == 1 else 4
        first, second = (maps, 4 // groups) if forward else (4, maps // groups)
        shape = (first, second, *window)
        x = t.input((1, 4, *(9,) * rank), dtype)
        weights = t.trt.Weights(t.type(dtype)) if given else t.weights(shape, stored or dtype)
        layer = getattr(t.net, method)(x, maps, window, weights)
        put(layer, **{name: (number,) * rank for name, number in attributes.items()})
        return put(layer, num_groups=groups, **{"input1": t.input(shape, dtype)} if given else {})

    return make


def both(method: str, name: str) -> Laws:
    return joined(
        typed(f"{name} 2d", filters(method, 2)),
        typed(f"{name} 2d depthwise", filters(method, 2, groups=4)),
        typed(f"{name} 2d, kernel a tensor", filters(method, 2, given=True)),
        typed(f"{name} 2d, kernel of FLOAT", filters(method, 2, stored="FLOAT"), ("HALF", "INT8")),
        typed(f"{name} 3d", filters(method, 3)),
        typed(f"{name} 3d, kernel a tensor", filters(method, 3, given=True)),
        typed(f"{name} 2d stride", filters(method, 2, stride_nd=2), FLOATS),
        typed(f"{name} 2d dilation", filters(method, 2, dilation_nd=2), FLOATS),
        typed(f"{name} 2d both", filters(method, 2, stride_nd=2, dilation_nd=2), FLOATS),
        typed(f"{name} 3d both", filters(method, 3, stride_nd=2, dilation_nd=2), FLOATS),
    )


def quantized(method: str) -> Callable[[Lab, str], Any]:
    """Return a convolution between Quantize and Dequantize."""
    forward = method == "add_convolution_nd"

    def make(t: Lab, dtype: str) -> Any:
        shape = (8, 4, 3, 3) if forward else (4, 8, 3, 3)
        small, kind = t.type("INT8"), t.type(dtype)
        x = t.net.add_quantize(t.input((1, 4, 9, 9), dtype), t.constant(0.5, dtype), small)
        held = t.net.add_constant(shape, t.weights(shape, "INT8"))
        x, kernel = (
            t.net.add_dequantize(q.get_output(0), t.constant(0.5, dtype), kind).get_output(0)
            for q in (x, held)
        )
        return put(getattr(t.net, method)(x, 8, (3, 3), t.trt.Weights(kind)), input1=kernel)

    return make


def resize(t: Lab, mode: str, dtype: str) -> Any:
    layer = t.net.add_resize(t.input((1, 2, 3, 3), dtype))
    return put(layer, shape=(1, 2, 6, 5), resize_mode=t.member("InterpolationMode", mode))


def grid_sample(t: Lab, mode: str, dtype: str) -> Any:
    layer = t.net.add_grid_sample(t.input((1, 2, 5, 5), dtype), t.input((1, 3, 4, 2), dtype))
    return put(layer, interpolation_mode=t.member("InterpolationMode", mode))


LAWS: Laws = joined(
    members("pool 2d", POOLS, pool(2)),
    members("pool 3d", POOLS, pool(3)),
    both("add_convolution_nd", "conv"),
    both("add_deconvolution_nd", "deconv"),
    typed("conv quantized", quantized("add_convolution_nd"), FLOATS),
    typed("deconv quantized", quantized("add_deconvolution_nd"), ("FLOAT", "HALF")),
    members("resize", ("NEAREST", "LINEAR", "CUBIC"), resize),
    members("grid sample", ("NEAREST", "LINEAR", "CUBIC"), grid_sample),
)
