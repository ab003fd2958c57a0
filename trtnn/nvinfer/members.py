"""The members of TensorRT's enumerations, by name, and what is read off arguments that name one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from trtnn.errors import OptionError, ShapeError
from trtnn.ops.op import TensorT, shape_of

MEMBERS: dict[str, tuple[str, ...]] = {
    "ActivationType": (
        *("RELU", "SIGMOID", "TANH", "LEAKY_RELU", "ELU", "SELU", "SOFTSIGN", "SOFTPLUS", "CLIP"),
        *("HARD_SIGMOID", "SCALED_TANH", "THRESHOLDED_RELU", "GELU_ERF", "GELU_TANH"),
    ),
    "UnaryOperation": (
        *("EXP", "LOG", "SQRT", "RECIP", "ABS", "NEG", "SIN", "COS", "TAN", "SINH", "COSH"),
        *("ASIN", "ACOS", "ATAN", "ASINH", "ACOSH", "ATANH", "CEIL", "FLOOR", "ERF", "NOT"),
        *("SIGN", "ROUND", "ISINF", "ISNAN"),
    ),
    "ElementWiseOperation": (
        *("SUM", "PROD", "MAX", "MIN", "SUB", "DIV", "POW", "FLOOR_DIV"),
        *("AND", "OR", "XOR", "EQUAL", "GREATER", "LESS"),
    ),
    "MatrixOperation": ("NONE", "TRANSPOSE", "VECTOR"),
    "ReduceOperation": ("SUM", "PROD", "MAX", "MIN", "AVG"),
    "TopKOperation": ("MAX", "MIN"),
    "GatherMode": ("DEFAULT", "ELEMENT", "ND"),
    "ScatterMode": ("ELEMENT", "ND"),
    "SampleMode": ("STRICT_BOUNDS", "WRAP", "CLAMP", "FILL", "REFLECT"),
    "PaddingMode": ("EXPLICIT_ROUND_DOWN", "EXPLICIT_ROUND_UP", "SAME_UPPER", "SAME_LOWER"),
    "PoolingType": ("MAX", "AVERAGE", "MAX_AVERAGE_BLEND"),
    "InterpolationMode": ("NEAREST", "LINEAR", "CUBIC"),
    "ResizeCoordinateTransformation": ("ALIGN_CORNERS", "ASYMMETRIC", "HALF_PIXEL"),
    "ResizeRoundMode": ("HALF_UP", "HALF_DOWN", "FLOOR", "CEIL"),
    "ResizeSelector": ("FORMULA", "UPPER"),
    "ScaleMode": ("UNIFORM", "CHANNEL", "ELEMENTWISE"),
    "FillOperation": ("LINSPACE", "RANDOM_UNIFORM", "RANDOM_NORMAL"),
    "CumulativeOperation": ("SUM",),
    "AttentionNormalizationOp": ("NONE", "SOFTMAX"),
    "CausalMaskKind": ("NONE", "UPPER_LEFT", "LOWER_RIGHT"),
    "BoundingBoxFormat": ("CORNER_PAIRS", "CENTER_SIZES"),
    "KVCacheMode": ("LINEAR",),
}
TYPES: dict[str, torch.dtype] = {
    "FLOAT": torch.float32,
    "HALF": torch.float16,
    "BF16": torch.bfloat16,
    "INT64": torch.int64,
    "INT32": torch.int32,
    "INT8": torch.int8,
    "UINT8": torch.uint8,
    "BOOL": torch.bool,
    "FP8": torch.float8_e4m3fn,
}


def member(function: str, argument: str, enumeration: str, given: Any) -> str:
    """Return the name of a member, given as one or as TensorRT's own member.

    Raises:
        OptionError: There is none; the message lists them.
    """
    name = name_of(given)
    if name not in MEMBERS[enumeration]:
        raise OptionError(
            f"{function}: expected {argument} to be a member of {enumeration}, got {given!r}",
            hint=f"use {', '.join(map(repr, MEMBERS[enumeration]))}",
        )
    return name


def name_of(given: Any) -> str:
    """Return the name that an argument is, or that a member of TensorRT's own has."""
    given = given if isinstance(given, (str, torch.Tensor)) else getattr(given, "name", given)
    return given if isinstance(given, str) else ""


def dtype_of(function: str, argument: str, given: Any) -> torch.dtype:
    """Return a dtype, given as torch's, by name or as TensorRT's own member.

    Raises:
        OptionError: trtnn has none.
    """
    if isinstance(given, torch.dtype):
        return given
    name = name_of(given)
    if name not in TYPES:
        raise OptionError(
            f"{function}: expected {argument} to be a member of DataType, got {given!r}",
            hint=f"use {', '.join(map(repr, TYPES))}, or a torch.dtype",
        )
    return TYPES[name]


def indices_of(function: str, given: Any) -> torch.dtype:
    """Return the dtype of indices.

    Raises:
        OptionError: It is neither INT32 nor INT64.
    """
    dtype = dtype_of(function, "indices_type", given)
    if dtype not in (torch.int32, torch.int64):
        raise OptionError(f"{function}: expected indices_type 'INT32' or 'INT64', got {given!r}")
    return dtype


def masked_axes(function: str, given: Any, rank: int) -> tuple[int, ...]:
    """Return axes in order, given as TensorRT's bit mask (an int) or as a sequence of axes.

    Raises:
        ShapeError: One is out of range, or none is there.
    """
    if isinstance(given, int) and not isinstance(given, bool):
        axes = [axis for axis in range(max(given.bit_length(), 0)) if given >> axis & 1]
        text = f"the bit mask {given:#b}"
        valid = given > 0 and given.bit_length() <= rank
    else:
        axes = sorted(axis + rank if axis < 0 else axis for axis in given)
        text = f"the axes {tuple(given)}"
        valid = bool(axes) and axes[0] >= 0 and axes[-1] < rank and len(set(axes)) == len(axes)
    if not valid:
        raise ShapeError(
            f"{function}: {text} do not fit a tensor of rank {rank}",
            hint="bit i of an int stands for axis i: 1 << 0 is the first; or give a tuple of axes",
        )
    return tuple(axes)


def one_axis(function: str, given: Any, rank: int) -> int:
    """Return the one axis that a bit mask or a sequence names."""
    axes = masked_axes(function, given, rank)
    if len(axes) > 1:
        raise ShapeError(f"{function}: expected one axis, got {axes}")
    return axes[0]


def require_rank(function: str, *operands: TensorT) -> int:
    """Return the rank of operands.

    Raises:
        ShapeError: They have several; TensorRT puts no dims in front.
    """
    ranks = [len(shape_of(x)) for x in operands]
    if len(set(ranks)) > 1:
        raise ShapeError(
            f"{function}: expected operands of one rank, got {ranks}",
            hint="put dims of size 1 in front: x[None]",
        )
    return ranks[0]


def listed(function: str, argument: str, given: Any, count: int, default: int) -> tuple[int, ...]:
    """Return one int for each of ``count`` dims.

    Raises:
        ShapeError: There are more or fewer.
    """
    if given is None:
        return (default,) * count
    values: Sequence[Any] = tuple(given) if isinstance(given, (tuple, list)) else ()
    if len(values) != count:
        raise ShapeError(f"{function}: expected {count} entries of {argument}, got {given!r}")
    return tuple(int(value) for value in values)
