"""Tensors made from sizes and numbers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from trtnn.errors import DTypeError, ShapeError, UnsupportedError
from trtnn.ops.arithmetic import cast, require_fit, tensor_of
from trtnn.ops.movement import expand, reshape
from trtnn.ops.op import (
    Op,
    Spec,
    TensorT,
    as_size,
    as_sizes,
    bind,
    shape_of,
    spec_of,
    torch_function,
)
from trtnn.ops.slicing import cat
from trtnn.sizes.dims import Expr, Size, ceil_div

__all__ = [
    "Full",
    "Linspace",
    "arange",
    "fill",
    "full",
    "full_like",
    "new_full",
    "new_ones",
    "new_tensor",
    "new_zeros",
    "ones",
    "ones_like",
    "scalar_tensor",
    "zeros",
    "zeros_like",
]

T = torch.Tensor


@dataclass(frozen=True, repr=False)
class Linspace(Op):
    """TensorRT's Fill layer, LINSPACE on one axis: ``start + step * index``."""

    start: Any
    step: Any
    count: Size
    dtype: torch.dtype

    def infer(self) -> Spec:
        return Spec((self.count,), self.dtype)

    def reference(self) -> torch.Tensor:
        assert isinstance(self.count, int)
        ramp: torch.Tensor = torch.arange(self.count) * self.step + self.start
        return ramp.to(self.dtype)

    def lower(self, net: Any) -> Any:
        if isinstance(self.start, Expr):
            ramp = net.linspace((self.count,), 0, (self.step,), torch.int64)
            total = net.elementwise(ramp, net.size_tensor(self.start), "SUM")
            return net.cast(total, self.dtype)
        # Fill counts in INT32, INT64 and FLOAT only.
        counts = self.dtype in (torch.int32, torch.int64, torch.float32)
        own = self.dtype if counts else torch.int64
        return net.cast(net.linspace((self.count,), self.start, (self.step,), own), self.dtype)


@dataclass(frozen=True, repr=False)
class Full(Op):
    """One number in every entry: a constant, repeated by a slice with stride 0."""

    shape: tuple[Size, ...]
    value: Any
    dtype: torch.dtype

    def infer(self) -> Spec:
        return Spec(self.shape, self.dtype)

    def reference(self) -> torch.Tensor:
        return torch.full([int(s) for s in self.shape], self.value, dtype=self.dtype)  # type: ignore[arg-type]

    def lower(self, net: Any) -> Any:
        return net.fill(self.shape, torch.tensor(self.value, dtype=self.dtype))


def _dtype(dtype: torch.dtype | None, value: Any) -> torch.dtype:
    if not isinstance(value, (bool, int, float)):
        raise DTypeError(f"expected a number to fill with, got {value!r} of {type(value).__name__}")
    if dtype is not None:
        return dtype
    if isinstance(value, bool):
        return torch.bool
    return torch.get_default_dtype() if isinstance(value, float) else torch.int64


@torch_function(torch.arange)
def arange(
    start: Any = 0, end: Any = None, step: Any = 1, *, dtype: torch.dtype | None = None, **_: Any
) -> TensorT:
    """Return ``start, start + step, ...`` below ``end``; bounds may be symbolic sizes.

    One bound alone is the end.
    """
    start, end = (0, start) if end is None else (start, end)
    if any(isinstance(v, float) for v in (start, end, step)):
        if any(isinstance(v, (torch.SymInt, Expr)) for v in (start, end, step)):
            raise UnsupportedError(
                f"arange: expected ints beside a symbolic size, got {start}, {end}, {step}",
                hint="torch.arange(n) * step + start",
            )
        with torch._C.DisableTorchFunction():
            return torch.arange(start, end, step, dtype=dtype)
    low, high, stride = as_size(start), as_size(end), as_size(step)
    if not isinstance(stride, int) or stride == 0:
        raise UnsupportedError(f"arange: expected a static step that is not 0, got {stride}")
    count = ceil_div(high - low, stride) if stride > 0 else ceil_div(low - high, -stride)
    return bind(Linspace(low, stride, count, dtype or torch.int64))


@torch_function(torch.full)
def full(size: Any, fill_value: Any, *, dtype: torch.dtype | None = None, **_: Any) -> TensorT:
    """Return a tensor of one number, which may be a size or a scalar tensor."""
    shape = as_sizes(size)
    if not isinstance(fill_value, (torch.Tensor, torch.SymInt, torch.SymFloat, Expr)):
        kind = _dtype(dtype, fill_value)
        require_fit("full", fill_value, kind)
        return bind(Full(shape, fill_value, kind))
    value = tensor_of(fill_value)
    if shape_of(value):
        raise ShapeError(f"full: expected a scalar as fill_value, got {spec_of(value)}")
    kind = spec_of(value).dtype  # PyTorch reads the tensor as a Python number
    plain = torch.get_default_dtype() if kind.is_floating_point else torch.int64
    own = kind if kind == torch.bool else plain
    return expand(cast(value, dtype or own), shape)


