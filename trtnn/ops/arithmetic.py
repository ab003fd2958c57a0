"""Binary arithmetic, comparisons, selection and casts, with PyTorch's type promotion."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from trtnn.errors import DTypeError, UnsupportedError
from trtnn.ops.negation import Not
from trtnn.ops.op import (
    TABLE,
    Op,
    Spec,
    TensorT,
    as_size,
    bind,
    broadcast,
    require_same_dtype,
    spec_of,
    torch_function,
)
from trtnn.sizes.dims import Expr, Size, bounds
from trtnn.sizes.reals import FUNCTIONS, Formula, Real

__all__ = [
    "Cast", "Elementwise", "Scaled", "Select", "SizeValue", "add", "cast", "eq", "ge", "gt", "le",
    "logical_and", "logical_not", "logical_or", "logical_xor", "lt", "masked_fill", "maximum",
    "minimum", "mul", "ne", "promote", "rsub", "sub", "where",
]  # fmt: skip

T = torch.Tensor
KINDS: dict[str, Callable[[torch.Tensor, torch.Tensor], torch.Tensor]] = {
    "SUM": torch.add, "PROD": torch.mul, "SUB": torch.sub, "MAX": torch.maximum,
    "MIN": torch.minimum, "POW": torch.pow, "AND": torch.logical_and, "OR": torch.logical_or,
    "XOR": torch.logical_xor, "EQUAL": torch.eq, "GREATER": torch.gt, "LESS": torch.lt,
    "FLOOR_DIV": torch.floor_divide,
    "DIV": lambda a, b: torch.div(a, b, rounding_mode=None if a.is_floating_point() else "trunc"),
}  # fmt: skip
COMPARES = frozenset({"EQUAL", "GREATER", "LESS"})
FORMULAS = {"add": "SUM", "sub": "SUB", "mul": "PROD", "truediv": "DIV", "pow": "POW"}
LOGIC = frozenset({"AND", "OR", "XOR"})
HALVES = frozenset({torch.float16, torch.bfloat16})


@dataclass(frozen=True, repr=False)
class Elementwise(Op):
    """TensorRT's ElementWise layer: two operands of one dtype, broadcast."""

    kind: str

    def infer(self, a: Spec, b: Spec) -> Spec:
        require_same_dtype(self.kind.lower(), a, b)
        if (self.kind in LOGIC) != (a.dtype == torch.bool):
            raise DTypeError(f"{self.kind.lower()}: does not take {a.dtype}")
        shape = broadcast(self.kind.lower(), a.shape, b.shape)
        return Spec(shape, torch.bool if self.kind in COMPARES else a.dtype)

    def reference(self, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        return KINDS[self.kind](a, b.to(a.device) if b.dim() == 0 else b)

    def lower(self, net: Any, a: Any, b: Any) -> Any:
        return net.elementwise(a, b, self.kind)


@dataclass(frozen=True, repr=False)
class Scaled(Op):
    """A half or bfloat16 tensor times or over a number that its dtype does not hold.

    PyTorch computes these two in float32, with the number as it is, and rounds once.
    """

    kind: str
    number: float

    def infer(self, x: Spec) -> Spec:
        if x.dtype not in HALVES:
            raise DTypeError(f"scaled: expected a type of 16 bits, got {x.dtype}")
        return x

    def reference(self, x: torch.Tensor) -> torch.Tensor:
        return x * self.number if self.kind == "PROD" else x / self.number

    def lower(self, net: Any, x: Any) -> Any:
        limits = torch.finfo(x.dtype)
        near = limits.smallest_normal <= abs(self.number) <= limits.max
        # Rounded, such a number adds at most the error that the result's own rounding has, and
        # casts around it would cost a fusion: the scale of an attention stands between products.
        result = x if near else net.cast(x, torch.float32)
        whole = near or x.dtype != torch.float16
        for factor in [self.number] if whole else _factors(self.number):
            result = net.elementwise(result, net.scalar(factor, result), self.kind)
        return net.cast(result, x.dtype)


def _factors(number: float) -> list[float]:
    """Return finite factors of a number that float16 holds, all but the first powers of two.

    Seen on 8.6.0: beside half values, a product by a float32 constant may be merged with one
    before, and the constant put into half, where 1e5 is 65504.
    """
    most = 2.0**42  # of halves, what is beyond makes only 0 and infinity too
    factors: list[float] = []
    first = max(-most, min(number, most))
    while abs(first) > torch.finfo(torch.float16).max:
        first, factors = first / 2**15, [*factors, 2.0**15]
    return [first, *factors]


@dataclass(frozen=True, repr=False)
class Select(Op):
    """TensorRT's Select layer: ``condition ? a : b``, broadcast."""

    def infer(self, condition: Spec, a: Spec, b: Spec) -> Spec:
        if condition.dtype != torch.bool:
            raise DTypeError(f"where: expected a bool condition, got {condition.dtype}")
        require_same_dtype("where", a, b)
        return Spec(broadcast("where", condition.shape, a.shape, b.shape), a.dtype)

    def reference(self, condition: torch.Tensor, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        return torch.where(condition, a.to(condition.device), b.to(condition.device))

    def lower(self, net: Any, condition: Any, a: Any, b: Any) -> Any:
        if a.dtype != torch.bool:
            return net.select(condition, a, b)
        a, b = net.cast(a, torch.int32), net.cast(b, torch.int32)
        return net.cast(net.select(condition, a, b), torch.bool)


@dataclass(frozen=True, repr=False)
class Cast(Op):
    """TensorRT's Cast layer."""

    dtype: torch.dtype

    def infer(self, x: Spec) -> Spec:
        return Spec(x.shape, self.dtype)

    def reference(self, x: torch.Tensor) -> torch.Tensor:
        return x.to(self.dtype)

    def lower(self, net: Any, x: Any) -> Any:
        return net.cast(x, self.dtype)


@dataclass(frozen=True, repr=False)
class SizeValue(Op):
    """A size as a scalar int64 tensor: TensorRT's Shape layer."""

    size: Size

    def infer(self) -> Spec:
        return Spec((), torch.int64)

    def reference(self) -> torch.Tensor:
        return torch.tensor(self.size)

    def lower(self, net: Any) -> Any:
        return net.size_tensor(self.size)


def cast(input: TensorT, dtype: torch.dtype) -> TensorT:
    """Return ``input`` in another dtype, itself where it has it."""
    if spec_of(input).dtype == dtype:
        return input
    if dtype.is_complex:
        raise UnsupportedError(f"TensorRT has no {dtype}", hint="use torch.float32")
    return bind(Cast(dtype), input)


def tensor_of(value: Any, dtype: torch.dtype | None = None) -> TensorT:
    """Return a number or size as a scalar tensor, a tensor as it is."""
    if isinstance(value, torch.Tensor):
        return value
    if isinstance(value, (torch.SymInt, Expr)):
        size = as_size(value)
        if isinstance(size, Expr):
            return bind(SizeValue(size))
        value = size
    if isinstance(value, torch.SymFloat):
        return float_tensor(value.node.value)
    if not isinstance(value, (int, float, bool)):
        raise DTypeError(f"expected a tensor or a number, got {value!r} of {type(value).__name__}")
    try:
        return torch.tensor(value, dtype=dtype)
    except (RuntimeError, OverflowError, ValueError) as error:
        raise _unfit("a number", value, dtype) from error


def _unfit(what: str, value: Any, dtype: torch.dtype | None) -> DTypeError:
    return DTypeError(
        f"{what}: {value} does not fit {dtype or 'any integer type'}",
        hint="give a number in its range; -inf and torch.finfo(x.dtype).min are in that of floats",
    )


def require_fit(function: str, value: Any, dtype: torch.dtype) -> None:
    """Raise DTypeError where PyTorch refuses to put a number into a tensor of a dtype."""
    if isinstance(value, (int, float)):
        try:
            with torch._C.DisableTorchFunction():
                torch.full((2,), value, dtype=dtype)  # of one entry it is less strict
        except (RuntimeError, OverflowError, ValueError) as error:
            raise _unfit(function, value, dtype) from error


def holds(dtype: torch.dtype, input: Any, other: Any) -> bool:
    """Say whether nothing is lost where ``other`` is rounded to the dtype of the result.

    A scalar beside a tensor has no part in the result's type, which may be too narrow for it. A
    scalar that stands first PyTorch rounds.
    """
    if not isinstance(input, torch.Tensor):
        return True
    if isinstance(other, torch.Tensor):
        return bool(spec_of(other).shape) or spec_of(other).dtype == dtype
    if isinstance(other, torch.SymFloat):
        return False
    if isinstance(other, (torch.SymInt, Expr)):
        low, high = bounds(as_size(other))
        return max(-low, high) <= 2 / torch.finfo(dtype).eps
    return torch.tensor(float(other), dtype=dtype).item() == other or bool(other != other)


def float_tensor(real: Real) -> TensorT:
    """Return a float of sizes as a float32 scalar, computed in float32: TensorRT has no double."""
    if not isinstance(real, Formula):
        return cast(tensor_of(real), torch.float32)
    operands = [float_tensor(x) for x in real.operands]
    if real.operation in FUNCTIONS:
        return TABLE[getattr(torch, real.operation)](*operands)
    return bind(Elementwise(FORMULAS[real.operation]), *operands)


@functools.cache
def _stand_in(dtype: torch.dtype, *, scalar: bool) -> torch.Tensor:
    """Return a tensor without data, of the one thing beside its dtype that promotion asks for."""
    return torch.empty(() if scalar else (1,), dtype=dtype, device="meta")


def result_type(*operands: Any) -> torch.dtype:
    """Return PyTorch's result type of tensors, numbers and sizes."""
    stand_ins: list[Any] = []
    for operand in operands:
        if isinstance(operand, torch.Tensor):
            spec = spec_of(operand)
            stand_ins.append(_stand_in(spec.dtype, scalar=spec.rank == 0))
        else:
            if isinstance(operand, torch.SymFloat):
                operand = 1.0
            stand_ins.append(1 if isinstance(operand, (torch.SymInt, Expr)) else operand)
    result = stand_ins[0]
    if not any(isinstance(s, torch.Tensor) for s in stand_ins):
        return torch.result_type(torch.tensor(stand_ins[0]), stand_ins[-1])
    dtype: torch.dtype | None = None
    for other in stand_ins[1:]:
        dtype = torch.result_type(result, other)
        result = _stand_in(dtype, scalar=False)
    return dtype if dtype is not None else result.dtype


def promote(*operands: Any, floating: bool = False, exact: bool = False) -> list[TensorT]:
    """Return operands as tensors of PyTorch's result type.

    An integer that does not fit wraps around, as in PyTorch's arithmetic; if ``exact``, it is
    refused.
    """
    with torch._C.DisableTorchFunction():
        dtype = result_type(*operands)
    if floating and not dtype.is_floating_point:
        dtype = torch.float32
    symbolic = (torch.SymInt, torch.SymFloat)
    wraps = not exact and not dtype.is_floating_point
    tensors = [
        tensor_of(o, None if isinstance(o, symbolic) or (wraps and type(o) is int) else dtype)
        for o in operands
    ]
    return [cast(t, dtype) for t in tensors]


def _binary(kind: str, a: Any, b: Any, *, floating: bool = False) -> TensorT:
    return bind(Elementwise(kind), *promote(a, b, floating=floating))


def scaled(kind: str, input: Any, other: Any) -> TensorT:
    """Multiply (``PROD``) or divide (``DIV``), beside a scalar that a half cannot hold too."""
    operands = promote(input, other, floating=kind == "DIV")
    dtype = spec_of(operands[0]).dtype
    if dtype not in HALVES or holds(dtype, input, other):
        return bind(Elementwise("AND" if dtype == torch.bool else kind), *operands)
    if isinstance(other, (int, float)):
        return bind(Scaled(kind, float(other)), operands[0])
    wide = (cast(t, torch.float32) for t in (operands[0], tensor_of(other)))
    return cast(bind(Elementwise(kind), *wide), dtype)


@torch_function(torch.add, T.add, T.__add__, T.__radd__)
def add(input: Any, other: Any, *, alpha: Any = 1) -> TensorT:
    """Add ``alpha * other``; on bool tensors, the logical or.

    >>> add(torch.tensor([1, 2]), 0.5)
    tensor([1.5000, 2.5000])
    """
    a, b = promote(input, other)
    dtype = spec_of(a).dtype
    if type(alpha) is not int or alpha != 1:
        _require_alpha(alpha, dtype)
        if dtype in HALVES:  # in float32, rounded once
            number = torch.tensor(alpha, dtype=dtype)
            a, b, wide = (cast(t, torch.float32) for t in (a, b, number))
            return cast(add(a, mul(b, wide)), dtype)
        b = logical_and(b, bool(alpha)) if dtype == torch.bool else mul(b, alpha)
    return bind(Elementwise("OR" if dtype == torch.bool else "SUM"), a, b)


def _require_alpha(alpha: Any, dtype: torch.dtype) -> None:
    if isinstance(alpha, bool) and dtype != torch.bool:
        raise DTypeError(f"add: expected a number as alpha beside {dtype}, got {alpha}")
    if isinstance(alpha, (float, torch.SymFloat)) and not dtype.is_floating_point:
        raise DTypeError(
            f"add: expected an int as alpha beside {dtype}, got {alpha}",
            hint="multiply first: x + alpha * y",
        )
    require_fit("add: alpha", alpha, dtype)


@torch_function(torch.sub, T.sub, T.__sub__, torch.subtract, T.subtract)
def sub(input: Any, other: Any, *, alpha: Any = 1) -> TensorT:
    """Subtract ``alpha * other``."""
    for operand in (input, other):
        tensor = isinstance(operand, torch.Tensor)
        if isinstance(operand, bool) or (tensor and spec_of(operand).dtype == torch.bool):
            raise DTypeError(
                "sub: expected numbers, got torch.bool",
                hint="use torch.logical_xor or ~, or convert with .int()",
            )
    if type(alpha) is int and alpha == 1:
        return _binary("SUB", input, other)
    return add(input, other, alpha=alpha if isinstance(alpha, bool) else -alpha)


@torch_function(torch.rsub, T.__rsub__)
def rsub(input: Any, other: Any, *, alpha: Any = 1) -> TensorT:
    """Subtract ``alpha * input`` from ``other``."""
    return sub(other, input, alpha=alpha)


@torch_function(torch.mul, T.mul, T.__mul__, T.__rmul__, torch.multiply, T.multiply)
def mul(input: Any, other: Any) -> TensorT:
    """Multiply; on bool tensors, the logical and."""
    if not isinstance(input, torch.Tensor):
        input, other = other, input
    return scaled("PROD", input, other)


@torch_function(torch.maximum, T.maximum)
def maximum(input: Any, other: Any) -> TensorT:
    """Take the larger entry of two; of bools, the logical or."""
    return _extreme("MAX", "OR", input, other)


@torch_function(torch.minimum, T.minimum)
def minimum(input: Any, other: Any) -> TensorT:
    """Take the smaller entry of two; of bools, the logical and."""
    return _extreme("MIN", "AND", input, other)


def _extreme(kind: str, logic: str, a: Any, b: Any) -> TensorT:
    x, y = promote(a, b)
    return bind(Elementwise(logic if spec_of(x).dtype == torch.bool else kind), x, y)


def _compare(kind: str, a: Any, b: Any) -> TensorT:
    x, y = promote(a, b)
    if spec_of(x).dtype == torch.bool:
        if kind == "EQUAL":
            return logical_not(bind(Elementwise("XOR"), x, y))
        x, y = cast(x, torch.int32), cast(y, torch.int32)
    return bind(Elementwise(kind), x, y)


@torch_function(torch.eq, T.eq, T.__eq__)
def eq(input: Any, other: Any) -> TensorT:
    """Compare for equality."""
    return _compare("EQUAL", input, other)


@torch_function(torch.ne, T.ne, T.__ne__, torch.not_equal, T.not_equal)
def ne(input: Any, other: Any) -> TensorT:
    """Compare for inequality; NaN differs from everything."""
    return logical_not(eq(input, other))


@torch_function(torch.lt, T.lt, T.__lt__, torch.less, T.less)
def lt(input: Any, other: Any) -> TensorT:
    """Say where ``input < other``."""
    return _compare("LESS", input, other)


@torch_function(torch.gt, T.gt, T.__gt__, torch.greater, T.greater)
def gt(input: Any, other: Any) -> TensorT:
    """Say where ``input > other``."""
    return _compare("GREATER", input, other)


def _or_equal(kind: str, opposite: str, a: Any, b: Any) -> TensorT:
    x, y = promote(a, b)
    if not spec_of(x).dtype.is_floating_point:
        return logical_not(_compare(opposite, x, y))
    return logical_or(_compare(kind, x, y), _compare("EQUAL", x, y))


@torch_function(torch.le, T.le, T.__le__, torch.less_equal, T.less_equal)
def le(input: Any, other: Any) -> TensorT:
    """Say where ``input <= other``; false for NaN."""
    return _or_equal("LESS", "GREATER", input, other)


@torch_function(torch.ge, T.ge, T.__ge__, torch.greater_equal, T.greater_equal)
def ge(input: Any, other: Any) -> TensorT:
    """Say where ``input >= other``; false for NaN."""
    return _or_equal("GREATER", "LESS", input, other)


def _logic(kind: str, a: Any, b: Any) -> TensorT:
    return bind(Elementwise(kind), *(_truth(tensor_of(t)) for t in (a, b)))


def _truth(input: TensorT) -> TensorT:
    return input if spec_of(input).dtype == torch.bool else cast(input, torch.bool)


@torch_function(torch.logical_and, T.logical_and)
def logical_and(input: Any, other: Any) -> TensorT:
    """Compute the logical and."""
    return _logic("AND", input, other)


@torch_function(torch.logical_or, T.logical_or)
def logical_or(input: Any, other: Any) -> TensorT:
    """Compute the logical or."""
    return _logic("OR", input, other)


@torch_function(torch.logical_xor, T.logical_xor)
def logical_xor(input: Any, other: Any) -> TensorT:
    """Compute the logical exclusive or."""
    return _logic("XOR", input, other)


@torch_function(torch.logical_not, T.logical_not)
def logical_not(input: TensorT) -> TensorT:
    """Negate."""
    return bind(Not(), _truth(input))


def where(condition: TensorT, input: Any = None, other: Any = None) -> TensorT:
    """Take ``input`` where ``condition`` holds, ``other`` elsewhere."""
    if input is None or other is None:
        raise UnsupportedError("where: expected condition, input and other")
    return bind(Select(), condition, *promote(input, other, exact=True))


@torch_function(T.where)
def where_of(input: Any, condition: TensorT, other: Any) -> TensorT:
    """Take ``input`` where ``condition`` holds, ``other`` elsewhere."""
    return where(condition, input, other)


@torch_function(T.masked_fill, torch.masked_fill)
def masked_fill(input: TensorT, mask: TensorT, value: Any) -> TensorT:
    """Put ``value`` where ``mask`` holds, in ``input``'s dtype.

    Raises:
        DTypeError: A number that this dtype does not hold, as -1e9 beside half.
    """
    dtype = spec_of(input).dtype
    require_fit("masked_fill", value, dtype)
    filled = tensor_of(value, dtype)
    return bind(Select(), mask, cast(filled, dtype), input)
