"""How far off outputs may be, where it is not only the engine that is asked but its types too."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch

from trtnn.engine.verified import Measured
from trtnn.run.bars import BARS, INFINITE, L2, Results, VagueError, measure, ranked, relative

# What rounding may come to before it is an error itself. A new engine is held against its own
# types, however bad they are; here these are asked too. Random networks of a hundred layers are
# up to 1.4e-2 off in half and 9.5e-2 in bfloat16.
ROUNDING = {"half": 1e-2, "bf16": 5e-2, "tf32": 1e-2, "fp32": 1e-4, "int8": 1e-1}
Scores = Mapping[int, tuple[torch.Tensor, int]]


def judged(
    index: int, results: Results, kind: str, tolerance: float | None, scores: Scores
) -> list[Measured]:
    """Return how far an output is off, and what it may be.

    Args:
        tolerance: The relative L2 that is right; None: what a new engine may be off by, if
            rounding is no more than ``ROUNDING``.
        scores: What was ranked, and along which axis, for outputs that hold indices.
    """
    found, exact, own = results.engine, results.exact, results.own
    if not exact.dtype.is_floating_point or found.shape != exact.shape:
        return _measured(index, results, kind, scores)
    lost, alone = (float((exact.isfinite() & ~t.isfinite()).double().mean()) for t in (found, own))
    if lost:
        return [Measured(index, INFINITE, lost, alone, 0.0)]
    error = difference(found, exact)
    rounding = difference(own, exact) if own.shape == exact.shape else 0.0
    if tolerance is not None:
        return [Measured(index, L2, error, rounding, tolerance)]
    whole = Measured(index, L2, error, rounding, allowed(kind, rounding))
    return [whole, *(one for one in _measured(index, results, kind, scores) if one.norm != L2)]


def allowed(kind: str, rounding: float = float("inf")) -> float:
    """Return the relative L2 that an output may have, of which some is rounding."""
    times, more = BARS[kind]
    return times * min(rounding, ROUNDING[kind]) + more


def _measured(index: int, results: Results, kind: str, scores: Scores) -> list[Measured]:
    try:
        if index in scores:
            return ranked(index, results, *scores[index], kind)
        return measure(index, results, kind)
    except VagueError:  # said already by the relative L2, or by what is not finite
        return []


def difference(found: torch.Tensor, exact: torch.Tensor) -> float:
    """Return the relative L2 of what is finite in ``exact``; infinite where it is not in ``found``.

    Of integers and booleans it is the share that differs.

    >>> difference(torch.tensor([3.0, 5.0]), torch.tensor([3.0, 4.0]))
    0.2
    """
    if found.shape != exact.shape:
        return float("inf")
    if not exact.numel():
        return 0.0
    if not exact.dtype.is_floating_point:
        return float((found != exact).double().mean())
    asked = exact.isfinite()
    if bool((asked & ~found.isfinite()).any()):
        return float("inf")
    found, exact = (torch.where(asked, t.double(), 0.0) for t in (found, exact))
    if not exact.any():
        return float("inf") if found.any() else 0.0
    return relative(found, exact)


def worst(measured: Sequence[Measured]) -> Measured | None:
    """Return what is furthest beyond its bar."""
    return max(measured, key=lambda one: one.times, default=None)
