"""Many calls of mixed shapes in all ways to run: no error, no wrong result, no growth."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from typing import Any

import torch

import trtnn
from benchmarks.instruments.builds import Builds
from benchmarks.instruments.timing import Effort
from benchmarks.measures.cycles import LIMIT, grown, memory
from benchmarks.measures.one_layer import EXECUTIONS, SHAPE
from benchmarks.subjects.cases import Case

CALLS = 100_000
WARM = 10  # what is remembered, and the CUDA graphs, have been made after a tenth of the calls
CHECKED = 97  # every so many calls; no multiple of the ways to run
PROFILES = ((1, 4, 8), (9, 16, 32))
OFTEN = (1, 4, 8, 9, 16, 32)  # fewer than the graphs that a model keeps
RARELY = 300  # every so many calls have any of the sizes, so that graphs are dropped and made


def forward(x: Any) -> Any:
    """Compute what is exact in float32, however it is fused."""
    return torch.relu(x * 2 + 1)


@torch.no_grad()
def measure_mixed(_: Case, builds: Builds, effort: Effort) -> dict[str, Any]:
    """Make 100,000 calls with a dynamic batch and two profiles."""
    batch = trtnn.Dim("batch", profiles=list(PROFILES))
    declared = [trtnn.Input((batch, SHAPE[1]), name="x")]
    model, facts = builds.compile(0, forward, declared)
    models = [model.with_execution(kind) for kind in EXECUTIONS]
    generator = torch.Generator().manual_seed(0)
    longest = torch.randn(PROFILES[-1][-1], SHAPE[1], generator=generator)
    longest = longest.to(builds.machine.device)
    inputs = {size: longest[:size].clone() for size in range(1, len(longest) + 1)}
    expected = {size: forward(x) for size, x in inputs.items()}
    count = effort.of(CALLS)
    before, wrong = memory(builds.machine), []
    for number, size in enumerate(sizes(count, list(inputs))):
        kind = number % len(models)
        result = models[kind](inputs[size])
        if number % CHECKED == 0 and not torch.equal(result, expected[size]):
            wrong.append({"call": number, "execution": EXECUTIONS[kind], "size": size})
        if number == count // WARM:
            before = memory(builds.machine)
    grew = grown(before, memory(builds.machine))
    met = not wrong and all(value <= LIMIT for value in grew.values())
    compared = len(range(0, count, CHECKED))
    return {
        **facts,
        "calls": count,
        "compared": compared,
        "wrong": wrong,
        "grew_bytes": grew,
        "limit_bytes": LIMIT,
        "met": met,
    }


def sizes(count: int, every: Sequence[int]) -> Iterator[int]:
    """Yield the size of each call: mostly one of a few, at times any.

    >>> found = list(sizes(1000, range(1, 33)))
    >>> len(found), set(found[:290]) == set(OFTEN)
    (1000, True)
    """
    chosen = random.Random(0)
    for number in range(count):
        rare = number % RARELY > RARELY - len(EXECUTIONS) - 1
        yield chosen.choice(list(every) if rare else OFTEN)
