"""Rows of variances, norms and sums whose steps leave 16 bits, and of reductions of no entries."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import wraps
from typing import Any

import torch
import torch.nn.functional as F

from tests.rows import B, C, Row, S, T
from trtnn.errors import DTypeError, ShapeError, UnsupportedError
from trtnn.sizes.dims import Dim

HALF, BOOL, INT, LONG, FLOAT = torch.float16, torch.bool, torch.int32, torch.int64, torch.float32
INF = float("inf")
N = Dim("entries", 0, 2, 4)


def large(*shape: Any, dtype: torch.dtype = HALF) -> Any:
    return T(*shape, dtype=dtype, low=-300.0, high=300.0)


def norm_of(order: Any) -> Callable[..., Any]:
    return lambda x: torch.linalg.vector_norm(x, order, -1)


def quiet(function: Callable[..., Any]) -> Callable[..., Any]:
    """Leave out PyTorch's remark on a variance of too few entries."""

    @wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            return function(*args, **kwargs)

    return call


VAR, STD = quiet(torch.var), quiet(torch.std)
SPREAD = [VAR, STD, torch.norm, torch.linalg.vector_norm]
EMPTY = [torch.sum, torch.prod, torch.any, torch.all]

ROWS: list[Row] = [
    *(Row(quiet(F.softmax), x, name="softmax without dim") for x in (T(B, 2, S), T(B, S))),
    Row(quiet(F.log_softmax), T(B, 2, 1, S), name="log_softmax without dim"),
    *(
        Row(f, large(B, 64, dtype=d), dim=-1, name=f.__name__)
        for d in (HALF, FLOAT)
        for f in SPREAD
    ),
    *(
        Row(f, T(B, 64, dtype=HALF, low=-2e4, high=2e4), name=f"{f.__name__} all")
        for f in SPREAD[1:]
    ),
    *(
        Row(f, T(B, 9, dtype=HALF, low=1e-5, high=9e-5), -1, name=f"small {f.__name__}")
        for f in SPREAD[:2]
    ),
    *(
        Row(f, large(B, 4), -1, correction=c, keepdim=True, name=f"{f.__name__} correction {c}")
        for f in SPREAD[:2]
        for c in (0, 2, 4, 5, 0.5)
    ),
    *(
        Row(f, T(dtype=d), 0, name=f"{f.__name__} of a scalar")
        for d in (HALF, FLOAT)
        for f in SPREAD[:2]
    ),
    *(
        Row(f, T(B, 1), -1, correction=c, name=f"of one entry, {c}")
        for f in SPREAD[:2]
        for c in (0, 1)
    ),
    Row(torch.var_mean, T(B, S, 3), (0, 2), keepdim=True, unbiased=False),
    Row(torch.std_mean, T(3, 4), name="std_mean of all"),
    Row(torch.cov, T(3, S + 1)),
    Row(torch.cov, T(B, 4), raises=ShapeError),
    Row(torch.cov, T(2, S + 1, dtype=HALF), aweights=T(S + 1, low=0.1), name="cov of halves"),
    Row(torch.cov, T(2, 3, dtype=LONG), correction=0, aweights=C(3, low=0.1), name="cov weighted"),
    Row(torch.corrcoef, T(B + 1, 5)),
    Row(torch.nanmean, T(B, S), 1),
    Row(lambda x: torch.where(x > 0, x, float("nan")).nansum(-1), T(B, S, dtype=HALF)),
    Row(torch.count_nonzero, T(B, S, dtype=LONG, low=0, high=2), (0, 1)),
    Row(torch.aminmax, T(B, S, dtype=LONG), dim=1, keepdim=True),
    Row(torch.logsumexp, T(B, S, 3, dtype=HALF, low=-99.0, high=99.0), (1, 2)),
    Row(torch.logsumexp, T(B, N, low=-99.0), 1, True, name="logsumexp of a Dim that may be 0"),
    Row(lambda x: x.var(0, unbiased=False), T(), name="biased var of a scalar"),
    Row(VAR, large(B, S), 1, name="var over a size, large"),
    Row(torch.var, T(2, dtype=INT), raises=DTypeError, name="var of ints"),
    *(
        Row(norm_of(order), large(B, 8, dtype=d), name=f"norm {order}")
        for d in (HALF, FLOAT)
        for order in (0, 1, 2, 3, INF, -INF)
    ),
    Row(torch.Tensor.norm, large(B, 3), name="Tensor.norm"),
    Row(torch.Tensor.norm, T(B, 3, 4), 1, (1, 2), True, name="Tensor.norm 1"),
    Row(torch.norm, T(2, 2), "nuc", raises=UnsupportedError, name="nuclear norm"),
    Row(torch.linalg.vector_norm, T(B, 3, dtype=HALF), dtype=FLOAT, name="norm in float"),
    *(Row(F.normalize, large(B, 5, dtype=d), name="normalize") for d in (HALF, FLOAT)),
    Row(F.normalize, T(B, 5, S), 1.0, 2, name="normalize by the sum"),
    Row(torch.mean, T(B, 64, dtype=HALF, low=4e4, high=6e4), -1, name="mean of large ones"),
    Row(torch.mean, T(B, 3, S, S, dtype=HALF, low=4e4, high=6e4), (2, 3), name="mean over H, W"),
    Row(torch.sum, T(B, 4096, dtype=HALF, low=0.0, high=1.0), -1, name="sum of many"),
    Row(torch.mean, T(B, 4096, dtype=HALF, low=0.0, high=1.0), -1, True, name="mean of many"),
    Row(torch.prod, T(B, 9, dtype=HALF, low=0.5, high=1.5), -1, name="prod of half"),
    *(
        Row(f, T(*shape, dtype=d), name=f"{f.__name__} of none")
        for f in EMPTY
        for d in (FLOAT, BOOL)
        for shape in ((0,), (2, 0))
    ),
    *(
        Row(f, T(B, 0, 3, dtype=d), 1, True, name=f"{f.__name__} along none")
        for f in EMPTY
        for d in (HALF, LONG)
    ),
    *(
        Row(f, T(2, 0), 0, name=f"{f.__name__} beside none")
        for f in (torch.amax, torch.amin, *EMPTY)
    ),
    *(Row(f, T(N, 3), 0, name=f"{f.__name__} of a Dim that may be 0") for f in EMPTY),
    *(
        Row(f, T(0, 3), 0, name=f"{f.__name__} of none")
        for f in (F.softmax, F.log_softmax, torch.mean, VAR, STD)
    ),
    Row(F.log_softmax, T(2, 0, 3, dtype=HALF), 1, name="log_softmax along none"),
    Row(F.log_softmax, T(N, 3), 0, name="log_softmax of a Dim that may be 0"),
    Row(F.log_softmax, T(N, 3), 1, name="log_softmax beside a Dim that may be 0"),
    *(
        Row(f, T(0, 3, dtype=d), 0, raises=ShapeError, name=f"{f.__name__} of none")
        for f in (torch.amax, torch.amin, torch.max, torch.min, torch.argmax, torch.argmin)
        for d in (FLOAT,) + (BOOL,) * (f in (torch.amax, torch.amin))
    ),
    *(
        Row(f, T(0, 3), raises=ShapeError, name=f"{f.__name__} of all of none")
        for f in (torch.amax, torch.max, torch.argmin)
    ),
    Row(torch.amax, T(N, 3), 0, raises=ShapeError, name="amax of a Dim that may be 0"),
]
