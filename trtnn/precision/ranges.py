"""How large the values of a graph are, seen in one run on made-up inputs."""

from __future__ import annotations

import math

import torch

from trtnn.graph.graph import Graph, Value
from trtnn.graph.interpreter import run
from trtnn.precision.kinds import floats
from trtnn.run.samples import Ranges, draws, require_indices, sizes_of
from trtnn.sizes.profiles import profile_of


def observed(graph: Graph, declared: Ranges) -> dict[Value, float]:
    """Return the greatest absolute entry of each float value, at the sizes of the first profile.

    It is run where the module lives, in the types that it has.

    Args:
        declared: The ranges of inputs that ``Input(low=, high=)`` gives, by name.

    Returns:
        Nothing where the graph refuses all inputs that were made up.
    """
    home = next((c.tensor.device for c in graph.constants.values()), torch.device("cpu"))
    constants = {value: c.tensor.detach() for value, c in graph.constants.items()}
    hosts = [profile_of(dim, 0)[1] for dim in graph.hosts.values()]
    _, sizes = sizes_of(graph)[0]
    for inputs in draws(graph, sizes, declared):
        seen: dict[Value, torch.Tensor] = {}

        def see(value: Value, tensor: torch.Tensor, seen: dict[Value, torch.Tensor] = seen) -> None:
            if floats([value]) and tensor.numel():
                seen[value] = tensor.abs().amax()

        there = [tensor.to(home) for tensor in inputs]
        try:
            require_indices(graph, constants, inputs, hosts)
            for value, tensor in zip(graph.inputs, there, strict=True):
                see(value, tensor)
            run(graph, there, constants, None, hosts, home, observe=see)
        except (RuntimeError, IndexError, ValueError):  # such inputs cannot be
            continue
        found = {value: float(most) for value, most in seen.items()}
        return {value: most for value, most in found.items() if math.isfinite(most)}
    return {}
