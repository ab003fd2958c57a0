"""What the results say in words: how often trtnn is the fastest, and where it is not."""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.report.scores import (
    ONNX,
    RIVALS,
    WAYS,
    Loss,
    Result,
    contested,
    losses,
    spread,
)

WHERE = {"gpu_us": "On the GPU", "host_us": "In calls, as the host sees them,"}


def fastest(
    found: Sequence[Result],
    field: str = "gpu_us",
    *,
    most: int | None = None,
    where: str | None = None,
) -> str:
    """Say in how many cases trtnn is the fastest, and where it is not, the worst first.

    Args:
        most: How many cases are named, the rest are counted.
        where: The sentence's first words.
    """
    where = where or WHERE[field]
    raced = contested(found, field)
    if not raced:
        return f"{where} trtnn has been timed beside no other yet."
    lost = losses(found, field)
    slower = dict.fromkeys(loss.case for loss in lost)
    met = [f"{sum(r.ratio(t, field) is not None for r in raced)} with {t}" for t in RIVALS]
    won = f"{len(raced) - len(slower)} of {len(raced)} cases ({', '.join(met)})"
    said = f"{where} trtnn is the fastest in {won}"
    if not lost:
        return f"{said}."
    s = spread(found) if field == "gpu_us" else None
    named = [_named(case, [loss for loss in lost if loss.case == case], s) for case in slower]
    rest = len(named) - len(named[:most])
    more = f", and in {rest} more" if rest else ""
    return f"{said}; it is not in {', '.join(named[:most])}{more}."


def _named(case: str, lost: Sequence[Loss], s: float | None) -> str:
    """Name a case with all that is faster there.

    >>> _named("mlp half 1", [Loss("mlp half 1", "ONNX parser", "bound", 0.982)], 0.03)
    'mlp half 1 (ONNX parser: 0.982 of the time of bound, within s)'
    """
    rivals = [
        f"{loss.rival}: {loss.ratio:.3f} of the time of {loss.way}"
        + ", within s" * _is_within(loss, s)
        for loss in lost
    ]
    return f"{case} ({'; '.join(rivals)})"


def _is_within(loss: Loss, s: float | None) -> bool:
    return s is not None and loss.rival == ONNX and loss.ratio * (1 + s) >= 1


def doubts(found: Sequence[Result]) -> str:
    """Say where a way to call trtnn is beyond the bar of errors; nothing if it is nowhere."""
    ways = {way for names in WAYS.values() for way in names}
    wrong = [r.case.name for r in found if any(r.is_wrong(way) for way in ways)]
    return f"Its error is beyond the bar in {', '.join(wrong)}." if wrong else ""


def builds_differ(found: Sequence[Result]) -> str:
    """Say what s is."""
    s = spread(found)
    if s is None:
        return "s is not known: no network was built twice by the ONNX parser."
    return f"s is by how much two builds of one network by the ONNX parser differ at most: {s:.1%}."
