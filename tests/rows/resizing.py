"""Rows of resizing."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from tests.rows import B, C, Row, S, T
from trtnn.errors import ShapeError, UnsupportedError
from trtnn.sizes.dims import Dim

HALF = torch.float16
P = Dim("pixels", 2, 6, 10)
W = Dim("width", 3, 20, 90)

ROWS: list[Row] = [
    Row(F.interpolate, T(B, 3, 4, 5), (8, 7)),
    Row(F.interpolate, T(B, 2, S, S), scale_factor=2),
    Row(F.interpolate, T(B, 2, S), scale_factor=2.0, name="nearest rank 3"),
    Row(F.interpolate, T(B, 2, 3, 4, 2), scale_factor=2, name="nearest rank 5"),
    Row(F.interpolate, T(B, 3, 4, 4), (7, 9), mode="bilinear"),
    Row(F.interpolate, T(B, 3, S, 4), scale_factor=2, mode="bilinear", align_corners=True),
    Row(F.interpolate, T(B, 3, 4, 4, dtype=HALF), scale_factor=0.5, mode="bilinear"),
    Row(F.interpolate, T(B, 3, 5), 9, mode="linear"),
    Row(F.interpolate, T(1, 3, 4, 5), (8, 9), mode="bicubic"),
    Row(F.interpolate, T(B, 3, 8, 8), (4, 2), mode="area"),
    Row(F.interpolate, T(B, 3, 5, S), (3, 8), mode="nearest-exact", name="nearest-exact"),
    Row(F.interpolate, T(B, 3, 5, 5, dtype=torch.uint8, low=0), scale_factor=1.7, name="bytes"),
    Row(F.interpolate, T(B, 1, 3, 4, 6), (2, 3, 4), mode="area", name="area of a volume"),
    Row(F.interpolate, T(B, 1, 5, W), scale_factor=0.55, mode="bilinear", name="by its factor"),
    Row(F.interpolate, T(1, 1, 5, 4, dtype=HALF), scale_factor=1.3, mode="bicubic", name="cubic"),
    Row(F.interpolate, T(B, 1, 7), scale_factor=2.3, name="nearest by its factor"),
    Row(
        F.interpolate,
        T(B, 3, 8, 6),
        (3, 9),
        mode="bilinear",
        antialias=True,
        name="antialias",
    ),
    Row(
        F.interpolate,
        T(B, 3, 9, 6),
        scale_factor=0.4,
        mode="bicubic",
        antialias=True,
        name="antialias, cubic, by its factor",
    ),
    Row(
        F.interpolate,
        T(1, 3, S, 4),
        (2, 2),
        mode="bilinear",
        antialias=True,
        raises=UnsupportedError,
    ),
    Row(lambda x, y: F.interpolate(x, y.shape[-2:]), T(B, 2, 3, 4), T(1, S, S), name="to a size"),
    Row(
        lambda x, y: F.interpolate(x, size=(y.shape[1], 2 * y.shape[1]), mode="bilinear"),
        T(1, 2, S, S),
        T(B, P),
        name="bilinear to a computed size",
    ),
    Row(
        lambda x, y: F.interpolate(x, size=y.shape[1], mode="linear", align_corners=True),
        C(1, 3, 4),
        T(B, S),
        name="a table to a size",
    ),
    Row(
        lambda x, y: F.interpolate(x, size=(y.shape[1], 5), mode="bicubic"),
        C(1, 3, 4, 4),
        T(B, P),
        name="bicubic to a size",
    ),
    *(
        Row(
            F.interpolate,
            T(B, 1, *sizes),
            scale_factor=factor,
            recompute_scale_factor=True,
            mode=mode,
            name=f"{mode} by {factor}",
        )
        for factor in (0.6, 0.7, 1.1, 2.3, 1 / 3)
        for mode, sizes in (("nearest", (W, 10)), ("bilinear", (10, W)), ("area", (10, 9)))
    ),
    *(
        Row(F.interpolate, T(1, 1, n), scale_factor=f, mode="linear", name=f"{n} by {f}")
        for n, f in ((10, 0.6), (10, 1.1), (9, 1 / 3), (20, 0.35))
    ),
    Row(torch.nn.Upsample(scale_factor=0.6, recompute_scale_factor=True), T(1, 1, W), name="0.6"),
    Row(F.interpolate, T(B, 1, P, P), scale_factor=0.5, recompute_scale_factor=True, name="halves"),
    Row(F.interpolate, T(1, 1, 4, 4), (0, 2), raises=ShapeError, name="to nothing"),
    Row(F.interpolate, T(1, 1, 4, 4), scale_factor=(2, 2, 2), raises=ShapeError),
    Row(F.interpolate, T(B, 1, S, S), scale_factor=1.1, raises=UnsupportedError),
    Row(F.interpolate, T(1, 1, 4), raises=ShapeError, name="to no size"),
    Row(F.interpolate, T(1, 1, 4, 4), (2, 2, 2), raises=ShapeError, name="to three sizes"),
    Row(F.interpolate, T(B, 1, 4), 4, name="to its own size"),
]
