"""Sums of a tensor and a product or quotient of two others, and what lies between two."""

from __future__ import annotations

from typing import Any

import torch

from trtnn.errors import DTypeError
from trtnn.ops.arithmetic import HALVES, add, cast, lt, mul, result_type, sub, tensor_of, where
from trtnn.ops.division import div
from trtnn.ops.op import TensorT, require_float, require_same_dtype, spec_of, torch_function

__all__ = ["addcdiv", "addcmul", "lerp"]

T = torch.Tensor


@torch_function(torch.addcmul, T.addcmul)
def addcmul(input: TensorT, tensor1: TensorT, tensor2: TensorT, *, value: Any = 1) -> TensorT:
    """Add ``value * tensor1 * tensor2``; 16 bits are computed in float32 and rounded once."""
    dtype, (x, a, b) = _opened("addcmul", value, input, tensor1, tensor2)
    return cast(add(x, mul(a if _is_one(value) else mul(a, value), b)), dtype)


@torch_function(torch.addcdiv, T.addcdiv)
def addcdiv(input: TensorT, tensor1: TensorT, tensor2: TensorT, *, value: Any = 1) -> TensorT:
    """Add ``value * tensor1 / tensor2``; 16 bits are computed in float32 and rounded once."""
    dtype, (x, a, b) = _opened("addcdiv", value, input, tensor1, tensor2)
    if not any(spec_of(t).dtype.is_floating_point for t in (tensor1, tensor2)):
        raise DTypeError(
            "addcdiv: two tensors of integers are not divided", hint="convert with .float() before"
        )
    return cast(add(x, div(a if _is_one(value) else mul(a, value), b)), dtype)


def _is_one(value: Any) -> bool:
    return isinstance(value, (int, float)) and value == 1


def _opened(function: str, value: Any, *tensors: TensorT) -> tuple[torch.dtype, list[TensorT]]:
    """Return the result's dtype, and operands in the dtype that PyTorch computes in."""
    with torch._C.DisableTorchFunction():
        dtype = result_type(*tensors)
    if isinstance(value, float) and not dtype.is_floating_point:
        raise DTypeError(f"{function}: expected an int as value beside {dtype}, got {value}")
    inside = torch.float32 if dtype in HALVES else dtype
    return dtype, [cast(t, inside) for t in tensors]


@torch_function(torch.lerp, T.lerp)
def lerp(input: TensorT, end: TensorT, weight: Any) -> TensorT:
    """Return ``input + weight * (end - input)``, from the nearer end, as PyTorch has it.

    >>> lerp(torch.tensor([0.0, 1.0]), torch.tensor([4.0, 3.0]), 0.25)
    tensor([1.0000, 1.5000])
    """
    given = [spec_of(t) for t in (input, end, weight) if isinstance(t, torch.Tensor)]
    require_same_dtype("lerp", *given)
    require_float("lerp", *given)
    dtype = given[0].dtype
    inside = torch.float32 if dtype in HALVES else dtype
    start, stop = cast(input, inside), cast(end, inside)
    part = cast(weight, inside) if isinstance(weight, torch.Tensor) else weight
    way = sub(stop, start)
    near = add(start, mul(way, part))
    far = sub(stop, mul(way, sub(1.0, tensor_of(part))))
    if isinstance(part, (int, float)):
        return cast(near if abs(part) < 0.5 else far, dtype)
    size = where(lt(part, 0.0), mul(part, -1.0), part) if isinstance(part, torch.Tensor) else part
    return cast(where(lt(size, 0.5), near, far), dtype)
