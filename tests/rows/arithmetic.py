"""Rows of binary arithmetic, comparisons, selection and casts."""

from __future__ import annotations

import math
import operator

import torch

from tests.rows import B, C, Row, S, T
from trtnn.errors import DTypeError, ShapeError, UnsupportedError

HALF, LONG, INT, BOOL, FLOAT = torch.float16, torch.int64, torch.int32, torch.bool, torch.float32
NAN = float("nan")

ARITHMETIC = [torch.add, torch.sub, torch.mul, torch.div, torch.maximum, torch.minimum]
COMPARISONS = [torch.eq, torch.ne, torch.lt, torch.le, torch.gt, torch.ge]
LOGIC = [torch.logical_and, torch.logical_or, torch.logical_xor]
BITWISE = [operator.and_, operator.or_, operator.xor]


def against_nan(function: object) -> Row:
    return Row(
        lambda x: function(x, torch.tensor([0.0, NAN])),  # type: ignore[operator]
        T(B, 1),
        name=f"{getattr(function, '__name__', '')} with NaN",
    )


ROWS: list[Row] = [
    Row(lambda x: x * (x.shape[1] / 2), T(B, S, dtype=HALF), name="times half a size"),
    Row(lambda x: x - x.shape[0] * 1.5 / 4, T(B, S), name="minus a fraction of a size"),
    *(Row(f, T(B, S), T(S)) for f in ARITHMETIC),
    *(
        Row(f, T(B, 1, dtype=HALF), T(1, S, dtype=HALF), name=f"half {f.__name__}")
        for f in ARITHMETIC
    ),
    *(
        Row(f, T(B, dtype=LONG), T(B, dtype=INT, low=1), name=f"mixed ints {f.__name__}")
        for f in ARITHMETIC
    ),
    *(Row(f, T(), T(), name=f"scalars {f.__name__}") for f in ARITHMETIC),
    *(Row(f, T(B, S, dtype=INT, low=0, high=3), 1) for f in COMPARISONS),
    *(
        Row(f, T(B, S, dtype=HALF), T(S, dtype=HALF), name=f"half {f.__name__}")
        for f in COMPARISONS
    ),
    *(Row(f, T(B, dtype=BOOL), T(B, dtype=BOOL), name=f"bool {f.__name__}") for f in COMPARISONS),
    *(against_nan(f) for f in COMPARISONS),
    *(Row(f, T(B, S, dtype=BOOL), T(S, dtype=BOOL)) for f in LOGIC),
    *(Row(f, T(B, dtype=INT, low=0, high=2), T(B), name=f"numbers {f.__name__}") for f in LOGIC),
    *(Row(f, T(B, S, dtype=BOOL), T(B, 1, dtype=BOOL)) for f in BITWISE),
    Row(operator.invert, T(B, dtype=BOOL)),
    Row(torch.logical_not, T(B, S)),
    Row(torch.add, T(B, S), T(B, S), alpha=2, name="add alpha"),
    Row(torch.sub, T(B, S), 3, alpha=0.5, name="sub alpha"),
    Row(torch.rsub, T(B, S), 1),
    Row(lambda x: 1 - x, T(B, S), name="rsub operator"),
    Row(lambda x: 2 / x, T(B, S, low=0.5, high=2.0), name="rtruediv"),
    Row(lambda x: 1 + 2 * x / 3 - 4, T(B, S, dtype=HALF), name="scalar operators"),
    Row(lambda x: x + 0.5, T(B, dtype=LONG), name="int64 plus float"),
    Row(lambda x, y: x + y, T(B, dtype=HALF), T(B), name="half plus float32"),
    Row(lambda x, y: x * y, T(B, dtype=HALF), T(), name="half times a scalar float32"),
    Row(lambda x, y: x * y, T(B, dtype=BOOL), T(B, dtype=INT), name="bool times int32"),
    Row(lambda x: x + x, T(B, dtype=BOOL), name="bool plus bool"),
    Row(lambda x: x / 2, T(B, dtype=INT), name="int32 true division"),
    Row(torch.add, C(3), T(B, 1), name="constant plus input"),
    Row(torch.mul, T(1, 2, 1, 2, 1, 2, 1, B), T(B), name="mul rank 8"),
    Row(torch.add, T(B, 3), T(B, 2), raises=ShapeError, name="add of sizes 3 and 2"),
    Row(torch.add, T(B), T(S), raises=ShapeError, name="add of two Dims"),
    Row(torch.div, T(B, dtype=INT), 2, rounding_mode="trunc", name="div trunc"),
    Row(torch.div, T(B, S), 0.3, rounding_mode="floor", name="div floor"),
    Row(torch.div, T(3), 2.0, rounding_mode="up", raises=UnsupportedError, name="div up"),
    Row(torch.floor_divide, T(B, dtype=LONG), 4),
    Row(lambda x: 7 // x, T(B, dtype=LONG, low=1, high=5), name="rfloordiv"),
    Row(torch.remainder, T(B, dtype=LONG), -3),
    Row(torch.remainder, T(B, S), 0.75, name="remainder of floats"),
    Row(lambda x: 7 % x, T(B, dtype=INT, low=1, high=5), name="rmod"),
    Row(lambda x: x * x.shape[0], T(B, S), name="times a size"),
    Row(lambda x: x.shape[1] - x, T(B, S, dtype=LONG), name="a size minus"),
    Row(lambda x: x / (2 * x.shape[1] + 1), T(B, S, dtype=HALF), name="over a size expression"),
    Row(lambda x: torch.where(x > 0, x, x.shape[0]), T(B, S), name="where with a size"),
    Row(torch.where, T(B, 1, dtype=BOOL), T(S), T(B, S)),
    Row(torch.where, T(B, dtype=BOOL), T(B, dtype=INT), T(B, dtype=HALF), name="where promotes"),
    Row(lambda x: torch.where(x > 0, 1.0, 0), T(B, S), name="where of numbers"),
    Row(torch.where, T(B, dtype=BOOL), T(B, dtype=BOOL), T(B, dtype=BOOL), name="where of bools"),
    Row(torch.where, T(dtype=BOOL), T(dtype=HALF), T(dtype=HALF), name="where of scalars"),
    Row(torch.where, T(2, dtype=INT), T(2), T(2), raises=DTypeError, name="where of an int mask"),
    Row(torch.masked_fill, T(B, S), T(S, dtype=BOOL), -1.5),
    Row(torch.Tensor.masked_fill, T(B, S, dtype=HALF), T(B, 1, dtype=BOOL), float("-inf")),
    Row(torch.Tensor.masked_fill, T(B, dtype=LONG), T(B, dtype=BOOL), C(dtype=LONG)),
    Row(torch.Tensor.to, T(B, S), HALF, name="to half"),
    Row(lambda x: x.to(x.device, FLOAT), T(B, dtype=HALF), name="to device and dtype"),
    Row(lambda x: x.to(x.device) + 1, T(B), name="to device"),
    Row(lambda x: x.to(device=x.device, dtype=BOOL), T(B, dtype=INT, high=2), name="to bool"),
    Row(lambda x: x.int(), T(B, low=-3.0, high=3.0), name="int truncates"),
    Row(lambda x: x.long().float(), T(B, low=-3.0, high=3.0), name="long, float"),
    Row(lambda x: x.half() * 2, T(), name="half of a scalar"),
    Row(lambda x, y: x.type_as(y), T(B, dtype=BOOL), T(1, dtype=HALF), name="type_as"),
    Row(lambda x: x.type(HALF), T(B, S), name="type"),
    Row(lambda x: x.to(torch.complex64), T(B), raises=UnsupportedError, name="complex"),
    Row(lambda x: torch.where(x.sum() > 0, *x.shape), T(B, S), name="where of two sizes"),
    Row(torch.bitwise_not, T(2, dtype=INT)),
    Row(torch.Tensor.to, T(B), T(1, dtype=HALF), name="to the type of another"),
    Row(lambda x: x.type("torch.FloatTensor"), T(2), name="type by name"),
    Row(lambda x: x + (x.shape[0] - x.shape[0] + 3), T(B), name="plus a size that is a number"),
    Row(
        lambda x: x + 2**40,
        T(B, dtype=LONG),
        unsupported={"8.6": "has no int64"},
        name="plus a number beyond int32",
    ),
    Row(
        lambda x: x * (x.shape[0] * 2**31),
        T(B, dtype=LONG),
        unsupported={"8.6": "beyond int32"},
        name="times a size beyond int32",
    ),
    Row(
        torch.add,
        T(B, dtype=torch.float64),
        1.0,
        unsupported=dict.fromkeys(("8.6", "10", "11", "rtx"), "has no float64"),
        name="float64",
    ),
    Row(
        lambda x: x.bfloat16() * 3,
        T(B),
        unsupported={"8.6": "no bfloat16"},
        name="to bfloat16",
    ),
    Row(
        lambda x, a, b: torch.where(x > 0, a, b),
        T(B, 2),
        C(2, dtype=torch.bfloat16),
        C(2, dtype=torch.bfloat16),
        unsupported={"8.6": "no bfloat16 constants"},
        name="where of bfloat16 constants",
    ),
]

FULL = T(B, S, dtype=torch.int32, low=-(2**31), high=2**31)
ROWS += [
    Row(torch.floor_divide, FULL, 7, name="floor_divide of all int32"),
    Row(torch.remainder, FULL, 1000, name="remainder of all int32"),
    Row(lambda x: (x // -3, x % 256), FULL, name="// of all int32"),
    Row(torch.floor_divide, FULL, T(B, S, dtype=torch.int32, low=1, high=9), name="by a tensor"),
    # TensorRT has no double: what PyTorch rounds once from it is computed in float32.
    Row(lambda x: x / (x.shape[1] - 1 + 1e-5), T(B, S), name="over a float of a size"),
    Row(lambda x: x * x.shape[1] ** 0.5, T(B, S), name="by the root of a size"),
    Row(lambda x: x / math.sqrt(x.shape[-1]), T(B, S), name="over math.sqrt of a size"),
    Row(lambda x: x * (math.log(x.shape[-1] + 1) / math.log(512)), T(B, S), name="by a logarithm"),
    Row(lambda x: x + math.exp(-x.shape[-1] / 3) - 2**-0.5, T(B, S), name="and an exponential"),
    Row(
        lambda x: x @ x.mT * (x.shape[-1] / 4) ** -0.5,
        T(B, 2, S),
        name="scaled by the root of a size",
    ),
]
