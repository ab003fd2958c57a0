"""Floats as they are lowered: the layers, computed one by one, give what PyTorch gives."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

import trtnn
from tests import double
from tests.lower import computing
from tests.lower.computing import Exact, Network
from tests.ops.test_ops import dims_of
from tests.rows import Row, Sample, T, prepare
from tests.rows.division import ROWS as DIVISION
from tests.rows.moments import ROWS as MOMENTS
from tests.rows.scalars import ROWS as SCALARS
from trtnn.compiler import optimize
from trtnn.graph.graph import Graph
from trtnn.lower.network import lower
from trtnn.sizes.dims import evaluate
from trtnn.tree import flatten

HALF = torch.float16
VERSIONS = ("8.6", "11")
ROWS = [(i, row) for i, row in enumerate([*SCALARS, *DIVISION, *MOMENTS]) if row.raises is None]
# A number that half rounds stays half: two roundings where PyTorch has one.
TOLERANCE = {torch.float32: 1e-5, HALF: 2e-3, torch.bfloat16: 1.6e-2}


def computed(graph: Graph, version: str, given: list[torch.Tensor]) -> list[torch.Tensor]:
    """Lower a graph, and return what its layers compute."""
    library = Exact(double.load(version))
    narrow = [x.int() if x.dtype == torch.int64 and version == "8.6" else x.clone() for x in given]
    network = Network(library, narrow)
    lower(optimize(graph, library), library, network)
    return [output.value for output in network.outputs]


def traced(
    function: Callable[..., Any], samples: list[Sample], sizes: dict[str, int]
) -> tuple[Graph, list[torch.Tensor]]:
    """Trace a function at fixed sizes; return its graph and random inputs."""
    shapes = [tuple(evaluate(s, sizes) for s in x.shape) for x in samples]
    inputs = [trtnn.Input(s, x.dtype) for s, x in zip(shapes, samples, strict=True)]
    generator = torch.Generator().manual_seed(5)
    return trtnn.trace(function, inputs), [x.make(sizes, generator) for x in samples]


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("row", [r for _, r in ROWS], ids=[f"{i}-{r.name}" for i, r in ROWS])
def test_layers_compute_what_pytorch_does(row: Row, version: str) -> None:
    if version in row.unsupported:
        pytest.skip(row.unsupported[version])
    samples, call = prepare(row)
    sizes = {d.name: d.max for d in dims_of(samples)}
    graph, given = traced(lambda *tensors: call(row.function, tensors), samples, sizes)
    wanted = flatten(call(row.oracle or row.function, given))[0]
    for mine, want in zip(computed(graph, version, given), wanted, strict=True):
        bound = TOLERANCE.get(want.dtype, 0.0)
        if mine.dtype == torch.int32:  # which 8.6 has in place of int64
            mine = mine.to(want.dtype)
        torch.testing.assert_close(mine, want, rtol=bound, atol=bound / 10, equal_nan=True)


@pytest.mark.parametrize("parts", [-2, -1, 1, 2])
@pytest.mark.parametrize("function", [torch.remainder, torch.fmod])
@pytest.mark.parametrize("divisor", [0.3, 7.0, -2.5, T(64, low=0.1, high=9.0)])
def test_what_is_left_is_exact_where_a_quotient_is_not(
    function: Callable[..., Any], divisor: Any, parts: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A GPU may divide one rounding or two beside the quotient."""
    off = 1 + parts * torch.finfo(torch.float32).eps
    monkeypatch.setitem(computing.ELEMENTWISE, "DIV", lambda a, b: a / b * off)
    samples = [T(64, low=-1e7, high=1e7)] + ([divisor] if isinstance(divisor, Sample) else [])
    graph, given = traced(lambda x, y=divisor: function(x, y), samples, {})
    wanted = function(given[0], given[1] if len(given) > 1 else divisor)
    assert torch.equal(computed(graph, "8.6", given)[0], wanted)


@pytest.mark.parametrize(
    ("number", "casts"), [(0.125, 0), (0.17677, 0), (65504, 0), (65520, 2), (-1e9, 2), (1e-6, 2)]
)
def test_a_number_is_wide_only_where_half_loses_it(number: float, casts: int) -> None:
    """No cast stands between the two products of an attention: it would cost their fusion."""
    graph = trtnn.trace(lambda x: x * number, [trtnn.Input((3,), HALF)])
    library = Exact(double.load("8.6"))
    network = Network(library, [torch.ones(3, dtype=HALF)])
    made: list[Any] = []
    original = network.add_cast
    network.add_cast = lambda *how: made.append(how) or original(*how)  # type: ignore[method-assign]
    lower(optimize(graph, library), library, network)
    assert len(made) == casts
