"""Laws of the layers that move or join entries."""

from __future__ import annotations

from typing import Any

from tests.double.lab import Lab, put
from tests.double.laws.law import Laws, joined, members, typed

MODES = ("STRICT_BOUNDS", "WRAP", "CLAMP", "FILL", "REFLECT")


def beyond(t: Lab, mode: str, dtype: str) -> Any:
    """Slice from before an axis to after it."""
    layer = t.net.add_slice(t.input((8,), dtype), (-2,), (12,), (1,))
    return put(layer, mode=t.member("SampleMode", mode))


def filled(t: Lab, dtype: str) -> Any:
    return put(beyond(t, "FILL", dtype), input4=t.constant(1, dtype))


def filled_by_input(t: Lab, dtype: str) -> Any:
    return put(beyond(t, "FILL", dtype), input4=t.input((), dtype))


def axes(t: Lab, method: str, shape: tuple[int, ...], dtype: str, axis: int) -> Any:
    given = t.constant([axis], "INT64")
    return getattr(t.net, method)(t.input(shape, dtype), given)


def reverse(t: Lab, dtype: str) -> Any:
    return t.net.add_reverse_sequence(t.input((4, 2, 3), dtype), t.input((2,), "INT32"))


LAWS: Laws = joined(
    typed("concat", lambda t, d: put(t.net.add_concatenation(t.inputs(2, (2, 3), d)), axis=1)),
    typed("shuffle", lambda t, d: t.shuffle(t.input((2, 3), d), first_transpose=(1, 0))),
    typed("reshape", lambda t, d: t.shuffle(t.input((2, 3), d), reshape_dims=(3, -1))),
    typed(
        "reshape by a tensor",
        lambda t, d: t.shuffle(t.input((2, 3), d), input1=t.constant([3, 2], "INT64")),
    ),
    typed("slice", lambda t, d: t.net.add_slice(t.input((8,), d), (1,), (4,), (1,))),
    typed("slice back", lambda t, d: t.net.add_slice(t.input((8,), d), (7,), (8,), (-1,))),
    typed(
        "slice stride 0", lambda t, d: t.net.add_slice(t.input((4, 1), d), (0, 0), (4, 3), (1, 0))
    ),
    members("slice", MODES, beyond),
    typed("slice FILL value", filled),
    typed("slice FILL input", filled_by_input),
    {
        "slice FILL value of another type": lambda t: put(
            beyond(t, "FILL", "FLOAT"), input4=t.constant(1, "HALF")
        ),
    },
    typed("squeeze", lambda t, d: axes(t, "add_squeeze", (2, 1, 3), d, 1)),
    typed("unsqueeze", lambda t, d: axes(t, "add_unsqueeze", (2, 3), d, 1)),
    typed("reverse sequence", reverse),
    typed("padding", lambda t, d: t.net.add_padding_nd(t.input((1, 2, 4, 4), d), (1, 0), (0, 2))),
)
