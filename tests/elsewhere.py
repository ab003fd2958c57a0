"""Another device, on a machine that has none: CPU memory with a tag, and the rules of a GPU.

An op takes tensors of one device alone, and scalars of the CPU beside them; factories make their
tensors where ``device=`` says. What a GPU would refuse is refused here.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

ELSEWHERE = torch.device("lazy", 0)  # a device type that PyTorch knows, and never initialises
MOVES = (torch.ops.aten._to_copy.default, torch.ops.aten.copy_.default)


class Elsewhere(torch.Tensor):
    """A tensor on the other device: ``inner`` is the same memory without the tag."""

    inner: torch.Tensor

    @staticmethod
    def __new__(cls, inner: torch.Tensor) -> Elsewhere:
        make: Any = torch.Tensor._make_subclass
        keys = {"dispatch_device": True, "device_for_backend_keys": ELSEWHERE}
        tensor: Elsewhere = make(cls, inner, **keys)
        tensor.inner = inner
        return tensor

    __torch_function__ = torch._C._disabled_torch_function_impl

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _run(func, args, kwargs or {})


class Machine(TorchDispatchMode):
    """While entered, the machine has the other device."""

    def __enter__(self) -> Any:
        self.before = torch._C._only_lift_cpu_tensors()
        torch._C._set_only_lift_cpu_tensors(True)  # torch.tensor then moves what it made
        return super().__enter__()

    def __exit__(self, *failure: Any) -> None:
        torch._C._set_only_lift_cpu_tensors(self.before)
        super().__exit__(*failure)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _run(func, args, kwargs or {})


def _run(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    if func is torch.ops.prim.device.default:
        return ELSEWHERE
    given = [t for t in tree_leaves((args, kwargs)) if isinstance(t, torch.Tensor)]
    there = {id(t.inner): t for t in given if isinstance(t, Elsewhere)}
    meets = any(t.dim() > 0 and not isinstance(t, Elsewhere) for t in given)
    if there and meets and func not in MOVES:
        raise RuntimeError(f"{func}: tensors on two devices, {ELSEWHERE} and cpu")
    device = kwargs.get("device")
    if device is not None:
        kwargs = {**kwargs, "device": torch.device("cpu")}
    result_there = bool(there) if device is None else torch.device(device) == ELSEWHERE
    args, kwargs = tree_map(lambda x: x.inner if isinstance(x, Elsewhere) else x, (args, kwargs))

    def placed(x: Any) -> Any:
        if not isinstance(x, torch.Tensor) or not result_there:
            return x
        return there[id(x)] if id(x) in there else Elsewhere(x)

    return tree_map(placed, func(*args, **kwargs))
