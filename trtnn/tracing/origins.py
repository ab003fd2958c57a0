"""Where sizes come from: an input's dim, a parameter's, or the call that made a tensor."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch

from trtnn.graph.graph import Node, names_in
from trtnn.graph.program import storage_of
from trtnn.graph.tensor import Tensor
from trtnn.sizes.dims import Expr, Size, symbols

if TYPE_CHECKING:
    from trtnn.tracing.recorder import Recorder


def origins(
    recorder: Recorder, sizes: Sequence[Size], operands: Sequence[torch.Tensor]
) -> tuple[str, ...]:
    """Return a line for each size, and for each Dim in it, as far as its origin is known.

    Args:
        sizes: The n-th is looked for in the n-th operand, then in those after it.
        operands: The tensors of the call that failed.
    """
    lines: dict[str, None] = {}
    for place, size in enumerate(sizes):
        owner = next((x for x in operands[place:] if size in _shape(x)), None)
        if owner is not None and not (isinstance(size, Expr) and size.sym.is_Symbol):
            lines[f"{size} is {_dims(owner, size)} of {_what(recorder, owner)}"] = None
        lines.update(dict.fromkeys(_origin(recorder, symbol) for symbol in symbols(size)))
    return tuple(line for line in lines if line)


def _shape(tensor: torch.Tensor) -> tuple[Size, ...]:
    return tensor._trtnn_spec.shape if isinstance(tensor, Tensor) else tuple(tensor.shape)


def _dims(tensor: torch.Tensor, size: Size) -> str:
    axes = [str(axis) for axis, own in enumerate(_shape(tensor)) if own == size]
    return f"dim {axes[0]}" if len(axes) == 1 else f"dims {', '.join(axes)}"


def _what(recorder: Recorder, tensor: torch.Tensor) -> str:
    """Say what a tensor is: an input, a parameter, a constant, or the result of a call."""
    if isinstance(tensor, Tensor) and tensor._trtnn_known is None:
        value = tensor._trtnn_value
        assert value is not None
        maker = recorder.makers.get(value)
        return f"input {value.name}" if maker is None else f"the result of {_call(maker)}"
    real: Any = tensor._trtnn_known if isinstance(tensor, Tensor) else tensor
    name = recorder.known.foreign.get(storage_of(real))
    if name is None:
        return "a constant"
    return f"{'parameter' if isinstance(real, torch.nn.Parameter) else 'a view of'} {name}"


def _call(node: Node) -> str:
    origin = node.origin
    module = f" in {origin.path}" if origin.path else ""
    line = f" (at {str(origin.source).splitlines()[0]})" if origin.source else ""
    return f"{origin.scope or node.op.name}{module}{line}"


def _origin(recorder: Recorder, symbol: Any) -> str:
    """Say where a Dim is declared, or which call gives a size that depends on data."""
    for node in recorder.nodes:
        if hasattr(node.op, "bind_sizes") and symbol.name in names_in(vars(node.op)):
            return f"{symbol} depends on data: it is counted by {_call(node)}"
    places = [
        ("" if str(size) == str(symbol) else f"in {size}, ", f"dim {axis} of input {value.name}")
        for value in recorder.inputs
        for axis, size in enumerate(value.spec.shape)
        if symbol in symbols(size)
    ]
    hosts = recorder.hosts.items()
    places += [("", f"host input {name}") for name, dim in hosts if dim.sym == symbol]
    plain = [text for derived, text in places if not derived]
    where = " and ".join(plain or [derived + text for derived, text in places])
    declared = f"declared Dim {symbol}, {symbol.low} to {symbol.high}"
    return f"{symbol} is {where} ({declared})" if where else ""
