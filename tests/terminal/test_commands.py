"""The commands of ``trtnn`` on a CPU: what they print, write and refuse, and how they exit."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy
import pytest
import torch
from typer.testing import CliRunner

import trtnn
from tests import double
from tests.cache.test_compiling import World
from tests.layout import ROOT
from trtnn import compiler
from trtnn.commands import PLACES, application
from trtnn.saved.file import read
from trtnn.tools import machine as machines
from trtnn.tools.spelling import read_inputs, values_of

NETS = """
import torch

def make():
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.Dropout(0.5), torch.nn.Linear(8, 2))

class Sizes(torch.nn.Module):
    def forward(self, x, count):
        return x.new_ones(count) * x.sum(), (x * 2).to(torch.bfloat16)

def broken():
    raise ValueError("no weights here")

number = 3
"""
X = ("-i", "input:n=1..2..8,4")


@pytest.fixture(autouse=True)
def nets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with modules, where commands are typed."""
    (tmp_path / "own_nets.py").write_text(NETS)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delitem(sys.modules, "own_nets", raising=False)
    return tmp_path


def run(*words: str) -> tuple[int, str, str]:
    environment = {"COLUMNS": "200", "NO_COLOR": "1"}
    done = CliRunner().invoke(application, words, prog_name="trtnn", env=environment)
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done.exit_code, done.stdout, done.stderr


def cells(said: str) -> list[list[str]]:
    return [[cell.strip() for cell in line.split("│")[1:-1]] for line in said.splitlines()][3:-1]


@pytest.mark.parametrize("name", PLACES)
def test_every_command_helps_with_an_example(name: str) -> None:
    status, said, _ = run(name, "--help")
    assert status == 0 and "Usage: trtnn " + name in said
    if name not in ("info", "cache"):
        assert f" trtnn {name} " in said.split("Options")[0].split("Usage:")[1].split("\n", 1)[1]


def test_the_help_lists_all_commands_and_the_exit_codes() -> None:
    status, said, _ = run("--help")
    assert status == 0 and all(f"│ {name} " in said for name in PLACES)
    assert "Exit codes: 0, done." in said


def test_info_tells_which_backends_work_and_why_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorrt", double.load("8.6"))
    status, said, _ = run("info", "--json")
    told = json.loads(said)
    assert status == 0 and told["packages"]["torch"] == torch.__version__ and told["gpus"] == []
    by_name = {one["name"]: one for one in told["backends"]}
    assert by_name["tensorrt"] == {
        **{"name": "tensorrt", "version": "8.6.0", "works": False},
        "why": "PyTorch sees no CUDA device",
    }
    assert by_name["reference"]["works"]
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    assert 'pip install "trtnn[cuda]"' in run("info")[1]
    gpu = {"name": "NVIDIA H100", "compute_capability": [9, 0], "sm_count": 132}
    monkeypatch.setattr(machines, "_gpus", lambda: (gpu,))
    monkeypatch.setitem(sys.modules, "tensorrt", double.load("8.6"))
    monkeypatch.setitem(sys.modules, "tensorrt_rtx", double.load("rtx"))
    _, said, _ = run("info")
    assert "GPU 0: NVIDIA H100, compute capability 9.0" in said
    rows = cells(said[said.index("┏") :])
    assert [row[2] for row in rows if row[0]] == ["yes", "no", "yes"]
    assert "and NVIDIA H100 has 9.0; trtnn build makes files for GPUs of" in rows[1][3]


def test_run_shows_and_writes_what_a_model_gives(nets: Path) -> None:
    x = torch.randn(3, 4)
    numpy.save(nets / "x.npy", x.numpy())
    words = ("run", "own_nets:make", *X, "-i", "input=x.npy", "--backend", "reference")
    status, said, errors = run(*words, "-o", "y.npz")
    assert (status, errors) == (0, "")
    import_path = sys.modules["own_nets"]
    want = import_path.make().eval()(x).detach().numpy()  # not in training: no dropout
    assert cells(said)[0][:3] == ["output_0", "(3, 2)", "float32"]
    with numpy.load(nets / "y.npz") as arrays:
        numpy.testing.assert_allclose(arrays["output_0"], want, rtol=1e-5, atol=1e-6)
    first, again, other = (run(*words[:4], *words[6:], "--seed", s)[1] for s in "001")
    assert first == again != other