def _sizes(size: tuple[Any, ...], named: dict[str, Any]) -> tuple[Size, ...]:
    return as_sizes(size if size else named["size"])


@torch_function(torch.zeros)
def zeros(*size: Any, dtype: torch.dtype | None = None, **named: Any) -> TensorT:
    """Return zeros.

    >>> zeros(2)
    tensor([0., 0.])
    """
    return full(_sizes(size, named), 0, dtype=dtype or torch.get_default_dtype())


@torch_function(torch.ones)
def ones(*size: Any, dtype: torch.dtype | None = None, **named: Any) -> TensorT:
    """Return ones."""
    return full(_sizes(size, named), 1, dtype=dtype or torch.get_default_dtype())


@torch_function(torch.full_like)
def full_like(
    input: TensorT, fill_value: Any, *, dtype: torch.dtype | None = None, **_: Any
) -> TensorT:
    """Return one number in the shape and dtype of ``input``."""
    return full(shape_of(input), fill_value, dtype=dtype or spec_of(input).dtype)


@torch_function(torch.zeros_like)
def zeros_like(input: TensorT, *, dtype: torch.dtype | None = None, **_: Any) -> TensorT:
    """Return zeros in the shape and dtype of ``input``."""
    return full_like(input, 0, dtype=dtype)


@torch_function(torch.ones_like)
def ones_like(input: TensorT, *, dtype: torch.dtype | None = None, **_: Any) -> TensorT:
    """Return ones in the shape and dtype of ``input``."""
    return full_like(input, 1, dtype=dtype)


@torch_function(T.new_full)
def new_full(
    input: TensorT, size: Any, fill_value: Any, *, dtype: torch.dtype | None = None, **_: Any
) -> TensorT:
    """Return one number in the dtype of ``input``."""
    return full(size, fill_value, dtype=dtype or spec_of(input).dtype)


@torch_function(T.new_zeros)
def new_zeros(
    input: TensorT, *size: Any, dtype: torch.dtype | None = None, **named: Any
) -> TensorT:
    """Return zeros in the dtype of ``input``."""
    return new_full(input, _sizes(size, named), 0, dtype=dtype)


@torch_function(T.new_ones)
def new_ones(input: TensorT, *size: Any, dtype: torch.dtype | None = None, **named: Any) -> TensorT:
    """Return ones in the dtype of ``input``."""
    return new_full(input, _sizes(size, named), 1, dtype=dtype)


# Memory that nothing is written to holds anything: of zeros, each run gives the same.
torch_function(torch.empty)(zeros)
torch_function(torch.empty_like)(zeros_like)
torch_function(T.new_empty)(new_zeros)


@torch_function(torch.fill)
def fill(input: TensorT, value: Any) -> TensorT:
    """Return one number in the shape and dtype of ``input``."""
    return full_like(input, value)


def _stacked(data: Any, dtype: torch.dtype | None) -> TensorT:
    """Return nested lists of numbers, sizes and scalars as one tensor."""
    if not isinstance(data, (list, tuple)):
        return tensor_of(data)
    if not data:
        return torch.tensor([], dtype=dtype)
    parts = [_stacked(item, dtype) for item in data]
    kind = parts[0]
    for part in parts[1:]:
        if shape_of(part) != shape_of(kind):
            raise ShapeError(f"tensor: {spec_of(kind)} and {spec_of(part)} in one list")
    common = spec_of(kind).dtype
    for part in parts:
        common = torch.promote_types(common, spec_of(part).dtype)
    shape = (1, *shape_of(kind))
    return cat([reshape(cast(part, common), shape) for part in parts])


@torch_function(torch.tensor, torch.as_tensor)
def tensor(data: Any, dtype: torch.dtype | None = None, **_: Any) -> TensorT:
    """Return numbers and sizes, in lists or not, as a tensor; scalar tensors may be among them."""
    made = _stacked(data, dtype)
    return cast(made, dtype or spec_of(made).dtype)


@torch_function(T.new_tensor)
def new_tensor(input: TensorT, data: Any, dtype: torch.dtype | None = None, **_: Any) -> TensorT:
    """Return numbers and sizes as a tensor, in the dtype that they have by themselves."""
    return tensor(data, dtype=dtype)


@torch_function(torch.scalar_tensor)
def scalar_tensor(s: Any, *, dtype: torch.dtype | None = None, **_: Any) -> TensorT:
    """Return a number or a size as a scalar, in the default dtype if none is given."""
    return cast(tensor_of(s), dtype or torch.get_default_dtype())
