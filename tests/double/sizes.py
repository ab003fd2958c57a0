"""Sizes that may be symbolic: an int, or an expression over the sizes of the network's inputs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Union

Size = Union[int, "Symbol"]


class Unknown(LookupError):
    """A size that only an execution can tell was asked for."""


class Symbol:
    """Hold one node of an expression; equal texts are equal expressions."""

    __slots__ = ("operands", "operation", "text")

    def __init__(self, operation: str, operands: tuple[Any, ...]) -> None:
        self.operation = operation
        self.operands = operands
        self.text = f"{operation}({','.join(map(text, operands))})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Symbol) and other.text == self.text

    def __hash__(self) -> int:
        return hash(self.text)

    def __repr__(self) -> str:
        return self.text


def text(operand: object) -> str:
    """Return the text that stands for an operand inside an expression."""
    return operand.text if isinstance(operand, Symbol) else repr(operand)


def leaf(name: str) -> Symbol:
    """Return the size of a dynamic dimension of an input."""
    return Symbol("size", (name,))


def unknown(name: str) -> Symbol:
    """Return a size that depends on data."""
    return Symbol("data", (name,))


def terms(size: Size) -> tuple[int, dict[Symbol, int]]:
    """Return a sum as its constant and the factor of each term."""
    if not isinstance(size, Symbol):
        return int(size), {}
    if size.operation == "sum":
        return size.operands[0], dict(size.operands[1])
    if size.operation == "product" and not isinstance(size.operands[0], Symbol):
        return 0, {product(size.operands[1:]): size.operands[0]}  # type: ignore[dict-item]
    return 0, {size: 1}


def plus(left: Size, right: Size) -> Size:
    """Add two sizes."""
    constant, found = terms(left)
    more, others = terms(right)
    constant += more
    for term, factor in others.items():
        found[term] = found.get(term, 0) + factor
    kept = sorted(((t, f) for t, f in found.items() if f), key=lambda pair: pair[0].text)
    if not kept:
        return constant
    if constant == 0 and len(kept) == 1:
        return times(kept[0][0], kept[0][1])
    return Symbol("sum", (constant, tuple(kept)))


def factors(size: Size) -> list[Size]:
    """Return the factors of a product."""
    if isinstance(size, Symbol) and size.operation == "product":
        return list(size.operands)
    return [size]


def product(sizes: Iterable[Size]) -> Size:
    """Multiply sizes."""
    constant = 1
    symbols: list[Symbol] = []
    for size in sizes:
        for factor in factors(size):
            if isinstance(factor, Symbol):
                symbols.append(factor)
            else:
                constant *= int(factor)
    if constant == 0 or not symbols:
        return constant
    symbols.sort(key=text)
    if len(symbols) == 1 and constant == 1:
        return symbols[0]
    head: tuple[Size, ...] = (constant,) if constant != 1 else ()
    return Symbol("product", (*head, *symbols))


def times(left: Size, right: Size) -> Size:
    """Multiply two sizes; a number is multiplied into a sum."""
    for number, other in ((left, right), (right, left)):
        if not isinstance(number, Symbol) and isinstance(other, Symbol):
            constant, found = terms(other)
            if other.operation == "sum" and number:
                kept = tuple((term, factor * number) for term, factor in found.items())
                return Symbol("sum", (constant * number, kept))
    return product((left, right))


def minus(left: Size, right: Size) -> Size:
    """Subtract two sizes."""
    return plus(left, times(right, -1))


def quotient(left: Size, right: Size) -> Size:
    """Divide two sizes that are known to divide, cancelling common factors."""
    above, below = factors(left), []
    for factor in factors(right):
        if isinstance(factor, Symbol) and factor in above:
            above.remove(factor)
        else:
            below.append(factor)
    return floor_divide(product(above), product(below))


def floor_divide(left: Size, right: Size) -> Size:
    """Divide, rounding down."""
    if right == 1:
        return left
    if isinstance(left, Symbol) or isinstance(right, Symbol):
        if left == right:
            return 1
        if isinstance(left, Symbol) and not isinstance(right, Symbol) and right:
            constant, found = terms(left)
            if constant % right == 0 and all(factor % right == 0 for factor in found.values()):
                total: Size = constant // right
                for term, factor in found.items():
                    total = plus(total, times(term, factor // right))
                return total
        return Symbol("floor_divide", (left, right))
    return left // right


def ceil_divide(left: Size, right: Size) -> Size:
    """Divide, rounding up."""
    return times(floor_divide(times(left, -1), right), -1)


def truncate_divide(left: Any, right: Any) -> Any:
    """Divide, rounding towards zero, as TensorRT's integer DIV does."""
    whole = abs(left) // abs(right)
    return whole if (left < 0) == (right < 0) else -whole


