"""The border of a network: inputs as calls give them, outputs as calls take them."""

from __future__ import annotations

import torch

from trtnn.errors import BuildError, UnsupportedError
from trtnn.graph.graph import Value
from trtnn.lower.layers import DOUBLE, EIGHT_BITS, ITensor, Layers
from trtnn.lower.naming import output_name
from trtnn.sizes.dims import Expr, bounds


def add_input(net: Layers, value: Value, form: str | None) -> ITensor:
    """Add an input to the network; ``form`` is its memory format, None where contiguous.

    Raises:
        UnsupportedError: This TensorRT has no such inputs.
        BuildError: TensorRT refused it.
    """
    spec = value.spec
    name = _dtype_name(net, f"input {value.name}", spec.dtype)
    dims = tuple(s if isinstance(s, int) else -1 for s in spec.shape)
    handle = net.network.add_input(value.name, net.library.dtype(name), dims)
    if handle is None:
        raise BuildError(f"TensorRT refused input {value.name}: {net.library.log.take()}")
    for axis, size in enumerate(spec.shape):
        if isinstance(size, Expr):
            # Without names, TensorRT branches on whether two batches are equal.
            handle.set_dimension_name(axis, str(size))
    if form is not None:
        channels = spec.shape[1]
        own = str(spec.dtype).removeprefix("torch.")
        net.library.require_format(handle, form, own, lambda n: bounds(channels % n) == (0, 0))
    given = ITensor(handle, spec.dtype, spec.shape)
    return net.entered(given) if spec.dtype in EIGHT_BITS else given


def mark_output(net: Layers, index: int, tensor: ITensor, *, constant: bool) -> None:
    """Let a tensor, perhaps a ``constant``, be an output of the network.

    Passes and casts that change nothing make a result equal to an input, to a constant or to
    another output: TensorRT takes a tensor in one of these places only, so a copy is marked.

    Raises:
        UnsupportedError: This TensorRT has no such outputs.
    """
    name = _dtype_name(net, f"output {index}", tensor.dtype)
    if tensor.dtype in EIGHT_BITS:
        tensor = net.left(tensor)
    elif constant or tensor.handle.is_network_input or tensor.handle.is_network_output:
        tensor = net.identity(tensor)
    tensor.handle.name = output_name(index)
    net.network.mark_output(tensor.handle)
    if not net.library.target.strongly_typed:
        tensor.handle.dtype = net.library.dtype(name)


def mark_debug(net: Layers, index: int, tensor: ITensor, *, constant: bool) -> str:
    """Let an engine tell of a tensor while it runs, beside its outputs; return the tensor's name.

    An input or a constant is told of as a copy.

    Raises:
        BuildError: TensorRT refused it.
    """
    if constant or tensor.handle.is_network_input:
        tensor = net.identity(tensor)
    handle = tensor.handle
    if not handle.is_network_output and not net.network.is_debug_tensor(handle):
        handle.name = f"debug_{index}"
    done = net.network.mark_debug(handle)
    net.library.require(done, f"mark {handle.name} as a debug tensor")
    return str(handle.name)


def _dtype_name(net: Layers, what: str, dtype: torch.dtype) -> str:
    target, name = net.library.target, str(dtype).removeprefix("torch.")
    name = "float32" if dtype == DOUBLE else name  # what calls cast it to
    if not target.has_dtype(name):
        raise UnsupportedError(f"{what}: {target.name} has no {name}")
    if dtype == torch.int8 and not target.casts_int8:
        raise UnsupportedError(
            f"{what}: {target.name} takes int8 beside quantization only",
            hint="use uint8 or int32 there, or TensorRT 10.12 or later",
        )
    return name
