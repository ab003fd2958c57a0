"""Laws of the layers that normalize."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tests.double.lab import Lab, put
from tests.double.laws.law import Laws, joined, typed

Shape = tuple[int, ...]


def norm(
    shape: Shape,
    weights: Shape,
    axes: int,
    *,
    method: str = "add_normalization",
    groups: int = 1,
    given: bool = False,
) -> Callable[[Lab, str], Any]:
    def make(t: Lab, dtype: str) -> Any:
        x = t.input(shape, dtype)
        two = (
            t.inputs(2, weights, dtype)
            if given
            else [
                t.net.add_constant(weights, t.weights(weights, dtype)).get_output(0)
                for _ in range(2)
            ]
        )
        return put(getattr(t.net, method)(x, *two, axes), num_groups=groups)

    return make


LAWS: Laws = joined(
    typed("norm", norm((2, 4), (1, 4), 2)),
    typed("norm, weights are tensors", norm((2, 4), (1, 4), 2, given=True)),
    typed("norm groups", norm((2, 4, 3, 3), (1, 2, 1, 1), 12, groups=2)),
    typed("norm groups by channels", norm((2, 4, 3, 3), (1, 4, 1, 1), 12, groups=2)),
    typed("norm of images", norm((2, 4, 3, 3), (1, 4, 1, 1), 12)),
    typed("norm v2", norm((2, 4), (1, 4), 2, method="add_normalization_v2", given=True)),
    typed(
        "norm v2 groups",
        norm((2, 4, 3, 3), (1, 4, 1, 1), 12, groups=2, method="add_normalization_v2", given=True),
    ),
)
