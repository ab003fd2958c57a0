"""The suite: its cases, builds and races, on the reference and on the double of TensorRT."""

from __future__ import annotations

import gc
import importlib.util
import json
import re
import sys
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

import benchmarks.__main__ as program
import trtnn
from benchmarks.instruments import bound, contest, machine, onnx_path, timing
from benchmarks.instruments.builds import Builds
from benchmarks.instruments.contest import Contender, compete, eager_openers, enter
from benchmarks.instruments.machine import Machine
from benchmarks.race import plans, run
from benchmarks.race.building import build_all
from benchmarks.race.contenders import CONTENDERS
from benchmarks.race.plans import BUILDS, Shelf, wanted
from benchmarks.subjects import suite
from benchmarks.subjects.cases import Case
from benchmarks.subjects.networks import inputs, network, prepared
from tests import double, real_builder
from tests.benchmarks.test_benchmarks import invoke
from tests.benchmarks.test_benchmarks import run as ran
from tests.benchmarks.test_calls import builds, compile_engine, computing  # noqa: F401 - a fixture
from tests.benchmarks.test_on_double import times_of
from tests.compare import leaves
from tests.double import contract
from trtnn.options import BuildOptions

CPU = torch.device("cpu")
MLP = Case("suite", "mlp", "small", "half", 1)
ONNX = importlib.util.find_spec("onnx") is not None


def test_the_most_important_cases_come_first_and_all_of_them() -> None:
    names = [case.name for case in suite.suite("full")]
    first = ("resnet50", "efficientnet_b0", "vit_b_16", "bert_base", "minilm")
    assert names[:10] == [f"{name} half {batch}" for batch in (1, 32) for name in first]
    assert len(names) == len(set(names)) and "sd_unet half 32" not in names
    assert {case.level for case in suite.suite("full")} == {3}


@pytest.mark.parametrize("name", [n for n, s in suite.TABLE.items() if not s.missing])
def test_a_network_computes_something_of_its_inputs(name: str) -> None:
    case = Case("suite", name, "small", "half", 2)
    net = network(name, "small")
    with torch.no_grad():
        one, other = (list(leaves(net(*inputs(case, seed=seed)))) for seed in (3, 4))
    assert all(bool(t.isfinite().all()) and len(t) == 2 for t in one)
    same = name == "minilm"  # its sentences are the same each time
    assert all(torch.equal(a, b) is same for a, b in zip(one, other, strict=True))


