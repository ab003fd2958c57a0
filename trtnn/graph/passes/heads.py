"""Split one product that is cut into the queries, keys and values of an attention."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch

from trtnn.graph.graph import Graph, Node, Value
from trtnn.graph.passes.rewriter import Rewriter
from trtnn.graph.passes.shuffles import merge_shuffles
from trtnn.ops.arithmetic import Cast, Elementwise, Scaled, add
from trtnn.ops.attention import Attention
from trtnn.ops.matrix import MatrixMultiply
from trtnn.ops.movement import Expand, Shuffle
from trtnn.ops.normalization import Normalization
from trtnn.ops.slicing import Concat, Slice
from trtnn.ops.unary import Unary

BETWEEN = (Cast, Concat, Elementwise, Expand, Normalization, Scaled, Shuffle, Slice, Unary)


@dataclass(frozen=True)
class Packed:
    """A product by constants whose every user takes a part of the last axis.

    Args:
        whole: The product, with its bias, and as it is cut.
        inner: The sizes that the last axis is seen in.
        cuts: Each part: its node, the axis of ``inner``, its start and size there.
    """

    product: Node
    bias: Value | None
    shuffle: Shuffle | None
    whole: frozenset[Value]
    inner: tuple[int, ...]
    cuts: tuple[tuple[Node, int, int, int], ...]


def split_heads(graph: Graph) -> Graph:
    """Return ``graph`` with a product of its own for each of queries, keys and values.

    TensorRT 8.6.0 is faster with three products than with one that is cut in three. One whose
    parts feed no attention, or that is seen whole, is left as it is. Shuffles are merged before
    and after.
    """
    users: dict[Value, list[Node]] = {}
    for node in graph.nodes:
        for value in node.inputs:
            users.setdefault(value, []).append(node)
    attended = _attended(graph)
    found = [
        packed
        for node in graph.nodes
        if isinstance(node.op, MatrixMultiply)
        and (packed := _packed(graph, node, users))
        and len(packed.cuts) > 1
        and packed.whole.isdisjoint(graph.outputs)
        and all(cut.outputs[0] in attended for cut, *_ in packed.cuts)
    ]
    if not found:
        return graph
    parts = {cut: (packed, at) for packed in found for cut, *at in packed.cuts}
    rewriter = Rewriter(graph)
    for node in graph.nodes:
        if node in parts:
            packed, (axis, start, size) = parts[node]
            _split(rewriter, node, packed, axis, start, size)
        else:
            rewriter.keep(node)
    return merge_shuffles(rewriter.finish())


def _attended(graph: Graph) -> set[Value]:
    """Return the values that an attention, or a product of two values, is made of."""
    found: set[Value] = set()
    for node in reversed(graph.nodes):
        multiplies = isinstance(node.op, MatrixMultiply) and not any(
            value in graph.constants for value in node.inputs
        )
        passes = isinstance(node.op, BETWEEN) and node.outputs[0] in found
        if multiplies or passes or isinstance(node.op, Attention):
            found.update(node.inputs)
    return found


def _packed(graph: Graph, node: Node, users: dict[Value, list[Node]]) -> Packed | None:
    """Return what is known of a product that is only ever cut, None for others."""
    op, (_, weight) = node.op, node.inputs
    assert isinstance(op, MatrixMultiply)
    value, bias, shuffle = node.outputs[0], None, None
    whole = {value}
    if weight not in graph.constants or weight.spec.rank != 2:
        return None
    width = value.spec.shape[-1]
    following = users.get(value, [])
    if len(following) == 1 and isinstance(following[0].op, Elementwise):
        total = following[0]
        bias = next((v for v in total.inputs if v is not value), None)
        of_outputs = bias in graph.constants and bias.spec.shape == (width,)
        if following[0].op.kind != "SUM" or not of_outputs:
            return None
        value = total.outputs[0]
        whole.add(value)
        following = users.get(value, [])
    if len(following) == 1 and isinstance(following[0].op, Shuffle):
        shuffle = following[0].op
        value = following[0].outputs[0]
        whole.add(value)
        following = users.get(value, [])
    inner = _inner(shuffle, width, node.outputs[0].spec.rank)
    if inner is None:
        return None
    cuts = []
    for user in following:
        part = _part(user, value, shuffle, len(inner))
        if part is None:
            return None
        cuts.append((user, *part))
    return Packed(node, bias, shuffle, frozenset(whole), inner, tuple(cuts))


def _inner(shuffle: Shuffle | None, width: object, rank: int) -> tuple[int, ...] | None:
    """Return the static sizes that a Shuffle sees the last axis in."""
    if not isinstance(width, int):
        return None
    if shuffle is None:
        return (width,)
    if shuffle.first is not None and shuffle.first[-1] != rank - 1:
        return None
    shape = shuffle.shape if shuffle.shape is not None else (width,)
    inner: tuple[int, ...] = ()
    for size in reversed(shape):
        if not isinstance(size, int) or math.prod(inner) >= width:
            break
        inner = (size, *inner)
    return inner if math.prod(inner) == width else None


def _part(
    node: Node, value: Value, shuffle: Shuffle | None, count: int
) -> tuple[int, int, int] | None:
    """Return which part of which of the last ``count`` axes, before it is turned, a node takes."""
    op, shape = node.op, value.spec.shape
    if not isinstance(op, Slice) or op.mode != "STRICT_BOUNDS":
        return None
    cut = [i for i, size in enumerate(shape) if op.size[i] != size]
    start, size = (op.start[cut[0]], op.size[cut[0]]) if len(cut) == 1 else (None, None)
    others = [s for i, s in enumerate(op.start) if i not in cut]
    if any(others) or any(step != 1 for step in op.stride):
        return None
    if not isinstance(start, int) or not isinstance(size, int):
        return None
    turn = shuffle.second if shuffle is not None else None
    if shuffle is not None and shuffle.shape is None:
        return None  # a transpose alone, which no one writes around a cut
    axis = cut[0] if turn is None else turn[cut[0]]
    axis -= len(shape) - count
    return (axis, start, size) if axis >= 0 else None


def _split(
    rewriter: Rewriter, node: Node, packed: Packed, axis: int, start: int, size: int
) -> None:
    """Let a product by a part of the weight stand for a part of the product."""
    product, shuffle, inner = packed.product, packed.shuffle, packed.inner
    op, (x, weight) = product.op, product.inputs
    assert isinstance(op, MatrixMultiply)
    at = (inner, axis, start, size)
    rewriter.origin = product.origin
    kernel = rewriter.compute(part_of, weight, 0 if op.transpose_b else 1, *at)
    result = rewriter.record(op, (rewriter.tensor(x), kernel))
    if packed.bias is not None:
        bias = rewriter.compute(part_of, packed.bias, 0, *at)
        result = add(result, rewriter.tensor(bias))
    if shuffle is not None and shuffle.shape is not None:
        shape = list(shuffle.shape)
        shape[len(shape) - len(inner) + axis] = size
        result = rewriter.record(replace(shuffle, shape=tuple(shape)), (result,))
    rewriter.substitute(node.outputs, result)


def part_of(
    tensor: torch.Tensor, dim: int, inner: tuple[int, ...], axis: int, start: int, size: int
) -> torch.Tensor:
    """Return a part of an axis ``dim`` that is seen in the sizes ``inner``.

    >>> part_of(torch.arange(6), 0, (3, 2), 0, 1, 1)
    tensor([2, 3])
    """
    shape = tensor.shape
    seen = tensor.detach().reshape(*shape[:dim], *inner, *shape[dim + 1 :])
    part = seen.narrow(dim + axis, start, size)
    return part.flatten(dim, dim + len(inner) - 1).contiguous()
