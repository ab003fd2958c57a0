"""What is measured, one case a row, the most important first; and the file that keeps the rows."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent.parent / "results" / "benchmark.json"
# The cost of a call, threads, what stays behind, and the engine cache, on engines of one layer
# unless said.
CALLS = ("overhead", "threads", "cycles", "mixed", "cached", "sanitizer")
WHAT = ("errors", "models", "typed", "refit", "memory", "tracing", "dynamic", "copies", *CALLS)
NEEDS_GPU = ("errors", "typed", "refit", "memory", "copies", *CALLS)
DTYPES = ("half", "tf32")
# The most important first: a visit to a GPU machine may end before the last.
MODELS = (
    "resnet50",
    "minilm",
    "mlp",
    "vit_b_16",
    "bert_encoder",
    "resnet18",
    "mobilenet_v3_small",
    "convnext_tiny",
    "swin_t",
    "densenet121",
    "deeplabv3_resnet50",
    "efficientnet_b0",
)
ONE_LAYER = "one_layer"
COPIED = "resnet50"
BUILT = "bert_encoder"  # to see how much memory a build takes: more than noise
CACHED = "resnet50"
THREADED = ("resnet18", 8)  # and its batch size
TYPED = ("resnet50", "minilm")
REFITTED = ("resnet50", "bert_encoder")
DYNAMIC = ("minilm", "bert_encoder")
TRACED = ("resnet50", "chain")
LEVELS = {"resnet50": 3, "vit_b_16": 3, "minilm": 3}

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

        >>> Case("models", "mlp", "full", "half", 8).key, Case("tracing", "chain", "full").key
        ('models mlp full half batch 8', 'tracing chain full')
        """
        run = [self.dtype, f"batch {self.batch}"] if self.batch else []
        return " ".join([self.what, self.model, self.size, *run])

    @property
    def level(self) -> int:
        """TensorRT's builder optimization level: what a visit has time for."""
        if self.dtype == "half" and self.model in ("efficientnet_b0", "densenet121"):
            return 0  # minutes at level 1 on 8.6
        return 1 if self.what in ("dynamic", "memory", "refit") else LEVELS.get(self.model, 1)


def list_cases(
    what: Sequence[str],
    models: Sequence[str],
    dtypes: Sequence[str],
    batches: Sequence[int],
    size: str,
) -> list[Case]:
    """Return the cases in the order in which they are run: the first batch size before others."""
    first, *others = batches
    half = models if "half" in dtypes else ()
    kinds = ("models", "errors")  # errors alone take no time on the GPU, and may run side by side
    cases = [Case(k, m, size, d, first) for k in kinds for m in models for d in dtypes]
    cases += _calls(size)
    cases += [Case("typed", model, size, "half", first) for model in TYPED if model in half]
    cases += [Case("refit", m, size, d, first) for m in REFITTED for d in dtypes if m in models]
    cases += [Case("memory", BUILT, size, d, first) for d in dtypes if BUILT in models]
    cases += [Case("tracing", name, size) for name in TRACED]
    cases += [Case("models", m, size, d, batch) for batch in others for m in models for d in dtypes]
    # These start PyTorch's profiler, which can slow down every later launch of its process.
    cases += [Case("dynamic", model, size, "half", first) for model in DYNAMIC if model in half]
    cases += [Case("copies", COPIED, size, d, first) for d in dtypes if COPIED in models]
    return [case for case in cases if case.what in what]


def _calls(size: str) -> list[Case]:
    """Return what is measured of calls, whichever models were chosen."""
    alone = [Case(what, ONE_LAYER, size) for what in CALLS if what != "cached"]
    model, batch = THREADED
    return [
        *alone,
        Case("threads", model, size, "half", batch),
        Case("cached", CACHED, size, "tf32", 1),
    ]


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
