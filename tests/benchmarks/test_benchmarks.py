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
from benchmarks.instruments import builds, timing
from benchmarks.instruments.machine import Machine
from benchmarks.measures import activities, comparison, dynamic, tracing, typed
from benchmarks.measures.activities import describe_kernels, is_free_of_copies
from benchmarks.measures.comparison import judge
from benchmarks.measures.dynamic import KINDS, ratios
from benchmarks.measures.typed import costs
from benchmarks.subjects import cases
from benchmarks.subjects.cases import WHAT, Case, list_cases
from benchmarks.tables import table
from trtnn.errors import BuildError

EXAMPLES = (activities, builds, cases, comparison, dynamic, table, timing, tracing, typed)
FIELDS = {"backend", "bar", "batch", "date", "device", "dtype", "error", "host_us", "met", "model"}
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
    """Run twice into one file; return it, its content after each, and what was printed."""
    path = tmp_path_factory.mktemp("results") / "rows.json"
    contents, printed = [], []
    for models in ("mlp", "mlp,resnet18,bert_encoder"):
        printed.append(run("--models", models, "--results", str(path)))
        contents.append(json.loads(path.read_text()))
    return path, contents, printed


def test_a_row_has_its_fields(visits: Any) -> None:
    row = visits[1][1]["models resnet18 small half batch 1"]
    assert set(row) == FIELDS
    assert row["backend"] == "reference" and row["device"] == "cpu"
    assert row["met"] is True and row["bar"] == 3 * row["error"]["eager"] + 1e-3
    assert set(row["host_us"]) == {"eager", "trtnn"}
    for time in row["host_us"].values():
        assert time["median"] > 0 and time["spread"] >= 0
        assert time["layout"] in ("contiguous", "channels_last")


def test_a_second_visit_adds_and_keeps(visits: Any) -> None:
    _, (first, second), printed = visits
    assert {key: second[key] for key in first} == first
    new = {
        f"models {name} small {dtype} batch 1"
        for name in ("resnet18", "bert_encoder")
        for dtype in ("half", "tf32")
    }
    assert set(second) - set(first) == {*new, "dynamic bert_encoder small half batch 1"}
    assert "models mlp" in printed[0] and "models mlp" not in printed[1]


def test_a_row_of_lengths_has_builds_and_errors_without_a_gpu(visits: Any) -> None:
    row = visits[1][1]["dynamic bert_encoder small half batch 1"]
    assert set(row) == {*FIELDS - {"host_us"}, "builds", "least"}
    assert list(row["builds"]) == ["bucketed", "dynamic", "static 16", "static 8"]
    assert row["met"] is True and set(row["error"]) == set(row["bar"]) == {"8", "16"}
    for length, errors in row["error"].items():
        assert set(errors) == {"eager", *KINDS}
        assert all(0 < errors[kind] <= row["bar"][length] for kind in KINDS)


def test_again_measures_what_is_recorded(visits: Any) -> None:
    path = visits[0].with_name("copy.json")
    path.write_text(visits[0].read_text())
    printed = run("--models", "mlp", "--what", "models", "--again", "--results", str(path))
    assert printed.count("models mlp small") == 2
    assert set(json.loads(path.read_text())) == set(visits[1][1])


def test_the_budget_stops_before_the_next_row(tmp_path: Path) -> None:
    path = tmp_path / "rows.json"
    printed = run("--models", "mlp", "--budget", "-1", "--results", str(path))
    assert printed == "the budget of -1 s is spent before models mlp small half batch 1\n"
    assert not path.exists()


