"""How a traced tensor would lie in memory: PyTorch is asked, on tensors without data.

A call is run again on the ``meta`` device only when somebody asks for strides, which few do.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch

from trtnn.errors import TraceError
from trtnn.graph.program import change, parted
from trtnn.graph.tensor import Tensor, tensors_in
from trtnn.ops.op import Spec, as_size
from trtnn.sizes.dims import Expr, evaluate, symbols
from trtnn.sizes.expressions import SizeSymbol

Sizes = Mapping[str, int]
KERNELS = frozenset(
    getattr(torch, f"conv{kind}{n}d") for kind in ("", "_transpose") for n in (1, 2, 3)
)
"""Whose results lie as the kernel likes it, where an operand is not contiguous."""


@dataclass(eq=False)
class Layout:
    """An input, or a result of a call of others; ``form`` is an input's memory format."""

    spec: Spec
    call: tuple[Any, Any, Any] | None = None  # function, arguments, keyword arguments
    place: int = 0
    form: torch.memory_format = torch.contiguous_format
    found: dict[tuple[int, ...], torch.Tensor] = field(default_factory=dict)

    def at(self, sizes: Sizes) -> torch.Tensor:
        """Return a tensor without data that lies as this one would at these sizes."""
        key = tuple(sizes.values())
        pending: list[Layout] = [self]
        while pending:
            layout = pending[-1]
            needed = [x for x in layout.operands() if key not in x.found]
            if needed:
                pending += needed
            else:
                layout.found[key] = layout._computed(sizes, key)
                pending.pop()
        return self.found[key]

    def operands(self) -> list[Layout]:
        found: list[Layout] = []

        def see(layout: Layout) -> Layout:
            found.append(layout)
            return layout

        change(self.call, Layout, see)
        return found

    def _computed(self, sizes: Sizes, key: tuple[int, ...]) -> torch.Tensor:
        if self.call is None:
            shape = [evaluate(size, sizes) for size in self.spec.shape]
            return torch.empty(shape, dtype=self.spec.dtype, device="meta", memory_format=self.form)
        given = change(self.call, Layout, lambda layout: layout.found[key])
        function, args, kwargs = change(
            given, torch.SymInt, lambda size: evaluate(as_size(size), sizes)
        )
        metas = tensors_in((args, kwargs))
        free = function in KERNELS and not all(t.is_contiguous() for t in metas)
        if free or function is torch.nn.functional.scaled_dot_product_attention:
            raise RuntimeError("the kernel decides")
        meta = torch.device("meta")
        args, kwargs = change((args, kwargs), torch.device, lambda device: meta)
        return parted(function(*args, **kwargs))[0][self.place]


def note(function: Any, arguments: tuple[Any, Any], result: Any) -> None:
    """Note how the new tensors of a result come about."""
    fresh = [t for t in parted(result)[0] if isinstance(t, Tensor)]
    if all(t._trtnn_layout is not None for t in fresh):
        return
    call = (function, *change(arguments, torch.Tensor, _layout_of))
    for place, tensor in enumerate(fresh):
        if tensor._trtnn_layout is None and tensor._trtnn_known is None:
            tensor._trtnn_layout = Layout(tensor._trtnn_spec, call, place)


def _layout_of(tensor: torch.Tensor) -> Any:
    """Return the layout of an operand; of a real one, or a known one, a tensor without data."""
    if isinstance(tensor, Tensor):
        if tensor._trtnn_known is None:
            return tensor._trtnn_layout or UNKNOWN
        tensor = tensor._trtnn_known
    return torch.empty_strided(tensor.shape, tensor.stride(), dtype=tensor.dtype, device="meta")


UNKNOWN = Layout(Spec((), torch.float32), (None, (), {}))
"""Of what no torch call made: nobody can be asked how it lies in memory."""


def answer(tensor: Tensor, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Answer ``is_contiguous``, ``stride`` or ``storage_offset`` as PyTorch would.

    Raises:
        TraceError: PyTorch cannot tell without data, or sizes in range give several answers.
    """
    layout: Layout = tensor._trtnn_layout or UNKNOWN
    recorder = tensor._trtnn_recorder
    named = _named(recorder)

    def asked(sizes: Sizes) -> Any:
        try:
            with torch._C.DisableTorchFunction(), torch.no_grad():
                return getattr(layout.at(sizes), name)(*args, **kwargs)
        except Exception as error:  # PyTorch's own, of whatever type
            raise _unanswered(tensor, name, "PyTorch does not tell without data") from error

    usual = {n: max(s.low, min(s.high, 2)) for n, s in named.items()}
    found = asked(usual)
    if asked({n: s.high for n, s in named.items()}) != found:
        raise _unanswered(tensor, name, "sizes in range give different answers")
    if asked({n: s.low for n, s in named.items()}) != found:
        # Of one entry or none any strides are good: answered for the general size, and compared.
        for symbol in named.values():
            recorder.decide("gt", Expr(symbol), 1)
    return found


def _unanswered(tensor: Tensor, name: str, why: str) -> TraceError:
    return TraceError(
        f"{name} of {tensor!r}: {why}",
        hint="call .contiguous(), or branch on shapes, dtypes or options instead",
    )


def _named(recorder: Any) -> dict[str, SizeSymbol]:
    """Return the Dims of a trace by name."""
    named: dict[str, SizeSymbol] = {
        s.name: s for v in recorder.inputs for size in v.spec.shape for s in symbols(size)
    }
    return named | {dim.name: dim.sym for dim in recorder.hosts.values()}
