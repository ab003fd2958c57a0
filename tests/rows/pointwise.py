"""Rows of activations and unary functions."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from tests.rows import B, C, Row, S, T
from trtnn.errors import DTypeError, UnsupportedError

HALF, LONG, INT = torch.float16, torch.int64, torch.int32
BF16 = torch.bfloat16
NO_DOUBLE = dict.fromkeys(("8.6", "10", "11", "rtx"), "has no float64")
INF, NAN = float("inf"), float("nan")


def special(x: torch.Tensor) -> torch.Tensor:
    """Put infinities and NaN beside the entries of ``x`` (B, 1)."""
    return x * torch.tensor([1.0, INF, -INF, NAN])


ACTIVATIONS = [
    *(F.relu, F.relu6, F.leaky_relu, F.elu, F.selu, F.celu, torch.sigmoid, torch.tanh, F.softplus),
    *(F.softsign, F.silu, F.hardswish, F.hardsigmoid, F.hardtanh, F.gelu, F.logsigmoid, F.mish),
    F.tanhshrink,
]
ANYWHERE = [
    *(torch.exp, torch.abs, torch.neg, torch.sin, torch.cos, torch.sinh, torch.cosh, torch.asinh),
    *(torch.atan, torch.erf, torch.floor, torch.ceil, torch.round, torch.sign, torch.square),
    *(torch.trunc, torch.exp2, torch.isnan, torch.isinf, torch.isfinite),
]
POSITIVE = [torch.log, torch.log2, torch.log10, torch.sqrt, torch.rsqrt, torch.reciprocal]
WITHIN_ONE = [torch.asin, torch.acos, torch.atanh, torch.tan]

ROWS: list[Row] = [
    *(Row(f, T(B, 3, low=-8.0, high=8.0)) for f in ACTIVATIONS),
    *(Row(f, T(2, 3, dtype=HALF), name=f"half {f.__name__}") for f in ACTIVATIONS),
    *(Row(f, T(), name=f"scalar {f.__name__}") for f in (F.relu, F.gelu, F.elu, torch.sigmoid)),
    *(Row(f, T(B, S, low=-3.0, high=3.0)) for f in ANYWHERE),
    *(Row(f, T(B, S, low=0.1, high=3.0)) for f in POSITIVE),
    *(Row(f, T(B, S, low=-0.9, high=0.9)) for f in WITHIN_ONE),
    Row(torch.acosh, T(B, S, low=1.1, high=3.0)),
    Row(torch.exp, T(dtype=HALF), name="exp of a scalar"),
    Row(torch.sqrt, T(1, 2, 1, 2, 1, 2, 1, B, low=0.1, high=2.0), name="sqrt rank 8"),
    Row(torch.round, C(4), name="round of a constant"),
    Row(lambda x: torch.round(x * 0 + torch.tensor([0.5, 1.5, 2.5])), T(B, 1), name="half even"),
    Row(torch.log, T(B, dtype=LONG, low=1, high=9), name="log of int64"),
    Row(torch.abs, T(B, S, dtype=INT), name="abs of int32"),
    Row(torch.neg, T(B, S, dtype=LONG), name="neg of int64"),
    Row(torch.sign, T(B, S, dtype=LONG), name="sign of int64"),
    Row(torch.isinf, T(B, dtype=INT), name="isinf of int32"),
    Row(torch.floor, T(B, dtype=INT), name="floor of int32"),
    Row(lambda x: torch.isinf(special(x)), T(B, 1, low=0.5), name="isinf special"),
    Row(lambda x: torch.isnan(special(x)), T(B, 1, low=0.5), name="isnan special"),
    Row(lambda x: torch.isfinite(special(x)), T(B, 1, low=0.5), name="isfinite special"),
    Row(lambda x: -x.abs().exp(), T(B, S), name="operators"),
    Row(F.gelu, T(B, S, 4), approximate="tanh", name="gelu tanh"),
    Row(F.gelu, T(2, 3, dtype=HALF), approximate="tanh", name="gelu tanh half"),
    Row(F.gelu, T(2, dtype=INT), raises=DTypeError, name="gelu int32"),
    Row(F.leaky_relu, T(B, S), 0.2, name="leaky_relu 0.2"),
    Row(F.elu, T(B, S), 0.5, name="elu 0.5"),
    Row(F.celu, T(B, S), 2.0, name="celu 2"),
    Row(F.softplus, T(B, S), 2.0, name="softplus beta"),
    Row(F.softplus, T(B, S, dtype=HALF, low=-9.0, high=9.0), 2.0, 5.0, name="softplus threshold"),
    Row(F.hardtanh, T(B, S), -0.5, 2.0, name="hardtanh bounds"),
    Row(F.relu, T(B, S, dtype=LONG), name="relu int64"),
    Row(lambda x: F.relu(x, inplace=True) + x, T(B, 2), name="relu inplace"),
    Row(torch.sigmoid, T(B, dtype=INT), name="sigmoid int32"),
    Row(torch.clamp, T(B, S), -0.5, 0.5),
    Row(torch.clamp, T(B, S, dtype=HALF), min=0.0, name="clamp min"),
    Row(torch.Tensor.clamp, T(B, S), max=0.0, name="clamp max"),
    Row(torch.clamp_min, T(B, S), 0.25),
    Row(torch.clamp_max, T(B, S), 0.25),
    Row(torch.clamp, T(B, S), 1.0, -1.0, name="clamp crossed"),
    Row(torch.clamp, T(B, S), -INF, 0.5, name="clamp infinite"),
    Row(torch.clamp, T(B, S, dtype=LONG), -2, 3, name="clamp int64"),
    Row(torch.clamp, T(B, S, dtype=LONG), 0.5, name="clamp int64 by a float"),
    Row(torch.clamp, T(B, S), T(S), T(B, 1), name="clamp by tensors"),
    Row(lambda x: x.clamp(max=x.shape[0]), T(B, S), name="clamp by a size"),
    Row(lambda x: x**2, T(B, S), name="pow 2"),
    Row(lambda x: x**2, T(B, dtype=LONG), name="pow 2 of int64"),
    Row(lambda x: x**3, T(B, S, dtype=HALF), name="pow 3"),
    Row(lambda x: x**0.5, T(B, S, low=0.1, high=2.0), name="pow 0.5"),
    Row(lambda x: x**-0.5, T(B, S, low=0.1, high=2.0), name="pow -0.5"),
    Row(lambda x: x**-1, T(B, S, low=0.5, high=2.0), name="pow -1"),
    Row(lambda x: 2**x, T(B, S), name="rpow"),
    Row(torch.pow, T(B, S, low=0.1, high=2.0), T(S)),
    Row(torch.pow, T(B, dtype=INT, low=-3, high=4), T(S, 1, dtype=INT), name="int powers"),
    Row(torch.pow, T(2, dtype=torch.bool), T(2, dtype=torch.bool), raises=UnsupportedError),
    Row(torch.ldexp, T(B, S, dtype=HALF), T(S, dtype=INT)),
    Row(lambda x: torch.float_power(x, 2).float(), T(2), unsupported=NO_DOUBLE, name="in float64"),
    Row(torch.sign, T(B, dtype=torch.bool), name="sign of bool"),
    Row(torch.trunc, T(B, dtype=INT), name="trunc of int32"),
    Row(torch.clamp, T(2), raises=UnsupportedError, name="clamp by nothing"),
    Row(F.gelu, T(2), approximate="erf", raises=UnsupportedError, name="gelu erf"),
    Row(F.relu, T(B, 2, dtype=BF16), unsupported={"8.6": "no bfloat16"}, name="relu bfloat16"),
    Row(F.gelu, T(B, 2, dtype=BF16), unsupported={"8.6": "no bfloat16"}, name="gelu bfloat16"),
]
