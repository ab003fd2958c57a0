"""Unpooling: maxima put back where they were found, among zeros."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from trtnn.errors import ShapeError
from trtnn.ops.convolution import ints_of
from trtnn.ops.creation import zeros
from trtnn.ops.movement import reshape
from trtnn.ops.op import (
    TensorT,
    as_sizes,
    refuse_integers,
    shape_of,
    spec_of,
    torch_function,
)
from trtnn.ops.scattering import scatter
from trtnn.sizes.dims import Size, decide, product

__all__ = ["max_unpool1d", "max_unpool2d", "max_unpool3d"]


def _max_unpool(function: str, count: int) -> Callable[..., TensorT]:
    def max_unpool(
        input: TensorT,
        indices: TensorT,
        kernel_size: Any,
        stride: Any = None,
        padding: Any = 0,
        output_size: Any = None,
    ) -> TensorT:
        """Put entries where ``indices`` say, as ``max_pool`` with ``return_indices`` gives them.

        Of two with one index, PyTorch and TensorRT each keep either.
        """
        spec = spec_of(input)
        refuse_integers(function, spec)
        if spec.rank not in (count + 1, count + 2) or shape_of(indices) != spec.shape:
            raise ShapeError(f"{function}: indices {spec_of(indices)} do not fit {spec}")
        head, sizes = spec.shape[:-count], spec.shape[-count:]
        window = ints_of(kernel_size, count)
        steps = window if stride is None else ints_of(stride, count)
        around = ints_of(padding, count)
        numbers = zip(sizes, window, steps, around, strict=True)
        plain = tuple((n - 1) * s - 2 * p + k for n, k, s, p in numbers)
        wanted = plain if output_size is None else as_sizes(output_size)[-count:]
        _require_near(function, wanted, plain, steps)
        flat = zeros(*head, product(wanted), dtype=spec.dtype)
        rows = (reshape(t, (*head, product(sizes))) for t in (indices, input))
        return reshape(scatter(flat, -1, *rows), (*head, *wanted))

    max_unpool.__name__ = max_unpool.__qualname__ = function
    return max_unpool


def _require_near(
    function: str, wanted: tuple[Size, ...], plain: tuple[Size, ...], steps: tuple[int, ...]
) -> None:
    """Require sizes that pooling may have started from, as PyTorch does."""
    if len(wanted) != len(plain):
        raise ShapeError(f"{function}: expected {len(plain)} sizes, got {len(wanted)}")
    for size, own, step in zip(wanted, plain, steps, strict=True):
        if decide("le", size, own - step) or decide("ge", size, own + step):
            raise ShapeError(
                f"{function}: output_size {size} is not within {step} of {own}", sizes=(size,)
            )


F = torch.nn.functional
max_unpool1d = torch_function(F.max_unpool1d)(_max_unpool("max_unpool1d", 1))
max_unpool2d = torch_function(F.max_unpool2d)(_max_unpool("max_unpool2d", 2))
max_unpool3d = torch_function(F.max_unpool3d)(_max_unpool("max_unpool3d", 3))
