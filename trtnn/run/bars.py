"""How far an engine's output may be from its reference: norms, and a bar for each."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch

from trtnn.engine.verified import Measured

# An engine may be so many times as far off as its graph in the engine's own types, and so much
# more. Half and TF32: from recorded results of TensorRT 8.6.0. The others were only emulated on a
# CPU, over six networks of the zoo: an engine that rounds a fused chain once is 0.7 to 1.2 e off in
# bf16, as it is in half, and the rest grows with the unit in the last place; one that adds up in
# pieces of four is 0.4 to 1.3 e off in float32, which is compared in float64, and a convolution by
# Winograd's transform loses a digit more. Of int8 gross faults only: a value at the edge of a step
# falls to either side.
BARS = {
    "half": (3.0, 2e-3),
    "bf16": (3.0, 1.6e-2),
    "tf32": (1.5, 1e-3),
    "fp32": (10.0, 2e-5),
    "int8": (3.0, 1e-1),
}
REFUSED = 10  # times the bar; below it is a warning
VAGUE = 0.1  # an output that rounding alone moves by more shows nothing
SHARE = (
    3.0,
    0.01,
)  # of booleans, counts and other integers: times as many as in the graph, and 1 %
HUGE = 1e3  # times the median: such as what a mask puts there, beside which nothing is seen
L2, SLICE, RANKED = "relative L2", "worst slice", "values at the indices"
COUNT, DIFFERING, INFINITE = "share of the count", "share that differs", "share that is not finite"


@dataclass(frozen=True)
class Results:
    """One output three times: of the engine, of the reference, and in the engine's own types."""

    engine: torch.Tensor
    exact: torch.Tensor
    own: torch.Tensor

    def overflows(self) -> bool:
        """Say whether the graph's own types do not hold what the reference has."""
        if self.own.shape != self.exact.shape:
            return False
        return bool((self.exact.isfinite() & ~self.own.isfinite()).any())


class VagueError(Exception):
    """An output that shows nothing, and why."""


def measure(index: int, given: Results, kind: str) -> list[Measured]:
    """Return how far an output is off, by each norm that fits it.

    Args:
        kind: One of ``BARS``.

    Raises:
        VagueError: There is nothing that can be compared.

    >>> right, wrong = torch.tensor([3.0, 4.0]), torch.tensor([3.0, 4.5])
    >>> measure(0, Results(wrong, right, right), "half")[0].error
    0.1
    """
    if given.engine.shape != given.exact.shape or given.own.shape != given.exact.shape:
        count = max(given.exact.numel(), 1)
        error, rounding = (abs(t.numel() - count) / count for t in (given.engine, given.own))
        return [_measured(index, COUNT, error, rounding, SHARE)]
    if not given.exact.numel():
        return []
    if not given.exact.dtype.is_floating_point:
        error, rounding = (
            float((t != given.exact).double().mean()) for t in (given.engine, given.own)
        )
        return [_measured(index, DIFFERING, error, rounding, SHARE)]
    return _floats(index, given, BARS[kind])


def _measured(
    index: int, norm: str, error: float, rounding: float, bar: tuple[float, float]
) -> Measured:
    return Measured(index, norm, error, rounding, bar[0] * rounding + bar[1])


def _floats(index: int, given: Results, bar: tuple[float, float]) -> list[Measured]:
    engine, exact, own = (t.double() for t in (given.engine, given.exact, given.own))
    asked = exact.isfinite() & own.isfinite()
    if not asked.any():
        raise VagueError("is not finite in the reference")
    lost = float((asked & ~engine.isfinite()).double().mean())
    if lost:  # an infinity is as wrong as can be, however few there are
        return [Measured(index, INFINITE, lost, 0.0, 0.0)]
    most = HUGE * float(exact[asked & (exact != 0)].abs().median().nan_to_num(0.0))
    if most < HUGE * torch.finfo(torch.float32).tiny:  # or so near to 0 that TensorRT flushes it
        raise VagueError("is all 0 in the reference")
    engine, exact, own = (
        torch.where(asked, t, 0.0).clamp(-most, most) for t in (engine, exact, own)
    )
    norms = [(L2, relative(engine, exact), relative(own, exact))]
    if exact.dim():
        norms.append((SLICE, _slices(engine, exact), _slices(own, exact)))
    if norms[0][2] >= VAGUE:
        raise VagueError(f"is moved by {norms[0][2]:.2g} of itself by rounding alone")
    return [_measured(index, norm, error, rounding, bar) for norm, error, rounding in norms]


def relative(found: torch.Tensor, exact: torch.Tensor) -> float:
    """Return the size of a difference, as a part of what is right."""
    right = exact.double()
    return float((found.double() - right).norm() / right.norm())


def _slices(found: torch.Tensor, exact: torch.Tensor) -> float:
    """Return the worst slice across any axis: one dead logit of a thousand is lost in L2.

    A slice is held against its own size, or what slices of its axis have on the average.
    """
    worst = 0.0
    for axis in range(exact.dim()):
        others = [a for a in range(exact.dim()) if a != axis]
        far, size = (
            t.square().sum(others) if others else t.square() for t in (found - exact, exact)
        )
        worst = max(worst, float((far / size.clamp(min=float(size.mean()))).max().sqrt()))
    return worst


def ranked(
    index: int, given: Results, scores: torch.Tensor, axis: int, kind: str
) -> list[Measured]:
    """Return how far indices are off: by the reference's values there, which may be nearly equal.

    Args:
        scores: What was ranked, in the reference.
    """
    same = given.engine.shape == given.exact.shape == given.own.shape
    if not same or not given.exact.numel():
        return measure(index, given, kind)
    shape = list(scores.shape)
    shape[axis] = given.exact.numel() * shape[axis] // scores.numel()
    found = [t.long() for t in (given.engine, given.exact, given.own)]
    if bool(((found[0] < 0) | (found[0] >= scores.shape[axis])).any()):
        return [Measured(index, "index out of range", float("inf"), 0.0, 0.0)]
    values = (scores.gather(axis, t.reshape(shape)) for t in found)
    measured = measure(index, Results(*values), kind)
    return [replace(m, norm=f"{m.norm} of {RANKED}") for m in measured]