def test_run_takes_host_inputs_ranges_and_arrays_that_declare_themselves(nets: Path) -> None:
    numpy.save(nets / "x.npy", numpy.ones((2, 3), dtype=numpy.float16))
    given = ("-i", "x=x.npy", "-i", "count:count=1..4..8:host", "--backend", "reference")
    _, said, _ = run("run", "own_nets:Sizes", *given)
    assert [row[1:3] for row in cells(said)] == [["(4,)", "float16"], ["(2, 3)", "bfloat16"]]
    _, said, _ = run("run", "own_nets:Sizes", *given, "-i", "count=7")
    assert cells(said)[0][1] == "(7,)"
    status, _, errors = run("run", "own_nets:Sizes", *given, "-o", "y.npz")
    assert status == 1 and "NumPy has no torch.bfloat16, the type of output_1" in errors
    for kind, ends in {"int64[3..5]": (3, 5), "float32[-2..-1]": (-2, -1), "bool": (0, 1)}.items():
        given = ("-i", f"input:1000:{kind}", "--backend", "reference")
        _, said, _ = run("run", "torch.nn:Identity", *given)
        least, _, most = map(float, cells(said)[0][3:])
        assert ends[0] <= least < most <= ends[1]
        assert most - least > 0.9 * (ends[1] - ends[0])


def test_build_writes_a_file_for_gpus_that_are_not_here(nets: Path) -> None:
    gpus = ("--backend", "tensorrt_rtx", "--compute-capabilities", "8.9,12.0")
    option = ("--option", "builder_optimization_level=1")
    status, said, _ = run("build", "own_nets:make", *X, *gpus, *option, "-o", "net.trtnn")
    assert status == 0 and said.startswith("net.trtnn: ")
    manifest = read(nets / "net.trtnn").manifest
    assert manifest["engine"]["compute_capabilities"] == ["8.9", "12.0"]
    assert manifest["dims"]["n"]["profiles"] == [[1, 2, 8]]
    assert manifest["options"] == {"builder_optimization_level": 1}
    status, said, errors = run("run", "net.trtnn")
    assert (status, said, errors) == (1, "", "trtnn: PyTorch sees no CUDA device\n")


def test_inspect_reads_a_file_or_traces_a_module(nets: Path) -> None:
    gpus = ("--backend", "tensorrt_rtx", "--compute-capabilities", "8.9")
    assert run("build", "own_nets:make", *X, *gpus, "-o", "net.trtnn")[0] == 0
    status, said, _ = run("inspect", "net.trtnn")
    assert status == 0 and "for tensorrt_rtx 1.7.1.116 on 8.9" in said
    for line in ("input input: (n, 4) float32", "output output_0: (n, 2) float32"):
        assert line in said
    assert "profile 0: n 1..2..8" in said and "MatrixMultiply(" in said
    assert json.loads(run("inspect", "net.trtnn", "--json")[1])["format"] == 1
    assert run("inspect", "own_nets:make", *X)[1].splitlines()[-1].startswith("return %")
    assert run("inspect", "own_nets:make", *X, "--dot")[1].startswith("digraph trtnn {")
    found = json.loads(run("inspect", "own_nets:make", *X, "--json")[1])
    assert found["dims"] == {"n": [[1, 2, 8]]}
    for option in ("--dot", "--layers"):
        assert run("inspect", "net.trtnn", option)[0] == 1


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    """A machine with a GPU, and the double of TensorRT 8.6 on it."""
    monkeypatch.setattr(compiler, "place_for", lambda *_: torch.device("cpu"))
    made = World("8.6", tmp_path / "cache", monkeypatch)
    double.on_execute(made.trt, None)
    return made


