"""The networks that are measured, their inputs, and what they should return."""

from __future__ import annotations

import copy
import functools

import torch
from torch import nn

from benchmarks.subjects.cases import Case
from benchmarks.subjects.suite import TABLE, Made, encoded, zoo
from tests.compare import leaves
from tests.zoo import Inputs

LENGTHS = {"full": (64, 128), "small": (8, 16)}  # of texts, in tokens; the last is the usual one
# What a case's module is, and the precision that trtnn is asked for.
KINDS: dict[str, tuple[torch.dtype, str]] = {
    "half": (torch.float16, "tf32"),
    "tf32": (torch.float32, "tf32"),
    "fp16": (torch.float32, "fp16"),
    "int8": (torch.float32, "fp16"),
}
FLOATS = {kind: dtype for kind, (dtype, _) in KINDS.items()}


@functools.cache
def made(name: str, size: str) -> Made:
    """Make a network in float32 on the CPU, once, and what makes its inputs."""
    return TABLE[name].make(size) if name in TABLE else zoo(name)(size)


def network(name: str, size: str) -> nn.Module:
    """Return a network in float32 on the CPU: its cases copy it."""
    return made(name, size)[0]


def inputs(case: Case, length: int | None = None, seed: int = 3) -> Inputs:
    """Return the positional inputs of a case, in float32 and int64, on the CPU.

    Args:
        length: How many tokens a text has, those that its mask hides included.
    """
    if case.model == "minilm" and length is not None:
        return encoded(case.batch, length)
    given = made(case.model, case.size)[1](case.batch, seed)
    if length is None:
        return given
    token_ids, mask = given
    # A part of the mask that hides as large a share as the whole.
    part = mask[:, :: mask.shape[1] // length]
    return token_ids[:, :length].contiguous(), part.contiguous()


def moved(given: Inputs, device: torch.device, dtype: torch.dtype) -> Inputs:
    """Move inputs to a device, those of floating point to a dtype as well."""
    return tuple(t.to(device, dtype if t.is_floating_point() else t.dtype) for t in given)


def prepared(
    case: Case, device: torch.device, dtype: torch.dtype | None = None
) -> tuple[nn.Module, Inputs]:
    """Return a case's own copy of its network, and its inputs, as they are measured."""
    dtype = FLOATS[case.dtype] if dtype is None else dtype
    net = copy.deepcopy(network(case.model, case.size)).to(device, dtype)
    return net, moved(inputs(case), device, dtype)


@torch.no_grad()
def exact(case: Case, device: torch.device, length: int | None = None) -> list[torch.Tensor]:
    """Return what eager float64 computes, on the CPU."""
    net = copy.deepcopy(network(case.model, case.size)).to(device, torch.float64)
    outputs = net(*moved(inputs(case, length), device, torch.float64))
    return [t.cpu() for t in leaves(outputs)]
