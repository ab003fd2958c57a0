"""Laws of the layers that make tensors: constants, shapes, fills."""

from __future__ import annotations

from typing import Any

from tests.double.lab import Lab, put
from tests.double.laws.law import FLOATS, Laws, joined, members, typed


def constant(t: Lab, dtype: str, shape: tuple[int, ...] = (2, 3)) -> Any:
    return t.net.add_constant(shape, t.weights(shape, dtype))


def used(t: Lab, dtype: str) -> Any:
    """Join a constant to an input."""
    held = constant(t, dtype).get_output(0)
    return put(t.net.add_concatenation([t.input((2, 3), dtype), held]), axis=0)


def fill(t: Lab, kind: str, dtype: str, **numbers: Any) -> Any:
    layer = t.net.add_fill((4,), t.member("FillOperation", kind), t.type(dtype))
    return put(layer, **numbers)


def linspace(t: Lab, dtype: str) -> Any:
    """Count by tensors."""
    return fill(t, "LINSPACE", dtype, input1=t.constant(0, dtype), input2=t.constant([1], dtype))


def ramp(t: Lab, dtype: str) -> Any:
    """Count to a size that is known when it runs."""
    size = t.net.add_shape(t.input((-1,))).get_output(0)
    return put(linspace(t, dtype), input0=size)


def ones(t: Lab, dtype: str) -> Any:
    """Expand a constant to the shape of an input, as a lowering makes zeros."""
    shape = t.net.add_shape(t.input((-1,), "FLOAT")).get_output(0)
    layer = t.net.add_slice(t.constant([1], dtype), (0,), (1,), (0,))
    return put(layer, input2=shape)


LAWS: Laws = joined(
    typed("constant", constant),
    typed("constant scalar", lambda t, d: constant(t, d, ())),
    typed("constant used", used),
    typed(
        "constant cast", lambda t, d: t.net.add_cast(constant(t, d).get_output(0), t.type("FLOAT"))
    ),
    typed("shape of", lambda t, d: t.net.add_shape(t.input((2, 3), d))),
    typed("shape of dynamic", lambda t, d: t.net.add_shape(t.input((-1, 3), d))),
    typed("fill linspace of tensors", linspace),
    typed("fill linspace of a size", ramp),
    typed("fill linspace of numbers", lambda t, d: fill(t, "LINSPACE", d, alpha=0.0, beta=1.0)),
    typed("fill linspace of whole numbers", lambda t, d: fill(t, "LINSPACE", d, alpha=0, beta=1)),
    members(
        "fill",
        ("RANDOM_UNIFORM", "RANDOM_NORMAL"),
        lambda t, kind, d: fill(t, kind, d, alpha=0.0, beta=1.0),
        FLOATS,
    ),
    typed("expanded constant", ones),
)
