"""Activations, powers and limits: one entry at a time."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F

from trtnn.errors import DTypeError, UnsupportedError
from trtnn.ops.arithmetic import (
    Elementwise,
    add,
    cast,
    eq,
    gt,
    lt,
    maximum,
    minimum,
    mul,
    ne,
    promote,
    require_fit,
    result_type,
    sub,
    tensor_of,
    where,
)
from trtnn.ops.division import div
from trtnn.ops.op import Op, Spec, TensorT, bind, require_float, spec_of, torch_function
from trtnn.ops.unary import Unary, log1p, reciprocal, rsqrt, sqrt, unary

__all__ = [
    "Activation", "Gelu", "celu", "clamp", "clamp_max", "clamp_min", "elu", "exp2",
    "float_power", "gelu", "hardsigmoid", "hardswish", "hardtanh", "ldexp", "leaky_relu",
    "logsigmoid", "mish", "pow", "relu", "relu6", "selu", "sigmoid", "silu", "softplus", "softsign",
    "square", "tanh", "tanhshrink",
]  # fmt: skip

T = torch.Tensor
SELU = (1.6732632423543772, 1.0507009873554805)
Real = Callable[[torch.Tensor, float, float], torch.Tensor]
ACTIVATIONS: dict[str, Real] = {
    "RELU": lambda x, a, b: F.relu(x),
    "SIGMOID": lambda x, a, b: torch.sigmoid(x),
    "TANH": lambda x, a, b: torch.tanh(x),
    "LEAKY_RELU": lambda x, a, b: F.leaky_relu(x, a),
    "ELU": lambda x, a, b: F.elu(x, a),
    "SELU": lambda x, a, b: F.selu(x) if (a, b) == SELU else b * F.elu(x, a),
    "SOFTSIGN": lambda x, a, b: F.softsign(x),
    "SOFTPLUS": lambda x, a, b: F.softplus(x, b) if a * b == 1 else a * F.softplus(b * x),
    "CLIP": lambda x, a, b: x.clamp(a, b),
    "HARD_SIGMOID": lambda x, a, b: (x * a + b).clamp(0, 1),
    "SCALED_TANH": lambda x, a, b: a * torch.tanh(b * x),
    "THRESHOLDED_RELU": lambda x, a, b: F.threshold(x, a, 0.0),
}


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

    def decompose(self, x: TensorT) -> TensorT:
        """Compose an ELU, in float32: near 0 half has few digits of an exponential less 1."""
        wide = cast(x, torch.float32)
        below = mul(sub(bind(Unary("EXP"), minimum(wide, 0.0)), 1.0), self.alpha)
        return cast(add(maximum(wide, 0.0), below), spec_of(x).dtype)


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
        """Compose it in the exporter's order, which TensorRT 8.6 fuses.

        Where that does not fuse it, half overflows from 32,752 on, as ``2 * x`` does.
        """
        if self.approximate == "tanh":
            cubed = mul(mul(mul(x, x), x), 0.044715)
            inner = mul(add(x, cubed), math.sqrt(2 / math.pi))
            return mul(mul(x, add(tanh(inner), 1.0)), 0.5)
        erf = bind(Unary("ERF"), div(x, math.sqrt(2)))
        return mul(mul(x, add(erf, 1.0)), 0.5)


@torch_function(torch.square, torch.Tensor.square)
def square(input: TensorT) -> TensorT:
    """Multiply each entry by itself; bools become int64."""
    return pow(input, 2)


@torch_function(torch.pow, torch.Tensor.pow, torch.Tensor.__pow__)
def pow(input: Any, exponent: Any) -> TensorT:
    """Raise to a power: products, roots and reciprocals where they say it, else POW on floats.

    To the power 0.5 is ``sqrt``, as PyTorch has it but for float16 on a CPU, which gives inf at
    -inf.

    >>> pow(torch.tensor([3.0]), 2)
    tensor([9.])
    """
    if not isinstance(exponent, (int, float)):
        a, b = promote(input, exponent)
        if spec_of(a).dtype.is_floating_point:
            return bind(Elementwise("POW"), a, b)
        return _integer_powers(a, b)
    with torch._C.DisableTorchFunction():
        dtype = result_type(input, exponent)
    require_fit("pow", exponent, dtype)
    base = cast(tensor_of(input), dtype)
    if not dtype.is_floating_point:
        return _whole_power(base, int(exponent))
    if exponent in (1, 2, 3):
        return _whole_power(base, int(exponent))
    simple = {0.5: sqrt, -0.5: rsqrt, -1: reciprocal}
    if exponent in simple:
        return simple[exponent](base)
    return bind(Elementwise("POW"), base, torch.tensor(exponent, dtype=dtype))


def _whole_power(base: TensorT, exponent: int) -> TensorT:
    """Multiply from the left, and from 4 on square: as many products as the exponent has bits."""
    if exponent < 0:
        raise DTypeError(
            f"pow: {spec_of(base).dtype} to the power {exponent} is no integer",
            hint="convert with .float() before",
        )
    if exponent < 4:
        result = add(mul(base, 0), 1) if exponent == 0 else base
        for _ in range(exponent - 1):
            result = mul(result, base)
        return result
    half = _whole_power(base, exponent // 2)
    square = mul(half, half)
    return mul(square, base) if exponent % 2 else square


def _integer_powers(base: TensorT, exponent: TensorT) -> TensorT:
    """Square and multiply by the bits of an exponent that is not known.

    From 128 on every power fits no integer, but those of -1, 0 and 1: of others that are odd,
    PyTorch has other last bits.
    """
    dtype = spec_of(base).dtype
    if dtype == torch.bool:
        raise UnsupportedError("pow: bools are not taken to a power", hint="convert with .int()")
    result, square, left = tensor_of(1, dtype), base, exponent
    parity: TensorT = None
    for _ in range(6):
        half = bind(Elementwise("FLOOR_DIV"), left, torch.tensor(2, dtype=dtype))
        odd = ne(sub(left, mul(half, 2)), 0)
        parity = odd if parity is None else parity
        result = where(odd, mul(square, result), result)
        square, left = mul(square, square), half
    result = where(gt(left, 0), mul(square, result), result)
    if dtype == torch.uint8:
        return result
    one = where(eq(base, 1), 1, where(eq(base, -1), where(parity, -1, 1), 0))
    return where(lt(exponent, 0), cast(one, dtype), result)  # 1 over it, rounded towards 0


@torch_function(torch.float_power, torch.Tensor.float_power)
def float_power(input: Any, exponent: Any) -> TensorT:
    """Raise to a power in float64, which no TensorRT has: see ``Precision(float64=...)``."""
    given = (cast(x, torch.float64) if isinstance(x, T) else x for x in (input, exponent))
    return pow(*given)


@torch_function(torch.ldexp, torch.Tensor.ldexp)
def ldexp(input: TensorT, other: TensorT) -> TensorT:
    """Multiply by 2 to the power ``other``, computed in float32."""
    dtype = spec_of(promote(input, other, floating=True)[0]).dtype
    wide = (cast(x, torch.promote_types(dtype, torch.float32)) for x in (input, other))
    number, power = wide
    return cast(mul(number, pow(2.0, power)), dtype)


@torch_function(torch.Tensor.__rpow__)
def rpow(input: Any, other: Any) -> TensorT:
    """Raise ``other`` to the power ``input``."""
    return pow(other, input)


@torch_function(torch.exp2, torch.Tensor.exp2, torch.special.exp2)
def exp2(input: TensorT) -> TensorT:
    """Raise 2 to the power of every entry."""
    return pow(2.0, _float(input))


@torch_function(F.relu, torch.relu, torch.Tensor.relu)
def relu(input: TensorT, inplace: bool = False) -> TensorT:
    """Replace negative entries by 0.

    >>> relu(torch.tensor([-1.0, 2.0]))
    tensor([0., 2.])
    """
    dtype = spec_of(input).dtype
    if dtype == torch.bool:
        raise DTypeError("relu: expected numbers, got torch.bool")
    return bind(Activation("RELU"), input) if dtype.is_floating_point else clamp(input, 0)


@torch_function(F.relu6)
def relu6(input: TensorT, inplace: bool = False) -> TensorT:
    """Clip every entry to 0 to 6."""
    return hardtanh(input, 0, 6)


@torch_function(F.hardtanh)
def hardtanh(
    input: TensorT, min_val: float = -1.0, max_val: float = 1.0, inplace: bool = False
) -> TensorT:
    """Clip every entry to ``min_val`` to ``max_val``."""
    dtype = spec_of(input).dtype
    if dtype == torch.bool:
        raise DTypeError("hardtanh: expected numbers, got torch.bool")
    limits = (min_val, max_val) if dtype.is_floating_point else (int(min_val), int(max_val))
    return clamp(input, *limits)


@torch_function(torch.clamp, torch.Tensor.clamp, torch.clip, torch.Tensor.clip)
def clamp(input: TensorT, min: Any = None, max: Any = None) -> TensorT:
    """Limit every entry to ``min`` to ``max``, numbers or tensors.

    A number that 16 bits cannot hold is taken as infinite, as PyTorch does on a GPU.
    """
    dtype = spec_of(input).dtype
    for bound in (min, max):
        if isinstance(bound, float):
            require_fit("clamp", bound, torch.float32)
    if isinstance(min, (int, float)) and isinstance(max, (int, float)) and dtype.is_floating_point:
        most = torch.finfo(dtype).max
        if -most <= min <= max <= most:
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
    require_float("celu", spec_of(input))
    return mul(elu(div(input, alpha)), alpha)


@torch_function(F.selu, torch.selu)
def selu(input: TensorT, inplace: bool = False) -> TensorT:
    """Apply the scaled ELU."""
    return bind(Activation("SELU", *SELU), input)


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
    """Compute ``log(1 + exp(beta * x)) / beta``, and ``x`` where ``beta * x`` is above a limit."""
    if threshold == 20.0:
        return bind(Activation("SOFTPLUS", 1.0 / beta, float(beta)), input)
    require_float("softplus", spec_of(input))
    x = mul(cast(input, torch.float32), beta)
    tail = log1p(unary("EXP", unary("NEG", unary("ABS", x))))
    curve = div(add(clamp(x, 0.0), tail), beta)
    return where(gt(x, threshold), input, cast(curve, spec_of(input).dtype))


@torch_function(F.softsign)
def softsign(input: TensorT) -> TensorT:
    """Compute ``x / (1 + |x|)``."""
    return bind(Activation("SOFTSIGN"), _float(input))


@torch_function(F.logsigmoid)
def logsigmoid(input: TensorT) -> TensorT:
    """Compute ``log(sigmoid(x))`` as ``min(x, 0) - log(1 + exp(-|x|))``, in float32."""
    require_float("logsigmoid", spec_of(input))
    x = cast(input, torch.float32)
    tail = log1p(unary("EXP", unary("NEG", unary("ABS", x))))
    return cast(sub(clamp(x, None, 0.0), tail), spec_of(input).dtype)


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
