"""Every row against PyTorch, and lowered to the three strict doubles."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import replace
from functools import cache
from typing import Any

import pytest
import torch

import trtnn
from tests import double
from tests.rows import Row, Sample, all_rows, prepare
from trtnn.compiler import optimize
from trtnn.engine.builder import profile_shapes
from trtnn.errors import UnsupportedError
from trtnn.graph.graph import Graph, Node, Value
from trtnn.graph.interpreter import run
from trtnn.lower.network import ITensor, Net, lower
from trtnn.options import BuildOptions
from trtnn.sizes.dims import Dim, evaluate, symbols
from trtnn.sizes.expressions import SizeSymbol
from trtnn.tree import flatten
from trtnn.trt.library import TensorRT

# torch's own remark on an even kernel with padding="same".
pytestmark = pytest.mark.filterwarnings("ignore:Using padding='same'")
VERSIONS = ("8.6", "10", "11")
ROWS = all_rows()
VALID = [(name, row) for name, row in ROWS if row.raises is None]
TRACED: dict[int, tuple[Graph, list[Sample], Any]] = {}  # of rows, which live as long
TOLERANCE = {torch.float32: 1e-5, torch.float16: 4e-3, torch.bfloat16: 2e-2}


def traced(row: Row) -> tuple[Graph, list[Sample], Any]:
    """Return the graph of a row, its input samples, and a function of inputs for the oracle."""
    found = TRACED.get(id(row))
    if found is None:
        found = TRACED[id(row)] = _traced(row)
    return found


def _traced(row: Row) -> tuple[Graph, list[Sample], Any]:
    inputs, call = prepare(row)
    graph = trtnn.trace(
        lambda *tensors: call(row.function, tensors),
        [trtnn.Input(x.shape, x.dtype) for x in inputs],
    )
    return graph, inputs, call


def dims_of(inputs: list[Sample]) -> list[Dim]:
    found = {s.name: s for x in inputs for size in x.shape for s in symbols(size)}
    return [Dim(name, profiles=s.profiles) for name, s in found.items()]


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
    values = (*graph.outputs, *(value for node in graph.nodes for value in node.outputs))
    for end in ("min", "opt", "max"):
        generator = torch.Generator().manual_seed(11)
        bindings = {d.name: getattr(d, end) for d in dims}
        tensors = [x.make(bindings, generator) for x in inputs]
        expected = call(row.oracle or row.function, [t.clone() for t in tensors])
        results, sizes = run(replace(graph, outputs=values), tensors)
        for value, result in zip(values, results, strict=True):
            assert evaluated(value, sizes) == result.shape and value.spec.dtype == result.dtype
        want, _ = flatten(expected)
        for leaf, reference in zip(graph.leaves, want, strict=True):
            if isinstance(reference, torch.Tensor):
                close(results[leaf], reference)
            elif isinstance(reference, int) and not isinstance(reference, bool):
                assert evaluate(leaf, sizes) == reference
            else:
                assert leaf == reference
        if not dims:
            break


@pytest.mark.parametrize("row", [r for _, r in VALID], ids=[n for n, _ in VALID])
def test_row_lowers(row: Row) -> None:
    graph, inputs, _ = traced(row)
    for version in VERSIONS:
        text = row.unsupported.get(version)
        expecting = pytest.raises(UnsupportedError, match=text) if text else nullcontext()
        with expecting:
            check_lowering(graph, version, dims_of(inputs))


@cache
def library_of(version: str) -> TensorRT:
    return TensorRT(double.load(version))


def check_lowering(graph: Graph, version: str, dims: list[Dim]) -> None:
    """Lower a graph to a double, build it, and compare every tensor's dtype and shape."""
    library = library_of(version)
    builder = library.builder()
    network = library.network(builder)
    lowered = optimize(graph, library)
    net, tensors = lower_watched(lowered, library, network)
    config = library.config(
        builder, BuildOptions(), tf32=True, half=net.half, quantized=net.quantized
    )
    if shapes := profile_shapes(graph):
        library.profile(builder, config, shapes)
    library.build(builder, network, config)
    outputs = [(v, network.get_output(i)) for i, v in enumerate(lowered.outputs)]
    counted = sizes_of_data(lowered)
    inside = [(net.kind(v.spec.dtype), v, tensor) for v, tensor in tensors]
    names = [str(v.spec.dtype).removeprefix("torch.") for v, _ in outputs]
    outside = [(library.dtype(n), *pair) for n, pair in zip(names, outputs, strict=True)]
    tensors += outputs
    for dtype, value, tensor in inside + outside:
        assert double.typed(tensor) == dtype, f"{value} is {double.typed(tensor)}, not {dtype}"
    for end in ("min", "opt", "max"):
        bindings = {d.name: getattr(d, end) for d in dims}
        given = {v.name: evaluated(v, bindings) for v in graph.inputs}
        counts = [{"min": s.low, "opt": (s.low + s.high) // 2, "max": s.high}[end] for s in counted]
        bindings.update({s.name: n for s, n in zip(counted, counts, strict=True)})
        data = dict(zip(double.data_sizes(network), counts, strict=True))
        shapes = double.shapes_at([t for _, t in tensors], given, data)
        for (value, _), shape in zip(tensors, shapes, strict=True):
            wanted = evaluated(value, bindings)
            assert shape == wanted, f"{value} has the shape {shape}, not {wanted}"


def sizes_of_data(graph: Graph) -> list[SizeSymbol]:
    """Return the sizes that only an execution can tell, in order of the nodes that give them."""
    known = {d.name for d in graph.dims}
    values = (v for node in graph.nodes if hasattr(node.op, "bind_sizes") for v in node.outputs)
    found = [s for value in values for size in value.spec.shape for s in symbols(size)]
    return list({s.name: s for s in found if s.name not in known}.values())


def evaluated(value: Value, bindings: dict[str, int]) -> tuple[int, ...]:
    return tuple(evaluate(size, bindings) for size in value.spec.shape)


def lower_watched(
    graph: Graph, library: TensorRT, network: Any
) -> tuple[Net, list[tuple[Value, Any]]]:
    """Lower a graph; return the TensorRT tensor of each node's output beside its value."""
    tensors: list[tuple[Value, Any]] = []
    original = trtnn.lower.network._check

    def check(net: Net, node: Node, value: Value, result: ITensor) -> ITensor:
        tensors.append((value, result.handle))
        return original(net, node, value, result)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trtnn.lower.network, "_check", check)
        return lower(graph, library, network), tensors


REFUSED = [(name, row) for name, row in ROWS if row.raises is not None]


@pytest.mark.parametrize("row", [r for _, r in REFUSED], ids=[n for n, _ in REFUSED])
def test_row_is_refused(row: Row) -> None:
    assert row.raises is not None
    with pytest.raises(row.raises):
        traced(row)
