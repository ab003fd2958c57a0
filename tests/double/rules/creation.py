"""Rules of the layers that make tensors: constants, shapes, fills."""

from __future__ import annotations

from typing import Any

from tests.double.facts import (
    FLOATS,
    INTEGERS,
    MOST_AXES,
    MOST_VALUES,
    Case,
    Facts,
    objects,
    volume,
)
from tests.double.sizes import Size, plus, times
from tests.double.weights import small_values

MOST_ELEMENTS = 1 << 31


def constant(case: Case) -> list[Facts]:
    weights, shape = case["weights"], tuple(case["shape"])
    case.require(len(shape) <= MOST_AXES, f"rank {len(shape)} is above {MOST_AXES}")
    case.at_once(all(size > 0 for size in shape), f"constant of shape {shape} holds nothing")
    count = volume(shape)
    case.require(count == weights.size, f"shape {shape} needs {count} weights, not {weights.size}")
    case.require(case.major > 8 or count < MOST_ELEMENTS, "2^31 elements or more")
    dtype = weights.dtype.name
    allowed = FLOATS | INTEGERS | {"INT8", "BOOL", "FP8", "INT4", "FP4"}
    case.require(dtype in allowed, f"constant of type {dtype} is not supported")
    values = small_values(weights)
    array = None if values is None else objects(values, shape)
    return [Facts(dtype, shape, array, constant=True)]


def shape_of(case: Case) -> list[Facts]:
    x = case.operand(0)
    case.require(x.rank >= 1 or case.major > 8, "the shape of a scalar is empty")
    dtype = "INT32" if case.major == 8 else "INT64"
    return [Facts(dtype, (x.rank,), objects(list(x.shape), (x.rank,)))]


def fill(case: Case) -> list[Facts]:
    given = case.optional(0)
    if given is not None:
        shape = case.numbers(given, "dimensions")
    else:
        case.require(all(size >= 0 for size in case["shape"]), "negative dimension")
        shape = list(case["shape"])
    case.require(len(shape) <= MOST_AXES, f"rank {len(shape)} is above {MOST_AXES}")
    alpha, beta = case.optional(1), case.optional(2)
    case.require((alpha is None) == (beta is None), "alpha and beta: both as tensors, or none")
    random = case["operation"].name != "LINSPACE"
    dtype = fill_type(case, alpha, beta)
    allowed = {"FLOAT", "HALF"} if random else {"FLOAT", "INT32", "INT64"}
    case.require(dtype in allowed, f"type {dtype}")
    if not random:
        if beta is None:
            case.require(len(shape) == 1, "LINSPACE with static alpha and beta is 1-D")
        else:
            case.require(beta.shape == (len(shape),), f"beta must have {len(shape)} entries")
    return [Facts(dtype, tuple(shape), ramp(case, shape, alpha, beta, dtype))]


def fill_type(case: Case, alpha: Facts | None, beta: Facts | None) -> str:
    """Return the output type: declared, else that of alpha."""
    declared = case.attributes.get("to_type")
    dtype = declared.name if declared is not None else "FLOAT"
    if alpha is not None and beta is not None:
        case.same(alpha, beta, "alpha and beta")
        case.require(alpha.rank == 0, "alpha must be a scalar")
        if declared is not None:
            case.require(alpha.dtype == dtype, f"alpha is {alpha.dtype}, the output {dtype}")
        return alpha.dtype
    for what in ("alpha", "beta"):
        number = case[what]
        if declared is not None and number is not None:
            whole = isinstance(number, int)
            case.require(whole == (dtype in INTEGERS), f"{what} {number!r} for a {dtype} fill")
    return dtype


def ramp(case: Case, shape: list[Size], alpha: Facts | None, beta: Facts | None, dtype: str) -> Any:
    """Return the values of an integer LINSPACE of one static dimension."""
    if len(shape) != 1 or not isinstance(shape[0], int) or shape[0] > MOST_VALUES:
        return None
    if dtype not in INTEGERS or case["operation"].name != "LINSPACE":
        return None
    if alpha is None or beta is None:
        start, step = case["alpha"], case["beta"]
    elif alpha.values is None or beta.values is None:
        return None
    else:
        start, step = alpha.values.item(), beta.values.flat[0]
    if start is None or step is None:
        return None
    return objects([plus(start, times(step, index)) for index in range(shape[0])], (shape[0],))
