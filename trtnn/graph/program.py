"""How known tensors were computed: torch calls in order, to run again on new parameters.

A tensor is a ``Slot``, a number. What forward computes from parameters, buffers and factories
alone becomes a constant of the graph; its slot says which result of which call it is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch

from trtnn.errors import InputError, TraceError
from trtnn.source import SourceLine


class Slot(int):
    """The number of a tensor in a program."""

    def __repr__(self) -> str:
        return f"#{int(self)}"


@dataclass(frozen=True, eq=False)
class Step:
    """A call with slots for tensors; ``answers`` is what its result held beside tensors.

    ``reads`` and ``writes`` number the memory of its operands: views of one tensor share it.
    """

    function: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    results: tuple[Slot, ...]
    specs: tuple[Any, ...]
    answers: tuple[Any, ...]
    reads: frozenset[int]
    writes: frozenset[int]
    decides: bool
    source: SourceLine | None

    @property
    def name(self) -> str:
        return str(getattr(self.function, "__name__", self.function))


@dataclass(frozen=True, eq=False)
class Leaf:
    """A tensor that a program starts from: one of the module's state, or ``value`` itself."""

    names: tuple[str, ...]
    spec: Any
    stride: tuple[int, ...]
    device: torch.device
    value: torch.Tensor | None

    def given(self, state: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """Return what ``state`` has for this leaf, laid out as at the trace."""
        if self.value is not None:
            return self.value
        found = [(name, state[name]) for name in self.names if name in state]
        first, tensor = found[0]
        for name, other in found[1:]:
            if other is not tensor and not torch.equal(other, tensor):
                raise InputError(f"state: {first!r} and {name!r} are one tensor, but differ")
        if spec_of(tensor) != self.spec:
            given, wanted = (f"{tuple(s)} {d}" for s, d in (spec_of(tensor), self.spec))
            raise InputError(f"state: {first!r} is {given}, expected {wanted}")
        tensor = tensor.detach().to(self.device)
        if tensor.stride() == self.stride or 0 in self.stride:
            return tensor
        same = torch.empty_strided(tensor.shape, self.stride, dtype=tensor.dtype)
        return same.to(self.device).copy_(tensor)


@dataclass(frozen=True, eq=False)
class Program:
    """Leaves, and the steps that compute constants from them.

    ``memory`` numbers the memory that each slot lies in; ``varying`` is the memory whose content
    depends on the module's state; ``keys`` are all keys of that state. One that is ``whole`` is
    never pruned: it belongs to a larger graph than the one that has it.
    """

    steps: tuple[Step, ...] = ()
    leaves: dict[Slot, Leaf] = field(default_factory=dict)
    memory: dict[Slot, int] = field(default_factory=dict)
    varying: frozenset[int] = frozenset()
    keys: frozenset[str] = frozenset()
    whole: bool = False

    def depends(self, slot: Slot) -> bool:
        """Say whether a slot's content depends on the module's state."""
        return self.memory[slot] in self.varying

    def pruned(self, wanted: Iterable[Slot]) -> Program:
        """Return the program without what neither ``wanted`` slots nor decisions need."""
        if self.whole:
            return self
        needed = {self.memory[slot] for slot in wanted}
        kept: list[Step] = []
        for step in reversed(self.steps):
            made = {self.memory[slot] for slot in step.results}
            if step.decides or not needed.isdisjoint(made | step.writes):
                kept.append(step)
                needed |= step.reads
        leaves = {s: leaf for s, leaf in self.leaves.items() if self.memory[s] in needed}
        slots = {*leaves, *(slot for step in kept for slot in step.results)}
        memory = {slot: self.memory[slot] for slot in slots}
        return replace(self, steps=tuple(reversed(kept)), leaves=leaves, memory=memory)

    def first_keys(self) -> dict[int, str]:
        """Return, by memory, the first key of the state that its content comes from."""
        found = {self.memory[s]: leaf.names[0] for s, leaf in self.leaves.items() if leaf.names}
        for step in self.steps:
            read = [self.memory[slot] for slot in slots_in(step)]
            keys = [found[memory] for memory in read if memory in found]
            for memory in (*step.writes, *(self.memory[slot] for slot in step.results)):
                if keys:
                    found.setdefault(memory, keys[0])
        return found

    def key_of(self, slot: Slot) -> str:
        """Return the first key of the state that a slot's content comes from."""
        return self.first_keys()[self.memory[slot]]

    def run(
        self, state: Mapping[str, torch.Tensor], wanted: Sequence[Slot]
    ) -> dict[Slot, torch.Tensor]:
        """Compute the ``wanted`` slots from another state of the module.

        Raises:
            InputError: A key is missing or unexpected, or a tensor has another shape or dtype.
            TraceError: A value that ``forward`` branched on is another one now.
        """
        self._check_keys(state)
        needed = self.pruned(wanted)
        last = {s: i for i, step in enumerate(needed.steps) for s in slots_in(step)}
        keep = set(wanted)
        tensors = {slot: leaf.given(state) for slot, leaf in needed.leaves.items()}
        guards = (torch._C.DisableTorchFunction(), torch._C._DisableAutocast())
        with guards[0], guards[1], torch.inference_mode(mode=False), torch.no_grad():
            for index, step in enumerate(needed.steps):
                tensors.update(zip(step.results, _again(step, tensors), strict=True))
                for slot in {*slots_in(step), *step.results}:
                    if last.get(slot, index) <= index and slot not in keep:
                        tensors.pop(slot, None)
        return {slot: tensors[slot] for slot in wanted}

    def _check_keys(self, state: Mapping[str, torch.Tensor]) -> None:
        unexpected = sorted(set(state) - self.keys)
        missing = [
            leaf.names[0]
            for leaf in self.leaves.values()
            if leaf.value is None and not any(name in state for name in leaf.names)
        ]
        for word, names in (("missing", missing), ("unexpected", unexpected)):
            if names:
                raise InputError(f"state: {word} {', '.join(map(repr, names))}")


def _again(step: Step, tensors: dict[Slot, torch.Tensor]) -> list[torch.Tensor]:
    """Run a step and return the tensors of its result; refuse another answer than at the trace."""

    def fill(value: Any) -> Any:
        return change(value, Slot, tensors.__getitem__)

    found, answers = parted(step.function(*fill(step.args), **fill(step.kwargs)))
    specs = tuple(map(spec_of, found))
    if specs != step.specs or not same(answers, step.answers):
        before, after = (step.answers, answers) if specs == step.specs else (step.specs, specs)
        raise TraceError(
            f"{step.name} of parameters gave {_text(before)} in the trace and gives "
            f"{_text(after)} with the new ones: forward would not compute the same graph",
            hint="compile the module again with these parameters",
            where=step.source,
            search=False,
        )
    return found


def _text(values: tuple[Any, ...]) -> str:
    text = ", ".join(map(repr, values))
    return text if len(text) <= 60 else text[:57] + "..."


def slots_in(step: Step) -> list[Slot]:
    """Return the slots among a step's arguments."""
    found: list[Slot] = []

    def see(slot: Slot) -> Slot:
        found.append(slot)
        return slot

    change((step.args, step.kwargs), Slot, see)
    return found


def spec_of(tensor: torch.Tensor) -> tuple[torch.Size, torch.dtype]:
    """Return what must be equal for a tensor to stand in for another."""
    return tensor.shape, tensor.dtype


def same(a: Any, b: Any) -> bool:
    """Say whether two answers are equal; NaN equals itself."""
    if isinstance(a, (tuple, list)):
        return type(a) is type(b) and len(a) == len(b) and all(map(same, a, b))
    if hasattr(a, "tobytes"):
        return bool(a.shape == b.shape and a.tobytes() == b.tobytes())
    return type(a) is type(b) and bool(a == b or (a != a and b != b))


PLAIN = frozenset({bool, int, float, str, type(None)})


def change(value: Any, kind: type, function: Callable[[Any], Any]) -> Any:
    """Return nested containers with each item of ``kind`` replaced, everything else as it is."""
    if isinstance(value, kind):
        return function(value)
    if type(value) in PLAIN or isinstance(value, torch.Size):
        return value
    if isinstance(value, (tuple, list)):
        items = [change(v, kind, function) for v in value]
        return type(value)(*items) if hasattr(value, "_fields") else type(value)(items)
    if isinstance(value, dict):
        return {k: change(v, kind, function) for k, v in value.items()}
    if isinstance(value, slice):
        return slice(*(change(v, kind, function) for v in (value.start, value.stop, value.step)))
    return value


def parted(value: Any) -> tuple[list[torch.Tensor], tuple[Any, ...]]:
    """Return the tensors of a result, and what else is in it."""
    if isinstance(value, torch.Tensor):
        return [value], ()
    if isinstance(value, (tuple, list, dict)) and not isinstance(value, torch.Size):
        parts = [parted(v) for v in (value.values() if isinstance(value, dict) else value)]
        tensors = [t for some, _ in parts for t in some]
        return tensors, tuple(answer for _, answers in parts for answer in answers)
    return [], () if value is None else (value,)


def storage_of(tensor: torch.Tensor) -> int:
    """Return the identity of a tensor's memory, while it lives."""
    if tensor.layout is not torch.strided:
        return id(tensor)
    return int(tensor.untyped_storage()._cdata)


class ProgramBuilder:
    """A program that is being written: by the recorder, or by a pass that makes constants."""

    def __init__(self, program: Program) -> None:
        self.steps = list(program.steps)
        self.leaves = dict(program.leaves)
        self.memory = dict(program.memory)
        self.varying = set(program.varying)
        self.keys, self.whole = program.keys, program.whole
        self.count = max(self.memory, default=-1) + 1
        self.memories = max(self.memory.values(), default=-1) + 1

    def leaf(self, tensor: torch.Tensor, names: tuple[str, ...] = ()) -> Slot:
        """Add a tensor to start from: the state's under ``names``, or this very one."""
        slot = self._slot(None)
        value = None if names else tensor
        self.leaves[slot] = Leaf(
            names, spec_of(tensor), tuple(_stride(tensor)), tensor.device, value
        )
        if names:
            self.varying.add(self.memory[slot])
            self.keys |= set(names)
        return slot

    def _slot(self, memory: int | None) -> Slot:
        if memory is None:
            memory, self.memories = self.memories, self.memories + 1
        slot, self.count = Slot(self.count), self.count + 1
        self.memory[slot] = memory
        return slot

    def step(
        self,
        call: tuple[Callable[..., Any], tuple[Any, ...], dict[str, Any]],
        operands: Mapping[Slot, torch.Tensor],
        result: Any,
        written: Iterable[int] = (),
        source: SourceLine | None = None,
    ) -> list[Slot]:
        """Add a call that gave ``result``, and return the slots of its tensors.

        Args:
            call: Function, arguments and keyword arguments, with slots for tensors.
            operands: The tensor of each slot among the arguments.
            written: The ``storage_of`` the operands that the call wrote to.
        """
        places = {storage_of(tensor): self.memory[slot] for slot, tensor in operands.items()}
        reads = frozenset(places.values())
        writes = frozenset(places[pointer] for pointer in written if pointer in places)
        tensors, answers = parted(result)
        varies = not self.varying.isdisjoint(reads)
        slots = []
        for tensor in tensors:
            slots.append(self._slot(places.get(storage_of(tensor))))
            places[storage_of(tensor)] = self.memory[slots[-1]]
        if varies:
            self.varying |= writes | {self.memory[slot] for slot in slots}
        specs = tuple(map(spec_of, tensors))
        function, args, kwargs = call
        decides = varies and bool(answers)
        self.steps.append(
            Step(
                function, args, kwargs, tuple(slots), specs, answers, reads, writes, decides, source
            )
        )
        return slots

    def compute(
        self, function: Callable[..., Any], arguments: tuple[Any, ...], kind: type
    ) -> list[tuple[torch.Tensor, Slot | None]]:
        """Call ``function``, and return each tensor of its result with its slot.

        Items of ``kind`` among the arguments are constants: they have a ``tensor`` and a ``slot``.
        A refit calls ``function`` again with what these are then. What the state has no part in
        gets no slot.
        """
        operands: dict[Slot, torch.Tensor] = {}

        def enter(constant: Any) -> Slot:
            slot = constant.slot if constant.slot is not None else self.leaf(constant.tensor)
            operands[slot] = constant.tensor
            return slot

        slots = change(arguments, kind, enter)
        result = function(*change(slots, Slot, operands.__getitem__))
        places = self.step((function, slots, {}), operands, result)
        varying = [self.memory[slot] in self.varying for slot in places]
        kept = [slot if varies else None for slot, varies in zip(places, varying, strict=True)]
        return list(zip(parted(result)[0], kept, strict=True))

    def finish(self) -> Program:
        return Program(
            tuple(self.steps),
            self.leaves,
            self.memory,
            frozenset(self.varying),
            frozenset(self.keys),
            self.whole,
        )


def _stride(tensor: torch.Tensor) -> Sequence[int]:
    return tensor.stride() if tensor.layout is torch.strided else ()
