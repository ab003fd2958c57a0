"""Merge chains of transposes and reshapes into one Shuffle each."""

from __future__ import annotations

from trtnn.graph.graph import Graph, Value
from trtnn.graph.passes.rewriter import Rewriter
from trtnn.ops.movement import Shuffle
from trtnn.ops.op import Spec


def merge_shuffles(graph: Graph) -> Graph:
    """Return ``graph`` with adjacent Shuffles merged, and those that change nothing dropped."""
    makers = {value: node for node in graph.nodes for value in node.outputs}
    uses = graph.uses()
    rewriter = Rewriter(graph)
    merged: dict[Value, tuple[Shuffle, Value]] = {}
    for node in graph.nodes:
        if not isinstance(node.op, Shuffle):
            rewriter.keep(node)
            continue
        source = node.inputs[0]
        operation, origin = node.op, source
        before = merged.get(source)
        maker = makers.get(source)
        if before is not None and maker is not None and uses[source] == 1:
            first, start = before
            joined = join(first, node.op, start.spec, source.spec)
            if joined is not None:
                operation, origin = joined, start
        merged[node.outputs[0]] = (operation, origin)
        rewriter.origin = node.origin
        if operation.infer(origin.spec) == origin.spec and is_identity(operation, origin.spec):
            rewriter.substitute(node.outputs, rewriter.tensor(origin))
        else:
            result = rewriter.record(operation, (rewriter.tensor(origin),))
            rewriter.substitute(node.outputs, result)
    return rewriter.finish()


def is_identity(op: Shuffle, spec: Spec) -> bool:
    """Say whether an op leaves a tensor as it is."""
    straight = tuple(range(spec.rank))
    return (
        op.first in (None, straight)
        and op.shape in (None, spec.shape)
        and op.second in (None, straight)
    )


def join(first: Shuffle, second: Shuffle, spec: Spec, between: Spec) -> Shuffle | None:
    """Return one Shuffle for two, None where the reshapes do not meet.

    ``spec`` is what the first one reads, ``between`` what it gives.
    """
    middle = compose(first.second, second.first)
    if second.shape is None:
        turn = compose(middle, second.second)
        if first.shape is None:
            return Shuffle(compose(first.first, turn), None, None)
        return Shuffle(first.first, first.shape, turn)
    if first.shape is None:
        return Shuffle(compose(first.first, middle), second.shape, second.second)
    if middle in (None, tuple(range(between.rank))):
        return Shuffle(first.first, second.shape, second.second)
    return None


def compose(
    first: tuple[int, ...] | None, second: tuple[int, ...] | None
) -> tuple[int, ...] | None:
    """Return the permutation that does ``first``, then ``second``.

    >>> compose((1, 2, 0), (2, 0, 1))
    (0, 1, 2)
    """
    if first is None or second is None:
        return first if second is None else second
    return tuple(first[i] for i in second)
