"""The weights of a network by name, and how each follows from the state of a module."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from trtnn.errors import UnsupportedError
from trtnn.graph.program import Program, Slot
from trtnn.source import SourceLine
from trtnn.trt.target import Target

INT32 = torch.iinfo(torch.int32)
Content = tuple[Any, str]  # what ``TensorRT.weights`` takes: an array or a tensor, and its dtype


@dataclass(frozen=True, eq=False)
class Stored:
    """A constant as TensorRT reads it, with its memory, and its slot in a network's program."""

    host: torch.Tensor
    content: Content
    slot: Slot | None

    @property
    def place(self) -> tuple[int, int, torch.dtype]:
        """What TensorRT tells weights apart by: start, number and type of the entries."""
        return self.host.data_ptr(), self.host.numel(), self.host.dtype

    def elsewhere(self) -> Stored:
        """Return the same in memory of its own."""
        return _stored(self.host.clone(), self.slot)


def stored(
    tensor: torch.Tensor, slot: Slot | None, target: Target, where: SourceLine | None = None
) -> Stored:
    """Return a constant as TensorRT reads it: on the host, contiguous, of a type that it has.

    It is the tensor's own memory where that will do.

    Raises:
        UnsupportedError: This TensorRT lacks the type, or integers as large.
    """
    host = tensor.detach().cpu().contiguous()
    if host.dtype == torch.int64 and target.index_dtype == "int32":
        host = narrowed(host, target, where)
    if host.dtype in (torch.uint8, torch.int8):  # TensorRT computes with none of 8 bits
        host = host.to(torch.int32)
    name = _name(host)
    if not target.has_dtype(name):
        raise UnsupportedError(f"{target.name} has no {name} constants", where=where)
    return _stored(host, slot)


def narrowed(tensor: torch.Tensor, target: Target, where: SourceLine | None) -> torch.Tensor:
    """Return int64 as int32, if it fits."""
    if tensor.numel() and (tensor.max() > INT32.max or tensor.min() < INT32.min):
        raise UnsupportedError(
            f"an int64 constant holds {int(tensor.min())} to {int(tensor.max())}; "
            f"{target.name} has no int64",
            hint="keep constants within int32, or use TensorRT 10.12 or later",
            where=where,
        )
    return tensor.to(torch.int32)


def _name(tensor: torch.Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")


def _stored(host: torch.Tensor, slot: Slot | None) -> Stored:
    name = _name(host)
    return Stored(host, (host if name == "bfloat16" else host.numpy(), name), slot)


def named(constants: Iterable[Stored], program: Program) -> dict[str, Stored]:
    """Return the weights of a network by name: each is named after the state it is computed from.

    It is the first key of that state: ``key``, ``key#1`` and so on. What the state has no part in
    is ``constant``, ``constant#1`` and so on, if it is of floating point: TensorRT may merge it
    with the others, and then asks for it as well.
    """
    keys = program.first_keys()
    counts: Counter[str] = Counter()
    found: dict[str, Stored] = {}
    for constant in {c.place: c for c in constants}.values():
        if constant.slot is None and not constant.host.is_floating_point():
            continue
        key = "constant" if constant.slot is None else keys[program.memory[constant.slot]]
        name = key
        while name in found:
            counts[key] += 1
            name = f"{key}#{counts[key]}"
        found[name] = constant
    return found


@dataclass(frozen=True, eq=False)
class Recipes:
    """How the weights of a network follow from the state of its module.

    Attributes:
        slots: The slot in ``program`` of each that does, by name.
        fixed: Those that do not.
    """

    program: Program
    target: Target
    slots: Mapping[str, Slot]
    fixed: Mapping[str, Stored]

    @staticmethod
    def of(weights: Mapping[str, Stored], program: Program, target: Target) -> Recipes:
        """Return the recipes of weights by name."""
        slots = {name: c.slot for name, c in weights.items() if c.slot is not None}
        fixed = {name: c for name, c in weights.items() if c.slot is None}
        return Recipes(program, target, slots, fixed)

    def weights(self, state: Mapping[str, torch.Tensor]) -> dict[str, Stored]:
        """Return all weights where the module's ``state_dict`` is another.

        Raises:
            InputError: A key is missing or unexpected, or a tensor has another shape or dtype.
            TraceError: ``forward`` branched on a value that is another one with this state.
        """
        found = self.program.run(state, list(self.slots.values()))
        made = {n: stored(found[slot], slot, self.target) for n, slot in self.slots.items()}
        return {**made, **self.fixed}
