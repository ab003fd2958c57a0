"""Parts of graphs: what each gives is what the whole had there."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import pytest
import torch

import trtnn
from tests.zoo import MODELS, build_lively
from trtnn.graph.graph import Graph
from trtnn.graph.interpreter import run
from trtnn.run.rounding import own
from trtnn.tools.cutting import Cutter
from trtnn.tools.inspection import kept

CPU = torch.device("cpu")


def cutter_of(
    graph: Graph, inputs: Sequence[torch.Tensor], hosts: Sequence[int] = (), *, fixed: bool = False
) -> Cutter:
    values = kept(graph, inputs, hosts, CPU, own(CPU, tf32=False))
    return Cutter(graph, values, hosts, fixed=fixed)


def require_same(cutter: Cutter, places: Sequence[int]) -> None:
    """Run a part, and see that it gives what the whole had."""
    part = cutter.part(places)
    assert part is not None
    part.graph.check()
    closed = [cutter.graph.nodes[i] for i in sorted(cutter._closed(places))]
    outputs = cutter._outputs(
        closed, {v for n in closed for v in n.outputs}, cutter._closed(places)
    )
    found = run(part.graph, part.inputs, None, None, part.hosts, CPU)[0]
    for value, tensor in zip(outputs, found, strict=True):
        assert torch.equal(tensor, cutter.values[value])


@pytest.mark.parametrize("name", list(MODELS["small"])[:5])
def test_any_nodes_of_a_network_are_a_part(name: str) -> None:
    model, generator = MODELS["small"][name], random.Random(0)
    inputs = model.inputs(2, 1)
    cutter = cutter_of(trtnn.trace(build_lively(model), list(inputs)), inputs)
    every = [i for i, n in enumerate(cutter.graph.nodes) if cutter.moving & set(n.outputs)]
    for count in (1, 1, 2, 5, len(every) // 2, len(every)):
        require_same(cutter, generator.sample(every, count))


def grown(x: torch.Tensor, n: int) -> torch.Tensor:
    y = torch.cat([x, x * 2]) + torch.arange(x.shape[0] * 2)[:, None]
    return y.repeat(1, n).sum(1).softmax(0)


@pytest.mark.parametrize("fixed", [True, False])
def test_sizes_are_the_calls_or_stay_as_they_are(fixed: bool) -> None:
    batch, times = trtnn.Dim("b", 1, 4, 16), trtnn.Dim("n", 1, 2, 2)
    declared = [trtnn.Input((batch, 3)), trtnn.Input(times, host=True)]
    graph = trtnn.trace(grown, declared)
    cutter = cutter_of(graph, [torch.randn(5, 3)], [2], fixed=fixed)
    for place, node in enumerate(graph.nodes):
        if cutter.moving & set(node.outputs):
            require_same(cutter, [place])
            part = cutter.part([place])
            assert part is not None and (not fixed or not part.graph.dims)
    whole = cutter.part(range(len(graph.nodes)))
    assert whole is not None and len(whole.graph.dims) == (0 if fixed else 2)
    assert dict(whole.graph.hosts) == ({} if fixed else {"n": times})


def test_a_size_that_no_input_tells_becomes_a_host_input() -> None:
    batch = trtnn.Dim("b", 1, 4, 16)
    graph = trtnn.trace(
        lambda x: (x.reshape(-1) * 2).reshape(x.shape[0], 3), [trtnn.Input((batch, 3))]
    )
    cutter = cutter_of(graph, [torch.randn(5, 3)])
    last = len(graph.nodes) - 1
    require_same(cutter, [last])
    part = cutter.part([last])
    assert part is not None and part.hosts == (5,) and list(part.graph.hosts) == ["b"]


def test_a_size_that_depends_on_data_is_the_calls_where_it_is_not_made() -> None:
    x = torch.tensor([1.0, -1.0, 2.0])
    cutter = cutter_of(trtnn.trace(lambda x: x[x > 0] * 2 + 1, [x]), [x])
    names = [node.op.name for node in cutter.graph.nodes]
    for places in ([len(names) - 1], range(names.index("NonZero"), len(names))):
        require_same(cutter, list(places))
    part = cutter.part([len(names) - 1])
    assert part is not None and part.graph.inputs[0].spec.shape == (2,)


def test_what_follows_from_constants_alone_is_never_an_input() -> None:
    conv = torch.nn.Conv2d(16, 16, 3).eval()
    x = torch.randn(2, 16, 8, 8)
    graph = trtnn.compile(trtnn.quantize(conv, [(x,)]), inputs=[x], backend="reference").graph
    assert isinstance(graph, Graph)
    cutter = cutter_of(graph, [x])
    names = [node.op.name for node in cutter.graph.nodes]
    part = cutter.part([names.index("Convolution")])
    assert part is not None and len(part.inputs) == 1
    assert sum(n.op.name == "QuantizeDequantize" for n in part.graph.nodes) == 1
    weights = [i for i, n in enumerate(cutter.graph.nodes) if not cutter.moving & set(n.outputs)]
    assert weights and cutter.part(weights) is None


def test_keys_of_the_modules_state_stay() -> None:
    net = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4)).eval()
    x = torch.randn(1, 3, 8, 8)
    graph = trtnn.compile(net, inputs=[x], precision="fp16", backend="reference").graph
    assert isinstance(graph, Graph) and any(c.key is None for c in graph.constants.values())
    part = cutter_of(graph, [x]).part(range(len(graph.nodes)))
    assert part is not None
    keys: Any = [constant.key for constant in part.graph.constants.values()]
    assert None not in keys and {key.partition(".")[0] for key in keys} == {"0"}
