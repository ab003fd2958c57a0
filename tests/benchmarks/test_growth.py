"""How costs grow: a tiny run, what its gauges see, its table and its plot."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest

from benchmarks.instruments.builds import Builds
from benchmarks.instruments.machine import Machine
from benchmarks.instruments.timing import TINY
from benchmarks.measures import growth
from benchmarks.report import plots
from benchmarks.subjects.cases import GROWN, Case, load
from benchmarks.tables import table
from benchmarks.tables.growth_table import growth_lines
from tests.benchmarks.test_benchmarks import run
from tests.double.lab import has_real
from tests.layout import run_python

STAGES = ["trace", "passes", "lower"]
MEBIBYTES = [0.06, 0.5]


def measured(kind: str) -> dict[str, Any]:
    """Measure one kind without a program around it."""
    return growth.measure_growth(Case("growth", kind, "small"), Builds(Machine(None)), TINY)


@pytest.mark.skipif(not has_real(), reason="needs TensorRT for RTX")
def test_a_run_has_each_stage_at_each_size_and_is_shown(tmp_path: Path) -> None:
    path = tmp_path / "growth.json"
    printed = run("measure", "--what", "growth", "--size", "small", "--results", str(path))
    rows = {row["model"]: row for row in load(path).values()}
    assert tuple(rows) == tuple(sorted(GROWN)) and "growth static small: met=" in printed
    for kind in ("static", "dynamic", "weights"):
        sizes = MEBIBYTES if kind == "weights" else list(growth.OPS["small"])
        assert list(rows[kind]["stages"]) == list(rows[kind]["growth"]) == sorted(STAGES)
        for points in rows[kind]["stages"].values():
            assert [p["size"] for p in points] == sizes
            assert all(p["seconds"] > 0 <= p["bytes"] for p in points)
    (built,) = rows["build"]["stages"].values()
    assert [p["size"] for p in built] == [*growth.LAYERS["small"]] and "met" not in rows["build"]
    shown = table.tables(load(path))
    assert "| dynamic | lower | op: 10, 20, 40 | " in shown
    assert "| build | build | layer: 2, 4 | " in shown and "tensorrt_rtx 1." in shown


def test_without_rtx_tracing_is_measured_and_a_build_says_why_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda *_: None)
    assert list(measured("static")["stages"]) == ["trace"]
    row = measured("build")
    assert row["missing"] == "TensorRT for RTX is not installed" and "stages" not in row
    assert growth_lines({**row, "model": "build"})[0][1] == row["missing"]


GAUGED = """
import torch
from benchmarks.measures.growth import resident_bytes
print(resident_bytes(lambda: torch.ones(64 << 20, dtype=torch.uint8))[1])
"""


def test_the_gauges_see_what_is_held_at_most() -> None:
    size = 64 << 20
    told = run_python(GAUGED)  # what other tests free meanwhile would be taken off
    assert told.returncode == 0, told.stderr
    assert 0.9 * size < float(told.stdout) < 1.5 * size
    _, held = growth.python_bytes(lambda: len(bytearray(size)))
    assert size <= held < 1.1 * size


def test_a_stage_that_looks_at_all_ops_for_each_op_is_not_linear() -> None:
    sizes = growth.OPS["full"]
    line = [{"size": n, "seconds": 1e-4 * n, "bytes": 1e3 * n} for n in sizes]
    square = [{**point, "seconds": 1e-6 * point["size"] ** 2} for point in line]
    assert growth.judge({"trace": line})["met"] is True
    found = growth.judge({"trace": line, "lower": square})
    assert found["met"] is False and found["growth"]["lower"] == {"seconds": 100.0, "bytes": 1.0}


def test_memory_below_what_is_noise_counts_as_none() -> None:
    points = [{"size": n, "seconds": 1.0, "bytes": b} for n, b in ((16, 0), (128, 0), (2048, 9e5))]
    assert growth.judge({"lower": points}, noise=growth.NOISE)["met"] is True
    copied = [{**point, "bytes": point["size"] * 2**20} for point in points]
    copied[1]["bytes"] = 0.0
    assert growth.judge({"lower": copied}, noise=growth.NOISE)["met"] is False


@pytest.mark.skipif(not importlib.util.find_spec("matplotlib"), reason="needs matplotlib")
def test_the_plot_is_drawn_of_what_there_is(tmp_path: Path) -> None:
    points = [{"size": n, "seconds": 1e-4 * n, "bytes": 1e3 * n} for n in (100, 1000)]
    kinds = ("static", "dynamic", "weights", "build")
    rows = {kind: {"model": kind, "unit": "op", "stages": {"trace": points}} for kind in kinds}
    assert plots.draw([], None, tmp_path, rows) == ["growth.png"]
    first = (tmp_path / "growth.png").read_bytes()
    assert first.startswith(b"\x89PNG")
    assert plots.draw([], None, tmp_path, {"static": rows["static"]}) == ["growth.png"]
    assert (tmp_path / "growth.png").read_bytes() != first
    assert plots.draw([], None, tmp_path, {"build": {"missing": "it"}}) == []
    assert not list(tmp_path.iterdir())
