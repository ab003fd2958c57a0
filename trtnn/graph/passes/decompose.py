"""Replace ops whose layer a TensorRT lacks by their composition."""

from __future__ import annotations

from typing import Any

from trtnn.graph.graph import Graph, graphs_in
from trtnn.graph.passes.rewriter import Rewriter
from trtnn.ops.op import recording

# RTX 1.7.1, of an attention in a branch or a loop: "unknown input tensor".
NEVER_HELD = frozenset({"Attention"})


def decompose(graph: Graph, target: Any, *, held: bool = False) -> Graph:
    """Return ``graph`` with each op that ``target`` has no layer for composed of others.

    An op says so itself: ``needs_decomposition(target)``, with ``decompose(*tensors)`` beside it.
    In graphs that an op holds there are layers less, and in those that hold some.
    """
    rewriter = Rewriter(graph)
    beside = held or any(graphs_in(node.op) for node in graph.nodes)
    for node in graph.nodes:
        if not _needs(node.op, target, held=held, beside=beside):
            rewriter.keep(node)
            continue
        rewriter.origin = node.origin
        operation: Any = node.op
        with recording(rewriter):
            result = operation.decompose(*(rewriter.tensor(v) for v in node.inputs))
        rewriter.substitute(node.outputs, result)
    return rewriter.finish()


def _needs(op: Any, target: Any, *, held: bool, beside: bool) -> bool:
    if held and op.name in NEVER_HELD:
        return True
    if op.name == "Activation":
        return beside and op.kind in target.refused_with_graphs
    needs = getattr(op, "needs_decomposition", None)
    return needs is not None and needs(target)