@pytest.mark.filterwarnings("ignore::trtnn.errors.VerifyWarning")
def test_profile_and_inspect_show_what_an_engine_tells(world: World, nets: Path) -> None:
    words = ("own_nets:make", *X, "--backend", "tensorrt")
    status, said, errors = run("profile", *words, "--repeat", "2", "--trace", "t.json")
    assert status == 0 and "mean of 2 calls" in said and "profiles 2 calls on cpu" in errors
    assert len(json.loads((nets / "t.json").read_text())["traceEvents"]) > 2
    data = json.loads(run("profile", *words, "--json")[1])
    assert data["calls"] == 10 and [row["modules"] for row in data["by_module"]] == [["2"], ["0"]]
    assert run("profile", *words, "--kernels")[2].splitlines()[-1].startswith("trtnn: kernels: ")
    said = run("inspect", *words[:3], "--layers")[1]
    assert "0/MatrixMultiply" in said and "the plan holds names alone" in said
    assert len(json.loads(run("inspect", *words[:3], "--layers", "--json")[1])["layers"]) > 2


def test_check_exits_with_3_where_a_model_is_wrong() -> None:
    given = ("--precision", "fp16", "--backend", "reference")
    status, said, _ = run("check", "own_nets:make", *X, *given)
    assert status == 0 and said.startswith("every output is within the tolerance")
    strict = ("check", "own_nets:make", *X, *given, "--tolerance", "1e-6")
    status, said, _ = run(*strict)
    assert status == 3 and "is the first node beyond it" in said and "precision:" not in said
    status, said, _ = run(*strict, "--fix")
    assert status == 3 and "precision:" in said


def test_report_writes_a_file(nets: Path) -> None:
    words = ("report", "own_nets:make", *X, "--precision", "fp16", "--tolerance", "1e-6")
    status, said, _ = run(*words, "--backend", "reference", "-o", "wrong.zip")
    assert status == 0 and "written: wrong.zip" in said
    assert trtnn.Report.load(nets / "wrong.zip").manifest["how"] == "types"
    status, _, errors = run(*words, "--backend", "reference", "-o", "wrong.zip")
    assert status == 1 and errors.splitlines()[-2:] == [
        "trtnn: path: wrong.zip is there already",
        "  hint: remove it, or give another path",
    ]


def test_bench_times_the_module_and_the_model() -> None:
    words = ("bench", "own_nets:make", *X, "--backend", "reference", "--repeat", "5")
    status, said, errors = run(*words, "--json")
    timings = json.loads(said)
    assert status == 0 and [one["name"] for one in timings] == ["eager", "reference"]
    assert "times 5 calls of eager, reference on cpu" in errors
    for one in timings:
        assert one["calls"] == 5 and 0 < one["least"] <= one["median"] <= one["p90"]
        assert one["ratio"] == pytest.approx(timings[0]["median"] / one["median"])
    assert [row[0] for row in cells(run(*words)[1])] == ["eager", "reference"]


def test_demo_trains_compiles_and_compares() -> None:
    status, said, _ = run("demo", "--backend", "reference")
    assert status == 0 and "labels that differ: 0" in said and "(batch, 4) float32" in said
    right = float(said.split("images right: ")[1].split("%")[0])
    assert right > 90


