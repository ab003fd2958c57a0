"""A graph beside an engine: in wider types than its own, or rounded as the engine rounds."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields, replace
from typing import Any

import torch

from trtnn.graph.graph import Graph, all_nodes, as_tuple
from trtnn.graph.interpreter import Compute
from trtnn.ops.op import Op

# What tensor cores multiply, by the number of operands that they round.
PRODUCTS = {"MatrixMultiply": 2, "Convolution": 2, "Deconvolution": 2, "Attention": 3}
TF32_BITS = -1 << 13  # sign, exponent and the first 10 of 23 bits


def kind_of(graph: Graph, *, tf32: bool) -> str:
    """Return the coarsest type that an engine computes in: what decides how far off it may be.

    Args:
        graph: As it is lowered.
        tf32: Whether products of float32 are computed in TF32.
    """
    nodes = list(all_nodes(graph))
    dtypes = {value.spec.dtype for value in graph.values()}
    dtypes |= {value.spec.dtype for node in nodes for value in node.outputs}
    if is_quantized(graph):
        return "int8"
    if torch.bfloat16 in dtypes:
        return "bf16"
    if torch.float16 in dtypes:
        return "half"
    multiplies = any(node.op.name in PRODUCTS for node in nodes)
    return "tf32" if tf32 and multiplies else "fp32"


def is_quantized(graph: Graph) -> bool:
    """Say whether a graph computes with integers or float8 in the place of floats."""
    return any(node.op.name == "QuantizeDequantize" for node in all_nodes(graph))


def widened(dtype: torch.dtype, device: torch.device) -> Compute:
    """Return how an op is computed in ``dtype``, or in float64 where it was traced so.

    An operand is cast when it is used, so that of the constants one layer's are there twice.
    """

    def wide(tensor: torch.Tensor) -> torch.Tensor:
        return tensor.to(device, dtype if _is_narrower(tensor.dtype) else tensor.dtype)

    def compute(op: Op, operands: list[torch.Tensor]) -> Any:
        found = {f.name: getattr(op, f.name) for f in fields(op)}
        typed = {k: dtype for k, v in found.items() if _is_narrower(v)}
        op = replace(op, **typed) if typed else op
        return tuple(map(wide, as_tuple(op.reference(*map(wide, operands)))))

    return compute


def _is_narrower(field: Any) -> bool:
    """Say whether something is a floating type, and not float64."""
    floating = isinstance(field, torch.dtype) and field.is_floating_point
    return floating and field is not torch.float64


def own(device: torch.device, *, tf32: bool) -> Compute:
    """Return how an op is computed in its own types.

    With ``tf32`` the operands of float32 products are cut to 10 bits, not rounded: some kernels of
    TensorRT 8.6 cut them, and what cuts is further off.
    """

    def compute(op: Op, operands: list[torch.Tensor]) -> Any:
        there = [tensor.to(device) for tensor in operands]
        if tf32:
            count = PRODUCTS.get(op.name, 0)
            there[:count] = map(_cut, there[:count])
        return op.reference(*there)

    return compute


def _cut(tensor: torch.Tensor) -> torch.Tensor:
    if tensor.dtype != torch.float32:
        return tensor
    return (tensor.contiguous().view(torch.int32) & TF32_BITS).view(torch.float32)


@contextmanager
def without_tf32() -> Iterator[None]:
    """Let PyTorch multiply float32 as float32; of the process, as PyTorch's switches are."""
    switches = (torch.backends.cuda.matmul, torch.backends.cudnn.conv)  # type: ignore[attr-defined]
    before = [switch.fp32_precision for switch in switches]
    try:
        for switch in switches:
            switch.fp32_precision = "ieee"
        yield
    finally:
        for switch, value in zip(switches, before, strict=True):
            switch.fp32_precision = value
