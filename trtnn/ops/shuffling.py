"""Channels that trade places with each other, or with pixels."""

from __future__ import annotations

import torch

from trtnn.errors import ShapeError
from trtnn.ops.movement import permute, reshape
from trtnn.ops.op import TensorT, shape_of, spec_of, torch_function
from trtnn.sizes.dims import Size, failures

__all__ = ["channel_shuffle", "pixel_shuffle", "pixel_unshuffle"]


def _require_parts(function: str, input: TensorT, axis: int, parts: int) -> Size:
    """Return a dim over ``parts``, which divides it."""
    spec = spec_of(input)
    if spec.rank < 3:
        raise ShapeError(f"{function}: expected at least rank 3, got {spec}")
    size = spec.shape[axis]
    if parts < 1 or failures("eq", size % parts, 0):
        raise ShapeError(
            f"{function}: {parts} does not divide size {size} of {spec}", sizes=(size,)
        )
    return size // parts


@torch_function(torch.nn.functional.pixel_shuffle, torch.pixel_shuffle)
def pixel_shuffle(input: TensorT, upscale_factor: int) -> TensorT:
    """Spread channels (..., C * r * r, H, W) over pixels (..., C, H * r, W * r).

    >>> pixel_shuffle(torch.arange(4.0).view(1, 4, 1, 1), 2)
    tensor([[[[0., 1.],
              [2., 3.]]]])
    """
    r = int(upscale_factor)
    channels = _require_parts("pixel_shuffle", input, -3, r * r)
    *lead, _, height, width = shape_of(input)
    n = len(lead)
    parts = reshape(input, (*lead, channels, r, r, height, width))
    turned = permute(parts, (*range(n), n, n + 3, n + 1, n + 4, n + 2))
    return reshape(turned, (*lead, channels, height * r, width * r))


@torch_function(torch.nn.functional.pixel_unshuffle, torch.pixel_unshuffle)
def pixel_unshuffle(input: TensorT, downscale_factor: int) -> TensorT:
    """Gather pixels (..., C, H * r, W * r) into channels (..., C * r * r, H, W)."""
    r = int(downscale_factor)
    height, width = (_require_parts("pixel_unshuffle", input, axis, r) for axis in (-2, -1))
    *lead, channels, _, _ = shape_of(input)
    n = len(lead)
    parts = reshape(input, (*lead, channels, height, r, width, r))
    turned = permute(parts, (*range(n), n, n + 2, n + 4, n + 1, n + 3))
    return reshape(turned, (*lead, channels * r * r, height, width))


@torch_function(
    torch.nn.functional.channel_shuffle, torch.channel_shuffle, torch.native_channel_shuffle
)
def channel_shuffle(input: TensorT, groups: int) -> TensorT:
    """Deal the channels of (N, C, ...) out to groups: one of each group after another."""
    each = _require_parts("channel_shuffle", input, 1, int(groups))
    batch, channels, *rest = shape_of(input)
    order = (0, 2, 1, *range(3, 3 + len(rest)))
    parts = permute(reshape(input, (batch, int(groups), each, *rest)), order)
    return reshape(parts, (batch, channels, *rest))