WRONG: dict[str, tuple[tuple[str, ...], str]] = {
    "no file": (("run", "lost.trtnn"), "No such file or directory: 'lost.trtnn'"),
    "no module": (("run", "lost.nets:make", *X), "lost.nets:make: there is no module lost"),
    "no factory": (("run", "own_nets:lost", *X), "own_nets has no lost"),
    "no input": (("run", "own_nets:make"), "--input: expected one for each argument of forward"),
    "not called": (("run", "own_nets:number", *X), "expected a function or a class, got a int"),
    "no net": (("run", "builtins:dict", *X), "expected a torch.nn.Module, got a dict"),
    "raises": (("run", "own_nets:broken", *X), "ValueError: no weights here"),
    "no form": (("run", "own_nets:make", "-i", "4,4"), "--input 4,4: expected NAME:SIZES[:TYPE]"),
    "no size": (("run", "own_nets:make", "-i", "input:m,4"), "'m' is no size"),
    "twice": (("run", "own_nets:make", *X, *X), "input is declared twice"),
    "range": (("run", "own_nets:make", "-i", "input:n=1..2..3,n=1..2..3"), "has its range already"),
    "dim": (("run", "own_nets:make", "-i", "input:n=3..2..1,4"), "Dim"),
    "type": (("run", "own_nets:make", "-i", "input:2,4:flat"), "'flat' is no type of PyTorch's"),
    "number": (("run", "own_nets:make", "-i", "input:2:int8[a..b]"), "'a' is no number of"),
    "random": (("run", "own_nets:make", "-i", "input=random"), "of which sizes?"),
    "forward": (("run", "own_nets:make", "-i", "y:2,4"), "y"),
    "host": (("run", "own_nets:make", "-i", "n:2,3:host"), "a host input has one Dim"),
    "array": (("run", "own_nets:make", "-i", "input=own_nets.py"), "expected an array"),
    "option": (("run", "own_nets:make", *X, "--option", "fast=1"), "expected NAME=VALUE"),
    "precision": (("run", "own_nets:make", *X, "--precision", "fp12"), "precision: expected"),
    "npz": (("run", "own_nets:make", *X, "-o", "y.txt"), "expected a file that ends in .npz"),
    "reference": (
        ("build", "own_nets:make", *X, "-o", "n.trtnn", "--backend", "reference"),
        "backend: expected one of tensorrt, tensorrt_rtx",
    ),
    "saved": (("run", "net.trtnn", "-i", "x:2,4"), "a saved file was compiled already"),
    "profile": (("profile", "own_nets:make", *X), "profile: this model runs on the reference"),
    "weights": (("check", "net.trtnn"), "expected MODULE:FACTORY, which has the weights"),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_mistake_is_said_in_a_sentence(name: str) -> None:
    words, text = WRONG[name]
    chosen = "--backend" in words or words[1].endswith(".trtnn")
    status, said, errors = run(*words, *(() if chosen else ("--backend", "reference")))
    assert (status, said.startswith("┏")) in ((1, False), (1, name == "npz"))
    assert text in errors and "Traceback" not in errors


def test_values_are_for_inputs_that_there_are() -> None:
    specs = read_inputs(["x:n=1..2..8,2*n", "y:n"]).inputs
    found = values_of(specs, {}, {}, 0, "cpu")
    assert [tuple(tensor.shape) for tensor in found.values()] == [(2, 4), (2,)]
    with pytest.raises(trtnn.InputError, match="--input z: there is no such input: x, y"):
        values_of(specs, {"z": "random"}, {}, 0, "cpu")


def test_the_users_own_error_names_its_line() -> None:
    _, _, errors = run("run", "own_nets:broken", *X)
    assert "at own_nets.py:" in errors and "trtnn --traceback shows all of it" in errors
    with pytest.raises(trtnn.OptionError, match="no weights here"):
        run("--traceback", "run", "own_nets:broken", *X)


@pytest.mark.parametrize(
    ("words", "status", "text"),
    [
        (("run", "own_nets:make", "-i", "input:2,4"), 0, "trtnn: warning: the reference backend"),
        (("run", "own_nets:broken", *X), 1, "trtnn: own_nets:broken: ValueError: no weights here"),
    ],
    ids=["warned", "error"],
)
def test_a_process_exits_as_it_says(words: Any, status: int, text: str, nets: Path) -> None:
    environment = {"PATH": "", "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "trtnn", *words]
    done = subprocess.run(
        command, cwd=nets, capture_output=True, text=True, check=False, env=environment
    )
    assert done.returncode == status and done.stderr.startswith(text)
    assert "Traceback" not in done.stderr and ("output_0" in done.stdout) == (status == 0)
