"""Layers that look at one entry at a time."""

from __future__ import annotations

import math
from typing import Any

import torch

from trtnn.errors import DTypeError, OptionError, ShapeError
from trtnn.nvinfer.members import dtype_of, member, require_rank
from trtnn.ops.arithmetic import Elementwise, Select, logical_not
from trtnn.ops.arithmetic import cast as converted
from trtnn.ops.gates import ParametricRelu
from trtnn.ops.movement import reshape
from trtnn.ops.op import TensorT, axis_of, bind, require_float, shape_of, spec_of
from trtnn.ops.pointwise import Activation, Gelu, relu
from trtnn.ops.responses import LocalResponse
from trtnn.ops.shaping import Scale
from trtnn.ops.unary import unary as unary_of
from trtnn.sizes.dims import Size, product

NEEDS: dict[str, tuple[str, ...]] = {
    "LEAKY_RELU": ("alpha",),
    "ELU": ("alpha",),
    "THRESHOLDED_RELU": ("alpha",),
    **dict.fromkeys(("SELU", "SOFTPLUS", "CLIP", "HARD_SIGMOID", "SCALED_TANH"), ("alpha", "beta")),
}
WHOLE = frozenset({"ABS", "NEG", "SIGN"})


def activation(
    input: TensorT, type: Any, *, alpha: float | None = None, beta: float | None = None
) -> TensorT:
    """Apply a function of ``ActivationType`` to every entry of a float tensor.

    ``alpha`` and ``beta`` have no defaults that TensorRT documents, so those that a type uses must
    be given: LEAKY_RELU ``x >= 0 ? x : alpha * x``, ELU ``x >= 0 ? x : alpha * (exp(x) - 1)``,
    SELU ``beta * (x > 0 ? x : alpha * exp(x) - alpha)``, SOFTPLUS
    ``alpha * log(exp(beta * x) + 1)``, CLIP ``max(alpha, min(beta, x))``, HARD_SIGMOID
    ``max(0, min(1, alpha * x + beta))``, SCALED_TANH ``alpha * tanh(beta * x)`` and
    THRESHOLDED_RELU ``x > alpha ? x : 0``. RELU takes
    integers too. 8.6 has no GELU_ERF and GELU_TANH: they are composed there.

    Raises:
        OptionError: An unknown type, a parameter that is missing, not used, or not finite.

    >>> activation(torch.tensor([-2.0, 1.0]), "LEAKY_RELU", alpha=0.5)
    tensor([-1.,  1.])
    """
    kind = member("activation", "type", "ActivationType", type)
    given = {name: x for name, x in (("alpha", alpha), ("beta", beta)) if x is not None}
    if tuple(given) != NEEDS.get(kind, ()) or not all(map(math.isfinite, given.values())):
        wanted = " and ".join(NEEDS.get(kind, ())) or "neither alpha nor beta"
        raise OptionError(f"activation: {kind} takes {wanted}, all finite; got {given}")
    low, high = (float(given.get(name, 0.0)) for name in ("alpha", "beta"))
    if kind == "CLIP" and low > high:
        raise OptionError(f"activation: CLIP to {low} to {high}: alpha is above beta")
    if kind.startswith("GELU"):
        return bind(Gelu("tanh" if kind == "GELU_TANH" else "none"), input)
    if kind == "RELU":
        return relu(input)
    return bind(Activation(kind, low, high), input)


def unary(input: TensorT, op: Any) -> TensorT:
    """Apply a function of ``UnaryOperation`` to every entry.

    ABS, NEG and SIGN take integers too, NOT takes bools, all others floats; ISINF and ISNAN give
    bools. ROUND rounds half to even. ISNAN is composed on 8.6, which lacks it.

    >>> unary(torch.tensor([0.5, 1.5]), "ROUND")
    tensor([0., 2.])
    """
    kind, dtype = member("unary", "op", "UnaryOperation", op), spec_of(input).dtype
    if kind == "NOT":
        if dtype != torch.bool:
            raise DTypeError(f"unary: NOT takes bools, got {dtype}")
        return logical_not(input)
    if kind not in WHOLE or dtype == torch.bool:
        require_float(f"unary {kind}", spec_of(input))
    return unary_of(kind, input)


def elementwise(input1: TensorT, input2: TensorT, op: Any) -> TensorT:
    """Combine two tensors of one dtype and rank entry by entry; dims are equal, or 1.

    AND, OR and XOR take bools, POW takes floats, all others numbers; EQUAL, GREATER and LESS give
    bools. DIV of integers rounds towards 0, FLOOR_DIV down.

    Raises:
        ShapeError: The ranks differ: TensorRT puts no dims in front, as PyTorch does.

    >>> elementwise(torch.tensor([-7]), torch.tensor([2]), "DIV")
    tensor([-3])
    """
    kind = member("elementwise", "op", "ElementWiseOperation", op)
    require_rank("elementwise", input1, input2)
    if kind == "POW":
        require_float("elementwise POW", spec_of(input1), spec_of(input2))
    return bind(Elementwise(kind), input1, input2)


