"""The one function of bools that is a layer of its own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from trtnn.errors import DTypeError
from trtnn.ops.op import Op, Spec

__all__ = ["Not"]


@dataclass(frozen=True, repr=False)
class Not(Op):
    """TensorRT's Unary layer on bools, NOT."""

    def infer(self, x: Spec) -> Spec:
        if x.dtype != torch.bool:
            raise DTypeError(f"not: expected torch.bool, got {x.dtype}")
        return x

    def reference(self, x: torch.Tensor) -> torch.Tensor:
        return torch.logical_not(x)

    def lower(self, net: Any, x: Any) -> Any:
        return net.unary(x, "NOT")
