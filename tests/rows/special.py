"""Rows of what is composed: special functions, signs and NaN, sums with a product."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from tests.rows import B, C, Row, S, T
from trtnn.errors import DTypeError, UnsupportedError

HALF, LONG, INT, BOOL = torch.float16, torch.int64, torch.int32, torch.bool
EDGES = torch.tensor([0.0, -0.0, 1.0, -2.0, float("inf"), -float("inf"), float("nan")])


def at_edges(function: Callable[..., Any], differs: str | None = None) -> Row:
    """Return a row of a function of two, at all pairs of 0, infinity, NaN and numbers."""

    def call(x: torch.Tensor) -> Any:
        edges = EDGES + x * 0
        return function(edges[:, None], edges)

    name = f"{getattr(function, '__name__', '')} at edges"
    return Row(call, T(1), name=name, differs=differs)


def asked(x: torch.Tensor) -> Any:
    edges = EDGES + x * 0
    facts = (torch.signbit(edges), torch.isposinf(edges), torch.isneginf(edges))
    more = (torch.isreal(edges), torch.angle(edges))
    return (*facts, *more, torch.nan_to_num(edges), edges.nan_to_num(1.0, 2.0, 3.0))


ONE = [torch.expm1, torch.erfc, torch.special.erfcx, torch.special.log_ndtr, torch.sinc]
TWO = [torch.atan2, torch.hypot, torch.logaddexp, torch.logaddexp2, torch.copysign]

ROWS: list[Row] = [
    *(Row(f, T(B, S, low=-3.0, high=3.0)) for f in ONE),
    *(Row(f, T(B, S), T(S)) for f in TWO),
    *map(at_edges, (torch.atan2, torch.logaddexp, torch.xlogy, torch.heaviside)),
    at_edges(torch.hypot, differs="of infinity and NaN it is NaN"),
    *map(at_edges, (torch.fmax, torch.fmin)),
    Row(asked, T(1), name="signs and infinities", differs="infinity is no infinity where asked"),
    Row(torch.special.ndtr, T(B, dtype=HALF)),
    Row(torch.erfinv, T(B, S, low=-0.99, high=0.99)),
    Row(torch.logit, T(B, S, low=0.1, high=0.9), eps=0.2),
    Row(torch.logit, T(B, dtype=HALF, low=0.1, high=0.9), name="logit half"),
    Row(torch.special.entr, T(B, low=0.0, high=2.0)),
    Row(
        torch.special.entr,
        T(B, low=-0.5, high=0.0),
        name="entr below 0",
        differs="an infinite constant that is selected is 1e38",
    ),
    Row(torch.special.xlog1py, T(B, S), 2),
    Row(torch.xlogy, T(B, dtype=INT, low=0, high=3), T(B, dtype=INT, low=1), name="xlogy of ints"),
    Row(torch.deg2rad, T(B, dtype=LONG)),
    Row(torch.rad2deg, T(B, dtype=HALF, low=-3.0, high=3.0)),
    Row(torch.isclose, T(B, S, dtype=INT, low=0, high=4), T(S, dtype=INT, low=0, high=4), rtol=0.4),
    Row(torch.isclose, T(B, S), T(S), rtol=0.5, atol=0.1, equal_nan=True),
    Row(torch.isclose, T(3), T(3, dtype=HALF), raises=DTypeError, name="isclose of two dtypes"),
    Row(torch.round, T(B, S, low=-9.0, high=9.0), decimals=1, name="round to tenths"),
    Row(torch.round, T(B, low=-900.0, high=900.0), decimals=-2, name="round to hundreds"),
    Row(torch.addcmul, T(B, S), T(S), T(B, 1), value=0.5),
    Row(torch.addcmul, T(B, dtype=INT), T(dtype=INT), T(B, dtype=INT), value=2, name="addcmul int"),
    Row(torch.addcdiv, T(B, S, dtype=HALF), T(S, dtype=HALF), T(S, dtype=HALF, low=1.0, high=2.0)),
    Row(torch.lerp, T(B, S), T(S), T(B, 1, low=0.0, high=1.0)),
    Row(torch.lerp, T(B, dtype=HALF), C(1, dtype=HALF), 0.75, name="lerp half"),
    Row(lambda x: (+x, x.conj(), x.resolve_neg(), x.real), T(B, 2), name="the same"),
    Row(torch.gcd, T(3, dtype=INT), T(3, dtype=INT), raises=UnsupportedError, name="gcd"),
    Row(torch.equal, T(3), T(3), raises=UnsupportedError, name="equal"),
]
