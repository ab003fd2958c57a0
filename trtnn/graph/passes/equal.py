"""Compute what is computed twice once."""

from __future__ import annotations

from typing import Any

from trtnn.graph.graph import Graph, Value, ops_in
from trtnn.graph.passes.rewriter import Rewriter


def merge_equal(graph: Graph) -> Graph:
    """Return ``graph`` with one node for all that have one op and the same operands.

    Libraries ask the same of a size or a mask in every layer. A node whose result an output
    of the graph is stays, for outputs must not share memory.
    """
    rewriter = Rewriter(graph)
    outputs = set(graph.outputs)
    made: dict[tuple[Any, ...], tuple[Value, ...]] = {}
    for node in graph.nodes:
        # By text: 0.0 and -0.0 are equal, and differ.
        key = (type(node.op), repr(node.op), tuple(map(rewriter.value, node.inputs)))
        before = made.get(key)
        draws = any(op.draws for op in ops_in(node))
        merges = not (draws or outputs.intersection(node.outputs))
        if before is not None and merges:
            rewriter.substitute(node.outputs, before)
            continue
        rewriter.keep(node)
        made.setdefault(key, node.outputs)
    return rewriter.finish()
