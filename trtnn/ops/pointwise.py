"""Activations and unary functions: one entry at a time."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F

from trtnn.errors import TraceError, UnsupportedError
from trtnn.ops.arithmetic import (
    Elementwise,
    add,
    cast,
    div,
    eq,
    logical_not,
    logical_or,
    mul,
    promote,
    result_type,
    sub,
    tensor_of,
    where,
)
from trtnn.ops.op import Op, Spec, TensorT, bind, require_float, spec_of, torch_function

__all__ = [
    "Activation", "Gelu", "Unary", "abs", "acos", "acosh", "asin", "asinh", "atan", "atanh",
    "ceil", "celu", "clamp", "clamp_max", "clamp_min", "cos", "cosh", "dropout", "elu", "erf",
    "exp", "exp2", "floor", "gelu", "hardsigmoid", "hardswish", "hardtanh", "isfinite", "isinf",
    "isnan", "leaky_relu", "log", "log2", "log10", "logsigmoid", "mish", "neg", "pow",
    "reciprocal", "relu", "relu6", "round", "rsqrt", "selu", "sigmoid", "sign", "silu", "sin",
    "sinh", "softplus", "softsign", "sqrt", "square", "tan", "tanh", "tanhshrink", "trunc",
    "unary",
]  # fmt: skip

Real = Callable[[torch.Tensor, float, float], torch.Tensor]
ACTIVATIONS: dict[str, Real] = {
    "RELU": lambda x, a, b: F.relu(x),
    "SIGMOID": lambda x, a, b: torch.sigmoid(x),
    "TANH": lambda x, a, b: torch.tanh(x),
    "LEAKY_RELU": lambda x, a, b: F.leaky_relu(x, a),
    "ELU": lambda x, a, b: F.elu(x, a),
    "SELU": lambda x, a, b: F.selu(x),
    "SOFTSIGN": lambda x, a, b: F.softsign(x),
    "SOFTPLUS": lambda x, a, b: F.softplus(x, b),
    "CLIP": lambda x, a, b: x.clamp(a, b),
    "HARD_SIGMOID": lambda x, a, b: (x * a + b).clamp(0, 1),
}
UNARIES: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "EXP": torch.exp, "LOG": torch.log, "SQRT": torch.sqrt, "RECIP": torch.reciprocal,
    "ABS": torch.abs, "NEG": torch.neg, "SIN": torch.sin, "COS": torch.cos, "TAN": torch.tan,
    "SINH": torch.sinh, "COSH": torch.cosh, "ASIN": torch.asin, "ACOS": torch.acos,
    "ATAN": torch.atan, "ASINH": torch.asinh, "ACOSH": torch.acosh, "ATANH": torch.atanh,
    "CEIL": torch.ceil, "FLOOR": torch.floor, "ERF": torch.erf, "SIGN": torch.sign,
    "ROUND": torch.round, "ISINF": torch.isinf,
}  # fmt: skip


@dataclass(frozen=True, repr=False)
class Activation(Op):
    """TensorRT's Activation layer: a kind with up to two parameters."""

    kind: str
    alpha: float = 0.0
    beta: float = 0.0

    def infer(self, x: Spec) -> Spec:
        require_float(self.kind.lower(), x)
        return x

    def reference(self, x: torch.Tensor) -> torch.Tensor:
        return ACTIVATIONS[self.kind](x, self.alpha, self.beta)

    def lower(self, net: Any, x: Any) -> Any:
        return net.activation(x, self.kind, self.alpha, self.beta)


@dataclass(frozen=True, repr=False)
class Unary(Op):
    """TensorRT's Unary layer."""

    kind: str

    def infer(self, x: Spec) -> Spec:
        require_float(self.kind.lower(), x)
        return Spec(x.shape, torch.bool) if self.kind == "ISINF" else x

    def reference(self, x: torch.Tensor) -> torch.Tensor:
        return UNARIES[self.kind](x)

    def lower(self, net: Any, x: Any) -> Any:
        return net.unary(x, self.kind)


