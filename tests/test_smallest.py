"""The smallest program, on every backend: one identity layer, its plan kept in a file."""

from __future__ import annotations

import ctypes
from pathlib import Path
from typing import Any

import pytest
import torch

import trtnn
from tests import double
from trtnn.compiler import optimize
from trtnn.engine.builder import build
from trtnn.engine.engine import Engine
from trtnn.options import BuildOptions
from trtnn.run.runner import Runner
from trtnn.trt.library import TensorRT

GPU = pytest.param("tensorrt", marks=pytest.mark.gpu)
FAST = BuildOptions(builder_optimization_level=0)


class Identity(trtnn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x


def copy_through(context: Any, tensors: dict[str, Any]) -> None:
    """Stand in for the engine of the identity."""
    (source, shape, _), (target, _, _) = tensors["x"], tensors["output_0"]
    ctypes.memmove(target, source, 4 * shape[0] * shape[1] * shape[2])


def program(backend: str, plan: Path) -> tuple[Any, torch.device]:
    """Return what runs the identity on lists of tensors, from the plan's file if it is there."""
    x = trtnn.Input(((1, 3, 6), (1, 4, 7), (1, 5, 8)), name="x")
    if backend == "reference":
        model = trtnn.compile(Identity(), inputs=[x], backend="reference")
        return (lambda tensors: ([model(*tensors)], None)), torch.device("cpu")
    real = backend == "tensorrt"
    device = torch.device("cuda", 0) if real else torch.device("cpu")
    library = TensorRT() if real else TensorRT(double.load(backend))
    graph = optimize(trtnn.trace(Identity(), [x]), library)
    if not plan.exists():
        plan.write_bytes(build(graph, library, FAST).serialize())
    engine = Engine.deserialize(plan.read_bytes(), library)
    if not real:
        double.on_execute(library.trt, copy_through)
    return Runner(engine, graph, device, "always"), device


@pytest.mark.parametrize("backend", ["reference", "8.6", "10", "11", GPU])
def test_smallest_program(backend: str, tmp_path: Path) -> None:
    plan = tmp_path / "identity.plan"
    for run_number in range(2):
        assert plan.exists() == (run_number == 1 and backend != "reference")
        run, device = program(backend, plan)
        for shape in ((3, 4, 5), (6, 7, 8)):
            x = torch.randn(shape, device=device)
            (y,), _ = run([x])
            assert torch.equal(y, x) and y.data_ptr() != x.data_ptr()
        with pytest.raises(trtnn.InputError, match=r"x: size 7 of dim 0 is out of .* 1 to 6"):
            run([torch.randn(7, 7, 8, device=device)])
