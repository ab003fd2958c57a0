"""Compositions beside the layers that they stand for: every mode of a grid, and responses."""

from __future__ import annotations

from itertools import product

import pytest
import torch

from trtnn.ops.responses import LocalResponse
from trtnn.ops.sampling import MODES, PADDINGS, GridSample

HOW = list(product(MODES.values(), PADDINGS.values(), (False, True)))


@pytest.mark.parametrize(("mode", "padding", "align"), HOW)
@pytest.mark.parametrize("sizes", [(4, 5), (1, 3), (2, 1)])
def test_a_composed_grid_sample_is_pytorchs(
    mode: str, padding: str, align: bool, sizes: tuple[int, int]
) -> None:
    generator = torch.Generator().manual_seed(3)
    x = torch.randn(2, 3, *sizes, generator=generator)
    grid = torch.rand(2, 6, 7, 2, generator=generator) * 7 - 3.5
    op = GridSample(mode, padding, align)
    torch.testing.assert_close(op.decompose(x, grid), op.reference(x, grid), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("size", [1, 3, 4, 9])
def test_a_composed_local_response_is_pytorchs(size: int) -> None:
    x = torch.randn(2, 5, 3, 2, generator=torch.Generator().manual_seed(3)) * 3
    op = LocalResponse(size, 0.5, 0.75, 1.5)
    torch.testing.assert_close(op.decompose(x), op.reference(x))
