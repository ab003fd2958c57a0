"""Every row against PyTorch, and lowered to the three strict doubles."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest
import torch

import trtnn
from tests import double
from tests.rows import Row, Sample, all_rows
from trtnn._trt import TensorRT
from trtnn.compiler import optimize
from trtnn.dims import Dim, evaluate, symbols
from trtnn.engine import profile_shapes
from trtnn.errors import UnsupportedError
from trtnn.graph import Graph
from trtnn.interpreter import run
from trtnn.network import lower
from trtnn.options import BuildOptions
from trtnn.tree import flatten

# torch's own remark on an even kernel with padding="same".
pytestmark = pytest.mark.filterwarnings("ignore:Using padding='same'")
ROWS = all_rows()
VALID = [(name, row) for name, row in ROWS if row.raises is None]
TOLERANCE = {torch.float32: 1e-5, torch.float16: 4e-3, torch.bfloat16: 2e-2}


def traced(row: Row) -> tuple[Graph, list[Sample], Any]:
    """Return the graph of a row, its input samples, and a function of inputs for the oracle."""
    generator = torch.Generator().manual_seed(7)
    leaves, _ = flatten((row.args, row.kwargs))
    samples = [x for x in leaves if isinstance(x, Sample)]
    constants = {id(x): x.make({}, generator) for x in samples if x.constant}
    inputs = [x for x in samples if not x.constant]

    def call(function: Any, tensors: Any) -> Any:
        given = iter(tensors)

        def fill(value: Any) -> Any:
            if isinstance(value, Sample):
                return constants[id(value)] if value.constant else next(given)
            if isinstance(value, (tuple, list)):
                return type(value)(map(fill, value))
            return value

        args = [fill(a) for a in row.args]
        return function(*args, **{k: fill(v) for k, v in row.kwargs.items()})

    graph = trtnn.trace(
        lambda *tensors: call(row.function, tensors),
        [trtnn.Input(x.shape, x.dtype) for x in inputs],
    )
    return graph, inputs, call


def dims_of(inputs: list[Sample]) -> list[Dim]:
    found = {s.name: s for x in inputs for size in x.shape for s in symbols(size)}
    return [Dim(name, s.low, s.opt, s.high) for name, s in found.items()]


def close(given: torch.Tensor, expected: torch.Tensor) -> None:
    assert given.shape == expected.shape and given.dtype == expected.dtype
    if expected.dtype.is_floating_point:
        tolerance = TOLERANCE.get(expected.dtype, 1e-5)
        torch.testing.assert_close(
            given, expected, rtol=tolerance, atol=tolerance, equal_nan=True, check_device=False
        )
    else:
        assert torch.equal(given, expected)


@pytest.mark.parametrize("row", [r for _, r in VALID], ids=[n for n, _ in VALID])
def test_row_equals_torch(row: Row) -> None:
    graph, inputs, call = traced(row)
    dims = dims_of(inputs)
    for end in ("min", "opt", "max"):
        generator = torch.Generator().manual_seed(11)
        bindings = {d.name: getattr(d, end) for d in dims}
        tensors = [x.make(bindings, generator) for x in inputs]
        expected = call(row.oracle or row.function, [t.clone() for t in tensors])
        outputs, sizes = run(graph, tensors)
        want, _ = flatten(expected)
        for leaf, reference in zip(graph.leaves, want, strict=True):
            if isinstance(reference, torch.Tensor):
                close(outputs[leaf], reference)
                spec = graph.outputs[leaf].spec
                assert tuple(evaluate(s, sizes) for s in spec.shape) == tuple(reference.shape)
                assert spec.dtype == reference.dtype
            elif isinstance(reference, int) and not isinstance(reference, bool):
                assert evaluate(leaf, sizes) == reference
        if not dims:
            break


@pytest.mark.parametrize("version", ["8.6", "10", "11"])
@pytest.mark.parametrize("row", [r for _, r in VALID], ids=[n for n, _ in VALID])
def test_row_lowers(row: Row, version: str) -> None:
    graph, inputs, _ = traced(row)
    if any(hasattr(node.op, "bind_sizes") for node in graph.nodes):
        return
    text = row.unsupported.get(version)
    expecting = pytest.raises(UnsupportedError, match=text) if text else contextlib.nullcontext()
    with expecting:
        check_lowering(graph, version, dims_of(inputs))


def check_lowering(graph: Graph, version: str, dims: list[Dim]) -> None:
    """Lower a graph to a double, build it, and compare every output's dtype and shape."""
    trt = double.load(version)
    library = TensorRT(trt)
    builder = library.builder()
    network = library.network(builder)
    net = lower(optimize(graph, library), library, network)
    config = library.config(builder, BuildOptions(), tf32=True, half=net.half)
    if shapes := profile_shapes(graph):
        library.profile(builder, config, shapes)
    library.build(builder, network, config)
    for end in ("min", "opt", "max"):
        bindings = {d.name: getattr(d, end) for d in dims}
        given = {v.name: tuple(evaluate(s, bindings) for s in v.spec.shape) for v in graph.inputs}
        for index, value in enumerate(graph.outputs):
            output = network.get_output(index)
            want = tuple(evaluate(s, bindings) for s in value.spec.shape)
            assert double.shape_at(output, given) == want
            dtype = library.dtype(str(value.spec.dtype).removeprefix("torch."))
            assert double.typed(output) == dtype


REFUSED = [(name, row) for name, row in ROWS if row.raises is not None]


@pytest.mark.parametrize("row", [r for _, r in REFUSED], ids=[n for n, _ in REFUSED])
def test_row_is_refused(row: Row) -> None:
    assert row.raises is not None
    with pytest.raises(row.raises):
        traced(row)
