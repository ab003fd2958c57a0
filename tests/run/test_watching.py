"""Values inside an engine, by debug tensors: copied in time, held alive, errors not lost."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch

import trtnn
from tests import double
from tests.answering import Answers
from tests.double.lab import NEW
from tests.real_builder import GPU, needs_builder
from trtnn.compiler import optimize
from trtnn.engine.builder import build, build_plan
from trtnn.errors import BuildError
from trtnn.graph.graph import Graph
from trtnn.lower.network import lower
from trtnn.options import BuildOptions
from trtnn.run.allocating import runner_for
from trtnn.run.watching import Watched
from trtnn.trt.library import TensorRT

CPU = torch.device("cpu")


def watched(version: str, function: Callable[..., Any], inputs: Any, count: int = 1) -> Watched:
    """Return what runs a function whose last outputs are debug tensors."""
    library = TensorRT(double.load(version))
    graph = optimize(trtnn.trace(function, inputs), library)
    engine = build(graph, library, BuildOptions(), debug=count)
    double.on_execute(engine.handle, Answers(graph, engine.debug))
    shown = Graph(graph.inputs, (), graph.outputs[:-count], {}, graph.dims, graph.hosts)
    runner = runner_for(shown)(engine, shown, CPU, "first", 1, execution="async")
    return Watched(runner)


def stages(x: torch.Tensor) -> Any:
    y = (x * 2).relu()
    return y.sum(-1), y, x * 2


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("version", NEW)
def test_values_are_what_pytorch_has(version: str, dtype: torch.dtype) -> None:
    batch = trtnn.Dim("b", 1, 4, 8)
    runs = watched(version, stages, [trtnn.Input((batch, 3), dtype)], 2)
    assert [name for name, given, _ in runs.runner.engine.tensors if not given] == ["output_0"]
    for size in (3, 5):
        x = torch.randn(size, 3).to(dtype)
        (result, *inside), prepared = runs([x])
        gc.collect()
        assert torch.equal(result, stages(x)[0]) and prepared.bindings == {"b": size}
        for found, expected in zip(inside, stages(x)[1:], strict=True):
            assert found.dtype == dtype and torch.equal(found, expected)


@pytest.mark.parametrize("version", NEW)
def test_results_stay_when_the_engine_runs_again(version: str) -> None:
    runs = watched(version, stages, [trtnn.Input((2, 3))], 2)
    x = torch.randn(2, 3)
    first = runs([x])[0]
    runs([x + 1])
    assert torch.equal(first[1], stages(x)[1]) and torch.equal(first[2], stages(x)[2])


@pytest.mark.parametrize("version", NEW)
def test_a_tensor_without_entries_and_a_scalar(version: str) -> None:
    runs = watched(version, lambda x: (x + 1, x.sum(), x[1:1] * 2), [trtnn.Input((2, 3))], 2)
    x = torch.randn(2, 3)
    result, total, none = runs([x])[0]
    assert torch.equal(result, x + 1) and torch.equal(total, x.sum()) and none.shape == (0, 3)


@pytest.mark.parametrize("version", NEW)
def test_an_input_a_constant_and_an_output_are_told_of(version: str) -> None:
    library = TensorRT(double.load(version))
    graph = trtnn.trace(lambda x: x.relu(), [trtnn.Input((2, 3))])
    ones = trtnn.trace(lambda x: x + torch.ones(2, 3), [trtnn.Input((2, 3))])
    (value,) = graph.outputs
    outputs = (value, value, *graph.inputs, value)
    network = library.network(library.builder())
    net = lower(Graph(graph.inputs, graph.nodes, outputs, {}), library, network, debug=3)
    assert net.debug == ("output_0", "debug_1", "output_0")
    constant = next(iter(ones.constants))
    outputs = (*ones.outputs, constant)
    network = library.network(library.builder())
    net = lower(Graph(ones.inputs, ones.nodes, outputs, ones.constants), library, network, debug=1)
    assert net.debug == ("debug_0",) and network.get_layer(network.num_layers - 1).name


@pytest.mark.parametrize("version", NEW)
def test_an_error_in_the_callback_is_raised_after_the_call(version: str, monkeypatch: Any) -> None:
    runs = watched(version, stages, [trtnn.Input((2, 3))], 2)

    def broken(tensor: Any) -> torch.Tensor:
        raise KeyboardInterrupt(tensor.name)

    monkeypatch.setattr(runs, "_copied", broken)
    with pytest.raises(KeyboardInterrupt, match="debug_"):
        runs([torch.randn(2, 3)])
    monkeypatch.undo()
    assert len(runs([torch.randn(2, 3)])[0]) == 3


@pytest.mark.parametrize("version", NEW)
def test_what_is_not_told_is_an_error(version: str, monkeypatch: Any) -> None:
    runs = watched(version, stages, [trtnn.Input((2, 3))], 2)
    runs([torch.randn(2, 3)])
    monkeypatch.setattr("tests.double.debugging.Listening.emit", lambda *given: None)
    with pytest.raises(BuildError, match="TensorRT told nothing of debug_0, debug_1"):
        runs([torch.randn(2, 3)])
    runs.names = ("debug_0", "other")
    with pytest.raises(BuildError, match="TensorRT could not take other"):
        runs([torch.randn(2, 3)])


@pytest.mark.parametrize("version", NEW)
def test_the_listener_lives_as_long_as_what_runs(version: str) -> None:
    runs = watched(version, stages, [trtnn.Input((2, 3))], 2)
    listener = weakref.ref(runs.listener)
    gc.collect()
    runs([torch.randn(2, 3)])
    assert listener() is not None
    del runs
    gc.collect()
    assert listener() is None


@needs_builder
def test_nvidias_builder_takes_debug_tensors() -> None:
    library = TensorRT(package="tensorrt_rtx")
    assert library.target.debug_tensors
    batch = trtnn.Dim("b", 1, 2, 4)
    graph = trtnn.trace(stages, [trtnn.Input((batch, 3), torch.float16)])
    built = {}
    for debug in (0, 2):
        shown = replace(graph, outputs=graph.outputs[: 1 + debug])
        lowered = optimize(shown, library)
        how: dict[str, Any] = {"capabilities": GPU, "debug": debug}
        built[debug] = build_plan(lowered, library, BuildOptions(), **how)
    assert built[2].debug == ("debug_0", "debug_1") and built[0].debug == ()
    for name in (b"debug_0", b"debug_1"):  # a tensor that is only named so is not in a plan
        assert name in bytes(built[2].plan) and name not in bytes(built[0].plan)
    assert b"output_0" in bytes(built[2].plan) and b"output_1" not in bytes(built[2].plan)
