"""The tables of what calls cost and leave behind; a verdict stands in its cell as it is."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

Row = Mapping[str, Any]
Cells = Sequence[str | bool | None]
MEBIBYTE = 2**20


def _overhead(row: Row) -> list[Cells]:
    return [
        (
            engine,
            name,
            f"{found['us']:.2f}",
            f"{found['base']}: {found['base_us']:.2f}",
            f"{found['beyond']:.2f} ({_between(found['spread'])})",
            "no bar" if found["allowed"] is None else f"{found['allowed']:.1f}",
            "" if found["met"] is None else found["met"],
        )
        for engine, part in row["engines"].items()
        for name, found in part["rows"].items()
    ] + [
        (engine, name, f"{us:.2f}", "", "", "", "")
        for engine, part in row["engines"].items()
        for name, us in part["raw_us"].items()
    ]


def _between(ends: Sequence[float]) -> str:
    """Return the two ends of a spread.

    >>> _between([0.914, 0.97])
    '0.91 to 0.97'
    """
    return " to ".join(f"{end:.2f}" for end in ends)


def _threads(row: Row) -> list[Cells]:
    wrong = {kind: found["wrong"] for kind, found in row.get("right", {}).items()}
    right = ", ".join(f"{kind} {count}" for kind, count in wrong.items()) or "not compared"
    return [
        (
            row["model"],
            count,
            f"{found['trtnn']:.0f}",
            f"{found['raw']:.0f}",
            f"{found['ratio']:.3f} ({_between(found['spread'])})",
            "no bar" if found["met"] is None else found["met"],
            right,
        )
        for count, found in row["threads"].items()
    ]


def _mebibytes(values: Mapping[str, int]) -> list[str]:
    """Return bytes by kind of memory as cells.

    >>> _mebibytes({"torch": 0, "device": 2**21, "host": -2**19})
    ['2.0', '-0.5', '0.0']
    """
    return [f"{values[kind] / MEBIBYTE:.1f}" for kind in ("device", "host", "torch")]


def _cycles(row: Row) -> list[Cells]:
    kept, count = row["kept_bytes"], f"{row['from']} to {row['cycles']}"
    return [
        ("raw TensorRT", count, *_mebibytes(kept["raw"]), ""),
        ("trtnn", count, *_mebibytes(kept["trtnn"]), row["met"]),
    ]


def _mixed(row: Row) -> list[Cells]:
    wrong = f"{len(row['wrong'])} of {row['compared']}"
    return [(str(row["calls"]), wrong, *_mebibytes(row["grew_bytes"]), row["met"])]


def _cached(row: Row) -> list[Cells]:
    parts = [
        ", ".join(f"{name} {part:.2f}" for name, part in row[kind]["parts_s"].items())
        for kind in ("cold", "hit")
    ]
    seconds = [
        f"{row[kind]['compile_s']:.2f} ({part})"
        for kind, part in zip(("cold", "hit"), parts, strict=True)
    ]
    facts = (row["model"], row["dtype"], str(row["level"]))
    return [(*facts, *seconds, f"{row['ratio']:.3f}", f"{row['bar']:g}", row["met"])]


def _sanitizer(row: Row) -> list[Cells]:
    if "not_run" in row:
        return [("not run", row["not_run"].replace("|", "\\|"), None)]
    errors = [(kind, str(run["errors"])) for kind, run in row["runs"].items()]
    return [(*cells, row["met"] if cells is errors[-1] else "") for cells in errors]


CALL_TITLES: dict[str, tuple[str, str, Callable[[Row], list[Cells]]]] = {
    "overhead": (
        "What a call costs beyond TensorRT",
        "engine | call | µs | its raw calls, µs | beyond them, µs | allowed | met",
        _overhead,
    ),
    "threads": (
        "Calls a second of threads together",
        "model | threads | trtnn | raw loop | trtnn / raw | >= 0.95 | wrong results of 8 threads",
        _threads,
    ),
    "cycles": (
        "What build and load cycles leave behind",
        "loop | cycles | MiB: device outside torch | host | torch | <= raw + 4",
        _cycles,
    ),
    "mixed": (
        "Calls of mixed shapes in all ways to run",
        "calls | wrong | MiB grown: device outside torch | host | torch | <= 4",
        _mixed,
    ),
    "cached": (
        "A second compile, from the cache",
        "model | dtype | level | seconds: cold | from the cache | ratio | bar | met",
        _cached,
    ),
    "sanitizer": ("compute-sanitizer's memcheck", "run | errors | met", _sanitizer),
}
