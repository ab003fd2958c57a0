"""Laws of the layers that work entry by entry."""

from __future__ import annotations

from typing import Any

from tests.double.lab import TYPES, Lab, put
from tests.double.laws.law import FLOATS, Laws, joined, members, typed

UNARY = (
    "EXP LOG SQRT RECIP ABS NEG SIN COS TAN SINH COSH ASIN ACOS ATAN ASINH ACOSH ATANH CEIL FLOOR "
    "ERF NOT SIGN ROUND ISINF ISNAN"
).split()
ELEMENTWISE = "SUM PROD MAX MIN SUB DIV POW FLOOR_DIV AND OR XOR EQUAL GREATER LESS".split()
PLAIN = "RELU SIGMOID TANH SOFTSIGN GELU_ERF GELU_TANH".split()
WITH_NUMBERS = "LEAKY_RELU ELU SELU SOFTPLUS CLIP HARD_SIGMOID SCALED_TANH THRESHOLDED_RELU".split()


def pair(t: Lab, kind: str, dtype: str, shape: tuple[int, ...]) -> Any:
    return t.pair(t.input(shape, dtype), t.input(shape, dtype), kind)


def activation(t: Lab, kind: str, dtype: str, shape: tuple[int, ...] = (2, 3)) -> Any:
    numbers = {"alpha": 0.5, "beta": 1.0} if kind in WITH_NUMBERS else {}
    return t.activate(t.input(shape, dtype), kind, **numbers)


def scale(t: Lab, mode: str, dtype: str) -> Any:
    shape = {"UNIFORM": (), "CHANNEL": (4,), "ELEMENTWISE": (4, 3, 3)}[mode]
    three = [t.weights(shape, dtype) for _ in range(3)]
    return t.net.add_scale(t.input((1, 4, 3, 3), dtype), t.member("ScaleMode", mode), *three)


def prelu(t: Lab, dtype: str) -> Any:
    return t.net.add_parametric_relu(t.input((1, 4, 2), dtype), t.input((1, 4, 1), dtype))


def select(t: Lab, dtype: str) -> Any:
    return t.net.add_select(t.input((4,), "BOOL"), *t.inputs(2, (4,), dtype))


def select_by(t: Lab, dtype: str) -> Any:
    return t.net.add_select(t.input((4,), dtype), *t.inputs(2, (4,)))


def cast(t: Lab, source: str, to: str) -> Any:
    return t.net.add_cast(t.input((2, 3), source), t.type(to.removeprefix("to ")))


def quantize(t: Lab, dtype: str, of_scale: str = "") -> Any:
    factor = t.constant(0.5, of_scale or (dtype if dtype in FLOATS else "FLOAT"))
    return t.net.add_quantize(t.input((2, 3), dtype), factor, t.type("INT8"))


def dequantize(t: Lab, dtype: str, of_scale: str = "FLOAT") -> Any:
    factor = t.constant(0.5, of_scale)
    return t.net.add_dequantize(t.input((2, 3), dtype), factor, t.type(of_scale))


def around(t: Lab, dtype: str) -> Any:
    """Quantize and dequantize, as a model holds them."""
    inner = quantize(t, dtype).get_output(0)
    return t.net.add_dequantize(inner, t.constant(0.5, dtype), t.type(dtype))


LAWS: Laws = joined(
    members("unary", UNARY, lambda t, kind, d: t.unary(t.input((2, 3), d), kind)),
    members(
        "unary scalar",
        ("EXP", "SQRT", "ABS", "NEG", "SIGN", "NOT", "ISNAN"),
        lambda t, kind, d: t.unary(t.input((), d), kind),
    ),
    members("elementwise", ELEMENTWISE, lambda t, kind, d: pair(t, kind, d, (2, 3))),
    members("elementwise scalar", ("SUM",), lambda t, kind, d: pair(t, kind, d, ())),
    members("activation", (*PLAIN, *WITH_NUMBERS), activation),
    members(
        "activation scalar", ("RELU", "TANH", "CLIP"), lambda t, kind, d: activation(t, kind, d, ())
    ),
    members(
        "activation by default",
        WITH_NUMBERS,
        lambda t, kind, d: t.activate(t.input((2,), d), kind),
        ("FLOAT",),
    ),
    members("scale", ("UNIFORM", "CHANNEL", "ELEMENTWISE"), scale),
    members("cast", TYPES, cast, [f"to {dtype}" for dtype in TYPES]),
    typed("prelu", prelu),
    typed("select", select),
    typed("select by", select_by),
    typed("identity", lambda t, d: t.net.add_identity(t.input((2, 3), d))),
    typed("lrn", lambda t, d: t.net.add_lrn(t.input((1, 4, 3, 3), d), 3, 1e-4, 0.75, 1.0)),
    typed("quantize", quantize),
    typed("quantize by FLOAT", lambda t, d: quantize(t, d, "FLOAT"), ("HALF", "BF16")),
    typed("quantize and dequantize", around, FLOATS),
    typed("dequantize", dequantize),
    typed("dequantize by", lambda t, d: dequantize(t, "INT8", d), ("HALF", "BF16", "INT32")),
    {
        "quantized sum": lambda t: t.pair(around(t, "HALF").get_output(0), t.input((2, 3), "HALF")),
        "quantized constant": lambda t: put(
            t.net.add_dequantize(t.constant([[1, 2]], "INT8"), t.constant(0.5), t.type("FLOAT"))
        ),
    },
)
