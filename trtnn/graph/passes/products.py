"""Let products of 16 bits add up in float32, as PyTorch's do."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch

from trtnn.graph.graph import Graph, Node, Value
from trtnn.graph.passes.rewriter import Rewriter
from trtnn.ops.arithmetic import HALVES, Cast
from trtnn.ops.matrix import MatrixMultiply

WIDE = torch.float32


def widen_products(graph: Graph, target: Any, accumulate: str | None) -> Graph:
    """Return ``graph`` with the products that ``low_products`` gives adding up in float32.

    A strongly typed TensorRT is told so in the lowering; 8.6 knows no other way than float32.

    Args:
        accumulate: As ``Precision`` has it: None: where it costs nothing.
    """
    if not adds_in_float32(target, accumulate):
        return graph
    low = low_products(graph)
    rewriter = Rewriter(graph)
    made: dict[Value, Value] = {}

    def wide(value: Value) -> Value:
        if value not in made and value in graph.constants:
            made[value] = rewriter.compute(torch.Tensor.to, value, WIDE)
        elif value not in made:
            made[value] = rewriter.value_of(rewriter.record(Cast(WIDE), (rewriter.value(value),)))
        return made[value]

    for node in graph.nodes:
        operation = node.op
        if node not in low or not isinstance(operation, MatrixMultiply):
            rewriter.keep(node)
        elif target.strongly_typed:
            rewriter.keep(replace(node, op=replace(operation, wide_sums=True)))
        else:
            rewriter.origin = node.origin
            result = rewriter.record(operation, [wide(value) for value in node.inputs])
            low_again = Cast(node.outputs[0].spec.dtype)
            rewriter.substitute(node.outputs, rewriter.record(low_again, (result,)))
    return rewriter.finish()


def adds_in_float32(target: Any, accumulate: str | None) -> bool:
    """Say whether a TensorRT is made to add up products of 16 bits in float32."""
    return accumulate == "fp32" or (accumulate is None and target.fuses_wide_sums)


def low_products(graph: Graph) -> set[Node]:
    """Return the products of 16 bits and a constant: linear layers.

    Between the two products of an attention, neither of which has one, no cast may stand, and what
    is rounded to 8 bits adds up in int32.
    """
    rounded = {
        value for n in graph.nodes if n.op.name == "QuantizeDequantize" for value in n.outputs
    }
    return {
        node
        for node in graph.nodes
        if isinstance(node.op, MatrixMultiply)
        and node.outputs[0].spec.dtype in HALVES
        and any(value in graph.constants for value in node.inputs)
        and rounded.isdisjoint(node.inputs)
    }
