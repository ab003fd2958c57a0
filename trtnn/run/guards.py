"""Whether tensors are like those of an earlier call: class, dtype, device, sizes and strides."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch


def guard(tensors: Sequence[torch.Tensor]) -> Callable[..., bool]:
    """Return what says whether tensors are like these: class, dtype, device, sizes, strides.

    PyTorch's own guard does it in 0.14 us; it is no public name, so there is another way.
    """
    guards = getattr(getattr(torch._C, "_dynamo", None), "guards", None)
    found = getattr(guards, "TensorGuards", None)
    if found is None:
        return plain_guard(tensors)
    made = found(*tensors, dynamic_dims_sizes=None, dynamic_dims_strides=None)
    check: Callable[..., bool] = made.check
    return check


def plain_guard(tensors: Sequence[torch.Tensor]) -> Callable[..., bool]:
    """Return the same as ``guard``, by public names alone."""
    likes = [(type(t), t.dtype, t.device, t.shape, t.stride(), t.is_neg()) for t in tensors]

    def check(*given: Any) -> bool:
        if len(given) != len(likes):
            return False
        for tensor, (kind, *like) in zip(given, likes, strict=True):
            if type(tensor) is not kind:
                return False
            if [
                tensor.dtype,
                tensor.device,
                tensor.shape,
                tensor.stride(),
                tensor.is_neg(),
            ] != like:
                return False
        return True

    return check
