"""Run a graph with PyTorch: the reference, and the backend on a machine without TensorRT."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch

from trtnn.graph.graph import Graph, Value, as_tuple
from trtnn.graph.holding import Holder
from trtnn.ops.op import Op
from trtnn.sizes.solutions import bind_dims

Compute = Callable[[Op, list[torch.Tensor]], Any]
"""What an op gives for real operands: one tensor, or a tuple of them."""


class Bound:
    """The value of every size in one call, those that depend on data included."""

    def __init__(self, bindings: dict[str, int]) -> None:
        self.bindings = bindings


def run(
    graph: Graph,
    inputs: Sequence[torch.Tensor],
    constants: Mapping[Value, torch.Tensor] | None = None,
    profile: int | None = None,
    hosts: Sequence[int] = (),
    device: torch.device | None = None,
    observe: Callable[[Value, torch.Tensor], None] | None = None,
    compute: Compute = lambda op, operands: op.reference(*operands),
) -> tuple[list[torch.Tensor], dict[str, int]]:
    """Execute ``graph`` on real tensors; return its output tensors and the sizes of all Dims.

    Args:
        inputs: One tensor per graph input, in order.
        constants: Replacements for the graph's own constant tensors, such as copies on a device.
        profile: The one profile that must hold the sizes; any, if omitted.
        hosts: The values of the host inputs, in order.
        device: Where everything runs; the first input's, or the CPU, if omitted.
        observe: Called with each result of a node as soon as it is there.
        compute: How an op is computed; as its reference does, if omitted.
    """
    bindings = bind_dims(graph, [tuple(t.shape) for t in inputs], profile, hosts)
    real: dict[Value, torch.Tensor] = dict(zip(graph.inputs, inputs, strict=True))
    for value, constant in graph.constants.items():
        real[value] = constants[value] if constants is not None else constant.tensor
    device = device or (inputs[0].device if inputs else torch.device("cpu"))
    # Factories such as arange make their tensors on the device; a graph has its types already.
    with torch.no_grad(), torch._C._DisableAutocast(), device:
        return _execute(graph, real, bindings, observe, compute), bindings


def _execute(
    graph: Graph,
    real: dict[Value, torch.Tensor],
    bindings: dict[str, int],
    observe: Callable[[Value, torch.Tensor], None] | None,
    compute: Compute,
) -> list[torch.Tensor]:
    """Run the nodes of a graph, and of the graphs that its ops hold; only its own are observed."""

    def held(inner: Graph, given: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        values = dict(zip(inner.inputs, given, strict=True))
        return _execute(inner, values, bindings, None, compute)

    last_use = {value: node for node in graph.nodes for value in node.inputs}
    keep = {*graph.outputs, *graph.constants, *graph.inputs}
    for node in graph.nodes:
        operation = node.op.at(bindings)
        operands = [real[v] for v in node.inputs]
        if isinstance(operation, Holder):
            results = as_tuple(operation.reference(held, *operands))
        else:
            results = as_tuple(compute(operation, operands))
        bind_sizes = getattr(node.op, "bind_sizes", None)
        if bind_sizes is not None:
            bindings.update(bind_sizes(results))
        real.update(zip(node.outputs, results, strict=True))
        if observe is not None:
            for value, result in zip(node.outputs, results, strict=True):
                observe(value, result)
        for value in set(node.inputs):
            if last_use[value] is node and value not in keep:
                del real[value]
    return [real[v] for v in graph.outputs]
