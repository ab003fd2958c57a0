"""What a planted fault of the lowering is, and the words that ``mutations.py`` plants it with."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
import torch

import trtnn
from tests.double import Violation
from trtnn.errors import BuildError
from trtnn.lower.layers import Handle, ITensor, bits
from trtnn.lower.network import Net
from trtnn.sizes.dims import Expr, evaluate
from trtnn.trt.library import TensorRT

Plant = Callable[[pytest.MonkeyPatch], None]
Found = dict[str, tuple[type[Exception], str]]


@dataclass(frozen=True)
class Fault:
    """A fault, the function of inputs whose lowering it breaks, and per version what is raised.

    ``called``: the fault shows in a call of the engine only.
    """

    name: str
    plant: Plant
    function: Callable[..., Any]
    inputs: tuple[trtnn.Input, ...]
    found: Found
    called: bool = False


def X(*shape: Any, dtype: torch.dtype = torch.float32) -> trtnn.Input:
    """An input of a fault's graph."""
    return trtnn.Input(shape, dtype)


def put(owner: Any, name: str, value: Any) -> Plant:
    """Plant ``value`` as ``owner.name``."""
    return lambda patch: patch.setattr(owner, name, value)


def around(owner: Any, name: str, change: Callable[..., Any]) -> Plant:
    """Plant ``change(original, *args)`` as ``owner.name``."""
    original = getattr(owner, name)
    return put(owner, name, lambda *args, **kwargs: change(original, *args, **kwargs))


def old(error: type[Exception], match: str) -> Found:
    """Say what 8.6 raises."""
    return {"8.6": (error, match)}


def new(error: type[Exception], match: str) -> Found:
    """Say what 10 and 11 raise."""
    return {"10": (error, match), "11": (error, match)}


def every(error: type[Exception], match: str) -> Found:
    """Say what all versions raise."""
    return old(error, match) | new(error, match)


def mixed(what: str) -> Found:
    """Say that types are mixed: silently on 8.6, refused later."""
    return old(Violation, f"{what} differ in type") | new(BuildError, f"{what} differ in type")


def no_cast(original: Any, net: Net, x: Any, dtype: torch.dtype) -> ITensor:
    tensor = net.tensor(x)
    return ITensor(tensor.handle, dtype, tensor.shape)


def loose_weights(original: Any, net: Net, handle: Handle) -> Any:
    copy = handle.tensor.detach().clone()
    if copy.dtype == torch.bfloat16:
        return net.library.weights(copy, "bfloat16")
    return net.library.weights(copy.numpy(), str(copy.dtype).removeprefix("torch."))


def forgotten_weights(original: Any, net: Net, handle: Handle) -> Any:
    weights = original(net, handle)
    net.held.clear()
    net.arrays.clear()
    return weights


def constrain(*, precision: str | None, output: bool) -> Callable[..., Any]:
    """Return a change of ``TensorRT.constrain`` that tells another precision, or none."""

    def change(original: Any, library: TensorRT, layer: Any, dtype: str, **_: bool) -> None:
        original(library, layer, precision or dtype, output=False)
        if precision is None:
            layer.reset_precision()
        if output:
            layer.set_output_type(0, library.dtype(dtype))

    return change


def precision_everywhere(original: Any, net: Net, layer: Any, dtype: Any, *rest: Any) -> ITensor:
    result: ITensor = original(net, layer, dtype, *rest)
    net.library.constrain(layer, str(dtype).removeprefix("torch."), output=False)
    return result


def half_everywhere(original: Any, net: Net, *arguments: Any) -> None:
    original(net, *arguments)
    net.half = True


def without(flag: str) -> Callable[..., Any]:
    """Return a change of ``TensorRT.config`` that clears a flag again."""

    def config(original: Any, library: TensorRT, *args: Any, **kwargs: Any) -> Any:
        made = original(library, *args, **kwargs)
        made.clear_flag(getattr(library.trt.BuilderFlag, flag))
        return made

    return config


def half_statistics(
    net: Net, x: Any, scale: Any, bias: Any, axes: Any, epsilon: float, groups: int = 1
) -> ITensor:
    handles = (net.tensor(t, x.rank).handle for t in (scale, bias))
    layer = net.network.add_normalization(x.handle, *handles, bits(axes))
    return net.done(layer, x.dtype, x.shape, x.dtype)


def concat_without_axis(net: Net, tensors: Any, axis: int) -> ITensor:
    parts = [net.tensor(t) for t in tensors]
    layer = net.network.add_concatenation([p.handle for p in parts])
    return net.done(layer, parts[0].dtype, parts[0].shape, None)


def inverse(original: Any, net: Net, x: Any, first: Any = None, **rest: Any) -> ITensor:
    order = None if first is None else tuple(first.index(i) for i in range(len(first)))
    result: ITensor = original(net, x, first=order, **rest)
    return result


def sizes_at_opt(original: Any, net: Net, sizes: Any) -> Any:
    dims = {d.name: d.opt for d in net.graph.dims}
    return original(net, [evaluate(s, dims) for s in sizes])


def fill_untyped(original: Any, net: Net, *arguments: Any) -> Any:
    target = net.library.target
    net.library.target = dataclasses.replace(target, strongly_typed=False)
    try:
        return original(net, *arguments)
    finally:
        net.library.target = target


def other_axis(original: Any, net: Net, symbol: Any) -> Any:
    tensor, given, solution = net.sources[symbol.name]
    other = dataclasses.replace(given, axis=(given.axis + 1) % tensor.rank)
    net.sources[symbol.name] = (tensor, other, solution)
    return original(net, symbol)


def swapped(original: Any, net: Net, a: Any, b: Any, kind: str) -> Any:
    return original(net, b, a, kind) if kind == "SUB" else original(net, a, b, kind)


def unnamed(original: Any, net: Net, *arguments: Any) -> Any:
    tensor = original(net, *arguments)
    for axis, size in enumerate(tensor.shape):
        if isinstance(size, Expr):
            tensor.handle.set_dimension_name(axis, "")
    return tensor


def plain_output(net: Net, index: int, tensor: ITensor, *, constant: bool) -> None:
    tensor.handle.name = f"output_{index}"
    net.network.mark_output(tensor.handle)


def output_named_as_input(
    original: Any, net: Net, index: int, tensor: ITensor, *, constant: bool
) -> None:
    original(net, index, tensor, constant=constant)
    tensor.handle.name = net.graph.inputs[0].name
