"""Known values: what ``forward`` computes from parameters, buffers and factories alone.

Such a call runs at once on the real tensors. Its result is a symbolic tensor that carries the
value, and its slot in the program that computes it again from other parameters.
"""

from __future__ import annotations

import sys
import weakref
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from trtnn.errors import TraceError, UnsupportedError
from trtnn.graph.program import Program, ProgramBuilder, Slot, change, parted, storage_of
from trtnn.graph.tensor import Tensor, family_of, tensors_in
from trtnn.ops.op import Spec
from trtnn.source import SourceLine, find_user_line
from trtnn.tracing import calls
from trtnn.tracing.drawn import random_error
from trtnn.tracing.frames import outside

if TYPE_CHECKING:
    from trtnn.graph.graph import Value
    from trtnn.tracing.recorder import Recorder


@dataclass(frozen=True)
class State:
    """A parameter or buffer: its name, and the keys that ``state_dict`` has for it."""

    tensor: torch.Tensor
    name: str
    keys: tuple[str, ...]


class KnownValues:
    """The known values of one trace, and the program that computes them."""

    def __init__(self, recorder: Recorder, states: Sequence[State]) -> None:
        self.recorder = recorder
        self.program = ProgramBuilder(Program())
        self.leaves: dict[int, tuple[Slot, torch.Tensor, torch.Tensor]] = {}
        self.named: dict[tuple[Any, ...], tuple[str, Slot]] = {}
        self.foreign: dict[int, str | None] = {}
        self.entered: dict[int, list[tuple[Value, tuple[Any, ...]]]] = {}
        self.living: weakref.WeakValueDictionary[int, Tensor] = weakref.WeakValueDictionary()
        self.doubtful: dict[int, list[weakref.ref[Tensor]]] = {}
        self.watch = Watch(self)
        self.running = ""
        self.drew = False
        self.written: list[int] = []
        for state in states:
            slot, real = self._leaf(state.tensor, state.keys, state.name)
            self.named[view_of(real)] = (state.name, slot)

    def _leaf(
        self, tensor: torch.Tensor, keys: tuple[str, ...], name: str | None
    ) -> tuple[Slot, torch.Tensor]:
        slot, real = self._at_home(self.program.leaf(tensor, keys), tensor)
        self.leaves[id(tensor)] = (slot, real, tensor)  # held: the address stays this tensor's
        for place in (tensor, real):
            self.foreign.setdefault(storage_of(place), name)
        return slot, real

    def _at_home(self, slot: Slot, tensor: torch.Tensor) -> tuple[Slot, torch.Tensor]:
        """Return a tensor where the module's own live, so that what meets it can compute."""
        home = self.recorder.home
        if tensor.device == home:
            return slot, tensor
        moved = tensor.detach().to(home)
        (place,) = self.program.step((torch.Tensor.to, (slot, home), {}), {slot: tensor}, moved)
        return place, moved

    def close(self) -> None:
        """Drop what only a trace that goes on needs."""
        self.leaves.clear()
        self.entered.clear()
        self.doubtful.clear()

    def slot_of(
        self, tensor: torch.Tensor, *, drawn_too: bool = False
    ) -> tuple[Slot, torch.Tensor]:
        """Return the slot and the value of an operand that is known, or real."""
        if isinstance(tensor, Tensor):
            self.recorder.check_fresh(tensor, drawn_too=drawn_too)
            assert tensor._trtnn_slot is not None and tensor._trtnn_known is not None
            return tensor._trtnn_slot, tensor._trtnn_known
        if id(tensor) not in self.leaves:
            self._leaf(tensor, (), None)
        return self.leaves[id(tensor)][:2]

    def require_near(self, tensor: torch.Tensor) -> None:
        """Refuse a tensor of the user's on a third device; one of the CPU is brought home."""
        home = self.recorder.home
        if tensor.device not in (home, self.recorder.device, torch.device("cpu")):
            raise UnsupportedError(
                f"a tensor on {tensor.device} in a model on {home}",
                hint="register it as a buffer, so that module.to(device) moves it",
            )

    def adopt(self, tensor: torch.Tensor) -> Tensor:
        """Return a real tensor as a known one, so that what is computed from it is recorded."""
        if isinstance(tensor, Tensor):
            return tensor
        self.require_near(tensor)
        slot, real = self.slot_of(tensor)
        return Tensor(Spec(tuple(real.shape), real.dtype), self.recorder, known=real, slot=slot)

    def own(self, tensor: torch.Tensor) -> Tensor:
        """Return a real tensor that one of our functions made as a known one."""
        if isinstance(tensor, Tensor):
            return tensor
        copy, slot = self._copy(tensor, self.program.leaf(tensor))
        return self._known(copy, slot)

    def again(self, tensor: Tensor, *, shared: bool, copy: bool) -> Tensor:
        """Return the new object that PyTorch gives where a call gave a known tensor back as it is.

        It shares memory or is a copy; where neither is sure, a write to one refuses the other.
        """
        if shared and not copy:
            same: Tensor = self.run(torch.Tensor.detach, (tensor,), {}, lambda base: base)
            return same
        real, slot = self.copied(tensor)
        other = self._known(real, slot)
        if not copy:
            assert tensor._trtnn_known is not None
            for one, doubtful in ((tensor._trtnn_known, other), (real, tensor)):
                self.doubtful.setdefault(storage_of(one), []).append(weakref.ref(doubtful))
        return other

    def _known(self, tensor: torch.Tensor, slot: Slot) -> Tensor:
        slot, tensor = self._at_home(slot, tensor)
        spec = Spec(tuple(tensor.shape), tensor.dtype)
        known = Tensor(spec, self.recorder, known=tensor.detach(), slot=slot)
        self.living[id(known)] = known
        return known

    def run(
        self,
        function: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        again: Callable[..., Any] | None,
    ) -> Any:
        """Run a call on known values at once; ``again`` is its meaning in a graph."""
        operands: dict[Slot, torch.Tensor] = {}
        wrappers: dict[int, Tensor] = {}

        def enter(tensor: torch.Tensor) -> Slot:
            slot, real = self.slot_of(tensor, drawn_too=True)
            operands[slot] = real
            if isinstance(tensor, Tensor):
                wrappers[id(real)] = tensor
            return slot

        slots = change((args, kwargs), torch.Tensor, enter)
        if not operands:
            slots = change(slots, _array_type(), lambda array: array.copy())
        real_args, real_kwargs = change(slots, Slot, operands.__getitem__)
        self.written, self.drew = [], False
        with torch._C.DisableTorchFunction(), torch.inference_mode(mode=False), torch.no_grad():
            name, result = self._watched(function, real_args, real_kwargs)
        first = next((t._trtnn_drawn for t in wrappers.values() if t._trtnn_drawn), None)
        drawn = (name, find_user_line()) if self.drew else first
        if not operands and not parted(result)[0]:
            return result
        result, answer = _frozen(result)
        call = (function, *slots)
        places = self.program.step(call, operands, answer, self.written, find_user_line())
        wrapped = self._wrapped(result, places, wrappers, operands, _redo(again, args, kwargs))
        if drawn:
            self._mark(drawn, wrapped)
        return wrapped

    def _mark(self, drawn: tuple[str, SourceLine | None], result: Any) -> None:
        """Note that what a call returns, and what it wrote, holds random numbers."""
        tensors, answers = parted(result)
        if answers:
            raise random_error(*drawn)
        for tensor in self.living.values():
            if any(tensor is t for t in tensors) or self._was_written(tensor):
                tensor._trtnn_drawn = drawn

    def _was_written(self, tensor: Tensor) -> bool:
        known = tensor._trtnn_known
        return known is not None and storage_of(known) in self.written

    def _watched(self, function: Callable[..., Any], args: Any, kwargs: Any) -> tuple[str, Any]:
        outer, self.running = self.running, str(getattr(function, "__name__", function))
        try:
            with self.watch:
                return self.running, function(*args, **kwargs)
        finally:
            self.running = outer

    def _wrapped(
        self,
        result: Any,
        places: Sequence[Slot],
        wrappers: dict[int, Tensor],
        operands: dict[Slot, torch.Tensor],
        redo: tuple[Tensor, Callable[[Tensor], Any]] | None,
    ) -> Any:
        """Return a result with each tensor as a symbolic one that carries it and its slot."""
        remaining = enumerate(places)
        memory = self.program.memory

        def wrap(tensor: torch.Tensor) -> torch.Tensor:
            index, slot = next(remaining)
            if id(tensor) in wrappers:
                return wrappers[id(tensor)]
            if any(tensor is real for real in operands.values()):
                return tensor
            known = self._known(tensor, slot)
            if redo is not None and self._memory(redo[0]) == memory[slot]:
                known._trtnn_made = (redo[0], lambda base: parted(redo[1](base))[0][index])
            return known

        return change(result, torch.Tensor, wrap)

    def relatives(self, tensor: Tensor) -> list[Tensor]:
        """Return the living known tensors in the same memory, bases before their views."""
        place = self._memory(tensor)
        found = [t for t in self.living.values() if t._trtnn_known is not None]
        return sorted(
            (t for t in found if self._memory(t) == place), key=lambda t: int(t._trtnn_slot or 0)
        )

    def _memory(self, tensor: Tensor) -> int:
        assert tensor._trtnn_slot is not None
        return self.program.memory[tensor._trtnn_slot]

    def copied(self, tensor: Tensor) -> tuple[torch.Tensor, Slot]:
        """Return a copy of a known value as it is now, and the slot of the copy."""
        slot, real = self.slot_of(tensor)
        return self._copy(real, slot)

    def _copy(self, real: torch.Tensor, slot: Slot) -> tuple[torch.Tensor, Slot]:
        with torch.inference_mode(mode=False):
            copy = real.detach().clone()
        (place,) = self.program.step((torch.clone, (slot,), {}), {slot: real}, copy)
        return copy, place

    def _written(self, key: str | None) -> TraceError:
        path, kind, _, module = self.recorder.scopes[-1]
        what = f"the parameter or buffer {key!r}" if key else "a real tensor"
        if getattr(module, "training", False) and key in vars_of(module, path):
            return TraceError(
                f"{f'{kind} {path!r}' if path else kind} in training mode writes to {what}",
                hint="call .eval() on the module before compiling it",
            )
        return TraceError(
            f"{self.running} in forward writes to {what}",
            hint="compute a new tensor instead; a compiled model has no state",
        )

    def before_write(self, tensor: torch.Tensor) -> None:
        """Refuse a write to a tensor of the user's; let constants keep the value of their moment.

        Raises:
            TraceError: The memory belongs to a parameter, a buffer, or another real tensor.
            UnsupportedError: It is from outside of the branch, or of the loop, that writes.
        """
        pointer = storage_of(tensor)
        if pointer in self.foreign:
            raise self._written(self.foreign[pointer])
        self._require_own(pointer)
        self.written.append(pointer)
        constants = self.recorder.constants
        for value, key in self.entered.pop(pointer, ()):
            constant = constants[value]
            self.recorder.interned.pop(key, None)
            if constant.slot is not None:
                copy, slot = self._copy(constant.tensor, constant.slot)
                constants[value] = type(constant)(copy, constant.key, slot)
        where = find_user_line()
        for reference in self.doubtful.pop(pointer, ()):
            for view in family_of(found) if (found := reference()) is not None else ():
                view._trtnn_stale = ("a view of a tensor that was written in place since", where)

    def _require_own(self, pointer: int) -> None:
        frame = self.recorder.frame
        for tensor in list(self.living.values()):
            known = tensor._trtnn_known
            own = tensor._trtnn_frame is frame
            if not own and known is not None and storage_of(known) == pointer:
                raise outside(frame)


