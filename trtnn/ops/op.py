"""The contract of an op: one TensorRT layer kind, seen as shape rule, meaning and lowering."""

from __future__ import annotations

import dataclasses
import operator
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import wraps
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, TypeAlias, TypeVar, cast

import torch

from trtnn.errors import DTypeError, ShapeError, UnsupportedError
from trtnn.sizes.dims import Box, Expr, Size, decide, evaluate, symbols

if TYPE_CHECKING:
    from trtnn.lower.network import ITensor, Net

    __all__ = ["ITensor", "Net"]

TensorT: TypeAlias = Any
"""A real ``torch.Tensor`` or a symbolic one."""


@dataclass(frozen=True)
class Spec:
    """What is known of a tensor before it exists: shape and dtype."""

    shape: tuple[Size, ...]
    dtype: torch.dtype
    _trtnn_leaf: ClassVar[bool] = True

    @property
    def rank(self) -> int:
        return len(self.shape)

    def __repr__(self) -> str:
        sizes = ", ".join(map(str, self.shape)) + ("," if self.rank == 1 else "")
        return f"({sizes}) {str(self.dtype).removeprefix('torch.')}"


@dataclass(frozen=True)
class Op:
    """Base of all ops: a frozen dataclass whose fields are canonical (no negative axes).

    Subclasses give ``infer(*specs)``, ``reference(*tensors)`` and ``lower(net, *tensors)``, each
    for one output or a tuple of them. One that ``stays`` is a node where its operands are known,
    too; what others then give is a known value. One that ``draws`` gives other entries each time:
    it is never computed ahead, nor merged with its equal. One that ``asserts`` is kept where
    nothing uses what it gives.
    """

    stays: ClassVar[bool] = False
    draws: ClassVar[bool] = False
    asserts: ClassVar[bool] = False

    def infer(self, *specs: Any) -> Any:
        raise NotImplementedError

    def reference(self, *tensors: Any) -> Any:
        raise NotImplementedError

    def lower(self, net: Any, *tensors: Any) -> Any:
        raise NotImplementedError

    @property
    def name(self) -> str:
        return type(self).__name__

    def at(self, bindings: Mapping[str, int]) -> Op:
        """Return the op with every size an int, given a value for each Dim."""
        changed = {
            f.name: replace_sizes(getattr(self, f.name), bindings)
            for f in dataclasses.fields(self)
            if has_sizes(getattr(self, f.name))
        }
        return dataclasses.replace(self, **changed) if changed else self

    def __repr__(self) -> str:
        fields = (f"{f.name}={getattr(self, f.name)!r}" for f in dataclasses.fields(self))
        return f"{self.name}({', '.join(fields)})"


def has_sizes(value: Any) -> bool:
    """Say whether a field holds a symbolic size anywhere."""
    if isinstance(value, tuple):
        return any(has_sizes(v) for v in value)
    return isinstance(value, Expr)


def sizes_in(value: Any) -> list[Size]:
    """Return the symbolic sizes in a field, those of a graph among them."""
    if isinstance(value, tuple):
        return [size for item in value for size in sizes_in(item)]
    if hasattr(value, "sizes_inside"):
        inside: list[Size] = value.sizes_inside()
        return inside
    return [value] if isinstance(value, Expr) else []


def replace_sizes(value: Any, bindings: Mapping[str, int]) -> Any:
    """Return a field with each Expr replaced by its value."""
    if isinstance(value, tuple):
        return tuple(replace_sizes(v, bindings) for v in value)
    return evaluate(value, bindings) if isinstance(value, Expr) else value


class Recorder(Protocol):
    """Who writes ops down: the tracer, or a pass."""

    def record(self, op: Op, operands: Sequence[Any]) -> Any: ...


def recorder_of(*operands: Any) -> Recorder | None:
    """Return the recorder that an operand carries, None where all are real tensors."""
    for operand in operands:
        recorder: Recorder | None = getattr(operand, "_trtnn_recorder", None)
        if recorder is not None:
            return recorder
    return None


