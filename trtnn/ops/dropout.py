"""What training alone does at random: nothing, in a model that is compiled."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F

from trtnn.errors import TraceError
from trtnn.ops.op import TensorT, torch_function
from trtnn.ops.pointwise import leaky_relu

__all__ = ["alpha_dropout", "dropout", "rrelu"]


@torch_function(F.dropout, torch.dropout, F.dropout1d, F.dropout2d, F.dropout3d)
def dropout(
    input: TensorT, p: float = 0.5, training: bool = True, inplace: bool = False
) -> TensorT:
    """Return ``input``; dropping entries depends on training and is refused."""
    if training and p > 0:
        raise _in_training(f"dropout with p={p}", input)
    return input


@torch_function(
    *(F.alpha_dropout, torch.alpha_dropout, F.feature_alpha_dropout, torch.feature_alpha_dropout),
    torch.feature_dropout,
)
def alpha_dropout(
    input: TensorT, p: float = 0.5, training: bool = False, inplace: bool = False
) -> TensorT:
    """Return ``input``; dropping entries depends on training and is refused."""
    return dropout(input, p, training)


@torch_function(F.rrelu)
def rrelu(
    input: TensorT, lower: float = 1.0 / 8, upper: float = 1.0 / 3, training: bool = False,
    inplace: bool = False,
) -> TensorT:  # fmt: skip
    """Scale negative entries by what lies between ``lower`` and ``upper``; in training, refuse."""
    if training and lower < upper:
        raise _in_training("rrelu", input)
    return leaky_relu(input, (lower + upper) / 2)


def _in_training(what: str, input: Any) -> TraceError:
    recorder = getattr(input, "_trtnn_recorder", None)
    path = recorder.scopes[-1][0] if recorder is not None else ""
    return TraceError(
        f"{what} in training mode, in {path or 'forward'}",
        hint="call .eval() on the module before compiling it",
    )
