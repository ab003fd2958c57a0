"""How far results are off: errors, the bar that eager PyTorch's sets, verdicts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch

from benchmarks.instruments.bound import Bound
from tests.compare import leaves, worst_error

# The bar: so many times eager's own error, and SLACK. INT8 has none: what it costs is for users.
FACTOR = {"tf32": 2, "half": 3, "fp16": 3}
SLACK = 1e-3


def judge(dtype: str, reference: list[torch.Tensor], outputs: Mapping[str, Any]) -> dict[str, Any]:
    """Return all errors, the bar that eager's sets, and whether the others meet it.

    An output that is not finite has no error. That fails the row, unless eager has none either:
    then there is nothing to compare with, and ``met`` is None.
    """
    errors = {kind: finite_error(given, reference) for kind, given in outputs.items()}
    theirs = errors.get("eager")
    if theirs is None or dtype not in FACTOR:
        return {"error": errors, "bar": None, "met": None}
    bar = FACTOR[dtype] * theirs + SLACK
    met = all(mine is not None and mine <= bar for kind, mine in errors.items() if kind != "eager")
    return {"error": errors, "bar": bar, "met": met}


def all_met(verdicts: Iterable[bool | None]) -> bool | None:
    """Return one verdict for several: no if one is no, none if one is none.

    >>> all_met([True, True]), all_met([True, None]), all_met([None, False])
    (True, None, False)
    """
    found = set(verdicts)
    return False if False in found else None if None in found else True


def finite_error(outputs: Any, reference: list[torch.Tensor]) -> float | None:
    """Return the worst relative error, None if a tensor of either is not finite."""
    found = list(leaves(outputs))
    if not all(bool(torch.isfinite(tensor).all()) for tensor in (*found, *reference)):
        return None
    return worst_error(found, reference)


def difference(bound: Bound, outputs: Any) -> float | None:
    """Return how far what was timed is from what a call returns, None if it is not finite."""
    return finite_error(bound.outputs, list(leaves(outputs)))
