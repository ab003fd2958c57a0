"""A module whose parameters and constants live on another device traces as one on the CPU does."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch

import trtnn
from tests.elsewhere import ELSEWHERE, Machine
from tests.ops.test_ops import VALID, close, dims_of, library_of
from tests.rows import Holder, Row, prepare
from tests.zoo import MODELS, build_lively
from trtnn.compiler import optimize
from trtnn.graph.graph import Graph
from trtnn.graph.interpreter import run
from trtnn.ops.op import TABLE
from trtnn.tree import flatten

pytestmark = pytest.mark.filterwarnings("ignore:Using padding='same'")
HOMES = [(name, row) for name, row in VALID if prepare(row)[1].constants]


def places(graph: Graph) -> set[torch.device]:
    return {constant.tensor.device for constant in graph.constants.values()}


@pytest.mark.parametrize("row", [r for _, r in HOMES], ids=[n for n, _ in HOMES])
def test_row_of_a_module_elsewhere_equals_torch(row: Row) -> None:
    """Traced, after the passes, and with the module's state given anew."""
    with Machine():
        module = Holder(row).to(ELSEWHERE)
        inputs = [trtnn.Input(x.shape, x.dtype, f"x{i}") for i, x in enumerate(module.samples)]
        graph = trtnn.trace(module, inputs, ELSEWHERE)
        home, state = {ELSEWHERE}, module.state_dict()
        for version in ("8.6", "11"):
            lowered = (
                graph if row.unsupported.get(version) else optimize(graph, library_of(version))
            )
            lowered.check()
            assert places(lowered) <= home
            assert {t.device for t in lowered.recompute(state).values()} <= home
        bindings = {d.name: d.opt for d in dims_of(module.samples)}
        generator = torch.Generator().manual_seed(11)
        tensors = [x.make(bindings, generator) for x in module.samples]
        there = [t.to(ELSEWHERE, copy=True) for t in tensors]
        results, _ = run(graph, there, device=ELSEWHERE)
    expected = prepare(row)[1](row.oracle or row.function, tensors)
    for leaf, want in zip(graph.leaves, flatten(expected)[0], strict=True):
        if isinstance(want, torch.Tensor):
            close(results[leaf].cpu(), want)


OURS = [
    (name, row)
    for name, row in VALID
    if row.function in TABLE and prepare(row)[0]
    if not any(isinstance(x, torch.Tensor) for x in flatten((row.args, row.kwargs))[0])
]


@pytest.mark.parametrize("row", [r for _, r in OURS], ids=[n for n, _ in OURS])
def test_our_functions_make_their_constants_beside_the_operands(row: Row) -> None:
    """Called eagerly, as by a module that writes ``trtnn.pad`` instead of PyTorch's own."""
    samples, call = prepare(row)
    ours = TABLE[row.function]
    bindings = {d.name: d.opt for d in dims_of(samples)}
    generator = torch.Generator().manual_seed(11)
    tensors = [x.make(bindings, generator) for x in samples]
    expected = call(ours, [t.clone() for t in tensors])
    with Machine():
        moved = replace(call, constants=tuple(c.to(ELSEWHERE) for c in call.constants))
        results = moved(ours, [t.to(ELSEWHERE) for t in tensors])
        for given, want in zip(flatten(results)[0], flatten(expected)[0], strict=True):
            if isinstance(want, torch.Tensor):
                assert given.device == ELSEWHERE
                close(given.cpu(), want)


@pytest.mark.parametrize("name", MODELS["small"])
def test_model_elsewhere_folds_and_refits(name: str) -> None:
    model = MODELS["small"][name]
    module = build_lively(model)
    inputs = model.inputs(2, 5)
    with torch.no_grad():
        expected = module(*inputs)
    with Machine():
        module.to(ELSEWHERE)
        graph = optimize(trtnn.trace(module, list(inputs), ELSEWHERE), library_of("8.6"))
        graph.check()
        assert places(graph) == {ELSEWHERE}
        assert {t.device for t in graph.recompute(module.state_dict()).values()} == {ELSEWHERE}
        results, _ = run(graph, [x.to(ELSEWHERE) for x in inputs])
    for given, want in zip(results, flatten(expected)[0], strict=True):
        torch.testing.assert_close(given.cpu(), want, rtol=1e-3, atol=1e-3)


class Shifted(torch.nn.Linear):
    """A layer beside a table that is no buffer, and so stays where it was made."""

    def __init__(self, shift: Callable[[torch.Tensor], torch.Tensor]) -> None:
        super().__init__(2, 2)
        self.table, self.shift = torch.tensor([1.0, 2.0]), shift

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        return super().forward(input) + self.shift(self.table)


def test_a_tensor_of_the_cpu_is_brought_home() -> None:
    with Machine():
        module = Shifted(lambda table: table.to(ELSEWHERE)).to(ELSEWHERE)
        assert places(trtnn.trace(module, [trtnn.Input((2,))], ELSEWHERE)) == {ELSEWHERE}


def test_what_a_function_holds_is_brought_home() -> None:
    with Machine():
        layer = torch.nn.Linear(2, 2).to(ELSEWHERE)
        graph = trtnn.trace(lambda x: layer(x) * 2, [trtnn.Input((2,))], ELSEWHERE)
    assert places(graph) == {torch.device("cpu")}


def test_a_tensor_that_was_brought_home_is_not_written() -> None:
    with Machine():
        module = Shifted(lambda table: table.add_(1)).to(ELSEWHERE)
        with pytest.raises(trtnn.TraceError, match="writes to a real tensor"):
            trtnn.trace(module, [trtnn.Input((2,))], ELSEWHERE)
    assert module.table.tolist() == [1.0, 2.0]


def test_a_tensor_of_a_third_device_is_refused() -> None:
    table = torch.ones(2, device="meta")
    with pytest.raises(trtnn.UnsupportedError, match="a tensor on meta in a model on cpu"):
        trtnn.trace(lambda x: x + table, [trtnn.Input((2,))])
