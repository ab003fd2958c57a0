"""What the double knows of a tensor, and what a layer's rule sees."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NoReturn

import numpy

from tests.double.sizes import Size, Symbol, broadcast, evaluate, unknown

FLOATS = frozenset({"FLOAT", "HALF", "BF16"})
INTEGERS = frozenset({"INT32", "INT64"})
MOST_VALUES = 256
MOST_AXES = 8


class Violation(AssertionError):
    """TensorRT would take this silently, and it would be wrong."""


class RuleError(Exception):
    """TensorRT would refuse this, with a line in its log."""


class Refused(RuleError):
    """Every version refuses this when the layer is added, 11 too."""


@dataclass(frozen=True)
class Facts:
    """A tensor's type, shape, and (for small integer tensors) its values as far as known.

    ``before`` is the type that a quantized tensor had.
    """

    dtype: str
    shape: tuple[Size, ...]
    values: Any = None
    constant: bool = False
    before: str = ""

    @property
    def rank(self) -> int:
        return len(self.shape)


@dataclass(frozen=True)
class Check:
    """A condition on sizes that only concrete input shapes decide."""

    kind: str
    left: Size
    right: Size
    message: str

    def holds(self, known: dict[str, int], memory: dict[str, Any]) -> bool:
        return decide(
            self.kind, evaluate(self.left, known, memory), evaluate(self.right, known, memory)
        )


def decide(kind: str, left: int, right: int) -> bool:
    """Answer a condition on two numbers."""
    if kind == "equal":
        return left == right
    if kind == "broadcast":
        return left == right or 1 in (left, right)
    if kind == "multiple":
        return right != 0 and left % right == 0
    if kind == "less":
        return left < right
    return left >= right


@dataclass
class Case:
    """One layer as its rule sees it: major version, attributes, facts of the inputs."""

    major: int
    name: str
    attributes: dict[str, Any]
    inputs: list[Facts | None]
    uid: str = ""
    checks: list[Check] = field(default_factory=list)
    late: list[str] = field(default_factory=list)  # what only a build refuses
    seen: set[str] = field(default_factory=set)

    def __getitem__(self, attribute: str) -> Any:
        return self.attributes[attribute]

    def operand(self, index: int) -> Facts:
        """Return an input that must be there."""
        facts = self.inputs[index] if index < len(self.inputs) else None
        if facts is None:
            self.fail(f"input {index} is missing")
        return facts

    def optional(self, index: int) -> Facts | None:
        """Return an input, or None."""
        return self.inputs[index] if index < len(self.inputs) else None

    def fail(self, message: str) -> NoReturn:
        """Refuse the layer."""
        raise RuleError(f"{self.name}: {message}")

    def require(self, condition: bool, message: str) -> None:
        """Refuse the layer unless the condition holds."""
        if not condition:
            self.fail(message)

    def at_once(self, condition: bool, message: str) -> None:
        """Refuse to add the layer unless the condition holds, in every version."""
        if not condition:
            raise Refused(f"{self.name}: {message}")

    def later(self, condition: bool, message: str) -> None:
        """Refuse the layer; 11 gives it its type and shape, and refuses in the build."""
        if not condition and self.major < 11:
            self.fail(message)
        if not condition:
            self.late.append(f"{self.name}: {message}")

    def size(self, kind: str, left: Size, right: Size, message: str, *, late: bool = False) -> None:
        """Check sizes now, or, where they are dynamic, when concrete shapes are known."""
        if isinstance(left, Symbol) or isinstance(right, Symbol):
            if left != right or kind == "less":
                self.checks.append(Check(kind, left, right, f"{self.name}: {message}"))
        else:
            refuse = self.later if late else self.require
            refuse(decide(kind, left, right), f"{message} ({left} against {right})")

    def types(
        self, facts: Facts, allowed: frozenset[str], what: str = "input", *, late: str = ""
    ) -> None:
        """Refuse a type that the layer does not take in this version.

        ``late`` is a type that 11 takes when the layer is added and refuses in the build.
        """
        refuse = self.later if facts.dtype == late else self.require
        refuse(facts.dtype in allowed, f"{what} of type {facts.dtype} is not supported")

    def same(self, first: Facts, second: Facts, what: str = "inputs") -> None:
        """Demand equal types, as strong typing does; on 8.6 it is the frontend's contract."""
        if first.dtype == second.dtype:
            return
        message = f"{what} differ in type: {first.dtype} and {second.dtype}"
        if self.major == 8 and {first.dtype, second.dtype} <= FLOATS:
            raise Violation(f"{self.name}: {message} (8.6 would mix them silently)")
        self.fail(message)

    def indices(self, facts: Facts, what: str) -> None:
        """Demand indices: INT32, from 10 on also INT64."""
        self.types(facts, frozenset({"INT32"}) if self.major == 8 else INTEGERS, what)

    def broadcast(self, shapes: list[tuple[Size, ...]], what: str) -> tuple[Size, ...]:
        """Return the common shape of equally long shapes."""
        ranks = {len(shape) for shape in shapes}
        self.require(len(ranks) == 1, f"{what}: ranks differ: {sorted(ranks)}")
        result = shapes[0]
        for shape in shapes[1:]:
            for left, right in zip(result, shape, strict=True):
                self.size("broadcast", left, right, f"{what}: sizes do not broadcast")
            result = tuple(broadcast(a, b) for a, b in zip(result, shape, strict=True))
        return result

    def one_axis(self, mask: int, rank: int) -> int:
        """Return the axis of a mask that must have one bit, within the rank."""
        self.require(mask > 0 and mask & (mask - 1) == 0, f"axes {mask:#b} must be one bit")
        axis = mask.bit_length() - 1
        self.require(axis < rank, f"axis {axis} is outside rank {rank}")
        return axis

    def mask(self, mask: int, rank: int) -> tuple[int, ...]:
        """Return the axes of a mask that must lie within the rank."""
        self.require(mask > 0, "axes must not be empty")
        self.require(mask < 1 << rank, f"axes {mask:#b} are outside rank {rank}")
        return tuple(axis for axis in range(rank) if mask >> axis & 1)

    def axis(self, axis: int, rank: int, *, negative: bool = False) -> int:
        """Return an axis that must lie within the rank."""
        lowest = -rank if negative else 0
        self.require(lowest <= axis < rank, f"axis {axis} is outside rank {rank}")
        return axis + rank if axis < 0 else axis

    def numbers(self, facts: Facts, what: str) -> list[Size]:
        """Return the entries of a one-dimensional shape tensor, unknown ones as symbols."""
        self.indices(facts, what)
        self.require(facts.rank == 1, f"{what} must have rank 1, not {facts.rank}")
        if facts.values is not None:
            return list(facts.values)
        length = facts.shape[0]
        self.require(isinstance(length, int), f"{what} must have a static length")
        return [unknown(f"{self.uid}.{what}[{index}]") for index in range(int(str(length)))]


def static(shape: tuple[Size, ...]) -> tuple[int, ...]:
    """Return a shape with -1 where it is dynamic."""
    return tuple(-1 if isinstance(size, Symbol) else int(size) for size in shape)


def is_static(shape: tuple[Size, ...]) -> bool:
    """Tell whether no entry is dynamic."""
    return not any(isinstance(size, Symbol) for size in shape)


def volume(shape: tuple[int, ...]) -> int:
    """Multiply a static shape's entries."""
    total = 1
    for size in shape:
        total *= size
    return total


def objects(values: Any, shape: tuple[int, ...]) -> Any:
    """Return an array of Python objects of the given shape."""
    array = numpy.empty(len(values), dtype=object)
    array[:] = values
    return array.reshape(shape)


def known(*facts: Facts) -> bool:
    """Tell whether the values of all tensors are known."""
    return all(item.values is not None for item in facts)
