"""Inputs that are made up, such that what a graph does with them shows in its outputs."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

from trtnn.graph.graph import Graph, Node, Value, graphs_in
from trtnn.graph.holding import Holder
from trtnn.graph.interpreter import run
from trtnn.sizes.dims import Size, evaluate
from trtnn.sizes.profiles import count_profiles, profile_of

CPU = torch.device("cpu")
INDEXING = ("Gather", "GatherElements", "GatherND", "Scatter")
# What hands an integer on as it is, or as another type of integer.
MOVES = ("Shuffle", "Expand", "Slice", "Identity", "Concat", "Select", "Place")
# Where other ops take indices, below which size, and what is added to them before.
TABLES: Mapping[str, tuple[list[int], Callable[..., tuple[Size, int]]]] = {
    "Fetch": ([1], lambda op, shapes: (shapes[0][op.shared if op.mode == "ND" else op.axis], 0)),
    "OneHot": ([0], lambda op, shapes: (op.depth, 0)),
    "RaggedSoftmax": ([1], lambda op, shapes: (shapes[0][-1], -1)),
    "ReverseSequence": ([1], lambda op, shapes: (shapes[0][op.sequence_axis], -1)),
    "RotaryEmbedding": ([3], lambda op, shapes: (shapes[1][0], 0)),
}
DIVIDES = ("DIV", "FLOOR_DIV")
COMPARES = ("EQUAL", "GREATER", "LESS", "AND", "OR", "XOR")
BOUNDS = ("MAX", "MIN")
# Integers of which nothing is known: below so many, or all 1, or all 0, until the graph takes them.
SMALL: tuple[tuple[int, int], ...] = ((0, 4), (0, 2), (1, 2), (0, 1))
Ranges = Mapping[str, tuple[float | None, float | None]]


@dataclass(frozen=True)
class Use:
    """What becomes of an integer input: the tables that it indexes, and whether it is a mask.

    Attributes:
        tables: The size of each, and what is added to an index before.
        distinct: The dims along which indices must differ, because what two of them write to one
            place is not defined.
    """

    tables: tuple[tuple[Size, int], ...] = ()
    mask: bool = False
    distinct: tuple[int, ...] = ()


def uses_of(graph: Graph) -> dict[Value, Use]:
    """Return what becomes of each input that is not floating point."""
    return {value: _use(graph, value) for value in graph.inputs if not _floats(value)}


def _floats(value: Value) -> bool:
    return value.spec.dtype.is_floating_point


def _use(graph: Graph, start: Value) -> Use:
    known: dict[Value, int] = {start: 0}  # what was added on the way
    tables: list[tuple[Size, int]] = []
    mask = start.spec.dtype == torch.bool
    rank, distinct = start.spec.rank, list[int]()
    for node in graph.nodes:
        places = [i for i, value in enumerate(node.inputs) if value in known]
        if not places:
            continue
        first, name = node.inputs[places[0]], node.op.name
        for inner in _inside(node, places):
            tables += [(size, added + known[first]) for size, added in inner.tables]
            mask = mask or inner.mask
        if name in ("Gather", "GatherElements", "Scatter") and places == [1]:
            tables.append((node.inputs[0].spec.shape[_axis(node)], known[first]))
            if name == "Scatter":
                same = node.inputs[1].spec.rank == rank
                distinct += [_axis(node)] if same else range(rank)
        elif name in TABLES and places == TABLES[name][0]:
            size, added_too = TABLES[name][1](node.op, [v.spec.shape for v in node.inputs])
            tables.append((size, known[first] + added_too))
        elif name == "Cast":
            mask = mask or _floats(node.outputs[0]) or node.outputs[0].spec.dtype == torch.bool
            known[node.outputs[0]] = known[first]
        elif name == "Elementwise":
            added = _added(graph, node, places)
            mask = mask or getattr(node.op, "kind", None) in COMPARES
            if added is not None:
                known[node.outputs[0]] = known[first] + added
        elif name == "Select" and places == [0]:
            mask = True
        elif name in MOVES:
            known[node.outputs[0]] = known[first]
    return Use(tuple(tables), mask, tuple(dict.fromkeys(distinct)))


def _axis(node: Node) -> int:
    axis: int | None = getattr(node.op, "axis", 0)
    return axis or 0  # a Scatter without one names the leading dim


def _added(graph: Graph, node: Node, places: Sequence[int]) -> int | None:
    """Return what an op adds to the one operand that is known; None where it does otherwise."""
    kind: str = getattr(node.op, "kind", "")
    if len(places) > 1:
        return None
    if kind in BOUNDS:
        return 0
    constant = graph.constants.get(node.inputs[1 - places[0]])
    if constant is None or constant.tensor.numel() != 1 or kind not in ("SUM", "SUB"):
        return None
    number = int(constant.tensor.detach().to(CPU).item())
    return number if kind == "SUM" else -number if places[0] == 0 else None


def draws(
    graph: Graph, sizes: Mapping[str, int], ranges: Ranges, seed: int = 1
) -> Iterator[list[torch.Tensor]]:
    """Yield inputs of a graph for the sizes of its Dims, another try at each step.

    Floats are normal, or even within what was declared; indices go over the whole table that they
    are for, masks begin with 1 and end with 0, other integers are small.
    """
    uses = uses_of(graph)
    for small in SMALL:
        generator = torch.Generator().manual_seed(seed)
        yield [
            _drawn(v, uses, sizes, ranges, small, graph.formats, generator) for v in graph.inputs
        ]
        if all(_floats(value) for value in graph.inputs):
            return


def _drawn(
    value: Value,
    uses: Mapping[Value, Use],
    sizes: Mapping[str, int],
    ranges: Ranges,
    small: tuple[int, int],
    formats: Mapping[str, str],
    generator: torch.Generator,
) -> torch.Tensor:
    shape = tuple(evaluate(size, sizes) for size in value.spec.shape)
    named: dict[str, Any] = {"generator": generator, "device": CPU}
    low, high = ranges.get(value.name, (None, None))
    if _floats(value):
        if low is None or high is None:
            made = torch.randn(shape, **named)
            made = made.abs() + low if low is not None else made
            made = high - made.abs() if high is not None else made
        else:
            made = torch.rand(shape, **named) * (high - low) + low
        form = getattr(torch, formats.get(value.name, "contiguous_format"))
        return made.to(value.spec.dtype).contiguous(memory_format=form)
    use = uses[value]
    if low is not None or high is not None:
        least = int(low if low is not None else min(0, int(high or 0)))
        most = int(high) + 1 if high is not None else max(least + 1, small[1])
    elif use.tables:
        least = max(-added for _, added in use.tables)
        most = min(evaluate(size, sizes) - added for size, added in use.tables)
        least, most = (least, most) if least < most else small
        if use.distinct:
            return _different(shape, use.distinct, most - least, named).to(value.spec.dtype) + least
    elif use.mask and shape and small == SMALL[0]:
        return _prefix(shape, named).to(value.spec.dtype)
    else:
        least, most = small
    return torch.randint(least, most, shape, **named).to(value.spec.dtype)


def _different(
    shape: tuple[int, ...], axes: tuple[int, ...], count: int, named: dict[str, Any]
) -> torch.Tensor:
    """Return integers below ``count`` that differ, all or along a dim, as far as there are any."""
    total = math.prod(shape)
    if total <= count:
        return torch.rand(count, **named).argsort()[:total].reshape(shape)
    for axis in axes:
        if shape[axis] <= count:
            each = torch.rand((*shape[:axis], count, *shape[axis + 1 :]), **named).argsort(axis)
            return each.narrow(axis, 0, shape[axis])
    return torch.randint(count, shape, **named)


def _prefix(shape: tuple[int, ...], named: dict[str, Any]) -> torch.Tensor:
    """Return 1 up to somewhere along the last axis, for at least one entry and not for all."""
    length = shape[-1]
    visible = torch.randint(max(1, length // 4), max(2, length), (*shape[:-1], 1), **named)
    return torch.arange(length, device=CPU) < visible


def sizes_of(graph: Graph) -> list[tuple[str, dict[str, int]]]:
    """Return sizes to run, the most telling first: opt, max and min of each profile, each once."""
    found: dict[tuple[int, ...], tuple[str, dict[str, int]]] = {}
    for end in (1, 2, 0):
        for index in range(count_profiles(graph.dims)):
            sizes = {dim.name: profile_of(dim, index)[end] for dim in graph.dims}
            named = ", ".join(f"{name} = {size}" for name, size in sizes.items())
            found.setdefault(tuple(sizes.values()), (named or "the declared sizes", sizes))
    return list(found.values())


def _inside(node: Node, places: Sequence[int]) -> list[Use]:
    """Return what becomes of a node's inputs in the graphs that its op holds."""
    op = node.op
    if not isinstance(op, Holder):
        return []
    found = []
    for graph in graphs_in(op):
        for place in places:
            inner = place if op.own == op.lead else place - op.lead + op.own
            if inner >= 0:
                found.append(_use(graph, graph.inputs[inner]))
    return found