def bind(op: Op, *operands: TensorT) -> Any:
    """Record ``op`` if an operand is symbolic, else run its reference at once.

    The one door through which every op goes; a symbolic size counts as a symbolic operand, so
    that ``zeros(batch, 2)`` is recorded by the tracing mode of this thread.
    """
    recorder = recorder_of(*operands)
    sizes = any(has_sizes(getattr(op, f.name)) for f in dataclasses.fields(op))
    if recorder is None and (op.draws or sizes):
        recorder = active_recorder()
    if recorder is not None:
        return recorder.record(op, operands)
    return op.reference(*operands)


_active: list[Callable[[], Recorder | None]] = []


def active_recorder() -> Recorder | None:
    """Return the recorder of this thread's innermost tracing mode."""
    for ask in reversed(_active):
        recorder = ask()
        if recorder is not None:
            return recorder
    return None


@contextmanager
def recording(recorder: Recorder) -> Iterator[None]:
    """Let ``recorder`` write down the ops that have no tensor operand, such as ``arange(seq)``."""
    _active.append(lambda: recorder)
    try:
        yield
    finally:
        _active.pop()


F = TypeVar("F", bound=Callable[..., Any])
TABLE: dict[Any, Callable[..., Any]] = {}
"""The torch callables that trtnn stands for; filled by ``@torch_function``."""
REFUSED: dict[Any, tuple[str, str]] = {}
"""Why TensorRT cannot express others, and what to write instead; filled by ``refusals``."""


def torch_function(*callables: Any, replace: bool = False) -> Callable[[F], F]:
    """Register a function as the meaning of torch callables on symbolic tensors.

    Raises:
        ValueError: One has a meaning, which is not to be replaced.
    """
    if twice := [item for item in callables if item in TABLE and not replace]:
        raise ValueError(f"{twice} have a meaning: {[TABLE[item] for item in twice]}")

    def register(function: F) -> F:
        placed = _placed(function)
        for item in callables:
            TABLE[item] = placed
        return placed

    return register


def _placed(function: F) -> F:
    """Let what a function makes beside real tensors live where they live."""

    @wraps(function)
    def placed(*args: Any, **kwargs: Any) -> Any:
        for value in (*args, *kwargs.values()):
            for tensor in value if isinstance(value, (tuple, list)) else (value,):
                if isinstance(tensor, torch.Tensor) and not hasattr(tensor, "_trtnn_recorder"):
                    if tensor.device.type == "cpu":
                        continue
                    with tensor.device:
                        return function(*args, **kwargs)
        return function(*args, **kwargs)

    return cast(F, placed)


def spec_of(tensor: TensorT) -> Spec:
    """Return the spec of a symbolic or a real tensor."""
    spec: Spec | None = getattr(tensor, "_trtnn_spec", None)
    return spec if spec is not None else Spec(tuple(map(int, tensor.shape)), tensor.dtype)


def shape_of(tensor: TensorT) -> tuple[Size, ...]:
    """Return the sizes of a tensor, symbolic ones as expressions."""
    return spec_of(tensor).shape


def as_size(value: Any) -> Size:
    """Return a size given as int, SymInt or expression.

    Raises:
        DTypeError: It is none of these.
    """
    if type(value) is int or isinstance(value, Expr):
        return value
    if isinstance(value, torch.SymInt):
        expression = getattr(value.node, "expression", None)
        return expression if isinstance(expression, (int, Expr)) else int(value)
    if isinstance(value, torch.Tensor):
        return as_size(value.item())
    return _integer("expected a size (an int)", value)


def _integer(expected: str, value: Any) -> int:
    try:
        index: int = operator.index(value)
    except TypeError:
        raise DTypeError(f"{expected}, got {value!r} of {type(value).__name__}") from None
    return index


def as_sizes(values: Any) -> tuple[Size, ...]:
    """Return several sizes, given as one sequence, one int, or varargs in a tuple."""
    if isinstance(values, (tuple, list)):
        if len(values) == 1 and isinstance(values[0], (tuple, list)):
            return as_sizes(values[0])
        return tuple(as_size(v) for v in values)
    return (as_size(values),)


