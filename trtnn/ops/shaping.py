"""TensorRT's layers with a form of their own: ragged softmax, scale, dims of size 1, letters."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from trtnn.errors import DTypeError, ShapeError
from trtnn.ops.movement import reshape
from trtnn.ops.op import (
    Op,
    Spec,
    TensorT,
    broadcast,
    require_float,
    require_same_dtype,
    shape_of,
    unequal,
)
from trtnn.sizes.dims import Size

if TYPE_CHECKING:
    from trtnn.lower.network import ITensor, Net

__all__ = ["Einsum", "RaggedSoftmax", "Ranked", "Scale"]


@dataclass(frozen=True, repr=False)
class RaggedSoftmax(Op):
    """Softmax over the first ``bounds`` entries of the last dim, of which the others become 0."""

    def infer(self, x: Spec, bounds: Spec) -> Spec:
        require_float("ragged_softmax", x)
        if bounds.dtype != torch.int32:
            raise DTypeError(f"ragged_softmax: expected int32 bounds, got {bounds.dtype}")
        wanted = (*x.shape[:-1], 1)
        if x.rank != 3 or bounds.shape != wanted:
            raise ShapeError(
                f"ragged_softmax: expected (N, Z, S) and bounds (N, Z, 1), got {x} and {bounds}"
            )
        return x

    def reference(self, x: torch.Tensor, bounds: torch.Tensor) -> torch.Tensor:
        kept = torch.arange(x.shape[-1], device=x.device) < bounds
        weights = torch.softmax(x.masked_fill(~kept, -torch.inf), -1)
        return weights.masked_fill(~kept, 0.0)

    def lower(self, net: Net, x: ITensor, bounds: ITensor) -> ITensor:
        return net.ragged_softmax(x, bounds)


@dataclass(frozen=True, repr=False)
class Scale(Op):
    """TensorRT's Scale layer: ``(x * scale + shift) ** power``.

    ``parts`` says which of shift, scale and power are operands, in this order; the others change
    nothing. They have the rank of x and broadcast to it, as ``mode`` says.
    """

    mode: str
    axis: int
    parts: tuple[str, ...]

    def infer(self, x: Spec, *coefficients: Spec) -> Spec:
        require_float("scale", x)
        require_same_dtype("scale", x, *coefficients)
        for given in coefficients:
            if given.rank != x.rank or broadcast("scale", x.shape, given.shape) != x.shape:
                raise ShapeError(f"scale: {given} does not broadcast to {x}")
        return x

    def reference(self, x: torch.Tensor, *coefficients: torch.Tensor) -> torch.Tensor:
        given = dict(zip(self.parts, coefficients, strict=True))
        result = x.to(torch.promote_types(x.dtype, torch.float32))
        if "scale" in given:
            result = result * given["scale"]
        if "shift" in given:
            result = result + given["shift"]
        return (torch.pow(result, given["power"]) if "power" in given else result).to(x.dtype)

    def lower(self, net: Net, x: ITensor, *coefficients: Any) -> ITensor:
        given = dict(zip(self.parts, coefficients, strict=True))
        return net.scaled(x, given, self.mode, self.axis)


@dataclass(frozen=True, repr=False)
class Ranked(Op):
    """TensorRT's Squeeze or Unsqueeze layer, which 10 has: ``kind`` is its name in lower case.

    ``axes`` are those of the side that has them.
    """

    kind: str
    axes: tuple[int, ...]

    def needs_decomposition(self, target: Any) -> bool:
        return self.kind not in target.layers

    def infer(self, x: Spec) -> Spec:
        return Spec(self._shape(x.shape), x.dtype)

    def _shape(self, shape: tuple[Size, ...]) -> tuple[Size, ...]:
        if self.kind == "unsqueeze":
            rest = iter(shape)
            rank = len(shape) + len(self.axes)
            return tuple(1 if axis in self.axes else next(rest) for axis in range(rank))
        for axis in self.axes:
            if shape[axis] != 1:
                raise ShapeError(
                    f"squeeze: expected size 1 at dim {axis}, got {shape[axis]}",
                    sizes=(shape[axis],),
                )
        return tuple(size for axis, size in enumerate(shape) if axis not in self.axes)

    def reference(self, x: torch.Tensor) -> torch.Tensor:
        return x.reshape(self._shape(tuple(x.shape)))  # type: ignore[arg-type]

    def lower(self, net: Net, x: ITensor) -> ITensor:
        return net.ranked(x, self.kind, self.axes, self._shape(x.shape))

    def decompose(self, x: TensorT) -> TensorT:
        """Return the same by a Shuffle layer."""
        return reshape(x, self._shape(shape_of(x)))


@dataclass(frozen=True, repr=False)
class Einsum(Op):
    """TensorRT's Einsum layer of one or two operands; ``equation`` has an arrow, and letters once.

    Dims of one letter are equal, or 1.
    """

    equation: str

    def infer(self, *operands: Spec) -> Spec:
        require_float("einsum", *operands)
        require_same_dtype("einsum", *operands)
        inputs, _, output = self.equation.partition("->")
        sizes: dict[str, Size] = {}
        for letters, x in zip(inputs.split(","), operands, strict=True):
            if len(letters) != x.rank:
                raise ShapeError(f"einsum: {letters!r} does not name the dims of {x}")
            for letter, size in zip(letters, x.shape, strict=True):
                known = sizes.setdefault(letter, size)
                if known == 1:
                    sizes[letter] = size
                elif size not in (1, known):
                    raise ShapeError(
                        f"einsum: {letter!r} of {self.equation!r} names the sizes "
                        f"{unequal(known, size)}",
                        sizes=(known, size),
                    )
        if unknown := [letter for letter in output if letter not in sizes]:
            raise ShapeError(f"einsum: no operand has the dims {unknown} of {self.equation!r}")
        return Spec(tuple(sizes[letter] for letter in output), operands[0].dtype)

    def reference(self, *operands: torch.Tensor) -> torch.Tensor:
        return torch.einsum(self.equation, *operands)

    def lower(self, net: Net, *operands: Any) -> ITensor:
        return net.einsum(operands, self.equation, self.infer(*map(_spec, operands)).shape)


def _spec(operand: Any) -> Spec:
    return Spec(operand.shape, operand.dtype)


def plain_equation(equation: str) -> str | None:
    """Return an equation that every TensorRT takes, with an arrow; None where it is another.

    >>> plain_equation("ij, jk")
    'ij,jk->ik'
    """
    inputs, arrow, output = equation.replace(" ", "").partition("->")
    counts = Counter(inputs.replace(",", ""))
    if not arrow:
        output = "".join(sorted(letter for letter, count in counts.items() if count == 1))
    terms = inputs.split(",")
    letters = {*inputs.replace(",", ""), *output}
    known = all("a" <= letter <= "z" for letter in letters)
    once = all(len(set(term)) == len(term) for term in (*terms, output))
    return f"{inputs}->{output}" if known and once and len(terms) <= 2 else None
