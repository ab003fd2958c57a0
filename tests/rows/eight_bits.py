"""Rows of integers of 8 bits: TensorRT has them at the border only, and PyTorch's wrap around."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F

from tests.rows import B, C, Row, S, Sample, T
from trtnn.sizes.dims import Dim

UINT8, INT8 = torch.uint8, torch.int8
W = Dim("width", 3, 5, 9)
BORDER = {"8.6": "takes int8 beside quantization only"}
BINARY: dict[str, Callable[..., Any]] = {
    "sum": torch.add, "difference": torch.sub, "product": torch.mul, "eq": torch.eq,
    "ne": torch.ne, "lt": torch.lt, "ge": torch.ge, "maximum": torch.maximum,
    "minimum": torch.minimum,
}  # fmt: skip
UNARY: dict[str, Callable[..., Any]] = {
    "plus 10": lambda x: x + 10,
    "minus 300": lambda x: x - 300,
    "of 20": lambda x: 20 - x,
    "times -1": lambda x: x * -1,
    "times 7, halved": lambda x: x * 7 // 2,
    "squared": lambda x: x**2,
    "negated": lambda x: -x,
    "abs": torch.abs,
    "sign": torch.sign,
    "above -1": lambda x: x > -1,
    "above 100": lambda x: x > 100,
    "equal to 300": lambda x: x == 300,
    "halved": lambda x: x // 2,
    "modulo 7": lambda x: x % 7,
    "over 7": lambda x: x / 7,
    "sum": lambda x: x.sum(1),
    "sum of its type": lambda x: x.sum(1, dtype=x.dtype),
    "max": lambda x: x.amax(1),
    "min": lambda x: x.amin((0, 1)),
    "cumsum": lambda x: x.cumsum(1),
    "cumsum of its type": lambda x: x.cumsum(1, dtype=x.dtype),
    "where": lambda x: torch.where(x > 9, x, 3) + 1,
    "masked_fill": lambda x: x.masked_fill(x > 9, -1),
    "gather": lambda x: x[:, torch.tensor([2, 0, -1])],
    "cat": lambda x: torch.cat([x, x + 9], 1).flip(1),
    "reshape": lambda x: x.t().reshape(-1)[1:],
    "padded": lambda x: F.pad(x, (1, 2), value=5) * 2,
    "clamped": lambda x: x.clamp(3, 100),
    "relu": torch.relu,
    "expand": lambda x: x[None].expand(3, -1, -1) + x,
    "in place": lambda x: (x + 1).mul_(5).add_(200),
    "scalar": lambda x: x[0, 0] + 77,
    "as uint8": lambda x: x.byte(),
    "as int8": lambda x: (x.char() + x.char()).int(),
    "as int32": lambda x: x.int() * 5,
    "as int64": lambda x: x.long() - 500,
    "as float32": lambda x: x.float() * 0.5,
    "as float16": lambda x: x.half() + 0.5,
    "as bool": lambda x: x.bool(),
    "with an int32": lambda x: x + torch.tensor([1000], dtype=torch.int32),
    "diff": torch.diff,
    "any": torch.any,
    "all": lambda x: (x > 9).all(1),
    "itself": lambda x: x,
    "itself twice": lambda x: (x, x.t().t(), x + 1),
}


def whole(*shape: Any, dtype: torch.dtype) -> Sample:
    """Return an input whose entries are all that the type can hold."""
    limits = torch.iinfo(dtype)
    return T(*shape, dtype=dtype, low=limits.min, high=limits.max + 1)


def causal(x: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Hide later keys by a buffer of uint8, as GPT-2 did."""
    length = x.shape[-1]
    kept = mask[:, length - 1 : length, :length].bool()
    return torch.softmax(torch.where(kept, x, torch.tensor(-1e4)), -1)


def image(x: torch.Tensor) -> torch.Tensor:
    """Bring pixels to channels first and to 0 to 1."""
    return x.permute(0, 3, 1, 2).float() / 255


def rows_of(dtype: torch.dtype, border: dict[str, str]) -> list[Row]:
    """Return the rows that both types have."""
    name, two = str(dtype).removeprefix("torch."), whole(B, W, dtype=dtype)
    found = [
        Row(function, two, name=f"{what} of {name}", unsupported=border)
        for what, function in UNARY.items()
    ]
    for what, function in BINARY.items():
        for other in (two, whole(B, 1, dtype=dtype), C(1, dtype=dtype, low=90, high=120)):
            found.append(Row(function, two, other, name=f"{what} of {name}", unsupported=border))
    return found


