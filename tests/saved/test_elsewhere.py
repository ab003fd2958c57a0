"""Saved models on another GPU, TensorRT or platform, with code for the host, and on a real GPU."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import torch

import trtnn
from tests import double
from tests.on_double import on_double
from tests.saved.saving import load, manifest_of, save
from trtnn import Dim, Input, loading
from trtnn.errors import LoadError
from trtnn.options import BuildOptions
from trtnn.saved import file as saved

X = Input((Dim("n", 1, 2, 8), 6), name="x")
T = torch.ones(3, 6)

H100 = {"name": "NVIDIA H100", "compute_capability": [9, 0], "sm_count": 132}
A100 = {"name": "NVIDIA A100", "compute_capability": [8, 0], "sm_count": 108}
SLICE = {**H100, "sm_count": 60}
T4 = {"name": "Tesla T4", "compute_capability": [7, 5], "sm_count": 40}


def _level(name: str) -> dict[str, Any]:
    return {"engine": {"hardware_compatibility_level": name}}


LENIENT = {"engine": {"version_compatible": True, "host_code": True}}
WITHOUT_LEAN = {"engine": {"version_compatible": True, "host_code": False}}


def _version(name: str) -> dict[str, Any]:
    return {"versions": {"tensorrt": name}}


ELSEWHERE: dict[str, tuple[Any, Any, str]] = {
    "GPU": ({"gpu": A100}, H100, "built for NVIDIA A100 .8.0, 108|NVIDIA A100"),
    "slice": ({"gpu": H100}, SLICE, "132 multiprocessors"),
    "no GPU": ({"gpu": H100}, None, "and this is no GPU"),
    "a GPU": ({"gpu": None}, H100, "built for no GPU"),
    "older": ({"gpu": A100, **_level("AMPERE_PLUS")}, T4, "Tesla T4"),
    "built older": ({"gpu": T4, **_level("AMPERE_PLUS")}, A100, "Tesla T4"),
    "capability": ({"gpu": A100, **_level("SAME_COMPUTE_CAPABILITY")}, H100, "NVIDIA A100"),
    "version": (_version("10.12.0"), None, "TensorRT 10.12.0, and this is TensorRT"),
    "later": ({**_version("99.0.0"), **LENIENT}, None, "TensorRT 99.0.0"),
    "no lean runtime": ({**_version("10.2.0"), **WITHOUT_LEAN}, None, "TensorRT 10.2.0"),
    "system": ({"platform": {"system": "Windows", "machine": "AMD64"}}, None, "Windows AMD64"),
    "machine": ({"platform": {"system": "Linux", "machine": "riscv"}}, None, "Linux riscv"),
}


@pytest.mark.parametrize("name", ELSEWHERE)
def test_another_place_is_refused_before_tensorrt_is_asked(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    changes, here, text = ELSEWHERE[name]
    model, _ = on_double("10", lambda x: x * 2, [X])
    path = save(tmp_path / "net.trtnn", model, changes)
    monkeypatch.setattr(loading, "gpu_of", lambda device: here)
    monkeypatch.setattr(model.engine.library.trt, "Runtime", None)  # type: ignore[union-attr]
    with pytest.raises(LoadError, match=text) as caught:
        load(monkeypatch, model, path, allow_host_code=True)
    assert str(path) in caught.value.message and "compile and save the model here" in str(
        caught.value
    )


FITTING: dict[str, tuple[Any, Any]] = {
    "same": ({"gpu": H100}, H100),
    "Ampere or later": ({"gpu": A100, **_level("AMPERE_PLUS")}, H100),
    "same capability": ({"gpu": H100, **_level("SAME_COMPUTE_CAPABILITY")}, SLICE),
    "later TensorRT": ({**_version("10.2.0"), **LENIENT}, None),
}


@pytest.mark.parametrize("name", FITTING)
def test_what_an_engine_was_built_to_allow_is_allowed(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    changes, here = FITTING[name]
    model, _ = on_double("10", lambda x: x * 2, [X])
    path = save(tmp_path / "net.trtnn", model, changes)
    monkeypatch.setattr(loading, "gpu_of", lambda device: here)
    assert load(monkeypatch, model, path, allow_host_code=True)(T).shape == T.shape


@pytest.mark.parametrize("version", ["8.6", "10", "11"])
def test_code_for_the_host_runs_only_where_it_is_allowed(
    version: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = BuildOptions(version_compatible=True)
    model, _ = on_double(version, lambda x: x * 2, [X], options=options)
    path = save(tmp_path / "net.trtnn", model, version_compatible=True)
    with pytest.raises(LoadError, match="holds code for the CPU") as caught:
        load(monkeypatch, model, path)
    assert "allow_host_code=True" in str(caught.value)
    assert load(monkeypatch, model, path, allow_host_code=True)(T).shape == T.shape
    # A manifest that hides it does not get it past TensorRT.
    save(path, model, {"engine": {"host_code": False}}, version_compatible=True)
    with pytest.raises(trtnn.BuildError, match="engine_host_code_allowed"):
        load(monkeypatch, model, path)


def test_a_plan_of_another_model_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, _ = on_double("10", lambda x: x * 2, [X])
    other, _ = on_double("10", lambda x: (x * 2, x + 1), [X])
    assert other.engine is not None
    path = tmp_path / "net.trtnn"
    saved.write(path, manifest_of(model), other.engine.plan)
    with pytest.raises(LoadError, match="describes output_0, x, the engine has output_0, output_1"):
        load(monkeypatch, model, path)


def test_loading_asks_for_a_gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model, _ = on_double("10", lambda x: x * 2, [X])
    path = save(tmp_path / "net.trtnn", model)
    assert model.engine is not None
    monkeypatch.setitem(sys.modules, "tensorrt", model.engine.library.trt)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(trtnn.AbsentError, match="no CUDA device"):
        trtnn.load(path)
    with pytest.raises(FileNotFoundError):
        trtnn.load(tmp_path / "absent.trtnn")


@pytest.fixture
def compiling(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let ``trtnn.compile`` and ``trtnn.load`` find a double, and take the CPU for a GPU."""
    monkeypatch.setitem(sys.modules, "tensorrt", double.load("10"))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)