def test_what_is_not_installed_is_a_row_that_says_so(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    absent = suite.Subject("nothing", suite.zoo("mlp"), "mlp", ("no_such_package",))
    monkeypatch.setitem(suite.TABLE, "nothing", absent)  # type: ignore[index]
    monkeypatch.setattr(suite, "THEN", (absent,))
    path = tmp_path / "rows.json"
    printed = ran("run", "--case", "nothing half 1", "--results", str(path))
    assert printed == "nothing half 1: missing: not installed: no_such_package\n"
    assert json.loads(path.read_text())["suite nothing small half batch 1"]["missing"]


@pytest.fixture(scope="module")
def raced(tmp_path_factory: Any) -> tuple[Path, str]:
    """Build and time on the reference, in two steps; return the folder, and what was printed."""
    folder = tmp_path_factory.mktemp("race")
    chosen = ("--case", "mlp half 1")
    printed = ran("build", str(folder / "plans"), *chosen)
    printed += ran("time", str(folder / "plans"), *chosen, "--results", str(folder / "rows.json"))
    return folder, printed


def test_a_row_has_contenders_with_times_and_errors(raced: tuple[Path, str]) -> None:
    folder, printed = raced
    row = json.loads((folder / "rows.json").read_text())["suite mlp small half batch 1"]
    assert row["backend"] == "reference" and row["level"] == 3
    assert set(row["contenders"]) == {"sync", "eager", "eager beside compile", "compile"}
    for name, record in row["contenders"].items():
        assert record["host_us"]["median"] > 0 and 0 < record["error"] < 0.01
        assert f"mlp half 1: {name}: host" in printed
        rate = 1e6 / record["host_us"]["median"]
        assert record["samples_per_s"] == pytest.approx(rate, rel=0.01)
    assert row["contenders"]["sync"]["build_s"]["cold"] > 0
    assert row["contenders"]["compile"]["by"]["torch"] == torch.__version__


def test_a_later_run_builds_nothing_again_and_merges(raced: tuple[Path, str]) -> None:
    folder, _ = raced
    before = json.loads((folder / "rows.json").read_text())["suite mlp small half batch 1"]
    arguments = ("--case", "mlp half 1", "--contender", "eager")
    printed = ran(
        *("run", "--plans", str(folder / "plans"), *arguments),
        *("--results", str(folder / "rows.json")),
    )
    assert printed.startswith("mlp half 1: eager: host") and printed.count("\n") == 1
    after = json.loads((folder / "rows.json").read_text())["suite mlp small half batch 1"]
    assert set(after["contenders"]) == set(before["contenders"])
    changed = [k for k, v in after["contenders"].items() if v != before["contenders"][k]]
    assert changed == ["eager"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("run", "--case", "vgg"), "got 'vgg'"),
        (("run", "--contender", "tvm"), "got tvm"),
        (("time", "plans", "--size", "huge"), "got huge"),
        (("build", "plans", "--torch-python", "/no/python"), "there is no /no/python"),
    ],
)
def test_what_an_option_does_not_take_is_refused(arguments: tuple[str, ...], said: str) -> None:
    done = invoke(*arguments)
    assert done.exit_code == 2 and said in re.sub(r"[\s│]+", " ", done.output)


def test_without_time_nothing_begins(tmp_path: Path) -> None:
    options = ("--case", "mlp half 1", "--budget", "-1")
    printed = ran("build", str(tmp_path), *options)
    assert printed == "mlp half 1: exact, trtnn, exported: not begun, no time is left\n"
    assert ran("time", str(tmp_path), *options) == "mlp half 1: no time is left\n"
    assert "missing: not built" in ran("time", str(tmp_path), "--case", "mlp half 1")


def test_a_process_that_dies_is_a_fact(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "asdict", lambda _: {"no": "case"})
    ran("build", str(tmp_path), "--case", "mlp half 1", "--contender", "eager")
    facts = Shelf(tmp_path, MLP).facts("exact")
    assert facts["failed"].startswith("the process ended with 1: TypeError")


def test_of_a_traceback_what_was_raised_is_kept_and_no_path() -> None:
    with pytest.raises(RuntimeError, match=r"the interpreter ended with 1: .*Error") as caught:
        run._peer(Shelf(Path("nowhere"), MLP), Path(sys.executable), "reduce-overhead", [], 60.0)
    assert sys.executable not in str(caught.value) and 'File "' not in str(caught.value)
    told = 'Traceback:\n  File "/a/b.py"\ntorch.AcceleratorError: CUDA error\nSearch for it.\n\n'
    assert run._raised(told) == "torch.AcceleratorError: CUDA error"


def test_one_that_fails_leaves_the_others() -> None:
    def broken() -> Contender:
        raise RuntimeError("no memory")

    def good() -> Contender:
        return Contender({"contiguous": lambda: None})

    entered, failed = enter({"a": broken, "b": good}, lambda: None, on_gpu=False)
    assert list(entered) == ["b"] and failed == {"a": {"failed": "RuntimeError: no memory"}}
    records = compete(entered, 4, timing.TINY, lambda: None, on_gpu=False)
    assert set(records["b"]) == {"host_us", "samples_per_s"}


