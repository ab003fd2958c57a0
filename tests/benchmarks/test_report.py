"""The report and the comparison of results, on small results that are made here."""

from __future__ import annotations

import doctest
import importlib.util
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from benchmarks.report import (
    brief,
    markdown,
    plots,
    reading,
    scores,
    sentences,
)
from benchmarks.subjects import cases, suite
from benchmarks.subjects.cases import Case
from tests.benchmarks.test_benchmarks import invoke, run

MATPLOTLIB = importlib.util.find_spec("matplotlib") is not None
EMPTY = f"# Read me\n\n{brief.BEGIN}\n{brief.END}\n\nThe rest.\n"
TIMES = {"bound": 100, "graph": 110, "eager graph": 300, "compile": 200, "onnx": 104, "raw": 99}


def record(us: float, *, spread: float = 1.0, **more: Any) -> dict[str, Any]:
    """Return what is known of a contender: the host takes 50 µs more than the GPU."""
    time = {"median": us, "spread": spread}
    return {"gpu_us": time, "host_us": {**time, "median": us + 50}, "error": 0.001, **more}


def row(case: Case, contenders: Mapping[str, Any], **more: Any) -> tuple[str, dict[str, Any]]:
    """Return a row of the suite with its key; numbers stand for records with that time."""
    records = {n: r if isinstance(r, dict) else record(r) for n, r in contenders.items()}
    facts = {"device": "GPU", "date": "2026-01-02", "tensorrt": "8.6.0", "torch": "2.11"}
    facts |= {"level": 3, "backend": "tensorrt", "driver": "1", "python": "3.10"}
    eager = {"eager": {"error": 0.001, "host_us": {"median": 900.0, "spread": 9.0}}}
    fields = {name: getattr(case, name) for name in ("what", "model", "size", "dtype", "batch")}
    return case.key, {**fields, **facts, "contenders": {**eager, **records}, **more}


def case(name: str, size: str = "full") -> Case:
    """Return a case by its name."""
    (found,) = (c for c in suite.suite(size) if c.name == name)
    return found


def canned() -> dict[str, Any]:
    """Return three cases; ONNX's engine, built twice, is the faster one in the second."""
    build = {"build_s": {"cold": 40.5, "cached": 1.25}}
    first = {**TIMES, "bound": record(100, **build), "onnx again": 106.08, "raw again": 100}
    second = {**TIMES, "onnx": record(90, error=0.5), "compile": {"failed": "Error: a | b\nlong"}}
    third = {**TIMES, "eager graph": record(400), "onnx": 99}
    return dict(
        [
            row(case("resnet50 half 1"), first),
            row(case("vit_b_16 half 1"), second),
            row(case("resnet50 half 32"), third),
            row(case("minilm tf32 1"), {**TIMES, "bound": record(100, error=0.1)}),
            row(Case("suite", "gone", "full", "half", 1), {"bound": 1}),
        ]
    )


def write(path: Path, rows: Any) -> Path:
    """Write results."""
    path.write_text(json.dumps(rows))
    return path


@pytest.fixture
def reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[str, str, str]:
    """Report without matplotlib; return the report, the README, and what was printed."""
    monkeypatch.setattr(plots, "can_draw", lambda: False)
    printed = report(tmp_path, canned())
    return *(tmp_path.joinpath(name).read_text() for name in ("suite.md", "README.md")), printed


def report(folder: Path, *results: Any) -> str:
    """Report on results in a folder that has a README of its own."""
    (folder / "README.md").write_text(EMPTY)
    paths = [str(write(folder / f"{i}.json", rows)) for i, rows in enumerate(results)]
    return run("report", *paths, "--folder", str(folder), "--readme", str(folder / "README.md"))


