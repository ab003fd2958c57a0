"""Graphs as plain data: read back they are the same, and what is none is refused."""

from __future__ import annotations

import json
from typing import Any

import pytest
import torch

import trtnn
from tests.ops.test_ops import traced
from tests.rows import all_rows
from tests.zoo import MODELS, build_lively
from trtnn.errors import LoadError
from trtnn.graph.graph import Graph
from trtnn.graph.interpreter import run
from trtnn.saved.graphs import describe_graph, ops_by_name, restore_graph

ROWS = {name: row for name, row in all_rows() if not row.unsupported}
STEP = 12


def written(graph: Graph) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    """Return a graph as JSON holds it, and its arrays."""
    arrays: dict[str, torch.Tensor] = {}

    def keep(tensor: torch.Tensor) -> str:
        arrays[f"a{len(arrays)}"] = tensor.detach().reshape(-1)
        return f"a{len(arrays) - 1}"

    return json.loads(json.dumps(describe_graph(graph, keep), allow_nan=False)), arrays


def again(graph: Graph) -> Graph:
    """Return a graph that was written and read, and see that it says the same."""
    found, arrays = written(graph)
    read = restore_graph(found, arrays.__getitem__)
    for constant in found["constants"]:
        constant["key"] = None
    assert written(read)[0] == found
    for before, after in zip(graph.constants.values(), read.constants.values(), strict=True):
        assert torch.equal(bits(before.tensor), bits(after.tensor)) and after.slot is None
    return read


def bits(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.detach().contiguous().reshape(-1).view(torch.uint8)


def test_rows_are_read_back() -> None:
    seen = set()
    for row in list(ROWS.values())[::STEP]:
        try:
            graph = traced(row)[0]
        except trtnn.TrtnnError:  # a row of what is refused
            continue
        again(graph)
        seen |= {node.op.name for node in graph.nodes}
    assert len(seen) > 25


@pytest.mark.parametrize("name", list(MODELS["small"])[:4])
def test_what_is_read_back_computes_the_same(name: str) -> None:
    model = MODELS["small"][name]
    module, inputs = build_lively(model), model.inputs(2, 1)
    graph = trtnn.trace(module, list(inputs))
    read = again(graph)
    for one, other in zip(run(graph, inputs)[0], run(read, inputs)[0], strict=True):
        assert torch.equal(one, other)


def test_dims_hosts_formats_and_places_are_kept() -> None:
    batch, times = trtnn.Dim("b", 1, 4, 16), trtnn.Dim("n", profiles=[(1, 2, 3), (4, 5, 6)])
    form = torch.channels_last
    declared = [
        trtnn.Input((2 * batch + 1, 3, 4, 4), name="x", memory_format=form),
        trtnn.Input(times, host=True),
    ]
    wide = trtnn.Dim("b", profiles=[(1, 4, 16), (1, 4, 16)])
    declared[0] = trtnn.Input((2 * wide + 1, 3, 4, 4), name="x", memory_format=form)
    graph = trtnn.trace(lambda x, n: x.repeat(1, n, 1, 1)[x.sum((1, 2, 3)) > 0], declared)
    read = again(graph)
    assert set(map(str, read.dims)) == {"b", "n"} and dict(read.hosts) == dict(graph.hosts)
    assert read.formats == graph.formats and "channels_last" in str(read)
    assert [n.label for n in read.nodes] == [n.label for n in graph.nodes]


def test_all_ops_have_a_name_of_their_own() -> None:
    kinds = list(ops_by_name().values())
    rooms = {kind.__module__.rpartition(".")[0] for kind in kinds}
    assert len(kinds) > 30 and rooms == {"trtnn.ops", "trtnn.flow"}


DAMAGES: dict[str, Any] = {
    "an op that there is not": lambda g: g["nodes"][0].update(op="Nothing"),
    "a field too many": lambda g: g["nodes"][0]["fields"].update(other=1),
    "an operand that comes later": lambda g: g["nodes"][0].update(inputs=[99]),
    "a shape that is none": lambda g: g["inputs"][0].update(shape=["__import__('os')"]),
    "a type that is none": lambda g: g["inputs"][0].update(dtype="load"),
    "a constant of another size": lambda g: g["constants"][0].update(shape=[7]),
    "a place that is none": lambda g: g["nodes"][0]["place"].update(line=3),
    "nothing": dict.clear,
}


@pytest.mark.parametrize("name", DAMAGES)
def test_what_is_no_graph_is_refused(name: str) -> None:
    found, arrays = written(trtnn.trace(torch.nn.Linear(3, 2), [trtnn.Input((1, 3))]))
    DAMAGES[name](found)
    with pytest.raises(LoadError):
        restore_graph(found, arrays.__getitem__)
