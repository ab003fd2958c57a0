"""The small classes: dimensions, permutations, loggers, host memory."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

from tests.double.signature import Mismatch, integer
from tests.double.surface import Plain


class Dims(Plain):
    """Stand in for ``trt.Dims``: a tuple of sizes, invalid after an error."""

    _sizes: tuple[int, ...] | None = ()

    def _init(self, *arguments: Any) -> None:
        sizes = arguments[0] if len(arguments) == 1 else arguments
        self._sizes = tuple(sizes)
        if len(self._sizes) > 8:
            raise ValueError(f"Dims of {len(self._sizes)} entries; at most 8")

    @classmethod
    def _adopt(cls, value: Any) -> Any:
        """Convert a tuple or list, as pybind11 does implicitly."""
        if not isinstance(value, (tuple, list)):
            raise Mismatch(f"Dims expected, not {type(value).__name__}")
        return cls(tuple(integer(item) for item in value))

    def _valid(self) -> tuple[int, ...]:
        if self._sizes is None:
            raise ValueError("__len__() should return >= 0")
        return self._sizes

    def __len__(self) -> int:
        return len(self._valid())

    def __iter__(self) -> Iterator[int]:
        return iter(self._valid())

    def __getitem__(self, index: Any) -> Any:
        return self._valid()[index]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, (Dims, tuple, list, Plain)) and tuple(self) == tuple(other)  # type: ignore[arg-type]

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return "(invalid)" if self._sizes is None else str(self._sizes)

    @property
    def MAX_DIMS(self) -> int:
        return 8


class Permutation(Plain):
    """Stand in for ``trt.Permutation``: always eight entries."""

    def _init(self, *arguments: Any) -> None:
        order = list(arguments[0]) if arguments else []
        if len(order) > 8:
            raise ValueError(f"Permutation of {len(order)} entries; at most 8")
        self._order = (*order, *range(len(order), 8))

    @classmethod
    def _adopt(cls, value: Any) -> Any:
        if not isinstance(value, (tuple, list)):
            raise Mismatch(f"Permutation expected, not {type(value).__name__}")
        return cls([integer(item) for item in value])

    def __len__(self) -> int:
        return 8

    def __iter__(self) -> Iterator[int]:
        return iter(self._order)

    def __getitem__(self, index: Any) -> Any:
        return self._order[index]


class Logger(Plain):
    """Stand in for ``trt.Logger``: writes to standard error."""

    def _init(self, minimum: Any) -> None:
        self._value_min_severity = minimum

    def log(self, severity: Any, message: str) -> None:
        if severity <= self._value_min_severity:
            print(f"[TRT] [{severity.name[0]}] {message}", file=sys.stderr)


class HostMemory(Plain):
    """Stand in for ``trt.IHostMemory``."""

    def _setup(self, content: bytes) -> None:
        self._content = content

    def __bytes__(self) -> bytes:
        return self._content

    def __len__(self) -> int:
        return len(self._content)

    @property
    def nbytes(self) -> int:
        return len(self._content)

    @property
    def dtype(self) -> Any:
        return self._surface.DataType.INT8


class TimingCache(Plain):
    """Stand in for ``trt.ITimingCache``: the names of the layers that builds have timed."""

    _head = "timing cache of the double"

    def _setup(self, content: bytes) -> None:
        first = f"{self._head} {self._surface.major}"
        head, *entries = content.decode(errors="replace").splitlines() or [first]
        number = head.removeprefix(f"{self._head} ")
        self._version = int(number) if number.isdigit() else None
        self._entries = set(entries)

    def serialize(self) -> Any:
        lines = [f"{self._head} {self._version}", *sorted(self._entries)]
        return self._surface.new("IHostMemory", "\n".join(lines).encode())

    def combine(self, other: Any, mismatch: bool) -> bool:
        if other._version != self._version or self._surface.major == 8:
            return False  # 8.6.0 fails where it combines what it keeps of fused regions
        self._entries |= other._entries
        return True

    def reset(self) -> bool:
        self._entries.clear()
        return True
