"""TensorRT's Quantize and Dequantize layers, always as a pair."""

from __future__ import annotations

from typing import Any

import torch

from trtnn.errors import UnsupportedError
from trtnn.graph.graph import Graph, Node, Value
from trtnn.graph.passes.fused import fused_regions
from trtnn.lower.layers import ITensor, Layers, Operand
from trtnn.ops.arithmetic import Cast, Elementwise
from trtnn.ops.convolution import Convolution
from trtnn.ops.deconvolution import Deconvolution
from trtnn.ops.matrix import MatrixMultiply
from trtnn.ops.pointwise import Activation
from trtnn.ops.quantization import QuantizeDequantize
from trtnn.ops.reduction import Reduce

BESIDE = (Activation, Cast, Elementwise, QuantizeDequantize, Reduce)


class Quantization(Layers):
    """Adds the pairs between which TensorRT computes with 8 bits."""

    def quantize_dequantize(
        self, x: Operand, scale: Operand, axis: int | None, dtype: torch.dtype
    ) -> ITensor:
        """Round to what 8 bits can hold, and back: between the two TensorRT computes with them."""
        target, name = self.library.target, str(dtype).removeprefix("torch.")
        if name not in target.quantized_dtypes:
            raise UnsupportedError(
                f"{target.name} does not quantize to {name}",
                hint="quantize to torch.int8, or use TensorRT 10.12 or later",
                where=self._where(),
            )
        if isinstance(x, ITensor) and name not in target.quantized_activations:
            raise UnsupportedError(
                f"{target.name} is not known to compute with {name} activations: it takes them, "
                "and may run them in floating point",
                hint="quantize weights alone (trtnn.quantize(..., activations=False)), or to "
                "torch.float8_e4m3fn",
                where=self._where(),
            )
        x = self.tensor(x)
        if x.rank == 0:
            row = self.shuffle(x, shape=(1,))
            return self.shuffle(self.quantize_dequantize(row, scale, axis, dtype), shape=())
        factor = self.tensor(scale).handle
        kinds = [(self.library.dtype(name),), (self.kind(x.dtype),)]
        low, high = kinds if target.strongly_typed else [(), ()]

        def done(layer: Any, dtype: torch.dtype) -> ITensor:
            if axis is not None and layer is not None:
                layer.axis = axis
            return self.done(layer, dtype, x.shape, None)

        entries = done(self.network.add_quantize(x.handle, factor, *low), dtype)
        return done(self.network.add_dequantize(entries.handle, factor, *high), x.dtype)


def loose_nodes(graph: Graph, dequantized: set[Value]) -> set[Node]:
    """Return the nodes that share a region with a product of 8 bits.

    Seen on 8.6.0: such a region finds no implementation where its halves are told their type, and
    one where they are not. What follows a convolution entry by entry is a part of its kernel, which
    is none without the type ("incorrectly marked as an int8 node").
    """
    if not dequantized:
        return set()
    beside = _beside_convolutions(graph)
    return {
        node
        for region in fused_regions(graph)
        if any(isinstance(n.op, MatrixMultiply) and dequantized & {*n.inputs} for n in region)
        for node in region
        if node not in beside
    }


def _beside_convolutions(graph: Graph) -> set[Node]:
    """Return the nodes that take what convolutions give, entry by entry, or its sums."""
    found: set[Node] = set()
    given: set[Value] = set()
    for node in graph.nodes:
        follows = isinstance(node.op, BESIDE) and not given.isdisjoint(node.inputs)
        if follows:
            found.add(node)
        if follows or isinstance(node.op, (Convolution, Deconvolution)):
            given.update(node.outputs)
    return found
