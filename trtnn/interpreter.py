"""Run a graph with PyTorch: the reference, and the backend on a machine without TensorRT."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch

from trtnn.dims import Expr, Size, evaluate, symbols
from trtnn.errors import InputError
from trtnn.graph import Graph, Value, as_tuple
from trtnn.profiles import count_profiles, fitting_profiles, profile_of
from trtnn.solutions import Given, solve


class Bound:
    """The value of every size in one call, those that depend on data included."""

    def __init__(self, bindings: dict[str, int]) -> None:
        self.bindings = bindings


def bind_dims(
    graph: Graph,
    shapes: Sequence[Sequence[int]],
    profile: int | None = None,
    hosts: Sequence[int] = (),
) -> dict[str, int]:
    """Return the value of every Dim, read off the input shapes and the host inputs.

    Args:
        profile: The one profile that must hold them; any, if omitted.
        hosts: The values of the host inputs, in order.

    Raises:
        InputError: A size is out of its range, or two inputs give one Dim different values.
    """
    integers = graph.integers()
    numbers = [*(size for shape in shapes for size in shape), *hosts]
    bindings: dict[str, int] = {}
    origins: dict[str, Given] = {}
    for solution in solve(integers):
        given, symbol = integers[solution.index], solution.symbol
        number = solution.value(numbers[solution.index], bindings)
        text = _text(given, numbers[solution.index])
        if number is None:
            known = _values(solution.rest, bindings, origins)
            where = f", where {known}" if known else ""
            raise InputError(f"{text} does not fit {given.size}{where}")
        if not symbol.low <= number <= symbol.high:
            where = f" in {given.size}" if given.size != Expr(symbol) else ""
            raise InputError(
                f"{text} is out of range: {symbol} is {symbol.low} to {symbol.high}{where}"
            )
        bindings[symbol.name], origins[symbol.name] = number, given
    for given, number in zip(integers, numbers, strict=True):
        expected = evaluate(given.size, bindings)
        if expected != number:
            values = _values(given.size, bindings, origins)
            why = f" ({given.size}; {values})" if values else ""
            raise InputError(f"{_text(given, number)} should be {expected}{why}")
    _require_profile(graph, bindings, profile)
    return bindings


def _text(given: Given, number: int) -> str:
    if given.axis is None:
        return f"{given.name}: {number}"
    return f"{given.name}: size {number} of dim {given.axis}"


def _values(size: Size, bindings: Mapping[str, int], origins: Mapping[str, Given]) -> str:
    """Say which values the Dims of a size have, and what gave them."""
    return ", ".join(f"{s} = {bindings[s.name]} given by {origins[s.name]}" for s in symbols(size))


def _require_profile(graph: Graph, bindings: Mapping[str, int], profile: int | None) -> None:
    """Raise InputError unless a profile, or the one that is named, holds all Dims."""
    fitting = fitting_profiles(graph.dims, bindings)
    if profile in fitting if profile is not None else fitting:
        return
    integers = graph.integers()
    origins = {s.symbol.name: integers[s.index] for s in solve(integers)}
    found = [f"{origins[d.name]}: {d} = {bindings[d.name]}" for d in graph.dims]
    indices = range(count_profiles(graph.dims)) if profile is None else [profile]
    taken = [
        f"{i}: " + ", ".join(f"{d.name} = {_spread(profile_of(d, i))}" for d in graph.dims)
        for i in indices
    ]
    raise InputError(f"{', '.join(found)} does not fit profile {'; '.join(taken)}")


def _spread(profile: tuple[int, int, int]) -> str:
    low, _, high = profile
    return str(low) if low == high else f"{low} to {high}"


def run(
    graph: Graph,
    inputs: Sequence[torch.Tensor],
    constants: Mapping[Value, torch.Tensor] | None = None,
    profile: int | None = None,
    hosts: Sequence[int] = (),
    device: torch.device | None = None,
) -> tuple[list[torch.Tensor], dict[str, int]]:
    """Execute ``graph`` on real tensors; return its output tensors and the sizes of all Dims.

    Args:
        inputs: One tensor per graph input, in order.
        constants: Replacements for the graph's own constant tensors, such as copies on a device.
        profile: The one profile that must hold the sizes; any, if omitted.
        hosts: The values of the host inputs, in order.
        device: Where everything runs; the first input's, or the CPU, if omitted.
    """
    bindings = bind_dims(graph, [tuple(t.shape) for t in inputs], profile, hosts)
    real: dict[Value, torch.Tensor] = dict(zip(graph.inputs, inputs, strict=True))
    for value, constant in graph.constants.items():
        real[value] = constants[value] if constants is not None else constant.tensor
    last_use = {value: node for node in graph.nodes for value in node.inputs}
    keep = {*graph.outputs, *graph.constants, *graph.inputs}
    device = device or (inputs[0].device if inputs else torch.device("cpu"))
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
