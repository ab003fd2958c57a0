"""What stands for a torch callable in a trace, and what a trace makes of complex tensors."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from trtnn.errors import UnsupportedError
from trtnn.graph.tensor import Tensor, tensors_in
from trtnn.ops.complex import complex_meaning, is_complex
from trtnn.ops.detection import OPERATORS
from trtnn.ops.op import REFUSED, TABLE, Spec
from trtnn.ops.registering import name_of
from trtnn.tracing import calls

REAL_ONLY = "use its parts: torch.view_as_real(z), z.real and z.imag"


def meaning_of(
    recorder: Any, function: Any, name: str, arguments: Any
) -> Callable[..., Any] | None:
    """Return the function that stands for a torch callable, None where there is none.

    Raises:
        UnsupportedError: There is none for complex tensors, which an operand is.
    """
    args, kwargs = arguments
    tensors = tensors_in(arguments)
    if not any(map(is_complex, (*tensors, *args, *kwargs.values()))):
        return TABLE.get(function) or _of_operator(function)
    for tensor in tensors:
        if isinstance(tensor, Tensor):
            recorder.check_fresh(tensor)
    meaning = complex_meaning(function, name)
    if meaning is None:
        raise UnsupportedError(f"{name_of(function)} of a complex tensor", hint=REAL_ONLY)
    return meaning


def _of_operator(function: Any) -> Callable[..., Any] | None:
    packet = getattr(function, "overloadpacket", function)
    return OPERATORS.get(getattr(packet, "_qualified_op_name", ""))


def missing(function: Any, name: str) -> UnsupportedError:
    """Return the error for a torch callable that nothing stands for."""
    written = name_of(function)
    reason, hint = REFUSED.get(function, ("", calls.instead_of(name)))
    return UnsupportedError(
        f"{written}: {reason}" if reason else f"{written} has no lowering yet",
        hint=f"{hint}; or give it a meaning: @trtnn.register({written})",
    )


def require_real(what: str, dtype: torch.dtype, hint: str = REAL_ONLY) -> None:
    """Refuse what would have to be a complex value of a graph."""
    if dtype.is_complex:
        raise UnsupportedError(f"{what} of {dtype}: TensorRT has no complex type", hint=hint)


def require_no_complex(name: str, tensors: list[torch.Tensor]) -> None:
    """Refuse to write in place where a complex tensor has a part in it."""
    if any(map(is_complex, tensors)):
        raise UnsupportedError(
            f"{name} writes to or from a complex tensor in place",
            hint="compute a new tensor: z = z * w, torch.cat, torch.nn.functional.pad",
        )


def complex_tensor(recorder: Any, dtype: torch.dtype, real: Tensor, imaginary: Tensor) -> Tensor:
    """Return the complex tensor of two parts that are in the graph, or known."""
    if real._trtnn_known is not None and imaginary._trtnn_known is not None:
        known: Tensor = recorder.known.run(torch.complex, (real, imaginary), {}, None)
        return known
    tensor = Tensor(Spec(real._trtnn_spec.shape, dtype), recorder)
    tensor._trtnn_parts = real, imaginary
    return tensor