@dataclass(frozen=True, repr=False)
class Gelu(Op):
    """The GELU activation, which TensorRT has from 10 on."""

    approximate: str

    @property
    def kind(self) -> str:
        return "GELU_TANH" if self.approximate == "tanh" else "GELU_ERF"

    def infer(self, x: Spec) -> Spec:
        require_float("gelu", x)
        return x

    def reference(self, x: torch.Tensor) -> torch.Tensor:
        return F.gelu(x, approximate=self.approximate)

    def lower(self, net: Any, x: Any) -> Any:
        return net.activation(x, self.kind)

    def needs_decomposition(self, target: Any) -> bool:
        return self.kind not in target.activations

    def decompose(self, x: TensorT) -> TensorT:
        """Compose it in the exporter's order, which TensorRT 8.6 fuses."""
        if self.approximate == "tanh":
            cubed = mul(mul(mul(x, x), x), 0.044715)
            inner = mul(add(x, cubed), math.sqrt(2 / math.pi))
            return mul(mul(x, add(tanh(inner), 1.0)), 0.5)
        erf = bind(Unary("ERF"), div(x, math.sqrt(2)))
        return mul(mul(x, add(erf, 1.0)), 0.5)


def unary(kind: str, input: TensorT) -> TensorT:
    """Apply a unary function; integers become float32 first, as in PyTorch."""
    spec = spec_of(input)
    if not spec.dtype.is_floating_point:
        unsigned = spec.dtype == torch.uint8
        if kind in ("CEIL", "FLOOR", "ROUND") or (kind == "ABS" and unsigned):
            return input
        if kind == "ABS":
            return bind(Elementwise("MAX"), input, mul(input, -1))
        if kind == "NEG":
            return mul(input, -1)
        if kind == "ISINF":
            return logical_not(eq(input, input))
        if kind == "SIGN":
            if spec.dtype == torch.bool:
                return input
            return clamp(input, 0 if unsigned else -1, 1)
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
acosh = _unary("ACOSH", torch.acosh, T.acosh)
asin = _unary("ASIN", torch.asin, torch.arcsin, T.asin, T.arcsin)
asinh = _unary("ASINH", torch.asinh, T.asinh)
atan = _unary("ATAN", torch.atan, torch.arctan, T.atan, T.arctan)
atanh = _unary("ATANH", torch.atanh, T.atanh)
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
sign = _unary("SIGN", torch.sign, T.sign)
sin = _unary("SIN", torch.sin, T.sin)
sinh = _unary("SINH", torch.sinh, T.sinh)
sqrt = _unary("SQRT", torch.sqrt, T.sqrt)
tan = _unary("TAN", torch.tan, T.tan)


@torch_function(torch.round, torch.Tensor.round)
def round(input: TensorT, *, decimals: int = 0) -> TensorT:
    """Round half to even."""
    if decimals:
        raise UnsupportedError(f"round: decimals={decimals} is not taken")
    return unary("ROUND", input)


@torch_function(torch.rsqrt, torch.Tensor.rsqrt)
def rsqrt(input: TensorT) -> TensorT:
    """Compute ``1 / sqrt(x)``."""
    return reciprocal(sqrt(input))


@torch_function(torch.square, torch.Tensor.square)
def square(input: TensorT) -> TensorT:
    """Multiply each entry by itself."""
    return mul(input, input)


@torch_function(torch.pow, torch.Tensor.pow, torch.Tensor.__pow__)
def pow(input: Any, exponent: Any) -> TensorT:
    """Raise to a power: products, roots and reciprocals where they say it, else POW on floats.

    >>> pow(torch.tensor([3.0]), 2)
    tensor([9.])
    """
    if isinstance(exponent, (int, float)):
        with torch._C.DisableTorchFunction():
            dtype = result_type(input, exponent)
        base = cast(tensor_of(input), dtype)
        if exponent in (1, 2, 3):
            result = base
            for _ in range(int(exponent) - 1):
                result = mul(result, base)
            return result
        simple = {0.5: sqrt, -0.5: rsqrt, -1: reciprocal}.get(exponent)
        if simple is not None and dtype.is_floating_point:
            return simple(base)
    a, b = promote(input, exponent)
    if not spec_of(a).dtype.is_floating_point:
        raise UnsupportedError("pow: integers are taken to the powers 1, 2 and 3 only")
    return bind(Elementwise("POW"), a, b)


@torch_function(torch.Tensor.__rpow__)
def rpow(input: Any, other: Any) -> TensorT:
    """Raise ``other`` to the power ``input``."""
    return pow(other, input)


