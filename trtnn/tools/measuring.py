"""Profile one model: run it under TensorRT's profiler, and put together what is told."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from trtnn.run.profiling import Profiled
from trtnn.run.runner import Runner
from trtnn.tools.kernels import UNTOLD, Kernel, kernels_of, traced
from trtnn.tools.profiles import Profile, profile_of
from trtnn.trt.inspector import all_layers


def profiled(
    runner: Runner,
    graph: Any,
    arguments: Sequence[Any],
    repeat: int,
    *,
    kernels: bool,
    nvtx: bool,
) -> Profile:
    """Return the times of an engine's layers.

    Args:
        graph: As it was traced.
        arguments: Of a call, in order.
        repeat: How many calls are averaged.
        kernels: Whether to list what each layer launches.
        nvtx: Whether to mark layers for other tools.
    """
    launched: dict[str, list[Kernel]] = {}
    notes: list[str] = []

    def watch(call: Callable[[], Any]) -> None:
        if kernels:
            found = kernels_of(*traced(call))
            if found is None:
                notes.append(UNTOLD)
            else:
                launched.update(found)

    calls = Profiled(runner, nvtx=nvtx).run(arguments, repeat, watch)
    layers = all_layers(runner.engine.library.trt, runner.engine.handle)
    origins = {layer.name: layer.origin for layer in layers if layer.origin}
    return profile_of(calls, graph, origins, launched, notes)
