"""One function with conditions and loops, held to eager PyTorch and taken by all builders."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch

import trtnn
from tests.ops.test_ops import VERSIONS, check_lowering
from tests.real_builder import ABSENT, build
from trtnn.graph.graph import Graph
from trtnn.graph.interpreter import run
from trtnn.tree import flatten


def prove(
    function: Callable[..., Any],
    inputs: Sequence[trtnn.Input],
    calls: Sequence[Sequence[torch.Tensor]],
    *,
    eager: Callable[..., Any] | None = None,
    versions: Sequence[str] = VERSIONS,
    tolerance: float = 1e-6,
    real: bool = True,
) -> Graph:
    """Trace ``function``, hold it to eager on each call, lower it and build it; return its graph.

    Args:
        eager: What eager PyTorch runs instead, where the function itself takes too long there.
        real: Whether the real builder takes it.
    """
    graph = trtnn.trace(function, list(inputs))
    graph.check()
    for call in calls:
        with torch.no_grad():
            wanted, _ = flatten((eager or function)(*(x.clone() for x in call)))
        given, _ = run(graph, [x.clone() for x in call])
        found = [given[leaf] for leaf in graph.leaves]
        assert len(found) == len(wanted)
        for one, other in zip(found, wanted, strict=True):
            assert one.shape == other.shape and one.dtype == other.dtype
            torch.testing.assert_close(one, other, rtol=tolerance, atol=tolerance)
    for version in versions:
        check_lowering(graph, version, list(graph.dims))
    if not ABSENT and real:
        build(graph)
    return graph
