"""A choice between two graphs, of which one gives the result."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch

from trtnn.errors import DTypeError, ShapeError, TraceError
from trtnn.flow.bodies import Body, Index, copied, filled, record, recorder_for, traced
from trtnn.graph.graph import Graph
from trtnn.graph.holding import Holder, Run, only
from trtnn.graph.tensor import Tensor
from trtnn.ops.movement import reshape
from trtnn.ops.op import Spec, TensorT, spec_of
from trtnn.sizes.dims import product

if TYPE_CHECKING:
    from trtnn.lower.network import ITensor, Net

__all__ = ["Cond", "cond"]


@dataclass(frozen=True, repr=False)
class Cond(Holder):
    """What one of two graphs gives: TensorRT's if-conditional."""

    true: Graph
    false: Graph

    @property
    def own(self) -> int:
        return 0

    @property
    def lead(self) -> int:
        return 1

    def keeping(self, wanted: Sequence[bool]) -> tuple[Cond, Sequence[bool]]:
        true, false = (replace(g, outputs=only(g.outputs, wanted)) for g in (self.true, self.false))
        return Cond(true, false), wanted

    def infer(self, pred: Spec, *captured: Spec) -> tuple[Spec, ...]:
        self.require_captured(captured)
        return tuple(value.spec for value in self.true.outputs)

    def reference(self, run: Run, *tensors: torch.Tensor) -> Any:
        pred, *captured = tensors
        return tuple(run(self.true if pred else self.false, captured))

    def lower(self, net: Net, pred: ITensor, *captured: Any) -> tuple[ITensor, ...]:
        return net.conditional(pred, (self.true, self.false), captured)


def cond(
    pred: Any,
    true_fn: Callable[..., Any],
    false_fn: Callable[..., Any],
    operands: Sequence[Any] = (),
) -> Any:
    """Return what one of two functions returns: ``true_fn`` where ``pred`` holds.

    As ``torch.cond``, which means the same in ``forward``. Whether TensorRT computes the branch
    that is not taken was not measured; it has no effect. Both may use parameters and other values
    from outside, hold conditions and loops themselves, and return the same structure of tensors of
    the same shapes and dtypes.

    Args:
        pred: A tensor of bool with one entry, or a bool.
        operands: What both functions are given.

    Raises:
        ShapeError: The branches return tensors of different shapes or dtypes.
        DTypeError: ``pred`` is no bool.
        TraceError: They return different structures.
        UnsupportedError: A branch writes to a tensor from outside in place.

    >>> x = torch.tensor([1.0, 2.0])
    >>> cond(x.sum() > 2, lambda x: x * 2, lambda x: x - 1, (x,))
    tensor([2., 4.])
    """
    for name, function in (("true_fn", true_fn), ("false_fn", false_fn)):
        if not callable(function):
            raise TraceError(f"cond: expected a function as {name}, got {function!r}")
    if not isinstance(operands, (tuple, list)):
        raise TraceError(f"cond: expected a tuple as operands, got a {type(operands).__name__}")
    recorder = recorder_for((pred, *operands))
    if isinstance(pred, torch.SymBool):
        pred = bool(pred)
    elif not isinstance(pred, bool):
        _require_truth(pred)
    known = not isinstance(pred, Tensor) or pred._trtnn_known is not None
    if recorder is None or known:
        return copied((true_fn if pred else false_fn)(*operands))
    bodies = tuple(
        traced(recorder, f"cond's {name}", function, (), lambda _, f=function: f(*operands))
        for name, function in (("true_fn", true_fn), ("false_fn", false_fn))
    )
    _require_alike(*bodies)
    scalar = pred if spec_of(pred).rank == 0 else reshape(pred, ())
    return filled(bodies[0], record(recorder, Cond, bodies, scalar))


def _require_truth(pred: TensorT) -> None:
    if not isinstance(pred, torch.Tensor):
        raise DTypeError(f"cond: expected a bool or a tensor as pred, got {pred!r}")
    spec = spec_of(pred)
    if spec.dtype != torch.bool:
        raise DTypeError(
            f"cond: expected a pred of torch.bool, got {spec.dtype}", hint="compare it: x.sum() > 0"
        )
    if product(spec.shape) != 1:
        raise ShapeError(
            f"cond: expected a pred of one entry, got {spec}",
            hint="reduce it, with .any() or .all(), or choose by entry with torch.where",
        )


def _require_alike(one: Body, other: Body) -> None:
    """Refuse branches of which a program cannot take either: TensorRT builds some, and is wrong."""
    forms = [[None if isinstance(x, Index) else x for x in body.leaves] for body in (one, other)]
    if one.tree != other.tree or forms[0] != forms[1]:
        raise TraceError(
            "cond: true_fn and false_fn return different structures, or different plain values",
            hint="return the same tuples, lists and dicts of tensors from both",
        )
    pairs = zip(one.graph.outputs, other.graph.outputs, strict=True)
    for index, (left, right) in enumerate(pairs):
        if left.spec != right.spec:
            raise ShapeError(
                f"cond: of output {index} true_fn returns {left.spec}, {one.line(index)}\n"
                f"  and false_fn {right.spec}, {other.line(index)}",
                hint="make both of one shape and dtype: expand, reshape, .to(dtype)",
                sizes=(*left.spec.shape, *right.spec.shape),
            )


def torch_cond(pred: Any, true_fn: Any, false_fn: Any, operands: Sequence[Any] = ()) -> Any:
    """Give ``torch.cond`` its meaning."""
    return cond(pred, true_fn, false_fn, tuple(operands))
