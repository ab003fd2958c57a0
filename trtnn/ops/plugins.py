"""A plugin: a layer that TensorRT does not have, by the name of its creator."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any, ClassVar

import torch

from trtnn.errors import DTypeError, ShapeError, UnsupportedError
from trtnn.ops.op import Op, Spec, has_sizes
from trtnn.sizes.dims import Size

if TYPE_CHECKING:
    from trtnn.lower.network import ITensor, Net

__all__ = ["Plugin"]

# What kernels are given as it is: bytes are int32 inside a network, and no TensorRT has float64.
# Plugins give no truths.
TAKEN = (*(torch.float32, torch.float16, torch.bfloat16, torch.int32, torch.int64), torch.bool)
GIVEN = TAKEN[:-1]


@dataclass(frozen=True, repr=False)
class Plugin(Op):
    """A layer of a creator in TensorRT's registry.

    Attributes:
        fields: What the creator is told, by name; None: it is left to it.
        taken: The types of its operands.
        shapes: Of its results, as are ``dtypes``.
        meaning: Computes the same with PyTorch; None: nobody can.
        written: The kernel that it is, where it is a user's own.
    """

    creator: str
    version: str
    namespace: str
    fields: tuple[tuple[str, Any], ...]
    taken: tuple[torch.dtype, ...]
    shapes: tuple[tuple[Size, ...], ...]
    dtypes: tuple[torch.dtype, ...]
    meaning: Callable[..., Any] | None = field(default=None, compare=False)
    written: Any = field(default=None, compare=False)
    stays: ClassVar[bool] = True

    @property
    def title(self) -> str:
        """What errors call it."""
        home = f"{self.namespace}::" if self.namespace else ""
        return f"plugin {home}{self.creator} version {self.version}"

    def infer(self, *inputs: Spec) -> tuple[Spec, ...]:
        if tuple(spec.dtype for spec in inputs) != self.taken:
            raise DTypeError(f"{self.title}: takes {names_of(self.taken)}, got {list(inputs)}")
        return tuple(map(Spec, self.shapes, self.dtypes))

    def reference(self, *tensors: torch.Tensor) -> tuple[torch.Tensor, ...]:
        if self.meaning is None:
            raise UnsupportedError(
                f"{self.title}: PyTorch cannot compute it: it has no reference",
                hint="give a function of its inputs that does: reference=",
            )
        results = results_of(self.title, "reference=", self.meaning(*tensors))
        own = tuple(tensor.dtype for tensor in tensors) == self.taken
        found = [Spec(tuple(t.shape), t.dtype) for t in results]
        require_declared(self.title, found, self.shapes, self.dtypes if own else None)
        return results

    def lower(self, net: Net, *inputs: ITensor) -> tuple[ITensor, ...]:
        return net.plugin(self, inputs)

    def __repr__(self) -> str:
        shown = [f for f in fields(self) if f.compare]
        return f"Plugin({', '.join(f'{f.name}={getattr(self, f.name)!r}' for f in shown)})"


def results_of(title: str, what: str, results: Any) -> tuple[torch.Tensor, ...]:
    """Return what a user's function gave, a tensor or several, as a tuple.

    Raises:
        DTypeError: It is something else.
    """
    found = tuple(results) if isinstance(results, (tuple, list)) else (results,)
    if not found or not all(isinstance(tensor, torch.Tensor) for tensor in found):
        raise DTypeError(f"{title}: {what} returned {results!r}; expected tensors")
    return found


def require_declared(
    title: str,
    found: Sequence[Spec],
    shapes: Sequence[tuple[Size, ...]],
    dtypes: Sequence[torch.dtype] | None,
) -> None:
    """Raise ShapeError or DTypeError where a reference gives others than its plugin is to give.

    Args:
        shapes: What is symbolic in one may be any size.
        dtypes: None: they may differ.
    """
    if len(found) != len(shapes):
        raise ShapeError(f"{title}: reference= gives {len(found)} results, infer= {len(shapes)}")
    for index, (spec, shape) in enumerate(zip(found, shapes, strict=True)):
        same = len(spec.shape) == len(shape) and all(
            has_sizes((size,)) or size == own for own, size in zip(spec.shape, shape, strict=True)
        )
        if not same:
            declared = Spec(shape, spec.dtype)
            raise ShapeError(f"{title}: result {index} of reference= is {spec}, infer= {declared}")
        if dtypes is not None and spec.dtype != dtypes[index]:
            declared = Spec(spec.shape, dtypes[index])
            raise DTypeError(f"{title}: result {index} of reference= is {spec}, infer= {declared}")


def require_types(
    title: str, what: str, specs: Sequence[Spec], allowed: Sequence[torch.dtype]
) -> None:
    """Raise DTypeError where a plugin would get or give a type that it cannot."""
    for index, spec in enumerate(specs):
        if spec.dtype not in allowed:
            raise DTypeError(
                f"{title}: {what} {index} is {spec.dtype}; expected one of {names_of(allowed)}"
            )


def name_of(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def names_of(dtypes: Sequence[torch.dtype]) -> str:
    return ", ".join(map(name_of, dtypes))