def test_a_table_has_cases_by_contenders_with_speed_ups(reported: tuple[str, str, str]) -> None:
    text, _, _ = reported
    tables = {t.split("\n")[0]: t for t in text.split("\n## ")}
    gpu = tables["GPU µs, and how many times faster than eager in a CUDA graph"]
    assert "| case | graph | bound | eager graph | compile | onnx | raw |" in gpu
    assert (
        "| resnet50 half 1 | 110 ± 1 (2.73x) | 100 ± 1 (3.00x) | 300 ± 1 | 200 ± 1 (1.50x) |"
        " 104 ± 1 (2.88x) | 99 ± 1 (3.03x) |" in gpu
    )
    assert "| vit_b_16 half 1 | 110 ± 1 (2.73x) | 100 ± 1 (3.00x) | 300 ± 1 |  | 90 ± 1" in gpu
    assert "| resnet50 half 1 | 160 ± 1 | 150 ± 1 | 900 ± 9 |" in tables["Host µs"]
    assert "| resnet50 half 1 | 40.5 (1.25) |" in tables["Seconds of a build"]
    assert "| **5.0e-01** |" in tables["Error"] and "| **1.0e-01** |" in tables["Error"]
    assert "| gone" not in text


def test_each_line_of_a_table_has_as_many_cells_as_its_heading(reported: Any) -> None:
    for text in reported[:2]:
        for table in re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE):
            assert len({len(re.split(r" \|(?: |$)", line)) for line in table.splitlines()}) == 1


def test_means_are_geometric_and_by_kind(reported: tuple[str, str, str]) -> None:
    found = {(m.kind, m.rival): m for m in scores.means(scores.results(canned()))}
    assert found["half", "eager graph"].mean == pytest.approx((3 * 3 * 4) ** (1 / 3))
    assert found["half", "torch.compile"].ratios == (2, 2)
    assert "| half | ONNX parser | 3 | 0.975 | 0.900 to 1.040 |" in reported[0]
    assert "| tf32 | ONNX parser | 1 | 1.040 | 1.040 to 1.040 |" in reported[0]


def test_s_is_how_far_two_builds_of_onnx_differ(reported: tuple[str, str, str]) -> None:
    found = scores.results(canned())
    assert scores.spread(found) == pytest.approx(0.02)
    assert "differ at most: 2.0%." in reported[0]
    assert "| resnet50 half 1 | 2.0% | 1.0% |" in reported[0]
    assert scores.spread(found[1:]) is None and "not known" in sentences.builds_differ(found[1:])


def test_a_sentence_says_where_trtnn_is_not_the_fastest(reported: tuple[str, str, str]) -> None:
    assert (
        "On the GPU trtnn is the fastest in 2 of 4 cases (4 with eager graph, 3 with torch.compile,"
        " 4 with ONNX parser); it is not in vit_b_16 half 1 (ONNX parser: 0.900 of the time of"
        " bound), resnet50 half 32 (ONNX parser: 0.990 of the time of bound, within s)."
        in reported[0]
    )
    assert "Its error is beyond the bar in minilm tf32 1." in reported[0]
    found = scores.results(canned())
    assert sentences.fastest(found, most=1).endswith("of bound), and in 1 more.")
    assert sentences.fastest(found[:1]).endswith(
        "1 of 1 cases (1 with eager graph, 1 with torch.compile, 1 with ONNX parser)."
    )
    assert "beside no other" in sentences.fastest([])


def test_eager_beside_compile_shows_how_the_interpreters_compare() -> None:
    times = {"eager graph": 300, "eager graph beside compile": 330}
    found = scores.results(dict([row(case("mlp half 1"), {**TIMES, **times})]))
    assert "takes 1.100 of its time here (1.100 to 1.100)" in markdown.compiled_beside(found)
    assert "not timed" in markdown.compiled_beside(scores.results(canned()))


def test_a_time_of_wrong_shapes_counts_for_nobody() -> None:
    broken = record(1, failed="its results: shape (1,), not (2,)")
    key, made = row(case("mlp half 1"), {**TIMES, "onnx": broken})
    (result,) = scores.results({key: made})
    assert result.rival("ONNX parser") is None and not scores.losses([result])


def test_what_is_missing_is_listed_with_its_reason(reported: tuple[str, str, str]) -> None:
    text, _, _ = reported
    _, gaps = text.split("## What is missing")
    assert "| compile | Error: a \\| b | vit_b_16 half 1 |" in gaps
    (absent,) = re.findall(r"^\| all \| not run \| (.*) \|$", gaps, re.MULTILINE)
    names = absent.split(", ")
    assert len(names) == len(suite.suite("full")) - 4 and "bert_base half 1" in names
    assert "resnet50 half 1" not in names and "| compile max-autotune |" not in gaps
    assert re.search(r"^\| sync, async \| not run \| resnet50 half 1, vit", gaps, re.MULTILINE)


