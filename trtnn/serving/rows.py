"""Rows as a model takes them: columns of NumPy arrays, checked against what was declared."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy
import numpy.typing
import torch

from trtnn.errors import InputError, UnsupportedError
from trtnn.ops.op import Spec
from trtnn.sizes.dims import Dim, Expr

Array = numpy.typing.NDArray[Any]
# What a number without a dtype, as JSON has them, may become: by NumPy's kinds.
BECOMES = {"b": "b", "i": "iuf", "u": "iuf", "f": "f"}


@dataclass(frozen=True)
class Column:
    """An input as a column of rows: what one of them has to be.

    Args:
        name: The column's.
        shape: Of one row; None where a Dim decides.
    """

    name: str
    shape: tuple[int | None, ...]
    dtype: numpy.dtype[Any]

    @staticmethod
    def of(name: str, spec: Spec) -> Column:
        """Return the column of an input; UnsupportedError where NumPy lacks its dtype."""
        shape = tuple(None if isinstance(size, Expr) else size for size in spec.shape[1:])
        return Column(name, shape, numpy_dtype(name, spec.dtype))

    def row(self, value: Any) -> Array:
        """Return one row as the array it has to be, InputError where it is another."""
        if not isinstance(value, (numpy.ndarray, numpy.generic)):
            value = self._read(value)
        if value.dtype != self.dtype or not self._fits(value.shape):
            raise self._differs(value.shape, value.dtype)
        return numpy.asarray(value)

    def whole(self, values: Any, label: Any) -> Array:
        """Return a column as one array; rows that are objects are put together.

        Args:
            label: Says which row is at an index.
        """
        if isinstance(values, numpy.ndarray) and values.dtype != object:
            if values.dtype != self.dtype or not self._fits(values.shape[1:]):
                raise self._differs(values.shape[1:], values.dtype)
            return values
        rows: list[Array] = []
        for index, value in enumerate(values):
            try:
                rows.append(self.row(value))
            except InputError as error:
                raise InputError(f"{label(index)}: {error.message}", search=False) from error
            if rows[-1].shape != rows[0].shape:
                raise InputError(
                    f"{label(index)}: {self.name}: {rows[-1].shape}, and {rows[0].shape} before",
                    hint="pad rows to one shape, or put those of one shape into a batch",
                    search=False,
                )
        return numpy.stack(rows)

    def _read(self, value: Any) -> Array:
        """Return numbers that have no dtype as those of this column, if none is changed by it."""
        try:
            found = numpy.asarray(value)
            if self.dtype.kind in BECOMES.get(found.dtype.kind, ""):
                return numpy.asarray(value, self.dtype)
        except (ValueError, TypeError, OverflowError) as error:
            raise InputError(f"{self.name}: expected {self}: {error}", search=False) from None
        raise self._differs(found.shape, found.dtype)

    def _fits(self, shape: Sequence[int]) -> bool:
        return len(shape) == len(self.shape) and all(
            wanted in (None, size) for wanted, size in zip(self.shape, shape, strict=True)
        )

    def _differs(self, shape: Sequence[int], dtype: Any) -> InputError:
        return InputError(
            f"{self.name}: expected {self} a row, got {dtype} {tuple(shape)}",
            hint=None if dtype == self.dtype else f'convert it with .astype("{self.dtype}")',
            search=False,
        )

    def __str__(self) -> str:
        sizes = ", ".join("any" if size is None else str(size) for size in self.shape)
        return f"{self.dtype} ({sizes}{',' if len(self.shape) == 1 else ''})"


def numpy_dtype(name: str, dtype: torch.dtype) -> numpy.dtype[Any]:
    """Return NumPy's dtype of torch's, UnsupportedError where there is none."""
    try:
        found: numpy.dtype[Any] = torch.empty(0, dtype=dtype).numpy().dtype
    except TypeError:
        raise UnsupportedError(
            f"{name}: NumPy has no {str(dtype).removeprefix('torch.')}",
            hint="convert it within forward, to float32 say, and compile again",
        ) from None
    return found


def same_shapes(rows: Sequence[Mapping[str, Array]]) -> Iterator[list[int]]:
    """Yield the indices of rows that can be put together, because all their shapes are one.

    >>> a, b = numpy.ones(2), numpy.ones(3)
    >>> list(same_shapes([{"x": a}, {"x": b}, {"x": a}]))
    [[0, 2], [1]]
    """
    groups: dict[Any, list[int]] = {}
    for index, row in enumerate(rows):
        groups.setdefault(tuple(array.shape for array in row.values()), []).append(index)
    yield from groups.values()


def require_rows(batch: Dim, count: int) -> None:
    """Raise InputError unless some profile takes so many rows."""
    if not any(low <= count <= high for low, _, high in batch.profiles):
        ranges = " or ".join(f"{low} to {high}" for low, _, high in batch.profiles)
        raise InputError(
            f"a batch of {count} rows: the model takes {ranges}",
            hint=f"give map_batches batch_size={batch.max} or less, and {batch.name} min=1 for "
            "the last batch",
            search=False,
        )
