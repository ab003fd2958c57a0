"""Batches of TensorRT's own calibrators, as ``quantize`` takes data."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch

from trtnn.errors import InputError
from trtnn.tracing.signature import Input

TYPES = {
    torch.float32: "<f4", torch.float16: "<f2", torch.int64: "<i8", torch.int32: "<i4",
    torch.int8: "|i1", torch.uint8: "|u1",
}  # fmt: skip
"""NumPy's names of types that memory on a GPU is described by; a bool is an entry of one byte."""


class Memory:
    """Memory of a GPU that somebody else holds, described as PyTorch reads it."""

    def __init__(self, address: int, shape: tuple[int, ...], dtype: torch.dtype) -> None:
        self.__cuda_array_interface__ = {
            "version": 2,
            "data": (address, False),
            "shape": shape,
            "typestr": TYPES[dtype],
            "strides": None,
        }


def calibration_data(
    calibrator: Any, inputs: Mapping[str, Input]
) -> Iterator[dict[str, torch.Tensor]]:
    """Yield the batches of an ``IInt8EntropyCalibrator2`` or its like, for ``quantize``.

    Each is copied: a calibrator may use its memory again. ``calibration_cache=`` of ``quantize``
    reads the table that it wrote.

    Args:
        calibrator: Has ``get_batch_size()``, and ``get_batch(names)``, which gives addresses on
            the GPU, or tensors, in the order of ``names``, and None at the end.
        inputs: The shape and the dtype of each parameter of ``forward``; dim 0 is the batch.

    Raises:
        InputError: It gives no batch for an input, or addresses where there is no GPU.
    """
    names = list(inputs)
    size = int(calibrator.get_batch_size())
    while batch := calibrator.get_batch(names):
        if len(batch) != len(names):
            raise InputError(
                f"calibrator: get_batch gave {len(batch)} addresses for {len(names)} inputs",
                hint=f"inputs are {', '.join(names)}",
            )
        yield {
            name: _tensor(name, given, size, inputs[name])
            for name, given in zip(names, batch, strict=True)
        }


def _tensor(name: str, given: Any, size: int, declared: Input) -> torch.Tensor:
    """Return a copy of what a calibrator gave for an input."""
    if isinstance(given, torch.Tensor):
        return given.detach().clone()
    sizes = tuple(declared.shape)[1:]
    dtype = declared.dtype
    if not all(type(n) is int for n in sizes) or dtype not in TYPES:
        raise InputError(
            f"calibrator: {name}: expected an Input of static sizes after the batch, and one of "
            f"{', '.join(map(str, TYPES))}, got {declared}"
        )
    if not torch.cuda.is_available():
        raise InputError(
            f"calibrator: {name} is an address on a GPU, and PyTorch sees none",
            hint="let get_batch give tensors",
        )
    assert dtype is not None
    memory = Memory(int(given), (size, *sizes), dtype)
    return torch.as_tensor(memory, device="cuda").clone()
