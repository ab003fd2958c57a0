"""CUDA streams in a call: which is current, what it may be asked, how to wait for it."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch

from trtnn.errors import StreamError


class Streams:
    """The streams of one device; on a CPU there are none, and nothing waits.

    Attributes:
        current: Returns the current stream of ``index`` as a number, 0 for the legacy default
            stream; None where there are no streams. To make the object takes PyTorch 10 us.
        waits: Whether ``execute_v2`` waits for the legacy default stream by itself.
    """

    def __init__(self, device: torch.device, *, waits: bool) -> None:
        self.device, self.waits = device, waits
        self.known: dict[int, torch.cuda.Stream] = {}
        self.on_cuda = on_cuda = device.type == "cuda"
        self.index = device.index or 0
        self.current: Callable[[int], int] | None = (
            torch._C._cuda_getCurrentRawStream if on_cuda else None
        )
        self.settle: Callable[[int], None] = partial(_settle, device) if on_cuda else _ignore

    def number(self) -> int:
        """Return the current stream as a number."""
        return self.current(self.index) if self.current is not None else 0

    def object(self, number: int) -> torch.cuda.Stream:
        """Return the current stream, whose number is known, as an object."""
        stream = self.known.get(number)
        if stream is None:
            stream = self.known[number] = torch.cuda.current_stream(self.device)
        return stream

    def wait(self, number: int) -> None:
        """Wait for what the current stream has produced so far.

        Raises:
            StreamError: It is being captured.
        """
        refuse_capture()
        self.object(number).synchronize()

    def wait_for_inputs(self) -> None:
        """Wait for the current stream, where ``execute_v2`` does not."""
        if self.current is not None:
            number = self.current(self.index)
            if number or not self.waits:
                self.wait(number)

    def keep(self, tensor: torch.Tensor, number: int) -> None:
        """Keep a tensor's memory, which may be another stream's, until the current one read it."""
        if self.on_cuda:
            tensor.record_stream(self.object(number))


def make_detour(enqueue: Callable[[int], bool], default: torch.cuda.Stream) -> Callable[[], bool]:
    """Return what runs ``enqueue`` in the order of the default stream, on a stream of its own.

    On the legacy default stream itself TensorRT adds synchronizations. The events are recorded
    anew in each call: a stream that waits for one waits for what it was recorded for last. PyTorch
    gives out 32 streams in turn, so somebody may have the same one: that orders their work, too,
    and fails while they capture on it.
    """
    side: Any = torch.cuda.Stream(default.device)  # type: ignore[no-untyped-call]
    number = side.cuda_stream
    events = [torch.cuda.Event(), torch.cuda.Event()]  # type: ignore[no-untyped-call]
    # The base class's methods, without a Python function around each.
    bare: list[Any] = [super(torch.cuda.Event, event) for event in events]
    before, after = bare
    record, wait, record_done, wait_done = before.record, before.wait, after.record, after.wait

    def call() -> bool:
        record(default)
        wait(side)
        try:
            return enqueue(number)
        finally:
            try:
                record_done(side)
            finally:  # an interrupt comes after the call that it fell into
                wait_done(default)

    return call


def _settle(device: torch.device, number: int) -> None:
    """Wait for all that a stream was given."""
    if number == 0:
        torch.cuda.default_stream(device).synchronize()
    else:
        torch.cuda.ExternalStream(number, device=device).synchronize()  # type: ignore[no-untyped-call]


def _ignore(number: int) -> None:
    """Wait for nothing: there are no streams."""


def refuse_capture() -> None:
    """Raise StreamError while the current stream is being captured."""
    if torch.cuda.is_current_stream_capturing():
        raise StreamError(
            "the current stream is being captured into a CUDA graph, which this call cannot be: "
            "execute_v2 waits, and the contexts of other ways to run serve other calls too",
            hint='execution="graph" captures by itself, and model.bind(...) replays without a copy',
        )
