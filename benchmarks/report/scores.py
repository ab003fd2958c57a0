"""What the rows of the suite say: times that are compared, ratios, spreads, and what is missing."""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from benchmarks.measures.comparison import FACTOR, SLACK
from benchmarks.race import run
from benchmarks.race.contenders import COMPILED, CONTENDERS, ON_CPU, USUAL
from benchmarks.race.plans import AGAIN
from benchmarks.subjects.cases import Case
from benchmarks.subjects.suite import suite

Row = Mapping[str, Any]
# The first that was timed stands for trtnn: always the same way, not the fastest by chance. The
# last is its plan on the GPU without trtnn, and a plain call on the host.
WAYS = {
    "gpu_us": ("bound", "graph", "async", "raw"),
    "host_us": ("bound", "graph", "async", "sync"),
}
# Of torch.compile's modes, which a user chooses from, the faster one counts.
RIVALS = {"eager graph": ("eager graph",), "torch.compile": COMPILED, "ONNX parser": ("onnx",)}
ONNX = "ONNX parser"


@dataclass(frozen=True)
class Result:
    """A case and its row.

    >>> times = {"bound": 2.0, "eager graph": 5.0, "compile": 3.0, "compile max-autotune": 2.5}
    >>> records = {name: {"gpu_us": {"median": us, "spread": 0.1}} for name, us in times.items()}
    >>> result = Result(Case("suite", "mlp", "full", "half", 1), {"contenders": records})
    >>> result.ours(), result.ratio("torch.compile"), result.ratio("ONNX parser")
    (('bound', 2.0), 1.25, None)
    """

    case: Case
    row: Row

    @classmethod
    def of(cls, row: Row) -> Result:
        return cls(Case(**{field.name: row[field.name] for field in fields(Case)}), row)

    @property
    def records(self) -> Row:
        """What is known of each contender."""
        found: Row = self.row.get("contenders", {})
        return found

    @property
    def bar(self) -> float | None:
        """The error that is allowed: some times eager's own."""
        theirs = self.records.get("eager", {}).get("error")
        known = theirs is not None and self.case.dtype in FACTOR
        return FACTOR[self.case.dtype] * theirs + SLACK if known else None

    def time(self, name: str, field: str = "gpu_us") -> Row | None:
        """Return what was timed of a contender that did not fail."""
        record = self.records.get(name, {})
        return None if "failed" in record else record.get(field)

    def is_wrong(self, name: str) -> bool:
        """Say whether a contender's error is beyond the bar, or its results are not finite."""
        record, bar = self.records.get(name, {}), self.bar
        if "error" not in record or bar is None:
            return False
        return record["error"] is None or record["error"] > bar

    def ours(self, field: str = "gpu_us") -> tuple[str, float] | None:
        """Return the way to call that stands for trtnn, and its median."""
        return next(iter(self._medians(WAYS[field], field)), None)

    def rival(self, title: str, field: str = "gpu_us") -> float | None:
        """Return a rival's median."""
        return min((us for _, us in self._medians(RIVALS[title], field)), default=None)

    def ratio(self, title: str, field: str = "gpu_us") -> float | None:
        """Return how many times as long as trtnn a rival takes."""
        ours, theirs = self.ours(field), self.rival(title, field)
        return None if ours is None or theirs is None else theirs / ours[1]

    def _medians(self, names: Iterable[str], field: str) -> list[tuple[str, float]]:
        timed = [(name, self.time(name, field)) for name in names]
        return [(name, time["median"]) for name, time in timed if time is not None]


def results(rows: Mapping[str, Row]) -> list[Result]:
    """Return the suite's cases that have a row, in the suite's order.

    Of two sizes the full one counts; rows of networks that the suite has no more are left out.
    """
    return [Result(case, rows[case.key]) for case in suite(size_of(rows)) if case.key in rows]


def size_of(rows: Mapping[str, Row]) -> str:
    """Return the size of the suite that some rows belong to."""
    sizes = {row["size"] for row in rows.values() if row["what"] == "suite"}
    return "small" if sizes == {"small"} else "full"


