"""Sparse weights: of four in a row along the inputs two are 0, which TensorRT has kernels for."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeVar

import torch

from trtnn.errors import InputError

M = TypeVar("M", bound=torch.nn.Module)
KINDS = (torch.nn.Linear, torch.nn.Conv1d, torch.nn.Conv2d, torch.nn.Conv3d)


@dataclass(frozen=True)
class SparsityReport:
    """What ``sparsify`` did, layer by layer.

    Attributes:
        kept: The share of each layer's weights that is left, in L2: 0.87 of normal ones.
        left: Why other layers are as they were.
    """

    kept: Mapping[str, float]
    left: Mapping[str, str]

    def __str__(self) -> str:
        lines = [f"{len(self.kept)} layers with two of four weights 0"]
        lines += [f"  {name}: {share:.1%} left, in L2" for name, share in self.kept.items()]
        lines += [f"  {name}: not, {reason}" for name, reason in self.left.items()]
        return "\n".join(lines)


def sparsify(module: M) -> M:
    """Return a copy of ``module`` whose weights of Linear and Conv layers are 2:4 sparse.

    Of each four weights along the inputs the two larger stay. Train the copy on, or see that it
    is accurate, then ``compile(..., options=BuildOptions(sparse_weights=True))``. Its
    ``sparsity_report`` tells what was done, layer by layer.

    Raises:
        InputError: ``module`` is no ``torch.nn.Module``.

    >>> net = sparsify(torch.nn.Sequential(torch.nn.Linear(8, 4)))
    >>> int((net[0].weight == 0).sum())
    16
    """
    if not isinstance(module, torch.nn.Module):
        raise InputError(f"module: expected a torch.nn.Module, got a {type(module).__name__}")
    sparse = copy.deepcopy(module)
    kept: dict[str, float] = {}
    left: dict[str, str] = {}
    done: dict[int, float] = {}
    for name, layer in sparse.named_modules():
        if not isinstance(layer, KINDS):
            continue
        weight = layer._parameters.get("weight")
        if weight is None:
            left[name] = "its weight is computed from others"
        elif weight.shape[1] % 4:
            left[name] = f"its {weight.shape[1]} inputs are no multiple of 4"
        elif id(weight) not in done:
            kept[name] = done[id(weight)] = _prune(weight)
        else:
            kept[name] = done[id(weight)]
    report = SparsityReport(kept, left)
    sparse.sparsity_report = report  # type: ignore[assignment]
    return sparse


def _prune(weight: torch.Tensor) -> float:
    """Set the two smaller of each four weights along dim 1 to 0; return the share that stays."""
    with torch.no_grad():
        before = weight.detach().double().norm()
        rows = weight.detach().movedim(1, -1)
        groups = rows.reshape(-1, 4)
        smaller = groups.abs().topk(2, dim=1, largest=False).indices
        groups = groups.scatter(1, smaller, 0.0)
        weight.copy_(groups.reshape(rows.shape).movedim(-1, 1))
        after = weight.detach().double().norm()
        return float(after / before) if float(before) else 1.0
