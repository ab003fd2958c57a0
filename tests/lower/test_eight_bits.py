"""Integers of 8 bits as int32: the layers, computed one by one, give what PyTorch gives."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import trtnn
from tests import double
from tests.lower.computing import BYTES, Exact, Network
from tests.ops.test_ops import dims_of
from tests.rows import Row, prepare
from tests.rows.eight_bits import ROWS
from trtnn.compiler import optimize
from trtnn.lower.layers import ITensor
from trtnn.lower.network import Net, lower
from trtnn.sizes.dims import evaluate
from trtnn.tree import flatten

FLOATS = ("causal",)  # layers that integers do not go through
COMPUTED = [
    row
    for row in ROWS
    if row.raises is None and "11" not in row.unsupported and row.name not in FLOATS
]


def in_range(net: Net, tensor: ITensor) -> None:
    """Check the invariant: whatever is said to be of 8 bits holds what those can hold."""
    value = tensor.handle.value
    if tensor.dtype in BYTES and value.dtype not in BYTES:
        limits = torch.iinfo(tensor.dtype)
        assert value.dtype == torch.int32
        assert bool(((value >= limits.min) & (value <= limits.max)).all()), net.node


@pytest.mark.parametrize("row", COMPUTED, ids=[f"{i}-{row.name}" for i, row in enumerate(COMPUTED)])
def test_layers_compute_what_pytorch_does(row: Row, monkeypatch: pytest.MonkeyPatch) -> None:
    inputs, call = prepare(row)
    sizes = {d.name: d.max for d in dims_of(inputs)}
    shapes = [tuple(evaluate(s, sizes) for s in x.shape) for x in inputs]
    graph = trtnn.trace(
        lambda *tensors: call(row.function, tensors),
        [trtnn.Input(s, x.dtype) for s, x in zip(shapes, inputs, strict=True)],
    )
    generator = torch.Generator().manual_seed(5)
    given = [x.make(sizes, generator) for x in inputs]
    original = Net.done

    def done(net: Net, *how: Any) -> ITensor:
        made = original(net, *how)
        if net.node is not None:
            in_range(net, made)
        return made

    monkeypatch.setattr(Net, "done", done)
    library = Exact(double.load("11"))
    network = Network(library, [x.clone() for x in given])
    lower(optimize(graph, library), library, network)
    wanted = [y for y in flatten(call(row.function, given))[0] if isinstance(y, torch.Tensor)]
    assert len(network.outputs) == len(wanted)
    for output, result in zip(network.outputs, wanted, strict=True):
        assert output.value.dtype == result.dtype
        torch.testing.assert_close(output.value, result)
