"""Complex tensors as two real ones: TensorRT has no complex type, so a graph holds their parts.

A traced complex tensor has no value in the graph, only parts that have. What a torch callable
means where an operand is complex stands in ``COMPLEX``; all others are refused there.
"""

from __future__ import annotations

import builtins
from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar

import torch

from trtnn.errors import DTypeError, ShapeError, UnsupportedError
from trtnn.ops.arithmetic import (
    add,
    cast,
    eq,
    logical_and,
    logical_not,
    lt,
    mul,
    promote,
    sub,
    where,
)
from trtnn.ops.creation import zeros_like
from trtnn.ops.division import div
from trtnn.ops.einsum import einsum
from trtnn.ops.joining import stack
from trtnn.ops.matrix import matmul
from trtnn.ops.movement import expand, mT
from trtnn.ops.op import TABLE, TensorT, broadcast, recorder_of, shape_of, spec_of, torch_function
from trtnn.ops.slicing import select
from trtnn.ops.unary import atan, cos, exp, sin, sqrt

__all__ = ["complex", "join", "parts_of", "polar", "view_as_complex"]

T = torch.Tensor
F = TypeVar("F", bound=Callable[..., Any])
COMPLEX: dict[Any, Callable[..., Any]] = {}
"""What torch callables mean where an operand is complex."""
REAL = {torch.float16: torch.complex32, torch.float32: torch.complex64,
        torch.float64: torch.complex128}  # fmt: skip
_GETTERS: Any = T


def complex_function(*callables: Any) -> Callable[[F], F]:
    """Register a function as the meaning of torch callables on complex tensors."""

    def register(function: F) -> F:
        COMPLEX.update(dict.fromkeys(callables, function))
        return function

    return register


def is_complex(value: Any) -> bool:
    """Say whether a value is a complex tensor, or a complex number of Python's."""
    if isinstance(value, torch.Tensor):
        return spec_of(value).dtype.is_complex
    return isinstance(value, builtins.complex)


def parts_of(value: Any) -> tuple[Any, Any]:
    """Return the real and the imaginary part; None for the latter where there is none."""
    if not isinstance(value, torch.Tensor):
        return (value.real, value.imag) if is_complex(value) else (value, None)
    if not is_complex(value):
        return value, None
    parts: tuple[Any, Any] | None = getattr(value, "_trtnn_parts", None)
    if parts is not None:
        return parts
    known = torch.view_as_real(torch.resolve_conj(value))
    return select(known, -1, 0), select(known, -1, 1)


def join(real: TensorT, imaginary: TensorT) -> TensorT:
    """Return the complex tensor of two parts, which are brought to one dtype and shape."""
    pair = promote(real, imaginary)
    shape = broadcast("complex", *map(shape_of, pair))
    pair = [expand(part, shape) for part in pair]
    dtype = REAL.get(spec_of(pair[0]).dtype)
    if dtype is None:
        raise DTypeError(f"complex: expected float16, float32 or float64, got {spec_of(pair[0])}")
    recorder: Any = recorder_of(*pair)
    return torch.complex(*pair) if recorder is None else recorder.complex(dtype, *pair)


# Between real and complex --------------------------------------------------------------------


@torch_function(torch.view_as_complex)
def view_as_complex(input: TensorT) -> TensorT:
    """Read the last dim, of size 2, as real and imaginary part.

    >>> view_as_complex(torch.tensor([[1.0, 2.0]]))
    tensor([1.+2.j])
    """
    if not shape_of(input) or shape_of(input)[-1] != 2:
        raise ShapeError(f"view_as_complex: expected a last dim of size 2, got {spec_of(input)}")
    return join(select(input, -1, 0), select(input, -1, 1))


@torch_function(torch.complex)
def complex(real: TensorT, imag: TensorT) -> TensorT:
    """Return a complex tensor of its parts."""
    if spec_of(real).dtype != spec_of(imag).dtype:
        raise DTypeError(f"complex: expected one dtype, got {spec_of(real)} and {spec_of(imag)}")
    return join(real, imag)


@torch_function(torch.polar)
def polar(abs: TensorT, angle: TensorT) -> TensorT:
    """Return a complex tensor of its absolute values and angles."""
    return join(mul(abs, cos(angle)), mul(abs, sin(angle)))


@complex_function(torch.view_as_real)
def view_as_real(input: TensorT) -> TensorT:
    """Return the parts side by side along a new last dim."""
    return stack(parts_of(input), -1)


@complex_function(torch.real, _GETTERS.real.__get__)
def real(input: TensorT) -> TensorT:
    """Return the real part."""
    return parts_of(input)[0]


@complex_function(torch.imag, _GETTERS.imag.__get__)
def imag(input: TensorT) -> TensorT:
    """Return the imaginary part."""
    return parts_of(input)[1]