def scale_floor(size: int, factor: float) -> int:
    """Return ``floor(size * factor)``, the rule of Resize scales."""
    return int(size * factor // 1)


def broadcast_pair(left: int, right: int) -> int:
    """Return the common length of two broadcast lengths."""
    if left != right and 1 not in (left, right):
        raise ValueError(f"sizes {left} and {right} do not broadcast")
    return left if right == 1 else right


PLAIN: dict[str, Callable[..., Any]] = {
    "floor_divide": lambda a, b: a // b,
    "truncate_divide": truncate_divide,
    "broadcast": broadcast_pair,
    "scale_floor": scale_floor,
    "maximum": max,
    "minimum": min,
    "power": lambda a, b: a**b,
    "equal": lambda a, b: a == b,
    "greater": lambda a, b: a > b,
    "less": lambda a, b: a < b,
    "and": lambda a, b: bool(a and b),
    "or": lambda a, b: bool(a or b),
    "xor": lambda a, b: bool(a) != bool(b),
    "not": lambda a: not a,
    "absolute": abs,
    "sign": lambda a: (a > 0) - (a < 0),
    "choose": lambda condition, a, b: a if condition else b,
    "integer": int,
    "boolean": bool,
    "wrap": lambda index, length: index + length if index < 0 else index,
}


def apply(operation: str, *operands: Any) -> Any:
    """Apply an operation of ``PLAIN``: at once on numbers, as an expression otherwise."""
    if any(isinstance(operand, Symbol) for operand in operands):
        if operation in ("equal", "maximum", "minimum") and operands[0] == operands[1]:
            return True if operation == "equal" else operands[0]
        if operation in ("integer",):
            return operands[0]
        return Symbol(operation, operands)
    return PLAIN[operation](*operands)


def broadcast(left: Size, right: Size) -> Size:
    """Return the common length of two lengths; a length above 1 decides."""
    if left == right or right == 1:
        return left
    if left == 1:
        return right
    if isinstance(left, Symbol) and isinstance(right, Symbol):
        return Symbol("broadcast", (left, right))
    if isinstance(left, Symbol):
        return right
    return left if isinstance(right, Symbol) else broadcast_pair(left, right)


def evaluate(size: Any, known: Mapping[str, int], memory: dict[str, Any]) -> Any:
    """Return the number behind a size, given the sizes of the inputs by leaf name."""
    if not isinstance(size, Symbol):
        return size
    if size.text in memory:
        return memory[size.text]
    if size.operation in ("size", "data"):
        name = size.operands[0]
        if name not in known:
            raise Unknown(f"nothing says how large {name} is")
        answer: Any = known[name]
    elif size.operation == "sum":
        answer = size.operands[0]
        for term, factor in size.operands[1]:
            answer += factor * evaluate(term, known, memory)
    else:
        numbers = [evaluate(operand, known, memory) for operand in size.operands]
        if size.operation == "product":
            answer = 1
            for number in numbers:
                answer *= number
        else:
            answer = PLAIN[size.operation](*numbers)
    memory[size.text] = answer
    return answer
