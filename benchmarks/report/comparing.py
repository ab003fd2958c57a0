"""Two runs side by side: what became slower beyond noise, what failed, what became wrong."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from rich.table import Table

from benchmarks.race.contenders import CONTENDERS, EAGER, OURS
from benchmarks.race.run import FACTS
from benchmarks.report.markdown import micros
from benchmarks.report.scores import Result, Row

LEAST = 0.02  # a change of less is noise, however narrow the spreads
FIELDS = {"gpu_us": "GPU", "host_us": "host"}
JUDGED = (*OURS, "raw", "free")  # a change of the others is shown, and is no regression
HEADINGS = ("case", "contender", "time", "before µs", "after µs", "ratio", "verdict")
BAD = ("slower", "failed", "wrong")


@dataclass(frozen=True)
class Change:
    """What became of one time of one contender; without a contender, of a whole case."""

    case: str
    contender: str
    field: str
    verdict: str
    before: Row | None = None
    after: Row | None = None

    @property
    def is_regression(self) -> bool:
        return self.verdict in BAD and self.contender in JUDGED

    @property
    def ratio(self) -> float | None:
        """The time after over the time before."""
        if self.before is None or self.after is None:
            return None
        return float(self.after["median"] / self.before["median"])


def verdict(before: Row, after: Row) -> str:
    """Say how a time changed: beyond both spreads together and 2 % of it, or not.

    >>> verdict({"median": 100.0, "spread": 1.0}, {"median": 104.0, "spread": 1.0})
    'slower'
    >>> verdict({"median": 100.0, "spread": 3.0}, {"median": 104.0, "spread": 1.0})
    'same'
    """
    change = after["median"] - before["median"]
    noise = max(before["spread"] + after["spread"], LEAST * before["median"])
    if abs(change) <= noise:
        return "same"
    return "slower" if change > 0 else "faster"


def compare(before: Mapping[str, Row], after: Mapping[str, Row]) -> list[Change]:
    """Return what became of each time of the suite in one results file, in another.

    Raises:
        ValueError: The files share no case, or one was measured on another device.
    """
    old, new = (
        {key: Result.of(row) for key, row in rows.items() if row["what"] == "suite"}
        for rows in (before, after)
    )
    both = [key for key in old if key in new]
    if not both:
        raise ValueError("expected files with cases of the suite in common, got none")
    for key in both:
        devices = [result.row["device"] for result in (old[key], new[key])]
        if devices[0] != devices[1]:
            raise ValueError(
                f"{old[key].case.name}: expected times of one device, got {devices[0]} and then"
                f" {devices[1]}"
            )
    changes = [change for key in both for change in _of_case(old[key], new[key])]
    for key in {**old, **new}:
        if key not in both:
            where = "first" if key in old else "second"
            result = old.get(key) or new[key]
            changes.append(Change(result.case.name, "", "", f"only in the {where}"))
    return changes


def _of_case(old: Result, new: Result) -> Iterator[Change]:
    for name in CONTENDERS:
        if not old.is_wrong(name) and new.is_wrong(name):
            yield Change(old.case.name, name, "error", "wrong")
        for field in FIELDS:
            before, after = old.time(name, field), new.time(name, field)
            if before is not None and after is not None:
                said = verdict(before, after)
                yield Change(old.case.name, name, field, said, before, after)
            elif before is not None:
                said = "failed" if "failed" in new.records.get(name, {}) else "only in the first"
                yield Change(old.case.name, name, field, said, before)
            elif after is not None:
                yield Change(old.case.name, name, field, "only in the second", None, after)


def differing(before: Mapping[str, Row], after: Mapping[str, Row]) -> list[str]:
    """Say in which versions the two runs differ, in the cases that they share."""
    shared = [(row, after[key]) for key, row in before.items() if key in after]
    pairs = [(a, b) for a, b in shared if a["what"] == "suite"]
    found = []
    for fact in FACTS:
        changed = {(str(a.get(fact)), str(b.get(fact))) for a, b in pairs}
        found += [f"{fact}: {a}, then {b}" for a, b in sorted(changed) if a != b]
    return found


def steadiness(changes: list[Change]) -> str:
    """Say how far the machine itself changed, as eager shows it."""
    ratios = [c.ratio for c in changes if c.contender in EAGER and c.ratio is not None]
    if not ratios:
        return "eager was not timed in both, so nothing shows whether the machine changed"
    return f"eager takes {statistics.geometric_mean(ratios):.3f} of its time before"


def table(changes: list[Change]) -> Table:
    """Lay changes out, those of trtnn that are for the worse in bold."""
    shown = Table(*HEADINGS)
    for change in changes:
        ratio = "" if change.ratio is None else f"{change.ratio:.3f}"
        times = [_time(change.before), _time(change.after)]
        said = f"[bold red]{change.verdict}[/]" if change.is_regression else change.verdict
        field = FIELDS.get(change.field, change.field)
        shown.add_row(change.case, change.contender, field, *times, ratio, said)
    return shown


def _time(time: Row | None) -> str:
    return "" if time is None else f"{micros(time['median'])} ± {time['spread']:.2g}"
