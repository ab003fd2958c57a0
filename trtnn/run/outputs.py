"""Outputs that the caller owns: ``out=``, matched with the result's structure and checked."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from trtnn.errors import InputError
from trtnn.graph.graph import Interface
from trtnn.ops.masks import depends_on_data
from trtnn.run.runner import ALIGNMENT
from trtnn.sizes.dims import evaluate
from trtnn.tracing.signature import require_dense
from trtnn.tracing.tracer import Output
from trtnn.tree import flatten_as, leaf_names


def output_tensors(
    graph: Interface, out: Any, bindings: dict[str, int], device: torch.device
) -> list[torch.Tensor]:
    """Return the caller's tensor for each output of a graph.

    Args:
        out: The structure of the result; what is no tensor there is not looked at.
        bindings: The value of every Dim in the call.

    Raises:
        InputError: The structure is another one; a tensor is missing, or has another shape, dtype,
            device or layout; two outputs share memory. The error names the part of ``out``.
    """
    if any(depends_on_data(*v.spec.shape) for v in graph.outputs):
        raise InputError(
            "out: an output has a size that depends on data, so its memory cannot be given",
            hint="leave out= away",
        )
    leaves = flatten_as(out, graph.result, "out")
    names = leaf_names(graph.result, "out")
    found: dict[int, torch.Tensor] = {}
    said: dict[int, str] = {}
    for leaf, given, name in zip(graph.leaves, leaves, names, strict=True):
        if not isinstance(leaf, Output):
            continue
        if found.get(leaf, given) is not given:
            raise InputError(f"{name}: expected the tensor that {said[leaf]} is, as in the result")
        spec = graph.outputs[leaf].spec
        shape = tuple(evaluate(size, bindings) for size in spec.shape)
        _check(name, given, shape, spec.dtype, device)
        found[leaf], said[leaf] = given, name
    result = [found[i] for i in range(len(graph.outputs))]
    require_apart([(said[i], t) for i, t in enumerate(result)], [])
    return result


def _check(
    name: str, given: Any, shape: tuple[int, ...], dtype: torch.dtype, device: torch.device
) -> None:
    if not isinstance(given, torch.Tensor):
        raise InputError(f"{name}: expected a tensor {shape} {dtype}, got {type(given).__name__}")
    require_dense(name, given)
    facts = (
        (tuple(given.shape), shape, "the shape"),
        (given.dtype, dtype, ""),
        (given.device, device, "a tensor on"),
        (given.is_contiguous(), True, "contiguous:"),
        (given.is_neg(), False, "a view that PyTorch negates:"),
    )
    for actual, expected, what in facts:
        if actual != expected:
            raise InputError(f"{name}: expected {what} {expected}, got {actual}".replace("  ", " "))
    if given.numel() and not given.data_ptr():
        raise InputError(f"{name}: expected a tensor with memory of its own, got one without")
    if given.is_inference() and not torch.is_inference_mode_enabled():
        raise InputError(f"{name}: was made in inference mode, and the call is outside of it")
    if given.requires_grad:
        raise InputError(f"{name}: requires a gradient, which an engine does not give")
    if device.type == "cuda" and given.data_ptr() & ALIGNMENT:
        raise InputError(
            f"{name}: its memory is not aligned to {ALIGNMENT + 1} bytes",
            hint="give a tensor that is not a slice of another",
        )


def require_apart(
    outputs: Sequence[tuple[str, torch.Tensor]], inputs: Sequence[tuple[str, torch.Tensor]]
) -> None:
    """Raise InputError where an output shares memory with another output or with an input."""
    for i, (name, tensor) in enumerate(outputs):
        start, end = _span(tensor)
        for other_name, other in [*outputs[:i], *inputs]:
            low, high = _span(other)
            if start < high and low < end:
                raise InputError(
                    f"{name}: shares memory with {other_name}, which TensorRT may still read",
                    hint="give memory of its own",
                )


def _span(tensor: torch.Tensor) -> tuple[int, int]:
    """Return the first address of a tensor and the one after its last."""
    start = tensor.data_ptr()
    if not tensor.numel():
        return start, start
    steps = zip(tensor.shape, tensor.stride(), strict=True)
    last = sum((size - 1) * stride for size, stride in steps)
    return start, start + (last + 1) * tensor.element_size()
