"""The measurements of recurrent networks and branches, on the reference and on the double."""

from __future__ import annotations

import doctest
import importlib.util
import json
import sys

import pytest

from benchmarks.__main__ import attempt
from benchmarks.instruments import contest, onnx_path
from benchmarks.instruments.builds import Builds
from benchmarks.instruments.machine import Machine
from benchmarks.instruments.timing import TINY
from benchmarks.measures import branches, decoding, recurrent
from benchmarks.subjects.cases import FLOW, list_cases
from tests import real_builder
from tests.benchmarks import test_calls
from tests.benchmarks.test_calls import builds  # noqa: F401 - a fixture
from tests.benchmarks.test_on_double import times_of
from trtnn.options import BuildOptions

ONNX = importlib.util.find_spec("onnx") is not None
CASES = list_cases(FLOW, "small")
LSTM, GREEDY, BRANCHES, SHORT = (next(c for c in CASES if c.what == what) for what in FLOW)


@pytest.fixture
def on_double(builds: Builds, monkeypatch: pytest.MonkeyPatch) -> Builds:  # noqa: F811
    """Return builds of the double of 8.6, on which a time is how many were timed before."""
    monkeypatch.setattr(contest, "gpu_times", times_of)
    monkeypatch.setattr(recurrent, "captured", lambda call: call)
    monkeypatch.setattr(contest, "captured", lambda call: call)
    return builds


def test_without_a_gpu_there_are_errors_and_times_of_the_host() -> None:
    on_cpu = Builds(Machine(None))
    rows = {case.what: attempt(case, on_cpu, TINY) for case in (LSTM, GREEDY, BRANCHES, SHORT)}
    for row in rows.values():
        assert "failed" not in row and row["met"] is True and row["backend"] == "reference"
        json.dumps(row, allow_nan=False)
    found = rows["recurrent"]["contenders"]
    assert set(found) == {f"batch {b}, length {n}" for b in (1, 2) for n in (1, 4)}
    assert set(found["batch 2, length 4"]) == {"eager", "dynamic", "static"}
    for record in found["batch 2, length 4"].values():
        assert record["error"] < 1e-6 and record["host_ratio"] > 0
    assert rows["branches"]["only_taken"] is None
    greedy = rows["decoding"]
    assert greedy["ran"]["all"] == greedy["steps"] == 8 and 1 < greedy["ran"]["half"] < 8
    for records in greedy["contenders"].values():
        assert {name: record["error"] for name, record in records.items()} == dict.fromkeys(
            ("eager", "loop", "steps"), 0.0
        )


def test_a_row_for_a_gpu_has_all_contenders(on_double: Builds) -> None:
    row = attempt(LSTM, on_double, TINY)
    json.dumps(row, allow_nan=False)
    assert "failed" not in row and row["met"] is True and row["build"]["level"] == 3
    assert set(row["contenders"]["batch 1, length 1"]) == {"eager", "eager graph", "dynamic"}
    beside = row["contenders"]["batch 1, length 4"]
    assert set(beside) == {"eager", "eager graph", "dynamic", "static", "onnx"}
    # The double has no parser, and not every machine the package.
    assert any(word in beside["onnx"]["failed"] for word in ("OnnxParser", "'onnx'"))
    assert beside["static"]["level"] == 3 and beside["static"]["gpu_ratio"] == 1.3


def test_short_lengths_are_loops_and_are_not(on_double: Builds) -> None:
    before = trtnn_limit()
    row = attempt(SHORT, on_double, TINY)
    assert "failed" not in row and row["met"] is True and trtnn_limit() == before
    ours = {"unrolled", "unrolled graph", "loop"}
    assert set(row["contenders"]) == {"eager", "eager graph", *ours}


def trtnn_limit() -> int:
    return int(sys.modules["trtnn.flow.recurrent"].UNROLLED)


def test_a_branch_is_timed_both_ways(on_double: Builds) -> None:
    row = attempt(BRANCHES, on_double, TINY)
    assert "failed" not in row and row["met"] is True
    # Each takes longer than the one before it: 110, and then 120.
    assert row["only_taken"] is False and row["not_taken_over_taken"] == 1.0909


def test_a_loop_of_decoding_has_all_contenders(on_double: Builds) -> None:
    row = attempt(GREEDY, on_double, TINY)
    assert "failed" not in row and row["met"] is True
    for records in row["contenders"].values():
        assert set(records) == {"eager", "loop", "steps", "steps graph"}
        assert "gpu_us" in records["loop"]
    assert set(row["build"]) == {"loop", "step"} and set(row["loop_over_steps"]) == {"all", "half"}


def test_a_wrong_result_is_found(on_double: Builds, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(test_calls, "OFFSET", 0.01)
    assert attempt(SHORT, on_double, TINY)["met"] is False


@pytest.mark.skipif(not ONNX, reason="needs the onnx package")
@real_builder.needs_builder
def test_recurrent_networks_are_read_and_built_by_the_real_parser() -> None:
    library, gpu = real_builder.library(), real_builder.GPU
    for name in recurrent.NETWORKS:
        net, given = recurrent.network(name, 8), (recurrent.sequences(1, 4, 8),)
        how = {"tf32": False, "capabilities": gpu}
        assert onnx_path.build(net, given, library, BuildOptions(), **how)  # type: ignore[arg-type]


def test_examples() -> None:
    for module in (recurrent, branches, decoding):
        assert doctest.testmod(module).failed == 0
