"""Rules of the layers that work entry by entry."""

from __future__ import annotations

import math
from typing import Any

import numpy

from tests.double.facts import FLOATS, INTEGERS, MOST_VALUES, Case, Facts, known
from tests.double.sizes import apply, minus, plus, times

QUANTIZED = FLOATS | {"INT8"}
NUMBERS = FLOATS | {"INT8", "INT32", "INT64"}
PARAMETERS = {
    "LEAKY_RELU": ("alpha",),
    "ELU": ("alpha",),
    "SELU": ("alpha", "beta"),
    "SOFTPLUS": ("alpha", "beta"),
    "CLIP": ("alpha", "beta"),
    "HARD_SIGMOID": ("alpha", "beta"),
    "SCALED_TANH": ("alpha", "beta"),
    "THRESHOLDED_RELU": ("alpha",),
}
# What 11 computes on values between Quantize and Dequantize.
EIGHT_BITS = frozenset("RELU LEAKY_RELU SOFTSIGN CLIP HARD_SIGMOID THRESHOLDED_RELU".split())
ARITHMETIC = {
    "SUM": plus,
    "SUB": minus,
    "PROD": times,
    "MAX": lambda a, b: apply("maximum", a, b),
    "MIN": lambda a, b: apply("minimum", a, b),
    "DIV": lambda a, b: apply("truncate_divide", a, b),
    "FLOOR_DIV": lambda a, b: apply("floor_divide", a, b),
    "POW": lambda a, b: apply("power", a, b),
    "EQUAL": lambda a, b: apply("equal", a, b),
    "GREATER": lambda a, b: apply("greater", a, b),
    "LESS": lambda a, b: apply("less", a, b),
    "AND": lambda a, b: apply("and", a, b),
    "OR": lambda a, b: apply("or", a, b),
    "XOR": lambda a, b: apply("xor", a, b),
}
SINGLE = {
    "ABS": lambda a: apply("absolute", a),
    "NEG": lambda a: times(a, -1),
    "SIGN": lambda a: apply("sign", a),
    "NOT": lambda a: apply("not", a),
}


def spread(function: Any, *operands: Any) -> Any:
    """Apply a function to broadcast values, or say None where they are not known or too many."""
    if any(values is None for values in operands):
        return None
    try:
        result = numpy.frompyfunc(function, len(operands), 1)(*operands)
    except (ArithmeticError, ValueError):
        return None
    array = numpy.asarray(result, dtype=object)
    return array if array.size <= MOST_VALUES else None


def activation(case: Case) -> list[Facts]:
    x = case.operand(0)
    name = case["type"].name
    case.require(x.rank >= 1 or case.major > 8, "the input must not be a scalar")
    allowed = QUANTIZED | INTEGERS if name == "RELU" and case.major > 8 else QUANTIZED
    if case.major > 10 and name not in EIGHT_BITS:
        allowed = FLOATS
    case.types(x, allowed, f"activation {name}: input", late="INT8")
    for parameter in ("alpha", "beta"):
        number = case[parameter]
        case.require(number is None or math.isfinite(number), f"{parameter} must be finite")
    return [Facts(x.dtype, x.shape)]


def unary(case: Case) -> list[Facts]:
    x = case.operand(0)
    name = case["op"].name
    case.require(x.rank >= 1 or case.major > 8, "unary layers take no scalar on 8.6")
    if name == "NOT":
        allowed = frozenset({"BOOL"})
    elif name == "SIGN":
        allowed = QUANTIZED | ({"INT32"} if case.major == 8 else INTEGERS)
    elif name == "ABS" and case.major > 8:
        allowed = QUANTIZED | INTEGERS
    elif name == "NEG" and case.major > 10:
        allowed = FLOATS | INTEGERS
    elif name in ("ISINF", "ISNAN") or case.major > 10:
        allowed = FLOATS
    else:
        allowed = QUANTIZED
    late = "" if name == "NOT" else "INT8"
    case.types(x, allowed, f"unary {name}: input", late=late)
    values = spread(SINGLE[name], x.values) if name in SINGLE else None
    return [Facts("BOOL" if name in ("ISINF", "ISNAN") else x.dtype, x.shape, values)]


def elementwise(case: Case) -> list[Facts]:
    a, b = case.operand(0), case.operand(1)
    name = case["op"].name
    if name in ("AND", "OR", "XOR"):
        allowed = frozenset({"BOOL"})
    elif name == "POW":
        allowed = QUANTIZED if case.major == 8 else FLOATS | INTEGERS
        allowed |= {"INT8"} if case.major < 11 else frozenset()
    else:
        allowed = NUMBERS | ({"BOOL"} if name == "EQUAL" and case.major > 10 else frozenset())
    late = "INT8" if name == "POW" else ""
    case.types(a, allowed, f"elementwise {name}: first input", late=late)
    case.types(b, allowed, f"elementwise {name}: second input", late=late)
    case.same(a, b)
    shape = case.broadcast([a.shape, b.shape], f"elementwise {name}")
    dtype = "BOOL" if name in ("EQUAL", "GREATER", "LESS") else a.dtype
    values = spread(ARITHMETIC[name], a.values, b.values) if known(a, b) else None
    return [Facts(dtype, shape, values)]


