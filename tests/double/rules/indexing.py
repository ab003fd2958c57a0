"""Rules of the layers that read or write at indices."""

from __future__ import annotations

import numpy

from tests.double.facts import FLOATS, INTEGERS, MOST_AXES, Case, Facts, known
from tests.double.rules.movement import moved
from tests.double.sizes import Size, Symbol, unknown


def gather(case: Case) -> list[Facts]:
    data, indices = case.operand(0), case.operand(1)
    case.indices(indices, "indices")
    mode, shared = case["mode"].name, case["num_elementwise_dims"]
    if mode == "ND":
        return [Facts(data.dtype, gather_nd(case, data, indices, shared))]
    case.require(data.rank >= 1, "the data must not be a scalar")
    axis = case.axis(case["axis"], data.rank, negative=case.major == 8)
    if mode == "ELEMENT":
        case.require(data.rank == indices.rank, f"ranks {data.rank} and {indices.rank} differ")
        for other in range(data.rank):
            if other != axis:
                case.size("equal", data.shape[other], indices.shape[other], f"axis {other} differs")
        return [Facts(data.dtype, indices.shape)]
    case.require(shared in (0, 1), f"num_elementwise_dims is {shared}, not 0 or 1")
    case.require(axis >= shared, "the axis must come after the elementwise dimensions")
    head = data.shape[:axis]
    if shared:
        case.require(indices.rank >= 1, "indices must not be a scalar")
        common = case.broadcast([data.shape[:1], indices.shape[:1]], "elementwise dimension")
        head = (*common, *data.shape[1:axis])
    shape = (*head, *indices.shape[shared:], *data.shape[axis + 1 :])
    case.require(len(shape) <= MOST_AXES, f"rank {len(shape)} is above {MOST_AXES}")
    values = None
    if known(data, indices) and not any(isinstance(i, Symbol) for i in indices.values.flat):
        places = numpy.asarray(indices.values, dtype=numpy.int64)
        values = moved(case, lambda: numpy.asarray(data.values.take(places, axis), dtype=object))
    return [Facts(data.dtype, shape, values)]


def gather_nd(case: Case, data: Facts, indices: Facts, shared: int) -> tuple[Size, ...]:
    """Return the shape of ONNX GatherND with ``shared`` batch dimensions."""
    case.require(data.rank >= 1 and indices.rank >= 1, "data and indices must not be scalars")
    case.require(0 <= shared < min(data.rank, indices.rank), f"num_elementwise_dims is {shared}")
    depth = indices.shape[-1]
    if isinstance(depth, Symbol):
        case.fail("the last size of the indices must be static")
    case.require(1 <= depth <= data.rank - shared, f"index depth {depth} does not fit the data")
    for axis in range(shared):
        case.size("equal", data.shape[axis], indices.shape[axis], f"batch axis {axis} differs")
    return (*indices.shape[:-1], *data.shape[shared + depth :])


def scatter(case: Case) -> list[Facts]:
    data, indices, updates = case.operand(0), case.operand(1), case.operand(2)
    case.indices(indices, "indices")
    case.same(data, updates, "data and updates")
    case.require(data.dtype != "BOOL" or case.major > 10, "bool data is not supported")
    case.require(data.rank >= 1, "the data must not be a scalar")
    if case["mode"].name == "ELEMENT":
        axis = case.axis(case["axis"], data.rank, negative=True)
        case.require(data.rank == indices.rank == updates.rank, "ranks differ")
        for other in range(data.rank):
            case.size("equal", indices.shape[other], updates.shape[other], "updates and indices")
            if other != axis:
                case.size("at_least", data.shape[other], indices.shape[other], "indices and data")
    else:
        expected = gather_nd(case, data, indices, 0)
        case.require(updates.rank == len(expected), f"updates need rank {len(expected)}")
        for left, right in zip(updates.shape, expected, strict=True):
            case.size("equal", left, right, "updates do not fit")
    return [Facts(data.dtype, data.shape)]


def non_zero(case: Case) -> list[Facts]:
    x = case.operand(0)
    case.require(x.rank >= 1, "the input must not be a scalar")
    plain = FLOATS | INTEGERS | {"BOOL"}
    case.require(x.dtype in plain or case.major < 11, f"input of type {x.dtype} is not supported")
    return [Facts(case["indices_type"].name, (x.rank, unknown(f"{case.uid}.count")))]


def nms(case: Case) -> list[Facts]:
    boxes, scores, most = case.operand(0), case.operand(1), case.operand(2)
    case.types(boxes, frozenset({"FLOAT", "HALF"}), "boxes")
    case.same(boxes, scores, "boxes and scores")
    case.require(scores.rank == 3, f"scores have rank {scores.rank}, not 3")
    case.require(boxes.rank in (3, 4), f"boxes have rank {boxes.rank}, neither 3 nor 4")
    for left, right in zip(boxes.shape[:-1], scores.shape, strict=False):
        case.size("equal", left, right, "boxes and scores differ")
    case.size("equal", boxes.shape[-1], 4, "a box has 4 numbers")
    numbers = (
        (most, "INT32", "number of boxes"),
        *((case.optional(i), "FLOAT", "threshold") for i in (3, 4)),
    )
    for given, dtype, what in numbers:
        if given is not None:
            case.types(given, frozenset({dtype}), what)
            case.require(given.rank == 0, f"the {what} must be a scalar")
    limit = case["topk_box_limit"]
    case.require(0 < limit <= 5000, f"topk_box_limit is {limit}, not 1 to 5000")
    rows = (unknown(f"{case.uid}.count"), 3)
    return [Facts(case["indices_type"].name, rows), Facts("INT32", ())]


def one_hot(case: Case) -> list[Facts]:
    indices, values, depth = case.operand(0), case.operand(1), case.operand(2)
    case.types(indices, frozenset({"INT32"}), "indices")
    case.require(values.rank == 1 and values.shape == (2,), "values must be [off, on]")
    case.indices(depth, "depth")
    case.require(depth.rank == 0 and depth.constant, "depth must be a constant scalar")
    case.require(depth.values is not None, "depth must be a constant scalar")
    count = depth.values.item()
    case.require(count > 0, "depth must be positive")
    axis = case.axis(case["axis"], indices.rank + 1, negative=True)
    return [Facts(values.dtype, (*indices.shape[:axis], count, *indices.shape[axis:]))]
