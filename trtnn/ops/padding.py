"""Padding: dims made wider or narrower at their ends."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from trtnn.errors import ShapeError, UnsupportedError
from trtnn.ops.op import TensorT, as_sizes, bind, shape_of, spec_of, torch_function, unmet
from trtnn.ops.slicing import Slice
from trtnn.sizes.dims import Size, decide, failures, maximum, minimum

__all__ = ["pad"]

MODES = {"constant": "FILL", "reflect": "REFLECT", "replicate": "CLAMP", "circular": "WRAP"}


@torch_function(torch.nn.functional.pad)
def pad(input: TensorT, pad: Any, mode: str = "constant", value: float | None = None) -> TensorT:
    """Widen dims, last dim first: ``(left, right, top, bottom, ...)``; negative amounts crop.

    Raises:
        ShapeError: ``reflect`` or ``circular`` reach farther than the input.
        UnsupportedError: ``circular`` crops or wraps by an amount whose sign is not known.

    >>> pad(torch.ones(2), (1, 0))
    tensor([0., 1., 1.])
    """
    amounts, shape = as_sizes(pad), shape_of(input)
    if mode not in MODES:
        raise UnsupportedError(f"pad: mode {mode!r} is not there", hint=f"use {', '.join(MODES)}")
    if len(amounts) % 2 or len(amounts) > 2 * len(shape):
        raise ShapeError(f"pad: {len(amounts)} amounts do not fit a tensor of rank {len(shape)}")
    if all(amount == 0 for amount in amounts):
        return input
    count = len(amounts) // 2
    before = [0] * (len(shape) - count) + list(amounts[::2])[::-1]
    after = [0] * (len(shape) - count) + list(amounts[1::2])[::-1]
    if mode == "circular" and _crops_and_wraps(shape, before, after):
        input = _sliced(input, [minimum(n, 0) for n in before], [minimum(n, 0) for n in after])
        before, after = [maximum(n, 0) for n in before], [maximum(n, 0) for n in after]
    return _sliced(input, before, after, mode, value)


@torch_function(torch.constant_pad_nd)
def constant_pad_nd(input: TensorT, pad: Any, value: float = 0) -> TensorT:
    """Widen dims with a number, as ``pad``."""
    return _PAD(input, pad, "constant", value)


_PAD = pad


def _crops_and_wraps(shape: Sequence[Size], before: Sequence[Size], after: Sequence[Size]) -> bool:
    """Say whether one end of a dim is cropped and the other wrapped, which PyTorch does in turn."""
    found = False
    for axis, (length, b, a) in enumerate(zip(shape, before, after, strict=True)):
        answers = [decide(c, n, 0) for n in (b, a) for c in ("lt", "gt")]
        crops, wraps = (answers[0] or answers[2]), (answers[1] or answers[3])
        if None in answers and (crops is not False) and (wraps is not False):
            raise UnsupportedError(
                f"pad: circular by {b}, {a} crops one end of dim {axis} of size {length}, or wraps",
                hint="crop first, with a slice",
            )
        found = found or bool(crops and wraps)
    return found


def _require_room(mode: str, axis: int, length: Size, b: Size, a: Size) -> None:
    if mode == "constant":  # which PyTorch crops first
        left = length + minimum(b, 0) + minimum(a, 0)
        if found := failures("ge", left, 0):
            message = f"pad: constant by {b}, {a} crops more than size {length} at dim {axis}"
            raise unmet(found, message, sizes=(length, b, a))
    inner = {"reflect": "lt", "circular": "le"}.get(mode)
    for amount in (b, a) if inner and (b != 0 or a != 0) else ():
        if found := failures(str(inner), amount, length):
            message = f"pad: {mode} by {b}, {a} reaches beyond size {length} at dim {axis}"
            raise unmet(found, message, sizes=(length, amount))


def _sliced(
    input: TensorT,
    before: Sequence[Size],
    after: Sequence[Size],
    mode: str = "constant",
    value: float | None = None,
) -> TensorT:
    """Widen dims by one slice that reaches beyond them."""
    shape = shape_of(input)
    if all(amount == 0 for amount in (*before, *after)):
        return input
    for axis, (length, b, a) in enumerate(zip(shape, before, after, strict=True)):
        _require_room(mode, axis, length, b, a)
    start = tuple(0 - b for b in before)
    if mode == "circular":  # counted so that no index is negative
        pairs = zip(start, shape, strict=True)
        start = tuple(remainder_of(s, n) if n != 0 else s for s, n in pairs)
    size = tuple(b + s + a for b, s, a in zip(before, shape, after, strict=True))
    inside = all(decide("le", a, 0) for a in (*before, *after))
    chosen = "STRICT_BOUNDS" if inside else MODES[mode]
    operation = Slice(start, size, (1,) * len(shape), chosen)
    if chosen != "FILL":
        return bind(operation, input)
    return bind(operation, input, torch.tensor(value or 0, dtype=spec_of(input).dtype))


def remainder_of(amount: Size, length: Size) -> Size:
    """Return ``amount % length``, plainly where the range of the length allows."""
    for turn in (0, 1):
        inside = amount + turn * length
        if decide("ge", inside, 0) and decide("lt", inside, length):
            return inside
    return amount - (amount // length) * length
