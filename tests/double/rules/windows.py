"""Rules of the layers that slide a window, and of resizing."""

from __future__ import annotations

from typing import Any

from tests.double.facts import FLOATS, Case, Facts, volume
from tests.double.sizes import (
    Size,
    Symbol,
    apply,
    ceil_divide,
    floor_divide,
    minus,
    plus,
    times,
)
from tests.double.weights import stored_shape

QUANTIZED = FLOATS | {"INT8"}


def spatial(case: Case, x: Facts, window: tuple[int, ...]) -> int:
    """Return the number of spatial dimensions: two or three."""
    case.at_once(len(window) in (2, 3), f"window {window} is neither of 2 nor of 3 sizes")
    case.require(x.rank in (4, 5), f"rank {x.rank} is neither 4 nor 5")
    case.require(len(window) == x.rank - 2, f"window {window} does not fit rank {x.rank}")
    case.require(all(size > 0 for size in window), f"window {window} must be positive")
    return x.rank - 2


def listed(case: Case, attribute: str, count: int, default: int) -> tuple[int, ...]:
    """Return an attribute with one entry for each spatial dimension."""
    value = case.attributes.get(attribute)
    if value is None:
        return (default,) * count
    entries = tuple(value)
    case.require(len(entries) == count, f"{attribute} {entries} needs {count} entries")
    case.require(all(entry >= default for entry in entries), f"{attribute} {entries} is too small")
    return entries