def vars_of(module: torch.nn.Module, path: str) -> set[str]:
    """Return the names of a module's own buffers, as the model's state has them."""
    return {f"{path}.{name}" if path else name for name in module._buffers}


def view_of(tensor: torch.Tensor) -> tuple[Any, ...]:
    """Return what two real tensors have in common that are the same view of the same memory."""
    strides = tensor.stride() if tensor.layout is torch.strided else id(tensor)
    turned = tensor.is_neg(), tensor.is_conj()  # read with another sign than the memory has
    return storage_of(tensor), tensor.data_ptr(), tensor.shape, strides, tensor.dtype, turned


def _array_type() -> Any:
    numpy = sys.modules.get("numpy")
    return numpy.ndarray if numpy is not None else ()


def _frozen(result: Any) -> tuple[Any, Any]:
    """Return a result and what the program remembers of it: an array is read-only, and a copy."""
    if isinstance(result, _array_type()):
        result.setflags(write=False)
        return result, result.copy()
    return result, result


def _redo(
    again: Callable[..., Any] | None, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[Tensor, Callable[[Tensor], Any]] | None:
    if again is None or not args or not isinstance(args[0], Tensor):
        return None
    meaning: Callable[..., Any] = again

    def redo(base: Tensor) -> Any:
        positional, named = calls.named(meaning, (base, *args[1:]), kwargs)
        return meaning(*positional, **named)

    return args[0], redo


class Watch(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Sees what a known call does below torch functions: writes, and random numbers."""

    def __init__(self, known: KnownValues) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.known = weakref.proxy(known)

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        for tensor in _written(func, args, kwargs):
            self.known.before_write(tensor)
        if torch.Tag.nondeterministic_seeded in func.tags:
            return self._undrawn(func, args, kwargs)
        return func(*args, **kwargs)

    def _undrawn(self, func: Any, args: tuple[Any, ...], kwargs: Any) -> Any:
        """Run an op that may draw random numbers; note it, and put the generators back, if so."""
        generators = _generators(kwargs.get("generator"), self.known.recorder.home)
        before = [generator.get_state() for generator in generators]
        result = func(*args, **kwargs)
        for generator, state in zip(generators, before, strict=True):
            if not torch.equal(generator.get_state(), state):
                generator.set_state(state)
                self.known.drew = True
        return result


def _generators(given: Any, home: torch.device) -> list[Any]:
    found = [torch.default_generator] if given is None else [given]
    if home.type == "cuda" and given is None:
        found.append(torch.cuda.default_generators[home.index or 0])
    return found


@lru_cache(maxsize=4096)
def _arguments(func: Any) -> tuple[tuple[int, str, bool], ...]:
    """Return position and name of the arguments that an op writes, always or in training."""
    arguments = func._schema.arguments
    names = [a.name for a in arguments]
    return tuple(
        (i, a.name, not (a.alias_info is not None and a.alias_info.is_write))
        for i, a in enumerate(arguments)
        if (a.alias_info is not None and a.alias_info.is_write)
        or (a.name in ("running_mean", "running_var") and "training" in names)
    )


def _written(func: Any, args: tuple[Any, ...], kwargs: Any) -> Iterator[torch.Tensor]:
    for index, name, in_training in _arguments(func):
        if in_training and not _argument(func, args, kwargs, "training"):
            continue
        given = args[index] if index < len(args) else kwargs.get(name)
        yield from tensors_in(given)


def _argument(func: Any, args: tuple[Any, ...], kwargs: Any, name: str) -> Any:
    index = [a.name for a in func._schema.arguments].index(name)
    return args[index] if index < len(args) else kwargs.get(name)
