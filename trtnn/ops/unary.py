"""Unary functions: one entry at a time, and the logarithms made of them."""

from __future__ import annotations

import builtins
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from trtnn.errors import DTypeError, UnsupportedError
from trtnn.ops.arithmetic import (
    HALVES,
    Elementwise,
    add,
    cast,
    eq,
    logical_not,
    logical_or,
    lt,
    mul,
    ne,
    sub,
    where,
)
from trtnn.ops.op import Op, Spec, TensorT, bind, require_float, spec_of, torch_function

__all__ = [
    "Unary", "abs", "acos", "acosh", "asin", "asinh", "atan", "atanh", "ceil", "cos", "cosh",
    "erf", "exp", "floor", "frac", "isfinite", "isinf", "isnan", "log", "log1p", "log2", "log10",
    "neg", "reciprocal", "round", "rsqrt", "sign", "sin", "sinh", "sqrt", "tan", "trunc", "unary",
]  # fmt: skip

UNARIES: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "EXP": torch.exp, "LOG": torch.log, "SQRT": torch.sqrt, "RECIP": torch.reciprocal,
    "ABS": torch.abs, "NEG": torch.neg, "SIN": torch.sin, "COS": torch.cos, "TAN": torch.tan,
    "SINH": torch.sinh, "COSH": torch.cosh, "ASIN": torch.asin, "ACOS": torch.acos,
    "ATAN": torch.atan, "ASINH": torch.asinh, "ACOSH": torch.acosh, "ATANH": torch.atanh,
    "CEIL": torch.ceil, "FLOOR": torch.floor, "ERF": torch.erf, "SIGN": torch.sign,
    "ROUND": torch.round, "ISINF": torch.isinf, "ISNAN": torch.isnan,
}  # fmt: skip


ASKS = frozenset({"ISINF", "ISNAN"})


@dataclass(frozen=True, repr=False)
class Unary(Op):
    """TensorRT's Unary layer."""

    kind: str

    def infer(self, x: Spec) -> Spec:
        require_float(self.kind.lower(), x)
        return Spec(x.shape, torch.bool) if self.kind in ASKS else x

    def reference(self, x: torch.Tensor) -> torch.Tensor:
        return UNARIES[self.kind](x)

    def lower(self, net: Any, x: Any) -> Any:
        return net.unary(x, self.kind)

    def needs_decomposition(self, target: Any) -> bool:
        return self.kind not in target.unaries

    def decompose(self, x: TensorT) -> TensorT:
        """Compose ISNAN, which 8.6 lacks: what is not equal to itself."""
        if self.kind != "ISNAN":
            raise UnsupportedError(f"this TensorRT has no Unary layer of kind {self.kind}")
        return ne(x, x)


NUMBERS = "convert with .int() before"


def unary(kind: str, input: TensorT) -> TensorT:
    """Apply a unary function; integers become float32 first, as in PyTorch."""
    spec = spec_of(input)
    if not spec.dtype.is_floating_point:
        unsigned = spec.dtype == torch.uint8
        if spec.dtype == torch.bool and kind in ("CEIL", "FLOOR", "ROUND", "NEG"):
            raise DTypeError(f"{kind.lower()}: expected numbers, got torch.bool", hint=NUMBERS)
        if kind in ("CEIL", "FLOOR", "ROUND") or (kind == "ABS" and unsigned):
            return input
        if kind == "ABS":
            return bind(Elementwise("MAX"), input, mul(input, -1))
        if kind == "NEG":
            return mul(input, -1)
        if kind in ASKS:
            return ne(input, input)
        if kind == "SIGN":
            if spec.dtype == torch.bool:
                return input
            low, high = (torch.tensor(n, dtype=spec.dtype) for n in (0 if unsigned else -1, 1))
            return bind(Elementwise("MIN"), bind(Elementwise("MAX"), input, low), high)
        input = cast(input, torch.float32)
    return bind(Unary(kind), input)


def _unary(kind: str, *callables: Callable[..., Any]) -> Callable[[TensorT], TensorT]:
    """Return the function that stands for torch callables of one unary kind."""

    def function(input: TensorT) -> TensorT:
        return unary(kind, input)

    function.__name__ = callables[0].__name__
    function.__doc__ = f"Compute ``torch.{function.__name__}`` of every entry."
    return torch_function(*callables)(function)


T = torch.Tensor
abs = _unary("ABS", torch.abs, torch.absolute, T.abs, T.absolute, T.__abs__)
acos = _unary("ACOS", torch.acos, torch.arccos, T.acos, T.arccos)
acosh = _unary("ACOSH", torch.acosh, T.acosh, torch.arccosh, T.arccosh)
asin = _unary("ASIN", torch.asin, torch.arcsin, T.asin, T.arcsin)
asinh = _unary("ASINH", torch.asinh, T.asinh, torch.arcsinh, T.arcsinh)
atan = _unary("ATAN", torch.atan, torch.arctan, T.atan, T.arctan)
atanh = _unary("ATANH", torch.atanh, T.atanh, torch.arctanh, T.arctanh)
ceil = _unary("CEIL", torch.ceil, T.ceil)
cos = _unary("COS", torch.cos, T.cos)
cosh = _unary("COSH", torch.cosh, T.cosh)
erf = _unary("ERF", torch.erf, T.erf, torch.special.erf)
exp = _unary("EXP", torch.exp, T.exp)
floor = _unary("FLOOR", torch.floor, T.floor)
isinf = _unary("ISINF", torch.isinf, T.isinf)
log = _unary("LOG", torch.log, T.log)
neg = _unary("NEG", torch.neg, torch.negative, T.neg, T.negative, T.__neg__)
reciprocal = _unary("RECIP", torch.reciprocal, T.reciprocal)
sign = _unary("SIGN", torch.sign, T.sign, torch.sgn, T.sgn)
sin = _unary("SIN", torch.sin, T.sin)
sinh = _unary("SINH", torch.sinh, T.sinh)
sqrt = _unary("SQRT", torch.sqrt, T.sqrt)
tan = _unary("TAN", torch.tan, T.tan)


