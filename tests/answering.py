"""Engines of a double that answer: with what PyTorch makes of their graph, or of a faulty one."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch

from tests import double
from trtnn import compiler
from trtnn.engine.engine import Engine
from trtnn.graph.graph import Graph
from trtnn.graph.interpreter import run
from trtnn.run import verification

DTYPES = {
    "FLOAT": torch.float32,
    "HALF": torch.float16,
    "BF16": torch.bfloat16,
    "INT32": torch.int32,
    "INT64": torch.int64,
    "BOOL": torch.bool,
}
Fault = Callable[[Graph], Graph]


def read(pointer: int, shape: tuple[int, ...], kind: Any) -> torch.Tensor:
    """Return a copy of what lies at an address."""
    dtype = DTYPES[kind.name]
    size = torch.Size(shape).numel() * dtype.itemsize
    if not size:
        return torch.empty(shape, dtype=dtype)
    return torch.frombuffer(bytearray(ctypes.string_at(pointer, size)), dtype=dtype).view(shape)


class Answers:
    """What a double computes: a graph, as it was lowered, on PyTorch."""

    def __init__(self, graph: Graph, debug: Sequence[str] = ()) -> None:
        self.graph, self.calls = graph, 0
        shown = len(graph.outputs) - len(debug)  # of the others the engine tells while it runs
        self.names = [*(f"output_{i}" for i in range(shown)), *debug]

    def compute(self, given: list[Any]) -> list[torch.Tensor]:
        """Return the graph's outputs."""
        count = len(self.graph.inputs)
        tensors, hosts = given[:count], given[count:]
        return run(self.graph, tensors, None, None, hosts, torch.device("cpu"))[0]

    def __call__(self, context: Any, tensors: dict[str, Any]) -> dict[str, Any]:
        self.calls += 1
        graph = self.graph
        given = [read(*tensors[v.name]).to(v.spec.dtype) for v in graph.inputs]
        hosts = [int(read(*tensors[name])) for name in graph.hosts]
        outputs = self.compute([*given, *hosts])
        answers = {}
        for name, tensor in zip(self.names, outputs, strict=True):
            kind = DTYPES[tensors[name][2].name] if name in tensors else tensor.dtype
            result = tensor.detach().to(kind).contiguous()
            answers[name] = result.view(torch.int16) if result.dtype.itemsize == 2 else result
        return {name: result.numpy() for name, result in answers.items()}


def let_answer(
    monkeypatch: pytest.MonkeyPatch, fault: Fault = lambda graph: graph
) -> list[Answers]:
    """Let engines that ``compile`` builds answer, and be verified, without a GPU.

    Returns:
        What answers, an entry for each engine that is built.
    """
    build, made = compiler.build_engine, []

    def built(graph: Graph, *args: Any, **how: Any) -> Engine:
        engine = build(graph, *args, **how)
        made.append(Answers(fault(graph), engine.debug))
        double.on_execute(engine.handle, made[-1])
        return engine

    monkeypatch.setattr(compiler, "build_engine", built)
    monkeypatch.setattr(verification, "why_not", lambda *_: "")
    return made
