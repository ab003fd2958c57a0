"""HostModel in processes of their own, in which torch cannot be imported."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy
import pytest
import torch

import trtnn
from tests.host.hosted import Hosted
from trtnn import Dim, Input
from trtnn.options import BuildOptions

ROOT = Path(__file__).resolve().parents[2]
VERSIONS = ["8.6", "10", "11"]
B = Dim("batch", 1, 2, 4)

BLOCKED = """
import sys
sys.modules["torch"] = None
import numpy
from trtnn.host import HostModel
"""
# A plan of the double is known to the process that built it only: so the same is built again,
# by TensorRT's own calls, and takes the place of the one in the file.
REBUILT = """
import ctypes
from tests import double
from tests.host import cuda_double
from tests.double import runtime
from trtnn.saved import file as saved
from trtnn.trt.library import TensorRT
from trtnn.options import BuildOptions

trt, cuda = double.load(version), cuda_double.CudaDouble()
library = TensorRT(trt)
builder = library.builder()
network = library.network(builder)
x = network.add_input("x", trt.DataType.FLOAT, (-1, 3))
sum = network.add_elementwise(x, x, trt.ElementWiseOperation.SUM)
sum.get_output(0).name = "output_0"
network.mark_output(sum.get_output(0))
config = library.config(builder, BuildOptions(), tf32=True, half=False)
library.profile(builder, config, {"x": ((1, 3), (2, 3), (4, 3))})
plan = bytes(library.build(builder, network, config)[0])
runtime.plans[saved.read(path).plan] = runtime.plans[plan]

def compute(context, tensors):
    for stream in cuda.streams:
        cuda.run(stream)
    (source, shape, _), (target, _, _) = tensors["x"], tensors["output_0"]
    count = shape[0] * shape[1]
    values = (ctypes.c_float * count).from_address(source)
    (ctypes.c_float * count).from_address(target)[:] = [2 * v for v in values]

double.on_execute(trt, compute)
sys.modules["tensorrt"] = trt
sys.modules["cuda.bindings.runtime"] = cuda_double.load(cuda)
"""


def run_python(code: str, **named: Any) -> subprocess.CompletedProcess[str]:
    """Run ``code``, in which the names have these values, in a fresh interpreter."""
    given = "".join(f"{name} = {value!r}\n" for name, value in named.items())
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", given + code],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), *filter(None, sys.path)])},
        capture_output=True,
        text=True,
        check=False,
    )


def saved_for(version: str, folder: Path, patch: pytest.MonkeyPatch) -> tuple[str, str]:
    """Return the version, and a file of a model that doubles ``x``."""
    path, inputs = folder / "net.trtnn", [Input((B, 3), name="x")]
    Hosted(patch, path, version, lambda x: {"y": x * 2, "n": x.shape[0]}, inputs)
    return version, str(path)


@pytest.fixture(params=VERSIONS)
def made(request: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[str, str]:
    return saved_for(request.param, tmp_path, monkeypatch)


@pytest.mark.parametrize("execution", ["sync", "async"])
def test_without_torch(made: tuple[str, str], execution: str) -> None:
    version, path = made
    code = (
        BLOCKED
        + REBUILT
        + """
with HostModel(path, execution=execution) as model:
    for size in (1, 4, 2):
        given = numpy.arange(3.0 * size, dtype=numpy.float32).reshape(size, 3)
        found = model(given)
        assert list(found) == ["y", "n"] and found["n"] == size
        assert numpy.array_equal(found["y"], given * 2) and found["y"].dtype == numpy.float32
cuda.require_nothing_left()
assert sys.modules["torch"] is None and not any(name[:6] == "torch." for name in sys.modules)
print("ok")
"""
    )
    done = run_python(code, version=version, path=path, execution=execution)
    assert (done.stdout, done.stderr) == ("ok\n", "")


@pytest.mark.parametrize("fails", [None, 0, 2, 5, 6])
def test_exit_is_silent_and_frees_everything(
    fails: int | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    version, path = saved_for("10", tmp_path, monkeypatch)
    code = (
        BLOCKED
        + REBUILT
        + """
import atexit
import weakref

atexit.register(lambda: print(len(cuda.living), len(cuda.streams)))
# The first finalizer of a process registers the one exit of all, which then is the later one.
weakref.finalize(cuda, print)
model = HostModel(path)
model(numpy.ones((2, 3), numpy.float32))
print(len(cuda.living), len(cuda.streams))
cuda.fails_at = None if fails is None else cuda.calls.total() + fails
"""
    )
    done = run_python(code, version=version, path=path, fails=fails)
    # A call of CUDA that fails by then keeps no other from being made.
    left = {2: "1 0", 5: "1 0", 6: "0 1"}.get(fails or 0, "0 0")
    assert (done.stdout.split("\n"), done.stderr) == (["4 1", "", left, ""], "")


def test_a_forked_child_is_refused_and_frees_nothing(made: tuple[str, str]) -> None:
    version, path = made
    code = (
        BLOCKED
        + REBUILT
        + """
