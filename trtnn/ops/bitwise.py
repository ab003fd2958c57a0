"""Operators on bits, of which TensorRT has those of bools."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from trtnn.errors import UnsupportedError
from trtnn.ops.arithmetic import logical_and, logical_not, logical_or, logical_xor, tensor_of
from trtnn.ops.op import TensorT, spec_of, torch_function

__all__ = ["bitwise_not"]

T = torch.Tensor


def _bitwise(name: str, function: Callable[[Any, Any], TensorT]) -> Callable[[Any, Any], TensorT]:
    def bitwise(input: Any, other: Any) -> TensorT:
        if any(spec_of(tensor_of(t)).dtype != torch.bool for t in (input, other)):
            raise UnsupportedError(f"{name}: only bool tensors are taken")
        return function(input, other)

    return bitwise


torch_function(torch.bitwise_and, T.bitwise_and, T.__and__, T.__rand__)(
    _bitwise("bitwise_and", logical_and)
)
torch_function(torch.bitwise_or, T.bitwise_or, T.__or__, T.__ror__)(
    _bitwise("bitwise_or", logical_or)
)
torch_function(torch.bitwise_xor, T.bitwise_xor, T.__xor__, T.__rxor__)(
    _bitwise("bitwise_xor", logical_xor)
)


@torch_function(torch.bitwise_not, T.bitwise_not, T.__invert__)
def bitwise_not(input: TensorT) -> TensorT:
    """Negate a bool tensor."""
    if spec_of(input).dtype != torch.bool:
        raise UnsupportedError("bitwise_not: only bool tensors are taken")
    return logical_not(input)
