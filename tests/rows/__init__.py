"""Rows: a torch callable and its arguments, which ``tests/ops/test_ops.py`` runs on all oracles."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import torch

from trtnn.sizes.dims import Dim, evaluate
from trtnn.tree import flatten

B = Dim("batch", 1, 2, 4)
S = Dim("seq", 1, 5, 9)


@dataclass(frozen=True)
class Sample:
    """The recipe of a random tensor; ``constant`` ones are known while tracing."""

    shape: tuple[Any, ...]
    dtype: torch.dtype
    low: float | None
    high: float | None
    constant: bool
    _trtnn_leaf: ClassVar[bool] = True

    def make(self, bindings: dict[str, int], generator: torch.Generator) -> torch.Tensor:
        shape = [evaluate(size, bindings) for size in self.shape]
        if self.dtype == torch.bool:
            return torch.rand(shape, generator=generator) > 0.5
        if not self.dtype.is_floating_point:
            low = -9 if self.low is None else int(self.low)
            high = 10 if self.high is None else int(self.high)
            return torch.randint(low, high, shape, generator=generator).to(self.dtype)
        if self.low is None and self.high is None:
            return torch.randn(shape, generator=generator).to(self.dtype)
        low = -1.0 if self.low is None else self.low
        high = 1.0 if self.high is None else self.high
        return (torch.rand(shape, generator=generator) * (high - low) + low).to(self.dtype)


def T(
    *shape: Any,
    dtype: torch.dtype = torch.float32,
    low: float | None = None,
    high: float | None = None,
) -> Sample:
    """A traced input tensor."""
    return Sample(shape, dtype, low, high, constant=False)


def C(
    *shape: Any,
    dtype: torch.dtype = torch.float32,
    low: float | None = None,
    high: float | None = None,
) -> Sample:
    """A constant tensor, as a parameter is."""
    return Sample(shape, dtype, low, high, constant=True)


@dataclass(frozen=True, init=False)
class Row:
    """One case: ``function(*args, **kwargs)`` as a user's ``forward`` would call it.

    ``differs`` says what TensorRT 8.6.0 was seen to give instead.
    """

    function: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    name: str
    raises: type[Exception] | None
    unsupported: dict[str, str]
    differs: str | None
    oracle: Callable[..., Any] | None
    tags: tuple[str, ...] = field(default=())

    def __init__(
        self,
        function: Callable[..., Any],
        *args: Any,
        name: str | None = None,
        raises: type[Exception] | None = None,
        unsupported: dict[str, str] | None = None,
        differs: str | None = None,
        oracle: Callable[..., Any] | None = None,
        **kwargs: Any,
    ) -> None:
        label = getattr(function, "__name__", "row").strip("<>")
        for key, value in {
            "function": function,
            "args": args,
            "kwargs": kwargs,
            "name": name or label,
            "raises": raises,
            "unsupported": unsupported or {},
            "differs": differs,
            "oracle": oracle,
            "tags": (),
        }.items():
            object.__setattr__(self, key, value)


@dataclass(frozen=True)
class Call:
    """A row's call: ``call(function, tensors)`` fills its arguments, constants included."""

    row: Row
    constants: tuple[torch.Tensor, ...]

    def __call__(self, function: Callable[..., Any], tensors: Any) -> Any:
        given, held = iter(tensors), iter(self.constants)

        def fill(value: Any) -> Any:
            if isinstance(value, Sample):
                return next(held if value.constant else given)
            if isinstance(value, (tuple, list)):
                return type(value)(map(fill, value))
            return value

        args = [fill(a) for a in self.row.args]
        return function(*args, **{k: fill(v) for k, v in self.row.kwargs.items()})


def prepare(row: Row) -> tuple[list[Sample], Call]:
    """Return the samples of a row's inputs, and its call."""
    generator = torch.Generator().manual_seed(7)
    leaves, _ = flatten((row.args, row.kwargs))
    samples = [x for x in leaves if isinstance(x, Sample)]
    constants = tuple(x.make({}, generator) for x in samples if x.constant)
    return [x for x in samples if not x.constant], Call(row, constants)


class Holder(torch.nn.Module):
    """Rows as one module: their constants are buffers, which live where the module lives."""

    def __init__(self, *rows: Row) -> None:
        super().__init__()
        self.parts = [prepare(row) for row in rows]
        self.samples = [sample for samples, _ in self.parts for sample in samples]
        for index, (_, call) in enumerate(self.parts):
            for place, constant in enumerate(call.constants):
                self.register_buffer(f"constant_{index}_{place}", constant)

    def forward(self, *tensors: torch.Tensor) -> list[Any]:
        remaining, buffers = iter(tensors), iter(self.buffers())
        results = []
        for samples, call in self.parts:
            own = [next(remaining) for _ in samples]
            held = tuple(next(buffers) for _ in call.constants)
            results.append(replace(call, constants=held)(call.row.function, own))
        return results


def all_rows() -> list[tuple[str, Row]]:
    """Return every row of every module here, with a unique identifier."""
    found: list[tuple[str, Row]] = []
    for info in pkgutil.iter_modules(__path__):
        rows = importlib.import_module(f"{__name__}.{info.name}").ROWS
        found += [(f"{info.name}-{i}-{row.name}", row) for i, row in enumerate(rows)]
    return found
