"""Two runs side by side: what counts as a change, and what the exit code says."""

from __future__ import annotations

import doctest
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from benchmarks.report import comparing
from tests.benchmarks.test_benchmarks import invoke
from tests.benchmarks.test_report import TIMES, case, plain, record, row, write


@pytest.mark.parametrize(
    ("before", "after", "verdict"),
    [
        ((100, 1), (90, 1), "faster"),
        ((100, 1), (103, 1), "slower"),
        ((100, 1), (102, 0.5), "same"),  # beyond both spreads, and no more than 2 %
        ((100, 3), (105, 2), "same"),  # beyond 2 %, and no more than both spreads
        ((100, 3), (105.1, 2), "slower"),
        ((100, 3), (95, 2), "same"),
    ],
)
def test_a_change_counts_beyond_both_spreads_and_two_percent(
    before: tuple[float, float], after: tuple[float, float], verdict: str
) -> None:
    times = [{"median": median, "spread": spread} for median, spread in (before, after)]
    assert comparing.verdict(*times) == verdict


def compared(folder: Path, after: Mapping[str, Any], *options: str, **more: Any) -> Any:
    """Compare TIMES of one case with others."""
    before = dict([row(case("resnet50 half 1"), TIMES)])
    later = dict([row(case("resnet50 half 1"), after, **more)])
    paths = [write(folder / f"{i}.json", rows) for i, rows in enumerate((before, later))]
    return invoke("compare", *map(str, paths), *options)


@pytest.mark.parametrize(
    ("change", "code", "said"),
    [
        ({}, 0, "regressions of trtnn: 0"),
        ({"bound": 90}, 0, "faster: 2"),
        ({"bound": 101.5}, 0, "regressions of trtnn: 0"),
        ({"bound": 110}, 1, "regressions of trtnn: 2"),
        ({"onnx": 150}, 0, "slower: 2"),  # no fault of trtnn
        ({"bound": record(100, error=0.1)}, 1, "wrong: 1"),
        ({"bound": record(100, error=None)}, 1, "wrong: 1"),
        ({"bound": {"failed": "no memory"}}, 1, "failed: 2"),
    ],
)
def test_the_exit_code_says_whether_trtnn_is_worse(
    change: Mapping[str, Any], code: int, said: str, tmp_path: Path
) -> None:
    done = compared(tmp_path, {**TIMES, **change})
    assert done.exit_code == code and said in plain(done.output)
    assert "eager takes 1.000 of its time before" in plain(done.output)


def test_what_one_run_lacks_is_said_and_is_no_regression(tmp_path: Path) -> None:
    fewer = {name: us for name, us in TIMES.items() if name != "onnx"}
    done = compared(tmp_path, {**fewer, "async": 105})
    assert done.exit_code == 0
    assert "only in the second: 2" in plain(done.output)
    assert "only in the first: 2" in plain(done.output)
    one, other = (dict([row(case(f"{n} half 1"), TIMES)]) for n in ("mlp", "minilm"))
    both = comparing.compare({**one, **other}, one)
    assert [(c.case, c.verdict) for c in both if c.verdict != "same"] == [
        ("minilm half 1", "only in the first")
    ]


def test_the_table_has_what_changed_or_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "120")
    short, everything = (compared(tmp_path, {**TIMES, "bound": 110}, *o) for o in ((), ("--all",)))
    (gpu, host) = re.findall(r"resnet50 half 1.*", short.output)
    assert re.search(r"bound .* GPU .* 100 ± 1 .* 110 ± 1 .* 1.100 .* slower", gpu)
    assert re.search(r"bound .* host .* 150 ± 1 .* 160 ± 1 .* 1.067 .* slower", host)
    assert everything.output.count("resnet50 half 1") == 2 * len(TIMES) + 1  # eager's on the host


def test_another_device_is_refused_and_other_versions_are_said(tmp_path: Path) -> None:
    done = compared(tmp_path, TIMES, device="another GPU")
    assert done.exit_code == 2
    assert "resnet50 half 1: expected times of one device, got GPU and then another GPU" in plain(
        done.output
    )
    done = compared(tmp_path, TIMES, tensorrt="10.16.1")
    assert done.exit_code == 0 and "tensorrt: 8.6.0, then 10.16.1" in plain(done.output)


def test_files_that_share_no_case_are_refused(tmp_path: Path) -> None:
    paths = [
        write(tmp_path / f"{name}.json", dict([row(case(f"{name} half 1"), TIMES)]))
        for name in ("mlp", "minilm")
    ]
    done = invoke("compare", *map(str, paths))
    assert done.exit_code == 2 and "in common, got none" in plain(done.output)


def test_examples() -> None:
    done = doctest.testmod(comparing)
    assert done.attempted and not done.failed
