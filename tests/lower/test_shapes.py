"""One trace, many sizes: models and rows at min, opt, max and random sizes against eager."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import nn

import trtnn
from tests import double
from tests.compare import error, leaves
from tests.ops.test_ops import VALID, check_lowering, close, dims_of, traced
from tests.rows import Row, prepare
from tests.shaped import SHAPED, Shaped, corners_and_random
from trtnn.compiler import optimize
from trtnn.graph.graph import Graph
from trtnn.graph.interpreter import run
from trtnn.sizes.dims import evaluate
from trtnn.tree import flatten
from trtnn.trt.library import TensorRT

TOLERANCE = 1e-4


LIBRARY = TensorRT(double.load("8.6"))


def as_lowered(graph: Graph) -> Graph:
    """Return the graph that the oldest TensorRT gets, which needs the most compositions."""
    return optimize(graph, LIBRARY)


@dataclass(frozen=True)
class Case:
    """A model with its module and the one thing that was compiled from it."""

    model: Shaped
    module: nn.Module
    compiled: Any


@pytest.fixture(scope="module", params=SHAPED["small"])
def case(request: pytest.FixtureRequest) -> Case:
    """Give each model in turn, compiled once; the module scope keeps one in memory at a time."""
    model = SHAPED["small"][request.param]
    module = model.module()
    inputs = {name: trtnn.Input(x.shape, x.dtype) for name, x in model.arguments.items()}
    return Case(model, module, trtnn.compile(module, inputs=inputs, backend="reference"))


@pytest.mark.parametrize("index", range(8))
def test_model_equals_eager_at_every_size(case: Case, index: int) -> None:
    bindings = case.model.bindings()[index]
    inputs = case.model.inputs(bindings)
    with torch.no_grad():
        expected = list(leaves(case.module(**inputs)))
    given = list(leaves(case.compiled(**inputs)))
    lowered, _ = run(as_lowered(case.compiled.graph), list(inputs.values()))
    for mine, late, theirs in zip(given, lowered, expected, strict=True):
        assert error(mine, theirs) <= TOLERANCE, bindings
        assert error(late, theirs) <= TOLERANCE, bindings


def test_model_computes_nothing_twice(case: Case) -> None:
    graph = as_lowered(case.compiled.graph)
    keys = [(repr(node.op), node.inputs) for node in graph.nodes]
    twice = {key for key in keys if keys.count(key) > 1}
    assert not twice


@pytest.mark.parametrize("version", ["8.6", "10", "11"])
def test_model_lowers_at_every_size(case: Case, version: str) -> None:
    check_lowering(case.compiled.graph, version, case.model.dims)


@pytest.mark.parametrize("version", ["8.6", "10", "11"])
@pytest.mark.parametrize("name", ["segformer", "whisper_encoder", "unet", "gpt2"])
def test_half_model_lowers_at_every_size(name: str, version: str) -> None:
    model = SHAPED["small"][name]
    inputs = {
        key: trtnn.Input(x.shape, torch.float16 if x.dtype == torch.float32 else x.dtype)
        for key, x in model.arguments.items()
    }
    check_lowering(trtnn.trace(model.module().half(), inputs), version, model.dims)


def test_model_output_is_neither_dead_nor_blown_up(case: Case) -> None:
    for bindings in case.model.bindings()[1:3]:
        inputs = (case.model.inputs(bindings, seed) for seed in (1, 2))
        with torch.no_grad():
            one, other = (next(leaves(case.module(**x))) for x in inputs)
        assert 1e-2 <= float(one.square().mean().sqrt()) <= 1e2
        assert error(one, other) >= 0.05


def test_model_shows_every_kind_of_parameter(case: Case) -> None:
    """Under an oracle that does not change without a part, the part could be dropped unseen."""
    inputs = case.model.inputs(case.model.bindings()[1])
    groups: dict[tuple[str, str], list[nn.Parameter]] = {}
    for owner in case.module.modules():
        for name, parameter in owner.named_parameters(recurse=False):
            groups.setdefault((type(owner).__name__, name), []).append(parameter)
    with torch.no_grad():
        expected = [leaf.clone() for leaf in leaves(case.module(**inputs))]
        for kind, parameters in groups.items():
            saved = [parameter.clone() for parameter in parameters]
            for parameter in parameters:
                parameter.copy_(parameter.flatten().flip(0).view_as(parameter))
            changed = leaves(case.module(**inputs))
            for parameter, old in zip(parameters, saved, strict=True):
                parameter.copy_(old)
            most = max(error(y, x) for y, x in zip(changed, expected, strict=True))
            assert most >= 10 * TOLERANCE, kind


@pytest.mark.parametrize("size", SHAPED)
def test_both_sizes_have_the_same_models_and_dims(size: str) -> None:
    assert list(SHAPED[size]) == list(SHAPED["small"])
    for name, model in SHAPED[size].items():
        assert [d.name for d in model.dims] == [d.name for d in SHAPED["small"][name].dims]


SIZED = [(name, row) for name, row in VALID if dims_of(prepare(row)[0])]


@pytest.mark.filterwarnings("ignore:Using padding='same'")
@pytest.mark.parametrize("row", [row for _, row in SIZED], ids=[name for name, _ in SIZED])
def test_row_equals_torch_at_random_sizes(row: Row) -> None:
    graph, inputs, call = traced(row)
    generator = torch.Generator().manual_seed(13)
    graphs = [graph] if row.unsupported.get("8.6") else [graph, as_lowered(graph)]
    for bindings in corners_and_random(dims_of(inputs))[3:]:
        tensors = [x.make(bindings, generator) for x in inputs]
        expected, _ = flatten(call(row.oracle or row.function, [t.clone() for t in tensors]))
        for each in graphs:
            outputs, sizes = run(each, tensors)
            for leaf, wanted in zip(graph.leaves, expected, strict=True):
                if isinstance(wanted, torch.Tensor):
                    close(outputs[leaf], wanted)
                    shape = each.outputs[leaf].spec.shape
                    assert tuple(evaluate(s, sizes) for s in shape) == tuple(wanted.shape)
                elif type(wanted) is int:
                    assert evaluate(leaf, sizes) == wanted, bindings
