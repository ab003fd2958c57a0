"""Packed sequences in a trace: padded ones that know their lengths, and are packed where asked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from trtnn.errors import UnsupportedError
from trtnn.ops.arithmetic import cast
from trtnn.ops.creation import arange
from trtnn.ops.masks import nonzero
from trtnn.ops.op import TensorT, shape_of, torch_function
from trtnn.ops.slicing import known_of


@dataclass(frozen=True, eq=False)
class Packed:
    """What a packed sequence was made of.

    Attributes:
        data: The value that it had then: one that was written since is another.
        padded: (steps, batch, ...)
        lengths: int64, (batch,)
    """

    data: Any
    padded: TensorT
    lengths: TensorT

    @property
    def valid(self) -> TensorT:
        """Which steps there are: bool, (steps, batch)."""
        steps = cast(arange(self.padded.shape[0]), torch.int64).to(self.lengths.device)
        return steps[:, None] < self.lengths


class BatchSizes:
    """Stands for ``batch_sizes`` of a packed sequence, of which the modules ask two sizes.

    The first is the whole batch, and there are as many as the longest sequence has steps. It is no
    dataclass, which a trace would take for a result.
    """

    device = torch.device("cpu")

    def __init__(self, packed: Packed) -> None:
        self.packed = packed

    @classmethod
    def __torch_function__(
        cls, function: Any, types: Any, args: Sequence[Any] = (), named: Any = None
    ) -> Any:
        raise UnsupportedError(
            f"{getattr(function, '__name__', function)} of a packed sequence's batch_sizes",
            hint="compute with the lengths that it was packed by",
        )

    def __getitem__(self, index: Any) -> Any:
        if index != 0:
            raise UnsupportedError(
                f"batch_sizes[{index}] of a packed sequence: only the first is known",
                hint="compute with the lengths that it was packed by",
            )
        return self.packed.padded.shape[1]

    def size(self, dim: int) -> Any:
        """Return how many steps the longest sequence has."""
        lengths, steps = self.packed.lengths, self.packed.padded.shape[0]
        known = known_of(lengths)
        if known is not None:
            return int(known.max())
        there = nonzero(cast(arange(steps), torch.int64).to(lengths.device) < lengths.max())
        return Longest(there.shape[0].node, steps)


class Longest(torch.SymInt):
    """The steps of the longest sequence: no more than there are, which ranges alone do not say."""

    def __init__(self, node: Any, steps: Any) -> None:
        super().__init__(node)  # type: ignore[no-untyped-call]
        self.steps = getattr(getattr(steps, "node", None), "expression", steps)

    def __gt__(self, other: Any) -> Any:
        if getattr(getattr(other, "node", None), "expression", other) == self.steps:
            return False
        return super().__gt__(other)


@torch_function(torch._pack_padded_sequence)
def pack(input: TensorT, lengths: TensorT, batch_first: Any = False) -> tuple[TensorT, Any]:  # noqa: FBT002
    """Pack sequences of these lengths.

    Eager PyTorch refuses lengths that are 0, that pass the input's, or that are out of order where
    they are said to be in order. Here a sequence may have no step, one that passes the input ends
    with it, and any order is taken.
    """
    padded = input.transpose(0, 1) if batch_first else input
    packed = _made(padded, cast(lengths, torch.int64))
    return packed, BatchSizes(packed._trtnn_packed)


def _made(padded: TensorT, lengths: TensorT) -> Any:
    """Return the data of a packed sequence, which knows what it was made of."""
    whole = Packed(None, padded, lengths)
    data: Any = padded[whole.valid]
    data._trtnn_packed = Packed(getattr(data, "_trtnn_value", None), padded, lengths)
    return data


def packed_of(function: str, data: Any) -> Packed:
    """Return what a packed sequence was made of.

    Raises:
        UnsupportedError: Its data were computed, or written, since.
    """
    packed: Packed | None = getattr(data, "_trtnn_packed", None)
    if packed is None or packed.data is not data._trtnn_value:
        raise UnsupportedError(
            f"{function} of a packed sequence whose data were computed after it was packed",
            hint="compute them before, on the padded sequences, and pack the result",
        )
    return packed


def repacked(packed: Packed, padded: TensorT) -> TensorT:
    """Return other data of the same lengths."""
    found: TensorT = _made(padded, packed.lengths)
    return found


@torch_function(torch._pad_packed_sequence)
def pad(
    data: TensorT, batch_sizes: Any, batch_first: Any, padding_value: float, total_length: Any
) -> tuple[TensorT, TensorT]:
    """Return padded sequences, ``total_length`` long, and their lengths."""
    packed = packed_of("pad_packed_sequence", data)
    steps, trailing = packed.padded.shape[0], len(shape_of(packed.padded)) - 2
    valid = packed.valid.reshape(*packed.padded.shape[:2], *(1,) * trailing)
    padded = torch.where(valid, packed.padded, padding_value)
    if isinstance(total_length, int) and isinstance(steps, int) and total_length > steps:
        more = (0, 0) * (1 + trailing) + (0, total_length - steps)
        padded = torch.nn.functional.pad(padded, more, value=padding_value)
    else:
        padded = padded[:total_length]
    return (padded.transpose(0, 1) if batch_first else padded), packed.lengths
