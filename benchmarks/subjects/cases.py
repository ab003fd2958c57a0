"""What is measured, one case a row, the most important first; and the file that keeps the rows."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent.parent / "results" / "benchmark.json"
SUITE = RESULTS.with_name("suite.json")
GROWTH = RESULTS.with_name("growth.json")
# The cost of a call, threads, what stays behind, and the engine cache, on engines of one layer
# unless said.
CALLS = ("overhead", "threads", "cycles", "mixed", "cached", "sanitizer")
# What control flow costs: recurrent networks of any length and of short ones, branches, and a
# decoder's loop.
FLOW = ("recurrent", "decoding", "branches", "unrolled")
WHAT = (*CALLS, "refit", "memory", "tracing", "growth", *FLOW, "dynamic", "copies")
NEEDS_GPU = (*CALLS, "refit", "memory", "copies")
DTYPES = ("half", "tf32")
ONE_LAYER = "one_layer"
COPIED = "resnet50"
BUILT = "bert_encoder"  # to see how much memory a build takes: more than noise
CACHED = "resnet50"
THREADED = ("resnet18", 8)  # and its batch size
REFITTED = ("resnet50", "bert_encoder")
DYNAMIC = ("minilm", "bert_encoder")
TRACED = "resnet50"
GROWN = ("static", "dynamic", "weights", "build")
RECURRENT = ("lstm", "gru")
UNROLLED = {"full": (4, 8, 16, 32, 64), "small": (2,)}  # the static lengths, in steps
BATCHES = {"full": (1, 16), "small": (1,)}  # at each of them
# Elsewhere 1: what a visit has time for.
LEVELS = {"suite": 3, "cached": 3, "copies": 3, **dict.fromkeys(FLOW, 3)}

Rows = dict[str, dict[str, Any]]


@dataclass(frozen=True)
class Case:
    """One row of the results; ``dtype`` and ``batch`` are empty where nothing is run."""

    what: str
    model: str
    size: str
    dtype: str = ""
    batch: int = 0

    @property
    def key(self) -> str:
        """The row's name in a results file.

        >>> Case("suite", "mlp", "full", "half", 8).key, Case("tracing", "resnet50", "full").key
        ('suite mlp full half batch 8', 'tracing resnet50 full')
        """
        run = [self.dtype, f"batch {self.batch}"] if self.batch else []
        return " ".join([self.what, self.model, self.size, *run])

    @property
    def name(self) -> str:
        """What the suite's options and reports call it.

        >>> Case("suite", "mlp", "full", "half", 8).name
        'mlp half 8'
        """
        return f"{self.model} {self.dtype} {self.batch}"

    @property
    def level(self) -> int:
        """TensorRT's builder optimization level."""
        return LEVELS.get(self.what, 1)


def list_cases(what: Sequence[str], size: str) -> list[Case]:
    """Return what is measured beside the suite, in the order in which it is run."""
    model, batch = THREADED
    cases = [Case(name, ONE_LAYER, size) for name in CALLS if name != "cached"]
    cases += [Case("threads", model, size, "half", batch), Case("cached", CACHED, size, "tf32", 1)]
    cases += [Case("refit", model, size, dtype, 1) for model in REFITTED for dtype in DTYPES]
    cases += [Case("memory", BUILT, size, dtype, 1) for dtype in DTYPES]
    cases += [Case("tracing", TRACED, size)]
    cases += [Case("growth", name, size) for name in GROWN]
    cases += [Case("recurrent", name, size) for name in RECURRENT]
    cases += [Case("decoding", "gpt2", size, "fp32", batch) for batch in BATCHES[size]]
    cases += [Case("branches", "matmuls", size)]
    cases += [
        Case("unrolled", f"{name} {steps}", size, "fp32", batch)
        for batch in BATCHES[size]
        for steps in UNROLLED[size]
        for name in RECURRENT
    ]
    # These start PyTorch's profiler, which can slow down every later launch of its process.
    cases += [Case("dynamic", model, size, "half", 1) for model in DYNAMIC]
    cases += [Case("copies", COPIED, size, dtype, 1) for dtype in DTYPES]
    return [case for case in cases if case.what in what]


def load(path: Path | None) -> Rows:
    """Return the rows of a results file, none where there is no file."""
    if path is None or not path.exists():
        return {}
    rows: Rows = json.loads(path.read_text())
    return rows


def merge(path: Path, key: str, row: dict[str, Any]) -> None:
    """Put one row into a results file, which is replaced at once: a killed run loses nothing."""
    rows = {**load(path), key: row}
    text = json.dumps(rows, indent=1, sort_keys=True, allow_nan=False) + "\n"
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    partial.write_text(text)
    os.replace(partial, path)


def pending(cases: Sequence[Case], rows: Rows) -> list[Case]:
    """Return the cases without a row, and then those whose row is a failure."""
    new = [case for case in cases if case.key not in rows]
    return new + [case for case in cases if "failed" in rows.get(case.key, {})]