def paddings(case: Case, count: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return the padding before and after."""
    return listed(case, "pre_padding", count, 0), listed(case, "post_padding", count, 0)


def swept(
    case: Case, size: Size, window: int, stride: int, around: tuple[int, int], *, least: int = 1
) -> Size:
    """Return how many windows fit into a size with padding around it: at least so many."""
    mode = case["padding_mode"].name
    if mode.startswith("SAME"):
        return ceil_divide(size, stride)
    room = plus(size, sum(around) - window)
    lowest = (least - 1) * stride
    case.size("at_least", room, lowest, "the window is larger than the padded input")
    divide = ceil_divide if mode.endswith("ROUND_UP") else floor_divide
    return plus(divide(room, stride), 1)


def channels(case: Case, x: Facts) -> int:
    """Return the number of input channels, which must be static and divisible by the groups."""
    size = x.shape[1]
    if isinstance(size, Symbol):
        case.fail("the number of channels must be static")
    groups = case["num_groups"]
    case.require(groups >= 1 and size % groups == 0, f"{size} channels, {groups} groups")
    return size


def kernel(case: Case, x: Facts, shape: tuple[int, ...], maps: int) -> None:
    """Check kernel and bias, given as weights or as tensors."""
    given = case.optional(1)
    weights = case["kernel"]
    if given is not None:
        case.require(weights is None or weights.size == 0, "kernel given twice")
        case.same(x, given, "input and kernel")
        case.require(given.rank == len(shape), f"the kernel needs rank {len(shape)}")
        for left, right in zip(given.shape, shape, strict=True):
            case.size("equal", left, right, f"the kernel must have shape {shape}")
    else:
        case.require(weights is not None and weights.size > 0, "the kernel is missing")
        expected = volume(shape)
        case.require(weights.size == expected, f"kernel has {weights.size} weights, not {expected}")
        if x.dtype != "INT8" or case.major > 10:
            case.same(x, Facts(weights.dtype.name, ()), "input and kernel")
        stored = stored_shape(weights)
        if stored is not None and len(stored) == len(shape):
            case.require(stored == shape, f"kernel of shape {stored} is read as {shape}")
    bias, added = case["bias"], case.optional(2)
    if added is not None:
        case.same(x, added, "input and bias")
        case.require(added.shape == (maps,), f"the bias must have shape ({maps},)")
    elif bias is not None and bias.size:
        case.require(bias.size == maps, f"bias has {bias.size} weights, not {maps}")
        if x.dtype != "INT8":
            case.same(x, Facts(bias.dtype.name, ()), "input and bias")


def convolution(case: Case) -> list[Facts]:
    x = case.operand(0)
    case.types(x, QUANTIZED)
    window, maps = tuple(case["kernel_size_nd"]), case["num_output_maps"]
    count = spatial(case, x, window)
    inputs = channels(case, x)
    groups = case["num_groups"]
    case.require(maps > 0 and maps % groups == 0, f"{maps} output maps, {groups} groups")
    kernel(case, x, (maps, inputs // groups, *window), maps)
    before, after = paddings(case, count)
    stride, dilation = listed(case, "stride_nd", count, 1), listed(case, "dilation_nd", count, 1)
    sizes = []
    for index in range(count):
        reach = 1 + dilation[index] * (window[index] - 1)
        place = x.shape[2 + index]
        sizes.append(swept(case, place, reach, stride[index], (before[index], after[index])))
    return [Facts(x.dtype, (x.shape[0], maps, *sizes))]


def deconvolution(case: Case) -> list[Facts]:
    x = case.operand(0)
    case.types(x, QUANTIZED)
    window, maps = tuple(case["kernel_size_nd"]), case["num_output_maps"]
    count = spatial(case, x, window)
    inputs = channels(case, x)
    groups = case["num_groups"]
    case.require(maps > 0 and maps % groups == 0, f"{maps} output maps, {groups} groups")
    kernel(case, x, (inputs, maps // groups, *window), maps)
    before, after = paddings(case, count)
    stride, dilation = listed(case, "stride_nd", count, 1), listed(case, "dilation_nd", count, 1)
    if case.major > 10:  # seen of RTX: "Could not infer output types", and the words below
        case.later(x.dtype in ("FLOAT", "HALF"), f"deconvolution of {x.dtype}")
        both = max(stride) > 1 and max(dilation) > 1
        case.later(not both, "Strided & Dilated Deconv are currently not supported")
    sizes: list[Size] = []
    for index in range(count):
        reach = 1 + dilation[index] * (window[index] - 1)
        size = plus(times(minus(x.shape[2 + index], 1), stride[index]), reach)
        if case["padding_mode"].name.startswith("SAME"):
            size = apply("minimum", times(x.shape[2 + index], stride[index]), size)
        else:
            size = minus(size, before[index] + after[index])
        case.size("at_least", size, 1, "the padding leaves nothing")
        sizes.append(size)
    return [Facts(x.dtype, (x.shape[0], maps, *sizes))]


def pooling(case: Case) -> list[Facts]:
    x = case.operand(0)
    window = tuple(case["window_size_nd"])
    count = spatial(case, x, window)
    if case.major > 10:
        case.at_once(count != 3 or x.dtype not in ("INT8", "UINT8"), f"{x.dtype} of rank 5")
    case.types(x, QUANTIZED)
    before, after = paddings(case, count)
    stride = listed(case, "stride_nd", count, 1)
    least = 1 if case.major < 11 else 0  # seen of RTX: an output of no windows
    blend = case["blend_factor"]
    case.require(0 <= blend <= 1, f"blend factor {blend} is outside [0, 1]")
    sizes = []
    for index in range(count):
        place = x.shape[2 + index]
        around = before[index], after[index]
        sizes.append(swept(case, place, window[index], stride[index], around, least=least))
    return [Facts(x.dtype, (*x.shape[:2], *sizes))]


def resize(case: Case) -> list[Facts]:
    x = case.operand(0)
    case.types(x, FLOATS | {"INT8"})
    case.require(x.rank >= 1, "the input must not be a scalar")
    scales, shape, given = case["scales"], case["shape"], case.optional(1)
    result: list[Size]
    if given is not None:
        result = case.numbers(given, "resize shape")
    elif scales:
        case.require(not shape, "shape and scales are exclusive")
        case.require(len(scales) == x.rank, f"{len(scales)} scales for rank {x.rank}")
        result = [resized(size, factor) for size, factor in zip(x.shape, scales, strict=True)]
    else:
        case.require(shape is not None and len(shape) > 0, "neither shape nor scales are set")
        result = list(shape)
    case.require(len(result) == x.rank, f"{len(result)} sizes for rank {x.rank}")
    for size in result:
        case.size("at_least", size, 1, "resize to nothing")
    changed = [axis for axis in range(x.rank) if result[axis] != x.shape[axis]]
    most = {"NEAREST": 8, "LINEAR": 3, "CUBIC": 2}[case["resize_mode"].name]
    inner = range(x.rank - most, x.rank)
    for axis in changed:
        if axis not in inner:
            message = f"axis {axis} cannot be resized"
            case.size("equal", result[axis], x.shape[axis], message, late=True)
    return [Facts(x.dtype, tuple(result))]


def resized(size: Size, factor: float) -> Any:
    """Return ``floor(size * factor)``."""
    return size if factor == 1 else apply("scale_floor", size, float(factor))


def grid_sample(case: Case) -> list[Facts]:
    x, grid = case.operand(0), case.operand(1)
    case.types(x, FLOATS, late="INT8")
    case.same(x, grid, "input and grid")
    case.require(x.rank == 4 and grid.rank == 4, "input and grid must have rank 4")
    case.size("equal", x.shape[0], grid.shape[0], "batch of input and grid")
    case.size("equal", grid.shape[3], 2, "the last size of the grid must be 2")
    return [Facts(x.dtype, (*x.shape[:2], *grid.shape[1:3]))]
