"""Rows of TensorRT's layers by name that look at one entry at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch

from tests.rows import B, C, Row, S, T
from trtnn import nvinfer
from trtnn.errors import DTypeError, OptionError, ShapeError
from trtnn.nvinfer.members import MEMBERS

HALF, INT, LONG, BOOL = torch.float16, torch.int32, torch.int64, torch.bool
Formula = Callable[..., torch.Tensor]

ACTIVATIONS: dict[str, tuple[tuple[float, ...], Formula]] = {
    "RELU": ((), lambda x: x * (x > 0)),
    "SIGMOID": ((), lambda x: 1 / (1 + torch.exp(-x))),
    "TANH": ((), torch.tanh),
    "SOFTSIGN": ((), lambda x: x / (1 + x.abs())),
    "GELU_ERF": ((), lambda x: x * 0.5 * (1 + torch.erf(x / 2**0.5))),
    "GELU_TANH": (
        (),
        lambda x: 0.5 * x * (1 + torch.tanh((2 / torch.pi) ** 0.5 * (0.044715 * x**3 + x))),
    ),
    "LEAKY_RELU": ((0.3,), lambda x, a: torch.where(x >= 0, x, a * x)),
    "ELU": ((1.5,), lambda x, a: torch.where(x >= 0, x, a * (torch.exp(x) - 1))),
    "THRESHOLDED_RELU": ((0.4,), lambda x, a: torch.where(x > a, x, 0.0)),
    "SELU": ((0.5, 2.0), lambda x, a, b: torch.where(x > 0, b * x, b * (a * torch.exp(x) - a))),
    "SOFTPLUS": ((2.0, 1.5), lambda x, a, b: a * torch.log(torch.exp(b * x) + 1)),
    "CLIP": ((-0.5, 0.7), lambda x, a, b: torch.minimum(x, x * 0 + b).maximum(x * 0 + a)),
    "HARD_SIGMOID": ((0.2, 0.4), lambda x, a, b: (a * x + b).clamp(0, 1)),
    "SCALED_TANH": ((1.7, 0.6), lambda x, a, b: a * torch.tanh(b * x)),
}
NAMES = {name: name.lower() for name in MEMBERS["UnaryOperation"]}
NAMES |= {"RECIP": "reciprocal", "NOT": "logical_not"}
WHOLE, ABOVE_ONE = ("ABS", "NEG", "SIGN"), ("ACOSH", "LOG", "SQRT")
PAIRS: dict[str, Formula] = {
    "SUM": lambda a, b: a + b,
    "PROD": lambda a, b: a * b,
    "MAX": lambda a, b: torch.where(a > b, a, b),
    "MIN": lambda a, b: torch.where(a < b, a, b),
    "SUB": lambda a, b: a - b,
    "DIV": lambda a, b: torch.div(a, b, rounding_mode="trunc"),
    "FLOOR_DIV": lambda a, b: a // b,
    "EQUAL": lambda a, b: a == b,
    "GREATER": lambda a, b: a > b,
    "LESS": lambda a, b: a < b,
}
LOGIC: dict[str, Formula] = {
    "AND": lambda a, b: a & b, "OR": lambda a, b: a | b, "XOR": lambda a, b: a ^ b,
}  # fmt: skip


def activated(x: torch.Tensor) -> list[torch.Tensor]:
    given = {k: dict(zip(("alpha", "beta"), n, strict=False)) for k, (n, _) in ACTIVATIONS.items()}
    return [nvinfer.activation(x, kind, **numbers) for kind, numbers in given.items()]


def ones(kinds: Iterable[str], x: Any, name: str) -> Row:
    """Apply several unary functions to one tensor."""
    return Row(
        lambda x: [nvinfer.unary(x, kind) for kind in kinds],
        x,
        oracle=lambda x: [getattr(torch, NAMES[kind])(x) for kind in kinds],
        name=name,
    )


def pairs(formulas: dict[str, Formula], a: Any, b: Any, name: str) -> Row:
    """Combine two tensors in several ways."""
    return Row(
        lambda a, b: [nvinfer.elementwise(a, b, kind) for kind in formulas],
        a,
        b,
        oracle=lambda a, b: [formula(a, b) for formula in formulas.values()],
        name=name,
    )


def scaled(
    x: torch.Tensor,
    mode: str,
    shift: Any = 0,
    scale: Any = 1,
    power: Any = 1,
    channel_axis: int = 1,
) -> torch.Tensor:
    def wide(given: Any) -> Any:
        if not isinstance(given, torch.Tensor) or mode == "UNIFORM":
            return given
        shape = (
            x.shape[channel_axis:]
            if mode == "ELEMENTWISE"
            else x.shape[channel_axis : channel_axis + 1]
        )
        rest = 0 if mode == "ELEMENTWISE" else x.dim() - channel_axis - 1
        return given.reshape(*shape, *(1,) * rest)

    return (x * wide(scale) + wide(shift)) ** wide(power)


def summed(x: torch.Tensor, window: int, alpha: float, beta: float, k: float) -> torch.Tensor:
    wide = torch.nn.functional.pad(x * x, (0, 0, 0, 0, window // 2, window // 2))
    total = sum(wide[:, i : i + x.shape[1]] for i in range(window))
    return x / (k + alpha / window * total) ** beta


ROWS: list[Row] = [
    Row(
        activated,
        T(B, 3),
        oracle=lambda x: [formula(x, *numbers) for numbers, formula in ACTIVATIONS.values()],
    ),
    Row(
        nvinfer.activation, T(S, dtype=INT), "RELU", oracle=lambda x, _: x.clamp(min=0), name="int"
    ),
    ones(sorted(set(NAMES) - {"NOT", *ABOVE_ONE}), T(B, 3, low=-0.9, high=0.9), "of floats"),
    ones(ABOVE_ONE, T(B, 3, low=1.0, high=3.0), "above 1"),
    ones(WHOLE, T(S, dtype=LONG), "of integers"),
    ones(("NOT",), T(B, 3, dtype=BOOL), "of bools"),
    pairs(PAIRS, T(B, 3, dtype=INT), T(1, 3, dtype=INT, low=1, high=4), "of integers"),
    pairs(LOGIC, T(B, 3, dtype=BOOL), T(1, 3, dtype=BOOL), "of bools"),
    pairs({"POW": lambda a, b: a**b}, T(B, 3, low=0.5, high=2.0), T(1, 1), "of floats"),
    Row(
        nvinfer.select,
        T(B, 1, dtype=BOOL),
        T(1, S, dtype=HALF),
        T(1, 1, dtype=HALF),
        oracle=torch.where,
    ),
    Row(nvinfer.cast, T(B, 3, low=-9.0, high=9.0), "INT32", oracle=lambda x, _: x.int()),
    Row(
        nvinfer.parametric_relu,
        T(B, 3, 2),
        C(1, 3, 1),
        oracle=lambda x, s: torch.where(x < 0, s * x, x),
    ),
    Row(
        nvinfer.scale_nd,
        T(B, 3, 2, S),
        "CHANNEL",
        C(3),
        C(3),
        channel_axis=1,
        oracle=scaled,
    ),
    Row(
        nvinfer.scale_nd,
        T(B, 2, 3, dtype=HALF),
        "ELEMENTWISE",
        scale=C(2, 3, dtype=HALF, low=0.1),
        power=C(6, dtype=HALF, low=1.0, high=1.0),
        oracle=lambda x, mode, scale, power: x * scale,
        name="ELEMENTWISE in half",
    ),
    Row(
        nvinfer.scale,
        T(B, 3, 2, low=0.1, high=1.0),
        "UNIFORM",
        C(1, low=0.1, high=1.0),
        power=C(1, low=1.5, high=2.0),
        oracle=scaled,
        name="UNIFORM with a power",
    ),
    Row(nvinfer.scale, T(B, 3, 2), "CHANNEL", T(3), T(3), oracle=scaled, name="computed"),
    Row(nvinfer.lrn, T(B, 5, 2, 3), 3, 0.5, 0.75, 2.0, oracle=summed),
    Row(nvinfer.elementwise, T(2, 3), T(3), "SUM", raises=ShapeError),
    Row(nvinfer.elementwise, T(3), T(3), "ADD", raises=OptionError),
    Row(nvinfer.unary, T(3, dtype=INT), "EXP", raises=DTypeError),
    Row(nvinfer.activation, T(3), "ELU", raises=OptionError),
    Row(nvinfer.activation, T(3), "CLIP", alpha=2.0, beta=1.0, raises=OptionError),
]
