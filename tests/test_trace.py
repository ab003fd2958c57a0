"""Tracing: what DESIGN says under 'Symbolic tensors and sizes', one row a sentence."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch

import trtnn
from trtnn import Dim, Input, TraceError, TrtnnError, UnsupportedError, trace
from trtnn.interpreter import run

S = Dim("seq", 2, 4, 8)
X = Input((S, 6))


def check(function: Callable[..., Any], *inputs: Input, size: int = 5) -> Any:
    """Trace, run at one size, and compare with PyTorch."""
    graph = trace(function, list(inputs) or [X])
    graph.check()
    sizes = {"seq": size}
    tensors = [
        torch.randn([trtnn.dims.evaluate(s, sizes) for s in v.spec.shape]) for v in graph.inputs
    ]
    expected = function(*[t.clone() for t in tensors])
    outputs, _ = run(graph, tensors)
    flat = expected if isinstance(expected, (tuple, list)) else (expected,)
    for given, wanted in zip(outputs, flat, strict=True):
        torch.testing.assert_close(given, wanted)
    return graph


SIZES = {
    "zeros": lambda x: torch.zeros(x.shape[0], 2) + 1,
    "arange": lambda x: torch.arange(x.shape[0]) * 2,
    "expand": lambda x: torch.ones(1, 2, 2).expand(x.shape[0], -1, -1) + 0,
    "view": lambda x: x.view(x.shape[0], -1, 2),
    "slice": lambda x: x[:, : x.shape[0] // 2],
    "pad": lambda x: torch.nn.functional.pad(x, (0, x.shape[0])),
    "prod": lambda x: x.reshape(math.prod(x.shape)),
    "numel": lambda x: x.reshape(x.numel()),
    "sym_max": lambda x: torch.zeros(torch.sym_max(x.shape[0], 4)),
    "max decided": lambda x: torch.zeros(max(x.shape[0], 1)),
    "ceil": lambda x: torch.zeros(math.ceil(x.shape[0] / 2)),
    "split": lambda x: x.split(4, 1),
    "compare decided": lambda x: x + 1 if x.shape[0] > 1 else x,
}


@pytest.mark.parametrize("name", SIZES)
@pytest.mark.parametrize("size", [2, 5, 8])
def test_symbolic_sizes(name: str, size: int) -> None:
    check(SIZES[name], size=size)


RESULTS = {
    "pow": lambda x: torch.pow(x, 2.0),
    "data": lambda x: x.data + 1,
    "mT": lambda x: x.mT + 0,
    "add_ input": lambda x: x.add_(1) * 2,
    "iadd": lambda x: _iadd(x),
    "setitem": lambda x: _set_item(x),
    "setitem through views": lambda x: _set_view(x),
    "relu inplace": lambda x: torch.nn.functional.relu(x * 1, inplace=True),
    "parameter view": lambda x: x + torch.ones(3, 2).t().reshape(6),
    "same twice": lambda x: _twice(x + 1),
    "input out": lambda x: (x, x),
    "constant out": lambda x: (x + 1, torch.ones(2)),
}


def _iadd(x: torch.Tensor) -> torch.Tensor:
    y = x * 1
    y += x
    return y


def _set_item(x: torch.Tensor) -> torch.Tensor:
    y = x * 1
    y[:, 1:3] = x[:, :2] * 3
    y[..., -1] = 0
    return y


def _set_view(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    y = x * 1
    z = y.t()
    z[1] = 7
    w = y[:, 2:4]
    w.mul_(2)
    return y, z


def _twice(y: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    return y, y


@pytest.mark.parametrize("name", RESULTS)
def test_results(name: str) -> None:
    check(RESULTS[name])


REFUSALS: dict[str, tuple[Callable[..., Any], str]] = {
    "full": (lambda x: torch.full((2,), x), ""),
    "tensor": (lambda x: torch.tensor(x), ""),
    "item": (lambda x: x if x.sum().item() > 0 else -x, "value is not known"),
    "bool": (lambda x: x if (x > 0).all() else -x, "value is not known"),
    "int": (lambda x: torch.zeros(int(x.shape[0])), "symbolic size seq"),
    "range": (lambda x: [x for _ in range(x.shape[0])], "symbolic size seq"),
    "undecided": (lambda x: x if x.shape[0] > 5 else -x, "cannot decide"),
    "random": (lambda x: x + torch.rand(6), "random"),
    "autocast": (lambda x: _autocast(x), "autocast"),
    "to device": (lambda x: x.to("cuda:1"), "device"),
    "unknown": (lambda x: torch.linalg.svd(x), "no lowering"),
}


def _autocast(x: torch.Tensor) -> torch.Tensor:
    with torch.autocast("cpu", dtype=torch.bfloat16):
        return x @ x.T


@pytest.mark.parametrize("name", REFUSALS)
def test_refusals(name: str) -> None:
    function, text = REFUSALS[name]
    with pytest.raises((TrtnnError, TypeError, RuntimeError)) as caught:
        trace(function, [X])
    assert text in str(caught.value)
    if text:
        assert "test_trace.py" in str(caught.value)


class Keeps(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.cache: Any = None
        self.register_buffer("count", torch.zeros(6))
        self.calls: list[int] = []


class KeepsTensor(Keeps):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.calls.append(1)
        self.cache = torch.relu(x)
        return self.cache


class WritesBuffer(Keeps):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.calls.append(1)
        self.count.add_(1)
        return x + self.count


@pytest.mark.parametrize(
    ("module", "text"), [(KeepsTensor(), "attribute 'cache'"), (WritesBuffer(), "'count'")]
)
def test_a_failed_trace_leaves_everything_as_it_was(module: Any, text: str) -> None:
    flags = {n: v for n, v in vars(torch.compiler).items() if n.endswith("_flag")}
    hooks = len(torch.nn.modules.module._global_forward_hooks)
    with pytest.raises(TraceError, match=text):
        trace(module, [X])
    assert module.cache is None and module.calls == [] and module.count.sum() == 0
    assert flags == {n: v for n, v in vars(torch.compiler).items() if n.endswith("_flag")}
    assert hooks == len(torch.nn.modules.module._global_forward_hooks)


def test_known_values_answer_and_are_not_lowered() -> None:
    weight = torch.nn.Parameter(torch.arange(6.0))

    def forward(x: torch.Tensor) -> torch.Tensor:
        scale = (weight * 2).max()
        return x * scale.item() if scale > 3 else x

    graph = check(forward)
    assert [node.op.name for node in graph.nodes] == ["Elementwise"]


def test_parameters_have_their_key_and_shared_ones_come_once() -> None:
    class Tied(trtnn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one = torch.nn.Linear(6, 6)
            self.two = torch.nn.Linear(6, 6)
            self.two.weight = self.one.weight

        def forward(self, x: torch.Tensor) -> Any:
            return self.two(self.one(x))

    graph = trace(Tied(), [X])
    keys = sorted(str(c.key) for c in graph.constants.values())
    assert keys == ["one.bias", "one.weight", "two.bias"]
    assert {node.origin.path for node in graph.nodes} == {"one", "two"}
    assert "one.weight" in str(graph)


def test_structures_in_and_out() -> None:
    def forward(x: torch.Tensor, pair: Any, scale: float) -> Any:
        return {"sum": pair[0] + pair[1]["b"], "rest": (x * scale, x.shape[0], "text", None)}

    inputs = [X, (X, {"b": Input((S, 6), name="b")}), 2.0]
    inputs[1] = (Input((S, 6), name="a"), {"b": Input((S, 6), name="b")})
    model = trtnn.compile(forward, inputs=inputs, backend="reference")
    x, a, b = (torch.randn(3, 6) for _ in range(3))
    result = model(x, (a, {"b": b}), 2.0)
    torch.testing.assert_close(result["sum"], a + b)
    torch.testing.assert_close(result["rest"][0], x * 2)
    assert result["rest"][1:] == (3, "text", None)


def test_zero_one_rule() -> None:
    dim = Dim("n", 1, 4, 8)
    same = trtnn.compile(
        lambda x: x.sum(0) if x.shape[0] > 1 else x[0],
        inputs=[Input((dim, 3))],
        backend="reference",
    )
    assert len(same.graph.assumptions) == 1
    x = torch.randn(1, 3)
    torch.testing.assert_close(same(x), x[0])
    with pytest.raises(TraceError, match="something else where n is 1"):
        trtnn.compile(
            lambda x: x + 1 if x.shape[0] > 1 else x,
            inputs=[Input((dim, 3))],
            backend="reference",
        )


def test_training_names_the_submodule() -> None:
    class Net(trtnn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.drop = torch.nn.Dropout(0.5)

        def forward(self, x: torch.Tensor) -> Any:
            return self.drop(x)

    with pytest.raises(TraceError, match="drop") as caught:
        trace(Net(), [X])
    assert ".eval()" in str(caught.value)
    assert trace(Net().eval(), [X])


def test_a_tensor_of_an_ended_trace_is_refused() -> None:
    kept = []
    trace(lambda x: kept.append(x) or x + 1, [X])
    with pytest.raises(TrtnnError, match="trace ended"):
        kept[0] + 1


def test_device_that_is_not_here() -> None:
    graph = trace(
        lambda x: x + torch.arange(6, device=x.device, dtype=x.dtype).to("cuda:0"),
        [X],
        device="cuda:0",
    )
    assert graph.check() is None


def test_unsupported_names_the_users_line() -> None:
    with pytest.raises(UnsupportedError) as caught:
        trace(lambda x: torch.fft.fft(x), [X])  # <- here
    assert "# <- here" in str(caught.value)
