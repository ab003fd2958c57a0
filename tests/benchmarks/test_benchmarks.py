"""The benchmark: its tiny run on the reference backend, its records, and its tables."""

from __future__ import annotations

import doctest
import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from typer.testing import CliRunner

import benchmarks.__main__ as program
from benchmarks.instruments import builds, contest, timing
from benchmarks.instruments.machine import Machine
from benchmarks.measures import activities, comparison, dynamic, growth
from benchmarks.measures.activities import describe_kernels, is_free_of_copies
from benchmarks.measures.comparison import judge
from benchmarks.measures.dynamic import KINDS, ratios
from benchmarks.race import plans
from benchmarks.race import run as run_module
from benchmarks.subjects import cases, suite
from benchmarks.subjects.cases import CALLS, FLOW, WHAT, Case, list_cases
from benchmarks.tables import growth_table, table
from trtnn.errors import BuildError

EXAMPLES = (activities, builds, cases, comparison, contest, dynamic, plans, run_module, suite)
EXAMPLES += (table, timing, growth, growth_table)
FIELDS = {"backend", "bar", "batch", "date", "device", "dtype", "error", "met", "model"}
FIELDS |= {"python", "row_s", "size", "torch", "what"}


def invoke(*arguments: str, on: Machine = Machine(None)) -> Any:  # noqa: B008 - frozen
    """Run ``python -m benchmarks`` in this process, by default as without a GPU."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(program, "find_machine", lambda: on)
        return CliRunner().invoke(program.app, list(arguments), catch_exceptions=False)


def run(*arguments: str, on: Machine = Machine(None)) -> str:  # noqa: B008
    """Return what a run prints that ends well."""
    done = invoke(*arguments, on=on)
    assert done.exit_code == 0, done.output
    return str(done.stdout)


@pytest.fixture(scope="module")
def visits(tmp_path_factory: Any) -> tuple[Path, list[dict[str, Any]], list[str]]:
    """Measure twice into one file; return it, its content after each, and what was printed."""
    path = tmp_path_factory.mktemp("results") / "rows.json"
    contents, printed = [], []
    for what in ("tracing", "tracing,dynamic"):
        printed.append(run("measure", "--what", what, "--results", str(path)))
        contents.append(json.loads(path.read_text()))
    return path, contents, printed


def test_a_second_visit_adds_and_keeps(visits: Any) -> None:
    _, (first, second), printed = visits
    assert {key: second[key] for key in first} == first
    new = {f"dynamic {name} small half batch 1" for name in ("minilm", "bert_encoder")}
    assert set(second) - set(first) == new
    assert "tracing resnet50" in printed[0] and "tracing resnet50" not in printed[1]


def test_a_row_of_lengths_has_builds_and_errors_without_a_gpu(visits: Any) -> None:
    row = visits[1][1]["dynamic bert_encoder small half batch 1"]
    assert set(row) == {*FIELDS, "builds", "least"}
    assert row["backend"] == "reference" and row["device"] == "cpu"
    assert list(row["builds"]) == ["bucketed", "dynamic", "static 16", "static 8"]
    assert row["met"] is True and set(row["error"]) == set(row["bar"]) == {"8", "16"}
    for length, errors in row["error"].items():
        assert set(errors) == {"eager", *KINDS}
        assert all(0 < errors[kind] <= row["bar"][length] for kind in KINDS)


def test_again_measures_what_is_recorded(visits: Any) -> None:
    path = visits[0].with_name("copy.json")
    path.write_text(visits[0].read_text())
    printed = run("measure", "--what", "tracing", "--again", "--results", str(path))
    assert printed.count("tracing resnet50 small") == 1
    assert set(json.loads(path.read_text())) == set(visits[1][1])


def test_the_budget_stops_before_the_next_row(tmp_path: Path) -> None:
    path = tmp_path / "rows.json"
    printed = run("measure", "--budget", "-1", "--results", str(path))
    assert printed == "the budget of -1 s is spent before tracing resnet50 small\n"
    assert not path.exists()


def test_a_failure_is_a_row_and_is_tried_again_last(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    path = tmp_path / "rows.json"

    def fail(case: Case, *_: Any) -> dict[str, Any]:
        if case.model == "resnet50":
            raise BuildError(f"no kernel for {case.model}")
        return program.measure_tracing(case, *_)

    monkeypatch.setitem(program.MEASURES, "tracing", fail)
    arguments = ("measure", "--what", "tracing,dynamic", "--results", str(path))
    monkeypatch.setattr(cases, "DYNAMIC", ())
    assert "failed: BuildError: no kernel for resnet50" in run(*arguments)
    assert "no kernel for resnet50" in table.tables(cases.load(path))
    monkeypatch.undo()
    monkeypatch.setattr(cases, "DYNAMIC", ("bert_encoder",))
    printed = run(*arguments)
    assert printed.index("bert_encoder") < printed.index("resnet50")
    rows = json.loads(path.read_text())
    assert not any("failed" in row for row in rows.values()) and len(rows) == 2


def test_without_results_nothing_is_written(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(cases, "RESULTS", tmp_path / "default.json")
    run("measure", "--what", "tracing")
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_name_is_refused() -> None:
    done = invoke("measure", "--what", "refit")
    # Where the terminal is narrow, typer breaks lines.
    assert done.exit_code == 2 and "got refit" in re.sub(r"[\s│]+", " ", done.output)


def test_tables_show_every_row(visits: Any) -> None:
    text = table.tables(visits[1][1])
    assert text.count("| resnet50 (small) |") == 1 and "### Refittable" not in text
    widths = {line.count(" | ") for line in text.splitlines() if line.startswith("| ")}
    assert widths == {3, 17}  # each line has as many cells as its heading
    assert text.count("| bert_encoder (small) | 1 | none |") == 2  # one for each length
    assert "3 rows on cpu, torch" in text


def gpu_row(**changes: Any) -> dict[str, Any]:
    """Return a row as a GPU would give it."""
    row = {"what": "copies", "model": "resnet50", "size": "full", "dtype": "half", "batch": 8}
    return {**row, "date": "2026-01-02", "device": "GPU", "level": 3, "met": False, **changes}


def test_a_row_of_memory_stands_under_its_headings() -> None:
    """The file's keys are sorted, and the table's columns are not."""
    sizes = {"device": 40, "host": 30, "raw": 20}
    row = {
        **gpu_row(),
        "what": "memory",
        "memory_bytes": {k: {"rise": n << 20, "weights": 10 << 20} for k, n in sizes.items()},
        "beyond": {"device": 2.0, "host": 1.0},
        "met": True,
    }
    assert "| 10 | 20 | 30 | 40 | 1.00 | 2.00 | yes |" in table.tables({"row": row})


def test_a_row_of_copies_says_what_a_call_copies_beside_raw_tensorrt() -> None:
    counts = {"call": {"DtoD": 1, "kernel": 60}, "raw": {"kernel": 60}}
    text = table.tables({"b": gpu_row(counts=counts)})
    assert "| 0 / 0 | 0 / 0 | 1 / 0 | 0 / 0 | 60 / 60 | **no** |" in text


def test_the_readme_takes_the_tables_and_keeps_the_rest(visits: Any, tmp_path: Path) -> None:
    readme = tmp_path / "README.md"
    readme.write_text(table.README.read_text())
    for _ in range(2):
        table.main([visits[0]], readme)
    before, after = (path.read_text() for path in (table.README, readme))
    assert after.split(table.BEGIN)[0] == before.split(table.BEGIN)[0]
    assert after.split(table.END)[1] == before.split(table.END)[1]
    assert after.count("### Tracing") == 1 and table.tables(visits[1][1]) in after


def test_the_tables_in_the_readme_are_those_of_the_results() -> None:
    rows = cases.load(cases.RESULTS) | cases.load(cases.GROWTH)
    if rows:
        assert table.tables(rows) in table.README.read_text()


@pytest.mark.parametrize(
    ("eager", "ours", "met"),
    [
        (0.0, 0.0, True),
        (0.01, 0.03, True),
        (0.01, 0.04, False),
        (0.0, float("nan"), False),
        (float("inf"), 0.0, None),
        (float("nan"), float("nan"), None),
    ],
)
def test_the_bar_of_half(eager: float, ours: float, met: bool | None) -> None:
    reference = torch.ones(4, dtype=torch.float64)
    outputs = {"eager": reference + eager, "good": reference + eager, "trtnn": reference + ours}
    verdict = judge("half", [reference], outputs)
    assert verdict["met"] is met and list(verdict["error"]) == list(outputs)


@pytest.mark.parametrize(
    ("call", "raw", "met"),
    [
        ({"kernel": 60}, {"kernel": 60}, True),
        ({"kernel": 60, "memset": 2, "DtoD": 1}, {"kernel": 60, "memset": 2, "DtoD": 1}, True),
        ({"kernel": 60, "memset": 3}, {"kernel": 60, "memset": 2}, False),
        ({"kernel": 60, "HtoD": 1}, {"kernel": 60, "HtoD": 1}, False),
        ({}, {}, False),  # a trace that saw nothing
    ],
)
def test_copies_are_judged(call: Any, raw: Any, met: bool) -> None:
    assert is_free_of_copies(call, raw) is met


def test_the_order_puts_the_profiler_last() -> None:
    listed = list_cases(WHAT, "full")
    assert [case.key for case in listed if case.what not in (*CALLS, *FLOW)] == [
        "refit resnet50 full half batch 1",
        "refit resnet50 full tf32 batch 1",
        "refit bert_encoder full half batch 1",
        "refit bert_encoder full tf32 batch 1",
        "memory bert_encoder full half batch 1",
        "memory bert_encoder full tf32 batch 1",
        "tracing resnet50 full",
        "growth static full",
        "growth dynamic full",
        "growth weights full",
        "growth build full",
        "dynamic minilm full half batch 1",
        "dynamic bert_encoder full half batch 1",
        "copies resnet50 full half batch 1",
        "copies resnet50 full tf32 batch 1",
    ]
    tuned = ("cached", "copies", *FLOW)
    assert {case.level for case in listed if case.what in tuned} == {3}
    assert {case.level for case in listed if case.what not in tuned} == {1}


@pytest.mark.parametrize(
    ("name", "fused"),
    [
        ("fmha_v2_flash_attention_fp16_S_32_sm90_kernel_nl", True),
        ("_gemm_mha_v2_0x1234", True),
        ("mha5", True),
        ("fmha_cutlassF_f16_aligned_64x64_rf_sm80(PyTorchMemEffAttention::AttentionKernel)", True),
        ("void pytorch_flash::flash_fwd_kernel<Flash_fwd_kernel_traits<64> >", True),
        ("sm80_xmma_gemm_f16f16_f16f16_f16_tn_n_tilesize64x64x64", False),
        ("__myl_bb0_1_MulSumHarMaxSubExpSumDivMul", False),
    ],
)
def test_kernels_of_a_fused_attention(name: str, fused: bool) -> None:
    found = describe_kernels([{"cat": "kernel", "name": name}, {"cat": "cpu_op", "name": "fmha"}])
    assert found["fused_attention"] is fused and found["number"] == 1


def test_a_trace_without_kernels_says_nothing_of_attention() -> None:
    assert describe_kernels([])["fused_attention"] is None


def test_the_spread_of_a_ratio_is_that_of_its_rounds() -> None:
    slow = {"median": 150.0, "rounds": [300.0, 75.0]}  # with the machine, not by itself
    static = {"median": 100.0, "rounds": [200.0, 50.0]}
    assert ratios({"dynamic": slow, "static": static}) == {"dynamic": {"ratio": 1.5, "spread": 0.0}}


@pytest.mark.parametrize("module", EXAMPLES, ids=lambda module: module.__name__)
def test_examples(module: Any) -> None:
    done = doctest.testmod(module)
    assert done.attempted and not done.failed
