"""``Recipe``: what a model was made of, to make others of it that differ in precision."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from glob import escape
from typing import Any, Protocol

import torch

from trtnn.graph.graph import Graph
from trtnn.options import BuildOptions
from trtnn.precision.policy import Precision
from trtnn.precision.typing import Observe, Typed, typed
from trtnn.trt.library import TensorRT

Runs = Callable[[Sequence[Any]], tuple[list[torch.Tensor], Any]]


class Build(Protocol):
    """Makes what runs a typed graph, with another TensorRT than the recipe's where one is given.

    Of the last ``debug`` outputs the engine tells while it runs, without giving them.
    """

    def __call__(
        self,
        graph: Graph,
        precision: Precision,
        other: TensorRT | None = None,
        debug: int = 0,
    ) -> Runs:
        raise NotImplementedError


@dataclass(eq=False)
class Recipe:
    """The graph of a model before it was typed, and what makes a model of it.

    Attributes:
        observe: Gives the ranges of values, where precisions ask for them.
        build: Returns what runs a typed graph; None on the reference, which runs it itself.
        library: The TensorRT that builds; None on the reference.
        refitted: Whether the model has other weights by now than the graph.
    """

    graph: Graph
    precision: Precision
    observe: Observe
    build: Build | None
    library: TensorRT | None
    options: BuildOptions
    refitted: bool = False
    versions: tuple[int, ...] = field(init=False)

    def __post_init__(self) -> None:
        self.versions = self._versions()

    def _versions(self) -> tuple[int, ...]:
        tensors = [constant.tensor for constant in self.graph.constants.values()]
        return tuple(0 if tensor.is_inference() else tensor._version for tensor in tensors)

    @property
    def stale(self) -> str:
        """Why the graph is not what the model computes any more; empty where it is."""
        if self.refitted:
            return "the model was refitted"
        if self.versions != self._versions():
            return "the module's weights were written to since it was compiled"
        return ""

    def typed(self, precision: Precision) -> Typed:
        """Return the graph as a precision types it."""
        return typed(self.graph, precision, self.observe if precision.ranges else None)

    def tf32(self, precision: Precision) -> bool:
        """Say whether the model multiplies float32 in TF32."""
        return self.build is not None and precision.uses_tf32


def kept_wide(precision: Precision, paths: Sequence[str]) -> Precision:
    """Return a precision that keeps modules in float32, before all else that it says."""
    wide = {escape(path): "fp32" for path in paths}
    said = {pattern: word for pattern, word in precision.modules.items() if pattern not in wide}
    return replace(precision, modules={**wide, **said})
