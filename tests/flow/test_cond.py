"""``trtnn.cond``: both branches against eager, on the doubles and the real builder; its errors."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

import trtnn
from tests.flow.proving import prove
from tests.on_double import on_double
from tests.ops.test_ops import library_of
from tests.real_builder import ABSENT, build
from trtnn.compiler import optimize
from trtnn.errors import DTypeError, ShapeError, TraceError, UnsupportedError
from trtnn.graph.graph import all_nodes
from trtnn.graph.interpreter import run

BATCH = trtnn.Dim("batch", 1, 2, 4)
X, FLAG = trtnn.Input((BATCH, 3)), trtnn.Input((), torch.bool)
FLAGS = trtnn.Input((3,), torch.int32)
YES, NO = torch.tensor(True), torch.tensor(False)
Cond = Callable[..., Any]


class Gated(torch.nn.Module):
    """Branches with parameters, an outer value, and sizes of their own."""

    def __init__(self, cond: Cond) -> None:
        super().__init__()
        self.cond, self.linear = cond, torch.nn.Linear(3, 3)

    def forward(self, x: torch.Tensor, flag: torch.Tensor) -> Any:
        twice = x * 2

        def true(x: torch.Tensor) -> Any:
            return [self.linear(x) + twice, {"sum": x.sum()}]

        def false(x: torch.Tensor) -> Any:
            return [(x - 1).reshape(x.shape[0] * 3).reshape(-1, 3), {"sum": twice.mean()}]

        first, second = self.cond(flag, true, false, (x,))
        return first + 1, second["sum"]


@pytest.mark.parametrize("cond", [trtnn.cond, torch.cond], ids=["trtnn", "torch"])
def test_branches_use_parameters_outer_values_and_trees(cond: Cond) -> None:
    module, eager = Gated(cond).eval(), Gated(trtnn.cond).eval()
    eager.load_state_dict(module.state_dict())
    calls = [(torch.randn(n, 3), flag) for n in (1, 2, 4) for flag in (YES, NO)]
    graph = prove(module, [X, FLAG], calls, eager=eager)
    assert [node.op.name for node in graph.nodes].count("Cond") == 1
    assert "%true" not in str(graph) and "true of %" in str(graph)


def three_deep(x: torch.Tensor, flags: torch.Tensor) -> torch.Tensor:
    def first(y: torch.Tensor) -> torch.Tensor:
        def second(z: torch.Tensor) -> torch.Tensor:
            return trtnn.cond(flags[2] > 0, lambda: z * y, lambda: z / (y.abs() + 1))

        return trtnn.cond(flags[1] > 0, second, lambda z: z - x, (y + 1,))

    return trtnn.cond(flags[0] > 0, first, lambda y: y.expand(x.shape[0], 3), (x.exp(),))


def test_conditions_three_deep() -> None:
    every = [[a, b, c] for a in (0, 1) for b in (0, 1) for c in (0, 1)]
    flags = [torch.tensor(f, dtype=torch.int32) for f in every]
    calls = [(torch.randn(2, 3), f) for f in flags]
    prove(three_deep, [trtnn.Input((2, 3)), FLAGS], calls)
    graph = prove(three_deep, [X, FLAGS], calls, real=False)
    if not ABSENT:
        with pytest.raises(UnsupportedError, match="a condition in a branch, of a result with a"):
            build(graph)


def test_a_branch_may_give_back_what_it_got_a_constant_and_one_thing_twice() -> None:
    table = torch.arange(6.0).reshape(2, 3)

    def function(x: torch.Tensor, flag: torch.Tensor) -> Any:
        return trtnn.cond(flag, lambda: (x, x, table), lambda: (table, table + x, x))

    prove(function, [trtnn.Input((2, 3)), FLAG], [(torch.randn(2, 3), f) for f in (YES, NO)])


def test_an_attention_in_a_branch_is_composed() -> None:
    attend = torch.nn.functional.scaled_dot_product_attention

    def function(x: torch.Tensor, flag: torch.Tensor) -> Any:
        return trtnn.cond(flag, lambda: attend(x, x, x), lambda: x.relu())

    calls = [(torch.randn(2, 2, 4, 8), f) for f in (YES, NO)]
    prove(function, [trtnn.Input((BATCH, 2, 4, 8)), FLAG], calls, tolerance=1e-5)


def test_a_predicate_that_is_known_chooses_while_tracing() -> None:
    class Known(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scale = torch.nn.Parameter(torch.tensor([2.0]))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            chosen = trtnn.cond(self.scale > 1, lambda: x * self.scale, lambda: x)
            return trtnn.cond(False, lambda: chosen * 0, lambda: chosen)

    graph = prove(Known(), [X], [(torch.randn(2, 3),)])
    assert "Cond" not in {node.op.name for node in graph.nodes}
    other = {"scale": torch.tensor([0.5])}
    with pytest.raises(TraceError, match="gave True in the trace and gives False"):
        graph.recompute(other)


def test_writes_inside_a_branch_stay_inside() -> None:
    def true(x: torch.Tensor) -> torch.Tensor:
        y = x.clone()
        y[:, 0] += 1
        return y

    def function(x: torch.Tensor, flag: torch.Tensor) -> Any:
        x = x + 1
        view = x[:, 1]
        x[:, 1:] = 0
        return trtnn.cond(flag, true, lambda x: x * 2, (x,)), view

    prove(function, [X, FLAG], [(torch.randn(2, 3), f) for f in (YES, NO)])


def fails(function: Any, error: type[Exception], *texts: str, inputs: Any = (X, FLAG)) -> None:
    with pytest.raises(error) as caught:
        trtnn.trace(function, list(inputs))
    for text in texts:
        assert text in str(caught.value), str(caught.value)


def test_branches_of_different_specs_name_both_lines() -> None:
    def function(x: torch.Tensor, flag: torch.Tensor) -> Any:
        def true() -> torch.Tensor:
            return x.sum(0)  # <- one

        def false() -> torch.Tensor:
            return x * 2  # <- other

        return trtnn.cond(flag, true, false)  # <- here

    lines = ("return x.sum(0)  # <- one", "return x * 2  # <- other", "# <- here")
    fails(function, ShapeError, "true_fn returns (3,) float32", "false_fn (batch, 3)", *lines)


def test_branches_of_different_dtypes_and_structures() -> None:
    texts = ("true_fn returns (batch, 3) float16", "false_fn (batch, 3) float32")
    fails(lambda x, f: trtnn.cond(f, lambda: x.half(), lambda: x + 1), ShapeError, *texts)
    text = "true_fn and false_fn return different structures"
    fails(lambda x, f: trtnn.cond(f, lambda: x, lambda: (x,)), TraceError, text)
    fails(lambda x, f: trtnn.cond(f, lambda: (x, 1), lambda: (x, 2)), TraceError, text)


def test_a_predicate_that_is_no_truth() -> None:
    text = "expected a pred of torch.bool, got torch.float32"
    fails(lambda x, f: trtnn.cond(x.sum(), lambda: x, lambda: x), DTypeError, text)
    text = "expected a pred of one entry, got (batch, 3) bool"
    fails(lambda x, f: trtnn.cond(x > 0, lambda: x, lambda: x), ShapeError, text, "torch.where")
    text = "expected a bool or a tensor as pred, got 1"
    fails(lambda x, f: trtnn.cond(1, lambda: x, lambda: x), DTypeError, text)
    with pytest.raises(DTypeError, match=r"got torch\.int64"):
        trtnn.cond(torch.tensor(1), lambda: 1, lambda: 2)


@pytest.mark.parametrize("known", [False, True])
def test_a_branch_that_writes_a_tensor_from_outside(known: bool) -> None:
    def function(x: torch.Tensor, flag: torch.Tensor) -> Any:
        outer = torch.zeros(2, 3) if known else x + 1

        def true() -> torch.Tensor:
            outer.add_(1)  # <- here
            return outer * x

        return trtnn.cond(flag, true, lambda: x) + outer

    text = "cond's true_fn writes in place to a tensor from outside of it"
    fails(function, UnsupportedError, text, "# <- here", inputs=(trtnn.Input((2, 3)), FLAG))


def test_a_tensor_that_leaves_a_branch_on_the_side() -> None:
    def function(x: torch.Tensor, flag: torch.Tensor) -> Any:
        kept: list[torch.Tensor] = []
        result = trtnn.cond(flag, lambda: kept.append(x * 2) or x, lambda: x)
        return result + kept[0]

    fails(function, TraceError, "a tensor that cond's true_fn computes was used outside of it")


def test_a_size_that_depends_on_data_in_a_branch() -> None:
    def function(x: torch.Tensor, flag: torch.Tensor) -> Any:
        return trtnn.cond(flag, lambda: x[x > 0].sum(), lambda: x.sum())

    fails(function, UnsupportedError, "a size that depends on data, in a branch or a loop")


def test_an_if_on_a_traced_value_says_what_to_write() -> None:
    fails(lambda x, f: x if f else x + 1, TraceError, "trtnn.cond")


def test_a_cuda_graph_is_refused() -> None:
    model, _ = on_double("8.6", Gated(trtnn.cond).eval(), [X, FLAG])
    with pytest.raises(UnsupportedError, match="a CUDA graph holds one way"):
        model.with_execution("graph")


@pytest.mark.parametrize("precision", ["fp16", "bf16"])
def test_branches_are_typed_too(precision: str) -> None:
    module = Gated(trtnn.cond).eval()
    model = trtnn.compile(module, inputs=[X, FLAG], backend="reference", precision=precision)
    for flag in (YES, NO):
        x = torch.randn(2, 3)
        with torch.no_grad():
            wanted = module(x, flag)
        for one, other in zip(model(x, flag), wanted, strict=True):
            torch.testing.assert_close(one, other, rtol=0.02, atol=0.02)
    low = {line.dtype for line in model.precision_report.lines if line.op == "MatrixMultiply"}
    assert low == {torch.float16 if precision == "fp16" else torch.bfloat16}


def test_a_pass_folds_inside_a_branch_and_a_refit_finds_its_weights() -> None:
    class Folded(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.norm = torch.nn.Conv2d(3, 4, 1), torch.nn.BatchNorm2d(4)

        def forward(self, x: torch.Tensor, flag: torch.Tensor) -> torch.Tensor:
            return trtnn.cond(flag, lambda: self.norm(self.conv(x)), lambda: self.conv(x))

    module = Folded().eval()
    graph = prove(module, [trtnn.Input((2, 3, 4, 4)), FLAG], [(torch.randn(2, 3, 4, 4), YES)])
    lowered = optimize(graph, library_of("10"))
    assert "BatchNorm" not in {node.op.name for node in all_nodes(lowered)}
    other = {k: v + 1 if v.is_floating_point() else v for k, v in module.state_dict().items()}
    changed = lowered.recompute(other)
    module.load_state_dict(other)
    x = torch.randn(2, 3, 4, 4)
    (found,), _ = run(lowered, [x, YES], changed)
    torch.testing.assert_close(found, module(x, YES), rtol=1e-5, atol=1e-5)
