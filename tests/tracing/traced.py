"""How a row of tracing is judged: PyTorch is the meaning, and a refusal names the user's line."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import pytest
import torch

from trtnn import Dim, Input, TrtnnError, trace
from trtnn.graph.graph import Graph
from trtnn.graph.interpreter import run
from trtnn.sizes.dims import evaluate
from trtnn.tree import flatten

S = Dim("seq", 2, 4, 8)
X = Input((S, 6))


def check(function: Callable[..., Any], *inputs: Input, size: int = 5) -> Graph:
    """Trace, run at one size of ``S``, and compare each tensor with PyTorch's."""
    graph = trace(function, list(inputs) or [X])
    graph.check()
    generator = torch.Generator().manual_seed(1)
    tensors = [
        torch.randn([evaluate(s, {"seq": size}) for s in v.spec.shape], generator=generator)
        for v in graph.inputs
    ]
    given = [t.clone() for t in tensors]
    outputs, bindings = run(graph, tensors)
    assert all(map(torch.equal, tensors, given)), "an input was written"
    leaves, _ = flatten(function(*given))
    for leaf, wanted in zip(graph.leaves, leaves, strict=True):
        if isinstance(wanted, torch.Tensor):
            torch.testing.assert_close(outputs[leaf], wanted.detach())
        elif isinstance(wanted, int) and not isinstance(wanted, bool):
            assert evaluate(leaf, bindings) == wanted
    return graph


def refused(function: Callable[..., Any], text: str, *inputs: Input) -> TrtnnError:
    """Assert that a trace is refused, in these words and at a line of ``function``."""
    with pytest.raises(TrtnnError) as caught:
        trace(function, list(inputs) or [X])
    assert text in str(caught.value)
    body = function.forward if isinstance(function, torch.nn.Module) else function
    lines, first = inspect.getsourcelines(body)
    assert caught.value.where is not None
    assert first <= caught.value.where.line < first + len(lines)
    assert caught.value.where.file == inspect.getsourcefile(body)
    return caught.value
