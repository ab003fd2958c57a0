"""Rules of the layers that contract, reduce, sort or normalize along axes."""

from __future__ import annotations

from typing import Any

from tests.double.facts import FLOATS, INTEGERS, Case, Facts, is_static
from tests.double.rules.movement import constant_axes
from tests.double.rules.pointwise import NUMBERS
from tests.double.sizes import Size, Symbol, apply, broadcast, plus, times, unknown

MOST_TOP = 3840


def operand(case: Case, index: int) -> tuple[Facts, tuple[Size, ...], Size | None, Size]:
    """Return facts, collection dims, free size (None for a vector) and shared size."""
    x = case.operand(index)
    operation = case[f"op{index}"].name
    case.types(x, FLOATS, late="INT8")
    if operation == "VECTOR":
        case.require(x.rank >= 1, "a vector needs rank 1")
        return x, x.shape[:-1], None, x.shape[-1]
    case.require(x.rank >= 2, f"a matrix needs rank 2, not {x.rank}")
    rows, columns = x.shape[-2:]
    if (operation == "TRANSPOSE") == (index == 0):
        return x, x.shape[:-2], columns, rows
    return x, x.shape[:-2], rows, columns


def matrix_multiply(case: Case) -> list[Facts]:
    a, left, rows, shared = operand(case, 0)
    b, right, columns, other = operand(case, 1)
    case.same(a, b)
    case.size("equal", shared, other, "inner sizes differ")
    case.require(len(left) == len(right), f"collections of rank {len(left)} and {len(right)}")
    shape = case.broadcast([left, right], "collections")
    return [Facts(a.dtype, (*shape, *(size for size in (rows, columns) if size is not None)))]


def einsum(case: Case) -> list[Facts]:
    equation = case["equation"].replace(" ", "")
    case.require("." not in equation, "no ellipsis")
    case.require(1 <= len(case.inputs) <= 2, "one or two inputs")
    left, arrow, right = equation.partition("->")
    labels = left.split(",")
    case.require(len(labels) == len(case.inputs), f"{equation} does not fit the inputs")
    first = case.operand(0)
    sizes: dict[str, Size] = {}
    for index, names in enumerate(labels):
        x = case.operand(index)
        case.types(x, FLOATS, late="INT8")
        case.same(first, x)
        case.require(len(names) == x.rank, f"{names} does not fit rank {x.rank}")
        case.require(len(set(names)) == len(names), f"diagonal {names} is not supported")
        case.require(names == "" or (names.isalpha() and names.islower()), f"labels {names}")
        for name, size in zip(names, x.shape, strict=True):
            case.size("broadcast", sizes.get(name, size), size, f"sizes of {name} differ")
            sizes[name] = broadcast(sizes.get(name, size), size)
    if not arrow:
        right = "".join(sorted(name for name in sizes if left.count(name) == 1))
    case.require(len(set(right)) == len(right), f"output label repeats in {right}")
    case.require(set(right) <= set(sizes), f"output label of {right} is not an input's")
    return [Facts(first.dtype, tuple(sizes[name] for name in right))]


def reduce(case: Case) -> list[Facts]:
    x = case.operand(0)
    operation = case["op"].name
    case.types(x, NUMBERS)
    case.require(operation != "NONE", "NONE is for several devices only")
    whole = "AVG of integers is not documented"
    case.require(operation != "AVG" or x.dtype in FLOATS or case.major > 10, whole)
    case.later(operation != "AVG" or x.dtype != "INT8", whole)
    axes = case.mask(case["axes"], x.rank)
    keep = case["keep_dims"]
    shape: list[Size] = []
    for axis, size in enumerate(x.shape):
        if axis not in axes:
            shape.append(size)
        elif keep:
            shape.append(1)
    return [Facts(x.dtype, tuple(shape), reduced(x.values, operation, axes, keep=keep))]


def reduced(values: Any, operation: str, axes: tuple[int, ...], *, keep: bool) -> Any:
    """Reduce the values of a shape tensor."""
    functions: dict[str, Any] = {
        "SUM": plus,
        "PROD": times,
        "MAX": lambda a, b: apply("maximum", a, b),
        "MIN": lambda a, b: apply("minimum", a, b),
    }
    if values is None or values.size == 0 or operation not in functions:
        return None
    current = values
    for axis in sorted(axes, reverse=True):
        parts = [current.take([i], axis=axis) for i in range(current.shape[axis])]
        total = parts[0]
        for other in parts[1:]:
            flat = [functions[operation](a, b) for a, b in zip(total.flat, other.flat, strict=True)]
            total = total.copy()
            total.flat[:] = flat
        current = total if keep else total.squeeze(axis)
    return current


def softmax(case: Case) -> list[Facts]:
    x = case.operand(0)
    case.types(x, FLOATS, late="INT8")
    # Seen on 8.6.0 and of RTX; the headers of later versions do not say.
    case.require(x.rank >= 2, "at least 2 dimensions are required for input")
    case.one_axis(case["axes"], x.rank)
    return [Facts(x.dtype, x.shape)]


def ragged_softmax(case: Case) -> list[Facts]:
    x, ends = case.operand(0), case.operand(1)
    case.types(x, FLOATS, late="INT8")
    case.types(ends, frozenset({"INT32"}), "bounds")
    case.require(x.rank == 3 and ends.rank == 3, "input and bounds must have rank 3")
    return [Facts(x.dtype, x.shape)]


