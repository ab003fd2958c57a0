"""Move zero padding into the convolution or the average pool that reads it."""

from __future__ import annotations

from dataclasses import replace

from trtnn.graph.graph import Graph, Node, Value
from trtnn.graph.passes.rewriter import Rewriter
from trtnn.ops.convolution import Convolution
from trtnn.ops.pooling import Pool
from trtnn.ops.slicing import Slice

Sides = tuple[tuple[int, ...], tuple[int, ...]]


def absorb_pads(graph: Graph) -> Graph:
    """Return ``graph`` with zero padding of spatial dims left to the one op that reads it.

    A convolution takes any; an average pool takes it where its own padding counts as well.
    """
    makers = {value: node for node in graph.nodes for value in node.outputs}
    uses = graph.uses()
    rewriter = Rewriter(graph)
    for node in graph.nodes:
        sides = None
        if node.inputs and uses[node.inputs[0]] == 1 and _counts_zeros(node):
            sides = zero_padding(graph, makers.get(node.inputs[0]))
        if sides is None:
            rewriter.keep(node)
            continue
        assert isinstance(node.op, (Convolution, Pool))
        pre, post = (
            tuple(own + more for own, more in zip(mine, theirs, strict=True))
            for mine, theirs in zip((node.op.pre, node.op.post), sides, strict=True)
        )
        wide = replace(node.op, pre=pre, post=post)
        if isinstance(wide, Pool):
            if any(n >= w for n, w in zip((*pre, *post), wide.window * 2, strict=True)):
                rewriter.keep(node)  # TensorRT's windows must touch the input
                continue
            wide = replace(wide, count_include_pad=True)
        source = makers[node.inputs[0]].inputs[0]
        rewriter.origin = node.origin
        operands = [rewriter.tensor(v) for v in (source, *node.inputs[1:])]
        rewriter.substitute(node.outputs, rewriter.record(wide, operands))
    return rewriter.finish()


def _counts_zeros(node: Node) -> bool:
    """Say whether an op treats padding as zeros that were there."""
    if isinstance(node.op, Pool):
        own = any((*node.op.pre, *node.op.post))
        return node.op.kind == "AVERAGE" and (node.op.count_include_pad or not own)
    return isinstance(node.op, Convolution)


def zero_padding(graph: Graph, node: Node | None) -> Sides | None:
    """Return how many zeros a node puts before and after each spatial dim; None for others."""
    if node is None or not isinstance(node.op, Slice) or node.op.mode != "FILL":
        return None
    x = node.inputs[0].spec
    if x.rank < 4 or any(step != 1 for step in node.op.stride) or not _is_zero(graph, node):
        return None
    pre = [0 - start for start in node.op.start]
    post = [new - old - a for new, old, a in zip(node.op.size, x.shape, pre, strict=True)]
    amounts = [n for n in (*pre, *post) if isinstance(n, int) and n >= 0]
    if len(amounts) < 2 * x.rank or any((*pre[:2], *post[:2])):
        return None
    return tuple(amounts[2 : x.rank]), tuple(amounts[x.rank + 2 :])


def _is_zero(graph: Graph, node: Node) -> bool:
    fill: Value | None = node.inputs[1] if len(node.inputs) > 1 else None
    constant = graph.constants.get(fill) if fill is not None else None
    return constant is not None and not bool(constant.tensor.any())