@torch_function(torch.round, torch.Tensor.round, torch.special.round)
def round(input: TensorT, *, decimals: int = 0) -> TensorT:
    """Round half to even, at a digit behind the point, or before it where ``decimals`` < 0.

    >>> round(torch.tensor([0.125, 250.0]), decimals=-2)
    tensor([  0., 200.])
    """
    dtype = spec_of(input).dtype
    if decimals == 0:
        return unary("ROUND", input)
    require_float("round with decimals", spec_of(input))
    x = cast(input, torch.float32) if dtype in HALVES else input
    step = torch.tensor(10.0 ** builtins.abs(decimals), dtype=spec_of(x).dtype)
    up, down = ("PROD", "DIV") if decimals > 0 else ("DIV", "PROD")
    whole = unary("ROUND", bind(Elementwise(up), x, step))
    return cast(bind(Elementwise(down), whole, step), dtype)


@torch_function(torch.rsqrt, torch.Tensor.rsqrt)
def rsqrt(input: TensorT) -> TensorT:
    """Compute ``1 / sqrt(x)``."""
    return reciprocal(sqrt(input))


def _logarithm(input: TensorT, base: int, widest: int) -> TensorT:
    """Compute a logarithm that is a whole number exactly where the input is a power of ``base``.

    ``log(x) / log(base)`` alone misses it by a rounding: 8192 is 2 to the power 12.999999. So the
    nearest power is divided away first; ``widest`` is the greatest that float32 holds.
    """
    x = cast(input, torch.float32)
    power = unary("ROUND", mul(unary("LOG", x), 1 / math.log(base)))
    limits = (("MAX", -widest), ("MIN", widest))
    for kind, limit in limits:  # of 0 and of infinity too
        power = bind(Elementwise(kind), power, torch.tensor(float(limit)))
    near = bind(Elementwise("DIV"), x, bind(Elementwise("POW"), torch.tensor(float(base)), power))
    result = add(power, mul(unary("LOG", near), 1 / math.log(base)))
    dtype = spec_of(input).dtype
    return cast(result, dtype) if dtype.is_floating_point else result


@torch_function(torch.log2, torch.Tensor.log2)
def log2(input: TensorT) -> TensorT:
    """Compute the logarithm to base 2.

    >>> log2(torch.tensor(8192.0))
    tensor(13.)
    """
    return _logarithm(input, 2, 126)


@torch_function(torch.log10, torch.Tensor.log10)
def log10(input: TensorT) -> TensorT:
    """Compute the logarithm to base 10."""
    return _logarithm(input, 10, 37)


@torch_function(torch.log1p, torch.Tensor.log1p, torch.special.log1p)
def log1p(input: TensorT) -> TensorT:
    """Compute ``log(1 + x)``, exactly also where ``1 + x`` rounds to 1.

    >>> log1p(torch.tensor(1e-10))
    tensor(1.0000e-10)
    """
    x = cast(input, torch.float32)
    one_more = add(x, 1.0)
    # What rounding took from 1 + x changes its logarithm by as many parts (Kahan).
    parts = bind(Elementwise("DIV"), x, sub(one_more, 1.0))
    whole = unary("LOG", one_more)
    result = where(unary("ISINF", x), whole, mul(whole, parts))
    result = where(eq(one_more, 1.0), x, result)
    dtype = spec_of(input).dtype
    return cast(result, dtype) if dtype.is_floating_point else result


@torch_function(torch.trunc, torch.Tensor.trunc, torch.fix, torch.Tensor.fix)
def trunc(input: TensorT) -> TensorT:
    """Round towards 0."""
    low, high = unary("FLOOR", input), unary("CEIL", input)
    return where(lt(input, 0.0), high, low) if spec_of(input).dtype.is_floating_point else input


@torch_function(torch.frac, torch.Tensor.frac)
def frac(input: TensorT) -> TensorT:
    """Take what is behind the point, with the sign of the entry."""
    require_float("frac", spec_of(input))
    return sub(input, trunc(input))


@torch_function(torch.isfinite, torch.Tensor.isfinite)
def isfinite(input: TensorT) -> TensorT:
    """Say which entries are neither infinite nor NaN."""
    return logical_not(logical_or(unary("ISINF", input), isnan(input)))


@torch_function(torch.isnan, torch.Tensor.isnan)
def isnan(input: TensorT) -> TensorT:
    """Say which entries are NaN."""
    return unary("ISNAN", input)
