"""What a ``Recorder`` writes down: run again, the calls make the same network and configuration."""

from __future__ import annotations

from typing import Any

import numpy
import pytest
import torch

import trtnn
from tests import double
from tests.double import own
from tests.double.surface import VERSIONS
from tests.ops.test_ops import traced
from tests.real_builder import GPU, needs_builder
from tests.rows import all_rows
from trtnn.compiler import optimize
from trtnn.engine.builder import build_plan
from trtnn.errors import BuildError
from trtnn.graph.graph import Graph
from trtnn.options import BuildOptions
from trtnn.trt.library import TensorRT
from trtnn.trt.recording import Recorder

ROWS = {name: row for name, row in all_rows() if not row.unsupported}
STEP = 40


class Kept(dict[str, bytes]):
    """Arrays by name."""

    def keep(self, content: bytes, dtype: str) -> str:
        name = f"a{len(self)}"
        self[name] = content
        return name


def again(recorder: Recorder, kept: Kept) -> dict[str, Any]:
    """Make the recorded calls; return the variables."""
    trt, held = recorder.trt, []

    def weights(entries: Any, dtype: str) -> Any:
        bits = "uint16" if dtype == "bfloat16" else dtype
        named = isinstance(entries, str)
        array = numpy.frombuffer(kept[entries], bits) if named else numpy.array(entries, bits)
        held.append(own(array.copy()))
        if dtype == "bfloat16":
            return trt.Weights(trt.DataType.BF16, held[-1].ctypes.data, held[-1].size)
        return trt.Weights(held[-1])

    def made(thing: Any) -> Any:
        assert thing is not None
        return thing

    builder = trt.Builder(recorder.log.handle)
    space = {"trt": trt, "builder": builder, "weights": weights, "made": made, "held": held}
    exec("\n".join(recorder.lines), space)
    return space


def looks(network: Any) -> list[Any]:
    """Return what a double's network holds, layer by layer."""

    def plain(value: Any) -> Any:
        if type(value).__name__ == "Weights":
            return value.dtype.name, value.size, value._values
        if type(value).__name__ == "Permutation":
            return tuple(value)
        if type(value).__name__ in ("IIfConditional", "ILoop"):
            return type(value).__name__
        return str(value)

    found = [
        (
            layer._kind,
            layer._name,
            {key: plain(value) for key, value in layer._attributes.items()},
            [tensor and tensor._name for tensor in layer._inputs],
            str(vars(layer).get("_output_types")),
        )
        for layer in network._layers
    ]
    ends = [*network._inputs, *network._outputs]
    return [*found, *((t._name, t.dtype.name, tuple(t.shape), t._dimension_names) for t in ends)]


def recorded(
    monkeypatch: Any, version: str, graph: Graph, options: BuildOptions | None = None
) -> tuple[Recorder, Kept, Any, Any]:
    """Return a recorder of a build, its arrays, and the network and configuration of the build."""
    kept, seen = Kept(), []
    recorder = Recorder(TensorRT(double.load(version)), kept.keep)
    build = TensorRT.build

    def watched(library: TensorRT, builder: Any, *made: Any, **named: Any) -> Any:
        seen.extend(made)
        return build(library, builder, *made, **named)

    monkeypatch.setattr(TensorRT, "build", watched)
    build_plan(optimize(graph, recorder), recorder, options or BuildOptions())
    monkeypatch.undo()
    return recorder, kept, seen[0], seen[1]


@pytest.mark.parametrize("version", VERSIONS)
def test_recorded_calls_make_the_same_network(version: str, monkeypatch: Any) -> None:
    count = 0
    for row in list(ROWS.values())[:: STEP if version == "11" else 2 * STEP]:
        try:
            graph = traced(row)[0]
            recorder, kept, network, config = recorded(monkeypatch, version, graph)
        except trtnn.TrtnnError:  # a row of what is refused, or not on this version
            monkeypatch.undo()
            continue
        found = again(recorder, kept)
        assert looks(found["network"]) == looks(network)
        assert [p._shapes for p in found["config"]._profiles] == [
            p._shapes for p in config._profiles
        ]
        count += 1
    assert count > 10


