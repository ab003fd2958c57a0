"""``trtnn.build``: a file without a run; for TensorRT for RTX by its real builder too."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy
import pytest
import torch

import trtnn
from tests import double
from tests.double import rtx
from tests.host import cuda_double
from tests.host.cuda_double import CudaDouble
from tests.layout import ROOT
from tests.run.test_runner import double_it
from tests.zoo import MODELS, minilm
from trtnn import BackendError, BuildError, InputError, LoadError, OptionError, compiler, loading
from trtnn.host import HostModel
from trtnn.options import BuildOptions, RuntimeOptions
from trtnn.saved.file import read

BATCH = trtnn.Dim("batch", 1, 2, 4)
X = trtnn.Input((BATCH, 3), name="x")
GPUS = {
    "8.9": {"name": "NVIDIA L4", "compute_capability": [8, 9], "sm_count": 58},
    "12.0": {"name": "NVIDIA RTX PRO 6000", "compute_capability": [12, 0], "sm_count": 188},
    "9.0": {"name": "NVIDIA H100", "compute_capability": [9, 0], "sm_count": 132},
}


def twice(x: Any) -> Any:
    return x * 2


class World:
    """A machine with the double of TensorRT for RTX, and of a GPU."""

    def __init__(self, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.path, self.patch = path / "net.trtnn", monkeypatch
        self.trt = double.load("rtx")
        double.on_execute(self.trt, double_it)
        self.cuda = CudaDouble()
        monkeypatch.setitem(sys.modules, "tensorrt_rtx", self.trt)
        monkeypatch.setitem(sys.modules, "cuda.bindings.runtime", cuda_double.load(self.cuda))
        monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
        self.has("8.9")

    def has(self, capability: str) -> None:
        gpu = GPUS[capability]
        for module in (compiler, loading):
            self.patch.setattr(module, "gpu_of", lambda device: gpu)
        self.patch.setattr("trtnn.host.model._gpu", lambda cuda, device: gpu)
        self.patch.setattr(rtx.PLAYED, "capability", f"SM{capability.replace('.', '')}")
        self.patch.setattr(rtx.PLAYED, "name", gpu["name"])

    def build(self, **chosen: Any) -> Path:
        given = {"backend": "tensorrt_rtx", "compute_capabilities": ("8.9", "12.0"), **chosen}
        trtnn.build(twice, self.path, inputs=[X], **given)
        return self.path

    def load(self, **chosen: Any) -> Any:
        return trtnn.load(self.path, device="cpu", **chosen)


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    return World(tmp_path, monkeypatch)


def manifest_in(path: Path) -> dict[str, Any]:
    with zipfile.ZipFile(path) as archive:
        found: dict[str, Any] = json.loads(archive.read("manifest.json"))
        return found


# One file for several GPUs, on the double ---------------------------------------------------------


@pytest.mark.parametrize("capability", ["8.9", "12.0"])
def test_one_file_runs_on_each_gpu_of_its_list(capability: str, world: World) -> None:
    world.build()
    world.has(capability)
    model = world.load(runtime=RuntimeOptions(kernel_specialization="eager"))
    x = torch.ones(2, 3)
    assert torch.equal(model(x), 2 * x) and model.backend == "tensorrt_rtx"
    (file,) = compiler.open_cache().folder.glob("kernels-*.cache")  # type: ignore[union-attr]
    assert GPUS[capability]["name"].replace(" ", "%20") in file.name  # type: ignore[attr-defined]


def test_a_host_model_runs_it_too(world: World) -> None:
    told = RuntimeOptions(kernel_specialization="none")
    with HostModel(world.build(), runtime=told) as model:
        array = numpy.ones((2, 3), numpy.float32)
        assert numpy.array_equal(model(array), 2 * array)
        kind = model._session.context._config
        assert kind.dynamic_shapes_kernel_specialization_strategy.name == "NONE"


OPENERS = {"load": lambda world: world.load(), "host": lambda world: HostModel(world.path)}


@pytest.mark.parametrize("opener", OPENERS)
def test_another_gpu_is_refused_by_name(opener: str, world: World) -> None:
    world.build()
    world.has("9.0")
    with pytest.raises(LoadError) as caught:
        OPENERS[opener](world)
    text = "built for GPUs of compute capability 8.9, 12.0, and this is NVIDIA H100 (compute cap"
    assert text in str(caught.value)
    assert "or build it with compute_capabilities=('9.0',)" in str(caught.value)


@pytest.mark.parametrize("opener", OPENERS)
def test_another_version_is_refused(opener: str, world: World) -> None:
    world.build()
    world.trt.__version__ = "1.7.2.3"
    with pytest.raises(LoadError) as caught:
        OPENERS[opener](world)
    built = "built with TensorRT for RTX 1.7.1.116, and this is TensorRT for RTX 1.7.2.3"
    assert built in str(caught.value)


def test_the_library_is_asked_whether_a_plan_can_run(world: World) -> None:
    world.build()
    bits = world.trt.EngineInvalidityDiagnostics
    answers = [
        (world.trt.EngineValidity.INVALID, int(bits.OLD_CUDA_DRIVER) | int(bits.OLD_CUDA_RUNTIME)),
        (world.trt.EngineValidity.SUBOPTIMAL, int(bits.INSUFFICIENT_GPU_MEMORY)),
    ]
    kind = world.trt.Runtime
    type.__setattr__(kind, "get_engine_validity", lambda self, plan: answers[0])
    for opener in OPENERS.values():
        with pytest.raises(LoadError, match="cannot run the plan: OLD_CUDA_DRIVER, OLD_CUDA_RUNT"):
            opener(world)
    type.__setattr__(kind, "get_engine_validity", lambda self, plan: answers[1])
    with pytest.warns(UserWarning, match="not at its best: INSUFFICIENT_GPU_MEMORY"):
        world.load()


def test_a_manifest_without_a_package_is_tensorrts(world: World) -> None:
    manifest = read(world.build()).manifest
    del manifest["engine"]["package"]
    with pytest.raises(LoadError, match="built with TensorRT None"):
        loading.require_fit(manifest, "net.trtnn", version="11.4.0", gpu=GPUS["8.9"])


def test_a_file_that_was_built_without_a_gpu_says_that_nobody_ran_it(world: World) -> None:
    assert manifest_in(world.build())["verified"]["why"] == "built without a GPU to run it"
    assert str(world.load().verified) == "not verified: built without a GPU to run it"


def test_a_plan_of_rtx_fits_any_platform(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.build()
    monkeypatch.setattr("trtnn.saved.fit.platform_of", lambda: {"system": "Windows"})
    world.load()


# TensorRT itself ----------------------------------------------------------------------------------


def test_tensorrt_builds_for_the_gpu_at_hand(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trt = double.load("10")
    double.on_execute(trt, double_it)
    monkeypatch.setitem(sys.modules, "tensorrt", trt)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    path = tmp_path / "net.trtnn"
    options = BuildOptions(builder_optimization_level=2)
    how: dict[str, Any] = {"device": "cpu", "precision": "fp32", "execution": "async"}
    trtnn.build(twice, path, inputs=[X], options=options, cache=False, **how)
    manifest = manifest_in(path)
    told = {key: manifest[key] for key in ("precision", "execution", "options")}
    assert told == {
        "precision": "fp32",
        "execution": "async",
        "options": {"builder_optimization_level": 2},
    }
    x = torch.ones(2, 3)
    assert torch.equal(trtnn.load(path, device="cpu")(x), 2 * x)


REFUSED: dict[str, tuple[dict[str, Any], type[Exception], str]] = {
    "backend": ({"backend": "reference"}, OptionError, "expected one of tensorrt, tensorrt_rtx"),
    "no GPU": ({"backend": "tensorrt"}, BackendError, "TensorRT cannot be imported"),
    "capabilities of TensorRT": (
        {"backend": "tensorrt", "compute_capabilities": ("8.9",)},
        OptionError,
        "compute_capabilities: TensorRT builds for the GPU at hand",
    ),
    "a Hopper": ({"compute_capabilities": ("9.0",)}, OptionError, "does not build for 9.0; expec"),
    "one text": ({"compute_capabilities": "8.9"}, OptionError, "expected texts such as"),
    "numbers": ({"compute_capabilities": (8.9,)}, OptionError, "expected texts such as"),
    "device": ({"device": "cuda:0"}, OptionError, "device: TensorRT for RTX builds for no GPU at"),
    "refit": (
        {"options": BuildOptions(refit="refit")},
        OptionError,
        "refit='refit': TensorRT for RTX .* builds a refittable engine only where it runs",
    ),
    "options": ({"options": 3}, OptionError, "options: expected a trtnn.options.BuildOptions"),
    "precision": ({"precision": "fp64"}, OptionError, "precision: expected one of tf32, fp32"),
    "execution": ({"execution": "later"}, OptionError, "execution: expected"),
    "inputs": ({"inputs": None}, InputError, "inputs: expected what compile.* takes, got None"),
    "folder": ({"path": "missing/net.trtnn"}, OSError, "No such file or directory"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_wrong_arguments_are_refused(
    name: str, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen, kind, text = REFUSED[name]
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    path = chosen.pop("path", world.path)
    with pytest.raises(kind, match=text):
        trtnn.build(twice, path, **{"inputs": [X], "backend": "tensorrt_rtx", **chosen})
    assert not world.path.exists()


# The real builder ---------------------------------------------------------------------------------


@pytest.fixture
def real() -> None:
    pytest.importorskip("tensorrt_rtx", reason="TensorRT for RTX is not on this platform")


@pytest.mark.usefixtures("real")
def test_equal_modules_give_equal_files_in_every_process(tmp_path: Path) -> None:
    program = (
        "import sys, torch, trtnn\n"
        "torch.manual_seed(0)\n"
        "net = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), torch.nn.ReLU())\n"
        "batch = trtnn.Dim('batch', 1, 2, 4)\n"
        "for path in sys.argv[1:]:\n"
        "    trtnn.build(net, path, inputs=[trtnn.Input((batch, 3, 8, 8))],\n"
        "        backend='tensorrt_rtx', compute_capabilities=('8.9',))\n"
    )
    paths = [tmp_path / name for name in "abc"]
    for some in (paths[:2], paths[2:]):
        run = [sys.executable, "-c", program, *map(str, some)]
        subprocess.run(run, cwd=ROOT, check=True, capture_output=True)
    assert len({hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}) == 1


@pytest.mark.usefixtures("real")
@pytest.mark.parametrize("name", ["resnet18", "bert_encoder", "minilm"])
def test_a_model_is_built_for_three_generations(name: str, tmp_path: Path) -> None:
    path, targets = tmp_path / "net.trtnn", ("8.6", "8.9", "12.0")
    batch = trtnn.Dim("batch", 1, 4, 8)
    if name == "minilm":
        length = trtnn.Dim("length", 2, 16, 64)
        module = minilm().module
        inputs = [trtnn.Input((batch, length), torch.int64)] * 2
    else:
        subject = MODELS["small"][name]
        module = subject.build()
        inputs = [trtnn.Input((batch, *x.shape[1:]), x.dtype) for x in subject.inputs(2, 3)]
    how: dict[str, Any] = {"backend": "tensorrt_rtx", "compute_capabilities": targets}
    trtnn.build(module.eval(), path, inputs=inputs, **how)
    manifest = manifest_in(path)
    assert manifest["engine"]["compute_capabilities"] == list(targets)
    assert manifest["versions"]["tensorrt_rtx"].startswith("1.7.")
    assert [len(t["shape"]) for t in manifest["inputs"]] == [len(x.shape) for x in inputs]
    assert manifest["outputs"]


@pytest.mark.usefixtures("real")
def test_the_list_is_narrowed_to_the_dtypes_of_the_network(tmp_path: Path) -> None:
    path = tmp_path / "net.trtnn"
    net, inputs = torch.nn.Linear(8, 4).bfloat16(), [trtnn.Input((2, 8), torch.bfloat16)]
    trtnn.build(net, path, inputs=inputs, backend="tensorrt_rtx")
    found = manifest_in(path)["engine"]["compute_capabilities"]
    assert found == ["8.0", "8.6", "8.9", "12.0", "12.1"]
    with pytest.raises(OptionError, match=r"7\.5 cannot run bfloat16, .* for 8\.0 and later"):
        how: dict[str, Any] = {"backend": "tensorrt_rtx", "compute_capabilities": ("7.5", "8.9")}
        trtnn.build(net, path, inputs=inputs, **how)


@pytest.mark.usefixtures("real")
def test_a_build_without_room_says_how_much_it_had(tmp_path: Path) -> None:
    options = BuildOptions(workspace_bytes=2**20)
    with pytest.raises(BuildError, match="workspace_bytes was 1,048,576; free memory of the GPU"):
        trtnn.build(
            torch.nn.Linear(8, 4),
            tmp_path / "net.trtnn",
            inputs=[trtnn.Input((2, 8))],
            backend="tensorrt_rtx",
            compute_capabilities=("8.9",),
            options=options,
        )


@pytest.mark.parametrize(
    ("dtypes", "given", "found"),
    [
        (["float32"], (), ["8.0", "8.6", "8.9", "12.0", "12.1"]),
        (["float32"], ("7.5",), ["7.5"]),
        (["float8_e4m3fn", "bfloat16"], (), ["8.9", "12.0", "12.1"]),
        (["float4_e2m1fn_x2"], (), ["12.0", "12.1"]),
        (["float4_e2m1fn_x2"], ("8.9", "12.0"), "8.9 cannot run float4_e2m1fn_x2"),
    ],
)
def test_8_and_4_bit_floats_narrow_the_list(dtypes: Any, given: Any, found: Any) -> None:
    target = trtnn.trt.library.TensorRT(double.load("rtx"))
    if isinstance(found, str):
        with pytest.raises(OptionError, match=found):
            target.capabilities_for(dtypes, given)
    else:
        assert list(target.capabilities_for(dtypes, given)) == found


def test_what_loads_a_file_imports_without_locks_of_files() -> None:
    program = (
        "import sys\nsys.modules['fcntl'] = None\n"
        "import trtnn.saved.file, trtnn.host, trtnn.loading, trtnn.run.runner, trtnn.files\n"
        "from pathlib import Path\n"
        "try:\n    with trtnn.files.locked(Path(sys.argv[1])):\n        pass\n"
        "except OSError as error:\n    print(error)\n"
    )
    run = [sys.executable, "-c", program, "/dev/null"]
    done = subprocess.run(run, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("this platform has no locks of files\n", "")
