"""Frames: the graph that is written, and those around it, while an op's own graphs are traced."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from trtnn.errors import TraceError, UnsupportedError
from trtnn.graph.graph import Node
from trtnn.graph.tensor import Tensor, root_of


@dataclass(eq=False)
class Frame:
    """One graph that is being written.

    Attributes:
        what: The function that it is traced from, as errors say it; empty for ``forward``.
        given: The tensors that this function was given as its own.
    """

    what: str = ""
    nodes: list[Node] = field(default_factory=list)
    given: list[Any] = field(default_factory=list)


def elsewhere(frame: Any) -> TraceError:
    """Return the error for a tensor of a graph that is not written any more."""
    what = getattr(frame, "what", "") or "forward"
    return TraceError(
        f"a tensor that {what} computes was used outside of it",
        hint=f"return it from {what}: what is kept in a list or an attribute may never be computed",
    )


def require_own(recorder: Any, tensor: Tensor) -> None:
    """Refuse to write in place to what a branch or the body of a loop did not make itself.

    Raises:
        UnsupportedError: The tensor is from outside, or was given to the function.
    """
    frame, root = recorder.frame, root_of(tensor)
    if root._trtnn_frame is not frame or any(root is given for given in frame.given):
        raise outside(frame)


def outside(frame: Frame) -> UnsupportedError:
    """Return the error for a write to a tensor from outside."""
    return UnsupportedError(
        f"{frame.what} writes in place to a tensor from outside of it",
        hint="write to a copy, x = x.clone(), and return it",
    )
