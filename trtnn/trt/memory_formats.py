"""PyTorch's memory formats in TensorRT's terms: which inputs it reads as they are laid out.

The functions take the ``tensorrt`` module as an argument, and ask it for facts by name.
"""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any

from trtnn.errors import BuildError, UnsupportedError

# By memory format and dtype: TensorRT's name for it, and of how many channels it makes groups. A
# last group that is not full is padded, and PyTorch's memory has no such padding.
FORMATS = {
    ("channels_last", "float32"): ("HWC", 1),
    ("channels_last", "float16"): ("HWC8", 8),
    ("channels_last", "bfloat16"): ("HWC8", 8),
    ("channels_last_3d", "float32"): ("DHWC", 1),
    ("channels_last_3d", "float16"): ("DHWC8", 8),
    ("channels_last_3d", "bfloat16"): ("DHWC8", 8),
}

LINEAR = "LINEAR"  # what is contiguous


def require_format(
    trt: ModuleType, tensor: Any, form: str, dtype: str, divides: Callable[[int], bool]
) -> None:
    """Let TensorRT read an input as PyTorch lays it out, and no other way.

    Args:
        form: ``channels_last`` or ``channels_last_3d``.
        divides: Says whether a number divides that of the channels.

    Raises:
        UnsupportedError: TensorRT has no format whose memory is PyTorch's.
    """
    where = f"input {tensor.name}: memory_format torch.{form}"
    if (form, dtype) not in FORMATS:
        kinds = ", ".join(kind for name, kind in FORMATS if name == form)
        raise UnsupportedError(
            f"{where}: TensorRT reads it of {kinds}, not of {dtype}",
            hint="leave memory_format out, and give contiguous tensors",
        )
    name, group = FORMATS[form, dtype]
    if not divides(group):
        raise UnsupportedError(
            f"{where}: TensorRT pads the channels of {dtype} to a multiple of {group}, "
            "and PyTorch does not",
            hint=f"leave memory_format out, or give a multiple of {group} channels",
        )
    tensor.allowed_formats = 1 << int(getattr(trt.TensorFormat, name))


def check_format(engine: Any, name: str, form: str, dtype: str) -> None:
    """Raise BuildError unless an engine reads an input as PyTorch lays it out."""
    given = engine.get_tensor_format(name).name
    if given != (wanted := FORMATS[form, dtype][0]):
        raise BuildError(f"input {name}: TensorRT reads {given} instead of {wanted}", search=False)
