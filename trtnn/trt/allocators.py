"""The allocator of outputs whose sizes TensorRT tells while it runs."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any


def output_allocator(
    trt: ModuleType,
    allocate: Callable[[str, int], int],
    notify: Callable[[str, tuple[int, ...]], None],
) -> Any:
    """Return an allocator that asks ``allocate`` for memory and tells ``notify`` the shape."""

    class Allocator(trt.IOutputAllocator):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            trt.IOutputAllocator.__init__(self)

        def notify_shape(self, tensor_name: str, shape: Any) -> None:
            notify(tensor_name, tuple(shape))

    def reallocate_output(
        self: Any, tensor_name: str, memory: int, size: int, alignment: int, stream: int = 0
    ) -> int:
        return allocate(tensor_name, size)

    # The later ones, which list neither name, call the second.
    older = hasattr(trt.IOutputAllocator, "reallocate_output")
    name = "reallocate_output" if older else "reallocate_output_async"
    setattr(Allocator, name, reallocate_output)
    return Allocator()
