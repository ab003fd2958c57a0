"""Plugins and where they come from: in the key of a kept engine, and in the manifest of a file."""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

import trtnn
from tests import double
from tests.cache.test_key import GPU
from tests.double.plugins import Known, coordinates
from tests.host import cuda_double
from tests.host.cuda_double import CudaDouble
from tests.host.hosted import GPU as hosted_gpu
from tests.on_double import on_double
from tests.saved.saving import load, save
from trtnn.cache.engines import engine_key
from trtnn.compiler import optimize
from trtnn.errors import LoadError, OptionError, UnsupportedError
from trtnn.host import HostModel
from trtnn.options import BuildOptions
from trtnn.saved.graphs import describe_graph
from trtnn.trt.library import TensorRT
from trtnn.trt.plugins import Key

SCALE = Key("Coordinates", "1", "mine")
IMAGES = [trtnn.Input((trtnn.Dim("batch", 1, 2, 4), 3, 4, 5))]
VERSIONS = ("8.6", "10", "11")


@pytest.fixture(params=VERSIONS)
def library(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[TensorRT]:
    """A double in the place of TensorRT, and of the loader of libraries."""
    trt = double.load(request.param)
    monkeypatch.setitem(sys.modules, "tensorrt", trt)
    exports = SimpleNamespace(getPluginCreators=None)
    monkeypatch.setattr(ctypes, "CDLL", lambda path: exports)
    yield TensorRT(trt)


def file_of(folder: Path, content: bytes, trt: Any, *, known: bool = True) -> Path:
    """Write a library that brings one creator to a double."""
    folder.mkdir(exist_ok=True)
    path = folder / "libmine.so"
    path.write_bytes(content)
    brought = [(SCALE.name, Known({}, 1, coordinates))] if known else []
    trt.get_plugin_registry()._loading[str(path)] = brought
    return path


def wider(x: torch.Tensor) -> torch.Tensor:
    return x.new_empty(x.shape[0], x.shape[1] + 2, *x.shape[2:])


def mine() -> Any:
    return trtnn.plugin(SCALE.name, namespace="mine", infer=wider)


def key_of(library: TensorRT, creator: str, namespace: str = "") -> str | None:
    function: Any = trtnn.plugin(creator, namespace=namespace, infer=wider)
    graph = optimize(trtnn.trace(function, IMAGES), library)
    return engine_key(graph, library, BuildOptions(), tf32=True, gpu=dict(GPU))


def test_a_library_brings_creators_once(library: TensorRT, tmp_path: Path) -> None:
    path = file_of(tmp_path, b"one", library.trt)
    assert trtnn.load_plugins(path) == trtnn.load_plugins(str(path)) == (SCALE,)
    path.write_bytes(b"two")
    with pytest.raises(LoadError, match=r"libmine.so: its content is another than what this proc"):
        trtnn.load_plugins(path)
    other = file_of(tmp_path / "other", b"three", library.trt, known=False)
    with pytest.raises(LoadError, match=r"libmine.so: it registers no plugin creators"):
        trtnn.load_plugins(other)
    with pytest.raises(FileNotFoundError):
        trtnn.load_plugins(tmp_path / "absent.so")
    strange = tmp_path / "strange.so"
    strange.write_bytes(b"")
    with pytest.raises(LoadError, match=r"strange.so: TensorRT refused it"):
        trtnn.load_plugins(strange)


def test_the_content_of_a_library_is_in_the_key(tmp_path: Path, library: TensorRT) -> None:
    """Where it lies is not; what comes from nobody knows where is kept by no cache."""
    own = key_of(library, "ROIAlign_TRT")
    registry = library.trt.get_plugin_registry()
    registry._add("Strange", Known({}, 1, coordinates))
    assert own is not None and key_of(library, "Strange") is None
    assert key_of(library, "CustomGeluPluginDynamic") is None  # there before anybody asked
    keys = []
    for folder, content in (("a", b"one"), ("b", b"one"), ("c", b"two")):
        trt = double.load(next(v for v in VERSIONS if library.target.version.startswith(v)))
        other = TensorRT(trt)
        other.plugins.load(file_of(tmp_path / folder, content, trt))
        keys.append(key_of(other, SCALE.name, "mine"))
    assert keys[0] == keys[1] != keys[2] and None not in keys


def test_a_file_names_the_plugin_that_is_absent(
    library: TensorRT, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = file_of(tmp_path, b"one", library.trt)
    trtnn.load_plugins(path)
    model = on_double(library.trt, mine(), IMAGES)[0]
    entries = library.plugins.in_plan([SCALE], BuildOptions())
    assert entries[0]["library"]["name"] == "libmine.so" and entries[0]["needed"]
    saved = save(tmp_path / "net.trtnn", model, {"plugins": entries})
    assert load(monkeypatch, model, saved)(torch.ones(2, 3, 4, 5)).shape == (2, 5, 4, 5)
    fresh = double.load(next(v for v in VERSIONS if library.target.version.startswith(v)))
    monkeypatch.setitem(sys.modules, "tensorrt", fresh)
    monkeypatch.setitem(sys.modules, "cuda.bindings.runtime", cuda_double.load(CudaDouble()))
    hosted = save(tmp_path / "host.trtnn", model, {"plugins": entries, "gpu": hosted_gpu})
    for path, open_file in ((saved, partial(trtnn.load, device="cpu")), (hosted, HostModel)):
        with pytest.raises(LoadError) as caught:
            open_file(path)
        assert caught.value.message == (
            f"{path}: the engine has the plugin mine::Coordinates version 1, of the library "
            "libmine.so, and this process has none"
        )
        assert caught.value.hint == "load it first: trtnn.load_plugins('libmine.so')"
    trtnn.load_plugins(file_of(tmp_path / "other", b"two", fresh))
    for path, open_file in ((saved, partial(trtnn.load, device="cpu")), (hosted, HostModel)):
        with pytest.raises(LoadError, match=r"version 1 is of libmine.so, SHA-256 .* and here of "):
            open_file(path)


def test_a_version_that_is_absent_is_named_too(library: TensorRT) -> None:
    with pytest.raises(OptionError, match=r"mine::Coordinates version 1: .* has no such creator"):
        on_double(library.trt, mine(), IMAGES)


def test_no_file_holds_a_graph_with_a_plugin() -> None:
    images = torch.ones(2, 3, 4, 5)
    text = "plugin mine::Coordinates version 1: a file holds no code, such as its reference"
    with pytest.raises(UnsupportedError, match=text):
        describe_graph(trtnn.trace(mine(), [images]), lambda _: "array")