def select(condition: TensorT, then_input: TensorT, else_input: TensorT) -> TensorT:
    """Take ``then_input`` where a bool condition holds, ``else_input`` elsewhere.

    All three have one rank, and dims that are equal, or 1; the last two have one dtype.
    """
    require_rank("select", condition, then_input, else_input)
    return bind(Select(), condition, then_input, else_input)


def cast(input: TensorT, to_type: Any) -> TensorT:
    """Convert to a member of ``DataType``, or to a ``torch.dtype``.

    Floats become integers towards 0, numbers become bools by whether they are 0.

    >>> cast(torch.tensor([1.9, -1.9]), "INT32")
    tensor([ 1, -1], dtype=torch.int32)
    """
    return converted(input, dtype_of("cast", "to_type", to_type))


def parametric_relu(input: TensorT, slopes: TensorT) -> TensorT:
    """Scale negative entries by slopes of the input's rank, which broadcast to it.

    >>> parametric_relu(torch.tensor([[-2.0, 2.0]]), torch.tensor([[0.5, 0.5]]))
    tensor([[-1.,  2.]])
    """
    return bind(ParametricRelu(), input, slopes)


def scale(
    input: TensorT,
    mode: Any,
    shift: TensorT | None = None,
    scale: TensorT | None = None,
    power: TensorT | None = None,
) -> TensorT:
    """Compute ``(x * scale + shift) ** power``, as ``scale_nd`` with channel axis 1.

    >>> scale(torch.ones(1, 1, 2), "UNIFORM", torch.tensor([1.0]), torch.tensor([2.0]))
    tensor([[[3., 3.]]])
    """
    return scale_nd(input, mode, shift, scale, power, 1)


def scale_nd(
    input: TensorT,
    mode: Any,
    shift: TensorT | None = None,
    scale: TensorT | None = None,
    power: TensorT | None = None,
    channel_axis: int = 1,
) -> TensorT:
    """Compute ``(x * scale + shift) ** power`` on 3 dims or more.

    Each coefficient has one entry where ``mode`` is UNIFORM, one for each channel where it is
    CHANNEL, and one for each entry from ``channel_axis`` on where it is ELEMENTWISE; one that is
    missing changes nothing. They are weights of the layer where they are known, and layers of
    their own where they are computed.

    >>> scale_nd(torch.ones(1, 2, 1), "CHANNEL", scale=torch.tensor([2.0, 3.0]))
    tensor([[[2.],
             [3.]]])
    """
    kind, shape = member("scale", "mode", "ScaleMode", mode), shape_of(input)
    if len(shape) < 3:
        raise ShapeError(f"scale: expected 3 dims or more, got {spec_of(input)}")
    axis = axis_of("scale", channel_axis, len(shape))
    after: tuple[Size, ...] = {
        "UNIFORM": (1,) * (len(shape) - axis),
        "CHANNEL": (shape[axis], *(1,) * (len(shape) - axis - 1)),
        "ELEMENTWISE": shape[axis:],
    }[kind]
    wide = (*(1,) * axis, *after)

    given = {"shift": shift, "scale": scale, "power": power}
    operands = {name: t for name, t in given.items() if t is not None}
    for name, coefficient in operands.items():
        if product(shape_of(coefficient)) != product(wide):
            raise ShapeError(
                f"scale: expected {product(wide)} entries of {name}, got {spec_of(coefficient)}"
            )
    shaped = (reshape(coefficient, wide) for coefficient in operands.values())
    return bind(Scale(kind, axis, tuple(operands)), input, *shaped)


def lrn(input: TensorT, window: int, alpha: float, beta: float, k: float) -> TensorT:
    """Compute ``x / (k + alpha / window * sum of squares) ** beta`` over channels of (N, C, H, W).

    ``window`` channels around each are added, an odd number up to 15.

    >>> lrn(torch.ones(1, 1, 1, 1), 1, 3.0, 0.5, 1.0)
    tensor([[[[0.5000]]]])
    """
    spec = spec_of(input)
    if spec.rank != 4 or window not in range(1, 16, 2):
        raise ShapeError(
            f"lrn: expected (N, C, H, W) and an odd window from 1 to 15, got {spec} and {window}"
        )
    return bind(LocalResponse(window, float(alpha), float(beta), float(k)), input)
