"""Quantized weights as TensorRT computes with them: of one rank with activations, or none."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch

from trtnn.graph.graph import Graph, Node, Value
from trtnn.graph.holding import drop_unused
from trtnn.graph.passes.rewriter import Rewriter
from trtnn.ops.matrix import MatrixMultiply
from trtnn.ops.quantization import QuantizeDequantize


def fold_lone_weights(graph: Graph, target: Any) -> Graph:
    """Return ``graph`` with weights that meet no quantized activation rounded while lowering.

    Seen on 8.6.0: products and convolutions of quantized weights and floats are wrong, by a fifth
    and more. Rounded as 8 bits hold them and multiplied as floats they are what later versions
    compute; they take a float's memory.
    """
    if target.strongly_typed:
        return graph
    pairs = {
        node.outputs[0]: node for node in graph.nodes if isinstance(node.op, QuantizeDequantize)
    }
    weights = {value for value, node in pairs.items() if _is_weight(graph, node)}
    activations = pairs.keys() - weights
    rewriter = Rewriter(graph)
    made: dict[Value, Value] = {}

    def rounded(value: Value) -> Value:
        if value not in made:
            operation, operands = pairs[value].op, pairs[value].inputs
            assert isinstance(operation, QuantizeDequantize)
            made[value] = rewriter.compute(operation.reference, *map(rewriter.value, operands))
        return made[value]

    for node in graph.nodes:
        lone = weights if activations.isdisjoint(node.inputs) else ()
        inputs = tuple(rounded(v) if v in lone else rewriter.value(v) for v in node.inputs)
        rewriter.keep(replace(node, inputs=inputs))
    return drop_unused(rewriter.finish()) if made else graph


def widen_quantized(graph: Graph) -> Graph:
    """Return ``graph`` with no reshape to come between a quantized constant and its product.

    TensorRT multiplies operands of one rank; what stands between Dequantize and the product
    keeps it from 8 bits.
    """
    makers = {value: node for node in graph.nodes for value in node.outputs}
    rewriter = Rewriter(graph)
    made: dict[tuple[Value, int], Value] = {}

    def widened(value: Value, rank: int) -> Value:
        maker = makers.get(value)
        if value.spec.rank >= rank or maker is None or not _is_weight(graph, maker):
            return rewriter.value(value)
        if (value, rank) not in made:
            made[value, rank] = _widened(rewriter, maker, rank)
        return made[value, rank]

    for node in graph.nodes:
        if not isinstance(node.op, MatrixMultiply):
            rewriter.keep(node)
            continue
        rank = max(value.spec.rank for value in node.inputs)
        inputs = tuple(widened(value, rank) for value in node.inputs)
        rewriter.keep(replace(node, inputs=inputs))
    return rewriter.finish()


def _is_weight(graph: Graph, node: Node) -> bool:
    known = all(value in graph.constants for value in node.inputs)
    return isinstance(node.op, QuantizeDequantize) and known


def _widened(rewriter: Rewriter, node: Node, rank: int) -> Value:
    """Record a node again, of its constant with dims of size 1 in front."""
    operation = node.op
    assert isinstance(operation, QuantizeDequantize)
    weight, scale = map(rewriter.value, node.inputs)
    more = rank - weight.spec.rank
    shape = (*(1,) * more, *weight.spec.shape)
    rewriter.origin = node.origin
    wide = rewriter.compute(torch.reshape, weight, shape)
    axis = None if operation.axis is None else operation.axis + more
    return rewriter.value_of(rewriter.record(replace(operation, axis=axis), (wide, scale)))
