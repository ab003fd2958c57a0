"""Inputs as a precision lets them be given: declared in one type, traced in another."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch

from trtnn.ops.arithmetic import HALVES
from trtnn.ops.op import Spec
from trtnn.precision.policy import Precision
from trtnn.tracing.forward import module_of
from trtnn.tracing.signature import Signature


def traced_as(signature: Signature, precision: Precision, module: Callable[..., Any]) -> Signature:
    """Return the signature that a module is traced with: float32 where 16 bits are given.

    A module that has 16 bits itself is given what it is declared with.
    """
    owner = module_of(module)
    parameters = owner.parameters() if owner is not None else ()
    if any(p.dtype in HALVES for p in parameters):
        return signature
    return _in(signature, precision, torch.float32)


def given_as(signature: Signature, precision: Precision) -> Signature:
    """Return the signature of calls: 16 bits where ``inputs="low"`` says so."""
    return _in(signature, precision, precision.low)


def _in(signature: Signature, precision: Precision, dtype: torch.dtype | None) -> Signature:
    if precision.inputs == "keep" or precision.low is None or dtype is None:
        return signature
    kinds = (torch.float32, precision.low)
    leaves = tuple(
        Spec(x.shape, dtype) if isinstance(x, Spec) and x.dtype in kinds else x
        for x in signature.leaves
    )
    return replace(signature, leaves=leaves)