def counted(x: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    return torch.arange(x.shape[1], dtype=dtype) * 60 + torch.full((x.shape[1],), 200).to(dtype)


TO = torch.Tensor.to
GREATEST, LONG, SHORT, WIDE = 2**31, torch.int64, torch.int16, torch.float64
NO_SHORT = dict.fromkeys(("8.6", "10", "11", "rtx"), "has no int16")
RANKS = {"8.6": "ranks floats only"}
NO_PRODUCT = dict.fromkeys(NO_SHORT, "prod in torch.uint8: TensorRT multiplies in int32")

ROWS: list[Row] = [
    *rows_of(UINT8, {}),
    *rows_of(INT8, BORDER),
    Row(TO, T(B, S, low=0, high=255.9), UINT8, name="float32 to uint8"),
    Row(TO, T(B, S, low=-128.9, high=127.9), INT8, name="float32 to int8", unsupported=BORDER),
    Row(TO, T(B, S, dtype=torch.float16, low=0, high=255), UINT8, name="float16 to uint8"),
    Row(TO, T(64, dtype=torch.int32, low=-GREATEST, high=GREATEST), UINT8, name="int32 to uint8"),
    # Within int32, in which 8.6 takes them.
    Row(TO, T(64, dtype=LONG, low=-GREATEST, high=GREATEST), UINT8, name="int64 to uint8"),
    Row(lambda x: x.char().int(), T(64, dtype=torch.int32, low=-GREATEST, high=GREATEST)),
    Row(
        lambda x: x.char().int(),
        T(64, dtype=LONG, low=-GREATEST, high=GREATEST),
        name="int64, int8",
    ),
    Row(TO, T(B, dtype=torch.bool), UINT8, name="bool to uint8"),
    Row(lambda x: x.char().byte().long() - x.char(), whole(64, dtype=UINT8), name="to and from"),
    Row(lambda x: torch.topk(x, 3, 1)[0] + 1, whole(B, W, dtype=UINT8), unsupported=RANKS),
    Row(counted, whole(B, S, dtype=UINT8), UINT8, name="arange of uint8"),
    Row(lambda x: counted(x, INT8).int(), whole(B, S, dtype=UINT8), name="arange of int8"),
    Row(lambda x: (x.new_zeros(3) + 7, torch.ones_like(x) * 99 * 9), whole(B, S, dtype=UINT8)),
    Row(lambda x: x.char() // -1 + torch.zeros(1), whole(B, S, dtype=UINT8), name="-128 over -1"),
    Row(lambda x: (x.char() % -5).int(), whole(B, S, dtype=UINT8), name="modulo -5"),
    Row(torch.add, whole(B, S, dtype=UINT8), C(1, dtype=SHORT), unsupported=NO_SHORT),
    Row(torch.prod, whole(B, S, dtype=UINT8), 1, dtype=UINT8, unsupported=NO_PRODUCT),
    Row(image, whole(B, 4, S, 3, dtype=UINT8)),
    Row(causal, T(2, S, S), C(1, 9, 9, dtype=UINT8, low=0, high=2)),
    Row(torch.bitwise_and, *(whole(B, dtype=UINT8),) * 2),
    Row(lambda x: x << 1, whole(B, dtype=UINT8), name="shifted"),
    Row(lambda x, c: x + c, T(B, 3), C(3, dtype=SHORT), name="a buffer of int16"),
    Row(lambda x, c: x * c.float(), T(B, 3), C(3, dtype=WIDE), name="a buffer of float64"),
    Row(lambda x, c: x + c[: x.shape[0]].float(), T(B), C(4, dtype=WIDE), name="float64, cut"),
    Row(lambda x, c: x + c[: x.shape[0]], T(B), C(4, dtype=SHORT), name="int16, cut"),
    Row(lambda x, c: c[x].float(), T(B, dtype=LONG, low=0, high=4), C(4, dtype=WIDE)),
    Row(lambda c, x: c.to(x) + x, C(3, dtype=WIDE), T(B, 3), name="a buffer of float64 like x"),
]
