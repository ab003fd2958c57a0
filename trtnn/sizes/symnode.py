"""The node behind a ``torch.SymInt``: PyTorch's SymNode protocol over our expressions.

PyTorch's C++ calls these methods by name (``torch/csrc/utils/python_symnode.h``); what Python code
does with ``x.shape`` ends here as well. Integers are sizes, floats are formulas of sizes, and
booleans are comparisons that stay undecided until somebody asks.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

import torch

from trtnn.errors import TraceError, UnsupportedError
from trtnn.sizes.dims import Dim, Size, maximum, minimum
from trtnn.sizes.reals import FUNCTIONS, Real, compared, computed, ratio, rounded


class Decider(Protocol):
    """Who answers a comparison of sizes, and gives or refuses an int."""

    def decide(self, comparison: str, left: Size, right: Size) -> bool: ...

    def integer(self, size: Size) -> int: ...


class Node:
    """What all nodes share: the recorder, and what PyTorch asks of any of them."""

    decider: Decider
    pytype: ClassVar[type]

    def is_int(self) -> bool:
        return False

    is_float = is_bool = is_constant = is_nested_int = is_int

    def is_symbolic(self) -> bool:
        return True

    has_hint = is_int

    def maybe_as_int(self) -> int | None:
        return None

    def constant_int(self) -> int | None:
        return None

    constant_bool = singleton_int = nested_int = constant_int

    def clone(self) -> Node:
        return self

    def wrap_int(self, value: int) -> SizeNode:
        return SizeNode(value, self.decider)

    def wrap_float(self, value: float) -> FloatNode:
        return FloatNode(value, self.decider)

    def wrap_bool(self, value: bool) -> BoolNode:  # noqa: FBT001 - PyTorch's signature
        return BoolNode("eq", 0, 0 if value else 1, self.decider)

    def str(self) -> str:
        return repr(self)

    _graph_repr = __str__ = str


@dataclass(frozen=True, repr=False)
class SizeNode(Node):
    """An integer: a size."""

    expression: Size
    decider: Decider
    pytype: ClassVar[type] = int

    def __repr__(self) -> str:
        return repr(self.expression)

    def is_int(self) -> bool:
        return True

    def is_constant(self) -> bool:
        return isinstance(self.expression, int)

    def maybe_as_int(self) -> int | None:
        return self.expression if isinstance(self.expression, int) else None

    constant_int = maybe_as_int

    def _with(self, value: Size) -> SizeNode:
        return SizeNode(value, self.decider)

    def add(self, other: SizeNode) -> SizeNode:
        return self._with(self.expression + other.expression)

    def sub(self, other: SizeNode) -> SizeNode:
        return self._with(self.expression - other.expression)

    def mul(self, other: SizeNode) -> SizeNode:
        return self._with(self.expression * other.expression)

    def int_floordiv(self, other: SizeNode) -> SizeNode:
        return self._with(self.expression // other.expression)

    floordiv = int_floordiv

    def mod(self, other: SizeNode) -> SizeNode:
        return self._with(self.expression % other.expression)

    def neg(self) -> SizeNode:
        return self._with(-self.expression)

    def pow_by_natural(self, other: SizeNode) -> SizeNode:
        result: Size = 1
        for _ in range(self.decider.integer(other.expression)):
            result = result * self.expression
        return self._with(result)

    pow = pow_by_natural

    def abs(self) -> SizeNode:
        return self.sym_max(self.neg())

    def lshift(self, other: SizeNode) -> SizeNode:
        return self._with(self.expression * 2 ** self.decider.integer(other.expression))

    def rshift(self, other: SizeNode) -> SizeNode:
        return self._with(self.expression // 2 ** self.decider.integer(other.expression))

    def sym_max(self, other: SizeNode) -> SizeNode:
        return self._with(maximum(self.expression, other.expression))

    def sym_min(self, other: SizeNode) -> SizeNode:
        return self._with(minimum(self.expression, other.expression))

    def floor(self) -> SizeNode:
        return self

    ceil = round = trunc = floor

    def sym_float(self) -> FloatNode:
        return FloatNode(self.expression, self.decider)

    def int_truediv(self, other: SizeNode) -> FloatNode:
        return FloatNode(computed("truediv", self.expression, other.expression), self.decider)

    truediv = int_truediv

    def float_pow(self, other: FloatNode) -> FloatNode:
        return FloatNode(computed("pow", self.expression, other.value), self.decider)

    def guard_float(self, file: str, line: int) -> float:
        return self.sym_float().guard_float(file, line)

    def int_(self) -> int:
        return self.decider.integer(self.expression)

    def guard_int(self, file: str, line: int) -> int:
        return self.int_()

    def bool_(self) -> bool:
        return self.decider.decide("ne", self.expression, 0)


@dataclass(frozen=True, repr=False)
class FloatNode(Node):
    """A float computed from sizes: an operand of tensors, or on its way back to an integer."""

    value: Real
    decider: Decider
    pytype: ClassVar[type] = float

    def __repr__(self) -> str:
        return repr(self.value)

    def is_float(self) -> bool:
        return True

    def neg(self) -> FloatNode:
        return FloatNode(computed("mul", self.value, -1), self.decider)

    def round(self, digits: int | None = None) -> Any:
        if digits is not None:
            raise UnsupportedError(
                f"round of {self} to {digits} digits", hint="round to an integer, or not at all"
            )
        return SizeNode(rounded("round", self.value), self.decider)

    def is_integer(self) -> BoolNode:
        return _compare("eq", self, FloatNode(rounded("floor", self.value), self.decider))

    def sym_float(self) -> FloatNode:
        return self

    def guard_float(self, file: str, line: int) -> float:
        exact = ratio(self.value)
        text = self if exact is None else f"{exact[0]}/{exact[1]}".removesuffix("/1")
        raise TraceError(
            f"float() of the symbolic size {text} in forward, which is known at a call only",
            hint="keep it symbolic: s * 0.5, s ** 0.5, math.sqrt(s), torch.sym_int(s * 0.5)",
        )


def _binary(operation: str) -> Callable[[FloatNode, Any], FloatNode]:
    def compute(self: FloatNode, other: Any) -> FloatNode:
        return FloatNode(computed(operation, self.value, other.sym_float().value), self.decider)

    return compute


def _rounding(kind: str) -> Callable[[FloatNode], SizeNode]:
    return lambda self: SizeNode(rounded(kind, self.value), self.decider)


def _unary(operation: str) -> Callable[[Any], FloatNode]:
    def compute(self: Any) -> FloatNode:
        return FloatNode(computed(operation, self.sym_float().value), self.decider)

    return compute


for _name in ("add", "sub", "mul", "truediv", "pow"):
    setattr(FloatNode, _name, _binary(_name))
for _name in ("truediv", "pow"):
    setattr(FloatNode, f"float_{_name}", _binary(_name))
for _name in ("floor", "ceil", "trunc"):
    setattr(FloatNode, _name, _rounding(_name))
for _name in FUNCTIONS:
    for _kind in (SizeNode, FloatNode):
        setattr(_kind, f"sym_{_name}", _unary(_name))


@dataclass(frozen=True, repr=False)
class BoolNode(Node):
    """A comparison of two sizes, decided when it is asked."""

    comparison: str
    left: Size
    right: Size
    decider: Decider
    pytype: ClassVar[type] = bool

    def __repr__(self) -> str:
        return f"{self.comparison}({self.left}, {self.right})"

    def is_bool(self) -> bool:
        return True

    def guard_bool(self, file: str, line: int) -> bool:
        return self.decider.decide(self.comparison, self.left, self.right)

    expect_true = expect_size = guard_bool
    guard_or_false = guard_or_true = guard_size_oblivious = guard_bool

    def bool_(self) -> bool:
        return self.guard_bool("", 0)

    def sym_not(self) -> BoolNode:
        return self.wrap_bool(not self.bool_())

    def sym_and(self, other: BoolNode) -> BoolNode:
        return self.wrap_bool(self.bool_() and other.bool_())

    def sym_or(self, other: BoolNode) -> BoolNode:
        return self.wrap_bool(self.bool_() or other.bool_())

    and_, or_ = sym_and, sym_or

    def sym_ite(self, yes: SizeNode, no: SizeNode) -> SizeNode:
        return yes if self.bool_() else no


def _compare(name: str, left: Any, right: Any) -> BoolNode:
    if isinstance(left, FloatNode):
        return BoolNode(*compared(name, left.value, right.value), left.decider)
    return BoolNode(name, left.expression, right.expression, left.decider)


def _comparison(name: str) -> Callable[[Any, Any], BoolNode]:
    return lambda self, other: _compare(name, self, other)


for _name in ("eq", "ne", "lt", "le", "gt", "ge"):
    setattr(SizeNode, _name, _comparison(_name))
    setattr(FloatNode, _name, _comparison(_name))


def _refuse(name: str) -> Callable[..., Any]:
    def refuse(self: Any, *others: Any) -> Any:
        raise UnsupportedError(
            f"{name} of the symbolic size {self}",
            hint="+, -, *, /, //, %, **, math.sqrt, torch.sym_max and torch.sym_min are taken; or "
            "compute it with tensors: (x.new_ones(()) * s).cos()",
        )

    return refuse


for _name in (
    "bitwise_and bitwise_or bitwise_xor pow float_pow pow_by_natural round is_integer mod "
    "floordiv int_floordiv int_truediv sym_max sym_min "
    "sym_cos sym_cosh sym_sin sym_sinh sym_tan sym_tanh sym_asin sym_acos sym_atan"
).split():
    for _kind in (SizeNode, FloatNode):
        if not hasattr(_kind, _name):
            setattr(_kind, _name, _refuse(_name.removeprefix("sym_")))


def sym_int(size: Size, decider: Decider) -> Any:
    """Return a size as what user code sees: an int, or a ``torch.SymInt``."""
    if isinstance(size, Dim) and size.min == size.max:
        return size.min
    return size if isinstance(size, int) else torch.SymInt(SizeNode(size, decider))  # type: ignore[no-untyped-call]


def function_of(name: str, number: torch.SymInt | torch.SymFloat) -> Any:
    """Return ``math.sqrt`` and the like, by name, of a symbolic size or float."""
    return torch.SymFloat(getattr(number.node, f"sym_{name}")())  # type: ignore[no-untyped-call]
