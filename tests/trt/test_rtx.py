"""TensorRT for RTX as a backend, on the double of its runtime: it has run on no GPU here."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

import trtnn
from tests import double
from tests.double import rtx
from tests.layout import ROOT
from tests.run.test_runner import double_it
from trtnn import BackendError, BuildError, OptionError, compiler, loading, settings
from trtnn.compiled import CompiledModule
from trtnn.options import BuildOptions, RuntimeOptions
from trtnn.trt import kernels, library, listening

L4 = {"name": "NVIDIA L4", "compute_capability": [8, 9], "sm_count": 58}
H100 = {"name": "NVIDIA H100", "compute_capability": [9, 0], "sm_count": 132}
LAYERS = 2  # of the model here, a kernel each
BATCH = trtnn.Dim("batch", 1, 2, 4)
FILE = "kernels-1.7.1.116-NVIDIA%20L4-linux-x86_64.cache"


class World:
    """A machine with an L4 and TensorRT for RTX."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder, self.patch = folder, monkeypatch
        self.trt = self.install()
        monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
        monkeypatch.setattr(kernels.platform, "machine", lambda: "x86_64")
        self.has(L4)

    def install(self) -> Any:
        """Return TensorRT for RTX as a new process would import it."""
        trt = double.load("rtx")
        double.on_execute(trt, double_it)
        self.patch.setitem(sys.modules, "tensorrt_rtx", trt)
        return trt

    def has(self, gpu: dict[str, Any] | None) -> None:
        for module in (compiler, settings, loading):
            self.patch.setattr(module, "gpu_of", lambda device: gpu)
        if gpu is not None:
            major, minor = gpu["compute_capability"]
            self.patch.setattr(rtx.PLAYED, "capability", f"SM{major}{minor}")
            self.patch.setattr(rtx.PLAYED, "name", gpu["name"])

    def compile(self, shape: tuple[Any, ...] = (BATCH, 3), **chosen: Any) -> CompiledModule:
        given = {"backend": "tensorrt_rtx", "cache": self.folder, "device": "cpu", **chosen}
        return trtnn.compile(lambda x: x * 2, inputs=[trtnn.Input(shape, name="x")], **given)


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    return World(tmp_path / "cache", monkeypatch)


def context_of(model: CompiledModule) -> Any:
    runner: Any = model._runner
    return runner.pool.contexts[0].handle


def compiled_in(path: Path) -> set[str]:
    return set(json.loads(path.read_text())["kernels"])


# The backend ----------------------------------------------------------------------------------


def test_a_model_is_built_for_the_gpu_at_hand_and_runs(world: World) -> None:
    model = world.compile()
    x = torch.ones(2, 3)
    assert torch.equal(model(x), 2 * x) and model.backend == "tensorrt_rtx"
    assert "TensorRT for RTX 1.7.1.116" in repr(model.engine)
    assert model.engine is not None and model.engine.handle._plan.targets == ("SM89",)
    assert not list(world.folder.glob("*.trtnn-engine"))  # a build takes a second


def test_a_gpu_that_it_does_not_run_on_is_refused_by_name(world: World) -> None:
    world.has(H100)
    with pytest.raises(BackendError) as caught:
        world.compile()
    text = "runs on GPUs of compute capability 7.5, 8.0, 8.6, 8.9, 12.0, 12.1, and NVIDIA H100 has"
    assert f"TensorRT for RTX 1.7.1.116 {text} 9.0" in str(caught.value)
    assert 'hint: use backend="tensorrt"' in str(caught.value)


def test_auto_takes_tensorrt_and_names_the_other_where_it_is_alone(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "tensorrt", double.load("8.6"))
    assert world.compile(backend="auto").backend == "tensorrt"
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    monkeypatch.setattr(settings, "is_installed", lambda package: package == "tensorrt_rtx")
    with pytest.warns(UserWarning, match='installed: backend="tensorrt_rtx" asks for it; '):
        assert world.compile(backend="auto").backend == "reference"
    monkeypatch.setattr(settings, "is_installed", lambda package: False)
    with pytest.warns(UserWarning, match="cannot be imported") as caught:
        world.compile(backend="auto")
    assert "RTX" not in str(caught[0].message)


