"""Whether a part of a graph fails as the whole does: is refused alike, or is as wrong."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

import torch

from trtnn.engine.verified import Measured
from trtnn.errors import BuildError
from trtnn.graph.graph import Graph
from trtnn.graph.interpreter import run
from trtnn.run.bars import Results
from trtnn.run.rounding import kind_of, own, widened
from trtnn.run.samples import CPU
from trtnn.run.verification import ranked_outputs
from trtnn.tools.cutting import Part
from trtnn.tools.judging import judged
from trtnn.tools.recipe import Runs

Make = Callable[[Graph], Runs | None]
"""Builds what runs a graph; None where it can be built here, and not run."""
REFUSED, ENGINE, TYPES, NONE = "refused", "engine", "types", "none"
"""How a model fails: TensorRT refuses it, only its engine is wrong, its types are, or not."""
_PLACE = re.compile(r"\w+\.(?:cpp|h):+\w+")  # in TensorRT's own source
_NAMES = re.compile(r"'[^']*'|\"[^\"]*\"|\{[^}]*\}|\S*[\d/#%]\S*")


@dataclass(frozen=True, eq=False)
class Outcome:
    """What became of a part.

    Attributes:
        expected: The outputs in float32, or float64 where the part computes in float32.
        rounded: In the part's own types, by PyTorch.
        found: By the engine; empty where none ran.
        refusal: Why it was not built, or did not run.
        measured: How far off the engine is, and what it may be.
        alone: The same of ``rounded``.
    """

    expected: tuple[torch.Tensor, ...]
    rounded: tuple[torch.Tensor, ...]
    found: tuple[torch.Tensor, ...]
    refusal: BuildError | None
    measured: tuple[Measured, ...]
    alone: tuple[Measured, ...]

    def fails(self, how: str, like: BuildError | None) -> bool:
        """Say whether it failed in one of the ways; a refusal as ``like``."""
        if how == REFUSED:
            return self.refusal is not None and like is not None and alike(self.refusal, like)
        measured = {ENGINE: self.measured, TYPES: self.alone}.get(how, ())
        return any(one.times > 1 for one in measured)


class Trials:
    """Runs parts on PyTorch and, where there is a TensorRT, as engines.

    Args:
        tf32: Whether the engine multiplies float32 in TF32.
        tolerance: As ``check`` takes it.
    """

    def __init__(self, device: torch.device, tolerance: float | None, *, tf32: bool) -> None:
        self.device, self.tolerance, self.tf32 = device, tolerance, tf32

    def outcome(self, part: Part, make: Make | None) -> Outcome:
        """Return what becomes of a part.

        Args:
            make: Builds its engine; None: it runs on PyTorch alone.
        """
        graph, kind = part.graph, kind_of(part.graph, tf32=self.tf32)
        wide = torch.float64 if kind == "fp32" else torch.float32
        inputs = [tensor.to(self.device) for tensor in part.inputs]
        observed: dict[object, torch.Tensor] = dict(zip(graph.inputs, part.inputs, strict=True))
        ranking = ranked_outputs(graph)

        def compute(compute: object) -> tuple[torch.Tensor, ...]:
            given = (inputs, None, None, part.hosts, self.device)
            results = run(graph, *given, observed.__setitem__, compute)[0]  # type: ignore[arg-type]
            return tuple(tensor.detach().to(CPU) for tensor in results)

        rounded = compute(own(self.device, tf32=self.tf32))
        expected = compute(widened(wide, self.device))
        scores = {i: (observed[value].to(CPU), axis) for i, (value, axis) in ranking.items()}

        def measure(found: tuple[torch.Tensor, ...]) -> tuple[Measured, ...]:
            three = enumerate(map(Results, found, expected, rounded))
            given = kind, self.tolerance, scores
            return tuple(one for index, each in three for one in judged(index, each, *given))

        found, refusal = self._found(part, inputs, make)
        return Outcome(expected, rounded, found, refusal, measure(found), measure(rounded))

    def _found(
        self, part: Part, inputs: list[torch.Tensor], make: Make | None
    ) -> tuple[tuple[torch.Tensor, ...], BuildError | None]:
        try:
            runner = make(part.graph) if make is not None else None
            if runner is None:
                return (), None
            results = runner([*self._laid_out(part.graph, inputs), *part.hosts])[0]
            return tuple(tensor.detach().to(CPU) for tensor in results), None
        except BuildError as error:
            return (), error

    def _laid_out(self, graph: Graph, inputs: list[torch.Tensor]) -> list[torch.Tensor]:
        """Return inputs as an engine reads them, so that no call copies them with a warning."""
        forms = (graph.formats.get(v.name, "contiguous_format") for v in graph.inputs)
        pairs = zip(inputs, forms, strict=True)
        return [tensor.clone(memory_format=getattr(torch, form)) for tensor, form in pairs]


def alike(one: BuildError, other: BuildError) -> bool:
    """Say whether two refusals are the same one: in one place of TensorRT, or in the same words.

    >>> refused = BuildError("TensorRT could not build the engine\\n  a.cpp::go::12: node 7 fails")
    >>> alike(refused, BuildError("TensorRT refused a layer of x: a.cpp::go::99: node 1 fails"))
    True
    """
    places = [set(_PLACE.findall(error.message)) for error in (one, other)]
    if any(places):
        return places[0] == places[1]
    words = [_NAMES.sub("", error.message).split() for error in (one, other)]
    return words[0] == words[1]
