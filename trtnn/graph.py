"""``Graph``, ``Node`` and ``Value``: frozen once traced; prints, checks and hashes itself."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import Any

import torch

from trtnn.dims import Dim, Size
from trtnn.errors import GraphError
from trtnn.op import Op, Spec
from trtnn.source import SourceLine
from trtnn.tree import LEAF, Tree


@dataclass(frozen=True, eq=False)
class Value:
    """One tensor of a graph: an input, a constant, or an output of a node."""

    name: str
    spec: Spec

    def __repr__(self) -> str:
        return f"%{self.name}"


@dataclass(frozen=True)
class Origin:
    """Where a node comes from: module path and class, call index, scope, region, source line."""

    path: str = ""
    module_class: str = ""
    call: int = 0
    scope: str = ""
    region: str | None = None
    source: SourceLine | None = None


@dataclass(frozen=True, eq=False)
class Node:
    """An op applied to values."""

    op: Op
    inputs: tuple[Value, ...]
    outputs: tuple[Value, ...]
    origin: Origin = Origin()

    @property
    def label(self) -> str:
        """``module.path/op``: the name that its TensorRT layers get."""
        return f"{self.origin.path}/{self.op.name}" if self.origin.path else self.op.name


@dataclass(frozen=True, eq=False)
class Recipe:
    """How a constant was computed from others: ``function(*operands)``, run again by refit."""

    function: Callable[..., torch.Tensor]
    operands: tuple[Any, ...]


@dataclass(frozen=True, eq=False)
class Constant:
    """A known tensor: a parameter under its ``state_dict`` key, or a result computed from such."""

    tensor: torch.Tensor
    key: str | None = None
    recipe: Recipe | None = None


@dataclass(frozen=True)
class Assumption:
    """A comparison that the ranges left open, answered for the general size."""

    comparison: str
    left: Size
    right: Size
    answer: bool
    source: SourceLine | None

    def __str__(self) -> str:
        sign = {"eq": "==", "ne": "!=", "lt": "<", "le": "<=", "gt": ">", "ge": ">="}
        text = f"{self.left} {sign[self.comparison]} {self.right} is {self.answer}"
        return f"{text} (at {str(self.source).splitlines()[0]})" if self.source else text


@dataclass(frozen=True, eq=False)
class Graph:
    """A traced program: typed values, ops in order of execution, constants by value.

    ``outputs`` holds the tensors of the result in order of its leaves; ``result`` its structure
    with, per leaf, either the index of an output or a Python value or a size.
    """

    inputs: tuple[Value, ...]
    nodes: tuple[Node, ...]
    outputs: tuple[Value, ...]
    constants: dict[Value, Constant]
    dims: tuple[Dim, ...] = ()
    assumptions: tuple[Assumption, ...] = ()
    notes: tuple[str, ...] = ()
    result: Tree = LEAF
    leaves: tuple[Any, ...] = (0,)
    known: tuple[Recipe, ...] = field(default=(), repr=False)

    def __str__(self) -> str:
        return table(self)

    def text(self) -> str:
        """Return every attribute and edge, without module paths and source lines."""
        number = {v: i for i, v in enumerate(self.values())}
        lines = [f"%{number[v]} = input {v.name} {v.spec}" for v in self.inputs]
        lines += [f"%{number[v]} = constant {v.spec} {c.key}" for v, c in self.constants.items()]
        for node in self.nodes:
            left = ", ".join(f"%{number[v]} {v.spec}" for v in node.outputs)
            lines.append(f"{left} = {node.op!r} {[number[v] for v in node.inputs]}")
        lines.append(f"return {[number[v] for v in self.outputs]} {self.leaves}")
        lines += [f"dim {d} {d.min} {d.opt} {d.max}" for d in self.dims]
        lines += [f"assume {a.left} {a.comparison} {a.right}: {a.answer}" for a in self.assumptions]
        return "\n".join(lines)

    def hash(self) -> str:
        """Return the SHA-256 of the text and of every constant's content."""
        digest = hashlib.sha256(self.text().encode())
        for constant in self.constants.values():
            tensor = constant.tensor.detach().cpu().contiguous()
            digest.update(f"{tensor.dtype}{tuple(tensor.shape)}".encode())
            digest.update(tensor.reshape(-1).view(torch.uint8).numpy().tobytes())
        return digest.hexdigest()

    def values(self) -> Iterable[Value]:
        """Yield inputs, constants and results in order of definition."""
        yield from self.inputs
        yield from self.constants
        for node in self.nodes:
            yield from node.outputs

    def uses(self) -> dict[Value, int]:
        """Count the uses of each value, outputs of the graph included."""
        count: dict[Value, int] = {}
        for node in self.nodes:
            for value in node.inputs:
                count[value] = count.get(value, 0) + 1
        for value in self.outputs:
            count[value] = count.get(value, 0) + 1
        return count

    def check(self) -> None:
        """Raise GraphError unless every value is defined before use, once, and as inferred."""
        defined = {*self.inputs, *self.constants}
        for value, constant in self.constants.items():
            spec = Spec(tuple(constant.tensor.shape), constant.tensor.dtype)
            if spec != value.spec:
                raise GraphError(f"constant {value}: declared {value.spec}, holds {spec}")
        for node in self.nodes:
            for value in node.inputs:
                if value not in defined:
                    raise GraphError(f"{node.label}: {value} is used before it is defined")
            inferred = as_tuple(node.op.infer(*(v.spec for v in node.inputs)))
            given = tuple(v.spec for v in node.outputs)
            if inferred != given:
                raise GraphError(f"{node.label}: outputs are {given}, the op infers {inferred}")
            if defined & set(node.outputs):
                raise GraphError(f"{node.label}: an output is defined twice")
            defined.update(node.outputs)
        for value in self.outputs:
            if value not in defined:
                raise GraphError(f"output {value} is not defined")

    def live(self) -> Graph:
        """Return the graph without nodes and constants that no output needs."""
        needed = set(self.outputs)
        nodes: list[Node] = []
        for node in reversed(self.nodes):
            if needed.intersection(node.outputs):
                nodes.append(node)
                needed.update(node.inputs)
        constants = {v: c for v, c in self.constants.items() if v in needed}
        return replace(self, nodes=tuple(reversed(nodes)), constants=constants)


def as_tuple(specs: Any) -> tuple[Any, ...]:
    """Return one thing or a tuple of things as a tuple."""
    return specs if isinstance(specs, tuple) else (specs,)


def table(graph: Graph) -> str:
    """Write a graph as a table: op, module path, shapes and dtype, one row per node."""
    rows = [("", "op", "module", "output", "inputs")]
    rows += [(f"%{v.name}", "input", "", str(v.spec), "") for v in graph.inputs]
    for node in graph.nodes:
        left = ", ".join(f"%{v.name}" for v in node.outputs)
        specs = ", ".join(str(v.spec) for v in node.outputs)
        operands = ", ".join(
            (graph.constants[v].key or repr(v)) if v in graph.constants else repr(v)
            for v in node.inputs
        )
        rows.append((left, _short(node.op), node.origin.path, specs, operands))
    widths = [max(len(row[i]) for row in rows) for i in range(5)]
    lines = ["  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)) for row in rows]
    lines.insert(1, "  ".join("-" * w for w in widths))
    lines.append(f"return {', '.join(map(repr, graph.outputs))}")
    lines += [f"assumes {a}" for a in graph.assumptions]
    lines += [f"note: {note}" for note in graph.notes]
    return "\n".join(line.rstrip() for line in lines)


def _short(op: Op) -> str:
    text = repr(op)
    return text if len(text) <= 60 else text[:57] + "..."
