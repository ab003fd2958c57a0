"""Rows of sampling at computed places, of windows laid out, and of channels that trade places."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from tests.rows import B, C, Row, S, T
from trtnn.errors import DTypeError, ShapeError, UnsupportedError

HALF = torch.float16
INT = torch.int64
ZEROS, BORDER = ("zeros", False), ("border", False)


def G(*shape: object, dtype: torch.dtype = torch.float32) -> object:
    """A grid, some of whose places lie outside."""
    return T(*shape, dtype=dtype, low=-1.6, high=1.6)


SAMPLING: list[Row] = [
    Row(F.grid_sample, T(B, 2, 4, S), G(B, 3, S, 2), align_corners=False),
    Row(F.grid_sample, T(1, 2, 4, 3, dtype=HALF), G(1, 3, 5, 2, dtype=HALF), "bilinear", *BORDER),
    Row(F.grid_sample, T(B, 2, 4, 3), G(B, 3, 5, 2), "bilinear", "reflection", True),
    Row(F.grid_sample, T(B, 2, 4, S), G(B, 3, S, 2), "nearest", "zeros", False),
    Row(F.grid_sample, T(B, 2, S, 3), G(B, 3, 5, 2), "nearest", "reflection", True),
    Row(F.grid_sample, T(B, 2, S, 5), G(B, 3, 2, 2), "bicubic", "reflection", False),
    Row(F.grid_sample, T(1, 2, 4, 5), G(1, 3, 2, 2), "bicubic", "zeros", True),
    Row(F.grid_sample, T(B, 2, 3, 4, S), G(B, 2, 3, 2, 3), align_corners=False, name="volume"),
    Row(F.grid_sample, T(1, 1, 2, 2), G(1, 1, 1, 2, dtype=HALF), raises=DTypeError),
    Row(F.grid_sample, T(1, 1, 2, 2), G(2, 1, 1, 2), raises=ShapeError),
    Row(F.grid_sample, T(1, 1, 2, 2, 2), G(1, 1, 1, 1, 3), "bicubic", raises=UnsupportedError),
    Row(
        lambda x, theta: F.grid_sample(x, F.affine_grid(theta, x.shape, False), "nearest", *ZEROS),
        T(B, 2, S, 4),
        T(B, 2, 3),
        name="affine_grid, sampled",
    ),
    Row(
        lambda x, theta: F.affine_grid(theta, x.shape, True),
        T(B, 1, 2, S + 1, 3),
        T(B, 3, 4),
        name="affine_grid of a volume",
    ),
    Row(F.affine_grid, T(1, 2, 2), (1, 1, 2, 2), raises=ShapeError),
]
FOLDING: list[Row] = [
    Row(F.unfold, T(B, 2, 5, S + 1), 3, (1, 2), (1, 2), (2, 1)),
    Row(F.unfold, T(3, 4, 6, dtype=HALF), 2, stride=2, name="unfold without a batch"),
    Row(F.unfold, T(1, 1, 2, 2), 3, raises=ShapeError),
    Row(F.fold, T(B, 12, 12), (5, 4), (3, 2), (1, 2), (1, 1), (2, 1)),
    Row(
        lambda x: F.fold(F.unfold(x, 2, stride=2), x.shape[-2:], 2, stride=2),
        T(B, 2, 4, 2 * S),
        name="fold of unfold",
    ),
    Row(F.fold, T(1, 4, 3), (2, 2), 2, raises=ShapeError),
]
SHUFFLING: list[Row] = [
    Row(F.pixel_shuffle, T(B, 8, 2, S), 2),
    Row(F.pixel_unshuffle, T(B, 2, 6, 3 * S, dtype=HALF), 3),
    Row(F.channel_shuffle, T(B, 6, S), 3),
    Row(F.pixel_shuffle, T(1, 6, 2, 2), 2, raises=ShapeError),
]
TABLE = C(7, 3)
I7 = T(B, S, dtype=INT, low=0, high=7)
BAGS: list[Row] = [
    Row(F.embedding_bag, I7, TABLE, padding_idx=2),
    Row(F.embedding_bag, I7, C(7, 3, dtype=HALF), mode="max", padding_idx=-3),
    Row(
        F.embedding_bag,
        T(S, dtype=INT, low=0, high=7),
        TABLE,
        torch.tensor([0, 0, 1]),
        name="bags from offsets",
    ),
    Row(
        F.embedding_bag,
        T(6, dtype=INT, low=0, high=7),
        TABLE,
        torch.tensor([0, 2, 2, 6]),
        mode="sum",
        per_sample_weights=T(6),
        include_last_offset=True,
        name="weights of samples",
    ),
    Row(F.embedding_bag, I7, TABLE, max_norm=1.0, raises=UnsupportedError),
]
ROWS = [*SAMPLING, *FOLDING, *SHUFFLING, *BAGS]
