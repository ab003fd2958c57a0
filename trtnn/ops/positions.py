"""What depends on places only: triangles, grids and even steps."""

from __future__ import annotations

from typing import Any

import torch

from trtnn.errors import ShapeError, UnsupportedError
from trtnn.ops.arithmetic import (
    Elementwise,
    add,
    cast,
    eq,
    ge,
    le,
    lt,
    maximum,
    mul,
    sub,
    tensor_of,
    where,
)
from trtnn.ops.creation import arange
from trtnn.ops.division import div
from trtnn.ops.movement import broadcast_tensors, reshape, unsqueeze
from trtnn.ops.op import TensorT, as_size, bind, shape_of, spec_of, torch_function
from trtnn.sizes.dims import Expr, Size

__all__ = ["eye", "linspace", "meshgrid", "outer", "tril", "triu"]

T = torch.Tensor


def _triangle(name: str, input: TensorT, diagonal: Any, compare: Any) -> TensorT:
    shape = shape_of(input)
    if len(shape) < 2:
        raise ShapeError(f"{name}: expected at least 2 dims, got {spec_of(input)}")
    start = as_size(diagonal)
    rows, columns = arange(start, start + shape[-2]), arange(shape[-1])
    kept = compare(unsqueeze(columns, 0), unsqueeze(rows, 1))
    return where(kept, input, torch.zeros((), dtype=spec_of(input).dtype))


@torch_function(torch.tril, T.tril)
def tril(input: TensorT, diagonal: Any = 0) -> TensorT:
    """Keep the entries up to a diagonal of each matrix, 0 above it.

    >>> tril(torch.ones(2, 2))
    tensor([[1., 0.],
            [1., 1.]])
    """
    return _triangle("tril", input, diagonal, le)


@torch_function(torch.triu, T.triu)
def triu(input: TensorT, diagonal: Any = 0) -> TensorT:
    """Keep the entries from a diagonal of each matrix on, 0 below it."""
    return _triangle("triu", input, diagonal, ge)


@torch_function(torch.eye)
def eye(n: Any, m: Any = None, *, dtype: torch.dtype | None = None, **_: Any) -> TensorT:
    """Return ones on the diagonal of a matrix of zeros.

    >>> eye(2)
    tensor([[1., 0.],
            [0., 1.]])
    """
    rows, columns = arange(n), arange(n if m is None else m)
    same = eq(unsqueeze(rows, 1), unsqueeze(columns, 0))
    return cast(same, dtype or torch.get_default_dtype())


@torch_function(torch.linspace)
def linspace(
    start: Any, end: Any, steps: Any, *, dtype: torch.dtype | None = None, **_: Any
) -> TensorT:
    """Return ``steps`` numbers from ``start`` to ``end``, evenly apart; the ends are exact.

    >>> linspace(0, 1, 3)
    tensor([0.0000, 0.5000, 1.0000])
    """
    count: Size = as_size(steps)
    kind = dtype or torch.get_default_dtype()
    if not kind.is_floating_point:
        raise UnsupportedError(f"linspace: expected a floating dtype, got {kind}")
    first, last = (cast(tensor_of(_number(v)), torch.float32) for v in (start, end))
    places = arange(count, dtype=torch.float32)
    total = cast(tensor_of(count), torch.float32)
    gaps = maximum(sub(total, 1.0), 1.0)
    step = div(sub(last, first), gaps)
    # From both ends, as PyTorch does, so that the last entry is exactly the end.
    forward = add(mul(places, step), first)
    backward = sub(last, mul(sub(sub(total, 1.0), places), step))
    half = tensor_of(count // 2)
    early = lt(arange(count), maximum(half, 1))
    return cast(where(early, forward, backward), kind)


@torch_function(torch.logspace)
def logspace(
    start: Any,
    end: Any,
    steps: Any,
    base: Any = 10.0,
    *,
    dtype: torch.dtype | None = None,
    **_: Any,
) -> TensorT:
    """Return ``base`` to the powers that ``linspace`` gives."""
    kind = dtype or torch.get_default_dtype()
    if not kind.is_floating_point:
        raise UnsupportedError(f"logspace: expected a floating dtype, got {kind}")
    powers = linspace(start, end, steps, dtype=torch.float32)
    return cast(bind(Elementwise("POW"), tensor_of(float(base)), powers), kind)


def _number(value: Any) -> Any:
    return (
        value
        if isinstance(value, (torch.Tensor, torch.SymInt, torch.SymFloat, Expr))
        else float(value)
    )


@torch_function(torch.meshgrid, torch.functional.meshgrid)
def meshgrid(*tensors: Any, indexing: str | None = None) -> tuple[TensorT, ...]:
    """Return the coordinates of each point of a grid, one tensor per axis.

    >>> [t.tolist() for t in meshgrid(torch.arange(2), torch.arange(2), indexing="ij")]
    [[[0, 0], [1, 1]], [[0, 1], [0, 1]]]
    """
    items = tensors[0] if len(tensors) == 1 and isinstance(tensors[0], (tuple, list)) else tensors
    if indexing == "xy" and len(items) > 1:  # rows and columns swap, the order of results stays
        x, y, *rest = items
        down, across, *others = meshgrid(y, x, *rest, indexing="ij")
        return (across, down, *others)
    if deep := [spec_of(t) for t in items if spec_of(t).rank > 1]:
        raise ShapeError(f"meshgrid: expected vectors or scalars, got {deep}")
    count = len(items)
    apart = [reshape(t, (1,) * i + (-1,) + (1,) * (count - 1 - i)) for i, t in enumerate(items)]
    return tuple(broadcast_tensors(*apart))


@torch_function(torch.outer, T.outer, torch.ger)
def outer(input: TensorT, vec2: TensorT) -> TensorT:
    """Multiply each entry of one vector by each of another.

    >>> outer(torch.tensor([1, 2]), torch.tensor([3, 4]))
    tensor([[3, 4],
            [6, 8]])
    """
    return mul(unsqueeze(input, 1), unsqueeze(vec2, 0))
