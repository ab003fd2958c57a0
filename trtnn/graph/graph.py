"""``Graph``, ``Node`` and ``Value``: frozen once traced; prints, checks and hashes itself."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import torch

from trtnn.errors import GraphError
from trtnn.graph.describing import described, page
from trtnn.graph.drawing import dot_of, draw
from trtnn.graph.program import Program, Slot
from trtnn.graph.table import table
from trtnn.ops.op import Op, Spec, sizes_in
from trtnn.sizes.dims import Dim, Expr, Size, symbols
from trtnn.sizes.solutions import Declared, Given, integers_of
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
class Constant:
    """A known tensor: a parameter under its ``state_dict`` key, or a result computed from such.

    ``slot`` is its place in the graph's program; None where no parameter or buffer matters.
    """

    tensor: torch.Tensor
    key: str | None = None
    slot: Slot | None = None


UNVERIFIED = "not verified: trtnn.trace"


@dataclass(frozen=True)
class Assumption:
    """A comparison that the ranges left open, answered for the general size.

    ``times`` counts how often its line asked. ``verdict`` says at which sizes, of those with the
    other answer, a second trace gave the same results; only ``compile`` traces again.
    """

    comparison: str
    left: Size
    right: Size
    answer: bool
    source: SourceLine | None
    times: int = 1
    verdict: str = UNVERIFIED

    @property
    def question(self) -> str:
        """The comparison in Python's notation."""
        sign = {"eq": "==", "ne": "!=", "lt": "<", "le": "<=", "gt": ">", "ge": ">="}
        return f"{self.left} {sign[self.comparison]} {self.right}"

    def __str__(self) -> str:
        text = f"{self.question} is {self.answer}"
        often = "" if self.times == 1 else f", {self.times} times"
        return f"{text} (at {str(self.source).splitlines()[0]}{often})" if self.source else text


class Interface(Declared, Protocol):
    """What running an engine needs to know of its graph; a loaded model has no more."""

    @property
    def inputs(self) -> tuple[Value, ...]: ...

    @property
    def outputs(self) -> tuple[Value, ...]: ...

    @property
    def hosts(self) -> Mapping[str, Dim]: ...

    @property
    def formats(self) -> Mapping[str, str]: ...

    @property
    def result(self) -> Tree: ...

    @property
    def leaves(self) -> tuple[Any, ...]: ...


