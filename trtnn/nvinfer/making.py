"""Layers that make tensors of numbers and sizes, and the one that checks them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from trtnn.errors import DTypeError, OptionError, ShapeError
from trtnn.nvinfer.members import dtype_of, member
from trtnn.ops.arithmetic import tensor_of
from trtnn.ops.fills import Assertion, Ramp, RandomFill, ShapeOf
from trtnn.ops.movement import reshape
from trtnn.ops.op import TensorT, as_size, bind, shape_of, spec_of
from trtnn.ops.slicing import known_of
from trtnn.sizes.dims import product


def constant(shape: Sequence[int], weights: Any) -> TensorT:
    """Return known entries as a tensor of a shape: a tensor, an array or a list of numbers.

    >>> constant((1, 2), [1.0, 2.0])
    tensor([[1., 2.]])
    """
    tensor = weights if isinstance(weights, torch.Tensor) else torch.as_tensor(weights)
    if known_of(tensor) is None:
        raise OptionError("constant: expected entries that are known, got a traced tensor")
    if product(shape_of(tensor)) != product(tuple(shape)):
        raise ShapeError(f"constant: {spec_of(tensor)} has not the entries of {tuple(shape)}")
    return reshape(tensor, tuple(shape))


def fill(
    shape: Sequence[Any],
    op: Any,
    output_type: Any = "FLOAT",
    *,
    alpha: Any = 0.0,
    beta: Any = 1.0,
) -> TensorT:
    """Make a tensor of a ramp, or of random numbers; sizes may be those of a traced tensor.

    LINSPACE gives ``alpha + sum(beta[i] * index[i])``: a scalar, and a number for each dim, or one
    number where there is one dim; they may be tensors. Its types are FLOAT, INT32 and INT64.

    RANDOM_UNIFORM draws from ``alpha`` to ``beta``, RANDOM_NORMAL around ``alpha`` with the
    standard deviation ``beta``, in FLOAT or HALF. Each run draws other numbers, and an engine
    others than the reference: of two of them, only shape, dtype and distribution are equal. So an
    engine that draws is given out without having been held against its graph.

    >>> fill((2, 2), "LINSPACE", "INT32", alpha=1, beta=(10, 1)).tolist()
    [[1, 2], [11, 12]]
    """
    kind, dtype = (
        member("fill", "op", "FillOperation", op),
        dtype_of("fill", "output_type", output_type),
    )
    sizes = tuple(as_size(size) for size in shape)
    if kind == "LINSPACE":
        start = _numbers("alpha", alpha, dtype)
        steps = _numbers("beta", beta, dtype)
        if not shape_of(steps) and len(sizes) == 1:
            steps = reshape(steps, 1)
        return bind(Ramp(sizes), start, steps)
    low, high = float(alpha), float(beta)
    if (kind == "RANDOM_UNIFORM" and low > high) or (kind == "RANDOM_NORMAL" and high < 0.0):
        raise OptionError(f"fill: {kind} of alpha {low} and beta {high}")
    how = RandomFill(kind, sizes, low, high, dtype)
    how.infer()
    return bind(how)


def _numbers(name: str, given: Any, dtype: torch.dtype) -> TensorT:
    """Return a number, several, or a tensor of them in a dtype that it has."""
    if not isinstance(given, torch.Tensor):
        values = given if isinstance(given, (tuple, list)) else (given,)
        whole = all(float(value).is_integer() for value in values)
        if not whole and not dtype.is_floating_point:
            raise DTypeError(f"fill: expected whole numbers as {name} of {dtype}, got {given}")
        return torch.tensor(given, dtype=dtype)
    if spec_of(given).dtype != dtype:
        raise DTypeError(f"fill: expected {name} of {dtype}, got {spec_of(given)}")
    return tensor_of(given)


def shape(input: TensorT) -> TensorT:
    """Return the sizes of a tensor as a vector of int64, which are int32 inside of 8.6.

    >>> shape(torch.ones(2, 3))
    tensor([2, 3])
    """
    sizes = shape_of(input)
    if all(isinstance(size, int) for size in sizes):
        return torch.tensor(sizes, dtype=torch.int64)
    return bind(ShapeOf(), input)


def assertion(condition: TensorT, message: str) -> TensorT:
    """Require a bool tensor to be True everywhere, and return it.

    TensorRT takes conditions on sizes alone, such as ``elementwise(shape(x), shape(y), "EQUAL")``,
    and checks them when shapes are given; no use of the result is needed. Off TensorRT, the error
    has the message.

    Raises:
        InputError: The condition is known, and False.

    >>> assertion(torch.tensor([True]), "sizes differ")
    tensor([True])
    """
    return bind(Assertion(message), condition)
