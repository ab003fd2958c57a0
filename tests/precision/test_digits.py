"""What INT8 costs on real data: the example's net on scikit-learn's digits."""

from __future__ import annotations

import json

import pytest

pytest.importorskip("sklearn")

from benchmarks.digits_int8 import BAR, METHODS, RESULT, SEEDS, measure


def test_one_training_loses_little_by_any_method() -> None:
    found = measure(seed=3)
    assert found["float32"] > 97
    assert all(found["float32"] - found[method] < 3 * BAR for method in METHODS)


def test_ten_recorded_trainings_keep_the_bar() -> None:
    held = json.loads(RESULT.read_text())
    assert len(held["rows"]) == SEEDS
    for method in METHODS:
        lost = [row["float32"] - row[method] for row in held["rows"]]
        assert sum(lost) / SEEDS == pytest.approx(held["mean_points_lost"][method])
        assert sum(lost) / SEEDS <= BAR
