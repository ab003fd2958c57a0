"""What plugins meet: precisions, branches and loops, verification, ``check``."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch

import trtnn
from tests.ops.test_ops import check_lowering
from tests.rows.plugins import gelu, gelu_of
from trtnn.errors import VerifyWarning
from trtnn.graph.graph import Graph
from trtnn.ops.plugins import Plugin
from trtnn.run import verification
from trtnn.run.subject import Subject

BATCH = trtnn.Dim("batch", 1, 2, 4)
INPUT = trtnn.Input((BATCH, 2, 3))


class Net(torch.nn.Module):
    """A plugin for float32 between layers that 16 bits suit."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.linear, self.gelu = torch.nn.Linear(3, 3), gelu_of(0)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.linear(self.gelu(self.linear(x)))


def test_a_precision_leaves_a_plugin_its_types() -> None:
    net, x = Net().eval(), torch.randn(2, 2, 3)
    model = trtnn.compile(net, inputs=[INPUT], backend="reference", precision="fp16")
    graph: Any = model.graph
    (node,) = (node for node in graph.nodes if isinstance(node.op, Plugin))
    assert [v.spec.dtype for v in (*node.inputs, *node.outputs)] == [torch.float32] * 2
    assert any(v.spec.dtype == torch.float16 for v in graph.values())
    for version in ("8.6", "11"):  # where the double asks for its types to be told
        check_lowering(graph, version, list(graph.dims))
    assert trtnn.check(model, x).passed


def test_plugins_stand_in_branches_and_loops() -> None:
    function = gelu_of(0)

    def forward(x: torch.Tensor) -> Any:
        def step(carry: torch.Tensor, row: torch.Tensor) -> Any:
            after = function(carry + row)
            return after, trtnn.cond(after.sum() > 0, lambda: function(after), lambda: after * 2)

        return trtnn.scan(step, x[0], x)

    x = torch.randn(3, 2, 3)
    graph = trtnn.trace(forward, [INPUT])
    model = trtnn.compile(forward, inputs=[INPUT], backend="reference")
    for one, other in zip(model(x), forward(x), strict=True):
        torch.testing.assert_close(one, other)
    for version in ("8.6", "11"):
        check_lowering(graph, version, list(graph.dims))


def test_parameters_alone_are_given_to_the_plugin_too() -> None:
    weight = torch.nn.Parameter(torch.randn(2, 3))
    graph: Graph = trtnn.trace(lambda x: x + gelu_of(0)(weight), [INPUT])
    assert any(isinstance(node.op, Plugin) for node in graph.nodes)
    model = trtnn.compile(lambda x: x + gelu_of(0)(weight), inputs=[INPUT], backend="reference")
    torch.testing.assert_close(model(torch.zeros(1, 2, 3))[0], gelu(weight.detach()))


def test_nothing_is_verified_without_a_reference(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verification, "why_not", lambda *_: "")
    alone = trtnn.plugin("Mine", infer=torch.empty_like)
    graph = trtnn.trace(lambda x: alone(x) * 2, [INPUT])
    engine: Any = SimpleNamespace(library=None)
    subject = Subject(graph, graph, torch.device("cpu"), tf32=True)
    with pytest.warns(VerifyWarning, match="plugin Mine version 1 has no reference=: nothing to h"):
        found = verification.verify(engine, subject)
    assert not found