import os
from trtnn.errors import BackendError

model = HostModel(path)
x = numpy.ones((2, 3), numpy.float32)
model(x)
if os.fork() == 0:
    before = cuda.calls.copy()
    try:
        model(x)
    except BackendError as error:
        print(error.message)
    model.close()
    del model
    print(cuda.calls == before, flush=True)
    os._exit(0)
os.wait()
print(numpy.array_equal(model(x)["y"], x * 2))
model.close()
cuda.require_nothing_left()
"""
    )
    done = run_python(code, version=version, path=path)
    said = "HostModel: CUDA does not survive a fork, and this process is a forked child"
    assert (done.stdout.splitlines(), done.stderr) == ([said, "True", "True"], "")


@pytest.mark.parametrize("absent", ["tensorrt", "cuda"])
def test_what_is_not_installed_is_said(absent: str, made: tuple[str, str]) -> None:
    _, path = made
    code = BLOCKED + (
        "for name in (['tensorrt'] if absent == 'tensorrt' else ['cuda.cudart', 'cuda.bindings',"
        "'cuda.bindings.runtime']): sys.modules[name] = None\n"
        "if absent == 'tensorrt':\n"
        "    from tests.host import cuda_double\n"
        "    double = cuda_double.load(cuda_double.CudaDouble())\n"
        "    sys.modules['cuda.bindings.runtime'] = double\n"
        "HostModel(path)\n"
    )
    done = run_python(code, path=path, absent=absent)
    what = {"tensorrt": "TensorRT", "cuda": "cuda-python"}[absent]
    assert re.search(f"AbsentError: {what} cannot be imported: ", done.stderr)
    assert 'hint: pip install "trtnn[cuda]"' in done.stderr and not done.stdout


ON_GPU = """
import os
from trtnn.host import cuda_runtime

given = {name: x if x.ndim else int(x) for name, x in numpy.load(inputs).items()}
cuda = cuda_runtime.Cuda()
for execution in ("sync", "async"):
    for cycle in range(4):
        with HostModel(path, execution=execution) as model:
            for _ in range(20):
                found = model(**given)
        free, _ = cuda.memory_info(0)
        if cycle == 1:
            before = free  # what the libraries keep is there by now
    assert abs(free - before) <= 4 << 20, (before, free)
    for i, output in enumerate(found if isinstance(found, tuple) else (found,)):
        numpy.save(f"{folder}/{execution}_{i}.npy", output)
assert sys.modules["torch"] is None
print("ok")
"""


def resnet18() -> Any:
    torchvision = pytest.importorskip("torchvision")
    return torchvision.models.resnet18().eval()


MODELS: dict[str, tuple[Any, list[Input], list[Any]]] = {
    "identity": (lambda: torch.nn.Identity(), [Input((B, 3), name="x")], [(3, 3)]),
    "resnet18": (resnet18, [Input((B, 3, 64, 64), name="x")], [(2, 3, 64, 64)]),
    "half": (
        lambda: torch.nn.Linear(16, 8).half(),
        [Input((B, 16), torch.float16, name="x")],
        [(4, 16)],
    ),
    "int64": (
        lambda: lambda x, y: (x + y, x > y),
        [Input((B,), torch.int64, name="x"), Input((B,), torch.int64, name="y")],
        [(4,), (4,)],
    ),
    "counted": (lambda: lambda x: torch.nonzero(x), [Input((B, 3), name="x")], [(4, 3)]),
    "host input": (
        lambda: lambda x, n: x[:, :n] * 2,
        [Input((B, 8), name="x"), Input(Dim("n", 1, 2, 8), host=True, name="n")],
        [(4, 8), 3],
    ),
}


@pytest.mark.gpu
@pytest.mark.parametrize("name", MODELS)
def test_on_a_gpu_without_torch(name: str, tmp_path: Path) -> None:
    make, inputs, shapes = MODELS[name]
    options = BuildOptions(builder_optimization_level=0)
    model = trtnn.compile(make(), inputs=inputs, backend="tensorrt", device="cuda", options=options)
    path = tmp_path / "net.trtnn"
    model.save(path)
    values = [
        s if i.host else torch.randint(-9, 9, s).to(i.dtype)
        for i, s in zip(inputs, shapes, strict=True)
    ]
    named = {str(i.name): numpy.asarray(v) for i, v in zip(inputs, values, strict=True)}
    numpy.savez(tmp_path / "inputs.npz", **named)
    found = model(*(v if isinstance(v, int) else v.cuda() for v in values))
    wanted = found if isinstance(found, tuple) else (found,)
    done = run_python(
        BLOCKED + ON_GPU,
        path=str(path),
        inputs=str(tmp_path / "inputs.npz"),
        folder=str(tmp_path),
    )
    assert (done.stdout, done.stderr) == ("ok\n", "")
    for execution in ("sync", "async"):
        for i, want in enumerate(wanted):
            given = numpy.load(tmp_path / f"{execution}_{i}.npy")
            assert numpy.array_equal(given, want.cpu().numpy())  # the same engine
