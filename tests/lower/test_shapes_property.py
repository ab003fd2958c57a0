"""Random shape expressions: tracer, interpreter and doubles against Python's integers."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

import trtnn
from tests import double
from tests.shaped import corners_and_random
from trtnn.compiler import optimize
from trtnn.graph.graph import Graph
from trtnn.graph.interpreter import run
from trtnn.lower.network import lower
from trtnn.sizes.dims import Dim, evaluate
from trtnn.trt.library import TensorRT

DIMS = [Dim("a", 1, 4, 9), Dim("b", 2, 3, 7), Dim("c", 1, 1, 12)]
MOST = 40  # entries along a dim of the results


@dataclass(frozen=True)
class Tree:
    """An operation on sizes, as a function and a name."""

    name: str
    function: Callable[..., Any]
    children: tuple[Any, ...]

    def __call__(self, sizes: tuple[Any, ...]) -> Any:
        return self.function(*(child(sizes) for child in self.children))

    def __repr__(self) -> str:
        return f"{self.name}({', '.join(map(repr, self.children))})"


@dataclass(frozen=True)
class Leaf:
    """A Dim by its place, or a number."""

    place: int | None
    number: int = 0

    def __call__(self, sizes: tuple[Any, ...]) -> Any:
        return self.number if self.place is None else sizes[self.place]

    def __repr__(self) -> str:
        return str(self.number) if self.place is None else DIMS[self.place].name


BINARY = {
    "add": operator.add,
    "sub": operator.sub,
    "mul": operator.mul,
    "max": torch.sym_max,
    "min": torch.sym_min,
}
BY_NUMBER: dict[str, Callable[[Any, int], Any]] = {
    "floordiv": operator.floordiv,
    "mod": operator.mod,
    "ceil": lambda size, number: math.ceil(size / number),
    "part": lambda size, number: torch.sym_int(size * (number / 8)),
}
LEAVES = st.builds(Leaf, st.integers(0, 2)) | st.builds(Leaf, st.none(), st.integers(0, 7))


def grown(children: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Return operations on smaller trees; divisors are positive numbers."""
    number = st.builds(Leaf, st.none(), st.integers(1, 7))
    return st.one_of(
        *(st.builds(Tree, st.just(n), st.just(f), st.tuples(children, children))
          for n, f in BINARY.items()),
        *(st.builds(Tree, st.just(n), st.just(f), st.tuples(children, number))
          for n, f in BY_NUMBER.items()),
    )  # fmt: skip


EXPRESSIONS = st.recursive(LEAVES, grown, max_leaves=6)


def forward_of(expression: Any) -> Callable[[torch.Tensor], Any]:
    """Return what uses an expression as a size, and returns the size itself."""

    def forward(x: torch.Tensor) -> Any:
        value = expression(tuple(x.shape))
        count = torch.sym_min(torch.sym_max(value, 0), MOST)
        return value, torch.zeros(count, 2), torch.arange(count) + value, x[0, :1].expand(count, -1)

    return forward


def lowered(graph: Graph, version: str) -> Any:
    """Return the double's network of a graph."""
    library = TensorRT(double.load(version))
    network = library.network(library.builder())
    lower(optimize(graph, library), library, network)
    return network


@settings(max_examples=60, deadline=None, derandomize=True)
@given(expression=EXPRESSIONS)
def test_sizes_are_pythons_integers(expression: Any) -> None:
    forward = forward_of(expression)
    graph = trtnn.trace(forward, [trtnn.Input(tuple(DIMS), torch.float32, "x")])
    assume(not graph.assumptions)  # sym_int asks for a sign, which compile() then checks
    networks = [lowered(graph, version) for version in ("8.6", "10", "11")]
    for bindings in corners_and_random(DIMS, 3):
        x = torch.rand(tuple(bindings.values()))
        value, *expected = forward(x)
        outputs, sizes = run(graph, [x])
        given_value, *places = graph.leaves
        assert evaluate(given_value, sizes) == value
        for place, wanted in zip(places, expected, strict=True):
            assert torch.equal(outputs[place], wanted)
            for network in networks:
                tensor = network.get_output(int(place))
                assert double.shape_at(tensor, {"x": tuple(x.shape)}) == tuple(wanted.shape)


@pytest.mark.gpu
@settings(max_examples=8, deadline=None, derandomize=True)
@given(expression=EXPRESSIONS)
def test_sizes_are_pythons_integers_on_the_engine(expression: Any) -> None:
    forward = forward_of(expression)
    inputs = [trtnn.Input(tuple(DIMS), torch.float32, "x")]
    model = trtnn.compile(forward, inputs=inputs, backend="tensorrt", verify=False)
    for bindings in corners_and_random(DIMS, 3):
        x = torch.rand(tuple(bindings.values()))
        value, *expected = forward(x)
        given_value, *results = model(x.cuda())
        assert given_value == value
        for result, wanted in zip(results, expected, strict=True):
            assert torch.equal(result.cpu(), wanted)
