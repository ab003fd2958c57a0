"""What a traced tensor may be asked: all that PyTorch would answer the same whatever the data."""

from __future__ import annotations

from typing import Any

import torch

from trtnn.errors import TraceError
from trtnn.graph.tensor import Tensor
from trtnn.ops.op import spec_of
from trtnn.sizes.dims import Size, bounds
from trtnn.tracing import calls, layouts


def ask(name: str, tensor: Tensor, args: tuple[Any, ...] = (), kwargs: Any = None) -> Any:
    """Answer a question about a tensor that needs no value, or refuse it."""
    shape = spec_of(tensor).shape
    if name in calls.LAYOUT:
        return layouts.answer(tensor, name, args, kwargs or {})
    if name in ("__repr__", "__format__"):
        return Tensor.__repr__(tensor)
    if name in ("__len__", "__iter__", "__reversed__"):
        if not shape:
            raise TraceError(f"{name} of a scalar tensor")
        if name == "__len__":
            return tensor._trtnn_recorder.integer(shape[0])
        parts = tensor.unbind(0)
        return iter(parts if name == "__iter__" else parts[::-1])
    if name in calls.ADDRESSES:
        raise TraceError(
            f"{name} of {tensor!r}: a tensor of a graph has no memory of its own",
            hint="branch on shapes, dtypes or options instead",
        )
    raise TraceError(
        f"{name} of {tensor!r}: its value is not known while tracing", hint=HINTS.get(name, BRANCH)
    )


BRANCH = (
    "use torch.where instead of a branch on data, or trtnn.cond(pred, true_fn, false_fn) and "
    "trtnn.while_loop; sizes and parameters may be asked"
)
NUMBER = (
    "keep it a tensor (x * y.sum() instead of x * y.sum().item()), and use torch.where instead of "
    "a branch on data; sizes and parameters may be asked"
)
ARRAY = (
    "use PyTorch's function (torch.tanh(x) instead of numpy.tanh(x)); what NumPy alone can do is "
    "done outside of forward, and given as an input"
)
HINTS = {
    **dict.fromkeys(("item", "tolist", "__int__", "__float__", "__index__", "__complex__"), NUMBER),
    **dict.fromkeys(("numpy", "__array__", "__dlpack__"), ARRAY),
}


def general_answer(comparison: str, left: Size, right: Size) -> bool | None:
    """Answer a comparison with 0 or 1 for the general size; None for any other comparison."""
    if isinstance(left, int):
        swap = {"lt": "gt", "gt": "lt", "le": "ge", "ge": "le"}
        return general_answer(swap.get(comparison, comparison), right, left)
    if right not in (0, 1):
        return None
    return comparison in ("ne", "gt", "ge")


def range_of(size: Size) -> str:
    """Say what values a size may have."""
    low, high = bounds(size)
    return f"{low} to {high}" if low != high else str(low)


_is_on = torch.is_autocast_enabled  # while a trace runs, that name answers for its regions


def autocast_is_on() -> bool:
    """Say whether PyTorch itself has autocast on."""
    return _is_on("cpu") or _is_on("cuda")
