"""The laws of TensorRT's layers, as data: a double and the real builder are asked the same."""

from tests.double.laws import (
    attention,
    creation,
    indexing,
    matrices,
    movement,
    normalization,
    pointwise,
    shapes,
    windows,
)
from tests.double.laws.law import Laws

FAMILIES: dict[str, Laws] = {
    "pointwise": pointwise.LAWS,
    "movement": movement.LAWS,
    "matrices": matrices.LAWS,
    "windows": windows.LAWS,
    "indexing": indexing.LAWS,
    "creation": creation.LAWS,
    "normalization": normalization.LAWS,
    "attention": attention.LAWS,
    "shapes": shapes.LAWS,
}
