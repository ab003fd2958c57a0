"""A network that computes: each layer gives its result at once, in the type that TensorRT has.

It knows the layers that integers and elementwise floats go through, and refuses 8 bits but in
casts. A reduction of half adds up in half.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.nn.functional import gelu

from trtnn.ops.pointwise import ACTIVATIONS
from trtnn.ops.unary import UNARIES
from trtnn.trt.library import TensorRT
from trtnn.trt.tensors import dtype_name

BYTES = (torch.uint8, torch.int8)
ELEMENTWISE: dict[str, Callable[..., torch.Tensor]] = {
    "SUM": torch.add, "SUB": torch.sub, "PROD": torch.mul, "MAX": torch.maximum,
    "MIN": torch.minimum, "AND": torch.logical_and, "OR": torch.logical_or,
    "XOR": torch.logical_xor, "EQUAL": torch.eq, "GREATER": torch.gt, "LESS": torch.lt,
    "POW": torch.pow,
    # One off beyond 2**24, as 8.6.0 was seen to be in a fused kernel.
    "FLOOR_DIV": lambda a, b: (a.float() / b.float()).floor().to(a.dtype),
    "DIV": lambda a, b: a / b if a.is_floating_point() else torch.div(a, b, rounding_mode="trunc"),
}  # fmt: skip
REDUCE: dict[str, Callable[..., torch.Tensor]] = {
    "SUM": lambda x, axis: x.sum(axis, keepdim=True, dtype=x.dtype),
    "PROD": lambda x, axis: x.prod(axis, keepdim=True, dtype=x.dtype),
    "MAX": lambda x, axis: x.amax(axis, keepdim=True),
    "MIN": lambda x, axis: x.amin(axis, keepdim=True),
    "AVG": lambda x, axis: x.sum(axis, keepdim=True, dtype=x.dtype) / x.shape[axis],
}


class Tensor:
    """A tensor of the network, with its value."""

    def __init__(self, value: torch.Tensor, *, is_input: bool = False) -> None:
        self.value, self.name = value, ""
        self.is_network_input, self.is_network_output = is_input, False

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.value.shape)


class Layer:
    """A layer that computes when its output is asked for, with the attributes set by then."""

    def __init__(
        self, compute: Callable[[Any], Any], *operands: Tensor, cast: bool = False
    ) -> None:
        assert cast or not [x for x in operands if x.value.dtype in BYTES], "8 bits inside"
        self.compute, self.results = compute, ()
        self.inputs = {i: operand.value for i, operand in enumerate(operands)}

    def set_input(self, index: int, tensor: Tensor) -> None:
        self.inputs[index] = tensor.value

    def set_output_type(self, index: int, dtype: Any) -> None:
        """Take what 8.6 is told of a layer: it computes in the types of its operands anyway."""

    def get_output(self, index: int) -> Tensor:
        if not self.results:
            made = self.compute(self)
            self.results = tuple(map(Tensor, made if isinstance(made, tuple) else (made,)))
        return self.results[index]


class Exact(TensorRT):
    """A library whose weights are the constants themselves."""

    def weights(self, array: Any, dtype: str) -> Any:
        return torch.as_tensor(array)


class Network:
    """Stands in for INetworkDefinition; ``given`` are the values of its inputs."""

    def __init__(self, library: TensorRT, given: list[torch.Tensor]) -> None:
        self.library, self.given = library, iter(given)
        self.outputs: list[Tensor] = []

    def add_input(self, name: str, dtype: Any, shape: tuple[int, ...]) -> Tensor:
        value = next(self.given)
        assert self.library.dtype(str(value.dtype).removeprefix("torch.")) == dtype
        return Tensor(value, is_input=True)

    def mark_output(self, tensor: Tensor) -> None:
        assert not tensor.is_network_input and not tensor.is_network_output
        tensor.is_network_output = True
        self.outputs.append(tensor)

    def add_constant(self, shape: tuple[int, ...], weights: torch.Tensor) -> Layer:
        assert weights.dtype not in BYTES
        return Layer(lambda _: weights.reshape(shape))

    def add_cast(self, x: Tensor, to: Any) -> Layer:
        dtype = getattr(torch, dtype_name(to))
        if dtype in BYTES:
            limits = torch.iinfo(dtype)
            assert bool(((x.value >= limits.min) & (x.value <= limits.max)).all()), "out of range"
        return Layer(lambda _: x.value.to(dtype), x, cast=True)

    def add_identity(self, x: Tensor) -> Layer:
        return Layer(lambda _: x.value.clone(), x)

    def add_elementwise(self, a: Tensor, b: Tensor, kind: Any) -> Layer:
        assert a.value.dtype == b.value.dtype
        return Layer(lambda _: ELEMENTWISE[kind.name](a.value, b.value), a, b)

    def add_unary(self, x: Tensor, kind: Any) -> Layer:
        return Layer(lambda _: {**UNARIES, "NOT": torch.logical_not}[kind.name](x.value), x)

    def add_activation(self, x: Tensor, kind: Any) -> Layer:
        def compute(layer: Any) -> torch.Tensor:
            known = {"GELU_ERF": lambda x, *_: gelu(x), **ACTIVATIONS}
            return known[kind.name](x.value, layer.alpha, layer.beta)

        return Layer(compute, x)

    def add_softmax(self, x: Tensor) -> Layer:
        return Layer(lambda layer: x.value.softmax(layer.axes.bit_length() - 1), x)

    def add_select(self, condition: Tensor, a: Tensor, b: Tensor) -> Layer:
        return Layer(lambda _: torch.where(condition.value, a.value, b.value), condition, a, b)

    def add_reduce(self, x: Tensor, kind: Any, axes: int, keep: bool) -> Layer:
        def compute(_: Any) -> torch.Tensor:
            chosen, value = [i for i in range(len(x.shape)) if axes >> i & 1], x.value
            for axis in chosen:
                value = REDUCE[kind.name](value, axis)
            return (
                value
                if keep
                else value.reshape([s for i, s in enumerate(x.shape) if i not in chosen])
            )

        return Layer(compute, x)

    def add_matrix_multiply(self, a: Tensor, op_a: Any, b: Tensor, op_b: Any) -> Layer:
        def operand(x: Tensor, op: Any) -> torch.Tensor:
            return x.value.mT if op.name == "TRANSPOSE" else x.value

        assert "VECTOR" not in (op_a.name, op_b.name)
        return Layer(lambda _: operand(a, op_a) @ operand(b, op_b), a, b)

    def add_concatenation(self, parts: list[Tensor]) -> Layer:
        return Layer(lambda layer: torch.cat([p.value for p in parts], layer.axis), *parts)

    def add_gather(self, x: Tensor, indices: Tensor, axis: int) -> Layer:
        def compute(_: Any) -> torch.Tensor:
            flat = x.value.index_select(axis, indices.value.reshape(-1))
            return flat.reshape(*x.shape[:axis], *indices.shape, *x.shape[axis + 1 :])

        return Layer(compute, x, indices)

    def add_cumulative(self, x: Tensor, axis: Tensor, *rest: Any) -> Layer:
        return Layer(lambda _: x.value.cumsum(int(axis.value), dtype=x.value.dtype), x)

    def add_topk(self, x: Tensor, kind: Any, count: int, axes: int) -> Layer:
        axis = axes.bit_length() - 1

        def compute(_: Any) -> tuple[torch.Tensor, torch.Tensor]:
            values, indices = x.value.topk(count, axis, kind.name == "MAX")
            return values, indices.int()

        return Layer(compute, x)

    def add_fill(self, shape: tuple[int, ...], kind: Any, dtype: Any) -> Layer:
        def compute(layer: Layer) -> torch.Tensor:
            start, step = layer.inputs[1], layer.inputs[2]
            return torch.arange(shape[0], dtype=start.dtype) * step + start

        return Layer(compute)

    def add_shuffle(self, x: Tensor) -> Layer:
        def compute(layer: Any) -> torch.Tensor:
            set_ = vars(layer)
            value = (
                x.value.permute(set_["first_transpose"]) if "first_transpose" in set_ else x.value
            )
            if "reshape_dims" in set_:
                given = set_["reshape_dims"]
                value = value.reshape(
                    [value.shape[i] if s == 0 else s for i, s in enumerate(given)]
                )
            return value.permute(set_["second_transpose"]) if "second_transpose" in set_ else value

        return Layer(compute, x)

    def add_slice(self, x: Tensor, start: Any, size: Any, stride: Any) -> Layer:
        def compute(layer: Any) -> torch.Tensor:
            value, inside = x.value, torch.ones((1,) * len(size), dtype=torch.bool)
            for axis, (first, count, step) in enumerate(zip(start, size, stride, strict=True)):
                at = first + torch.arange(count) * step
                there = (at >= 0) & (at < value.shape[axis])
                inside = inside & there.reshape(-1, *(1,) * (len(size) - 1 - axis))
                value = value.index_select(axis, at.clamp(0, max(value.shape[axis] - 1, 0)))
            if layer.mode.name != "FILL":
                assert bool(inside.all())
                return value
            return torch.where(inside, value, layer.inputs[4])

        return Layer(compute, x)
