"""Results files: read, checked, and put together."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.race.run import merged
from benchmarks.subjects.cases import Case, Rows

NEEDED = {field.name for field in dataclasses.fields(Case)} | {"date", "device"}


def read(paths: Sequence[Path]) -> Rows:
    """Return the rows of several files; of one case, later files count, as later runs do.

    Raises:
        ValueError: A file is not there, or holds something else.
    """
    rows: Rows = {}
    for path in paths:
        for key, row in checked(path).items():
            rows[key] = merged(rows.get(key), row) if row["what"] == "suite" else row
    return rows


def checked(path: Path) -> Rows:
    """Return the rows of one file."""
    try:
        rows = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ValueError(f"there is no {path}") from None
    except (OSError, ValueError) as error:
        raise ValueError(f"{path}: expected JSON, got {type(error).__name__}: {error}") from None
    if not isinstance(rows, dict) or not rows:
        raise ValueError(f"{path}: expected rows by their keys, got {_kind(rows)}")
    for key, row in rows.items():
        if why := _complaint(row):
            raise ValueError(f"{path}: {key}: expected a row of a benchmark, got {why}")
    return rows


def _complaint(row: object) -> str:
    """Say what is wrong with a row; nothing of a good one."""
    if not isinstance(row, dict):
        return _kind(row)
    if lacking := sorted(NEEDED - set(row)):
        return f"one without {', '.join(lacking)}"
    if row["what"] == "suite" and not {"contenders", "missing"} & set(row):
        return "one of the suite without contenders"
    contenders = row.get("contenders", {})
    if not isinstance(contenders, dict):
        return f"{_kind(contenders)} of contenders"
    return next((why for name, record in contenders.items() if (why := _wrong(name, record))), "")


def _wrong(name: str, record: object) -> str:
    if not isinstance(record, dict):
        return f"{_kind(record)} as record of {name}"
    times = [record[field] for field in ("gpu_us", "host_us") if field in record]
    good = all(isinstance(t, dict) and _is_time(t.get("median"), t.get("spread")) for t in times)
    return "" if good else f"a time of {name} that lacks a median above 0, or a spread"


def _is_time(median: Any, spread: Any) -> bool:
    numbers = all(isinstance(x, (int, float)) and math.isfinite(x) for x in (median, spread))
    return numbers and median > 0


def _kind(value: Any) -> str:
    """Name what was found.

    >>> _kind([1]), _kind({})
    ('a list of 1', 'a dict of 0')
    """
    size = f" of {len(value)}" if isinstance(value, (list, dict)) else ""
    return f"a {type(value).__name__}{size}"
