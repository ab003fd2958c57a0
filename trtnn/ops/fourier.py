"""Fourier transforms of static lengths, as products by matrices of cosines and sines."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import torch

from trtnn.errors import ShapeError, UnsupportedError
from trtnn.ops.arithmetic import add, cast, sub
from trtnn.ops.complex import complex_function, conj, is_complex, join, parts_of
from trtnn.ops.joining import roll
from trtnn.ops.matrix import matmul
from trtnn.ops.movement import movedim
from trtnn.ops.op import TensorT, axis_of, shape_of, spec_of, torch_function
from trtnn.ops.padding import pad
from trtnn.ops.reduction import axes_of
from trtnn.ops.slicing import narrow
from trtnn.sizes.dims import Size

__all__: list[str] = []

FFT = torch.fft
F = TypeVar("F", bound=Callable[..., Any])
MOST = 4096  # the sides of a matrix: 64 MiB of cosines, and as many sines
NORMS = {None: 0.0, "backward": 0.0, "ortho": 0.5, "forward": 1.0}


def _scale(name: str, norm: Any, length: int, *, inverse: bool) -> float:
    if norm not in NORMS:
        raise UnsupportedError(
            f"{name}: expected norm to be backward, ortho or forward, got {norm!r}"
        )
    power = 1 - NORMS[norm] if inverse else NORMS[norm]
    return float(length**-power)


def _length(name: str, n: Any, size: Size) -> int:
    length = size if n is None else n
    if not isinstance(length, int) or not 1 <= length <= MOST:
        raise UnsupportedError(
            f"{name}: expected a static length of 1 to {MOST}, got {length}",
            hint="give n=, or declare the size as a number",
        )
    return length


def _fitted(x: TensorT, length: int) -> TensorT:
    """Cut the last dim to a length, or fill it up with zeros."""
    size = shape_of(x)[-1]
    if size == length:
        return x
    if not isinstance(size, int):
        raise UnsupportedError(f"fft: expected a static size, got {size}")
    return narrow(x, -1, 0, length) if size > length else pad(x, (0, length - size))


def angles(rows: int, columns: int, length: int) -> torch.Tensor:
    """Return the angles ``2 pi i k / length`` in float64, from products that are exact."""
    turns = torch.outer(torch.arange(rows), torch.arange(columns)) % length
    return turns.double() * (2 * math.pi / length)


def _last(input: TensorT, dim: int, name: str) -> tuple[list[Any], int]:
    """Return the parts of a tensor as floats with ``dim`` last, and that dim."""
    shape = shape_of(input)
    if not shape:
        raise ShapeError(f"{name}: expected at least one dim, got a scalar")
    axis = axis_of(name, dim, len(shape))
    parts: list[Any] = []
    for part in parts_of(input):
        if part is None:
            parts.append(None)
            continue
        whole = part if spec_of(part).dtype.is_floating_point else cast(part, torch.float32)
        parts.append(movedim(whole, axis, -1))
    return parts, axis


def transform(
    name: str, input: TensorT, n: Any, dim: int, norm: Any, *, inverse: bool, half: bool = False
) -> TensorT:
    """Transform along a dim; where ``half``, return only the first half of what is symmetric."""
    (a, b), axis = _last(input, dim, name)
    length = _length(name, n, shape_of(a)[-1])
    turns = angles(length, length // 2 + 1 if half else length, length)
    factor = _scale(name, norm, length, inverse=inverse)
    sign = 1.0 if inverse else -1.0
    dtype = spec_of(a).dtype
    cosines, sines = ((f(turns) * factor).to(dtype) for f in (torch.cos, torch.sin))
    sines = sines * sign
    a = _fitted(a, length)
    if b is None:
        parts = matmul(a, cosines), matmul(a, sines)
    else:
        b = _fitted(b, length)
        parts = (
            sub(matmul(a, cosines), matmul(b, sines)),
            add(matmul(a, sines), matmul(b, cosines)),
        )
    return join(*(movedim(part, -1, axis) for part in parts))


def real_inverse(name: str, input: TensorT, n: Any, dim: int, norm: Any) -> TensorT:
    """Return the real tensor whose transform's first half is given."""
    (a, b), axis = _last(input, dim, name)
    size = shape_of(a)[-1]
    length = _length(name, n, 2 * (size - 1))
    count = length // 2 + 1
    turns = angles(count, length, length)
    weight = torch.full((count, 1), 2.0, dtype=torch.float64)
    weight[0] = 1
    if length % 2 == 0:
        weight[-1] = 1
    factor = weight * _scale(name, norm, length, inverse=True)
    dtype = spec_of(a).dtype
    result = matmul(_fitted(a, count), (turns.cos() * factor).to(dtype))
    if b is not None:
        result = sub(result, matmul(_fitted(b, count), (turns.sin() * factor).to(dtype)))
    return movedim(result, -1, axis)


def _both(*callables: Any) -> Callable[[F], F]:
    """Register a function for real and for complex operands."""

    def register(function: F) -> F:
        complex_function(*callables)(function)
        return torch_function(*callables)(function)

    return register


