"""What a double or the real builder answers to a law."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass

from tests.double import Violation
from tests.double.lab import Lab
from tests.double.laws.law import Law

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Answer:
    """What came of one layer: nothing, or its outputs and whether a network of it builds.

    Attributes:
        outputs: Type and shape of each output; none where a shape cannot be told, and None where
            the layer was refused when it was added.
    """

    outputs: tuple[tuple[str, Shape], ...] | None
    builds: bool = False

    def __str__(self) -> str:
        if self.outputs is None:
            return "is refused"
        if not self.outputs:
            return "has no shape"
        shown = ", ".join(f"{dtype} {shape}" for dtype, shape in self.outputs)
        return f"{shown}, {'builds' if self.builds else 'does not build'}"


def answer(law: Law, version: str) -> Answer:
    """Add a law's layer to a network, look at its outputs, and build the network."""
    lab = Lab(version)
    try:
        layer = law(lab)
    except Violation:
        return Answer(None)
    if layer is None:
        return Answer(None)
    outputs = [layer.get_output(index) for index in range(layer.num_outputs)]
    try:
        seen = tuple((tensor.dtype.name, tuple(tensor.shape)) for tensor in outputs)
    except RuntimeError:
        return Answer(())
    lab.cover()
    plan = None
    with contextlib.suppress(Violation):
        plan = lab.build(*outputs)
    return Answer(seen, plan is not None)
