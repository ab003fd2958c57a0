"""Laws of the layers that read or write at indices."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tests.double.lab import TYPES, Lab
from tests.double.laws.law import INDICES, Laws, joined, members, typed


def gather(mode: str, shape: tuple[int, ...]) -> Callable[[Lab, str, str], Any]:
    def make(t: Lab, dtype: str, index: str) -> Any:
        kind = t.member("GatherMode", mode)
        return t.net.add_gather_v2(t.input((5, 3), dtype), t.input(shape, index), kind)

    return make


def scatter(
    mode: str, places: tuple[int, ...], values: tuple[int, ...]
) -> Callable[[Lab, str, str], Any]:
    def make(t: Lab, dtype: str, index: str) -> Any:
        operands = t.input((5, 3), dtype), t.input(places, index), t.input(values, dtype)
        return t.net.add_scatter(*operands, t.member("ScatterMode", mode))

    return make


def one_hot(t: Lab, index: str, dtype: str) -> Any:
    operands = t.input((2,), index), t.input((2,), dtype), t.constant(5, "INT32")
    return t.net.add_one_hot(*operands, -1)


def by(name: str, make: Callable[[Lab, str, str], Any]) -> Laws:
    return members(name, TYPES, make, INDICES)


def cast_after(t: Lab) -> Any:
    """Compute in UINT8, and cast at the end."""
    inside = gather("DEFAULT", (2, 2))(t, "UINT8", "INT32").get_output(0)
    return t.net.add_cast(inside, t.type("FLOAT"))


LAWS: Laws = joined(
    by("gather", gather("DEFAULT", (2, 2))),
    by("gather elements", gather("ELEMENT", (2, 3))),
    by("gather nd", gather("ND", (4, 2))),
    by("scatter elements", scatter("ELEMENT", (2, 3), (2, 3))),
    by("scatter nd", scatter("ND", (4, 2), (4,))),
    typed("gather by", lambda t, d: t.net.add_gather(t.input((5, 3)), t.input((2,), d), 0)),
    members("one hot", INDICES, one_hot),
    typed("nonzero", lambda t, d: t.net.add_non_zero(t.input((2, 3), d))),
    {"gather UINT8, then cast": cast_after},
    typed("nonzero as", lambda t, d: t.net.add_non_zero(t.input((2, 3)), t.type(d)), INDICES),
)