def test_a_failure_is_a_row_and_is_tried_again_last(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    path = tmp_path / "rows.json"

    def fail(case: Case, *_: Any) -> dict[str, Any]:
        raise BuildError(f"no kernel for {case.model}")

    monkeypatch.setitem(program.MEASURES, "models", fail)
    arguments = ("--dtypes", "tf32", "--what", "models", "--results", str(path))
    assert "failed: BuildError: no kernel for mlp" in run("--models", "mlp", *arguments)
    monkeypatch.undo()
    assert set(json.loads(path.read_text())) == {"models mlp small tf32 batch 1"}
    assert "no kernel for mlp" in table.tables(cases.load(path))
    printed = run("--models", "mlp,bert_encoder", *arguments)
    assert printed.index("bert_encoder") < printed.index("mlp")
    rows = json.loads(path.read_text())
    assert not any("failed" in row for row in rows.values()) and len(rows) == 2


def test_without_results_nothing_is_written(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(cases, "RESULTS", tmp_path / "default.json")
    run("--models", "mlp", "--what", "models")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("option", "value"), [("models", "vgg"), ("dtypes", "int8"), ("what", "typed")]
)
def test_an_unknown_name_is_refused(option: str, value: str) -> None:
    done = invoke(f"--{option}", value)
    # Where the terminal is narrow, typer breaks lines.
    assert done.exit_code == 2 and f"got {value}" in re.sub(r"[\s│]+", " ", done.output)


def test_tables_show_every_row(visits: Any) -> None:
    text = table.tables(visits[1][1])
    rows = re.findall(r"^\| (\w+) \(small\) \| (half|tf32) \| 1 \|.* yes \|$", text, re.MULTILINE)
    assert rows == [(m, d) for m in ("mlp", "bert_encoder", "resnet18") for d in ("half", "tf32")]
    assert text.count("| chain (small) |") == 3 and "### Typed" not in text
    widths = {line.count(" | ") for line in text.splitlines() if line.startswith("| ")}
    assert widths == {14, 5, 17}  # each line has as many cells as its heading
    assert text.count("| bert_encoder (small) | 1 | none |") == 2  # one for each length
    assert "9 rows on cpu, torch" in text


def gpu_row(**changes: Any) -> dict[str, Any]:
    """Return a row as a GPU would give it."""
    time = {"median": 300.0, "spread": 4.0, "layout": "channels_last", "method": "replays"}
    ours = {"median": 150.0, "spread": 2.0, "layout": "contiguous", "method": "queued"}
    both = {"eager": time, "eager graph": time, "trtnn": ours}
    row = {"what": "models", "model": "resnet50", "size": "full", "dtype": "half", "batch": 8}
    row |= {"date": "2026-01-02", "device": "GPU", "level": 3, "host_us": both, "gpu_us": both}
    return {**row, "error": {"eager": 1e-3, "trtnn": None}, "bar": 4e-3, "met": False, **changes}


def test_a_gpu_row_says_layout_method_ratio_and_verdict() -> None:
    text = table.tables({"row": gpu_row()})
    assert (
        "| resnet50 | half | 8 | 3 | 300 ± 4, channels-last | 300 ± 4, channels-last "
        "| 150 ± 2, queued | 2.00 | 300 ± 4, channels-last | 150 ± 2, queued | 2.00 "
        "| 1.0e-03 | not finite | 4.0e-03 | **no** |"
    ) in text


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


def test_the_other_gpu_tables() -> None:
    names = [f"{kind} {number}" for kind in ("typed", "free") for number in (1, 2)]
    built = {name: {"median": 100.0, "spread": 1.0} for name in names}
    layers = [{"layer": "a|b", "typed_us": 2.0, "free_us": 1.0}]
    verdict = {"ratio": 1.0, "spread": 0.0, "met": True}
    counts = {"call": {"DtoD": 1, "kernel": 60}, "raw": {"kernel": 60}}
    text = table.tables(
        {
            "a": gpu_row(what="typed", builds=built, layers=layers, **verdict),
            "b": gpu_row(what="copies", counts=counts),
        }
    )
    assert "| 100 ± 1 and 100 ± 1 | 100 ± 1 and 100 ± 1 | 1.000 | 0.000 | yes |" in text
    assert "a\\|b: 2.0 against 1.0" in text
    assert "| 0 / 0 | 0 / 0 | 1 / 0 | 0 / 0 | 60 / 60 | **no** |" in text


def test_the_readme_takes_the_tables_and_keeps_the_rest(visits: Any, tmp_path: Path) -> None:
    readme = tmp_path / "README.md"
    readme.write_text(table.README.read_text())
    for _ in range(2):
        table.main(visits[0], readme)
    before, after = (path.read_text() for path in (table.README, readme))
    assert after.split(table.BEGIN)[0] == before.split(table.BEGIN)[0]
    assert after.split(table.END)[1] == before.split(table.END)[1]
    assert after.count("### Models") == 1 and table.tables(visits[1][1]) in after


def test_the_tables_in_the_readme_are_those_of_the_results() -> None:
    rows = cases.load(cases.RESULTS)
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


def test_the_order_puts_one_batch_first_and_the_profiler_last() -> None:
    listed = list_cases(WHAT, ("resnet50", "minilm"), ("half", "tf32"), (1, 8), "full")
    assert [case.key for case in listed] == [
        "models resnet50 full half batch 1",
        "models resnet50 full tf32 batch 1",
        "models minilm full half batch 1",
        "models minilm full tf32 batch 1",
        "errors resnet50 full half batch 1",
        "errors resnet50 full tf32 batch 1",
        "errors minilm full half batch 1",
        "errors minilm full tf32 batch 1",
        "overhead one_layer full",
        "threads one_layer full",
        "cycles one_layer full",
        "mixed one_layer full",
        "sanitizer one_layer full",
        "threads resnet18 full half batch 8",
        "cached resnet50 full tf32 batch 1",
        "typed resnet50 full half batch 1",
        "typed minilm full half batch 1",
        "refit resnet50 full half batch 1",
        "refit resnet50 full tf32 batch 1",
        "tracing resnet50 full",
        "tracing chain full",
        "models resnet50 full half batch 8",
        "models resnet50 full tf32 batch 8",
        "models minilm full half batch 8",
        "models minilm full tf32 batch 8",
        "dynamic minilm full half batch 1",
        "copies resnet50 full half batch 1",
        "copies resnet50 full tf32 batch 1",
    ]
    alone = list_cases(("dynamic",), cases.MODELS, cases.DTYPES, (1, 8), "full")
    assert [(case.model, case.level) for case in alone] == [("minilm", 1), ("bert_encoder", 1)]


def test_levels() -> None:
    names = ("resnet50", "vit_b_16", "minilm", "swin_t", "efficientnet_b0")
    levels = {n: [Case("models", n, "full", d, 1).level for d in ("half", "tf32")] for n in names}
    assert levels["efficientnet_b0"] == [0, 1] and levels["swin_t"] == [1, 1]
    assert all(levels[name] == [3, 3] for name in names[:3])


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


def test_costs_name_the_layer_that_got_slower() -> None:
    found = costs({"a": 5.0, "b": 3.0}, {"a": 5.0, "b": 1.0, "c": 9.0})
    assert [row["layer"] for row in found] == ["b", "a", "c"]


@pytest.mark.parametrize("module", EXAMPLES, ids=lambda module: module.__name__)
def test_examples(module: Any) -> None:
    done = doctest.testmod(module)
    assert done.attempted and not done.failed
