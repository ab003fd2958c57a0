"""A real Ray cluster of two workers, in a process of its own, with the reference backend."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.layout import ROOT, run_python
from tests.serving.subjects import BAD, BATCH, CALLS, ROWS, TOLERANCE, WRONG
from trtnn import UnsupportedError
from trtnn.serving import ray_deployment


def test_a_cluster_of_two_workers(tmp_path: Path) -> None:
    pytest.importorskip("ray.serve", reason="needs trtnn[ray]: make serving")
    environment = {**os.environ, "HOME": str(tmp_path), "RAY_USAGE_STATS_ENABLED": "0"}
    done = subprocess.run(
        [sys.executable, "-m", "tests.serving.cluster", str(tmp_path)],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,  # a worker that is not to be had would be waited for, for ever
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    told = json.loads((tmp_path / "told.json").read_text())
    data, serving = told["data"], told["serving"]

    # Nothing is lost, doubled or out of order, though a worker was killed in the middle.
    assert data["killed"] and data["processes"] == 2
    assert data["rows"] == [*range(ROWS)] and data["next"] == [*range(1, ROWS + 1)]
    assert data["off"] <= TOLERANCE
    assert (
        f"InputError: row {BAD % BATCH} of {BATCH} (row={BAD}): IndexError: index" in data["error"]
    )

    # Requests run together, each gets its own, and one that is wrong fails alone.
    answers, alone = serving["answers"], serving["alone"]
    assert "InputError: x: expected float32 (16,) a row, got float64 (16,)" in answers.pop(WRONG)
    del alone[WRONG]
    assert len(answers) == CALLS - 1
    for answer, row in zip(answers, alone, strict=True):
        assert answer == pytest.approx(row, abs=TOLERANCE)
    (good, found), (wrong, error), (no_row, _) = serving["http"]
    assert (good, wrong, no_row) == (200, 400, 400)
    assert found["output"] == pytest.approx(alone[0], abs=TOLERANCE)
    assert error["error"].startswith("x: expected float32 (16,) a row, got <U1 ()")

    # The page's 2000 rows ran in batches of 64, but the last; requests in fewer than there were.
    sizes, requests = told["sizes"], 1 + (CALLS - 1) + 1  # of the page, by handle, by HTTP
    assert sum(sizes) == 2000 + requests and max(sizes) == BATCH
    assert len(sizes) < -(-2000 // BATCH) + requests


def test_ray_is_imported_where_it_is_used() -> None:
    done = run_python(
        "import sys, trtnn\ntrtnn.serving.RayPredictor\n"
        "print(sorted({'ray', 'starlette'} & {name.split('.')[0] for name in sys.modules}))"
    )
    assert (done.stdout, done.stderr) == ("[]\n", "")


def test_without_ray_there_is_no_deployment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray.serve", None)
    with pytest.raises(UnsupportedError, match="ray_deployment: Ray Serve is not installed"):
        ray_deployment()