def select(case: Case) -> list[Facts]:
    condition, then, other = case.operand(0), case.operand(1), case.operand(2)
    case.types(condition, frozenset({"BOOL"}), "condition")
    # 8.6 documents INT32, HALF and FLOAT; later versions take BOOL as well.
    allowed = FLOATS | (INTEGERS if case.major == 8 else INTEGERS | {"BOOL"})
    allowed |= {"UINT8"} if case.major > 10 else frozenset()  # refused by its place
    case.types(then, allowed, "data", late="INT8")
    case.same(then, other)
    shape = case.broadcast([condition.shape, then.shape, other.shape], "select")
    values = None
    if known(condition, then, other):
        values = spread(
            lambda *items: apply("choose", *items), condition.values, then.values, other.values
        )
    return [Facts(then.dtype, shape, values)]


def parametric_relu(case: Case) -> list[Facts]:
    x, slopes = case.operand(0), case.operand(1)
    case.types(x, FLOATS, late="INT8")
    case.same(x, slopes, "input and slopes")
    case.require(x.rank == slopes.rank, f"ranks {x.rank} and {slopes.rank} differ")
    for left, right in zip(x.shape, slopes.shape, strict=True):
        if right != 1:
            case.size("equal", left, right, "slopes must broadcast to the input")
    return [Facts(x.dtype, x.shape)]


def cast(case: Case) -> list[Facts]:
    x = case.operand(0)
    to = case["to_type"].name
    plain = FLOATS | {"INT8", "INT32", "INT64", "BOOL", "UINT8"}
    case.types(x, plain)
    case.require(to in plain, f"cast to {to} is not supported")
    for one, other in ((x.dtype, to), (to, x.dtype)):
        if one == "UINT8" and case.major == 8:
            case.require(other in FLOATS | {"UINT8"}, f"UINT8 converts to floats only, not {other}")
    values = None
    if x.dtype in INTEGERS | {"BOOL"} and to in INTEGERS | {"BOOL"}:
        operation = "boolean" if to == "BOOL" else "integer"
        values = spread(lambda item: apply(operation, item), x.values)
    return [Facts(to, x.shape, values)]


def identity(case: Case) -> list[Facts]:
    x = case.operand(0)
    return [Facts(x.dtype, x.shape, x.values)]


def scale(case: Case) -> list[Facts]:
    x = case.operand(0)
    case.types(x, QUANTIZED if case.major < 11 else FLOATS, late="INT8")
    case.require(x.rank >= 3, f"rank {x.rank} is below 3")
    axis = case.axis(case["channel_axis"], x.rank)
    mode = case["mode"].name
    kinds = {
        case[what].dtype.name for what in ("shift", "scale", "power") if case[what] is not None
    }
    # Seen on 8.6.0: absent weights count too, and their type is FLOAT unless it is given.
    case.require(len(kinds) < 2, "scale.type == shift.type && shift.type == power.type")
    for what in ("shift", "scale", "power"):
        weights = case[what]
        if weights is None or weights.size == 0:
            continue
        expected: Any = 1
        if mode == "CHANNEL":
            expected = x.shape[axis]
        elif mode == "ELEMENTWISE":
            for size in x.shape[axis:]:
                expected = times(expected, size)
        case.require(isinstance(expected, int), f"{mode} sizes must be static")
        case.require(weights.size == expected, f"{what} has {weights.size} weights, not {expected}")
        held = Facts(weights.dtype.name, ())
        if case.major > 10:
            case.types(held, FLOATS, what)
        if x.dtype in FLOATS or case.major < 11:
            case.same(x, held, f"input and {what}")
    return [Facts(x.dtype, x.shape)]


def local_response(case: Case) -> list[Facts]:
    x = case.operand(0)
    case.types(x, FLOATS, late="INT8")
    case.require(x.rank >= 3, f"rank {x.rank} is below 3")
    window = case["window_size"]
    case.require(1 <= window <= 15 and window % 2 == 1, f"window {window} must be odd, 1 to 15")
    return [Facts(x.dtype, x.shape)]


def quantize(case: Case) -> list[Facts]:
    x = case.operand(0)
    case.types(x, FLOATS)
    quantization_scale(case, x, x)
    return [Facts(case["to_type"].name, x.shape, before=x.dtype)]


def dequantize(case: Case) -> list[Facts]:
    x = case.operand(0)
    case.types(x, frozenset({"INT8", "FP8", "INT4", "FP4"}), late="UINT8")
    to = case["to_type"].name
    if case.major == 8:  # which has no output type here: FLOAT and HALF are one before a build
        to = x.before or to
    case.require(to in FLOATS, f"output type {to} is not a float type")
    quantization_scale(case, x, Facts(to, x.shape))
    return [Facts(to, x.shape)]


def quantization_scale(case: Case, x: Facts, data: Facts) -> None:
    """Check the scale of Quantize and Dequantize."""
    factor = case.operand(1)
    case.require(x.rank >= 1, "the input must not be a scalar")
    case.types(factor, frozenset({"FLOAT"}) if case.major == 8 else FLOATS, "scale")
    if factor.dtype != "FLOAT":
        case.require(factor.dtype == data.dtype, f"scale is {factor.dtype}, data {data.dtype}")
    case.require(case.major > 8 or factor.constant, "scale must be a build-time constant on 8.6")
    if factor.rank == 1 and factor.shape != (1,):
        axis = case.axis(case["axis"], x.rank)
        case.size("equal", x.shape[axis], factor.shape[0], "scale and quantized axis")
        case.require(x.constant, "scales per channel are for weights only")
    elif factor.rank > 1:
        case.require(factor.rank == x.rank, "a block scale has the rank of the input")
