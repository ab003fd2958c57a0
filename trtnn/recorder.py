"""The recorder: turns torch calls on symbolic tensors into nodes, known values and errors."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

import torch

from trtnn import calls, mutation
from trtnn.dims import Size, bounds, decide
from trtnn.errors import TraceError, UnsupportedError
from trtnn.graph import Assumption, Constant, Node, Origin, Recipe, Value, as_tuple
from trtnn.op import TABLE, Op, Spec, has_sizes, spec_of
from trtnn.source import find_user_line
from trtnn.tensor import Tensor, tensors_in


class Recorder:
    """Everything that one trace writes down.

    Args:
        device: What symbolic tensors say their device is.
        home: The device that real tensors live on while tracing.
        keys: ``state_dict`` key by identity of a parameter or buffer.
    """

    def __init__(
        self, device: torch.device, home: torch.device, keys: dict[int, tuple[str, torch.Tensor]]
    ) -> None:
        self.device, self.home, self.keys = device, home, keys
        self.nodes: list[Node] = []
        self.constants: dict[Value, Constant] = {}
        self.interned: dict[tuple[Any, ...], tuple[Value, torch.Tensor]] = {}
        self.assumptions: list[Assumption] = []
        self.notes: list[str] = []
        self.known: list[Recipe] = []
        self.scopes: list[tuple[str, str, int]] = [("", "", 0)]
        self.scope = ""
        self.thread = threading.get_ident()
        self.autocast = _autocast_state()
        self.protected = {t.untyped_storage().data_ptr(): key for key, t in keys.values()}
        self.closed = False

    # Values ---------------------------------------------------------------------------------

    def input(self, name: str, spec: Spec) -> Tensor:
        """Return the symbolic tensor of a graph input."""
        return Tensor(spec, self, value=Value(name, spec))

    def constant(self, tensor: torch.Tensor, recipe: Recipe | None = None) -> Value:
        """Return the value of a real tensor: one per storage, view and dtype."""
        key = (tensor.data_ptr(), tensor.shape, tensor.stride(), tensor.dtype, tensor.numel() == 0)
        if key in self.interned:
            return self.interned[key][0]
        name = self.keys.get(id(tensor), (None,))[0]
        spec = Spec(tuple(tensor.shape), tensor.dtype)
        value = Value(f"c{len(self.constants)}", spec)
        self.constants[value] = Constant(tensor.detach(), name, recipe)
        self.interned[key] = (value, tensor)
        return value

    def value_of(self, operand: Any) -> Value:
        """Return the graph value of any operand."""
        if not isinstance(operand, torch.Tensor):
            raise TraceError(f"expected a tensor, got {operand!r} of {type(operand).__name__}")
        if not isinstance(operand, Tensor):
            if operand.device != self.home and operand.dim() > 0:
                raise UnsupportedError(
                    f"a tensor on {operand.device} in a model on {self.home}",
                    hint="register it as a buffer, so that module.to(device) moves it",
                )
            return self.constant(operand)
        if operand._trtnn_recorder is not self:
            raise TraceError("a symbolic tensor of another trace was used")
        if operand._trtnn_stale:
            raise UnsupportedError(operand._trtnn_stale)
        if operand._trtnn_known is not None:
            known: Value = self.constant(operand._trtnn_known)
            return known
        value: Value | None = operand._trtnn_value
        assert value is not None
        return value

    # Ops ------------------------------------------------------------------------------------

    def record(self, op: Op, operands: Sequence[Any]) -> Any:
        """Write ``op`` down; compute it at once where all operands are known."""
        self._check_open()
        with torch._C.DisableTorchFunction():  # our own calls are not the user's
            return self._record(op, operands)

    def _record(self, op: Op, operands: Sequence[Any]) -> Any:
        symbolic = any(isinstance(o, Tensor) and o._trtnn_known is None for o in operands)
        sizes = any(has_sizes(v) for v in vars(op).values())
        if not symbolic and not sizes:
            with torch._C.DisableTorchFunction(), torch.no_grad():
                results = op.reference(*(self.real(o) for o in operands))
            return calls.each_tensor(results, self.wrap_known)
        inputs = tuple(self.value_of(o) for o in operands)
        specs = op.infer(*(v.spec for v in inputs))
        start = len(self.nodes)
        outputs = tuple(
            Value(f"{start}" if i == 0 else f"{start}_{i}", spec)
            for i, spec in enumerate(as_tuple(specs))
        )
        self.nodes.append(Node(op, inputs, outputs, self.origin()))
        results = tuple(Tensor(v.spec, self, value=v) for v in outputs)
        return results if isinstance(specs, tuple) else results[0]

    def origin(self) -> Origin:
        path, name, call = self.scopes[-1]
        return Origin(path, name, call, self.scope, None, find_user_line())

    def real(self, operand: Any) -> Any:
        """Return the real tensor of a known operand."""
        if isinstance(operand, Tensor):
            if operand._trtnn_stale:
                raise UnsupportedError(operand._trtnn_stale)
            return operand._trtnn_known
        return operand

    def wrap_known(self, value: Any) -> Any:
        """Return the results of a known call as symbolic tensors that carry their value."""
        if isinstance(value, Tensor) or not isinstance(value, torch.Tensor):
            return value
        spec = Spec(tuple(value.shape), value.dtype)
        return Tensor(spec, self, known=value.detach())

    def _check_open(self) -> None:
        if self.closed:
            raise TraceError(
                "a symbolic tensor was used after its trace ended",
                hint="return it from forward instead of keeping it",
            )

    # Sizes ----------------------------------------------------------------------------------

    def decide(self, comparison: str, left: Size, right: Size) -> bool:
        """Answer a comparison of sizes: from ranges, else by the 0/1 rule, else with an error."""
        answer = decide(comparison, left, right)
        if answer is not None:
            return answer
        general = _general_answer(comparison, left, right)
        if general is None:
            low, high = bounds(left - right)
            raise TraceError(
                f"cannot decide {comparison}({left}, {right}): {left} is {_range(left)}, "
                f"{right} is {_range(right)}, their difference {low} to {high}",
                hint="narrow the Dims' ranges, or write it without a branch (torch.sym_max, "
                "torch.where)",
            )
        assumption = Assumption(comparison, left, right, general, find_user_line())
        if assumption not in self.assumptions:
            self.assumptions.append(assumption)
        return general

    def integer(self, size: Size) -> int:
        """Return a static size as an int; refuse a symbolic one."""
        if isinstance(size, int):
            return size
        raise TraceError(
            f"int() of the symbolic size {size}, which is {_range(size)}",
            hint="keep it symbolic (s // 2, torch.sym_int), or give a static size",
        )

    # Calls ----------------------------------------------------------------------------------

    def call(self, function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Give a torch call its meaning."""
        self._check_open()
        if _autocast_state() != self.autocast:
            raise UnsupportedError(
                "torch.autocast inside forward is not taken yet",
                hint="compile module.half(), or write the casts with .to(dtype)",
            )
        name = calls.name_of(function)
        if name in ("to", "cuda", "cpu"):
            args = self._named_device(name, args)
        args, kwargs = self._on_home(args), self._on_home(kwargs)
        tensors = tensors_in((args, kwargs))
        if function in calls.INFORMATION:
            with torch._C.DisableTorchFunctionSubclass():
                return function(*args, **kwargs)
        self._protect(function, name, args, kwargs)
        symbolic = any(isinstance(t, Tensor) and t._trtnn_known is None for t in tensors)
        if not symbolic and not calls.has_symbolic_sizes((args, kwargs)):
            return self._call_known(function, name, args, kwargs)
        if name in calls.ASKS_VALUE:
            return _ask(function, name, args, kwargs)
        if kwargs.get("out") is not None:
            raise UnsupportedError(f"{name}(out=...) in forward", hint="use the returned tensor")
        if calls.is_mutating(function):
            return mutation.write(self, function, args, kwargs)
        return self._apply(function, name, args, kwargs)

    def _apply(self, function: Any, name: str, args: Any, kwargs: Any) -> Any:
        meaning = TABLE.get(function)
        if meaning is None and name in ("data.__get__", "requires_grad_", "detach"):
            return args[0]
        if meaning is None:
            if name.startswith("sym_") or function is torch.broadcast_shapes:
                return function(*args, **kwargs)
            raise UnsupportedError(
                f"{_full_name(function)} has no lowering yet",
                hint="write it with other torch functions",
            )
        outer, self.scope = self.scope, self.scope or name
        try:
            result = meaning(*args, **kwargs)
        finally:
            self.scope = outer
        result = calls.each_tensor(result, self.wrap_known)
        if args and isinstance(args[0], Tensor):
            if calls.asks_in_place(meaning, args, kwargs):
                return mutation.assign(self, args[0], result)
            result = mutation.link(self, function, args[0], result)
        return result

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

    def _named_device(self, name: str, args: tuple[Any, ...]) -> tuple[Any, ...]:
        """Return the arguments of ``to``, ``cuda`` and ``cpu`` with the device as an object."""
        if name == "to":
            given = torch.device(args[1]) if len(args) > 1 and isinstance(args[1], str) else None
            return args if given is None else (args[0], given, *args[2:])
        device = args[1] if len(args) > 1 else name
        self._device(f"cuda:{device}" if isinstance(device, int) else device)
        return args[:1]

    def _device(self, value: Any) -> Any:
        if value is None:
            return None
        device = torch.device(value)
        same_index = device.index is None or device.index == (self.device.index or 0)
        if device == self.home or (device.type == self.device.type and same_index):
            return self.home
        raise UnsupportedError(f"device {device} in a model compiled for {self.device}")

    def _protect(self, function: Any, name: str, args: Any, kwargs: Any) -> None:
        """Refuse, before it runs, a call that writes to a parameter or buffer, or draws numbers."""
        if name in calls.RANDOM:
            raise TraceError(
                f"{name} in forward draws random numbers, which a graph would freeze",
                hint="draw them outside and give them as an input",
            )
        targets = tensors_in(kwargs.get("out"))
        if args and (calls.is_mutating(function) or kwargs.get("inplace")):
            targets += tensors_in(args[0])
        for target in targets:
            real = target._trtnn_known if isinstance(target, Tensor) else target
            if real is None:
                continue
            key = self.protected.get(real.untyped_storage().data_ptr())
            owned = isinstance(target, Tensor)
            if key is not None or not owned:
                what = f"the parameter or buffer {key!r}" if key else "a real tensor"
                raise TraceError(
                    f"{name} in forward writes to {what}",
                    hint="compute a new tensor instead; a compiled model has no state",
                )

    def _call_known(self, function: Any, name: str, args: Any, kwargs: Any) -> Any:
        """Run a call on known values at once; remember it as a recipe."""
        wrapped = {id(t._trtnn_known): t for t in tensors_in((args, kwargs)) if type(t) is Tensor}
        if calls.is_mutating(function):
            self._unshare(wrapped)
        real_args, real_kwargs = (
            calls.map_tensors(args, self.real),
            calls.map_tensors(kwargs, self.real),
        )
        with torch._C.DisableTorchFunction(), torch.no_grad():
            result = function(*real_args, **real_kwargs)
        self.known.append(Recipe(function, (real_args, tuple(real_kwargs.items()))))

        def wrap(value: Any) -> Any:
            if isinstance(value, torch.Tensor) and id(value) in wrapped:
                return wrapped[id(value)]
            if any(value is t for t in tensors_in((real_args, real_kwargs))):
                return value
            return self.wrap_known(value)

        return calls.each_tensor(result, wrap)

    def _unshare(self, wrapped: dict[int, Tensor]) -> None:
        """Give constants that share memory with a value about to change their own copy."""
        pointers = {
            t._trtnn_known.untyped_storage().data_ptr()
            for t in wrapped.values()
            if t._trtnn_known is not None
        }
        for value, constant in list(self.constants.items()):
            if constant.tensor.untyped_storage().data_ptr() in pointers:
                copy = Constant(constant.tensor.clone(), constant.key, constant.recipe)
                self.constants[value] = copy
        self.interned = {
            key: entry
            for key, entry in self.interned.items()
            if entry[1].untyped_storage().data_ptr() not in pointers
        }

    def dispatch(self, function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Answer what slipped past ``__torch_function__``: views by their torch name, or refuse."""
        name = str(function).removeprefix("aten.").split(".")[0]
        same = {"detach": torch.Tensor.detach, "alias": torch.Tensor.detach}
        target = same.get(name) or getattr(torch.Tensor, name, None)
        known = all(
            t._trtnn_known is not None for t in tensors_in((args, kwargs)) if isinstance(t, Tensor)
        )
        if known:
            return self._call_known(function, name, args, kwargs)
        if target in calls.VIEWS and TABLE.get(target) is not None:
            return self._fresh(self._apply(target, name, args, kwargs), args[0])
        raise UnsupportedError(
            f"{function} reached a symbolic tensor below torch functions",
            hint="torch.jit.script and custom C++ ops cannot be traced; call plain functions",
        )

    def _fresh(self, result: Any, operand: Tensor) -> Any:
        """PyTorch's dispatcher wants a new object, never the operand itself."""
        if result is operand:
            return Tensor(operand._trtnn_spec, self, operand._trtnn_value, operand._trtnn_known)
        return result


def _autocast_state() -> tuple[bool, ...]:
    return (torch.is_autocast_enabled("cpu"), torch.is_autocast_enabled("cuda"))


def _general_answer(comparison: str, left: Size, right: Size) -> bool | None:
    """Answer a comparison with 0 or 1 for the general size; None for any other comparison."""
    if isinstance(left, int):
        swap = {"lt": "gt", "gt": "lt", "le": "ge", "ge": "le"}
        return _general_answer(swap.get(comparison, comparison), right, left)
    if right not in (0, 1):
        return None
    return comparison in ("ne", "gt", "ge")


def _range(size: Size) -> str:
    low, high = bounds(size)
    return f"{low} to {high}" if low != high else str(low)


def _ask(function: Any, name: str, args: Any, kwargs: Any) -> Any:
    tensor = args[0]
    shape = spec_of(tensor).shape
    if name == "is_contiguous":
        return True
    if name in ("__len__", "__iter__", "__reversed__"):
        if not shape:
            raise TraceError(f"{name} of a scalar tensor")
        if name == "__len__":
            return tensor._trtnn_recorder.integer(shape[0])
        parts = TABLE[torch.Tensor.unbind](tensor, 0)
        return iter(parts if name == "__iter__" else parts[::-1])
    if name in ("__repr__", "__format__"):
        return Tensor.__repr__(tensor)
    raise TraceError(
        f"{name} of {tensor!r}: its value is not known while tracing",
        hint="use torch.where instead of a branch on data; sizes and parameters may be asked",
    )


def _full_name(function: Any) -> str:
    name: str | None = torch.overrides.resolve_name(function)
    return name or calls.name_of(function)