@complex_function(torch.abs, T.abs, T.__abs__, torch.absolute, T.absolute)
def absolute(input: TensorT) -> TensorT:
    """Return the distances from 0, without overflow of their squares."""
    a, b = (TABLE[torch.abs](part) for part in parts_of(input))
    most, least = TABLE[torch.maximum](a, b), TABLE[torch.minimum](a, b)
    share = div(least, where(eq(most, 0.0), 1.0, most))
    return mul(most, sqrt(add(mul(share, share), 1.0)))


@complex_function(torch.angle, T.angle)
def angle(input: TensorT) -> TensorT:
    """Return the angles from the real axis, from -pi to pi."""
    x, y = parts_of(input)
    # Of 0 the angle is 0; left of the imaginary axis, half a turn is missing.
    steep = atan(div(y, where(logical_and(eq(x, 0.0), eq(y, 0.0)), 1.0, x)))
    turn = where(lt(y, 0.0), -torch.pi, torch.pi)
    return where(lt(x, 0.0), add(steep, turn), steep)


# Arithmetic ----------------------------------------------------------------------------------


@complex_function(torch.conj, T.conj, torch.conj_physical, T.conj_physical)
def conj(input: TensorT) -> TensorT:
    """Turn the sign of the imaginary part."""
    a, b = parts_of(input)
    return join(a, mul(b, -1))


@complex_function(torch.mul, T.mul, T.__mul__, T.__rmul__, torch.multiply, T.multiply)
def product(input: Any, other: Any) -> TensorT:
    """Multiply; a real factor multiplies both parts."""
    return _product(mul, input, other)


def _product(times: Callable[[Any, Any], Any], input: Any, other: Any) -> TensorT:
    (a, b), (c, d) = parts_of(input), parts_of(other)
    if b is None:
        return join(times(a, c), times(a, d))
    if d is None:
        return join(times(a, c), times(b, c))
    return join(sub(times(a, c), times(b, d)), add(times(a, d), times(b, c)))


@complex_function(torch.matmul, T.matmul, T.__matmul__, torch.bmm, T.bmm, torch.mm, T.mm)
def matrix_product(input: TensorT, other: TensorT) -> TensorT:
    """Multiply matrices."""
    return _product(matmul, input, other)


@complex_function(torch.einsum, torch.functional.einsum)
def products(equation: str, *operands: Any) -> TensorT:
    """Multiply operands and add up, as ``einsum`` of one or two."""
    if len(operands) == 1 and isinstance(operands[0], (tuple, list)):
        operands = tuple(operands[0])
    if len(operands) > 2:
        raise UnsupportedError(
            f"einsum: {len(operands)} complex operands", hint="multiply two at a time"
        )
    if len(operands) == 1:
        return join(*(einsum(equation, part) for part in parts_of(operands[0])))
    return _product(lambda a, b: einsum(equation, a, b), *operands)


@complex_function(torch.add, T.add, T.__add__, T.__radd__)
def plus(input: Any, other: Any, *, alpha: Any = 1) -> TensorT:
    """Add ``alpha * other``; a real number has no part in the imaginary part."""
    (a, b), (c, d) = parts_of(input), parts_of(other)
    real = add(a, c, alpha=alpha)
    return join(real, _both(b, d, real, lambda x, y: add(x, y, alpha=alpha)))


@complex_function(torch.sub, T.sub, T.__sub__, torch.subtract, T.subtract)
def minus(input: Any, other: Any, *, alpha: Any = 1) -> TensorT:
    """Subtract ``alpha * other``."""
    (a, b), (c, d) = parts_of(input), parts_of(other)
    real = sub(a, c, alpha=alpha)
    return join(real, _both(b, d, real, lambda x, y: sub(x, y, alpha=alpha)))


def _both(b: Any, d: Any, real: TensorT, combine: Callable[[Any, Any], Any]) -> TensorT:
    nothing = zeros_like(real)
    return combine(nothing if b is None else b, nothing if d is None else d)


@complex_function(torch.rsub, T.__rsub__)
def minus_from(input: Any, other: Any, *, alpha: Any = 1) -> TensorT:
    """Subtract ``alpha * input`` from ``other``."""
    return minus(other, input, alpha=alpha)


@complex_function(
    *(torch.div, T.div, T.__truediv__, torch.true_divide, T.true_divide, torch.divide, T.divide)
)
def quotient(input: Any, other: Any) -> TensorT:
    """Divide; a real divisor divides both parts."""
    (a, b), (c, d) = parts_of(input), parts_of(other)
    if d is None:
        return join(div(a, c), div(b, c))
    size = add(mul(c, c), mul(d, d))
    return _product(mul, input, join(div(c, size), div(mul(d, -1), size)))


