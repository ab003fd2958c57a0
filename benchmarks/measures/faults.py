"""``python -m benchmarks.measures.faults``: which planted faults ``verify`` finds, on a CPU.

An engine is emulated by its lowered graph in its own types: half as PyTorch computes it, TF32 with
operands that are cut. A fault is planted in some places of each kind; ``clean`` has none.
"""

from __future__ import annotations

import json
import sys
import time
import warnings
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

import trtnn
from benchmarks.subjects.faults import FAULTS, Fault, Tensors
from benchmarks.subjects.networks import FLOATS, network
from tests import double
from tests.zoo import MODELS
from trtnn.compiler import optimize
from trtnn.errors import WrongEngineError
from trtnn.graph.graph import Graph
from trtnn.graph.interpreter import run
from trtnn.run.rounding import own, without_tf32
from trtnn.run.subject import Subject
from trtnn.run.verification import Examination
from trtnn.trt.library import TensorRT

PLACES = 4  # of each kind in each network
CPU = torch.device("cpu")
NETWORKS = ("mlp", "bert_encoder", "resnet18", "mobilenet_v3_small", "vit_b_16", "convnext_tiny")


class Parts(nn.Module):
    """A network whose first output is returned in four parts."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, *given: torch.Tensor) -> Any:
        found = self.net(*given)
        return (found[0] if isinstance(found, tuple) else found).chunk(4, -1)


class Repeated(Examination):
    """An examination that shares the reference's results with others of the same subject."""

    def __init__(self, *given: Any, known: dict[Any, Any], **named: Any) -> None:
        super().__init__(*given, **named)
        self.known = known

    def _exact(self, inputs: Sequence[torch.Tensor], hosts: Sequence[int]) -> Any:
        key = "exact", *(float(tensor.double().sum()) for tensor in inputs)
        if key not in self.known:
            self.known[key] = super()._exact(inputs, hosts)
        return self.known[key]

    def _rounded(self, inputs: Sequence[torch.Tensor], hosts: Sequence[int]) -> Any:
        key = "rounded", *(float(tensor.double().sum()) for tensor in inputs)
        if key not in self.known:
            self.known[key] = super()._rounded(inputs, hosts)
        return self.known[key]


def subject_of(net: nn.Module, name: str, dtype: str) -> Subject:
    """Return what an engine of a network of the zoo is held against; of a batch of 2."""
    given = [
        trtnn.Input(tuple(t.shape), FLOATS[dtype] if t.is_floating_point() else t.dtype, f"x{i}")
        for i, t in enumerate(MODELS["small"][name].inputs(2, 1))
    ]
    source = trtnn.trace(net.to(FLOATS[dtype]), given)
    lowered = optimize(source, TensorRT(double.load("11")))
    return Subject(source, lowered, CPU, tf32=dtype == "tf32")


def judge(subject: Subject, fault: Fault, known: dict[Any, Any] | None = None) -> str:
    """Return what ``verify`` makes of a wrong engine: refused, warned of, passed or vague."""

    def runs(inputs: Sequence[torch.Tensor], hosts: Sequence[int]) -> Tensors:
        compute = own(CPU, tf32=subject.tf32)
        changed = fault.before(list(inputs))
        return fault.after(run(fault.graph, changed, None, None, hosts, CPU, compute=compute)[0])

    constants = [{v: c.tensor.detach() for v, c in g.constants.items()} for g in graphs(subject)]
    examination = Repeated(
        subject, constants, runs, refits=False, known={} if known is None else known
    )
    try:
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            examination.run(time.perf_counter())
            found = examination.result()
    except WrongEngineError:
        return "refused"
    return "warned" if said else "passed" if found else "vague"


def graphs(subject: Subject) -> tuple[Graph, Graph]:
    """Return the graph as it was traced, and as it was lowered."""
    return subject.source, subject.lowered


def some(faults: Sequence[Fault], count: int = PLACES) -> list[Fault]:
    """Return faults that are spread over a network."""
    step = max(1, (len(faults) + count - 1) // count)
    return list(faults[::step])


def measure(names: Sequence[str] = NETWORKS, dtypes: Sequence[str] = tuple(FLOATS)) -> Any:
    """Return, by kind of fault and type, how many were planted, refused, warned of, passed."""
    table: dict[str, dict[str, dict[str, Any]]] = {}
    for name in names:
        for dtype in dtypes:
            for parts in (False, True):
                net = network(name, "small")
                subject = subject_of(Parts(net) if parts else net, name, dtype)
                known: dict[Any, Any] = {}
                kinds = ["one output of four wrong"] if parts else ["clean", *FAULTS]
                for kind in kinds:
                    planted = (
                        [Fault("nowhere", subject.lowered)]
                        if kind == "clean"
                        else some(list(FAULTS[kind](subject.lowered)))
                    )
                    row = table.setdefault(kind, {}).setdefault(dtype, {"planted": 0})
                    for fault in planted:
                        verdict = judge(subject, fault, known)
                        row["planted"] += 1
                        row[verdict] = row.get(verdict, 0) + 1
                        print(name, dtype, kind, fault.place, verdict, file=sys.stderr)
                net.float()
    return table


if __name__ == "__main__":
    start = time.perf_counter()
    with without_tf32():
        result = measure(sys.argv[1:] or NETWORKS)
    facts = {"networks": sys.argv[1:] or NETWORKS, "seconds": round(time.perf_counter() - start)}
    print(json.dumps({**facts, "torch": str(torch.__version__), "found": result}, indent=1))
