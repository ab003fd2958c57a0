"""Every planted fault of the lowering is found by the strict doubles."""

from __future__ import annotations

import re

import pytest
import torch

import trtnn
from tests import double
from tests.faults import Fault
from tests.mutations import FAULTS
from tests.ops.test_ops import check_lowering
from trtnn.compiler import optimize
from trtnn.engine.builder import build
from trtnn.graph.graph import Graph
from trtnn.options import BuildOptions
from trtnn.run.runner import Runner
from trtnn.sizes.dims import evaluate
from trtnn.trt.library import TensorRT

CASES = [(fault, version) for fault in FAULTS for version in fault.found]


def check(fault: Fault, graph: Graph, version: str) -> None:
    """Lower a graph, or call its engine where the fault shows in calls only."""
    if not fault.called:
        check_lowering(graph, version, list(graph.dims))
        return
    library = TensorRT(double.load(version))
    lowered = optimize(graph, library)
    engine = build(lowered, library, BuildOptions())
    opt = {d.name: d.opt for d in graph.dims}
    shapes = [[evaluate(s, opt) for s in v.spec.shape] for v in graph.inputs]
    Runner(engine, lowered, torch.device("cpu"), "always")([torch.zeros(s) for s in shapes])


def test_there_are_twenty_at_least_and_each_has_a_name() -> None:
    assert len({fault.name for fault in FAULTS}) == len(FAULTS) >= 20


@pytest.mark.parametrize(
    ("fault", "version"), CASES, ids=[f"{fault.name}-{version}" for fault, version in CASES]
)
def test_a_planted_fault_is_found(
    fault: Fault, version: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    graph = trtnn.trace(fault.function, list(fault.inputs))
    check(fault, graph, version)
    fault.plant(monkeypatch)
    error, match = fault.found[version]
    with pytest.raises(error, match=re.escape(match)) as caught:
        check(fault, graph, version)
    assert caught.type is error