def build_spread(found: Sequence[Result], name: str) -> dict[str, float]:
    """Return, by case, by how much the slower of two builds is slower on the GPU."""
    pairs = {r.case.name: (r.time(name), r.time(f"{name}{AGAIN}")) for r in found}
    return {
        case: max(a["median"], b["median"]) / min(a["median"], b["median"]) - 1
        for case, (a, b) in pairs.items()
        if a is not None and b is not None
    }


def spread(found: Sequence[Result]) -> float | None:
    """Return s: by how much two builds of one network by the ONNX parser differed at most."""
    return max(build_spread(found, "onnx").values(), default=None)


@dataclass(frozen=True)
class Mean:
    """How many times as long as trtnn a rival takes: the geometric mean, and both ends."""

    kind: str
    rival: str
    ratios: tuple[float, ...]

    @property
    def mean(self) -> float:
        return statistics.geometric_mean(self.ratios)


def means(found: Sequence[Result], field: str = "gpu_us") -> list[Mean]:
    """Return the means against each rival, kind by kind."""
    kinds = dict.fromkeys(result.case.dtype for result in found)
    listed = []
    for kind, title in itertools.product(kinds, RIVALS):
        ratios = [r.ratio(title, field) for r in found if r.case.dtype == kind]
        known = tuple(ratio for ratio in ratios if ratio is not None)
        listed += [Mean(kind, title, known)] if known else []
    return listed


def beside(found: Sequence[Result]) -> tuple[float, ...]:
    """Return eager's times in torch.compile's interpreter over its times here, from CUDA graphs."""
    name = "eager graph"
    pairs = [(r.time(f"{name}{run.BESIDE}"), r.time(name)) for r in found]
    return tuple(a["median"] / b["median"] for a, b in pairs if a is not None and b is not None)


@dataclass(frozen=True)
class Loss:
    """A rival that is faster than trtnn: the share of trtnn's time that it takes."""

    case: str
    rival: str
    way: str
    ratio: float


def losses(found: Sequence[Result], field: str = "gpu_us") -> list[Loss]:
    """Return where trtnn is not the fastest, the worst first."""
    slower = []
    for result, title in itertools.product(found, RIVALS):
        ours, ratio = result.ours(field), result.ratio(title, field)
        if ours is not None and ratio is not None and ratio < 1:
            slower.append(Loss(result.case.name, title, ours[0], ratio))
    return sorted(slower, key=lambda loss: loss.ratio)


def contested(found: Sequence[Result], field: str = "gpu_us") -> list[Result]:
    """Return the cases in which trtnn and some rival were timed."""
    return [r for r in found if any(r.ratio(title, field) is not None for title in RIVALS)]


def missing(rows: Mapping[str, Row]) -> dict[tuple[str, str], list[str]]:
    """Return the cases of which something is missing, by contender and by why.

    ``"all"`` stands for a whole case.
    """
    gaps: dict[tuple[str, str], list[str]] = {}
    for case in suite(size_of(rows)):
        row = rows.get(case.key, {"missing": "not run"})
        if "missing" in row:
            gaps.setdefault(("all", _line(row["missing"])), []).append(case.name)
            continue
        for name in expected(Result(case, row)):
            record = row["contenders"].get(name, {"failed": "not run"})
            timed = {"gpu_us", "host_us"} & set(record)
            why = record.get("failed", "" if timed else "not timed")
            if why:
                gaps.setdefault((name, _line(why)), []).append(case.name)
    return gaps


def expected(result: Result) -> list[str]:
    """Return the contenders that a complete row has."""
    if result.row.get("backend") == "reference":
        return list(ON_CPU)
    modes = run.modes(result.case, set(COMPILED))
    compiled = [name for name, _ in zip(COMPILED, modes, strict=False)]
    return [name for name in USUAL if name not in COMPILED or name in compiled]


def present(found: Sequence[Result]) -> list[str]:
    """Return the contenders that some row has, in their order."""
    return [name for name in CONTENDERS if any(name in result.records for result in found)]


def _line(text: str) -> str:
    return (text.splitlines() or [""])[0]