@complex_function(T.__rtruediv__, T.__rdiv__)
def quotient_of(input: Any, other: Any) -> TensorT:
    """Divide ``other`` by ``input``."""
    return quotient(other, input)


@complex_function(torch.exp, T.exp)
def exponential(input: TensorT) -> TensorT:
    """Raise e to a complex power."""
    a, b = parts_of(input)
    return polar(exp(a), b)


@complex_function(torch.square, T.square)
def square(input: TensorT) -> TensorT:
    """Multiply each entry by itself."""
    return product(input, input)


@complex_function(torch.pow, T.pow, T.__pow__)
def power(input: Any, exponent: Any) -> TensorT:
    """Raise to a positive whole power, by products.

    Raises:
        UnsupportedError: Any other power.
    """
    if type(exponent) is not int or exponent < 1:
        raise UnsupportedError(f"pow: a complex tensor to the power {exponent!r}")
    result = input
    for _ in range(exponent - 1):
        result = product(result, input)
    return result


@complex_function(torch.eq, T.eq, T.__eq__)
def equal(input: Any, other: Any) -> TensorT:
    """Compare both parts for equality."""
    (a, b), (c, d) = parts_of(input), parts_of(other)
    return logical_and(eq(a, c), eq(0.0 if b is None else b, 0.0 if d is None else d))


@complex_function(torch.ne, T.ne, T.__ne__, torch.not_equal)
def unequal(input: Any, other: Any) -> TensorT:
    """Compare for inequality."""
    return logical_not(equal(input, other))


@complex_function(torch.where)
def choice(condition: TensorT, input: Any, other: Any) -> TensorT:
    """Take the entries of one tensor where a condition holds, of another elsewhere."""
    (a, b), (c, d) = parts_of(input), parts_of(other)
    return join(
        where(condition, a, c), where(condition, *(0.0 if x is None else x for x in (b, d)))
    )


@complex_function(T.to, T.type)
def to(input: TensorT, *args: Any, **kwargs: Any) -> TensorT:
    """Convert to another complex type; a device is where the tensor is."""
    dtypes = [x for x in (*args, *kwargs.values()) if isinstance(x, torch.dtype)]
    if not dtypes:
        return input
    own = {kind: part for part, kind in REAL.items()}
    if dtypes[0] not in own:
        raise UnsupportedError(
            f"to: {spec_of(input).dtype} to {dtypes[0]} drops the imaginary part", hint="use .real"
        )
    return join(*(cast(part, own[dtypes[0]]) for part in parts_of(input)))


@complex_function(_GETTERS.H.__get__, _GETTERS.mH.__get__, torch.adjoint, T.adjoint)
def adjoint(input: TensorT) -> TensorT:
    """Swap the last two dims of the conjugate."""
    a, b = parts_of(input)
    return join(mT(a), mul(mT(b), -1))


# What is done to each part alone -------------------------------------------------------------

LINEAR = frozenset(
    (
        "reshape view view_as reshape_as flatten ravel unflatten squeeze unsqueeze permute "
        "transpose swapaxes swapdims t T.__get__ mT.__get__ movedim moveaxis contiguous detach "
        "clone expand expand_as broadcast_to repeat tile repeat_interleave narrow select cat "
        "concat concatenate stack hstack vstack dstack chunk split split_with_sizes tensor_split "
        "unbind roll flip fliplr flipud __getitem__ index_select gather pad diagonal diff sum mean "
        "cumsum neg negative __neg__ tril triu trace resolve_conj resolve_neg zeros_like"
    ).split()
)


def complex_meaning(function: Any, name: str) -> Callable[..., Any] | None:
    """Return what a torch callable means where an operand is complex, None where it is refused."""
    if function not in COMPLEX and function in TABLE and name in LINEAR:
        COMPLEX[function] = lift(TABLE[function])
    return COMPLEX.get(function)


def lift(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return a linear function of real tensors as one of complex tensors."""

    @wraps(function)
    def lifted(*args: Any, **kwargs: Any) -> Any:
        results = [function(*_each(args, i), **_each(kwargs, i)) for i in (0, 1)]
        if isinstance(results[0], (tuple, list)):
            return type(results[0])(join(*pair) for pair in zip(*results, strict=True))
        return join(*results)

    return lifted


def _each(value: Any, index: int) -> Any:
    """Return arguments with each complex tensor as its part."""
    if is_complex(value):
        return parts_of(value)[index]
    if isinstance(value, (tuple, list)) and not isinstance(value, torch.Size):
        return type(value)(_each(item, index) for item in value)
    if isinstance(value, dict):
        return {key: _each(item, index) for key, item in value.items()}
    return value