def require_indices(
    graph: Graph,
    constants: Mapping[Value, torch.Tensor],
    inputs: Sequence[torch.Tensor],
    hosts: Sequence[int],
) -> None:
    """Raise IndexError for an index out of range: on a GPU it ends CUDA for the process.

    And ZeroDivisionError for an integer by 0, which is any number there. What indices and divisors
    are computed from is computed on the CPU for that, and nothing else.
    """
    nodes = [node for node in graph.nodes if node.op.name in INDEXING or _divides(node)]
    wanted = tuple(node.inputs[1] for node in nodes)
    needed, kept = set(wanted), []
    for node in reversed(graph.nodes):
        if not needed.isdisjoint(node.outputs):
            kept.append(node)
            needed.update(node.inputs)
    known = {value: c for value, c in graph.constants.items() if value in needed}
    part = replace(graph, nodes=tuple(reversed(kept)), outputs=wanted, constants=known)
    values = {value: constants[value].to(CPU) for value in known}
    indices, bindings = run(part, inputs, values, None, hosts, CPU)
    for node, index in zip(nodes, indices, strict=True):
        if _divides(node):
            if not bool(index.all()):
                raise ZeroDivisionError(f"{node.label}: an integer is divided by 0")
            continue
        tables = [
            torch.zeros((), dtype=v.spec.dtype, device=CPU).expand(
                [evaluate(size, bindings) for size in v.spec.shape]
            )
            for v in node.inputs
        ]
        tables[1] = index
        node.op.at(bindings).reference(*tables)


def _divides(node: Node) -> bool:
    """Say whether a node divides integers by what is computed."""
    whole = not node.outputs[0].spec.dtype.is_floating_point
    return whole and node.op.name == "Elementwise" and getattr(node.op, "kind", "") in DIVIDES
