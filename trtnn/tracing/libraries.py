"""Functions of torchvision's that a trace runs in another form: those whose sizes data decide."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import wraps
from typing import Any

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
METHODS: dict[tuple[str, str], Callable[..., Any]] = {
    ("torchvision.models.detection.ssd", "SSD"): detectors.single_shot,
    ("torchvision.models.detection.retinanet", "RetinaNet"): detectors.by_level,
}
"""What stands for ``postprocess_detections`` of a class."""


@contextmanager
def restated() -> Iterator[None]:
    """Let these functions have our meaning in the trace of a thread, and their own elsewhere."""
    with ExitStack() as stack:
        for (home, name), meaning in FUNCTIONS.items():
            _restate(stack, sys.modules.get(home), name, meaning)
        for (home, kind), meaning in METHODS.items():
            owner = getattr(sys.modules.get(home), kind, None)
            _restate(stack, owner, "postprocess_detections", meaning)
        yield


def _restate(stack: ExitStack, home: Any, name: str, meaning: Callable[..., Any]) -> None:
    own = getattr(home, name, None)
    if own is None:
        return

    @wraps(own)
    def function(*args: Any, **named: Any) -> Any:
        return (own if active_recorder() is None else meaning)(*args, **named)

    stack.enter_context(replaced(home, name, function))