def topk(case: Case) -> list[Facts]:
    x = case.operand(0)
    case.types(x, FLOATS if case.major == 8 else FLOATS | INTEGERS, late="INT8")
    case.require(x.rank >= 2, f"rank {x.rank} is below 2")
    axis = case.one_axis(case["axes"], x.rank)
    case.require(axis >= x.rank - 4, f"axis {axis} is not among the last four of {x.rank}")
    count: Size = case["k"]
    given = case.optional(1)
    if given is not None:
        case.types(given, frozenset({"INT32"}), "k")
        case.require(given.rank == 0, "k must be a scalar")
        count = given.values.item() if given.values is not None else unknown(f"{case.uid}.k")
    case.size("at_least", count, 1 if case.major < 11 else 0, "k must be positive")
    most = f"k must be at most {MOST_TOP}"
    if given is None:
        case.at_once(case["k"] <= MOST_TOP, most)
    case.size("at_least", MOST_TOP, count, most)
    late = given is not None
    case.size("at_least", x.shape[axis], count, "k is larger than the axis", late=late)
    shape = (*x.shape[:axis], count, *x.shape[axis + 1 :])
    return [Facts(x.dtype, shape), Facts(case["indices_type"].name, shape)]


def normalization(case: Case) -> list[Facts]:
    x, factor, bias = case.operand(0), case.operand(1), case.operand(2)
    case.types(x, FLOATS, late="INT8")
    case.require(x.rank >= (2 if case.major < 11 else 1), f"rank {x.rank} is below 2")
    case.same(x, factor, "input and scale")
    case.same(x, bias, "input and bias")
    axes = case.mask(case["axes"], x.rank)
    groups = case["num_groups"]
    expected = list(x.shape)
    if groups != 1:
        case.require(axes == tuple(range(2, x.rank)), "groups need all axes after the channel")
        channels = x.shape[1]
        if isinstance(channels, Symbol):
            case.fail("the number of channels must be static")
        case.require(groups > 0 and channels % groups == 0, f"{channels} channels, {groups} groups")
        per_group = [1, channels if case.attributes.get("is_v2") else groups]
        expected = [*per_group, *[1] * (x.rank - 2)]
    for what, facts in (("scale", factor), ("bias", bias)):
        case.later(facts.rank == x.rank, f"{what} has rank {facts.rank}, input {x.rank}")
        message = "must broadcast to the input" if groups == 1 else f"must have shape {expected}"
        for left, right in zip(expected, facts.shape, strict=False):
            if groups != 1 or right != 1:
                case.size("equal", left, right, f"{what} {message}", late=True)
    return [Facts(x.dtype, x.shape)]


def cumulative(case: Case) -> list[Facts]:
    x, axis = case.operand(0), case.operand(1)
    case.types(x, FLOATS | INTEGERS)
    case.require(axis.rank == 0, "the axis must be a scalar")
    constant_axes(case, axis, x.rank)
    return [Facts(x.dtype, x.shape)]


def attention(case: Case) -> list[Facts]:
    query, key, value = case.operand(0), case.operand(1), case.operand(2)
    case.types(query, FLOATS)
    case.same(query, key, "query and key")
    case.same(query, value, "query and value")
    case.require(query.rank == key.rank == value.rank == 4, "query, key, value must have rank 4")
    batch, heads, length, width = query.shape
    for left, right in zip(key.shape, value.shape, strict=True):
        case.size("equal", left, right, "key and value differ")
    case.size("equal", batch, key.shape[0], "batch of query and key", late=True)
    case.size("equal", width, key.shape[3], "width of query and key")
    case.size("multiple", heads, key.shape[1], "query heads must be a multiple of key heads")
    mask = case.optional(3)
    if mask is not None:
        if mask.dtype != "BOOL":
            case.types(mask, FLOATS, "mask")
            differ = f"query and mask differ in type: {query.dtype} and {mask.dtype}"
            case.later(query.dtype == mask.dtype, differ)
        case.require(mask.rank == 4, "the mask must have rank 4")
        for left, right in zip((batch, heads, length, key.shape[2]), mask.shape, strict=True):
            if right != 1:
                case.size("equal", left, right, "the mask must broadcast to the scores")
        both = case["causal"] and case.major < 11
        case.require(not both, "a mask and causal together are not supported")
    return [Facts(query.dtype, (*query.shape[:3], value.shape[3]))]


def rotary_embedding(case: Case) -> list[Facts]:
    x, cos, sin = case.operand(0), case.operand(1), case.operand(2)
    case.types(x, FLOATS)
    case.same(x, cos, "input and cosines")
    case.same(x, sin, "input and sines")
    case.require(x.rank == 4, f"input of rank {x.rank}, not 4")
    positions = case.optional(3)
    lead: tuple[Size, ...] = (x.shape[0], x.shape[2])
    if positions is not None:
        case.indices(positions, "positions")
        case.require(positions.rank == 2, "positions have rank 2")
        for left, right in zip(lead, positions.shape, strict=True):
            case.size("equal", left, right, "positions and input differ")
        lead = cos.shape[:1]
    width = case["rotary_embedding_dim"] or x.shape[3]
    case.require(isinstance(width, int) and width % 2 == 0, f"{width} entries are turned")
    for table in (cos, sin):
        case.require(table.rank == len(lead) + 1, f"a table has rank {table.rank}")
        for left, right in zip((*lead, width // 2), table.shape, strict=True):
            case.size("equal", left, right, "tables and input differ")
    return [Facts(x.dtype, x.shape)]


def assertion(case: Case) -> list[Facts]:
    condition = case.operand(0)
    case.types(condition, frozenset({"BOOL"}), "condition")
    static_false = condition.values is not None and is_static(tuple(condition.values.flat))
    if static_false and condition.constant:
        case.require(all(condition.values.flat), f"assertion failed: {case['message']}")
    return []
