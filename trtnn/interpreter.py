"""Run a graph with PyTorch: the reference, and the backend on a machine without TensorRT."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from trtnn.dims import Expr, Size, evaluate, symbols
from trtnn.errors import InputError
from trtnn.graph import Graph, Value, as_tuple


def bind_dims(graph: Graph, shapes: Sequence[Sequence[int]]) -> dict[str, int]:
    """Return the value of every Dim, read off the input shapes.

    Raises:
        InputError: A size is out of its range, or two inputs give one Dim different values.
    """
    bindings: dict[str, int] = {}
    origin: dict[str, str] = {}
    given = [
        (value, axis, size, shape[axis])
        for value, shape in zip(graph.inputs, shapes, strict=True)
        for axis, size in enumerate(value.spec.shape)
    ]
    # Plain Dims first: derived sizes (2 * batch) are then checked against them.
    for value, axis, size, actual in sorted(given, key=lambda g: not _is_plain(g[2])):
        name = f"{value.name}: size {actual} of dim {axis}"
        if isinstance(size, Expr) and any(s.name not in bindings for s in symbols(size)):
            solved = _solve(size, actual)
            if solved is None:
                raise InputError(f"{name} does not fit {size}")
            symbol, number = solved
            if not symbol.low <= number <= symbol.high:
                raise InputError(
                    f"{name} is out of range: {symbol.name} is {symbol.low} to {symbol.high}"
                    + ("" if _is_plain(size) else f" in {size}")
                )
            bindings[symbol.name], origin[symbol.name] = number, value.name
        expected = evaluate(size, bindings)
        if expected != actual:
            others = {origin[s.name] for s in symbols(size)} - {value.name}
            where = f" ({size}, given by {', '.join(sorted(others))})" if others else ""
            raise InputError(f"{name} should be {expected}{where}")
    return bindings


def _is_plain(size: Size) -> bool:
    return isinstance(size, Expr) and bool(size.sym.is_Symbol)


def _solve(size: Expr, actual: int) -> tuple[Any, int] | None:
    """Solve an affine size of one symbol for it."""
    (symbol, *others) = symbols(size)
    if others:
        return None
    zero, one = (evaluate(size, {symbol.name: n}) for n in (0, 1))
    slope = one - zero
    if slope == 0 or (actual - zero) % slope:
        return None
    number = (actual - zero) // slope
    return (symbol, number) if evaluate(size, {symbol.name: number}) == actual else None


def run(
    graph: Graph,
    inputs: Sequence[torch.Tensor],
    constants: Mapping[Value, torch.Tensor] | None = None,
) -> tuple[list[torch.Tensor], dict[str, int]]:
    """Execute ``graph`` on real tensors; return its output tensors and the sizes of all Dims.

    Args:
        inputs: One tensor per graph input, in order; their device is where everything runs.
        constants: Replacements for the graph's own constant tensors, such as copies on a device.
    """
    bindings = bind_dims(graph, [tuple(t.shape) for t in inputs])
    real: dict[Value, torch.Tensor] = dict(zip(graph.inputs, inputs, strict=True))
    for value, constant in graph.constants.items():
        real[value] = constants[value] if constants is not None else constant.tensor
    last_use = {value: node for node in graph.nodes for value in node.inputs}
    keep = {*graph.outputs, *graph.constants, *graph.inputs}
    device = inputs[0].device if inputs else torch.device("cpu")
    with torch.no_grad(), device:  # factories such as arange make their tensors there
        for node in graph.nodes:
            operation = node.op.at(bindings)
            results = as_tuple(operation.reference(*(real[v] for v in node.inputs)))
            bind_sizes = getattr(node.op, "bind_sizes", None)
            if bind_sizes is not None:
                bindings.update(bind_sizes(results))
            real.update(zip(node.outputs, results, strict=True))
            for value in set(node.inputs):
                if last_use[value] is node and value not in keep:
                    del real[value]
    return [real[v] for v in graph.outputs], bindings
