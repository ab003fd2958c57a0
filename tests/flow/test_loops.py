"""``trtnn.scan`` and ``trtnn.while_loop``: against eager, on all builders; their errors."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch._higher_order_ops.scan import scan as torch_scan
from torch._higher_order_ops.while_loop import while_loop as torch_while_loop

import trtnn
from tests.flow.proving import prove
from trtnn.errors import DTypeError, ShapeError, TraceError, UnsupportedError
from trtnn.graph.interpreter import run
from trtnn.tree import flatten

BATCH, STEPS = trtnn.Dim("batch", 1, 2, 4), trtnn.Dim("steps", 1, 3, 6)
X, H = trtnn.Input((BATCH, STEPS, 3)), trtnn.Input((BATCH, 3))
COUNT = trtnn.Input((), torch.int32)
WEIGHT = torch.linspace(-0.5, 0.7, 9).reshape(3, 3)


def count(n: int) -> torch.Tensor:
    return torch.tensor(n, dtype=torch.int32)


def recur(scan: Any, *, reverse: bool) -> Any:
    def function(x: torch.Tensor, h: torch.Tensor) -> Any:
        scale = x.amax()

        def step(carry: Any, row: Any) -> Any:
            h, total = carry["h"], carry["total"]
            after = torch.tanh(h @ WEIGHT + row["x"]) * scale
            return {"h": after, "total": total + 1}, [after.sum(-1), row["x"] * 2]

        start = {"h": h, "total": torch.zeros((), dtype=torch.int32)}
        carry, (sums, rows) = scan(step, start, {"x": x}, dim=1, reverse=reverse)
        return carry["h"], carry["total"], sums, rows

    return function


@pytest.mark.parametrize("reverse", [False, True])
def test_a_scan_over_a_symbolic_size(reverse: bool) -> None:
    calls = [(torch.randn(2, n, 3), torch.randn(2, 3)) for n in (1, 2, 6)]
    function = recur(trtnn.scan, reverse=reverse)
    graph = prove(function, [X, H], calls, tolerance=1e-5)
    again = trtnn.trace(recur(torch_scan, reverse=reverse), [X, H])
    for call in calls:
        one, other = (run(g, list(call))[0] for g in (graph, again))
        for left, right in zip(one, other, strict=True):
            torch.testing.assert_close(left, right)


def test_a_scan_is_what_eager_torch_says() -> None:
    x, h = torch.randn(2, 4, 3), torch.randn(2, 3)
    wanted, _ = flatten(recur(torch_scan_in_python, reverse=True)(x, h))
    found, _ = flatten(recur(trtnn.scan, reverse=True)(x, h))
    for one, other in zip(found, wanted, strict=True):
        torch.testing.assert_close(one, other)


def torch_scan_in_python(step: Any, carry: Any, xs: Any, dim: int, reverse: bool) -> Any:
    """Do what torch's documentation says, without its compiler."""
    rows = xs["x"].unbind(dim)
    outputs = []
    for row in reversed(rows) if reverse else rows:
        carry, output = step(carry, {"x": row})
        outputs.append(output)
    if reverse:
        outputs.reverse()
    columns = [torch.stack(column) for column in zip(*outputs, strict=True)]
    return carry, [torch.movedim(c, 0, dim) if dim < c.ndim else c for c in columns]


@pytest.mark.parametrize("loop", [trtnn.while_loop, torch_while_loop], ids=["trtnn", "torch"])
def test_a_while_loop_of_0_1_and_many_steps(loop: Any) -> None:
    def of(while_loop: Any) -> Any:
        def function(n: torch.Tensor, x: torch.Tensor) -> Any:
            start = (torch.zeros((), dtype=torch.int32), x)
            return while_loop(
                lambda i, x: i < n, lambda i, x: (i + 1, torch.softmax(x @ WEIGHT, -1)), start
            )

        return function

    calls = [(count(n), torch.randn(2, 3)) for n in (0, 1, 7)]
    eager = of(trtnn.while_loop)
    prove(of(loop), [COUNT, H], calls, eager=eager, tolerance=1e-5)


def test_a_loop_that_the_data_ends() -> None:
    def function(x: torch.Tensor) -> Any:
        return trtnn.while_loop(lambda x, n: x.abs().amax() > 0.5, halve, (x, x.new_zeros(())))

    def halve(x: torch.Tensor, n: torch.Tensor) -> Any:
        return x * 0.5, n + 1

    prove(function, [H], [(torch.full((2, 3), v),) for v in (0.1, 0.9, 33.0)])


def two_loops(x: torch.Tensor, flag: torch.Tensor) -> Any:
    def outer(carry: torch.Tensor, row: torch.Tensor) -> Any:
        def inner(total: torch.Tensor, item: torch.Tensor) -> Any:
            after = trtnn.cond(flag[0] > 0, lambda: total + item, lambda: total * item)
            return after, after + row.sum()

        return trtnn.scan(inner, carry, row)

    return trtnn.scan(outer, x.new_ones(()), x)


def loop_in_a_branch(x: torch.Tensor, flag: torch.Tensor) -> Any:
    def step(carry: torch.Tensor, row: torch.Tensor) -> Any:
        return carry + row.sum(), row

    return trtnn.cond(flag[1] > 0, lambda: trtnn.scan(step, x.sum(), x)[0], lambda: x.sum())


def four_deep(x: torch.Tensor, flag: torch.Tensor) -> Any:
    return trtnn.cond(flag[1] > 0, lambda: two_loops(x, flag)[0], lambda: x.sum())