@pytest.mark.parametrize("version", VERSIONS)
def test_options_and_names_of_weights_are_recorded(version: str, monkeypatch: Any) -> None:
    net = torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.Linear(4, 4)).half()
    with torch.no_grad():
        net[1].weight.copy_(net[0].weight)  # equal, and no less two
    graph = trtnn.trace(net, [trtnn.Input((trtnn.Dim("b", 1, 2, 4), 4), torch.float16)])
    told = BuildOptions(
        refit="refit",
        workspace_bytes=1 << 20,
        builder_optimization_level=5,
        max_threads=3,
        max_aux_streams=0,
        profiling_verbosity="DETAILED",
        tactic_sources=("JIT_CONVOLUTIONS",),
        debug=True,
    )
    recorder, kept, network, config = recorded(monkeypatch, version, graph, told)
    found = again(recorder, kept)
    assert looks(found["network"]) == looks(network)
    names = {n for n in found["network"]._weight_names.values() if n.endswith(".weight")}
    assert names == {"0.weight", "1.weight"}
    ours = "_value_progress_monitor"  # which the build itself sets
    plain = {k: v for k, v in vars(config).items() if "_value_" in k and k != ours}
    assert {key: vars(found["config"])[key] for key in plain} == plain
    assert found["config"]._pools == config._pools and found["config"]._value_flags


def test_an_object_of_the_callers_own_is_left_out() -> None:
    recorder = Recorder(TensorRT(double.load("11")), Kept().keep)
    config = recorder.builder().create_builder_config()
    config.progress_monitor = recorder.trt.IProgressMonitor()
    assert recorder.lines[-1].startswith("# left out: config.progress_monitor, a IProgressMonitor")


def test_what_is_asked_is_not_written_and_numbers_are_exact() -> None:
    recorder = Recorder(TensorRT(double.load("11")), Kept().keep)
    network = recorder.network(recorder.builder())
    assert network.num_layers == 0 and network.get_layer(0) is None
    x = network.add_input("x", recorder.dtype("float32"), (2,))
    assert x.dtype == recorder.dtype("float32") and tuple(x.shape) == (2,)
    assert recorder.lines[2:] == [
        "tensor_0 = made(network.add_input('x', trt.DataType.FLOAT, (2,)))"
    ]
    numbers = [float("inf"), -float("inf"), 0.1, 1e-45, -0.0]
    text = recorder.text((numbers, True, None, "a'b"))
    assert eval(text) == (numbers, True, None, "a'b") and "nan" in recorder.text(float("nan"))


def test_a_refusal_ends_the_lines() -> None:
    recorder = Recorder(TensorRT(double.load("11")), Kept().keep)
    graph = trtnn.trace(torch.nn.Softmax(-1), [trtnn.Input((2, 3))])
    network = recorder.network(recorder.builder())
    object.__setattr__(network._thing, "add_softmax", lambda *_: None)
    with pytest.raises(BuildError, match="refused a layer of Softmax"):
        trtnn.lower.network.lower(graph, recorder, network)  # type: ignore[attr-defined]
    assert recorder.lines[-1].startswith("layer_0 = made(network.add_softmax(")
    assert not recorder.built


@needs_builder
def test_nvidias_builder_makes_the_same_plan_of_the_recorded_calls() -> None:
    kept = Kept()
    net = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.ReLU(), torch.nn.Flatten())
    batch = trtnn.Dim("b", 1, 2, 4)
    graph = trtnn.trace(net.bfloat16(), [trtnn.Input((batch, 3, 8, 8), torch.bfloat16)])
    recorder = Recorder(TensorRT(package="tensorrt_rtx"), kept.keep)
    options = {"capabilities": GPU, "tf32": False}
    built = build_plan(optimize(graph, recorder), recorder, BuildOptions(), **options)
    found = again(recorder, kept)
    plan = found["builder"].build_serialized_network(found["network"], found["config"])
    assert len(bytes(plan)) == len(bytes(built.plan)) and recorder.built
