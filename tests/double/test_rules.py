"""Rows that show what each layer of the double takes and what it refuses."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.double import Violation
from tests.double.lab import VERSIONS, Lab, put

ROWS: list[tuple[str, Callable[[Lab], Any], Any]] = [
    ("unary", lambda t: t.unary(t.input((2, 3)), "EXP"), (2, 3)),
    ("unary scalar 8.6", lambda t: t.unary(t.input(()), "EXP"), {"8.6": None, "10": (), "11": ()}),
    ("unary int", lambda t: t.unary(t.input((2,), "INT32"), "EXP"), None),
    ("abs int", lambda t: t.unary(t.input((2,), "INT32"), "ABS"), {"8.6": None, "10": (2,)}),
    ("not", lambda t: t.unary(t.input((2,), "BOOL"), "NOT"), (2,)),
    ("not float", lambda t: t.unary(t.input((2,)), "NOT"), None),
    ("relu", lambda t: t.activate(t.input((2,)), "RELU"), (2,)),
    ("relu int", lambda t: t.activate(t.input((2,), "INT32"), "RELU"), {"8.6": None, "11": (2,)}),
    ("tanh int", lambda t: t.activate(t.input((2,), "INT32"), "TANH"), None),
    ("add", lambda t: t.pair(t.input((2, 1)), t.input((1, 3))), (2, 3)),
    ("add ranks", lambda t: t.pair(t.input((2, 3)), t.input((3,))), None),
    ("add sizes", lambda t: t.pair(t.input((2, 3)), t.input((2, 4))), None),
    ("add bool", lambda t: t.pair(t.input((2,), "BOOL"), t.input((2,), "BOOL")), None),
    ("and bool", lambda t: t.pair(t.input((2,), "BOOL"), t.input((2,), "BOOL"), "AND"), (2,)),
    ("add int float", lambda t: t.pair(t.input((2,), "INT32"), t.input((2,))), None),
    (
        "pow int",
        lambda t: t.pair(t.input((2,), "INT32"), t.input((2,), "INT32"), "POW"),
        {"8.6": None, "10": (2,)},
    ),
    (
        "mixed halves",
        lambda t: t.pair(t.input((2,), "HALF"), t.input((2,))),
        {"8.6": Violation, "10": None, "11": None},
    ),
    ("matmul", lambda t: t.matmul(t.input((5, 2, 3)), t.input((1, 3, 4))), (5, 2, 4)),
    (
        "matmul transposed",
        lambda t: t.matmul(t.input((2, 3)), t.input((4, 3)), second="TRANSPOSE"),
        (2, 4),
    ),
    ("matmul vector", lambda t: t.matmul(t.input((2, 3)), t.input((3,)), second="VECTOR"), (2,)),
    ("matmul vectors", lambda t: t.matmul(t.input((3,)), t.input((3,)), "VECTOR", "VECTOR"), ()),
    ("matmul ranks", lambda t: t.matmul(t.input((5, 2, 3)), t.input((3, 4))), None),
    ("matmul inner", lambda t: t.matmul(t.input((2, 3)), t.input((4, 3))), None),
    ("matmul int", lambda t: t.matmul(*[t.input((3, 3), "INT32")] * 2), None),
    ("reduce", lambda t: t.reduce(t.input((2, 3, 4)), 0b101), (3,)),
    ("reduce keep", lambda t: t.reduce(t.input((2, 3)), 2, keep=True), (2, 1)),
    ("reduce outside", lambda t: t.reduce(t.input((2, 3)), 4), None),
    ("reduce nothing", lambda t: t.reduce(t.input((2, 3)), 0), None),
    (
        "reduce average int",
        lambda t: t.reduce(t.input((2, 3), "INT32"), 1, "AVG"),
        {"10": None, "11": (3,)},
    ),
    ("softmax", lambda t: put(t.net.add_softmax(t.input((2, 3))), axes=2), (2, 3)),
    ("softmax two axes", lambda t: put(t.net.add_softmax(t.input((2, 3))), axes=3), None),
    ("softmax outside", lambda t: put(t.net.add_softmax(t.input((2, 3))), axes=4), None),
    ("top", lambda t: t.topk(t.input((2, 5000)), 3840, 2), (2, 3840)),
    ("top many", lambda t: t.topk(t.input((2, 5000)), 3841, 2), None),
    ("top more than there is", lambda t: t.topk(t.input((2, 5)), 6, 2), None),
    ("top of a vector", lambda t: t.topk(t.input((5,)), 2, 1), None),
    ("concat", lambda t: put(t.net.add_concatenation([t.input((2, 3))] * 2), axis=1), (2, 6)),
    ("concat scalars", lambda t: t.net.add_concatenation([t.input(())] * 2), None),
    (
        "shuffle",
        lambda t: put(t.net.add_shuffle(t.input((2, 3))), reshape_dims=(0, 1, -1)),
        (2, 1, 3),
    ),
    (
        "permute",
        lambda t: put(t.net.add_shuffle(t.input((2, 3, 4))), first_transpose=(2, 0, 1)),
        (4, 2, 3),
    ),
    (
        "reshape volume",
        lambda t: put(t.net.add_shuffle(t.input((2, 3))), reshape_dims=(4, 2)),
        None,
    ),
    (
        "reshape twice free",
        lambda t: put(t.net.add_shuffle(t.input((6,))), reshape_dims=(-1, -1)),
        None,
    ),
    (
        "reshape of nothing",
        lambda t: put(t.net.add_shuffle(t.input((0, 4))), reshape_dims=(2, -1)),
        (2, 0),
    ),
    (
        "reshape of nothing, free beside nothing",
        lambda t: put(t.net.add_shuffle(t.input((0, 4))), reshape_dims=(0, -1)),
        None,
    ),
    ("slice", lambda t: t.net.add_slice(t.input((8,)), (7,), (8,), (-1,)), (8,)),
    ("slice outside", lambda t: t.net.add_slice(t.input((8,)), (1,), (8,), (1,)), None),
    (
        "slice wrapped",
        lambda t: put(t.net.add_slice(t.input((8,)), (1,), (8,), (1,)), mode=t.trt.SampleMode.WRAP),
        (8,),
    ),
    ("gather", lambda t: t.net.add_gather(t.input((5, 3)), t.input((2, 2), "INT32"), 0), (2, 2, 3)),
    ("gather float", lambda t: t.net.add_gather(t.input((5, 3)), t.input((2,)), 0), None),
    ("constant volume", lambda t: t.net.add_constant((3,), t.weights((2,))), None),
    ("constant empty", lambda t: t.net.add_constant((0,), t.weights((0,))), None),
    (
        "select",
        lambda t: t.net.add_select(t.input((1,), "BOOL"), t.input((4,)), t.input((1,))),
        (4,),
    ),
    (
        "select bool",
        lambda t: t.net.add_select(*[t.input((4,), "BOOL")] * 3),
        {"8.6": None, "10": (4,)},
    ),
    ("select int", lambda t: t.net.add_select(*[t.input((4,), "INT32")] * 3), None),
    (
        "conv",
        lambda t: t.convolve(t.input((1, 4, 9, 9)), t.weights((8, 4, 3, 3)), stride_nd=(2, 2)),
        (1, 8, 4, 4),
    ),
    (
        "conv groups",
        lambda t: t.convolve(t.input((1, 4, 9, 9)), t.weights((8, 2, 3, 3)), num_groups=2),
        (1, 8, 7, 7),
    ),
    ("conv count", lambda t: t.convolve(t.input((1, 4, 9, 9)), t.weights((8, 3, 3, 3))), None),
    ("conv layout", lambda t: t.convolve(t.input((1, 4, 9, 9)), t.weights((4, 8, 3, 3))), None),
    ("conv rank", lambda t: t.convolve(t.input((4, 9, 9)), t.weights((8, 4, 3, 3))), None),
    (
        "conv dynamic channels",
        lambda t: t.convolve(t.input((1, -1, 9, 9)), t.weights((8, 4, 3, 3))),
        None,
    ),
    ("conv too small", lambda t: t.convolve(t.input((1, 4, 2, 9)), t.weights((8, 4, 3, 3))), None),
    (
        "pool",
        lambda t: t.net.add_pooling_nd(t.input((1, 4, 9, 9)), t.trt.PoolingType.MAX, (2, 2)),
        (1, 4, 8, 8),
    ),
    ("einsum", lambda t: t.net.add_einsum([t.input((2, 3)), t.input((3, 4))], "ij,jk->ik"), (2, 4)),
    ("einsum diagonal", lambda t: t.net.add_einsum([t.input((3, 3))], "ii->i"), None),
    ("shape of", lambda t: t.net.add_shape(t.input((2, -1))), (2,)),
    ("non zero", lambda t: t.net.add_non_zero(t.input((2, 3))), (2, -1)),
    ("cast", lambda t: t.net.add_cast(t.input((2,)), t.trt.int32), (2,)),
    (
        "norm",
        lambda t: t.net.add_normalization(
            t.input((2, 4)), t.constant([[1.0] * 4]), t.constant([[0.0] * 4]), 2
        ),
        (2, 4),
    ),
    (
        "norm half",
        lambda t: t.net.add_normalization(
            t.input((2, 4), "HALF"), t.constant([[1.0] * 4]), t.constant([[0.0] * 4]), 2
        ),
        {"8.6": Violation, "10": None},
    ),
    (
        "resize",
        lambda t: put(t.net.add_resize(t.input((1, 2, 3, 3))), scales=[1, 1, 2, 2]),
        (1, 2, 6, 6),
    ),
    (
        "prelu",
        lambda t: t.net.add_parametric_relu(t.input((1, 4, 2)), t.constant([[[1.0]] * 4])),
        (1, 4, 2),
    ),
    (
        "one hot",
        lambda t: t.net.add_one_hot(
            t.input((2,), "INT32"), t.constant([0.0, 1.0]), t.constant(5, "INT32"), -1
        ),
        (2, 5),
    ),
    (
        "fill",
        lambda t: put(t.net.add_fill((4,), t.trt.FillOperation.LINSPACE), alpha=0.0, beta=1.0),
        (4,),
    ),
]


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(("name", "make", "expected"), ROWS, ids=[row[0] for row in ROWS])
def test_rule(name: str, make: Callable[[Lab], Any], expected: Any, version: str) -> None:
    lab = Lab(version)
    if isinstance(expected, dict):
        expected = expected.get(version, expected.get("10", expected.get("11")))
    if expected is Violation:
        with pytest.raises(Violation):
            made = make(lab)
            made.get_output(0).shape  # noqa: B018
        return
    layer = make(lab)
    if expected is None:
        assert lab.refuses(layer)
        assert lab.lines and lab.lines[-1][0] == "ERROR"
    else:
        assert layer.get_output(0).shape == expected
        assert not lab.lines
