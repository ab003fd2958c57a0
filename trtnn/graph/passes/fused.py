"""Part the regions that TensorRT 8.6 fuses at the borders between half and float32."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch

from trtnn.graph.graph import Graph, Node, Value
from trtnn.graph.passes.rewriter import Rewriter
from trtnn.ops.arithmetic import Cast
from trtnn.ops.convolution import Convolution
from trtnn.ops.deconvolution import Deconvolution
from trtnn.ops.matrix import MatrixMultiply
from trtnn.ops.normalization import BatchNorm, Normalization
from trtnn.ops.pooling import Part, Pool
from trtnn.ops.reduction import Softmax
from trtnn.ops.resizing import Resize

# Layers that are kernels of their own, and those around which a region of many layers grows.
ALONE = (BatchNorm, Convolution, Deconvolution, Part, Pool, Resize)
CORES = (MatrixMultiply, Normalization, Softmax)
MIXED = frozenset({torch.float16, torch.float32})


def part_regions(graph: Graph, target: Any) -> Graph:
    """Return ``graph`` with a layer of its own before each cast between half and float32.

    Seen on 8.6.0: where one region that it fuses holds layers of both types, it finds no
    implementation, or computes all of it in half, whatever it was told: numbers beyond 65504 are
    wrong. A pool of one entry is no part of a region, and changes nothing. Casts at the border of
    the graph are no harm, and later versions are strongly typed.
    """
    if target.strongly_typed:
        return graph
    parted = {
        node
        for region in fused_regions(graph)
        if {value.spec.dtype for node in region for value in node.outputs} >= MIXED
        for node in region
        if _is_border(node)
    }
    parted -= _at_the_ends(graph)
    if not parted:
        return graph
    rewriter = Rewriter(graph)
    for node in graph.nodes:
        if node not in parted:
            rewriter.keep(node)
            continue
        rewriter.origin = node.origin
        apart = rewriter.record(Part(), [rewriter.tensor(node.inputs[0])])
        rewriter.substitute(node.outputs, rewriter.record(node.op, [apart]))
    return rewriter.finish()


def _is_border(node: Node) -> bool:
    types = {value.spec.dtype for value in (*node.inputs, *node.outputs)}
    return isinstance(node.op, Cast) and types == MIXED


def _at_the_ends(graph: Graph) -> set[Node]:
    """Return the nodes that read an input of the graph, or give nothing but its outputs."""
    read = {value for node in graph.nodes for value in node.inputs}
    inputs = set(graph.inputs)
    return {
        node
        for node in graph.nodes
        if not inputs.isdisjoint(node.inputs) or read.isdisjoint(node.outputs)
    }


def fused_regions(graph: Graph) -> list[list[Node]]:
    """Return the nodes that TensorRT may compute in one, region by region.

    A region is what is connected without a convolution, pool or resize between, and holds a
    product, a softmax or a normalization.
    """
    groups: dict[Node, list[Node]] = {}
    makers: dict[Value, Node] = {}
    for node in graph.nodes:
        if isinstance(node.op, ALONE):
            continue
        makers.update(dict.fromkeys(node.outputs, node))
        groups[node] = [node]
        for before in {makers[value] for value in node.inputs if value in makers}:
            _join(groups, before, node)
    regions: Iterable[list[Node]] = {id(group): group for group in groups.values()}.values()
    return [region for region in regions if any(isinstance(n.op, CORES) for n in region)]


def _join(groups: dict[Node, list[Node]], one: Node, other: Node) -> None:
    large, small = sorted((groups[one], groups[other]), key=len, reverse=True)
    if large is not small:
        large.extend(small)
        groups.update(dict.fromkeys(small, large))