# RTX 1.7.1 fails in its own assertions on the four ("tScope.getOp() == nodeScope.getOp()").
@pytest.mark.parametrize("function", [two_loops, loop_in_a_branch, four_deep])
def test_conditions_and_loops_in_each_other(function: Any) -> None:
    inputs = [trtnn.Input((STEPS, 3)), trtnn.Input((2,), torch.int32)]
    calls = [
        (torch.randn(n, 3), torch.tensor(f, dtype=torch.int32))
        for n, f in ((1, [0, 1]), (4, [1, 1]), (2, [1, 0]))
    ]
    prove(function, inputs, calls, tolerance=1e-5, real=function is not four_deep)


def test_a_layer_of_every_kind_in_a_step() -> None:
    attend = torch.nn.functional.scaled_dot_product_attention
    conv = torch.nn.Conv1d(4, 4, 3, padding=1)

    def function(x: torch.Tensor) -> Any:
        def step(carry: torch.Tensor, row: torch.Tensor) -> Any:
            mixed = attend(carry, carry, row)
            return conv(mixed[:, 0]).unsqueeze(1), mixed

        return trtnn.scan(step, x[0] * 0.5, x)

    prove(function, [trtnn.Input((STEPS, 2, 1, 4, 8))], [(torch.randn(3, 2, 1, 4, 8),)])


def test_activations_that_rtx_refuses_beside_a_loop() -> None:
    elu = torch.nn.functional.elu

    def function(x: torch.Tensor, h: torch.Tensor) -> Any:
        last, rows = trtnn.scan(lambda c, r: (elu(c + r, 0.5), r.half()), h, x, dim=1)
        return elu(last @ WEIGHT), elu(rows)

    prove(function, [X, H], [(torch.randn(2, 3, 3), torch.randn(2, 3))])
    chosen = lambda x: trtnn.cond(x.sum() > 0, lambda: elu(elu(x) - 1), lambda: elu(x))  # noqa: E731
    prove(lambda x, h: elu(elu(chosen(h)) - 1), [X, H], [(torch.randn(2, 3, 3), torch.randn(2, 3))])


# What is refused ----------------------------------------------------------------------------------


def fails(function: Any, error: type[Exception], *texts: str, inputs: Any = (X, H)) -> None:
    with pytest.raises(error) as caught:
        trtnn.trace(function, list(inputs))
    for text in texts:
        assert text in str(caught.value), str(caught.value)


def loop(cond: Any, body: Any) -> Any:
    return lambda x, h: trtnn.while_loop(cond, body, (h,))


def test_a_state_that_changes_names_both_lines() -> None:
    def function(x: torch.Tensor, h: torch.Tensor) -> Any:
        start = h * 2  # <- first

        def step(carry: torch.Tensor, row: torch.Tensor) -> Any:
            return torch.cat([carry, row], -1), row  # <- then

        return trtnn.scan(step, start, x, dim=1)

    texts = ("scan: carried value 0 is (batch, 3) float32", "# <- first", "# <- then")
    fails(function, ShapeError, *texts, "and becomes (batch, 6) float32")
    text = "and becomes (batch, 3) float16"
    fails(loop(lambda h: h.sum() < 9, lambda h: (h.half(),)), ShapeError, text)


def test_a_condition_that_is_none() -> None:
    text = "cond_fn returns (batch, 3) bool, expected a scalar tensor of torch.bool"
    fails(loop(lambda h: h > 0, lambda h: (h,)), DTypeError, text)
    fails(loop(lambda h: h.sum(), lambda h: (h,)), DTypeError, "returns () float32")
    fails(loop(lambda h: True, lambda h: (h,)), DTypeError, "cond_fn returns True")
    unending = loop(lambda h: WEIGHT.sum() > 0, lambda h: (h + 1,))
    fails(unending, TraceError, "the loop never ends, or never begins")


def test_what_is_no_tensor_and_what_has_another_structure() -> None:
    text = "expected tensors to carry and to step through, got 0"
    start = lambda x, h: trtnn.while_loop(lambda i, h: i < 3, lambda i, h: (i, h), (0, h))  # noqa: E731
    fails(start, TraceError, text, "torch.tensor(0)")
    fails(loop(lambda h: h.sum() < 9, lambda h: h), TraceError, "returns another structure")
    fails(lambda x, h: trtnn.scan(lambda c, r: c, h, x, dim=1), TraceError, "returns no pair")
    lengths = lambda x, h: trtnn.scan(lambda c, r: (c, c), h, (x, h))  # noqa: E731
    fails(lengths, ShapeError, "scan: lengths", inputs=(X, trtnn.Input((7, 3))))


def test_a_step_that_writes_to_what_it_is_given() -> None:
    def step(carry: torch.Tensor, row: torch.Tensor) -> Any:
        carry += row
        return carry, row

    text = "scan's combine_fn writes in place to a tensor from outside of it"
    fails(lambda x, h: trtnn.scan(step, h, x, dim=1), UnsupportedError, text)


def test_a_for_over_a_symbolic_size_shows_the_scan_to_write() -> None:
    def function(x: torch.Tensor, h: torch.Tensor) -> Any:
        for i in range(x.shape[1]):
            h = h + x[:, i]
        return h

    fails(function, TraceError, "trtnn.scan(step, init, xs)")
    fails(lambda x, h: list(x), UnsupportedError, "trtnn.scan(step, init, xs)")


def test_an_if_and_a_while_on_a_traced_value_say_what_to_write() -> None:
    def function(x: torch.Tensor, h: torch.Tensor) -> Any:
        return x if h.sum() > 0 else x * 2

    fails(function, TraceError, "trtnn.cond(pred, true_fn, false_fn)")
