"""Rules of the layers that move, pick or join entries."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy

from tests.double.facts import (
    FLOATS,
    INTEGERS,
    MOST_AXES,
    Case,
    Facts,
    is_static,
    known,
    static,
    volume,
)
from tests.double.sizes import Size, Symbol, apply, minus, plus, product, quotient, times


def moved(case: Case, function: Callable[[], Any]) -> Any:
    """Return moved values, or None where they cannot be told."""
    try:
        return function()
    except (ValueError, IndexError, TypeError):
        return None


def permuted(case: Case, shape: tuple[Size, ...], order: Any) -> tuple[int, ...]:
    """Return a checked permutation for a shape."""
    if order is None:
        return tuple(range(len(shape)))
    axes = tuple(order)[: len(shape)]
    case.require(sorted(axes) == list(range(len(shape))), f"{axes} is no permutation")
    return axes


def movable(case: Case) -> Facts:
    """Return the first input; UINT8 stands at the border of a network only, beside casts."""
    x = case.operand(0)
    case.require(x.dtype != "UINT8" or case.major == 8, "input of type UINT8 is not supported")
    return x


def shuffle(case: Case) -> list[Facts]:
    x = movable(case)
    first = permuted(case, x.shape, case["first_transpose"])
    shape = tuple(x.shape[axis] for axis in first)
    target = case["reshape_dims"]
    wanted = case.optional(1)
    if wanted is not None:
        shape = reshaped(case, shape, case.numbers(wanted, "reshape dimensions"))
    elif target is not None:
        if case["zero_is_placeholder"] and 0 in tuple(target) and first != tuple(range(x.rank)):
            case.fail("a 0 in reshape_dims together with first_transpose is ambiguous")
        shape = reshaped(case, shape, list(target))
    second = permuted(case, shape, case["second_transpose"])
    result = tuple(shape[axis] for axis in second)
    values = None
    if x.values is not None and is_static(result):
        values = moved(
            case, lambda: x.values.transpose(first).reshape(static(shape)).transpose(second)
        )
    return [Facts(x.dtype, result, values)]


def reshaped(case: Case, shape: tuple[Size, ...], target: list[Size]) -> tuple[Size, ...]:
    """Return the shape that reshape dimensions ask for."""
    case.require(len(target) <= MOST_AXES, f"rank {len(target)} is above {MOST_AXES}")
    result: list[Size] = []
    for index, size in enumerate(target):
        if size == 0 and case["zero_is_placeholder"]:
            case.require(index < len(shape), f"0 at {index} has no input dimension")
            result.append(shape[index])
        else:
            result.append(size)
    free = [index for index, size in enumerate(result) if size == -1]
    case.require(len(free) <= 1, "more than one -1 in reshape_dims")
    whole = product(shape)
    message = f"cannot reshape {static(shape)} to {static_list(target)}"
    if free:
        rest = product(size for index, size in enumerate(result) if index != free[0])
        case.require(rest != 0, "-1 beside a 0 is ambiguous")
        case.size("multiple", whole, rest, message)
        result[free[0]] = quotient(whole, rest)
    else:
        case.size("equal", whole, product(result), message)
    for size in result:
        case.size("at_least", size, 0, "negative reshape dimension")
    return tuple(result)


def static_list(sizes: list[Size]) -> tuple[Any, ...]:
    """Return sizes as they are shown in messages."""
    return tuple("?" if isinstance(size, Symbol) else size for size in sizes)


def part(case: Case, index: int, attribute: str) -> list[Size]:
    """Return start, size or stride of a Slice: from its input, else from its attribute."""
    given = case.optional(index)
    if given is not None:
        return case.numbers(given, attribute)
    return list(case[attribute])


def slice_layer(case: Case) -> list[Facts]:
    x = movable(case)
    start, size, stride = part(case, 1, "start"), part(case, 2, "shape"), part(case, 3, "stride")
    axes = slice_axes(case, x)
    for what, entries in (("start", start), ("shape", size), ("stride", stride)):
        count = len(entries)
        case.require(count == len(axes), f"{what} has {count} entries for {len(axes)}")
    mode = case["mode"].name
    fill = case.optional(4)
    if fill is not None:
        case.require(mode == "FILL", f"a fill value is an error in mode {mode}")
        case.require(product(fill.shape) == 1, "the fill value must be one element")
        case.same(x, fill, "input and fill value")
    shape = list(x.shape)
    for axis, begin, length, step in zip(axes, start, size, stride, strict=True):
        case.size("at_least", length, 0, f"negative size on axis {axis}")
        if mode == "STRICT_BOUNDS":
            bounds(case, x.shape[axis], axis, begin, length, step)
        shape[axis] = length
    values = None
    numbers = [*start, *size, *stride]
    whole = mode == "STRICT_BOUNDS" and not any(isinstance(item, Symbol) for item in numbers)
    if x.values is not None and whole:
        values = moved(case, lambda: cut(x.values, axes, start, size, stride))
    return [Facts(x.dtype, tuple(shape), values)]


def slice_axes(case: Case, x: Facts) -> tuple[int, ...]:
    """Return the axes that a Slice works on: all of them unless it names some (10.3 on)."""
    named = case.optional(5)
    if named is not None:
        case.require(named.constant and named.values is not None, "axes must be constant")
        listed = list(named.values)
    else:
        listed = list(case.attributes.get("axes") or ())
    if not listed:
        return tuple(range(x.rank))
    axes = tuple(case.axis(int(axis), x.rank, negative=True) for axis in listed)
    case.require(len(set(axes)) == len(axes), f"axes {axes} repeat")
    return axes


def bounds(case: Case, length: Size, axis: int, begin: Size, count: Size, step: Size) -> None:
    """Check that a Slice stays inside; an empty one reads nothing."""
    where = f"slice leaves axis {axis}"
    if count == 0:
        # Seen of RTX: "starts operand cannot be negative", also of what reads nothing.
        case.later(case.major < 11 or isinstance(begin, Symbol) or begin >= 0, where)
        return
    if isinstance(count, Symbol):
        # An empty slice at run time may start anywhere: measure the last entry that is read.
        count = apply("maximum", count, 1)
        begin = apply("minimum", begin, apply("maximum", minus(length, 1), 0))
        length = apply("maximum", length, 1)
    last = plus(begin, times(minus(count, 1), step))
    case.size("at_least", begin, 0, where, late=True)
    case.size("less", begin, length, where, late=True)
    case.size("at_least", last, 0, where, late=True)
    case.size("less", last, length, where, late=True)


def cut(values: Any, axes: Any, start: Any, size: Any, stride: Any) -> Any:
    """Slice an array by start, size and stride."""
    for axis, begin, length, step in zip(axes, start, size, stride, strict=True):
        values = values.take([begin + index * step for index in range(length)], axis=axis)
    return values


def concatenation(case: Case) -> list[Facts]:
    inputs = [case.operand(index) for index in range(len(case.inputs))]
    case.at_once(bool(inputs), "nothing to join")
    first = inputs[0]
    case.require(first.rank >= 1, "scalars cannot be joined")
    axis = case.axis(case["axis"], first.rank, negative=case.major == 8)
    total = first.shape[axis]
    for other in inputs[1:]:
        case.same(first, other)
        case.require(first.rank == other.rank, f"ranks {first.rank} and {other.rank} differ")
        for place in range(first.rank):
            if place != axis:
                case.size("equal", first.shape[place], other.shape[place], f"axis {place} differs")
        total = plus(total, other.shape[axis])
    shape = list(first.shape)
    for place in range(first.rank):
        if place != axis:
            whole = [i.shape[place] for i in inputs if not isinstance(i.shape[place], Symbol)]
            shape[place] = whole[0] if whole else shape[place]
    shape[axis] = total
    values = None
    if known(*inputs):
        values = numpy.concatenate([item.values for item in inputs], axis=axis)
    return [Facts(first.dtype, tuple(shape), values)]


def constant_axes(case: Case, facts: Facts, rank: int) -> tuple[int, ...]:
    """Return the axes in a constant integer tensor."""
    case.types(facts, INTEGERS, "axes")
    case.require(facts.constant and facts.values is not None, "axes must be a build-time constant")
    case.require(facts.rank <= 1, "axes must have rank 1")
    axes = tuple(
        case.axis(int(axis), rank, negative=True) for axis in numpy.atleast_1d(facts.values)
    )
    case.require(len(set(axes)) == len(axes), f"axes {axes} repeat")
    return axes


def squeeze(case: Case) -> list[Facts]:
    x = movable(case)
    given = case.optional(1)
    if given is None:
        case.require(is_static(x.shape), "squeeze without axes needs a static shape")
        axes = tuple(axis for axis, size in enumerate(x.shape) if size == 1)
    else:
        axes = constant_axes(case, given, x.rank)
    for axis in axes:
        case.size("equal", x.shape[axis], 1, f"axis {axis} is not of length 1")
    shape = tuple(size for axis, size in enumerate(x.shape) if axis not in axes)
    return [Facts(x.dtype, shape, same_values(x, shape))]


def unsqueeze(case: Case) -> list[Facts]:
    x, given = movable(case), case.operand(1)
    case.require(given.rank == 1 and isinstance(given.shape[0], int), "axes must have rank 1")
    rank = x.rank + int(str(given.shape[0]))
    case.require(rank <= MOST_AXES, f"rank {rank} is above {MOST_AXES}")
    axes = constant_axes(case, given, rank)
    rest = iter(x.shape)
    shape = tuple(1 if axis in axes else next(rest) for axis in range(rank))
    return [Facts(x.dtype, shape, same_values(x, shape))]


def same_values(x: Facts, shape: tuple[Size, ...]) -> Any:
    """Return the values of a tensor in a new shape."""
    if x.values is None or not is_static(shape) or volume(static(shape)) != x.values.size:
        return None
    return x.values.reshape(static(shape))


def reverse_sequence(case: Case) -> list[Facts]:
    x, lengths = case.operand(0), case.operand(1)
    case.indices(lengths, "sequence lengths")
    case.require(x.rank >= 2 and lengths.rank == 1, "input of rank 2 and lengths of rank 1 needed")
    batch = case.axis(case["batch_axis"], x.rank, negative=True)
    sequence = case.axis(case["sequence_axis"], x.rank, negative=True)
    case.require(batch != sequence, "batch and sequence axis are equal")
    case.size("equal", x.shape[batch], lengths.shape[0], "batch and lengths")
    return [Facts(x.dtype, x.shape)]


def padding(case: Case) -> list[Facts]:
    x = movable(case)
    case.require(x.dtype in FLOATS | {"INT8"} or case.major < 11, f"padding of {x.dtype}")
    case.require(x.rank >= 4, f"rank {x.rank} is below 4")
    before, after = tuple(case["pre_padding_nd"]), tuple(case["post_padding_nd"])
    case.require(len(before) == len(after) == 2, "padding is for the last two dimensions")
    shape = list(x.shape)
    for offset in range(2):
        place = x.rank - 2 + offset
        shape[place] = plus(shape[place], before[offset] + after[offset])
        case.size("at_least", shape[place], 1, "padding leaves nothing")
    return [Facts(x.dtype, tuple(shape))]