@dataclass(frozen=True, eq=False)
class Graph:
    """A traced program: typed values, ops in order of execution, constants by value.

    ``outputs`` holds the tensors of the result in order of its leaves; ``result`` its structure
    with, per leaf, either the index of an output or a Python value or a size. ``hosts`` holds the
    Dim of each host input, an integer that a call gives beside its tensors, by name. ``formats``
    has the memory format of each input that is not contiguous: ``"channels_last"``, by name.
    ``branches`` says of a boundary that what was inside holds graphs in ops.
    """

    inputs: tuple[Value, ...]
    nodes: tuple[Node, ...]
    outputs: tuple[Value, ...]
    constants: dict[Value, Constant]
    dims: tuple[Dim, ...] = ()
    hosts: Mapping[str, Dim] = field(default_factory=dict)
    formats: Mapping[str, str] = field(default_factory=dict)
    assumptions: tuple[Assumption, ...] = ()
    notes: tuple[str, ...] = ()
    result: Tree = LEAF
    leaves: tuple[Any, ...] = (0,)
    program: Program = field(default=Program(), repr=False)
    branches: bool = False

    def __str__(self) -> str:
        return table(self)

    def __repr__(self) -> str:
        return "{" + "; ".join(self.text().splitlines()) + "}"

    def _repr_html_(self) -> str:
        return page(self)

    def table(self, *, full: bool = False) -> str:
        """Return the table that ``print`` shows: one row for each op, within 120 columns.

        Args:
            full: Shorten nothing, however wide it gets.
        """
        return table(self, None) if full else table(self)

    def to_json(self) -> dict[str, Any]:
        """Return the graph as plain data, which ``json.dump`` writes; without weights.

        >>> import trtnn
        >>> graph = trtnn.trace(torch.nn.ReLU(), [trtnn.Input((2, 3))])
        >>> graph.to_json()["nodes"][0]["outputs"]
        [{'name': '0', 'shape': [2, 3], 'dtype': 'float32'}]
        """
        return described(self)

    def to_dot(self, *, depth: int | None = 1) -> str:
        """Return the graph in Graphviz's language, with a box for each module.

        Args:
            depth: How many parts of a module's path have boxes of their own: ``1`` makes one of
                ``layer1.0.conv`` and all else in ``layer1``. None: a box for each op, in frames
                that are the modules.

        Raises:
            OptionError: ``depth`` is none of these.
        """
        return dot_of(self, depth)

    def draw(self, path: str | os.PathLike[str], *, depth: int | None = 1) -> None:
        """Write what ``to_dot`` says as a picture: SVG, PNG or PDF, by the file's ending.

        Raises:
            OptionError: The ending is another one, or ``depth`` is not right.
            UnsupportedError: Graphviz is not installed: ``pip install "trtnn[graph]"``, and its own
                program, ``dot``.
            OSError: The file cannot be written.
        """
        draw(self, path, depth)

    def text(self) -> str:
        """Return every attribute and edge, without module paths and source lines."""
        number = {v: i for i, v in enumerate(self.values())}
        lines = [f"%{number[v]} = input {v.name} {v.spec}" for v in self.inputs]
        lines += [f"host input {name} {dim}" for name, dim in self.hosts.items()]
        lines += [f"input {name} is {form}" for name, form in self.formats.items()]
        lines += [f"%{number[v]} = constant {v.spec} {c.key}" for v, c in self.constants.items()]
        for node in self.nodes:
            left = ", ".join(f"%{number[v]} {v.spec}" for v in node.outputs)
            lines.append(f"{left} = {node.op!r} {[number[v] for v in node.inputs]}")
        lines.append(f"return {[number[v] for v in self.outputs]} {self.leaves}")
        lines += [f"dim {d} {d.profiles}" for d in self.dims]
        lines += [f"assume {a.question} is {a.answer}: {a.verdict}" for a in self.assumptions]
        return "\n".join(lines)

    def hash(self) -> str:
        """Return the SHA-256 of the text and of every constant's content."""
        digest = hashlib.sha256(self.text().encode())
        for constant in self.constants.values():
            tensor = constant.tensor.detach().cpu().contiguous()
            digest.update(f"{tensor.dtype}{tuple(tensor.shape)}".encode())
            digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
        return digest.hexdigest()

    def integers(self) -> list[Given]:
        """Return the integers that a call gives: the inputs' sizes, then the host inputs."""
        return integers_of(((v.name, v.spec.shape) for v in self.inputs), self.hosts)

    def values(self) -> Iterable[Value]:
        """Yield inputs, constants and results in order of definition."""
        yield from self.inputs
        yield from self.constants
        for node in self.nodes:
            yield from node.outputs

    def sizes_inside(self) -> list[Size]:
        """Return the symbolic sizes of all values and in all ops."""
        shapes = [size for value in self.values() for size in value.spec.shape]
        return sizes_in((*shapes, *(tuple(vars(node.op).values()) for node in self.nodes)))

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
        """Raise GraphError unless every value is defined before use, once, and as inferred.

        All constants live on one device, so that what is computed from several can be.
        """
        defined = {*self.inputs, *self.constants}
        devices = {str(constant.tensor.device) for constant in self.constants.values()}
        if len(devices) > 1:
            raise GraphError(f"constants live on {' and '.join(sorted(devices))}")
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
        used = {s for leaf in self.leaves for s in names_in(leaf)}
        nodes: list[Node] = []
        for node in reversed(self.nodes):
            gives = hasattr(node.op, "bind_sizes") and used & set(names_in(vars(node.op)))
            asserts = any(op.asserts for op in ops_in(node))
            if gives or asserts or needed.intersection(node.outputs):
                nodes.append(node)
                needed.update(node.inputs)
                used.update(names_in(vars(node.op)))
        constants = {v: c for v, c in self.constants.items() if v in needed}
        program = self.program.pruned(_slots(constants.values()))
        return replace(self, nodes=tuple(reversed(nodes)), constants=constants, program=program)

    def boundary(self) -> Graph:
        """Return inputs, outputs and Dims alone, as an engine's calls need them: no weights."""
        branches = self.branches or any(graphs_in(node.op) for node in self.nodes)
        return replace(self, nodes=(), constants={}, program=Program(), branches=branches)

    def recompute(self, state: Mapping[str, torch.Tensor]) -> dict[Value, torch.Tensor]:
        """Return what each constant is where the module's ``state_dict`` is another.

        Raises:
            InputError: A key is missing or unexpected, or a tensor has another shape or dtype.
            TraceError: ``forward`` branched on a value that is another one with this state.
        """
        found = self.program.run(state, _slots(self.constants.values()))
        return {
            value: constant.tensor if constant.slot is None else found[constant.slot]
            for value, constant in self.constants.items()
        }


def _slots(constants: Iterable[Constant]) -> list[Slot]:
    return [constant.slot for constant in constants if constant.slot is not None]


def names_in(field: Any) -> Iterable[str]:
    """Yield the names of the sizes in an op's field."""
    if isinstance(field, Expr):
        yield from (s.name for s in symbols(field))
    elif isinstance(field, dict):
        yield from names_in(tuple(field.values()))
    elif isinstance(field, Graph):
        yield from names_in(tuple(field.sizes_inside()))
    elif isinstance(field, tuple):
        for item in field:
            yield from names_in(item)


def graphs_in(op: Op) -> tuple[Graph, ...]:
    """Return the graphs that an op holds: branches, or what a loop repeats."""
    return tuple(field for field in vars(op).values() if isinstance(field, Graph))


def all_nodes(graph: Graph) -> Iterable[Node]:
    """Yield the nodes of a graph, and those of the graphs that its ops hold."""
    for node in graph.nodes:
        yield node
        for inner in graphs_in(node.op):
            yield from all_nodes(inner)


def ops_in(node: Node) -> Iterable[Op]:
    """Yield the op of a node, and those in the graphs that it holds."""
    yield node.op
    for inner in graphs_in(node.op):
        yield from (held.op for held in all_nodes(inner))


def as_tuple(specs: Any) -> tuple[Any, ...]:
    """Return one thing or a tuple of things as a tuple."""
    return specs if isinstance(specs, tuple) else (specs,)