@pytest.mark.usefixtures("compiling")
def test_what_compile_was_given_is_saved_and_saved_again(tmp_path: Path) -> None:
    model = trtnn.compile(
        lambda x: x * 2,
        inputs=[X],
        device="cpu",
        precision="fp32",
        int64_checks="first",
        cache=False,
        options=BuildOptions(builder_optimization_level=2, timing_cache=b""),
    )
    path, again = tmp_path / "net.trtnn", tmp_path / "again.trtnn"
    model.save(path)
    manifest = saved.read(path).manifest
    given = {key: manifest[key] for key in ("precision", "checks", "execution")}
    assert given == {"precision": "fp32", "checks": "first", "execution": "sync"}
    assert manifest["options"]["builder_optimization_level"] == 2
    loaded = trtnn.load(path, device="cpu")
    assert loaded.plan == model.plan == saved.read(path).plan
    loaded.save(again)
    assert again.read_bytes() == path.read_bytes()


@pytest.mark.usefixtures("compiling")
def test_a_lazily_compiled_model_is_saved_while_it_has_one_engine(tmp_path: Path) -> None:
    model = trtnn.compile(lambda x: x * 2, device="cpu", cache=False)
    path = tmp_path / "net.trtnn"
    with pytest.raises(trtnn.InputError, match="save"):
        model.save(path)
    model(T)
    model.save(path)
    assert trtnn.load(path, device="cpu")(T).shape == T.shape
    with pytest.warns(trtnn.RecompileWarning):
        model(T[:2])
    with pytest.raises(trtnn.InputError, match="save"):
        model.save(path)


def test_the_reference_is_not_saved(tmp_path: Path) -> None:
    model = trtnn.compile(torch.nn.ReLU(), inputs=[X], backend="reference")
    with pytest.raises(trtnn.UnsupportedError, match=r"holds a TensorRT engine, .* the reference"):
        model.save(tmp_path / "net.trtnn")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.gpu
def test_a_real_engine_goes_round(tmp_path: Path) -> None:
    module = torch.nn.Sequential(torch.nn.Linear(6, 4), torch.nn.ReLU()).cuda()
    model = trtnn.compile(module, inputs=[X], precision="fp32", backend="tensorrt")
    path = tmp_path / "net.trtnn"
    model.save(path)
    loaded = trtnn.load(path)
    x = torch.randn(5, 6, device="cuda")
    assert torch.equal(loaded(x), model(x))
    torch.testing.assert_close(loaded(x), module(x).detach(), rtol=1e-5, atol=1e-5)
    again = tmp_path / "again.trtnn"
    loaded.save(again)
    assert again.read_bytes() == path.read_bytes()
    content = saved.read(path)
    assert content.manifest["gpu"]["name"] == torch.cuda.get_device_name()


@pytest.mark.gpu
def test_a_damaged_plan_never_reaches_tensorrt(tmp_path: Path) -> None:
    model = trtnn.compile(lambda x: x * 2, inputs=[X], backend="tensorrt")
    path = tmp_path / "net.trtnn"
    model.save(path)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(LoadError):
        trtnn.load(path)
