"""The ``TensorQuantizer`` of nvidia-modelopt: what one rounds to, as a node of the graph.

It is known by its name and attributes: its own ``forward`` calls compiled code, or rounds in
steps that TensorRT would not know to be quantization.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch

from trtnn.errors import UnsupportedError
from trtnn.ops.op import active_recorder, spec_of
from trtnn.ops.quantization import LARGEST, quantize_dequantize, rounded_within

BITS = {8: torch.int8, (4, 3): torch.float8_e4m3fn}
SMALLEST = 2.0**-24  # what a quantizer takes for 0: everything it rounds is 0 then
# What TensorRT's pair of layers cannot say, and the value that it has otherwise.
REFUSED = {
    "_unsigned": False,
    "_block_sizes": None,
    "_bias": None,
    "_dynamic": False,
    "_use_constant_amax": False,
    "_if_calib": False,
    "_fake_quant": True,
    "_dequantize": False,
    "rotate_is_enabled": False,
    "backend": None,
}


def is_quantizer(module: torch.nn.Module) -> bool:
    """Say whether a module is a ``TensorQuantizer``."""
    named = any(kind.__name__ == "TensorQuantizer" for kind in type(module).__mro__)
    return named and hasattr(module, "_num_bits")


@contextmanager
def quantizers_of(module: torch.nn.Module | None) -> Iterator[None]:
    """Let the quantizers of a module be nodes while the block runs."""
    found = [
        (path, part)
        for path, part in (module.named_modules() if module is not None else ())
        if is_quantizer(part) and "forward" not in vars(part)
    ]
    for path, part in found:
        vars(part)["forward"] = partial(quantized, part, path)
    try:
        yield
    finally:
        for _, part in found:
            vars(part).pop("forward", None)


def quantized(quantizer: Any, path: str, inputs: torch.Tensor) -> Any:
    """Return what a quantizer gives.

    Raises:
        UnsupportedError: It does what TensorRT's pair of layers cannot, or was not calibrated.
    """
    if getattr(quantizer, "rotate_is_enabled", False):
        raise _refusal(quantizer, path, "rotate_is_enabled")
    scale = getattr(quantizer, "pre_quant_scale", None)
    if scale is not None:
        inputs = inputs * scale
    if getattr(quantizer, "_disabled", False) or not getattr(quantizer, "_if_quant", True):
        return inputs
    for name, value in REFUSED.items():
        if getattr(quantizer, name, value) not in (value, {}):
            raise _refusal(quantizer, path, name)
    if quantizer._num_bits not in BITS:
        raise _refusal(quantizer, path, "_num_bits")
    if getattr(quantizer, "_amax", None) is None:
        raise UnsupportedError(
            f"{path}: a TensorQuantizer without amax finds its scale anew in each call",
            hint="calibrate: modelopt.torch.quantization.quantize(model, config, forward_loop)",
        )
    return _rounded(quantizer, path, inputs)


def _rounded(quantizer: Any, path: str, inputs: Any) -> Any:
    recorder: Any = active_recorder()
    x = recorder.known.adopt(inputs)
    dtype = BITS[quantizer._num_bits]
    shape = tuple(quantizer._amax.shape)
    wide = [axis for axis, size in enumerate(shape) if size != 1]
    if len(wide) > 1 or (wide and len(shape) not in (1, spec_of(x).rank)):
        raise UnsupportedError(
            f"{path}: amax {shape} is not one for all, nor one for each index of one dim",
            hint="give the quantizer axis=0, or None",
        )
    axis = None
    if wide:
        (axis,) = wide
        if len(shape) == 1 and isinstance(quantizer._axis, int):
            axis = quantizer._axis
    steps = quantizer._amax.float().clamp(min=SMALLEST) / LARGEST[dtype]
    steps = steps.reshape(-1) if wide else steps.reshape(())
    if dtype == torch.int8 and getattr(quantizer, "_narrow_range", False):
        x = rounded_within("TensorQuantizer", x, steps, axis)
    return quantize_dequantize(x, steps, axis, dtype)


def _refusal(quantizer: Any, path: str, name: str) -> UnsupportedError:
    value = getattr(quantizer, name)
    return UnsupportedError(
        f"{path}: a TensorQuantizer with {name.removeprefix('_')}={value!r}, which TensorRT's "
        "Quantize and Dequantize do not have",
        hint="quantize to 8 bits with a sign or to E4M3, by modelopt's INT8_DEFAULT_CFG or "
        "FP8_DEFAULT_CFG, calibrated",
    )
