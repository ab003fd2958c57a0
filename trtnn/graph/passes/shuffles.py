"""Merge chains of transposes and reshapes into one Shuffle each."""

from __future__ import annotations

from collections.abc import Sequence

from trtnn.graph.graph import Graph, Value
from trtnn.graph.passes.rewriter import Rewriter
from trtnn.ops.movement import Shuffle
from trtnn.ops.op import Spec
from trtnn.sizes.dims import Size


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
    gone = dropped(between.shape, second.shape) if second.first is None else None
    if gone is None or first.second is None:
        return None
    # The sizes of 1 that the second one drops, the first one need not make.
    axes = [first.second[i] for i in gone]
    left = [axis for axis in first.second if axis not in axes]
    turn = tuple(sorted(left).index(axis) for axis in left)
    shape = tuple(size for axis, size in enumerate(first.shape) if axis not in axes)
    return Shuffle(first.first, shape, compose(turn, second.second))


def dropped(before: Sequence[Size], after: Sequence[Size]) -> list[int] | None:
    """Return the axes of size 1 that a reshape drops, None if it does anything else.

    >>> dropped((1, 4, 1, 3), (4, 3)), dropped((4, 3), (12,))
    ([0, 2], None)
    """
    gone, kept = [], list(after)
    for axis, size in enumerate(before):
        if kept and kept[0] == size:
            kept.pop(0)
        elif size == 1:
            gone.append(axis)
        else:
            return None
    return None if kept or not gone else gone


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
