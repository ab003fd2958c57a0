"""Engines of one layer, on which a call costs nearly nothing but the call."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

import trtnn
from benchmarks.instruments.bound import Bound
from benchmarks.instruments.builds import Builds
from benchmarks.measures.comparison import finite_error
from tests.compare import leaves

SHAPE = (8, 128)
NAMES = ("x", "y", "z")
CLOSE = 1e-3  # relative; TF32 in matrix products
EXECUTIONS = ("sync", "async", "graph")


def _double(x: Any) -> Any:
    return x * 2


def _add(x: Any, y: Any) -> Any:
    return x + y


def _add_three(x: Any, y: Any, z: Any) -> Any:
    return x + y + z


def _two(x: Any) -> Any:
    return x * 2, x * 3


def _three(x: Any) -> Any:
    return x * 2, x * 3, x * 4


@dataclass(frozen=True)
class OneLayer:
    """A function, and how many tensors it takes and returns; TensorRT makes one kernel of it."""

    function: Callable[..., Any]
    inputs: int = 1
    outputs: int = 1

    @property
    def name(self) -> str:
        """What a row calls it.

        >>> ENGINES[1].name
        '2 in, 1 out'
        """
        return f"{self.inputs} in, {self.outputs} out"


ENGINES = (
    OneLayer(_double),
    OneLayer(_add, inputs=2),
    OneLayer(_add_three, inputs=3),
    OneLayer(_two, outputs=2),
    OneLayer(_three, outputs=3),
)


@dataclass(frozen=True)
class Small:
    """A compiled model of a small engine, its inputs, and what it has to return."""

    model: Any
    inputs: tuple[torch.Tensor, ...]
    expected: list[torch.Tensor]

    def bound(self) -> Bound:
        """Return a context of the engine with memory of its own."""
        named = zip(self.model.input_specs, self.inputs, strict=True)
        return Bound(self.model.engine, {name: tensor.clone() for name, tensor in named})


def opened(builds: Builds, engine: OneLayer = ENGINES[0], **options: Any) -> Small:
    """Compile one of the engines, at level 0."""
    declared = [trtnn.Input(SHAPE, name=name) for name in NAMES[: engine.inputs]]
    model, _ = builds.compile(0, engine.function, declared, **options)
    generator = torch.Generator().manual_seed(0)
    inputs = tuple(
        torch.randn(SHAPE, generator=generator).to(builds.machine.device)
        for _ in range(engine.inputs)
    )
    return Small(model, inputs, list(leaves(engine.function(*inputs))))


def require_right(
    result: Any, expected: list[torch.Tensor], what: str, close: float = CLOSE
) -> None:
    """Raise unless a result is what it has to be: a time of something else is worth nothing."""
    error = finite_error(result, expected)
    if error is None or error > close:
        raise AssertionError(f"{what}: relative error {error}")
