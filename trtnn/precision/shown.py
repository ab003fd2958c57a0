"""What an engine shows of its types, beside what its graph says they are."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch

from trtnn.engine.engine import Engine
from trtnn.errors import PrecisionWarning, WrongEngineError
from trtnn.graph.graph import Graph, Node, Value
from trtnn.lower.naming import output_name, value_names
from trtnn.precision.kinds import floats
from trtnn.precision.policy import Precision
from trtnn.source import warn_user
from trtnn.trt.inspector import UNKNOWN, LayerFacts, layers_of

NOT_VISIBLE = "not visible"
BITS = {"float32": 32, "float16": 16, "bfloat16": 16, "float8_e4m3fn": 8, "int8": 8}
HOW = 'not asked: trtnn.options.BuildOptions(profiling_verbosity="DETAILED") lets the plan tell'
TAKEN = "as the graph is typed, which was compared with the network before the build"


@dataclass(frozen=True)
class Row:
    """One value of one module: the type that the graph gives it, and what the engine says.

    Attributes:
        reported: torch's name of a type; ``"unknown"``: the engine says none; ``"not visible"``:
            it is inside a layer that the engine made of several.
        named: Whether the user asked for this type there.
    """

    path: str
    name: str
    asked: str
    reported: str
    named: bool = False

    @property
    def is_lower(self) -> bool:
        """Whether the engine is known to compute it in fewer bits, or in other 16."""
        if self.reported == self.asked or self.reported not in BITS:
            return False
        return BITS[self.reported] <= BITS[self.asked]

    def __str__(self) -> str:
        return f"{self.name} is {self.reported}, and {self.asked} was asked for"


@dataclass(frozen=True)
class Shown:
    """The types of an engine.

    Attributes:
        rows: One for each float value of the graph, as it was lowered.
        why: Why there are none.
    """

    rows: tuple[Row, ...] = ()
    why: str = ""

    def __str__(self) -> str:
        if self.why:
            return f"in the engine: {self.why}"
        groups: dict[tuple[str, str], Counter[str]] = {}
        for row in self.rows:
            groups.setdefault((row.path or "(root)", row.asked), Counter())[row.reported] += 1
        width = max((len(path) for path, _ in groups), default=0)
        lines = [
            f"  {path.ljust(width)}  {asked}: "
            + ", ".join(f"{count} {reported}" for reported, count in sorted(found.items()))
            for (path, asked), found in groups.items()
        ]
        return "\n".join(["in the engine:", *lines])


def shown(graph: Graph, layers: Sequence[LayerFacts], precision: Precision) -> Shown:
    """Return what an engine says of the float values of the graph that it was built from.

    A type that it gives lower than asked for is warned of.

    Args:
        graph: As it was lowered.

    Raises:
        WrongEngineError: That is so where the user named the type.
    """
    types = types_by_name(layers)
    places = {value: output_name(index) for index, value in enumerate(graph.outputs)}
    names = value_names(graph)
    rows = tuple(
        _row(node, value, (names[value], places.get(value, "")), types, precision)
        for node in graph.nodes
        for value in floats(node.outputs)
    )
    rounds = any(node.op.name == "QuantizeDequantize" for node in graph.nodes)
    lower = [row for row in rows if row.is_lower and not (rounds and BITS[row.reported] == 8)]
    if wrong := [str(row) for row in lower if row.named]:
        raise WrongEngineError(
            f"precision: TensorRT built an engine that is typed otherwise: {'; '.join(wrong)}",
            hint="another builder_optimization_level, or another TensorRT, makes another engine",
        )
    if lower:
        text = "; ".join(map(str, lower))
        warn_user(f"precision: the engine is typed otherwise: {text}", PrecisionWarning)
    return Shown(rows)


def _row(
    node: Node,
    value: Value,
    names: Sequence[str],
    types: Mapping[str, str],
    precision: Precision,
) -> Row:
    asked = str(value.spec.dtype).removeprefix("torch.")
    reported = next((types[name] for name in names if name in types), NOT_VISIBLE)
    named = precision.word(node) == "fp32" and value.spec.dtype == torch.float32
    return Row(node.origin.path, names[0], asked, reported, named)


def shown_by(engine: Engine, graph: Graph, precision: Precision, *, detailed: bool) -> Shown:
    """Ask an engine for its types, where its plan was built to tell them.

    Args:
        graph: As it was lowered for the engine.
        detailed: Whether the build was told to let the plan tell.
    """
    library = engine.library
    if not detailed:
        return Shown(why=HOW if library.target.inspects_plans else TAKEN)
    layers = layers_of(library.trt, engine.handle)
    return Shown(why=HOW) if layers is None else shown(graph, layers, precision)


def types_by_name(layers: Sequence[LayerFacts]) -> dict[str, str]:
    """Return the type of each tensor between the layers of an engine, as its maker gives it."""
    found: dict[str, str] = {}
    for layer in layers:
        found.update(
            {name: t for name, t in layer.inputs.items() if t != UNKNOWN or name not in found}
        )
    for layer in layers:
        found.update(layer.outputs)
    return found
