"""Greedy decoding: the whole loop in one execution, beside a Python loop over a compiled step."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from typing import Any

import torch
from torch import nn

from benchmarks.instruments.builds import Builds
from benchmarks.instruments.contest import Contender, Tensors
from benchmarks.instruments.timing import Effort
from benchmarks.measures.comparison import all_met
from benchmarks.measures.recurrent import Openers, entered, float32, raced, within
from benchmarks.subjects.cases import Case
from benchmarks.subjects.decoding import SHAPES, Greedy, decoder

NEVER = -1  # the end that no sequence comes to


@torch.no_grad()
def measure_decoding(case: Case, builds: Builds, effort: Effort) -> dict[str, Any]:
    """Decode all steps, and as many as the first sequence takes to its token of half the way.

    All have to give eager's tokens.
    """
    machine, net = builds.machine, decoder(SHAPES[case.size])
    generator = torch.Generator().manual_seed(0)
    first = torch.randint(net.step.shape.vocabulary, (case.batch,), generator=generator)
    row: dict[str, Any] = {**asdict(net.step.shape), "ran": {}, "contenders": {}}
    with float32():
        net, first = net.to(machine.device), first.to(machine.device)
        never = torch.full((1,), NEVER, device=machine.device)
        models, row["build"] = _compiled(case, builds, net, first, never)
        ends = {"all": never, "half": never.new_tensor([halfway(net(first, never)[0][0].tolist())])}
        for name, end in ends.items():
            wanted, count = (result.cpu() for result in net(first, end))
            openers = _openers(net, models, first, end, on_gpu=machine.library is not None)
            row["contenders"][name] = raced(openers, [wanted], builds, effort)
            row["ran"][name] = int(count)
    row["met"] = all_met(within(found, 0.0) for found in row["contenders"].values())
    row["loop_over_steps"] = {
        name: round(found["loop"]["host_us"]["median"] / found["steps"]["host_us"]["median"], 4)
        for name, found in row["contenders"].items()
        if "failed" not in found["loop"] and "failed" not in found["steps"]
    }
    return row


def halfway(tokens: list[int]) -> int:
    """Return the token that is first seen as late as possible, in the first half.

    >>> halfway([4, 5, 4, 6])
    5
    """
    return max(tokens[: len(tokens) // 2], key=tokens.index)


def _compiled(
    case: Case, builds: Builds, net: Greedy, first: torch.Tensor, end: torch.Tensor
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the loop and a step of it compiled, and how each was built."""
    caches = net.step.caches(case.batch, net.step.tokens.weight)
    subjects: dict[str, tuple[nn.Module, Tensors]] = {
        "loop": (net, (first, end)),
        "step": (net.step, (first, torch.zeros_like(end), *caches)),
    }
    built = {
        name: builds.compile(case.level, *subject, precision="fp32")
        for name, subject in subjects.items()
    }
    return (
        {name: model for name, (model, _) in built.items()},
        {name: facts for name, (_, facts) in built.items()},
    )


def _openers(
    net: Greedy, models: Mapping[str, Any], first: torch.Tensor, end: torch.Tensor, *, on_gpu: bool
) -> Openers:
    """Return how the loop enters, and loops in Python over a step: a call, and a CUDA graph."""

    def looping() -> Contender:
        found = entered(models["loop"], (first, end))
        return replace(found, outputs=lambda: models["loop"](first, end)[0])

    def stepping(step: Callable[..., Any]) -> Contender:
        call = functools.partial(stepped, net, step, first, end)
        return Contender({"": call}, outputs=call)

    openers: Openers = {
        "eager": lambda: stepping(net.step),
        "loop": looping,
        "steps": lambda: stepping(models["step"]),
    }
    if on_gpu:
        openers["steps graph"] = lambda: stepping(models["step"].with_execution("graph"))
    return openers


def stepped(
    net: Greedy, step: Callable[..., Any], first: torch.Tensor, end: torch.Tensor
) -> torch.Tensor:
    """Decode as ``net`` does, by calls of a step; ask after each whether all have ended."""
    shape = net.step.shape
    written = end.repeat(len(first), shape.steps)
    places = torch.arange(shape.steps, device=first.device)[:, None]
    caches = net.step.caches(len(first), net.step.tokens.weight)
    token = first
    for index in range(shape.steps):
        if bool((token == end).all()):
            break
        following, *caches = step(token, places[index], *caches)
        token = torch.where(token == end, end, following)
        written[:, index] = token
    return written
