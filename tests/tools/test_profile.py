"""``model.profile`` and ``model.inspect``: times and layers by module, on the doubles and a GPU."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

import trtnn
from tests import double
from tests.double.surface import VERSIONS
from tests.on_double import on_double
from trtnn.errors import BuildError, InputError, OptionError, UnsupportedError
from trtnn.lower.network import lower
from trtnn.options import BuildOptions
from trtnn.run.allocating import runner_for
from trtnn.tools.attribution import Attribution
from trtnn.tools.kernels import Kernel, kernels_of
from trtnn.tools.layers import NAMES_ALONE
from trtnn.tools.profiles import Profile, profile_of
from trtnn.trt.library import TensorRT

MATPLOTLIB = importlib.util.find_spec("matplotlib") is not None
BATCH = trtnn.Dim("batch", profiles=[(1, 2, 4), (8, 8, 8)])
INPUTS = [trtnn.Input((BATCH, 3))]
DETAILED = BuildOptions(profiling_verbosity="DETAILED")
X = torch.ones(2, 3)


class Net(torch.nn.Module):
    """Modules in modules, and an op of the root's own."""

    def __init__(self) -> None:
        super().__init__()
        self.enc = torch.nn.Sequential(torch.nn.Linear(3, 3), torch.nn.ReLU())
        self.head = torch.nn.Linear(3, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y: torch.Tensor = self.head(self.enc(x)) * 2
        return y


@pytest.mark.parametrize("version", [*VERSIONS, "rtx"])
def test_times_are_summed_by_module(version: str) -> None:
    model, runner = on_double(version, Net().eval(), INPUTS)
    model(X)
    profile = model.profile(X, repeat=3)
    names = runner.engine.handle._plan.layers
    # The double tells a microsecond of the first layer, two of the second, and so on.
    assert [(layer.name, layer.runs) for layer in profile.layers] == [(n, 1) for n in names]
    assert [layer.microseconds for layer in profile.layers] == pytest.approx(
        [*range(1, len(names) + 1)]
    )
    want: dict[tuple[str, ...], float] = {}
    for place, name in enumerate(names, start=1):
        path = name.rpartition("/")[0]
        want[(path,)] = want.get((path,), 0) + place
    assert profile.by_module() == pytest.approx(want)
    shallow = profile.by_module(1)
    assert shallow[("enc",)] == pytest.approx(want[("enc.0",)] + want[("enc.1",)])
    assert sum(shallow.values()) == pytest.approx(profile.microseconds)
    text = str(profile)
    assert f"{profile.microseconds:.1f} µs in {len(names)} layers, mean of 3 calls" in text
    assert "enc.0" in text and "(root)" in text and max(map(len, text.splitlines())) <= 120
    contexts = model._runner.pool.contexts
    assert len(contexts) == 1 and contexts[0].handle.profiler is None  # it had one of its own


def test_a_profile_is_data_a_trace_and_never_divides(tmp_path: Path) -> None:
    calls = [
        [("enc.0/MatrixMultiply + enc.1/Activation", 4.0), ("head/MatrixMultiply", 2.0)],
        [("enc.0/MatrixMultiply + enc.1/Activation", 6.0), ("head/MatrixMultiply", 2.0)] * 2,
    ]
    kernels = {"head/MatrixMultiply": [Kernel("gemm", 1.5), Kernel("split", 0.25)]}
    graph = trtnn.trace(Net().eval(), INPUTS)
    profile = profile_of(calls, graph, {}, kernels)
    assert [(layer.microseconds, layer.runs) for layer in profile.layers] == [(8, 1.5), (3, 1.5)]
    assert profile.by_module() == {("enc.0", "enc.1"): 8.0, ("head",): 3.0}
    assert profile.by_module(1) == {("enc",): 8.0, ("head",): 3.0}
    data = json.loads(json.dumps(profile.to_json()))
    assert data["microseconds"] == 11 and data["layers"][0]["modules"] == ["enc.0", "enc.1"]
    assert data["layers"][1]["kernels"][0] == {"name": "gemm", "microseconds": 1.5}
    assert data["by_module"][1] == {"modules": ["head"], "microseconds": 3.0}
    profile.save_trace(tmp_path / "trace.json")
    events = json.loads((tmp_path / "trace.json").read_text())["traceEvents"]
    assert [(e["cat"], e["ts"], e["dur"]) for e in events] == [
        *[("layer", 0, 8), ("layer", 8, 3)],
        *[("kernel", 8, 1.5), ("kernel", 9.5, 0.25)],
    ]
    lines = str(profile).splitlines()
    assert lines[-2].split()[-1] == "gemm" and "enc.0 + enc.1" in lines[4]


NAMES = {
    "enc.0/Convolution + enc.1/Activation": ("enc.0", "enc.1"),
    "PWN(PWN(enc.1/Activation, enc.1/Activation#2), Elementwise)": ("enc.1", ""),
    "Reformatting CopyNode for Input Tensor 0 to enc.0/Convolution": ("enc.0",),
    "enc.0/MatrixMultiply || head/MatrixMultiply": ("enc.0", "head"),
    "squeeze_after_head/MatrixMultiply#1": ("head",),
    "reshape_before_enc.0/MatrixMultiply_clone_1": ("enc.0",),
    "(Unnamed Layer* 3) [Shuffle]": (),
    "[HostToDeviceCopy 0]": (),
    "sizes#2": (),
    "lost.module/Activation": (),
    "Elementwise": ("",),
}


@pytest.mark.parametrize("name", NAMES)
def test_modules_are_found_in_what_tensorrt_makes_of_names(name: str) -> None:
    graph = trtnn.trace(Net().eval(), INPUTS)
    (found,) = Attribution(graph).owners([name])
    assert found.modules == NAMES[name] and found.told


def test_a_region_lists_what_lies_between_its_ends_and_in_no_other_layer() -> None:
    net = torch.nn.Sequential(*(torch.nn.Linear(3, 3) for _ in range(5)))
    graph = trtnn.trace(net, INPUTS)
    names = ["{ForeignNode[0/MatrixMultiply...3/Elementwise]}", "2/MatrixMultiply", "4/Elementwise"]
    found = Attribution(graph).owners(names)
    assert [own.modules for own in found] == [("0", "1", "3"), ("2",), ("4",)]
    assert [own.told for own in found] == [False, True, True]
    assert str(found[0]) == "0 ... 1 ... 3"
    (alone,) = Attribution(None).owners(names[:1])  # of a loaded model
    assert alone.modules == ("0", "3") and not alone.told


@pytest.mark.parametrize("version", [*VERSIONS, "rtx"])
def test_an_engine_tells_its_layers(version: str) -> None:
    model, runner = on_double(version, Net().eval(), INPUTS, options=DETAILED)
    layers = model.inspect()
    assert [layer.name for layer in layers.layers] == runner.engine.handle._plan.layers
    first = next(layer for layer in layers.layers if layer.kind == "MatrixMultiply")
    assert first.modules == ("enc.0",) and first.tactic == "double" and layers.notes == ()
    assert set(first.formats) == {*first.inputs, *first.outputs}
    assert all("format" in form for form in first.formats.values())
    data = json.loads(json.dumps(layers.to_json()))
    assert data["layers"][0]["modules"] == ["enc.0"] and len(data["layers"]) == len(layers.layers)
    assert max(map(len, str(layers).splitlines())) <= 120


def test_a_plan_of_names_says_so_and_one_of_nothing_is_an_error() -> None:
    model, _ = on_double("8.6", Net().eval(), INPUTS)
    layers = model.inspect()
    assert layers.notes == (NAMES_ALONE,) and layers.layers[0].modules == ("enc.0",)
    none = BuildOptions(profiling_verbosity="NONE")
    model, _ = on_double("8.6", Net().eval(), INPUTS, options=none)
    with pytest.raises(UnsupportedError, match='built with profiling_verbosity="NONE"'):
        model.inspect()


def test_names_that_tensorrt_invents_are_found_by_their_origin(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model, runner = on_double("10", Net().eval(), INPUTS, options=DETAILED)
    plan = runner.engine.handle._plan
    origins = {layer["Name"]: layer["Name"] for layer in plan.shown}
    for place, layer in enumerate(plan.shown):
        layer.update(Name=f"__myl_Fused_{place}", Metadata=origins[layer["Name"]])
    monkeypatch.setattr(plan, "layers", [layer["Name"] for layer in plan.shown])
    found = [layer.modules for layer in model.inspect().layers]
    assert found == [layer.modules for layer in model.profile(X, repeat=1).layers]
    assert found[0] == ("enc.0",) and found[-1] == ("",)


@pytest.mark.parametrize("version", VERSIONS)
def test_a_network_says_where_its_layers_come_from_where_names_are_lost(version: str) -> None:
    library = TensorRT(double.load(version))
    graph = trtnn.trace(Net().eval(), INPUTS)
    network = lower(graph, library, library.network(library.builder())).network
    layers = [network.get_layer(i) for i in range(network.num_layers)]
    assert {layer.metadata == layer.name for layer in layers} == {version != "8.6"}


def test_sizes_that_depend_on_data_can_be_profiled() -> None:
    x = trtnn.Input((4,), name="x")
    graph = trtnn.trace(lambda x: x.nonzero(), [x])
    model, runner = on_double("10", lambda x: x.nonzero(), [x], runner_for(graph))
    values = torch.tensor([[0], [2]])
    double.on_execute(runner.engine.handle, lambda *_: {"output_0": values.numpy()})
    assert len(model.profile(torch.ones(4), repeat=1).layers) > 0


def test_an_unloaded_model_opens_for_a_profile_and_lazy_models_do_as_others() -> None:
    model, _ = on_double("8.6", Net().eval(), INPUTS)
    model.unload()
    assert model.profile(X, repeat=1).microseconds > 0
    model.unload()
    assert model.inspect().layers
    lazy = trtnn.compile(Net().eval(), backend="reference")
    with pytest.raises(UnsupportedError, match="profile: this model runs on the reference"):
        lazy.profile(X)
    with pytest.raises(UnsupportedError, match="inspect: this model runs on the reference"):
        lazy.inspect()


def test_what_cannot_be_measured_is_told() -> None:
    model, runner = on_double("8.6", Net().eval(), INPUTS)
    with pytest.raises(OptionError, match="repeat: expected an int of 1 or more, got 0"):
        model.profile(X, repeat=0)
    with pytest.raises(OptionError, match="kernels: expected False, since the model runs on no"):
        model.profile(X, kernels=True)
    with pytest.raises(InputError, match="x"):
        model.profile(torch.ones(5, 3))
    with pytest.raises(OptionError, match="depth: expected an int of 1 or more, or None, got 0"):
        model.profile(X).by_module(0)
    runner.engine.handle._plan.layers.clear()
    with pytest.raises(BuildError, match="told its profiler nothing"):
        model.profile(X)


def launch(name: str, ts: float, correlation: int) -> dict[str, Any]:
    return {"cat": "cuda_runtime", "name": name, "ts": ts, "args": {"correlation": correlation}}


def kernel(name: str, ts: float, correlation: int) -> dict[str, Any]:
    args = {"correlation": correlation}
    return {"cat": "kernel", "name": name, "ts": ts, "dur": 2, "args": args}


def test_kernels_are_of_the_layer_between_whose_records_they_were_launched() -> None:
    launches = [launch("cudaLaunchKernel", ts, ts) for ts in (2, 3, 12, 25)]
    work = [kernel(name, 100 + ts, ts) for name, ts in zip("abcd", (2, 3, 12, 25), strict=True)]
    told = [("first", 5.0), ("second", 3.0), ("first", 4.0)]
    want = {"first": ["a", "b", "d"], "second": ["c"]}
    for marks in ((1, 10, 20, 30), (1, 9, 10, 19, 20, 30)):  # one between two, two of each
        records = [launch("cudaEventRecord", ts, 1000 + ts) for ts in marks]
        events = [*work, *records, *launches, {"ph": "M", "name": "process_name"}]
        found = kernels_of(told, events)
        assert found is not None
        assert {name: [k.name for k in own] for name, own in found.items()} == want
    assert kernels_of(told[:2], events) is None  # another number of records: nothing is divided
    assert kernels_of(told, [*events, kernel("e", 200, 9)]) is None  # launched by nobody seen
    assert kernels_of(told, [*events, launch("x", 40, 7), kernel("e", 200, 7)]) is None


@pytest.fixture
def profile() -> Profile:
    calls = [[(f"{i}/Activation", float(i)) for i in range(40)]]
    return profile_of(calls, None, {}, {})


@pytest.mark.skipif(not MATPLOTLIB, reason="needs matplotlib")
def test_a_plot_is_a_picture(profile: Profile, tmp_path: Path) -> None:
    profile.plot(tmp_path / "out.png")
    profile.plot(tmp_path / "out.svg", depth=1)
    assert (tmp_path / "out.png").read_bytes().startswith(b"\x89PNG")
    assert "<svg" in (tmp_path / "out.svg").read_text()


def test_a_plot_needs_matplotlib_and_an_ending(
    profile: Profile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(OptionError, match=r"path: expected a file that ends in \.png, \.svg"):
        profile.plot(tmp_path / "out.jpeg")
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(UnsupportedError, match=r'pip install "trtnn\[plot\]"'):
        profile.plot(tmp_path / "out.png")
    assert list(tmp_path.iterdir()) == []


# The real TensorRT ----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def on_gpu() -> Any:
    net = torch.nn.Sequential()
    net.add_module("stem", torch.nn.Conv2d(3, 64, 3, padding=1))
    net.add_module("act", torch.nn.ReLU())
    net.add_module("body", torch.nn.Conv2d(64, 64, 3, padding=1))
    options = BuildOptions(builder_optimization_level=1, profiling_verbosity="DETAILED")
    x = torch.randn(8, 3, 128, 128, device="cuda")
    return trtnn.compile(net.eval(), inputs=[x], options=options, cache=False), x


@pytest.mark.gpu
def test_times_of_the_gpu_are_near_those_of_a_call(on_gpu: Any) -> None:
    model, x = on_gpu
    before = model(x)
    found = model.profile(x, repeat=20)
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    start.record()
    for _ in range(20):
        after = model(x)
    end.record()
    torch.cuda.synchronize()
    per_call = start.elapsed_time(end) * 1000 / 20
    assert 0.2 * per_call < found.microseconds < 5 * per_call
    assert {path for layer in found.layers for path in layer.modules} == {"stem", "act", "body"}
    assert torch.equal(before, after)


@pytest.mark.gpu
def test_layers_of_the_gpu_name_their_modules(on_gpu: Any) -> None:
    model, _ = on_gpu
    layers = model.inspect()
    assert {path for layer in layers.layers for path in layer.modules} == {"stem", "act", "body"}
    assert any(layer.tactic and layer.formats for layer in layers.layers)


@pytest.mark.gpu
def test_kernels_of_the_gpu_belong_to_layers_or_to_none(on_gpu: Any) -> None:
    model, x = on_gpu
    found = model.profile(x, repeat=3, kernels=True, nvtx=True)
    held = [k for layer in found.layers for k in layer.kernels]
    assert bool(held) != bool(found.notes)
    assert all(k.microseconds > 0 for k in held)
