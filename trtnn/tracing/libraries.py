"""Functions of libraries that a trace runs in another form: those that ask data for sizes."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import wraps
from typing import Any

import torch

from trtnn.ops import detection
from trtnn.ops.op import active_recorder
from trtnn.tracing import detectors
from trtnn.tracing.uncompiled import replaced

FUNCTIONS: dict[tuple[str, str], Callable[..., Any]] = {
    ("torchvision.ops", "nms"): detection.nms,
    ("torchvision.ops", "batched_nms"): detection.batched_nms,
    ("torchvision.ops.boxes", "nms"): detection.nms,
    ("torchvision.ops.boxes", "batched_nms"): detection.batched_nms,
    ("torchvision.ops.boxes", "_batched_nms_vanilla"): detection.batched_nms,
    ("torchvision.ops.roi_align", "_roi_align"): detection.roi_align,
}


def _expected_hidden_size(self: Any, input: Any, batch_sizes: Any) -> tuple[Any, Any, Any]:
    """Stand for a method of ``RNNBase``, which asks the batch of a packed sequence for a number."""
    if batch_sizes is None:
        batch = input.size(0 if self.batch_first else 1)
    else:
        first = batch_sizes[0]
        batch = first if isinstance(first, torch.SymInt) else int(first)
    ways = 2 if self.bidirectional else 1
    return self.num_layers * ways, batch, self.proj_size or self.hidden_size


_AFTER = "postprocess_detections"
METHODS: dict[tuple[str, str, str], Callable[..., Any]] = {
    ("torch.nn.modules.rnn", "RNNBase", "get_expected_hidden_size"): _expected_hidden_size,
    ("torchvision.models.detection.ssd", "SSD", _AFTER): detectors.single_shot,
    ("torchvision.models.detection.retinanet", "RetinaNet", _AFTER): detectors.by_level,
}


@contextmanager
def restated() -> Iterator[None]:
    """Let these functions have our meaning in the trace of a thread, and their own elsewhere."""
    with ExitStack() as stack:
        for (home, name), meaning in FUNCTIONS.items():
            _restate(stack, sys.modules.get(home), name, meaning)
        for (home, kind, name), meaning in METHODS.items():
            _restate(stack, getattr(sys.modules.get(home), kind, None), name, meaning)
        yield


def _restate(stack: ExitStack, home: Any, name: str, meaning: Callable[..., Any]) -> None:
    own = getattr(home, name, None)
    if own is None:
        return

    @wraps(own)
    def function(*args: Any, **named: Any) -> Any:
        return (own if active_recorder() is None else meaning)(*args, **named)

    stack.enter_context(replaced(home, name, function))
