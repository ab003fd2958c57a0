"""The networks that are measured, their inputs, and what they should return."""

from __future__ import annotations

import copy
import functools

import torch
from torch import nn

import tests.conftest  # noqa: F401 - declares torchvision's operators on CPU builds
from benchmarks.subjects.cases import Case
from tests.compare import leaves
from tests.zoo import MODELS, SENTENCES, Inputs, Minilm, build_lively, minilm

LENGTHS = {"full": (64, 128), "small": (8, 16)}  # of texts, in tokens; the last is the usual one
FLOATS = {"tf32": torch.float32, "half": torch.float16}


@functools.cache
def _minilm() -> Minilm:
    return minilm()


@functools.cache
def network(name: str, size: str) -> nn.Module:
    """Build a network in float32 on the CPU, once: its cases copy it."""
    return _minilm().module if name == "minilm" else build_lively(MODELS[size][name], 0)


def inputs(case: Case, length: int | None = None) -> Inputs:
    """Return the positional inputs of a case, in float32 and int64, on the CPU.

    Args:
        length: How many tokens a text has, those that its mask hides included.
    """
    if case.model == "minilm":
        return _sentences(case.batch, length or LENGTHS[case.size][-1])
    given = MODELS[case.size][case.model].inputs(case.batch, 3)
    if length is None:
        return given
    token_ids, mask = given
    # A part of the mask that hides as large a share as the whole.
    part = mask[:, :: mask.shape[1] // length]
    return token_ids[:, :length].contiguous(), part.contiguous()


def _sentences(batch: int, length: int) -> Inputs:
    """Return texts of sentences that fill three quarters of a length, and the masks."""
    count = max(1, length * 10 // 128)
    texts = [" ".join((SENTENCES * 2)[i % 20 : i % 20 + count]) for i in range(batch)]
    encoded = _minilm().tokenizer(
        texts, padding="max_length", truncation=True, max_length=length, return_tensors="pt"
    )
    return encoded["input_ids"], encoded["attention_mask"]


def moved(given: Inputs, device: torch.device, dtype: torch.dtype) -> Inputs:
    """Move inputs to a device, those of floating point to a dtype as well."""
    return tuple(t.to(device, dtype if t.is_floating_point() else t.dtype) for t in given)


def prepared(case: Case, device: torch.device) -> tuple[nn.Module, Inputs]:
    """Return a case's own copy of its network, and its inputs, as they are measured."""
    dtype = FLOATS[case.dtype]
    net = copy.deepcopy(network(case.model, case.size)).to(device, dtype)
    return net, moved(inputs(case), device, dtype)


@torch.no_grad()
def exact(case: Case, device: torch.device, length: int | None = None) -> list[torch.Tensor]:
    """Return what eager float64 computes, on the CPU."""
    net = copy.deepcopy(network(case.model, case.size)).to(device, torch.float64)
    outputs = net(*moved(inputs(case, length), device, torch.float64))
    return [t.cpu() for t in leaves(outputs)]
