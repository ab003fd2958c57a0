"""Sums of products that letters name: ``einsum``, made of transposes, products and sums."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any, TypeAlias

import torch

from trtnn.errors import ShapeError, UnsupportedError
from trtnn.ops.arithmetic import mul, promote
from trtnn.ops.diagonals import diagonal
from trtnn.ops.matrix import multiply
from trtnn.ops.movement import permute, reshape
from trtnn.ops.op import TensorT, shape_of, spec_of, torch_function, unequal
from trtnn.ops.reduction import sum
from trtnn.sizes.dims import Size, product

__all__ = ["contract", "einsum"]

Labels: TypeAlias = tuple[str, ...]
"""A name for each dim; those that an ellipsis stands for are numbers, counted from the back."""


def _labels(term: str, rank: int) -> Labels:
    """Return the names of an operand's dims."""
    letters = term.replace("...", "", 1)
    if any(not letter.isascii() or not letter.isalpha() for letter in letters):
        raise UnsupportedError(f"einsum: {term!r} holds more than letters and one ellipsis")
    missing = rank - len(letters)
    if missing < 0 or (missing and "..." not in term):
        raise ShapeError(f"einsum: {term!r} names {len(letters)} dims of a tensor of rank {rank}")
    numbers = [str(place) for place in reversed(range(missing))]
    before, _, after = term.partition("...")
    return (*before, *numbers, *after) if "..." in term else tuple(term)


def _result(output: str | None, operands: Sequence[Labels]) -> Labels:
    """Return the names of the result's dims; by default what an operand alone has, in order."""
    counts = Counter(label for labels in operands for label in labels)
    numbers = sorted((label for label in counts if label.isdigit()), key=int, reverse=True)
    if output is None:
        once = sorted(label for label, n in counts.items() if n == 1 and label.isalpha())
        return (*numbers, *once)
    before, ellipsis, after = output.partition("...")
    result = (*before, *(numbers if ellipsis else ()), *after)
    if unknown := [label for label in result if label not in counts]:
        raise ShapeError(f"einsum: no operand has the dims {unknown} of the result {output!r}")
    if len(set(result)) < len(result):
        raise ShapeError(f"einsum: a dim stands twice in the result {output!r}")
    return result


def _without_repeats(x: TensorT, labels: Labels) -> tuple[TensorT, Labels]:
    """Take the diagonal where one letter names two dims."""
    for label, count in Counter(labels).items():
        for _ in range(count - 1):
            first, second = [i for i, other in enumerate(labels) if other == label][:2]
            sizes = shape_of(x)[first], shape_of(x)[second]
            if sizes[0] != sizes[1]:
                raise ShapeError(
                    f"einsum: {label!r} names the sizes {unequal(*sizes)}", sizes=sizes
                )
            x = diagonal(x, 0, first, second)
            rest = (other for i, other in enumerate(labels) if i not in (first, second))
            labels = (*rest, label)
    return x, labels


def _summed(x: TensorT, labels: Labels, kept: set[str]) -> tuple[TensorT, Labels]:
    axes = tuple(i for i, label in enumerate(labels) if label not in kept)
    if axes:
        x = sum(x, axes)
    return x, tuple(label for label in labels if label in kept)


def _ordered(x: TensorT, labels: Labels, *groups: Labels) -> tuple[TensorT, list[Size]]:
    """Return a tensor in an order of its dims: those of the first group, one dim for each other.

    A name of the first group that the tensor lacks is a dim of size 1.
    """
    sizes = dict(zip(labels, shape_of(x), strict=True))
    order = [labels.index(label) for group in groups for label in group if label in labels]
    shape: list[Size] = [sizes.get(label, 1) for label in groups[0]]
    shape += [product([sizes[label] for label in group]) for group in groups[1:]]
    return reshape(permute(x, order), tuple(shape)), shape


def contract(
    a: TensorT, first: Labels, b: TensorT, second: Labels, kept: set[str]
) -> tuple[TensorT, Labels]:
    """Multiply two tensors, and add up along the dims whose names are not kept.

    Returns:
        The product, and the names of its dims.
    """
    one = {n for n, size in zip(first, shape_of(a), strict=True) if size == 1}
    other = {n for n, size in zip(second, shape_of(b), strict=True) if size == 1}
    # What one side alone has, or has more than one entry of, is added up before the product.
    a, first = _summed(a, first, kept | (set(second) - (one ^ other)))
    b, second = _summed(b, second, kept | (set(first) - (one ^ other)))
    both = [label for label in first if label in second]
    inner = tuple(label for label in both if label not in kept)
    batch = tuple(label for label in both if label in kept)
    rows = tuple(label for label in first if label not in both)
    columns = tuple(label for label in second if label not in both)
    if not inner:
        names = (*batch, *rows, *columns)
        return mul(_ordered(a, first, names)[0], _ordered(b, second, names)[0]), names
    left, _ = _ordered(a, first, batch, rows, inner)
    right, _ = _ordered(b, second, batch, inner, columns)
    if not any(spec_of(x).dtype.is_floating_point for x in (left, right)):
        left, right = promote(left, right)  # what was added up is int64
    result = multiply(left, right)
    sizes = dict(zip(first, shape_of(a), strict=True)) | dict(zip(second, shape_of(b), strict=True))
    shape = (*shape_of(result)[: len(batch)], *(sizes[label] for label in (*rows, *columns)))
    return reshape(result, shape), (*batch, *rows, *columns)


@torch_function(torch.einsum, torch.functional.einsum)
def einsum(equation: str, *operands: Any) -> TensorT:
    """Multiply operands, and add up along the dims whose letters the result has not.

    More than two operands are multiplied from the left, as PyTorch does without ``opt_einsum``.

    Raises:
        ShapeError: Letters do not fit the operands' dims, or name sizes that differ.

    >>> einsum("ij, jk -> ik", torch.ones(2, 3), torch.ones(3, 1))
    tensor([[3.],
            [3.]])
    """
    if len(operands) == 1 and isinstance(operands[0], (list, tuple)):
        operands = tuple(operands[0])
    inputs, arrow, output = equation.replace(" ", "").partition("->")
    terms = inputs.split(",")
    if len(terms) != len(operands):
        raise ShapeError(f"einsum: {equation!r} names {len(terms)} operands, got {len(operands)}")
    named = [_labels(term, spec_of(x).rank) for term, x in zip(terms, operands, strict=True)]
    result = _result(output if arrow else None, named)
    parts = [_without_repeats(x, labels) for x, labels in zip(operands, named, strict=True)]
    _require_sizes(equation, parts)
    x, labels = parts[0]
    for index, (other, names) in enumerate(parts[1:], 2):
        later = {label for _, more in parts[index:] for label in more}
        x, labels = contract(x, labels, other, names, later | set(result))
    x, labels = _summed(x, labels, set(result))
    return permute(x, [labels.index(label) for label in result])


def _require_sizes(equation: str, parts: Sequence[tuple[TensorT, Labels]]) -> None:
    """Raise ShapeError where one letter names sizes that differ, and neither is 1."""
    sizes: dict[str, Size] = {}
    for x, labels in parts:
        for label, size in zip(labels, shape_of(x), strict=True):
            known = sizes.setdefault(label, size)
            if known == 1:
                sizes[label] = size
            elif size not in (1, known):
                raise ShapeError(
                    f"einsum: {label!r} of {equation!r} names the sizes {unequal(known, size)}",
                    sizes=(known, size),
                )
