"""A folder of plans: what was built for each case, and what is known of it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.subjects.cases import Case
from benchmarks.subjects.suite import TABLE

AGAIN = " again"  # a second build, which starts from no timing cache
# What is built: eager's results in float64; trtnn's model; the network as torch.export writes it;
# the ONNX parser's plan; trtnn's graph whose types TensorRT 8.6 may change.
BUILDS = {
    "exact": "pt",
    "trtnn": "trtnn",
    "exported": "pt2",
    "onnx": "plan",
    "free": "plan",
    f"trtnn{AGAIN}": "trtnn",
    f"onnx{AGAIN}": "plan",
}


@dataclass(frozen=True)
class Shelf:
    """One case's part of a folder of plans."""

    folder: Path
    case: Case

    @property
    def place(self) -> Path:
        """The case's own folder."""
        return self.folder / self.case.key.replace(" ", "-")

    @property
    def timings(self) -> Path:
        """The timing cache that the case's builds share, but those done again."""
        return self.place / "timings"

    def path(self, name: str) -> Path:
        """Return the file of what was built."""
        return self.place / f"{name.replace(' ', '-')}.{BUILDS[name]}"

    def facts(self, name: str) -> dict[str, Any]:
        """Return what is known of a build; nothing where there was none."""
        path = self._facts(name)
        found: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
        return found

    def keep(self, name: str, facts: dict[str, Any]) -> None:
        """Write down what is known of a build."""
        self.place.mkdir(parents=True, exist_ok=True)
        self._facts(name).write_text(json.dumps(facts))

    def has(self, name: str) -> bool:
        """Say whether a build is there to be used."""
        facts = self.facts(name)
        return bool(facts) and "failed" not in facts

    def _facts(self, name: str) -> Path:
        return self.place / f"{name.replace(' ', '-')}.json"


def wanted(case: Case, contenders: set[str], *, on_gpu: bool) -> tuple[list[str], list[str]]:
    """Return the names of what a case's contenders need built, in order, and built again.

    >>> wanted(Case("suite", "bert_base", "full", "half", 1), {"sync", "onnx"}, on_gpu=True)
    (['exact', 'trtnn', 'onnx'], ['trtnn again', 'onnx again'])
    """
    needed = {
        "exact": True,
        "trtnn": bool(contenders & {"sync", "async", "graph", "bound", "raw"}),
        "exported": any(name.startswith("compile") for name in contenders),
        "onnx": on_gpu and "onnx" in contenders,
        "free": on_gpu and "free" in contenders,
    }
    first = [name for name, is_needed in needed.items() if is_needed]
    twice = TABLE[case.model].twice if case.dtype == "half" else ()
    both = ("trtnn", "onnx") if case.batch in twice and {"trtnn", "onnx"} <= set(first) else ()
    return first, [f"{name}{AGAIN}" for name in both]
