"""A quantized model: a module, and which of its values are rounded to 8 bits, in which steps."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from trtnn.graph.graph import Graph
from trtnn.precision.placement import insert, prepared
from trtnn.tracing.forward import _parameters


@dataclass(frozen=True)
class Placement:
    """Which layers are quantized, and how."""

    layers: frozenset[str]
    scales: Mapping[str, float]
    per_channel: bool = True
    activations: bool = True
    attention: bool = False
    dtype: torch.dtype = torch.int8

    def applied(self, graph: Graph) -> Graph:
        """Return a traced graph, quantized."""
        return insert(
            prepared(graph, attention=self.attention),
            self.layers,
            self.scales,
            per_channel=self.per_channel,
            activations=self.activations,
            dtype=self.dtype,
        )


@dataclass(frozen=True)
class QuantizationReport:
    """What ``quantize`` did, layer by layer.

    Attributes:
        quantized: The layers that compute with 8 bits.
        left: Why the others of their kind do not.
        scales: The scale of each activation, by name; None of weights, which follow from them.
        method: How they were found.
        error: Relative L2 of the outputs against the module, on the first batches of the data;
            None where there were none.
        leave_one_out: Each layer with the error without it, the worst layer first; where a
            tolerance was given and did not hold.
    """

    quantized: tuple[str, ...]
    left: Mapping[str, str]
    scales: Mapping[str, float]
    method: str
    error: float | None = None
    leave_one_out: tuple[tuple[str, float], ...] = ()

    def __str__(self) -> str:
        lines = [f"{len(self.quantized)} layers quantized, scales by {self.method}"]
        if self.error is not None:
            lines[0] += f", relative error {self.error:.2e}"
        lines += [f"  {name}" for name in self.quantized]
        lines += [f"  {name}: not, {reason}" for name, reason in self.left.items()]
        lines += [f"  without {name}: {error:.2e}" for name, error in self.leave_one_out]
        return "\n".join(lines)


class QuantizedModel:
    """A module whose values are rounded to 8 bits: ``trtnn.compile`` takes it as a module.

    A call runs it in PyTorch, rounded as the engine rounds.

    Attributes:
        module: The module that was given; its parameters are what is compiled.
        placement: Which values are rounded, and in which steps.
        report: What ``quantize`` did, layer by layer.
    """

    def __init__(
        self,
        module: Callable[..., Any],
        placement: Placement,
        report: QuantizationReport,
        run: Callable[..., Any],
    ) -> None:
        self.module, self.placement, self.report = module, placement, report
        self._run = run
        # As of a bound method: where the parameters are, and what a call takes.
        self.__self__ = getattr(module, "__self__", module)
        self.__signature__: inspect.Signature = _parameters(module)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._run(*args, **kwargs)

    def __repr__(self) -> str:
        return (
            f"QuantizedModel({len(self.report.quantized)} layers of {type(self.module).__name__})"
        )