def test_a_network_that_is_not_installed_is_missing_with_that_reason() -> None:
    key, made = row(case("yolo11n half 1"), {})
    del made["contenders"]
    gaps = scores.missing({key: {**made, "missing": "not installed: ultralytics"}})
    assert gaps["all", "not installed: ultralytics"] == ["yolo11n half 1"]


def test_a_contender_without_times_is_missing() -> None:
    key, made = row(case("mlp half 1"), {**TIMES, "sync": {"error": 0.001}})
    gaps = {why: cases for why, cases in scores.missing({key: made}).items() if why[0] != "all"}
    assert gaps == {("sync", "not timed"): ["mlp half 1"], ("async", "not run"): ["mlp half 1"]}


def test_the_readme_gets_a_short_table_and_keeps_the_rest(
    reported: tuple[str, str, str], tmp_path: Path
) -> None:
    _, readme, printed = reported
    before, part, after = re.split(f"{brief.BEGIN}|{brief.END}", readme)
    assert before + after == EMPTY.replace(f"{brief.BEGIN}\n{brief.END}", "")
    lines = part.strip().splitlines()
    assert len(lines) <= 12
    assert "GPU, tensorrt 8.6.0, torch 2.11; 2026-01-02" in lines[0]
    assert lines[2].count("batch 1:") == lines[2].count("batch 32:") == 4
    assert lines[4].startswith("| resnet50 | 100 (3.00x) | 300 | 200 (1.50x) | 104 (2.88x) | 100")
    assert lines[5].startswith("| vit_b_16 | 100 (3.00x) | 300 |  | 90 (3.33x) |  |  |  |  |")
    assert "not in vit_b_16 half 1 (ONNX" in lines[-1] and "s = 2.0%" in lines[-1]
    assert lines[-1].endswith("[All cases](./suite.md).") and "speedup" not in part
    assert 'no plots are drawn: matplotlib is missing, pip install "trtnn[bench]"' in printed
    assert not list(tmp_path.glob("*.png"))


def test_all_first_networks_at_all_batches_are_twelve_lines_at_most() -> None:
    rows = dict(row(c, {**TIMES, "onnx": 90}) for c in suite.suite("full"))
    part = brief.brief(rows, Path("nowhere"), "results")
    assert part is not None and len(part.splitlines()) <= 12
    others = len([c for c in suite.suite("full") if c.dtype == "half"]) - brief.NAMED
    assert f", and in {others} more. Geometric" in part
    assert set(scores.missing(rows)) == {
        (n, "not run") for n in ("sync", "async", "compile max-autotune")
    }


def test_a_plot_is_linked_only_where_it_lies(tmp_path: Path) -> None:
    assert "speedup.png" not in str(brief.brief(canned(), tmp_path, "results"))
    assert "speedup.png" not in markdown.report(canned(), tmp_path)
    (tmp_path / "speedup.png").touch()
    assert "(results/speedup.png)" in str(brief.brief(canned(), tmp_path, "results"))
    assert "](speedup.png)" in markdown.report(canned(), tmp_path)


def test_another_way_than_bound_is_named_in_the_readme() -> None:
    key, made = row(case("resnet50 half 1"), {"raw": 99, "eager graph": 300})
    assert "| 99 (3.03x), its plan alone | 300 |" in str(brief.brief({key: made}, Path(), ""))


def test_without_times_on_a_gpu_the_readme_is_left(tmp_path: Path) -> None:
    small = case("mlp half 1", "small")
    key, made = row(small, {"sync": {"host_us": {"median": 9.0, "spread": 1.0}}})
    printed = report(tmp_path, {key: made})
    assert "is left as it is" in printed and (tmp_path / "README.md").read_text() == EMPTY
    assert "trtnn has been timed beside no other yet" in (tmp_path / "suite.md").read_text()


def test_several_files_merge_as_the_suite_does(tmp_path: Path) -> None:
    key, old = row(case("resnet50 half 1"), {"bound": 100, "onnx": 90})
    _, new = row(case("resnet50 half 1"), {"onnx": 95})
    _, other = row(case("resnet50 half 1"), {"onnx": 95}, device="another")
    files = [write(tmp_path / f"{i}.json", {key: made}) for i, made in enumerate((old, new, other))]
    records = reading.read(files[:2])[key]["contenders"]
    assert records["bound"]["gpu_us"]["median"] == 100 and records["onnx"]["gpu_us"]["median"] == 95
    assert "bound" not in reading.read(files)[key]["contenders"]


