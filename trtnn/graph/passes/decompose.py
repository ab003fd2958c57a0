"""Replace ops whose layer a TensorRT lacks by their composition."""

from __future__ import annotations

from typing import Any

from trtnn.graph.graph import Graph
from trtnn.graph.passes.rewriter import Rewriter
from trtnn.ops.op import recording

# RTX 1.7.1, of an attention in a branch or a loop: "unknown input tensor".
NEVER_HELD = frozenset({"Attention"})


def decompose(graph: Graph, target: Any, *, held: bool = False) -> Graph:
    """Return ``graph`` with each op that ``target`` has no layer for composed of others.

    An op says so itself: ``needs_decomposition(target)``, with ``decompose(*tensors)`` beside it.
    In graphs that an op holds there are layers less.
    """
    rewriter = Rewriter(graph)
    for node in graph.nodes:
        needs = getattr(node.op, "needs_decomposition", None)
        if needs is None or not (needs(target) or (held and node.op.name in NEVER_HELD)):
            rewriter.keep(node)
            continue
        rewriter.origin = node.origin
        operation: Any = node.op
        with recording(rewriter):
            result = operation.decompose(*(rewriter.tensor(v) for v in node.inputs))
        rewriter.substitute(node.outputs, result)
    return rewriter.finish()