@_both(FFT.fft)
def fft(input: TensorT, n: Any = None, dim: int = -1, norm: Any = None) -> TensorT:
    """Transform along a dim of a static length."""
    return transform("fft", input, n, dim, norm, inverse=False)


@_both(FFT.ifft)
def ifft(input: TensorT, n: Any = None, dim: int = -1, norm: Any = None) -> TensorT:
    """Transform back along a dim of a static length."""
    return transform("ifft", input, n, dim, norm, inverse=True)


@torch_function(FFT.rfft)
def rfft(input: TensorT, n: Any = None, dim: int = -1, norm: Any = None) -> TensorT:
    """Transform a real tensor; the other half of the result is the conjugate of this one."""
    return transform("rfft", input, n, dim, norm, inverse=False, half=True)


@_both(FFT.irfft)
def irfft(input: TensorT, n: Any = None, dim: int = -1, norm: Any = None) -> TensorT:
    """Transform half of a symmetric tensor back to a real one."""
    return real_inverse("irfft", input, n, dim, norm)


def _turned(norm: Any) -> Any:
    """Return the norm of a transform that runs the other way."""
    return {None: "forward", "backward": "forward", "forward": "backward"}.get(norm, norm)


@_both(FFT.hfft)
def hfft(input: TensorT, n: Any = None, dim: int = -1, norm: Any = None) -> TensorT:
    """Transform half of a symmetric tensor to a real one."""
    other = conj(input) if is_complex(input) else input
    return real_inverse("hfft", other, n, dim, _turned(norm))


@torch_function(FFT.ihfft)
def ihfft(input: TensorT, n: Any = None, dim: int = -1, norm: Any = None) -> TensorT:
    """Transform a real tensor back to half of a symmetric one."""
    return transform("ihfft", input, n, dim, norm, inverse=True, half=True)


def _pairs(name: str, input: TensorT, s: Any, dim: Any) -> list[tuple[int, Any]]:
    """Return each axis that is transformed, and the length given for it."""
    rank = len(shape_of(input))
    if dim is None:
        axes: Sequence[int] = range(rank) if s is None else range(rank - len(s), rank)
    else:
        axes = [axis_of(name, d, rank) for d in ((dim,) if isinstance(dim, int) else dim)]
    lengths = [None if n == -1 else n for n in s] if s is not None else [None] * len(axes)
    if len(lengths) != len(axes):
        raise ShapeError(f"{name}: {len(lengths)} lengths for {len(axes)} dims")
    return list(zip(axes, lengths, strict=True))


def _several(name: str, one: Any, last: Any, *, last_first: bool = False) -> Any:
    """Return the transform along several dims: ``last`` along the last of them, else ``one``."""

    def function(input: TensorT, s: Any = None, dim: Any = None, norm: Any = None) -> TensorT:
        pairs = _pairs(name, input, s, dim)
        if not pairs:
            raise UnsupportedError(f"{name}: expected at least one dim")
        steps = [(one, *pair) for pair in pairs[:-1]]
        final = [(last, *pairs[-1])]
        for step, axis, length in final + steps if last_first else steps + final:
            input = step(input, length, axis, norm)
        return input

    function.__name__ = name
    function.__doc__ = f"Compute ``torch.fft.{name}`` one dim after another."
    return function


def _of_two(name: str, whole: Any) -> Any:
    def function(input: TensorT, s: Any = None, dim: Any = (-2, -1), norm: Any = None) -> TensorT:
        return whole(input, s, dim, norm)

    function.__name__ = name
    function.__doc__ = f"Compute ``torch.fft.{name}`` along two dims."
    return function


for _name, _one, _end, _first in (
    ("fft", fft, fft, False),
    ("ifft", ifft, ifft, False),
    ("rfft", fft, rfft, True),
    ("irfft", ifft, irfft, False),
    ("hfft", fft, hfft, False),
    ("ihfft", ifft, ihfft, True),
):
    _whole = _several(f"{_name}n", _one, _end, last_first=_first)
    _both(getattr(FFT, f"{_name}n"))(_whole)
    _both(getattr(FFT, f"{_name}2"))(_of_two(f"{_name}2", _whole))


def _shifted(input: TensorT, dim: Any, up: int) -> TensorT:
    axes = axes_of("fftshift", input, dim)
    shape = shape_of(input)
    shifts = [(shape[axis] + up) // 2 for axis in axes]
    if not axes:
        return input
    parts = [roll(p, shifts, axes) for p in parts_of(input) if p is not None]
    return join(*parts) if is_complex(input) else parts[0]


@_both(FFT.fftshift)
def fftshift(input: TensorT, dim: Any = None) -> TensorT:
    """Turn dims by half their size, so that what is in front stands in the middle."""
    return _shifted(input, dim, 0)


@_both(FFT.ifftshift)
def ifftshift(input: TensorT, dim: Any = None) -> TensorT:
    """Turn dims back, so that what stands in the middle is in front."""
    return _shifted(input, dim, 1)