def axis_of(function: str, dim: Any, rank: int) -> int:
    """Return a non-negative axis.

    Raises:
        DTypeError: It is no int.
        ShapeError: It is out of range.
    """
    axis = _integer(f"{function}: expected an int as dim", dim)
    if not -max(rank, 1) <= axis < max(rank, 1):
        raise ShapeError(
            f"{function}: dim {axis} is out of range for a tensor of rank {rank}",
            hint=f"use {-rank} to {rank - 1}" if rank else "a scalar has dims -1 and 0 only",
        )
    return axis % max(rank, 1)


def require_float(function: str, *specs: Spec) -> None:
    """Raise DTypeError unless every spec is of a floating dtype."""
    for spec in specs:
        if not spec.dtype.is_floating_point:
            raise DTypeError(f"{function}: expected a floating dtype, got {spec.dtype}")


def refuse_integers(function: str, *specs: Spec) -> None:
    """Raise UnsupportedError for what PyTorch computes of integers, and TensorRT of floats only."""
    for spec in specs:
        if not spec.dtype.is_floating_point:
            raise UnsupportedError(
                f"{function}: TensorRT takes floats only, got {spec.dtype}",
                hint="convert with .float()",
            )


def require_same_dtype(function: str, *specs: Spec) -> None:
    """Raise DTypeError unless all specs have one dtype."""
    dtypes = list(dict.fromkeys(spec.dtype for spec in specs))
    if len(dtypes) > 1:
        raise DTypeError(
            f"{function}: expected one dtype, got {' and '.join(map(str, dtypes))}",
            hint="cast one side with .to(dtype)",
        )


def unmet(
    found: tuple[Box, ...], message: str, *, sizes: tuple[Size, ...], hint: str | None = None
) -> ShapeError:
    """Return the error for a requirement that ``dims.failures`` found not to hold everywhere.

    What neither ranges prove nor an example refutes is taken to hold: PyTorch's rule, which the
    engine checks as well, then decides at each call.
    """
    named = {s.name: s for size in sizes for s in symbols(size)}
    box = found[0]
    if any((named[name].low, named[name].high) != ends for name, ends in box.items()):
        spans = (f"{n} = {a}" + (f" to {b}" if a < b else "") for n, (a, b) in box.items())
        message += f", where {' and '.join(spans)}"
        if hint is None and len(box) == len(found) == 1:
            ((name, (low, high)),) = box.items()
            hint = f'declare Dim("{name}", min={high + 1}, ...)' if low == named[name].low else None
    return ShapeError(message, sizes=sizes, hint=hint)


def broadcast(function: str, *shapes: tuple[Size, ...]) -> tuple[Size, ...]:
    """Return the shape that the shapes broadcast to, by PyTorch's rule.

    Raises:
        ShapeError: Two sizes differ, or cannot be shown equal, and neither is 1.
    """
    rank = max(map(len, shapes))
    result: list[Size] = []
    for axis in range(-rank, 0):
        sizes = [s[axis] for s in shapes if len(s) >= -axis]
        others = list(dict.fromkeys(s for s in sizes if s != 1))
        if len(others) > 1:
            raise ShapeError(
                f"{function}: {' and '.join(text_of(s) for s in shapes)} do not broadcast: "
                f"sizes {unequal(*others[:2])} at dim {axis}",
                hint="declare one Dim for both, or reshape one side"
                if has_sizes((others[0],)) and has_sizes((others[1],))
                else "reshape one side",
                sizes=(others[0], others[1]),
            )
        result.append(others[0] if others else 1)
    return tuple(result)


def unequal(left: Size, right: Size) -> str:
    """Say that two sizes differ, or that nothing shows them to be equal.

    >>> unequal(4, 5)
    '4 and 5 differ'
    """
    differ = decide("eq", left, right) is False
    return f"{left} and {right} {'differ' if differ else 'are not shown to be equal'}"


def text_of(shape: Sequence[Size]) -> str:
    """Return a shape as it is written."""
    return "(" + ", ".join(map(str, shape)) + ("," if len(shape) == 1 else "") + ")"
