"""What runs in the place of a new engine: itself, or a copy with other weights if it takes any."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from typing import Any

import torch

from trtnn.engine.engine import Engine
from trtnn.engine.refit import refit
from trtnn.graph.graph import Graph, Value
from trtnn.run.allocating import runner_for

CPU = torch.device("cpu")
Constants = Mapping[Value, torch.Tensor]
Runs = Callable[[Sequence[torch.Tensor], Sequence[int]], list[torch.Tensor]]


def trial_of(
    engine: Engine, graphs: Sequence[Graph], state: Callable[[], Mapping[str, torch.Tensor]]
) -> tuple[Engine, list[Constants]]:
    """Return an engine to run, and the constants that each graph has beside it.

    Of a refittable engine it is a copy that was refitted: its weights all differ from one another
    then, where those of a new module may be equal.

    Args:
        graphs: As it was traced, and as it was lowered for the engine.
        state: Gives the module's, from which the engine's weights were computed.

    Raises:
        BuildError: There is no memory for a copy.
    """
    if engine.refittable is not None:
        engine = engine.copy()
        keys = {key for graph in graphs for key in graph.program.keys}
        other = shaken({k: t for k, t in state().items() if k in keys})
        try:
            made: list[Constants] = [graph.recompute(other) for graph in graphs]
        except Exception:  # such weights cannot be: forward decided by its own, or inverted them
            pass
        else:
            refit(engine, other, nullcontext)
            return engine, made
    return engine, [{v: c.tensor.detach() for v, c in g.constants.items()} for g in graphs]


def shaken(state: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Return a state with other values of the same signs; what was all 0 is small."""
    generator, made = torch.Generator().manual_seed(0), {}
    known: dict[Any, torch.Tensor] = {}
    for key, tensor in state.items():
        if not isinstance(tensor, torch.Tensor):
            continue
        place = tensor.data_ptr(), tensor.shape, tensor.stride(), tensor.dtype
        if tensor.dtype.is_floating_point and place not in known:
            random = torch.rand(tensor.shape, generator=generator, device=CPU)
            given = tensor.detach().to(CPU, torch.float32)
            changed = given * (random + 0.5) if given.any() else (random - 0.5) / 4
            known[place] = changed.to(tensor)
        made[key] = known.get(place, tensor.detach())
    return made


def runs_of(engine: Engine, graph: Graph, device: torch.device) -> Runs:
    """Return what runs an engine of a lowered graph, in contexts of its own."""
    runner = runner_for(graph)(engine, graph.boundary(), device, "first", 1)

    return lambda inputs, hosts: runner([*inputs, *hosts])[0]
