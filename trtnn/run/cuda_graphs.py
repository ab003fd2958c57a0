"""One CUDA graph: an engine's work for one combination of shapes, on memory that stays."""

from __future__ import annotations

import contextlib
import itertools
import sys
import threading
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

import torch

from trtnn.errors import StreamError
from trtnn.run.contexts import Context, immortal
from trtnn.run.streams import Streams

_one_at_a_time = threading.Lock()  # PyTorch's allocator follows one capture well
_uses = itertools.count()


class Captured:
    """A captured ``execute_async_v3`` on a context and on memory of its own.

    The context runs once before the capture, and the first replay must give the same bits.

    Args:
        context: Has its shapes and addresses; nobody else uses it.
        inputs: The memory that the engine reads.
        results: The memory that it writes.

    Attributes:
        used: Grows from one use of any graph to the next.

    Raises:
        StreamError: TensorRT cannot be captured here, or the replay gave something else.
    """

    def __init__(
        self,
        context: Context,
        streams: Streams,
        inputs: Sequence[torch.Tensor],
        results: Sequence[torch.Tensor],
    ) -> None:
        self.streams, self.inputs, self.results = streams, inputs, results
        self.lock = threading.Lock()
        self.stream: int | None = None  # that may still be running it
        self.context: Context | None = context
        self.used = next(_uses)
        with _one_at_a_time:
            self.replay: Callable[[], None] | None = record(context, streams, results)

    def run(self, inputs: Sequence[torch.Tensor], results: Sequence[torch.Tensor]) -> bool:
        """Copy the inputs in, replay, and copy the outputs out, on the current stream.

        Returns:
            False, with nothing done, where the graph was given up in the meantime.
        """
        with self.lock:
            replay, streams = self.replay, self.streams
            if replay is None:
                return False
            number = streams.number()
            if number != self.stream:
                if self.stream is not None:
                    streams.settle(self.stream)
                self.stream = number
            for own, given in zip(self.inputs, inputs, strict=True):
                own.copy_(given.detach() if given.requires_grad else given)
                streams.keep(given, number)
            replay()
            for result, own in zip(results, self.results, strict=True):
                result.copy_(own)
            self.used = next(_uses)
        return True

    def __del__(self) -> None:
        # Its memory may be reused from here on.
        if getattr(self, "stream", None) is not None and not sys.is_finalizing():
            self.streams.settle(self.stream)  # type: ignore[arg-type]

    def release(self) -> None:
        """Give context and graph up, once nobody replays it."""
        with self.lock:
            if self.stream is not None:
                self.streams.settle(self.stream)
            self.replay = self.context = None
            self.inputs = self.results = ()

    def renew(self) -> None:
        """Do nothing: the next call captures another."""

    rest = renew

    def abandon(self) -> None:
        """Leave it to the parent process; another thread may have held the lock."""
        for thing in (self.replay, self.context):
            immortal(thing)
        self.lock, self.replay, self.stream = threading.Lock(), None, None


def record(
    context: Context, streams: Streams, results: Sequence[torch.Tensor]
) -> Callable[[], None]:
    """Return what replays one run of a context.

    Raises:
        StreamError: TensorRT or CUDA refuses, or the first replay differs from the plain run.
    """
    side: Any = torch.cuda.Stream(streams.device)  # type: ignore[no-untyped-call]
    side.wait_stream(torch.cuda.current_stream(streams.device))
    with torch.cuda.stream(side):
        if not context.enqueue(side.cuda_stream):
            raise StreamError("TensorRT failed to run before the capture", search=False)
        side.synchronize()
        if not context.capturable(side.cuda_stream):
            raise StreamError("the engine says that it cannot be captured", search=False)
        expected = [_bits(result).clone() for result in results]
        pool = _pool(streams.device)
        try:
            graph = _capture(context, side.cuda_stream, pool)
        except BaseException:
            # PyTorch goes on recording into the pool of a capture that broke. It would refuse the
            # next one there, and give no memory back that several streams used.
            _pool.cache_clear()
            with contextlib.suppress(RuntimeError):
                torch._C._cuda_endAllocateToPool(streams.index, pool)
            raise
        for result in results:
            result.zero_()
        graph.replay()
        side.synchronize()
        for result, bits in zip(results, expected, strict=True):
            if not torch.equal(_bits(result), bits):
                raise StreamError("a replay gives other results than the plain run", search=False)
    # The base class's, without a Python function around it.
    replay: Callable[[], None] = super(torch.cuda.CUDAGraph, graph).replay
    return replay


@lru_cache
def _pool(device: torch.device) -> Any:
    """Return the pool of PyTorch's allocator that all captures on a device name.

    They allocate nothing. Without it each would have a pool of its own, which stays behind, with
    48 KiB of the host, until somebody calls ``torch.cuda.empty_cache()``. A pool lives as long as
    a graph that has it, so one that does nothing is kept for ever.
    """
    cell, graph = torch.zeros(1, device=device), torch.cuda.CUDAGraph()
    graph.capture_begin(capture_error_mode="thread_local")
    try:
        cell.zero_()  # PyTorch warns of an empty graph
    finally:
        graph.capture_end()
    immortal(graph)
    return graph.pool()


def _capture(context: Context, stream: int, pool: Any) -> Any:
    graph = torch.cuda.CUDAGraph()
    done, cause = False, None
    try:
        graph.capture_begin(pool=pool, capture_error_mode="thread_local")
        done = context.enqueue(stream)
    finally:
        try:
            graph.capture_end()
        except RuntimeError as error:  # a refusal breaks the capture, which PyTorch says here
            cause = error
    if not done or cause is not None:
        raise StreamError(
            f"TensorRT refuses to be captured for these shapes ({cause or 'no reason given'})",
            search=False,
        )
    return graph


def _bits(tensor: torch.Tensor) -> torch.Tensor:
    """Return the bytes of a tensor: equal NaNs are equal there."""
    return tensor.reshape(-1).view(torch.uint8)
