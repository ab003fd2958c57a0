"""Fold batch norms into the convolutions before them."""

from __future__ import annotations

import torch

from trtnn.graph.graph import Graph, Node
from trtnn.graph.passes.rewriter import Rewriter
from trtnn.ops.convolution import Convolution
from trtnn.ops.normalization import BatchNorm

PART = 2**17  # entries of a kernel


def fold_norms(graph: Graph) -> Graph:
    """Return ``graph`` with ``batch_norm(conv(x))`` as one convolution, computed in float64.

    Only where the convolution has the norm as its one consumer, and all parameters are constants.
    """
    makers = {value: node for node in graph.nodes for value in node.outputs}
    uses = graph.uses()
    rewriter = Rewriter(graph)
    folded: dict[Node, Node] = {}
    for node in graph.nodes:
        before = makers.get(node.inputs[0]) if node.inputs else None
        if (
            isinstance(node.op, BatchNorm)
            and before is not None
            and isinstance(before.op, Convolution)
            and uses[node.inputs[0]] == 1
            and all(v in graph.constants for v in (*before.inputs[1:], *node.inputs[1:]))
        ):
            folded[before] = node
    skip = set(folded.values())
    for node in graph.nodes:
        if node in folded:
            _fold(rewriter, node, folded[node])
        elif node not in skip:
            rewriter.keep(node)
    return rewriter.finish()


def _fold(rewriter: Rewriter, conv: Node, norm: Node) -> None:
    bias = conv.inputs[2] if len(conv.inputs) > 2 else None
    operands = (conv.inputs[1], bias, norm.op, norm.inputs[1:])
    rewriter.origin = conv.origin
    kernel = rewriter.compute(folded_kernel, *operands)
    shift = rewriter.compute(folded_bias, *operands)
    x = rewriter.tensor(conv.inputs[0])
    rewriter.substitute(norm.outputs, rewriter.record(conv.op, (x, kernel, shift)))


def folded_kernel(
    kernel: torch.Tensor,
    bias: torch.Tensor | None,
    norm: BatchNorm,
    parameters: tuple[torch.Tensor, ...],
) -> torch.Tensor:
    """Return the kernel of the folded convolution, in the kernel's dtype."""
    scale, _ = norm.folded(*parameters)
    wide = scale.double().reshape((-1,) + (1,) * (kernel.dim() - 1))
    # A part at a time: a kernel in float64 leaves holes in memory that nothing else fits into.
    rows = max(1, PART // max(1, kernel[:1].numel()))
    result = torch.empty_like(kernel, requires_grad=False)
    for start in range(0, kernel.shape[0], rows):
        part = slice(start, start + rows)
        result[part] = kernel.detach()[part].double() * wide[part]
    return result


def folded_bias(
    kernel: torch.Tensor,
    bias: torch.Tensor | None,
    norm: BatchNorm,
    parameters: tuple[torch.Tensor, ...],
) -> torch.Tensor:
    """Return the bias of the folded convolution, in the kernel's dtype."""
    scale, shift = norm.folded(*parameters)
    before = torch.zeros_like(scale) if bias is None else bias
    return (before.double() * scale.double() + shift.double()).to(kernel.dtype)
