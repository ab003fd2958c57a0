"""A model compiled for a double of TensorRT, called as users call it."""

from __future__ import annotations

from typing import Any

import torch

import trtnn
from tests import double
from trtnn.compiled import CompiledModule
from trtnn.compiler import optimize
from trtnn.engine.builder import build
from trtnn.options import BuildOptions
from trtnn.run.runner import Runner
from trtnn.tracing.signature import _parameters, declare
from trtnn.trt.library import TensorRT


def on_double(
    version: Any,
    function: Any,
    inputs: Any,
    runner: Any = Runner,
    *,
    options: BuildOptions | None = None,
    max_contexts: int = 4,
    **how: Any,
) -> tuple[CompiledModule, Any]:
    """Return the model, and the runner that it calls; ``how`` it runs.

    Args:
        version: Of the double, or a double itself.
    """
    library = TensorRT(double.load(version) if isinstance(version, str) else version)
    traced = trtnn.trace(function, inputs)
    graph = optimize(traced, library)
    engine = build(graph, library, options or BuildOptions())
    runs = runner(engine, graph.boundary(), torch.device("cpu"), "always", max_contexts, **how)
    signature = declare(function, inputs)
    return CompiledModule(traced, signature, _parameters(function), runs, engine), runs
