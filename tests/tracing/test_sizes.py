"""Symbolic sizes: what torch and Python do with ``x.shape``, and how comparisons are decided."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy
import pytest
import torch

import trtnn
from tests.tracing.traced import X, check, refused
from trtnn import Dim, Input, TraceError, trace
from trtnn.sizes.dims import evaluate

F = torch.nn.functional

SIZES: dict[str, Callable[[torch.Tensor], Any]] = {
    "zeros": lambda x: torch.zeros(x.shape[0], 2) + 1,
    "zeros of a shape": lambda x: torch.zeros(x.shape) + 1,
    "zeros by name": lambda x: torch.zeros(size=(x.shape[0], 2)),
    "new_zeros": lambda x: x.new_zeros(x.shape[0], 2),
    "ones_like": lambda x: torch.ones_like(x),
    "arange": lambda x: torch.arange(x.shape[0]) * 2,
    "expand": lambda x: torch.ones(1, 2, 2).expand(x.shape[0], -1, -1) + 0,
    "view": lambda x: x.view(x.shape[0], -1),
    "view deeper": lambda x: x.view(x.shape[0], -1, 2),
    "slice": lambda x: x[:, : x.shape[0]],
    "slice half": lambda x: x[: x.shape[0] // 2],
    "pad": lambda x: F.pad(x, (0, x.shape[0])),
    "split": lambda x: x.split(4, 1),
    "numel": lambda x: x.reshape(x.numel()),
    "math.prod": lambda x: x.reshape(math.prod(x.shape)),
    "sum": lambda x: torch.zeros(sum(x.shape)),
    "sym_max": lambda x: torch.zeros(torch.sym_max(x.shape[0], 4)),
    "sym_min": lambda x: torch.zeros(torch.sym_min(x.shape[0], 4)),
    "max decided": lambda x: torch.zeros(max(x.shape[0], 1)),
    "broadcast_shapes": lambda x: torch.zeros(torch.broadcast_shapes(x.shape, (1, 6))),
    "math.ceil": lambda x: torch.zeros(math.ceil(x.shape[0] / 2)),
    "math.floor": lambda x: torch.zeros(math.floor(x.shape[0] / 3)),
    "math.trunc": lambda x: torch.zeros(math.trunc(x.shape[0] / 2)),
    "trunc below 0": lambda x: torch.zeros(9 + math.trunc((x.shape[0] - 9) / 2)),
    "sym_int": lambda x: torch.zeros(torch.sym_int(x.shape[0] * 0.5)),
    "remainder": lambda x: torch.zeros(x.shape[0] % 7),
    "power": lambda x: torch.zeros(x.shape[0] ** 2),
    "negative": lambda x: torch.zeros(-x.shape[0] + 9),
    "reversed minus": lambda x: torch.zeros(10 - x.shape[0]),
    "reversed floor division": lambda x: torch.zeros(10 // x.shape[0]),
    "abs": lambda x: torch.zeros(abs(x.shape[0] - 3)),
    "shifts": lambda x: torch.zeros((x.shape[0] << 2) >> 1),
    "size plus tuple": lambda x: torch.zeros(x.shape[:-1] + (3,)),  # noqa: RUF005 - this very sum
    "times a size": lambda x: x * x.shape[0],
    "over a size": lambda x: x / x.shape[0],
    "plus half a size": lambda x: x + x.shape[0] * 0.5,
    "clamp": lambda x: x.clamp(max=x.shape[0]),
    "len of static": lambda x: x * len(x.t()),
    "iterate static": lambda x: [row * 2 for row in x.t()],
    "formatted": lambda x: (x + 1, f"{x.shape[0]} {x}")[0],
    "floor of 0.7": lambda x: torch.zeros(math.floor(x.shape[0] * 0.7)),
    "sym_int of 0.7": lambda x: torch.zeros(torch.sym_int(x.shape[0] * 0.7)),
    "ceil of 0.6": lambda x: torch.zeros(math.ceil(x.shape[0] * 0.6)),
    "round": lambda x: torch.zeros(round(x.shape[0] / 2)),
    "round of 0.3": lambda x: torch.zeros(round(x.shape[0] * 0.3)),
    "over 3 times 3": lambda x: torch.zeros(math.floor(x.shape[0] / 3 * 3)),
    "root": lambda x: x * x.shape[0] ** 0.5,
    "math.sqrt": lambda x: x / math.sqrt(x.shape[0]),
    "math.log": lambda x: x * math.log(x.shape[0]),
    "one root over another": lambda x: x * (1 / math.sqrt(x.shape[0] + 1)),
    "over a float": lambda x: x / (x.shape[0] - 1 + 1e-5),
    "over itself": lambda x: x * (x.shape[0] / (x.shape[0] + 1)),
    "root of what is left": lambda x: x[:, :1] * (x.shape[0] % 3 + 0.5) ** -0.5,
    "returned": lambda x: (x.shape[0], x.shape[0] * 2, x + 1),
}


@pytest.mark.parametrize("name", SIZES)
@pytest.mark.parametrize("size", [2, 5, 8])
def test_symbolic_sizes(name: str, size: int) -> None:
    check(SIZES[name], size=size)


DECIDED: dict[str, tuple[Callable[[Any], Any], bool]] = {
    "above 1": (lambda s: s > 1, True),
    "at least 2": (lambda s: s >= 2, True),
    "not 0": (lambda s: s != 0, True),
    "truth": (lambda s: s, True),
    "negated": (lambda s: not s, False),
    "above 8": (lambda s: s > 8, False),
    "chained": (lambda s: 1 < s < 9, True),
    "itself": (lambda s: s * 2 // 2 == s, True),
    "half": (lambda s: s / 2 <= 4, True),
    "in a tuple": (lambda s: s in (0, 1), False),
}


@pytest.mark.parametrize("name", DECIDED)
def test_a_comparison_that_the_range_decides_is_answered(name: str) -> None:
    ask, answer = DECIDED[name]
    graph = trace(lambda x: x * 2 if ask(x.shape[0]) else x + 1, [X])
    assert graph.assumptions == ()
    assert (graph.nodes[0].op.kind == "PROD") == answer  # type: ignore[attr-defined]


REFUSED: dict[str, tuple[Callable[[torch.Tensor], Any], str]] = {
    "greater": (lambda x: x if x.shape[0] > 5 else -x, "cannot decide seq > 5: seq is 2 to 8"),
    "equal": (lambda x: x if x.shape[0] == 3 else -x, "cannot decide seq == 3: seq is 2 to 8"),
    "shapes": (lambda x: x if x.shape == (3, 6) else -x, "cannot decide seq == 3"),
    "half": (lambda x: x if x.shape[0] / 2 > 2.5 else -x, "cannot decide 2*seq > 10"),
    "max": (lambda x: torch.zeros(max(x.shape[0], 4)), "torch.sym_max"),
    "min": (lambda x: torch.zeros(min(x.shape)), "cannot decide seq > 6"),
    "int": (lambda x: torch.zeros(int(x.shape[0])), "symbolic size seq, which is 2 to 8"),
    "int of half": (lambda x: torch.zeros(int(x.shape[0] * 0.5)), "s // 2, torch.sym_int"),
    "float": (lambda x: x * float(x.shape[0]), "symbolic size seq"),
    "range": (lambda x: [x for _ in range(x.shape[0])], "range()"),
    "Size.numel": (lambda x: x.reshape(x.shape.numel()), "symbolic size seq"),
    "len": (lambda x: x * len(x), "symbolic size seq"),
    "iterate": (lambda x: list(x), "seq"),
    "split in unknown": (lambda x: x.split(2, 0), "not known"),
    "bits": (lambda x: torch.zeros(x.shape[0] & 1), "bitwise_and of the symbolic size"),
    "divmod": (lambda x: torch.zeros(divmod(x.shape[0], 2)[0]), "SymInt"),
    "sym_ite": (lambda x: x * torch.sym_ite(x.shape[0] > 1, 1, 2), "SymNode"),
    "as a key": (lambda x: {x.shape[0]: x}, "SymInt"),
    "by turns": (lambda x: x if round(x.shape[0] * 0.3) / 2 == 0.5 else -x, "cannot decide"),
    "NumPy's": (lambda x: x * numpy.sqrt(x.shape[0]), "math.sqrt(size), size ** 0.5"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_a_symbolic_size_cannot_do_is_refused_at_its_line(name: str) -> None:
    refused(*REFUSED[name])


N = Dim("n", 1, 4, 8)
M = Dim("m", 1, 4, 8)
WIDE = Dim("wide", 1, 4, 100_000)


def compiled(function: Callable[..., Any], *dims: Dim) -> Any:
    return trtnn.compile(function, inputs=[Input((*dims, 3))], backend="reference")


def test_a_comparison_with_1_is_answered_for_the_general_size_and_recorded() -> None:
    graph = trace(lambda x: x * 2 if x.shape[0] > 1 else x, [Input((N, 3))])
    (assumption,) = graph.assumptions
    assert assumption.question == "n > 1" and assumption.answer
    assert "n > 1 is True (at test_sizes.py" in str(graph)


def asks_twice(x: torch.Tensor) -> torch.Tensor:
    if x.shape[0] != 1:
        return x * 1
    return x * 1 if x.shape[1] != 1 else x + 1


def special_only_at_one(x: torch.Tensor) -> torch.Tensor:
    if x.shape[0] == 1:
        raise ValueError("one is not enough")
    return x


HARMLESS: dict[str, tuple[Callable[..., Any], tuple[Dim, ...]]] = {
    "same sum": (lambda x: x.sum(0) if x.shape[0] > 1 else x[0], (N,)),
    "of a float": (lambda x: x * 2 if x.shape[0] * 0.3 > 0.3 else x + x, (N,)),
    "two Dims": (lambda x: x * 2 if x.shape[0] != 1 and x.shape[1] != 1 else x + x, (N, M)),
    "far away": (lambda x: x * 2 if x.shape[0] - 50_000 != 0 else x + x, (WIDE,)),
}
RESTRICTING: dict[str, tuple[Callable[..., Any], tuple[Dim, ...], str]] = {
    "another value": (lambda x: x + 1 if x.shape[0] > 1 else x, (N,), "where n is 1: n > 1"),
    "only where both are 1": (asks_twice, (N, M), "where n is 1 and m is 1"),
    "zero": (lambda x: x.mean(0) if x.shape[0] > 0 else x.sum(0), (Dim("z", 0, 2, 4),), "z is 0"),
    "far away": (lambda x: x if x.shape[0] - 50_000 != 0 else -x, (WIDE,), "wide is 50000"),
    "odd": (lambda x: x if x.shape[0] % 2 else -x, (WIDE,), "False at wide = 2, wide = 4, wide"),
    "an error": (special_only_at_one, (N,), "ValueError('one is not enough') where n is 1"),
    "product": (
        lambda x: x if x.shape[0] * x.shape[1] != 1 else -x,
        (N, M),
        "where m is 1 and n is 1",
    ),
    "too many": (lambda x: x if x.shape[0] - 5 > 0 else -x, (WIDE,), "cannot decide"),
    "too many to try": (
        lambda x: x if x.shape[0] ** 2 % 49_999 != 0 else -x,
        (WIDE,),
        "too many sizes would have to be tried",
    ),
    "rarely": (lambda x: x if x.shape[0] % 50_000 != 0 else -x, (WIDE,), "wide is 50000"),
    "data": (lambda x: x if x.nonzero().shape[0] > 0 else -x, (N,), "cannot decide nonzero_0"),
}


@pytest.mark.filterwarnings("ignore::trtnn.AssumptionWarning")
@pytest.mark.parametrize("name", HARMLESS)
def test_an_assumption_that_changes_nothing_restricts_nothing(name: str) -> None:
    function, dims = HARMLESS[name]
    model = compiled(function, *dims)
    assert model.graph.assumptions
    x = torch.randn(*(1 for _ in dims), 3)
    torch.testing.assert_close(model(x), function(x))


@pytest.mark.parametrize("name", RESTRICTING)
def test_an_assumption_that_changes_the_result_is_an_error(name: str) -> None:
    function, dims, text = RESTRICTING[name]
    with pytest.raises(TraceError) as caught:
        compiled(function, *dims)
    # The message alone: the source line below it quotes this table.
    assert text in caught.value.message and "test_sizes.py" in str(caught.value)
    assert "cannot decide" in caught.value.message or "declare Dim(" in str(caught.value)


ONE = Dim("one", 1, 1, 1)


def test_a_dim_of_one_size_is_that_size() -> None:
    graph = trace(lambda x, y: x + y, [Input((ONE, 3)), Input((N, 3))])
    assert str(graph.inputs[0].spec) == "(1, 3) float32" and graph.dims == (N,)
    graph = trace(lambda x, n: x + torch.zeros(n, 3), [Input((N, 3)), Input(ONE, host=True)])
    assert str(graph.outputs[0].spec) == "(n, 3) float32"


def test_pythons_functions_are_themselves_after_a_trace() -> None:
    before = math.sqrt
    trace(lambda x: x * math.sqrt(x.shape[0]) * math.sqrt(4), [X])
    assert math.sqrt is before


def test_a_size_is_one_torch_accepts_everywhere() -> None:
    def forward(x: torch.Tensor) -> torch.Tensor:
        assert isinstance(x.shape[0], torch.SymInt) and isinstance(x.shape, torch.Size)
        return x

    (value,) = trace(forward, [X]).outputs
    assert evaluate(value.spec.shape[0], {"seq": 3}) == 3
