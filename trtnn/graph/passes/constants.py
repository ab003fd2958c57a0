"""Convert constants of a type that a TensorRT lacks where they are made."""

from __future__ import annotations

from typing import Any

import torch

from trtnn.graph.graph import Graph, Node, Value
from trtnn.graph.passes.rewriter import Rewriter
from trtnn.ops.arithmetic import Cast, Select
from trtnn.ops.indexing import Gather, GatherElements
from trtnn.ops.movement import Expand, Identity, Shuffle
from trtnn.ops.slicing import Concat, Slice

MOVES = (Concat, Expand, Gather, GatherElements, Identity, Select, Shuffle, Slice)


def cast_constants(graph: Graph, target: Any) -> Graph:
    """Return ``graph`` with the casts of constants that ``target`` has no type for done at once.

    A buffer of float64 or int16 is often cut before it is cast: to cast it first is the same.
    What computes with such a constant stays, for the lowering to refuse.
    """
    pending: dict[Value, Node | None] = {
        value: None for value in graph.constants if not target.has_dtype(_name(value))
    }
    if not pending:
        return graph
    rewriter = Rewriter(graph)
    kept: set[Node] = set()

    def keep(node: Node) -> None:
        for value in node.inputs:
            maker = pending.get(value)
            if maker is not None and maker not in kept:
                keep(maker)
        kept.add(node)
        rewriter.keep(node)

    def converted(value: Value, dtype: torch.dtype) -> Any:
        if value not in pending:
            return rewriter.tensor(value)
        maker = pending[value]
        if maker is None:
            return rewriter.tensor(rewriter.compute(torch.Tensor.to, value, dtype))
        rewriter.origin = maker.origin
        return rewriter.record(maker.op, [converted(v, dtype) for v in maker.inputs])

    for node in graph.nodes:
        if isinstance(node.op, Cast) and node.inputs[0] in pending:
            rewriter.substitute(node.outputs, converted(node.inputs[0], node.op.dtype))
        elif isinstance(node.op, MOVES) and _moves_these(node, pending):
            pending[node.outputs[0]] = node
        else:
            keep(node)
    for value in graph.outputs:
        maker = pending.get(value)
        if maker is not None and maker not in kept:
            keep(maker)
    return rewriter.finish()


def _moves_these(node: Node, pending: dict[Value, Node | None]) -> bool:
    """Say whether all that a node moves are such constants."""
    moved = [v for v in node.inputs if v.spec.dtype == node.outputs[0].spec.dtype]
    return bool(moved) and all(value in pending for value in moved)


def _name(value: Value) -> str:
    return str(value.spec.dtype).removeprefix("torch.")