@torch_function(torch.exp2, torch.Tensor.exp2, torch.special.exp2)
def exp2(input: TensorT) -> TensorT:
    """Raise 2 to the power of every entry."""
    return pow(2.0, _float(input))


@torch_function(torch.log2, torch.Tensor.log2)
def log2(input: TensorT) -> TensorT:
    """Compute the logarithm to base 2."""
    return mul(unary("LOG", input), 1 / math.log(2))


@torch_function(torch.log10, torch.Tensor.log10)
def log10(input: TensorT) -> TensorT:
    """Compute the logarithm to base 10."""
    return mul(unary("LOG", input), 1 / math.log(10))


@torch_function(torch.trunc, torch.Tensor.trunc, torch.fix, torch.Tensor.fix)
def trunc(input: TensorT) -> TensorT:
    """Round towards 0."""
    if not spec_of(input).dtype.is_floating_point:
        return input
    low, high = unary("FLOOR", input), unary("CEIL", input)
    return where(bind(Elementwise("LESS"), *promote(input, 0.0)), high, low)


@torch_function(torch.isfinite, torch.Tensor.isfinite)
def isfinite(input: TensorT) -> TensorT:
    """Say which entries are neither infinite nor NaN."""
    return logical_not(logical_or(unary("ISINF", input), isnan(input)))


@torch_function(torch.isnan, torch.Tensor.isnan)
def isnan(input: TensorT) -> TensorT:
    """Say which entries are not equal to themselves."""
    return logical_not(eq(input, input))


@torch_function(F.relu, torch.relu, torch.Tensor.relu)
def relu(input: TensorT, inplace: bool = False) -> TensorT:
    """Replace negative entries by 0.

    >>> relu(torch.tensor([-1.0, 2.0]))
    tensor([0., 2.])
    """
    if not spec_of(input).dtype.is_floating_point:
        return clamp(input, 0)
    return bind(Activation("RELU"), input)


@torch_function(F.relu6)
def relu6(input: TensorT, inplace: bool = False) -> TensorT:
    """Clip every entry to 0 to 6."""
    return bind(Activation("CLIP", 0.0, 6.0), input)


@torch_function(F.hardtanh)
def hardtanh(
    input: TensorT, min_val: float = -1.0, max_val: float = 1.0, inplace: bool = False
) -> TensorT:
    """Clip every entry to ``min_val`` to ``max_val``."""
    return bind(Activation("CLIP", float(min_val), float(max_val)), input)


@torch_function(torch.clamp, torch.Tensor.clamp, torch.clip, torch.Tensor.clip)
def clamp(input: TensorT, min: Any = None, max: Any = None) -> TensorT:
    """Limit every entry to ``min`` to ``max``, numbers or tensors."""
    numbers = all(isinstance(v, (int, float)) and math.isfinite(v) for v in (min, max))
    if numbers and min <= max and spec_of(input).dtype.is_floating_point:
        return bind(Activation("CLIP", float(min), float(max)), input)
    bounds = [("MAX", min), ("MIN", max)]
    given = [(kind, bound) for kind, bound in bounds if bound is not None]
    if not given:
        raise UnsupportedError("clamp: expected min or max, got neither")
    result, *others = promote(input, *(bound for _, bound in given), exact=True)
    for (kind, _), other in zip(given, others, strict=True):
        result = bind(Elementwise(kind), result, other)
    return result


@torch_function(torch.clamp_min, torch.Tensor.clamp_min)
def clamp_min(input: TensorT, min: Any) -> TensorT:
    """Limit every entry from below."""
    return clamp(input, min)


@torch_function(torch.clamp_max, torch.Tensor.clamp_max)
def clamp_max(input: TensorT, max: Any) -> TensorT:
    """Limit every entry from above."""
    return clamp(input, None, max)


@torch_function(F.leaky_relu)
def leaky_relu(input: TensorT, negative_slope: float = 0.01, inplace: bool = False) -> TensorT:
    """Scale negative entries by ``negative_slope``."""
    return bind(Activation("LEAKY_RELU", float(negative_slope)), input)


@torch_function(F.elu)
def elu(input: TensorT, alpha: float = 1.0, inplace: bool = False) -> TensorT:
    """Replace negative entries by ``alpha * (exp(x) - 1)``."""
    return bind(Activation("ELU", float(alpha)), input)


