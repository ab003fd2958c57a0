"""Run an engine and time its layers: TensorRT's profiler on a context of its own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch

from trtnn.errors import BuildError
from trtnn.run.runner import Runner
from trtnn.trt.inspector import plain
from trtnn.trt.profiling import attach, layer_profiler

Told = list[tuple[str, float]]  # of one call: layer and microseconds, in order
RANGE = "trtnn"  # of a call, for Nsight Systems


class Profiled:
    """Calls of an engine whose layers are timed, one after another.

    Args:
        runner: Whose engine it is; its contexts, and calls on them, stay as they are.
        nvtx: Mark calls and layers by NVTX ranges.
    """

    def __init__(self, runner: Runner, *, nvtx: bool) -> None:
        self.runner, self.nvtx = runner, nvtx and runner.on_cuda
        self.library = runner.engine.library
        self.told: Told = []
        self.profiler = layer_profiler(self.library.trt, self._see)  # held here: TensorRT may not

    def _see(self, name: str, milliseconds: float) -> None:
        self.told.append((plain(name), 1000 * milliseconds))

    def run(self, arguments: Sequence[Any], repeat: int, watch: Callable[..., Any]) -> list[Told]:
        """Return what TensorRT told of each of ``repeat`` calls, after one that is not counted.

        Args:
            watch: Is given one more call, to be run as often as it likes.

        Raises:
            InputError: An argument does not fit.
            BuildError: TensorRT failed, or told nothing.
        """
        with self.runner.on_device(), self.runner.pool.lending():
            alone = self.runner.alone()
            for context in alone.pool.contexts:
                attach(self.library.trt, context.handle, self.profiler, nvtx=self.nvtx)

            def call() -> Told:
                self.told = []
                with self._range():
                    alone(arguments)
                return self.told

            call()
            found = [call() for _ in range(repeat)]
            watch(call)
        if not all(found):
            raise BuildError("TensorRT told its profiler nothing of the layers", search=False)
        return found

    def _range(self) -> AbstractContextManager[Any]:
        if not self.nvtx:
            return nullcontext()
        marked: AbstractContextManager[Any] = torch.cuda.nvtx.range(RANGE)
        return marked
