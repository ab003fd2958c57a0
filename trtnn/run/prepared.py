"""What a call needs to know that its input shapes decide, found once and kept."""

from __future__ import annotations

from typing import Any

import torch

from trtnn.graph.graph import Interface
from trtnn.ops.masks import depends_on_data
from trtnn.run.contexts import Context, Shapes
from trtnn.sizes.dims import Size, evaluate
from trtnn.sizes.profiles import fitting_profiles
from trtnn.sizes.solutions import bind_dims

MAX_PREPARED = 1024  # combinations of input shapes and host inputs that are remembered
Layout = tuple[tuple[int, ...], tuple[int, ...]]  # shape and strides


class Prepared:
    """What is fixed once the input shapes are: profile, output shapes, Dims, ready contexts.

    Attributes:
        homes: Where contexts with these shapes lie, by the stream that may still be running them:
            None for those whose calls have waited.
        graph_key: What its CUDA graph is known by.
        hosts: The memory of the host inputs, with the place of each among the engine's tensors.
        said: The warnings that were given.
    """

    __slots__ = ("bindings", "graph_key", "homes", "hosts", "outputs", "profile", "said", "shapes")

    def __init__(
        self,
        graph: Interface,
        shapes: Shapes,
        last: int,
        pinned: int | None,
        hosts: tuple[int, ...] = (),
    ) -> None:
        self.shapes = shapes
        self.bindings = bind_dims(graph, shapes, pinned, hosts)
        self.hosts: list[tuple[int, torch.Tensor]] = []
        fitting = fitting_profiles(graph.dims, self.bindings)
        kept = last if pinned is None else pinned
        self.profile = kept if kept in fitting else fitting[0]
        self.graph_key = (shapes, self.profile)
        self.homes: dict[int | None, list[Context]] = {}
        self.said: set[str] = set()
        self.outputs: list[Layout] = [
            _contiguous(v.spec.shape, self.bindings)
            for v in graph.outputs
            if not depends_on_data(*v.spec.shape)
        ]

    def home(self, stream: int | None) -> list[Context]:
        """Return where contexts lie that a stream may still be running."""
        return self.homes.setdefault(stream, [])


def _contiguous(sizes: tuple[Size, ...], bindings: dict[str, int]) -> Layout:
    """Return the shape and the strides of an output."""
    shape = tuple(evaluate(size, bindings) for size in sizes)
    strides = [1] * len(shape)
    for axis in range(len(shape) - 2, -1, -1):
        strides[axis] = strides[axis + 1] * max(shape[axis + 1], 1)
    return shape, tuple(strides)


def make_room(known: dict[Any, Any], most: int = MAX_PREPARED) -> None:
    """Forget the oldest; other threads may do the same at the same time."""
    for oldest in list(known)[: max(0, len(known) - most + 1)]:
        known.pop(oldest, None)
