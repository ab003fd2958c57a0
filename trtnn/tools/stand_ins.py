"""Random numbers in the place of a graph's constants, so that it can be shown without weights."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import torch

from trtnn.graph.graph import Constant, Graph, Value

SMALL = 16
"""A constant with more entries is replaced, and any that follows from a module's state."""


MOST = 2**63 - 1


def with_stand_ins(graph: Graph, seed: int) -> tuple[Graph, tuple[Value, ...]]:
    """Return a graph with random constants of the same shapes, dtypes and scales, and which are so.

    Zeros and what is not finite stay where they are, as masks need them; numbers that are all of
    one sign keep it. Integers lie between the least and the greatest, so that indices are in range.

    Args:
        graph: Its constants have keys where they follow from the module's state.
    """
    generator = torch.Generator().manual_seed(seed)
    known: dict[tuple[Any, ...], torch.Tensor] = {}
    constants: dict[Value, Constant] = {}
    changed: list[Value] = []
    for value, constant in graph.constants.items():
        tensor = constant.tensor.detach()
        constants[value] = constant
        if not (constant.key is not None or tensor.numel() > SMALL) or not tensor.any():
            continue
        place = tensor.data_ptr(), tuple(tensor.shape), tensor.stride(), tensor.dtype
        if place not in known:  # tied weights are one
            known[place] = stand_in(tensor, generator)
        constants[value] = replace(constant, tensor=known[place])
        changed.append(value)
    return replace(graph, constants=constants), tuple(changed)


def stand_in(tensor: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Return random entries of a tensor's shape and dtype, and of about its scale.

    >>> stand_in(torch.tensor([0.0, 3.0, 5.0]), torch.Generator().manual_seed(0)) > 0
    tensor([False,  True,  True])
    """
    given = tensor.detach().cpu()
    if given.dtype == torch.bool:
        share = float(given.double().mean())
        return (torch.rand(given.shape, generator=generator) < share).to(tensor.device)
    if not given.dtype.is_floating_point:
        low, high = int(given.min()), int(given.max())
        drawn = torch.randint(
            low, min(high + 1, MOST), given.shape, generator=generator, dtype=torch.int64
        )
        return drawn.to(tensor.device, given.dtype)
    exact = given.double()
    asked = exact.isfinite() & (exact != 0)
    if not asked.any():
        return tensor.clone()
    entries = exact[asked]
    scale = 2.0 ** round(math.log2(float(entries.square().mean().sqrt())))
    signs = {bool(entries.max() > 0), bool(entries.min() > 0)}
    if len(signs) == 1:
        drawn = (torch.rand(given.shape, generator=generator, dtype=torch.float64) + 0.5) * scale
        drawn = drawn if signs == {True} else -drawn
    else:
        drawn = torch.randn(given.shape, generator=generator, dtype=torch.float64) * scale
    limits = torch.finfo(given.dtype)
    drawn = drawn.clamp(limits.min, limits.max)
    return torch.where(asked, drawn, exact).to(tensor.device, given.dtype)