@torch_function(F.celu, torch.celu)
def celu(input: TensorT, alpha: float = 1.0, inplace: bool = False) -> TensorT:
    """Replace negative entries by ``alpha * (exp(x / alpha) - 1)``."""
    return mul(elu(div(input, alpha)), alpha)


@torch_function(F.selu, torch.selu)
def selu(input: TensorT, inplace: bool = False) -> TensorT:
    """Apply the scaled ELU."""
    return bind(Activation("SELU", 1.6732632423543772, 1.0507009873554805), input)


@torch_function(torch.sigmoid, torch.Tensor.sigmoid, F.sigmoid, torch.special.expit)
def sigmoid(input: TensorT) -> TensorT:
    """Compute ``1 / (1 + exp(-x))``."""
    return bind(Activation("SIGMOID"), _float(input))


@torch_function(torch.tanh, torch.Tensor.tanh, F.tanh)
def tanh(input: TensorT) -> TensorT:
    """Compute the hyperbolic tangent."""
    return bind(Activation("TANH"), _float(input))


def _float(input: TensorT) -> TensorT:
    return input if spec_of(input).dtype.is_floating_point else cast(input, torch.float32)


@torch_function(F.softplus)
def softplus(input: TensorT, beta: float = 1.0, threshold: float = 20.0) -> TensorT:
    """Compute ``log(1 + exp(beta * x)) / beta``."""
    if threshold != 20.0:
        raise UnsupportedError(f"softplus: threshold={threshold} is not taken, only 20")
    return bind(Activation("SOFTPLUS", 1.0 / beta, float(beta)), input)


@torch_function(F.softsign)
def softsign(input: TensorT) -> TensorT:
    """Compute ``x / (1 + |x|)``."""
    return bind(Activation("SOFTSIGN"), input)


@torch_function(F.logsigmoid)
def logsigmoid(input: TensorT) -> TensorT:
    """Compute ``log(sigmoid(x))`` as ``min(x, 0) - log(1 + exp(-|x|))``."""
    tail = add(unary("EXP", mul(unary("ABS", input), -1.0)), 1.0)
    return sub(clamp(input, None, 0.0), unary("LOG", tail))


@torch_function(F.mish)
def mish(input: TensorT, inplace: bool = False) -> TensorT:
    """Compute ``x * tanh(softplus(x))``."""
    return mul(input, tanh(softplus(input)))


@torch_function(F.tanhshrink)
def tanhshrink(input: TensorT) -> TensorT:
    """Compute ``x - tanh(x)``."""
    return sub(input, tanh(input))


@torch_function(F.silu)
def silu(input: TensorT, inplace: bool = False) -> TensorT:
    """Compute ``x * sigmoid(x)``."""
    return mul(input, sigmoid(input))


@torch_function(F.hardsigmoid)
def hardsigmoid(input: TensorT, inplace: bool = False) -> TensorT:
    """Compute ``clamp(x / 6 + 1/2, 0, 1)``."""
    return bind(Activation("HARD_SIGMOID", 1 / 6, 0.5), input)


@torch_function(F.hardswish)
def hardswish(input: TensorT, inplace: bool = False) -> TensorT:
    """Compute ``x * hardsigmoid(x)``: the two layers that TensorRT fuses best."""
    return mul(input, hardsigmoid(input))


@torch_function(F.gelu)
def gelu(input: TensorT, approximate: str = "none") -> TensorT:
    """Compute ``x * Phi(x)``, exactly or by the tanh approximation.

    Source: Hendrycks and Gimpel, arXiv:1606.08415.
    """
    if approximate not in ("none", "tanh"):
        raise UnsupportedError(f"gelu: expected approximate 'none' or 'tanh', got {approximate!r}")
    return bind(Gelu(approximate), input)


@torch_function(F.dropout, torch.dropout)
def dropout(
    input: TensorT, p: float = 0.5, training: bool = True, inplace: bool = False
) -> TensorT:
    """Return ``input``; dropping entries depends on training and is refused."""
    if training and p > 0:
        recorder = getattr(input, "_trtnn_recorder", None)
        path = recorder.scopes[-1][0] if recorder is not None else ""
        raise TraceError(
            f"dropout with p={p} in training mode, in {path or 'forward'}",
            hint="call .eval() on the module before compiling it",
        )
    return input
