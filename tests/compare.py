"""How far a result is from its reference."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch

# A reference with a smaller root mean square is no oracle: any small output would match it.
DEAD = 1e-3


def root_mean_square(x: torch.Tensor) -> float:
    """Compute the root mean square of ``x`` in float64."""
    return float(x.detach().double().square().mean().sqrt())


def error(y: torch.Tensor, ref: torch.Tensor) -> float:
    """Compute ``||y - ref|| / ||ref||`` in float64, whatever the dtypes and devices.

    Raises AssertionError where the number would mean nothing: shapes differ, ``y`` or ``ref`` is
    not finite, or the root mean square of ``ref`` is below ``DEAD``.

    >>> round(error(torch.tensor([3.0, 4.5]), torch.tensor([3.0, 4.0])), 6)
    0.1
    """
    assert y.shape == ref.shape, f"shape {tuple(y.shape)}, expected {tuple(ref.shape)}"
    wide, wide_ref = y.detach().cpu().double(), ref.detach().cpu().double()
    assert torch.isfinite(wide_ref).all(), "the reference is not finite"
    assert torch.isfinite(wide).all(), f"{int((~wide.isfinite()).sum())} entries are not finite"
    level = root_mean_square(wide_ref)
    assert level >= DEAD, f"dead reference: root mean square {level:.1e}, expected >= {DEAD:.0e}"
    return float((wide - wide_ref).norm() / wide_ref.norm())


def leaves(output: Any) -> Iterator[torch.Tensor]:
    """Yield the tensors of nested tuples, lists and mappings, in their order."""
    if isinstance(output, torch.Tensor):
        yield output
    elif isinstance(output, Mapping):
        for value in output.values():
            yield from leaves(value)
    elif isinstance(output, (tuple, list)):
        for value in output:
            yield from leaves(value)
    elif output is not None:
        raise TypeError(f"leaves: no tensors in a {type(output).__name__}")


def worst_error(y: Any, ref: Any) -> float:
    """Compute the largest ``error`` over the tensors of two outputs of one structure."""
    pairs = list(zip(leaves(y), leaves(ref), strict=True))
    assert pairs, "no tensor to compare"
    return max(error(mine, theirs) for mine, theirs in pairs)
