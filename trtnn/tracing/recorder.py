"""The recorder: turns torch calls on symbolic tensors into nodes, known values and errors."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch

from trtnn.errors import TraceError, TrtnnError, UnsupportedError
from trtnn.graph.graph import Assumption, Constant, Node, Origin, Value, as_tuple
from trtnn.graph.program import Slot, change, storage_of
from trtnn.graph.tensor import Tensor, root_of, tensors_in
from trtnn.ops.op import TABLE, Op, Spec, bind, has_sizes, spec_of
from trtnn.sizes.dims import Dim, Size, decide
from trtnn.source import find_user_line
from trtnn.tracing import calls, drawn, frames, layouts, meanings, mutation
from trtnn.tracing.frames import Frame
from trtnn.tracing.known import KnownValues, State, view_of
from trtnn.tracing.origins import origins
from trtnn.tracing.questions import ask, autocast_is_on, general_answer, range_of
from trtnn.tracing.regions import Regions


class Carried(TrtnnError):
    """An error of ours on its way through PyTorch, which takes a TypeError for an answer."""

    def __init__(self, error: TrtnnError) -> None:
        super().__init__(error.message, hint=error.hint, where=error.where, search=False)
        self.error = error


class Recorder:
    """Everything that one trace writes down.

    Args:
        device: What symbolic tensors say their device is.
        home: The device that real tensors live on while tracing.
        states: The module's parameters and buffers.
    """

    def __init__(
        self, device: torch.device, home: torch.device, states: Sequence[State] = ()
    ) -> None:
        self.device, self.home = device, home
        self.frames = [Frame()]
        self.count = 0
        self.makers: dict[Value, Node] = {}
        self.inputs: tuple[Value, ...] = ()
        self.hosts: dict[str, Dim] = {}
        self.constants: dict[Value, Constant] = {}
        self.interned: dict[tuple[Any, ...], tuple[Value, torch.Tensor]] = {}
        self.assumptions: Counter[Assumption] = Counter()
        self.notes: dict[str, None] = {}
        self.scopes: list[tuple[str, str, int, Any]] = [("", "", 0, None)]
        self.scope = ""
        self.thread = threading.get_ident()
        self.known = KnownValues(self, states)
        self.regions = Regions()
        self.failure: TrtnnError | None = None
        self.closed = False

    # Graphs in graphs -----------------------------------------------------------------------

    @property
    def frame(self) -> Frame:
        """The graph that is written: the innermost one."""
        return self.frames[-1]

    @property
    def nodes(self) -> list[Node]:
        return self.frame.nodes

    @contextmanager
    def writing(self, *frames: Frame) -> Iterator[None]:
        """Write into the last of ``frames``, which lie in each other."""
        outer, self.frames = self.frames, list(frames)
        try:
            yield
        finally:
            self.frames = outer

    # Values ---------------------------------------------------------------------------------

    def input(self, name: str, spec: Spec, form: str = "contiguous_format") -> Tensor:
        """Return the symbolic tensor of a graph input, which lies in memory as ``form`` says."""
        hint = "take torch.view_as_real of it, and in forward torch.view_as_complex"
        meanings.require_real(f"input {name}", spec.dtype, hint)
        value = Value(name, spec)
        self.inputs = (*self.inputs, value)
        tensor = Tensor(spec, self, value=value)
        tensor._trtnn_layout = layouts.Layout(spec, form=getattr(torch, form))
        return tensor

    def constant(self, tensor: torch.Tensor, slot: Slot | None = None) -> Value:
        """Return the value of a real tensor: one per storage, view and dtype."""
        if slot is None:
            slot, tensor = self.known.slot_of(tensor)
        key = view_of(tensor)
        if key in self.interned:
            return self.interned[key][0]
        name, slot = self.known.named.get(key, (None, slot))
        spec = Spec(tuple(tensor.shape), tensor.dtype)
        value = Value(f"c{len(self.constants)}", spec)
        self.constants[value] = Constant(tensor.detach().resolve_neg(), name, slot)
        self.interned[key] = (value, tensor)
        self.known.entered.setdefault(storage_of(tensor), []).append((value, key))
        return value

    def value_of(self, operand: Any) -> Value:
        """Return the graph value of any operand."""
        if not isinstance(operand, torch.Tensor):
            raise TraceError(f"expected a tensor, got {operand!r} of {type(operand).__name__}")
        meanings.require_real("a tensor", spec_of(operand).dtype)
        if not isinstance(operand, Tensor):
            return self.constant(operand)
        self.check_fresh(operand)
        if operand._trtnn_known is not None:
            return self.constant(operand._trtnn_known, operand._trtnn_slot)
        value: Value | None = operand._trtnn_value
        assert value is not None
        return value

    def complex(self, dtype: torch.dtype, real: Tensor, imaginary: Tensor) -> Tensor:
        """Return the complex tensor of two parts."""
        return meanings.complex_tensor(self, dtype, real, imaginary)

    def replay(self, view: Tensor) -> Value:
        """Return the value of a view whose base was written to, in the graph where it was."""
        frame = root_of(view)._trtnn_frame
        if frame not in self.frames:
            raise frames.elsewhere(frame)
        with self.writing(*self.frames[: self.frames.index(frame) + 1]):
            return mutation.replay(self, view)

    def check_fresh(self, tensor: Tensor, *, drawn_too: bool = False) -> None:
        """Refuse a tensor of another trace, one whose content is in doubt, or random numbers."""
        if tensor._trtnn_recorder is not self:
            raise TraceError("a symbolic tensor of another trace was used")
        if tensor._trtnn_frame not in self.frames and tensor._trtnn_known is None:
            raise frames.elsewhere(tensor._trtnn_frame)
        if tensor._trtnn_stale:
            text, where = tensor._trtnn_stale
            hint = "write in place before the view is taken, or not at all"
            raise UnsupportedError(f"use of {text}", hint=hint, where=where)

        if tensor._trtnn_drawn and not drawn_too:
            raise drawn.random_error(*tensor._trtnn_drawn)

    # Ops ------------------------------------------------------------------------------------

    def record(self, op: Op, operands: Sequence[Any]) -> Any:
        """Write ``op`` down; compute it at once where all operands are known."""
        self._check_open()
        with torch._C.DisableTorchFunction():  # our own calls are not the user's
            return self._record(op, operands)

    def _record(self, op: Op, operands: Sequence[Any]) -> Any:
        symbolic = any(isinstance(o, Tensor) and o._trtnn_known is None for o in operands)
        sizes = any(has_sizes(v) for v in vars(op).values())
        if not symbolic and not sizes and not op.stays:

            def again(*tensors: Any) -> Any:
                return bind(op, *tensors)

            return self.known.run(op.reference, tuple(operands), {}, again)
        return self.add(op, tuple(self.value_of(o) for o in operands))

    def add(self, op: Op, inputs: tuple[Value, ...]) -> Any:
        """Append a node to the graph that is written."""
        specs = op.infer(*(v.spec for v in inputs))
        start, self.count = self.count, self.count + 1
        outputs = tuple(
            Value(f"{start}" if i == 0 else f"{start}_{i}", spec)
            for i, spec in enumerate(as_tuple(specs))
        )
        node = Node(op, inputs, outputs, self.origin())
        self.nodes.append(node)
        self.makers.update(dict.fromkeys(outputs, node))
        results = tuple(Tensor(v.spec, self, value=v) for v in outputs)
        return results if isinstance(specs, tuple) else results[0]

    def origin(self) -> Origin:
        path, name, call, _ = self.scopes[-1]
        return Origin(path, name, call, self.scope, self.regions.word, find_user_line())

    def close(self) -> None:
        """End the trace: drop the tensors that only it needed."""
        self.closed = True
        self.interned.clear()
        self.known.close()

    def _check_open(self) -> None:
        if self.closed:
            raise TraceError(
                "a symbolic tensor was used after its trace ended",
                hint="return it from forward instead of keeping it",
            )
        if threading.get_ident() != self.thread:
            raise TraceError(
                "a symbolic tensor was used in another thread than the one that traces",
                hint="call the module's parts one after another",
            )

    # Sizes ----------------------------------------------------------------------------------

    def decide(self, comparison: str, left: Size, right: Size) -> bool:
        """Answer a comparison of sizes: from ranges, else by the 0/1 rule, else with an error."""
        answer = decide(comparison, left, right)
        if answer is not None:
            return answer
        general = general_answer(comparison, left, right)
        if general is None:
            asked = Assumption(comparison, left, right, answer=True, source=None)
            ranges = [f"{s} is {range_of(s)}" for s in (left, right) if not isinstance(s, int)]
            raise self._explained(
                TraceError(
                    f"cannot decide {asked.question}: {', '.join(ranges)}",
                    hint="narrow the Dims' ranges, or write it without a branch (torch.sym_max, "
                    "torch.where)",
                    sizes=(left, right),
                )
            )
        self.assumptions[Assumption(comparison, left, right, general, find_user_line())] += 1
        return general

    def integer(self, size: Size) -> int:
        """Return a static size as an int; refuse a symbolic one."""
        if isinstance(size, int):
            return size
        raise self._explained(
            TraceError(
                f"forward asks for a number, as int() and range() do, of the symbolic size {size}, "
                f"which is {range_of(size)}",
                hint="keep it symbolic (s // 2, s ** 0.5, torch.sym_int), or give a static size; "
                "for a loop over it, carry, ys = trtnn.scan(step, init, xs)",
                sizes=(size,),
            )
        )

    def _explained(self, error: TrtnnError, operands: Sequence[Any] = ()) -> TrtnnError:
        """Say where the sizes that an error names come from, unless an inner call has."""
        error.origins = error.origins or origins(self, error.sizes, operands)
        return error

    # Calls ----------------------------------------------------------------------------------

    def call(self, function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Give a torch call its meaning."""
        self.failure = None
        args, kwargs = calls.plain((args, kwargs))
        try:
            return self._call(function, args, kwargs)
        except TrtnnError as error:
            self.failure = error
            self._explained(error, tensors_in((args, kwargs)))
            if isinstance(error, TypeError):  # which PyTorch's operators swallow
                raise Carried(error) from error
            raise

    def _call(self, function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        self._check_open()
        self._check_autocast()
        name = calls.name_of(function)
        if name in calls.RESHAPING:
            raise UnsupportedError(
                f"{name} in forward changes what a tensor is, and not what it holds",
                hint="use a new tensor: x = x.unsqueeze(0), x = x.reshape(y.shape)",
            )
        if name == "data.__set__":
            raise UnsupportedError(f"{name} in forward", hint="compute a new tensor instead")
        if name in calls.AUTOGRAD:
            return args[0] if name in ("requires_grad_", "detach_") else None
        if name in ("cuda", "cpu"):
            return self._moved(name, *args, **kwargs)
        if name == "to" and len(args) > 1 and type(args[1]) in (str, int):
            number = isinstance(args[1], int)
            place = torch.device(f"cuda:{args[1]}" if number else args[1])
            args = (args[0], place, *args[2:])
        return self._placed(function, name, self._on_home(args), dict(self._on_home(kwargs)))

    def _placed(self, function: Any, name: str, args: Any, kwargs: Any) -> Any:
        """Give a call its meaning whose device is the parameters' own."""
        if function in calls.HOLDING:
            return calls.HOLDING[function](*args, **kwargs)
        if function in calls.INFORMATION:
            with torch._C.DisableTorchFunctionSubclass():
                return function(*args, **kwargs)
        if name == "__deepcopy__":
            return self._call(torch.Tensor.clone, args[:1], {})
        tensors = tensors_in((args, kwargs))
        symbolic = [t for t in tensors if isinstance(t, Tensor) and t._trtnn_known is None]
        if name in calls.ANSWERED or name in calls.ADDRESSES:
            return ask(name, self.known.adopt(args[0]))
        if symbolic and name in calls.ASKS_VALUE:
            first = args[0] if isinstance(args[0], Tensor) else symbolic[0]
            return ask(name, first, args[1:], kwargs)
        known = not symbolic and not calls.has_symbolic_sizes((args, kwargs))
        known = known and name not in calls.STAYS
        if name in calls.RANDOM and not known:
            return drawn.draw(self, name, args, kwargs)
        if known:
            for tensor in tensors:
                self.known.require_near(tensor)
            return self.known.run(function, args, kwargs, TABLE.get(function))
        if kwargs.pop("out", None) is not None:
            raise UnsupportedError(f"{name}(out=...) in forward", hint="use the returned tensor")
        if kwargs.get("layout") not in (None, torch.strided):
            raise UnsupportedError(f"{name} with layout {kwargs['layout']}: a graph is dense")
        if calls.is_mutating(function):
            meanings.require_no_complex(name, tensors)
            return mutation.write(self, function, args, kwargs)
        return self._apply(function, name, args, kwargs)

    def _check_autocast(self) -> None:
        if autocast_is_on():
            raise UnsupportedError(
                "torch.set_autocast_enabled in forward",
                hint="write the region: with torch.autocast('cuda', dtype=torch.float16): ...",
            )

    def _apply(self, function: Any, name: str, args: Any, kwargs: Any) -> Any:
        meaning = meanings.meaning_of(self, function, name, (args, kwargs))
        if meaning is None and name in ("data.__get__", "detach"):
            return args[0]
        if meaning is None:
            if name.startswith("sym_") or function is torch.broadcast_shapes:
                return function(*args, **kwargs)
            raise meanings.missing(function, name)
        given = args, kwargs
        args, kwargs = calls.named(meaning, args, kwargs)
        args, kwargs = change((args, kwargs), torch.Tensor, self.known.adopt)
        outer, self.scope = self.scope, self.scope or name
        try:
            result = self._meaning(meaning, name, args, kwargs)
        finally:
            self.scope = outer
        if calls.asks_in_place(meaning, args, kwargs):
            return mutation.assign(self, calls.first_operand(meaning, args, kwargs), result)
        result = change(result, torch.Tensor, self.known.own)
        result = mutation.link(self, function, (args, kwargs), result)
        layouts.note(function, given, result)
        return result

    def _meaning(self, meaning: Any, name: str, args: Any, kwargs: Any) -> Any:
        try:
            return meaning(*args, **kwargs)
        except TypeError as error:
            if isinstance(error, TrtnnError) or calls.accepts(meaning, args, kwargs):
                raise
            raise UnsupportedError(f"{name}: {error}") from error

    def _on_home(self, value: Any) -> Any:
        """Replace the compilation's device by the parameters' own in the arguments of a call."""
        if isinstance(value, (tuple, list)) and not isinstance(value, torch.Size):
            moved = [self._on_home(v) for v in value]
            if all(a is b for a, b in zip(moved, value, strict=True)):
                return value
            return type(value)(moved)
        if isinstance(value, dict):
            return {k: self._device(v) if k == "device" else v for k, v in value.items()}
        return self._device(value) if isinstance(value, torch.device) else value

    def _moved(self, name: str, tensor: Any, device: Any = None, *_: Any, **__: Any) -> Any:
        """Give ``cuda`` and ``cpu`` their meaning: the tensor is there, or it is an error."""
        if name == "cpu" and self.device.type != "cpu":
            raise UnsupportedError(f"device cpu in a model compiled for {self.device}")
        self._device(f"cuda:{device}" if isinstance(device, int) else device or name)
        return tensor

    def _device(self, value: Any) -> Any:
        if value is None:
            return None
        device = torch.device(value)
        same_index = device.index is None or device.index == (self.device.index or 0)
        if device == self.home or (device.type == self.device.type and same_index):
            return self.home
        raise UnsupportedError(f"device {device} in a model compiled for {self.device}")

    def dispatch(self, function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Answer what slipped past ``__torch_function__``: views by their torch name, or refuse."""
        name = str(function).removeprefix("aten.").split(".")[0]
        same = {"detach": torch.Tensor.detach, "alias": torch.Tensor.detach}
        target = same.get(name) or getattr(torch.Tensor, name, None)
        tensors = [t for t in tensors_in((args, kwargs)) if isinstance(t, Tensor)]
        if all(t._trtnn_known is not None for t in tensors):
            return self.known.run(function, args, kwargs, None)
        if target in calls.VIEWS and TABLE.get(target) is not None:
            return self._fresh(self._apply(target, name, args, kwargs), args[0])
        self.failure = UnsupportedError(
            f"{function} reached a symbolic tensor below torch functions",
            hint="torch.jit.script and custom C++ ops cannot be traced; call plain functions",
        )
        raise self.failure

    def _fresh(self, result: Any, operand: Tensor) -> Any:
        """PyTorch's dispatcher wants a new object, never the operand itself."""
        return mutation.same_memory(self, operand) if result is operand else result
