"""What a context tells of the time that each layer takes on the GPU.

The functions take the ``tensorrt`` module as an argument, and ask it for facts by name.
"""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any

from trtnn.errors import BuildError


def layer_profiler(trt: ModuleType, see: Callable[[str, float], None]) -> Any:
    """Return a profiler that calls ``see`` with each layer and its milliseconds, call by call.

    Whoever runs has to hold it. ``see`` must raise nothing: it would cross into C++.
    """

    class Profiler(trt.IProfiler):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            trt.IProfiler.__init__(self)

        def report_layer_time(self, layer_name: str, ms: float) -> None:
            see(layer_name, float(ms))

    return Profiler()


def attach(trt: ModuleType, context: Any, profiler: Any, *, nvtx: bool) -> None:
    """Let a context tell a profiler of each call, and, with ``nvtx``, mark layers for other tools.

    Raises:
        BuildError: It takes no profiler.
    """
    context.profiler = profiler
    if context.profiler is None:
        raise BuildError("TensorRT took no profiler", search=False)
    context.enqueue_emits_profile = True
    if nvtx:
        context.nvtx_verbosity = trt.ProfilingVerbosity.LAYER_NAMES_ONLY
