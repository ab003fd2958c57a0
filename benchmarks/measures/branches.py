"""Whether only the branch is computed that is taken: one that takes long, and one that does not."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

import trtnn
from benchmarks.instruments.builds import Builds
from benchmarks.instruments.contest import Record, Tensors
from benchmarks.instruments.timing import Effort
from benchmarks.measures.recurrent import BAR, alone, entered, exact, float32, raced, within
from benchmarks.subjects.cases import Case

WIDTH = {"full": 2048, "small": 8}
PRODUCTS = 10
SKIPPED = 0.5  # of the time of the slow branch, at most, is a branch that was not computed


class Slow(nn.Module):
    """Products with a square matrix."""

    def __init__(self, width: int) -> None:
        super().__init__()
        torch.manual_seed(0)
        matrix = torch.linalg.qr(torch.randn(width, width))[0].contiguous()
        self.matrix = nn.Parameter(matrix)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for _ in range(PRODUCTS):
            x = torch.relu(x @ self.matrix) + x
        return x * 0.7**PRODUCTS


class Chosen(nn.Module):
    """The same where a flag is positive, else its input."""

    def __init__(self, slow: Slow) -> None:
        super().__init__()
        self.slow = slow

    def forward(self, x: torch.Tensor, flag: torch.Tensor) -> Any:
        return trtnn.cond(flag[0] > 0, self.slow, lambda x: x, (x,))


@torch.no_grad()
def measure_branches(case: Case, builds: Builds, effort: Effort) -> dict[str, Any]:
    """Time one engine with a conditional either way, beside one of the slow branch alone.

    ``only_taken`` says whether the time without the slow branch is below ``SKIPPED`` of the time
    with it; None where there is no GPU to time.
    """
    width, machine = WIDTH[case.size], builds.machine
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(width, width, generator=generator).to(machine.device)
    flags = [torch.tensor([flag], dtype=torch.int32, device=machine.device) for flag in (1, 0)]
    slow = Slow(width)
    nets: dict[str, tuple[nn.Module, Tensors]] = {
        "taken": (Chosen(slow), (x, flags[0])),
        "not taken": (Chosen(slow), (x, flags[1])),
        "alone": (slow, (x,)),
    }
    with float32():
        slow.to(machine.device)
        compiled = {
            kind: builds.compile(case.level, *nets[kind], precision="fp32")
            for kind in ("taken", "alone")
        }
        openers = {
            kind: functools.partial(entered, compiled.get(kind, compiled["taken"])[0], given)
            for kind, (_, given) in nets.items()
        }
        openers["eager"] = lambda: alone(slow, (x,))
        references = {kind: exact(net, given) for kind, (net, given) in nets.items()}
        references["eager"] = references["alone"]
        found = raced(openers, references, builds, effort)
    return {
        "width": width,
        "products": PRODUCTS,
        "contenders": found,
        "build": {kind: facts for kind, (_, facts) in compiled.items()},
        **verdict(found),
        "met": within(found, BAR),
    }


def verdict(found: Mapping[str, Record]) -> dict[str, Any]:
    """Compare the GPU's times of the two ways.

    >>> verdict({"taken": {"gpu_us": {"median": 8.0}}, "not taken": {"gpu_us": {"median": 2.0}}})
    {'not_taken_over_taken': 0.25, 'only_taken': True}
    """
    times = [found[kind].get("gpu_us", {}).get("median") for kind in ("not taken", "taken")]
    if None in times:
        return {"not_taken_over_taken": None, "only_taken": None}
    ratio = round(times[0] / times[1], 4)
    return {"not_taken_over_taken": ratio, "only_taken": ratio < SKIPPED}
