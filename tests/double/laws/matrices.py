"""Laws of the layers that contract, reduce or sort along axes."""

from __future__ import annotations

from typing import Any

from tests.double.lab import Lab, put
from tests.double.laws.law import Laws, joined, members, typed

REDUCTIONS = ("SUM", "PROD", "MAX", "MIN", "AVG")


def cumulative(t: Lab, dtype: str) -> Any:
    axis, kind = t.constant(1, "INT32"), t.member("CumulativeOperation", "SUM")
    return t.net.add_cumulative(t.input((2, 3), dtype), axis, kind, False, False)


def ragged(t: Lab, dtype: str) -> Any:
    return t.net.add_ragged_softmax(t.input((1, 2, 3), dtype), t.input((1, 2, 1), "INT32"))


def asserted(t: Lab, dtype: str) -> Any:
    x = t.input((2,), dtype)
    t.net.add_assertion(x, "never")
    return t.net.add_identity(x)


def asserted_size(t: Lab) -> Any:
    x = t.input((-1, 3))
    first = t.net.add_gather(t.net.add_shape(x).get_output(0), t.constant(0, "INT32"), 0)
    fits = t.pair(first.get_output(0), t.constant(9, "INT64"), "LESS").get_output(0)
    t.net.add_assertion(fits, "below nine")
    return t.net.add_identity(x)


LAWS: Laws = joined(
    members("reduce", REDUCTIONS, lambda t, kind, d: t.reduce(t.input((2, 3), d), 2, kind)),
    members("reduce all", REDUCTIONS, lambda t, kind, d: t.reduce(t.input((2, 3), d), 3, kind)),
    members("reduce vector", REDUCTIONS, lambda t, kind, d: t.reduce(t.input((3,), d), 1, kind)),
    typed("matmul", lambda t, d: t.matmul(t.input((2, 3), d), t.input((3, 4), d))),
    typed(
        "matmul transposed",
        lambda t, d: t.matmul(t.input((2, 3), d), t.input((4, 3), d), second="TRANSPOSE"),
    ),
    typed(
        "matmul vector",
        lambda t, d: t.matmul(t.input((2, 3), d), t.input((3,), d), second="VECTOR"),
    ),
    typed(
        "einsum",
        lambda t, d: t.net.add_einsum([t.input((2, 3), d), t.input((3, 4), d)], "ij,jk->ik"),
    ),
    typed("softmax", lambda t, d: put(t.net.add_softmax(t.input((2, 3), d)), axes=2)),
    typed("ragged softmax", ragged),
    typed("topk 1", lambda t, d: t.topk(t.input((2, 5), d), 1, 2)),
    typed("topk 3", lambda t, d: t.topk(t.input((2, 5), d), 3, 2)),
    typed("topk first axis", lambda t, d: t.topk(t.input((5, 2), d), 3, 1)),
    typed("topk 3840", lambda t, d: t.topk(t.input((2, 5000), d), 3840, 2)),
    typed(
        "topk by an input",
        lambda t, d: put(t.topk(t.input((2, 5), d), 1, 2), input1=t.constant(2, "INT32")),
    ),
    typed("cumulative", cumulative),
    typed("assertion of", asserted),
    {"assertion of a size": asserted_size},
)