def test_results_of_another_shape_are_no_error_but_a_failure() -> None:
    assert run._error([torch.ones(2)], [torch.ones(3)])["failed"].startswith("its results: shape")
    assert run._error([torch.ones(2)], [torch.ones(2)]) == {"error": 0.0}
    assert run._error([torch.ones(2).log()], [torch.ones(2)])["error"] == 1.0


# The GPU's side, on the double ------------------------------------------------------------------


class Parser:
    """Stands in for TensorRT's ONNX parser: a network of the MLP's inputs and outputs."""

    num_errors = 1

    def __init__(self, network: Any, logger: Any) -> None:
        self.network = network

    def parse_from_file(self, path: str) -> bool:
        """Fill the network, unless there is nothing in the file."""
        if not Path(path).read_bytes():
            return False
        trt = sys.modules["tensorrt"]
        x = self.network.add_input("input_0", trt.DataType.FLOAT, (1, 16))
        y = self.network.add_slice(x, (0, 0), (1, 10), (1, 1)).get_output(0)
        y.name = "output_0"
        self.network.mark_output(y)
        return True

    def get_error(self, index: int) -> str:
        """Return what was wrong."""
        return "no such operator"


@pytest.fixture
def doubled(
    builds: Builds,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> Iterator[tuple[Machine, Path]]:
    """Return a machine whose GPU is the double's, and a folder for plans."""
    trt, place = builds.machine.gpu.trt, builds.machine
    weak = contract.weak

    def trtnn_alone(network: Any, config: Any) -> None:
        if network._inputs[0]._name != "input_0":
            weak(network, config)

    # How trtnn tells 8.6 types is no rule of TensorRT's: others leave them free.
    monkeypatch.setattr(contract, "weak", trtnn_alone)
    monkeypatch.setattr(trt, "OnnxParser", Parser, raising=False)
    monkeypatch.setattr(onnx_path, "export", lambda net, given, path: path.write_bytes(b"network"))
    for module in (bound, contest):
        monkeypatch.setattr(module, "captured", lambda call: call)
    monkeypatch.setattr(contest, "gpu_times", times_of)
    monkeypatch.setattr(machine, "_driver", lambda: "1")
    monkeypatch.setattr(program, "FULL", timing.TINY)

    half = prepared(MLP, CPU)[0]
    double.on_execute(trt, computing(lambda x: half(x.half())))
    monkeypatch.setattr(trtnn, "compile", compile_engine)

    def build_here(shelf: Shelf, names: Any, *_: Any) -> None:
        build_all(shelf, names, place)

    monkeypatch.setattr(run, "_build", build_here)
    twice = {**suite.TABLE, "mlp": suite.Subject("mlp", suite.zoo("mlp"), "mlp", twice=(1,))}
    monkeypatch.setattr(plans, "TABLE", twice)
    yield place, tmp_path


ALL = ",".join(name for name in CONTENDERS if not name.startswith("compile") and name != "free")


def test_every_contender_races_on_the_double(doubled: tuple[Machine, Path]) -> None:
    place, folder = doubled
    options = ("--case", "mlp half 1", "--contender", ALL, "--size", "small")
    results = folder / "rows.json"
    printed = ran("run", *options, "--plans", str(folder), "--results", str(results), on=place)
    row = json.loads(results.read_text())["suite mlp small half batch 1"]
    records = row["contenders"]
    assert "failed" not in printed
    assert set(records) == {*ALL.split(","), "raw again", "onnx again"}
    assert {name for name, record in records.items() if "host_us" not in record} == {
        "raw again",
        "onnx again",
    }
    assert {n for n, record in records.items() if "gpu_us" not in record} == {"sync", "eager"}
    assert all(record["peak_bytes"] == 0 for record in records.values())
    assert records["sync"]["plan_bytes"] > 0 and set(records["sync"]["build_s"]) == {
        "cold",
        "cached",
    }
    assert records["onnx"]["plan_bytes"] > 0 and records["onnx"]["method"] == "replays"
    assert all(records[name]["error"] < 0.01 for name in ("sync", "bound", "raw", "eager"))
    shelf = Shelf(folder, MLP)
    assert shelf.timings.exists() and shelf.has("onnx again")


BERT = Case("suite", "bert_base", "small", "half", 1)


@pytest.fixture(scope="module")
def bert() -> Any:
    """Return the small BERT: transformers is imported before torch.cuda is replaced."""
    return prepared(BERT, CPU)[0]


def test_token_ids_are_bound_as_the_engine_reads_them(
    bert: Any, doubled: tuple[Machine, Path]
) -> None:
    place, folder = doubled
    double.on_execute(place.gpu.trt, computing(lambda *given: bert(*(t.long() for t in given))))
    options = ("--case", BERT.name, "--contender", "bound,raw,sync", "--size", "small")
    ran("run", *options, "--results", str(folder / "rows.json"), on=place)
    records = json.loads((folder / "rows.json").read_text())[BERT.key]["contenders"]
    assert all(records[name]["error"] < 0.01 for name in ("bound", "raw", "sync"))


def test_a_network_that_the_parser_refuses_is_a_failure_with_its_words(
    doubled: tuple[Machine, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    place, folder = doubled
    monkeypatch.setattr(onnx_path, "export", lambda net, given, path: path.write_bytes(b""))
    options = ("--case", "mlp half 1", "--contender", "onnx,eager", "--size", "small")
    printed = ran("run", *options, "--results", str(folder / "rows.json"), on=place)
    assert "the ONNX parser refused the network: no such operator" in printed


@pytest.mark.skipif(ONNX, reason="onnx is installed")
def test_without_onnx_the_export_says_so(tmp_path: Path) -> None:
    net, given = prepared(MLP, CPU)
    with pytest.raises(Exception, match="onnx"):
        onnx_path.export(net, given, tmp_path / "net.onnx")


@pytest.mark.skipif(not ONNX, reason="needs the onnx package")
@real_builder.needs_builder
@pytest.mark.parametrize(
    # What this exporter makes of an attention in half has norms of two types.
    ("name", "dtype"),
    [("mlp", "half"), ("bert_base", "tf32"), ("vit_b_16", "half")],
)
def test_what_is_exported_is_read_and_built_by_the_real_parser(name: str, dtype: str) -> None:
    net, given = prepared(Case("suite", name, "small", dtype, 1), CPU)
    library, gpu = real_builder.library(), real_builder.GPU
    assert onnx_path.build(net, given, library, BuildOptions(), capabilities=gpu)


def test_the_fused_attention_of_eager_is_left_out_of_exports_and_put_back() -> None:
    assert torch.backends.mha.get_fastpath_enabled()
    with onnx_path.exportable():
        assert not torch.backends.mha.get_fastpath_enabled()
    assert torch.backends.mha.get_fastpath_enabled()


def test_what_is_built_for_whom() -> None:
    resnet = Case("suite", "resnet50", "full", "half", 1)
    assert wanted(resnet, {"eager"}, on_gpu=True) == (["exact"], [])
    assert wanted(resnet, {"compile", "onnx", "bound"}, on_gpu=True) == (
        ["exact", "trtnn", "exported", "onnx"],
        ["trtnn again", "onnx again"],
    )
    assert wanted(resnet, set(CONTENDERS), on_gpu=False) == (["exact", "trtnn", "exported"], [])
    assert {name.removesuffix(" again") for name in BUILDS} == set(BUILDS) - {
        "trtnn again",
        "onnx again",
    }


def test_a_captured_call_of_eager_keeps_what_it_reads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(contest, "captured", weakref.ref)
    graph = eager_openers(*prepared(MLP, CPU), on_gpu=True)["eager graph"]()
    gc.collect()
    assert list(graph.host) == list(graph.gpu) == ["contiguous"]
    assert all(reference() is not None for reference in graph.host.values())
