"""The layers of an engine: what TensorRT fused, by which kernels, and of which modules it is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from trtnn.engine.engine import Engine
from trtnn.errors import UnsupportedError
from trtnn.tools.attribution import Attribution, Owners
from trtnn.trt.inspector import LayerFacts, all_layers

NAMES_ALONE = (
    'the plan holds names alone: BuildOptions(profiling_verbosity="DETAILED") lets it tell kinds, '
    "tactics and formats"
)
NOTHING = 'the plan tells nothing of its layers: it was built with profiling_verbosity="NONE"'
WIDTH = 120
HEAD = ("", "module", "kind", "tactic", "layer")


@dataclass(frozen=True)
class EngineLayer:
    """One layer of an engine, which may be many of the network's.

    Attributes:
        modules: The paths of the modules whose layers it holds; ``owners`` says how that is known.
        kind: TensorRT's own; empty, and so are ``tactic`` and ``formats``, of a plan that holds
            names alone.
        tactic: The name or number of the kernels that were chosen.
        formats: How each tensor that it takes or gives lies in memory, in TensorRT's words.
    """

    name: str
    owners: Owners
    kind: str
    tactic: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    formats: dict[str, str]

    @property
    def modules(self) -> tuple[str, ...]:
        return self.owners.modules


@dataclass(frozen=True)
class EngineLayers:
    """What ``model.inspect()`` found: the layers of an engine, in order of execution.

    ``print`` shows a table within 120 columns.
    """

    layers: tuple[EngineLayer, ...]
    notes: tuple[str, ...] = ()

    def __str__(self) -> str:
        rows = [
            (str(i), str(layer.owners), layer.kind, layer.tactic, layer.name)
            for i, layer in enumerate(self.layers)
        ]
        return "\n".join([*table_of(HEAD, rows, WIDTH), *self.notes])

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON holds it."""
        return {
            "layers": [
                {
                    "name": layer.name,
                    "modules": list(layer.modules),
                    "modules_told": layer.owners.told,
                    "kind": layer.kind,
                    "tactic": layer.tactic,
                    "inputs": list(layer.inputs),
                    "outputs": list(layer.outputs),
                    "formats": layer.formats,
                }
                for layer in self.layers
            ],
            "notes": list(self.notes),
        }


def inspected(engine: Engine, graph: Any) -> EngineLayers:
    """Return the layers of an engine, and the modules of each.

    Args:
        graph: As it was traced.

    Raises:
        UnsupportedError: The plan tells nothing of them.
        BuildError: TensorRT's inspector says what it is not documented to say.
    """
    told = all_layers(engine.library.trt, engine.handle)
    if not told:
        raise UnsupportedError(f"inspect: {NOTHING}", search=False)
    found = Attribution(graph).owners([layer.origin or layer.name for layer in told])
    layers = tuple(map(_layer, told, found))
    return EngineLayers(layers, () if any(layer.kind for layer in told) else (NAMES_ALONE,))


def _layer(facts: LayerFacts, owners: Owners) -> EngineLayer:
    given, made = tuple(facts.inputs), tuple(facts.outputs)
    formats = dict(facts.formats)
    return EngineLayer(facts.name, owners, facts.kind, facts.tactic, given, made, formats)


def table_of(head: Sequence[str], rows: Sequence[Sequence[str]], width: int) -> list[str]:
    """Return rows as lines of a table; the widest columns are cut where it would be too wide."""
    widths = [max(len(row[i]) for row in (head, *rows)) for i in range(len(head))]
    while sum(widths) + 2 * (len(widths) - 1) > width:
        widths[widths.index(max(widths))] -= 1
    cells = [[_cut(text, w) for text, w in zip(row, widths, strict=True)] for row in (head, *rows)]
    lines = ["  ".join(c.ljust(w) for c, w in zip(r, widths, strict=True)) for r in cells]
    lines.insert(1, "  ".join("-" * w for w in widths))
    return [line.rstrip() for line in lines]


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else text[: width - 3] + "..."
