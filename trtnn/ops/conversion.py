"""Conversions to another dtype: PyTorch's many names for a cast."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from trtnn.errors import UnsupportedError
from trtnn.ops.arithmetic import cast
from trtnn.ops.movement import Identity
from trtnn.ops.op import TensorT, bind, spec_of, torch_function

__all__ = ["to"]

T = torch.Tensor


@torch_function(T.to)
def to(input: TensorT, *args: Any, **kwargs: Any) -> TensorT:
    """Convert to a dtype, or to another tensor's; the device is the compilation's own.

    The forms are ``to(dtype, non_blocking, copy)``, ``to(other, non_blocking, copy)`` and
    ``to(device, dtype, non_blocking, copy)``.
    """
    first = ("other",) if args and isinstance(args[0], torch.Tensor) else ("device", "dtype")
    names = first[1:] if args and isinstance(args[0], torch.dtype) else first
    given = {**dict(zip((*names, "non_blocking", "copy"), args, strict=False)), **kwargs}
    other, dtype = given.get("other"), given.get("dtype")
    if dtype is None:
        dtype = spec_of(input if other is None else other).dtype
    result = cast(input, dtype)
    return bind(Identity(), result) if given.get("copy") else result


@torch_function(T.type_as)
def type_as(input: TensorT, other: TensorT) -> TensorT:
    """Convert to the dtype of ``other``."""
    return cast(input, spec_of(other).dtype)


@torch_function(T.type)
def type_(input: TensorT, dtype: Any = None, non_blocking: bool = False) -> TensorT:
    """Convert to a ``torch.dtype``, or to what a legacy type says: ``"torch.HalfTensor"``.

    Without one, return the name of the legacy type that ``input`` has.
    """
    if dtype is None:
        with torch._C.DisableTorchFunction():
            name = torch.empty(0, dtype=spec_of(input).dtype, device="cpu").type()
        home = "torch" if input.device.type == "cpu" else f"torch.{input.device.type}"
        return name.replace("torch", home, 1)
    if isinstance(dtype, str):
        legacy = getattr(torch, dtype.rsplit(".", 1)[-1], None)
        dtype = getattr(legacy, "dtype", dtype)
    if isinstance(dtype, type):
        dtype = getattr(dtype, "dtype", dtype)
    if not isinstance(dtype, torch.dtype):
        raise UnsupportedError(f"Tensor.type: expected a torch.dtype, got {dtype!r}")
    return cast(input, dtype)


def _convert(dtype: torch.dtype) -> Callable[..., TensorT]:
    def convert(input: TensorT, memory_format: Any = None) -> TensorT:
        return cast(input, dtype)

    return convert


torch_function(T.bfloat16)(_convert(torch.bfloat16))
torch_function(T.bool)(_convert(torch.bool))
torch_function(T.byte)(_convert(torch.uint8))
torch_function(T.char)(_convert(torch.int8))
torch_function(T.double)(_convert(torch.float64))
torch_function(T.float)(_convert(torch.float32))
torch_function(T.half)(_convert(torch.float16))
torch_function(T.int)(_convert(torch.int32))
torch_function(T.long)(_convert(torch.int64))
torch_function(T.short)(_convert(torch.int16))
for name, dtype in (
    ("chalf", torch.complex32),
    ("cfloat", torch.complex64),
    ("cdouble", torch.complex128),
):
    torch_function(getattr(T, name))(_convert(dtype))