def test_both_libraries_of_one_process_have_their_own_loggers(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "tensorrt", double.load("11"))
    one, other = world.compile().engine, world.compile(backend="tensorrt").engine
    assert one is not None and other is not None
    assert one.library.log is not other.library.log
    assert one.library.log is world.compile().engine.library.log  # type: ignore[union-attr]


def test_what_is_absent_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("tensorrt_rtx", "tensorrt_rtx_bindings"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(trtnn.AbsentError, match="TensorRT for RTX cannot be imported: ") as caught:
        trtnn.compile(torch.nn.ReLU(), backend="tensorrt_rtx")
    assert 'hint: pip install "trtnn[rtx]"' in str(caught.value)


def test_the_bindings_alone_will_do(monkeypatch: pytest.MonkeyPatch) -> None:
    trt = double.load("rtx")
    monkeypatch.setitem(sys.modules, "tensorrt_rtx_bindings", trt)

    def find(name: str) -> Any:
        if name == "tensorrt_rtx":
            raise ModuleNotFoundError(name)
        return sys.modules[name]

    monkeypatch.setattr(library.importlib, "import_module", find)
    assert library.load("tensorrt_rtx") is trt


def test_an_older_version_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    trt = double.load("rtx")
    trt.__version__ = "1.6.1.120"
    with pytest.raises(BackendError, match=r"TensorRT for RTX 1\.6\.1\.120 is not supported"):
        library.check_version(trt)


IGNORED = {
    "timing_cache": ("times", "nothing is timed when it builds"),
    "editable_timing_cache": (True, "nothing is timed"),
    "hardware_compatibility_level": ("AMPERE_PLUS", "compute_capabilities names the GPUs"),
    "version_compatible": (True, "a plan runs with the version alone that built it"),
}


@pytest.mark.parametrize("name", IGNORED)
def test_options_that_it_would_ignore_are_refused(name: str, world: World) -> None:
    value, text = IGNORED[name]
    with pytest.raises(OptionError, match=rf"{name}=.*: not with TensorRT for RTX .*: {text}"):
        world.compile(options=BuildOptions(**{name: value}))
    world.compile(options=BuildOptions(timing_cache=False, hardware_compatibility_level="NONE"))


# What contexts are told -----------------------------------------------------------------------


@pytest.mark.parametrize("memory", ["own", "shared"])
def test_runtime_options_arrive(memory: str, world: World) -> None:
    told = RuntimeOptions(kernel_specialization="eager", cuda_graph_strategy="whole_graph_capture")
    config = context_of(world.compile(runtime=told, memory=memory))._config
    assert config.dynamic_shapes_kernel_specialization_strategy.name == "EAGER"
    assert config.cuda_graph_strategy.name == "WHOLE_GRAPH_CAPTURE"
    wanted = {"own": "STATIC", "shared": "USER_MANAGED"}[memory]
    assert config.get_execution_context_allocation_strategy().name == wanted
    config = context_of(world.compile())._config
    assert config.dynamic_shapes_kernel_specialization_strategy.name == "LAZY"
    assert config.cuda_graph_strategy.name == "DISABLED"


def test_a_setting_that_is_not_kept_is_found(world: World) -> None:
    kind = world.trt.IRuntimeConfig
    held = property(lambda self: world.trt.CudaGraphStrategy.DISABLED, lambda self, value: None)
    type.__setattr__(kind, "cuda_graph_strategy", held)
    told = RuntimeOptions(cuda_graph_strategy="whole_graph_capture")
    with pytest.raises(OptionError, match=r"cuda_graph_strategy: .* took DISABLED instead of"):
        world.compile(runtime=told)
    nothing = lambda self, strategy: None  # noqa: E731
    type.__setattr__(kind, "set_execution_context_allocation_strategy", nothing)
    with pytest.raises(OptionError, match=r"memory: .* took STATIC instead of USER_MANAGED"):
        world.compile(memory="shared")


def test_compute_capabilities_that_are_not_kept_are_found(world: World) -> None:
    kind = world.trt.IBuilderConfig
    type.__setattr__(kind, "get_compute_capability", lambda *_: world.trt.ComputeCapability.SM80)
    with pytest.raises(OptionError, match=r"compute_capabilities: .* took SM80 instead"):
        world.compile()


WRONG = {
    "kernel_specialization": ("fast", "expected 'lazy' or 'eager' or 'none', got 'fast'"),
    "cuda_graph_strategy": (True, "expected 'disabled' or 'whole_graph_capture', got True"),
    "runtime_cache": (True, "expected a path, False or None, got True"),
}


@pytest.mark.parametrize("name", WRONG)
def test_runtime_options_refuse_other_values(name: str) -> None:
    value, text = WRONG[name]
    with pytest.raises(OptionError, match=f"{name}: {text}"):
        RuntimeOptions(**{name: value})


def test_tensorrt_has_no_runtime_options(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "tensorrt", double.load("11"))
    told = RuntimeOptions(kernel_specialization="eager")
    with pytest.raises(
        OptionError, match=r"TensorRT 11\.4\.0 has no kernel_specialization='eager'"
    ):
        world.compile(backend="tensorrt", runtime=told)
    path = tmp_path / "net.trtnn"
    world.compile(backend="tensorrt").save(path)
    with pytest.raises(OptionError, match=r"TensorRT 11\.4\.0 has no kernel_specialization"):
        trtnn.load(path, device="cpu", runtime=told)
    with pytest.raises(OptionError, match=r"expected a trtnn.options.RuntimeOptions, got 'eager'"):
        world.compile(runtime="eager")


# Compiled kernels -----------------------------------------------------------------------------


def test_kernels_are_kept_after_new_shapes_and_found_again(world: World) -> None:
    model, path = world.compile(), world.folder / FILE
    assert not path.exists()
    model(torch.ones(2, 3))
    assert len(compiled_in(path)) == LAYERS
    first = path.stat().st_mtime_ns
    model(torch.ones(2, 3))
    assert path.stat().st_mtime_ns == first
    model(torch.ones(4, 3))
    assert len(compiled_in(path)) == 2 * LAYERS
    world.trt = world.install()  # another process
    again = world.compile()
    assert context_of(again)._config._cache._kernels == compiled_in(path)


def test_a_known_shape_asks_for_nothing(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    plain = kernels.Kernels.save
    monkeypatch.setattr(kernels.Kernels, "save", lambda self: asked.append(1) or plain(self))
    model = world.compile()
    for _ in range(5):
        model(torch.ones(2, 3))
    assert len(asked) == 1


@pytest.mark.parametrize("content", [b"", b"damaged", b'{"version": "1.6", "gpu": "NVIDIA L4"}'])
def test_a_file_that_is_refused_is_made_anew(content: bytes, world: World) -> None:
    world.folder.mkdir(mode=0o700)
    (world.folder / FILE).write_bytes(content)
    world.compile()(torch.ones(2, 3))
    assert len(compiled_in(world.folder / FILE)) == LAYERS


def test_the_file_can_be_named_or_left_out(world: World, tmp_path: Path) -> None:
    told = RuntimeOptions(runtime_cache=tmp_path / "own" / "kernels")
    world.compile(runtime=told)(torch.ones(2, 3))
    assert len(compiled_in(tmp_path / "own" / "kernels")) == LAYERS
    for without in ({"runtime": RuntimeOptions(runtime_cache=False)}, {"cache": False}):
        model = world.compile(**without)
        model(torch.ones(2, 3))
        assert context_of(model)._config._cache is None
    assert not world.folder.exists() or not list(world.folder.iterdir())


def test_a_folder_that_cannot_be_written_is_a_warning(world: World, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    told = RuntimeOptions(runtime_cache=tmp_path / "file" / "kernels")
    with pytest.warns(UserWarning, match="compiled kernels are not "):
        model = world.compile(runtime=told)
        model(torch.ones(2, 3))
    model(torch.ones(4, 3))


def test_a_cache_that_is_cleared_loses_its_kernels(world: World) -> None:
    world.compile()(torch.ones(2, 3))
    trtnn_cache = compiler.open_cache(world.folder)
    assert trtnn_cache is not None
    (world.folder / "others.cache").write_bytes(b"")
    trtnn_cache.clear()
    assert [path.name for path in world.folder.iterdir()] == ["others.cache"]


def test_a_cache_that_cannot_be_made_or_taken_is_an_error(world: World) -> None:
    kind = world.trt.IRuntimeConfig
    type.__setattr__(kind, "set_runtime_cache", lambda self, cache: False)
    with pytest.raises(BuildError, match="could not take a runtime cache"):
        world.compile()
    world.trt = world.install()
    type.__setattr__(world.trt.IRuntimeConfig, "create_runtime_cache", lambda self: None)
    with pytest.raises(BuildError, match="could not make a runtime cache"):
        world.compile()


AT_EXIT = """
import os, sys, torch, trtnn
from tests import double
from tests.run.test_runner import double_it
from trtnn import compiler
trt = sys.modules["tensorrt_rtx"] = double.load("rtx")
double.on_execute(trt, double_it)
torch.cuda.is_available = lambda: True
told = trtnn.options.RuntimeOptions(runtime_cache=sys.argv[1])
how = {"backend": "tensorrt_rtx", "device": "cpu", "runtime": told}
model = trtnn.compile(lambda x: x * 2, inputs=[trtnn.Input((2, 3))], **how)
model(torch.ones(2, 3))
cache = model._runner.pool.contexts[0].handle._config._cache
if child := os.fork():
    os.waitpid(child, 0)
    cache._kernels.add("compiled in the background")
else:
    cache._kernels.add("of a fork")
    model.engine.library.kernels.save()
    os._exit(0)
"""


def test_what_is_compiled_in_the_background_is_kept_at_the_end(tmp_path: Path) -> None:
    path = tmp_path / "kernels"
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", AT_EXIT, str(path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        check=False,
    )
    assert done.stderr == ""
    found = compiled_in(path)
    assert (
        "compiled in the background" in found
        and "of a fork" not in found
        and len(found) == LAYERS + 1
    )


# Captures and the log -------------------------------------------------------------------------


def test_lines_about_a_driver_are_dropped_where_there_is_none(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    log = listening.Log(double.load("rtx"), 10)
    line = "Error Code 35: CUDA driver version is insufficient for CUDA runtime version"
    monkeypatch.setattr(listening, "_has_driver", lambda: False)
    log.receive(40, line)
    assert log.take() == ""
    monkeypatch.setattr(listening, "_has_driver", lambda: True)  # it is too old
    log.receive(40, line)
    assert log.take() == line


def test_whether_there_is_a_driver_is_asked_of_the_system(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def opens(name: str) -> None:
        asked.append(name)
        raise OSError

    monkeypatch.setattr(listening.ctypes, "CDLL", opens)
    listening._has_driver.cache_clear()
    assert not listening._has_driver() and asked == ["libcuda.so.1"]
    listening._has_driver.cache_clear()


# A GPU that it does not run on -------------------------------------------------------------------


@pytest.mark.gpu
def test_on_a_hopper_gpu_auto_takes_tensorrt_and_rtx_says_which_gpus_it_takes(
    tmp_path: Path,
) -> None:
    pytest.importorskip("tensorrt_rtx")
    name, capability = torch.cuda.get_device_name(), torch.cuda.get_device_capability()
    if capability != (9, 0):
        pytest.skip(f"{name} is no Hopper GPU")
    inputs = [trtnn.Input((2, 3), name="x")]
    options = BuildOptions(builder_optimization_level=0)
    model = trtnn.compile(torch.nn.ReLU(), inputs=inputs, options=options)
    assert model.backend == "tensorrt"
    x = torch.randn(2, 3, device="cuda")
    assert torch.equal(model(x), x.relu())
    text = rf"runs on GPUs of .* 7\.5, 8\.0, 8\.6, 8\.9, 12\.0, 12\.1, and {name} has 9\.0"
    with pytest.raises(BackendError, match=text):
        trtnn.compile(torch.nn.ReLU(), inputs=inputs, backend="tensorrt_rtx")
    how: dict[str, Any] = {"backend": "tensorrt_rtx", "compute_capabilities": ("8.9", "12.0")}
    trtnn.build(torch.nn.ReLU(), tmp_path / "net.trtnn", inputs=inputs, **how)
    with pytest.raises(trtnn.LoadError, match=rf"8\.9, 12\.0, and this is {name} "):
        trtnn.load(tmp_path / "net.trtnn")
    assert torch.equal(model(x), x.relu())  # both libraries live in one process