@pytest.mark.skipif(not MATPLOTLIB, reason="needs matplotlib")
def test_plots_are_drawn_of_what_was_timed(tmp_path: Path) -> None:
    overhead = cases.load(cases.RESULTS).get("overhead one_layer full")
    found = scores.results(canned())
    names = ["speedup.png", "latency.png"] + ["overhead.png"] * (overhead is not None)
    assert plots.draw(found, overhead, tmp_path) == names
    first = {name: (tmp_path / name).read_bytes() for name in names}
    assert all(data.startswith(b"\x89PNG") for data in first.values())
    plots.draw(found, overhead, tmp_path)
    assert {name: (tmp_path / name).read_bytes() for name in names} == first
    assert plots.draw([], None, tmp_path) == [] and not list(tmp_path.glob("*.png"))


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "there is no"),
        ("not JSON", "expected JSON, got JSONDecodeError"),
        ("[1]", "expected rows by their keys, got a list of 1"),
        ("{}", "expected rows by their keys, got a dict of 0"),
        ('{"a": 1}', "a: expected a row of a benchmark, got a int"),
        ('{"a": {"what": "suite"}}', "got one without batch, date, device, dtype, model, size"),
    ],
)
@pytest.mark.parametrize("command", ["report", "compare"])
def test_a_file_that_is_none_of_results_is_refused(
    command: str, content: str | None, said: str, tmp_path: Path
) -> None:
    path, good = tmp_path / "a.json", write(tmp_path / "good.json", canned())
    if content is not None:
        path.write_text(content)
    options = ("--folder", str(tmp_path), "--readme", str(tmp_path / "README.md"))
    done = invoke(command, str(path), *((str(good),) if command == "compare" else options))
    assert done.exit_code == 2 and said in plain(done.output)
    assert not (tmp_path / "suite.md").exists()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"contenders": [1]}, "got a list of 1 of contenders"),
        ({"contenders": {"onnx": 3}}, "got a int as record of onnx"),
        (
            {"contenders": {"onnx": {"gpu_us": {"median": 0, "spread": 1}}}},
            "a time of onnx that lacks",
        ),
        ({"contenders": {"onnx": {"gpu_us": {"median": 3}}}}, "a time of onnx that lacks"),
    ],
)
def test_a_row_of_another_form_is_refused(change: Any, said: str, tmp_path: Path) -> None:
    key, made = row(case("mlp half 1"), {})
    with pytest.raises(ValueError, match=said):
        reading.checked(write(tmp_path / "a.json", {key: {**made, **change}}))
    del made["contenders"]
    with pytest.raises(ValueError, match="of the suite without contenders"):
        reading.checked(write(tmp_path / "a.json", {key: made}))


def test_results_without_the_suite_and_a_readme_without_markers_are_refused(tmp_path: Path) -> None:
    key, made = row(Case("tracing", "resnet50", "full"), {})
    done = invoke("report", str(write(tmp_path / "a.json", {key: made})))
    assert done.exit_code == 2 and "expected rows of the suite's networks" in plain(done.output)
    good, readme = write(tmp_path / "b.json", canned()), tmp_path / "README.md"
    done = invoke("report", str(good), "--folder", str(tmp_path), "--readme", str(readme))
    assert done.exit_code == 2 and "lacks the lines <!-- suite: begin -->" in plain(done.output)


def plain(text: str) -> str:
    """Return what an error says, whose lines typer breaks."""
    return re.sub(r"[\s│]+", " ", text)


def test_the_readme_and_the_report_are_those_of_the_results() -> None:
    rows, folder = cases.load(cases.SUITE), cases.SUITE.parent
    part = brief.brief(rows, folder, "benchmarks/results")
    assert part is None or part in (folder.parents[1] / "README.md").read_text()
    assert (folder / brief.REPORT).read_text() == markdown.report(rows, folder)


@pytest.mark.parametrize("module", [markdown, plots, reading, scores, sentences])
def test_examples(module: Any) -> None:
    done = doctest.testmod(module)
    assert done.attempted and not done.failed
