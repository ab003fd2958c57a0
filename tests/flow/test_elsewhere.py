"""What else meets graphs in ops: files, keys, refits, float64, ``check`` and quantization."""

from __future__ import annotations

import json
from typing import Any

import pytest
import torch

import trtnn
from trtnn.errors import UnsupportedError
from trtnn.graph.graph import Graph
from trtnn.graph.interpreter import run
from trtnn.saved.graphs import describe_graph, restore_graph

BATCH, STEPS = trtnn.Dim("batch", 1, 2, 4), trtnn.Dim("steps", 1, 3, 6)


class Both(torch.nn.Module):
    """A loop with a condition in each step, and a layer of its own."""

    def __init__(self, factor: float = 2.0) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.linear, self.factor = torch.nn.Linear(4, 4), factor

    def forward(self, x: torch.Tensor) -> Any:
        def step(carry: torch.Tensor, row: torch.Tensor) -> Any:
            after = torch.tanh(self.linear(carry) + row)
            more = trtnn.cond(
                after.sum() > 0, lambda: after * self.factor, lambda: self.linear(after)
            )
            return more, more[:, :2]

        return trtnn.scan(step, x[:, 0], x, dim=1)


INPUT = trtnn.Input((BATCH, STEPS, 4))


def graph_of(module: torch.nn.Module) -> Graph:
    return trtnn.trace(module.eval(), [INPUT])


def test_a_graph_in_an_op_is_written_and_read_back() -> None:
    graph, arrays = graph_of(Both()), dict[str, torch.Tensor]()

    def keep(tensor: torch.Tensor) -> str:
        arrays[f"a{len(arrays)}"] = tensor.detach().reshape(-1)
        return f"a{len(arrays) - 1}"

    written = json.loads(json.dumps(describe_graph(graph, keep), allow_nan=False))
    read = restore_graph(written, arrays.__getitem__)
    x = torch.randn(2, 5, 4)
    for one, other in zip(run(graph, [x])[0], run(read, [x])[0], strict=True):
        assert torch.equal(one, other)


def test_the_hash_sees_what_is_inside() -> None:
    assert graph_of(Both()).hash() == graph_of(Both()).hash()
    assert graph_of(Both()).hash() != graph_of(Both(3.0)).hash()


def test_float64_inside_is_refused_at_its_line() -> None:
    def function(x: torch.Tensor) -> torch.Tensor:
        return trtnn.cond(x.sum() > 0, lambda: x.double().exp().float(), lambda: x)  # <- here

    with pytest.raises(UnsupportedError, match=r"TensorRT has no float64, which .* in Cond") as e:
        trtnn.compile(function, inputs=[trtnn.Input((3,))], backend="reference")
    assert "# <- here" in str(e.value)


def test_check_compares_what_is_around() -> None:
    module = Both().eval()
    model = trtnn.compile(module, inputs=[INPUT], backend="reference", precision="fp16")
    report = trtnn.check(model, torch.randn(2, 3, 4))
    assert report.passed, str(report)


def test_a_loop_is_quantized_around_and_not_inside() -> None:
    class Around(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.both = torch.nn.Linear(4, 4), Both()

        def forward(self, x: torch.Tensor) -> Any:
            return self.both(torch.relu(self.first(x)))[0]

    module = Around().eval()
    data = [torch.randn(2, 3, 4) for _ in range(4)]
    quantized = trtnn.quantize(module, data)
    model = trtnn.compile(quantized, inputs=[INPUT], backend="reference")
    assert model(data[0]).shape == module(data[0]).shape
