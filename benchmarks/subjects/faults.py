"""Engines that are wrong in one place: in a graph, or in what goes in or comes out."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch

from trtnn.graph.graph import Graph, Node, Value
from trtnn.run.samples import uses_of
from trtnn.sizes.dims import evaluate

Tensors = list[torch.Tensor]
Change = Callable[[Tensors], Tensors]


def same(tensors: Tensors) -> Tensors:
    """Change nothing."""
    return tensors


@dataclass(frozen=True)
class Fault:
    """What a wrong engine computes: a graph, on changed inputs, with changed outputs."""

    place: str
    graph: Graph
    before: Change = same
    after: Change = same


def with_constant(graph: Graph, value: Value, change: Callable[[Any], Any]) -> Graph:
    """Return a graph with another content of a constant."""
    constant = graph.constants[value]
    changed = replace(constant, tensor=change(constant.tensor.detach().clone()))
    return replace(graph, constants={**graph.constants, value: changed})


def with_op(graph: Graph, node: Node, **fields: Any) -> Graph:
    """Return a graph with other fields of a node's op."""
    changed = replace(node, op=replace(node.op, **fields))
    return replace(graph, nodes=tuple(changed if n is node else n for n in graph.nodes))


def weights(graph: Graph) -> Iterator[tuple[Node, Value, int]]:
    """Yield products with a constant, that constant, and its axis of output channels."""
    for node in graph.nodes:
        if node.op.name == "Convolution":
            yield node, node.inputs[1], 0
        if node.op.name == "MatrixMultiply" and node.inputs[1] in graph.constants:
            yield node, node.inputs[1], -2 if vars(node.op)["transpose_b"] else -1


def dropped_bias(graph: Graph) -> Iterator[Fault]:
    """Leave out a bias."""
    for node in graph.nodes:
        name, known = node.op.name, [v for v in node.inputs if v in graph.constants]
        sums = name == "Elementwise" and vars(node.op)["kind"] == "SUM"
        bias = known[-1] if (sums and known) or (name == "Convolution" and len(known) > 1) else None
        if bias is not None and len(bias.spec.shape) < 3 and bias.spec.shape:
            yield Fault(node.label, with_constant(graph, bias, torch.zeros_like))


def swapped_channels(graph: Graph) -> Iterator[Fault]:
    """Exchange the first two channels of a product."""
    for node, value, axis in weights(graph):
        count = value.spec.shape[axis]
        assert isinstance(count, int)
        order = torch.arange(count)
        order[:2] = order[:2].flip(0)
        yield Fault(
            node.label,
            with_constant(graph, value, lambda t, axis=axis, o=order: t.index_select(axis, o)),
        )


def scaled(graph: Graph) -> Iterator[Fault]:
    """Make the weights of a product larger by a tenth."""
    for node, value, _ in weights(graph):
        yield Fault(node.label, with_constant(graph, value, lambda t: t * 1.1))


def epsilon(change: Callable[[float], float]) -> Callable[[Graph], Iterator[Fault]]:
    """Give a norm another epsilon."""

    def found(graph: Graph) -> Iterator[Fault]:
        for node in graph.nodes:
            if hasattr(node.op, "epsilon"):
                yield Fault(node.label, with_op(graph, node, epsilon=change(node.op.epsilon)))

    return found


def ignored_mask(graph: Graph) -> Iterator[Fault]:
    """Let every mask show all."""
    masks = [i for i, v in enumerate(graph.inputs) if v in (u := uses_of(graph)) and u[v].mask]
    for i in masks:

        def before(inputs: Tensors, i: int = i) -> Tensors:
            return [torch.ones_like(t) if j == i else t for j, t in enumerate(inputs)]

        if not uses_of(graph)[graph.inputs[i]].tables:
            yield Fault(graph.inputs[i].name, graph, before)


def shifted_gather(graph: Graph) -> Iterator[Fault]:
    """Take the row after the one that an index names."""
    for i, value in enumerate(graph.inputs):
        use = uses_of(graph).get(value)
        if use is not None and use.tables:
            rows = evaluate(use.tables[0][0], {})

            def before(inputs: Tensors, i: int = i, rows: int = rows) -> Tensors:
                return [(t + 1) % rows if j == i else t for j, t in enumerate(inputs)]

            yield Fault(value.name, graph, before)


def copied_element(graph: Graph) -> Iterator[Fault]:
    """Return the first element of a batch in the place of the second."""

    def after(outputs: Tensors) -> Tensors:
        return [torch.cat([t[:1], t[:1], t[2:]]) if len(t) > 1 else t for t in outputs]

    yield Fault("batch element 1", graph, after=after)


def one_wrong_output(graph: Graph) -> Iterator[Fault]:
    """Turn the sign of one output of several."""
    for i in range(len(graph.outputs)):

        def after(outputs: Tensors, i: int = i) -> Tensors:
            return [-t if j == i else t for j, t in enumerate(outputs)]

        if len(graph.outputs) > 1:
            yield Fault(f"output {i}", graph, after=after)


def dead_channel(graph: Graph) -> Iterator[Fault]:
    """Let one channel of an output be 0."""

    def after(outputs: Tensors) -> Tensors:
        def dead(t: torch.Tensor) -> torch.Tensor:
            t = t.clone()
            t[..., t.shape[-1] // 2] = 0
            return t

        return list(map(dead, outputs))

    yield Fault("the channel in the middle", graph, after=after)


def tanh_for_erf(graph: Graph) -> Iterator[Fault]:
    """Compute GELU by its other formula."""
    for node in graph.nodes:
        if node.op.name == "Gelu" and vars(node.op)["approximate"] != "tanh":
            yield Fault(node.label, with_op(graph, node, approximate="tanh"))


FAULTS: dict[str, Callable[[Graph], Iterator[Fault]]] = {
    "dropped bias": dropped_bias,
    "swapped channels": swapped_channels,
    "scale of 1.1": scaled,
    "epsilon of 1e-2": epsilon(lambda _: 1e-2),
    "ignored mask": ignored_mask,
    "off-by-one gather": shifted_gather,
    "batch element copied": copied_element,
    "one output of four wrong": one_wrong_output,
    "dead channel": dead_channel,
    "epsilon off by 1e-6": epsilon(lambda known: known + 1e-6),
    "tanh for erf": tanh_for_erf,
}
