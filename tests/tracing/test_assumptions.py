"""The 0/1 rule on models: what each asked, what was answered, and the second trace's verdict."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import nn

import trtnn
from tests.compare import error, leaves
from tests.shaped import BATCH, SHAPED
from tests.zoo import MODELS
from trtnn import Dim, Input, TraceError, trace
from trtnn.tracing import assumptions, recorder

# The comparison, its answer and the verdict; a model without a row asked nothing.
ASKED: dict[str, list[str]] = {
    "shaped minilm": ["length > 1 is True: the same graph at length = 1"],
    "shaped segformer": [
        "((height + 31)//32)*((width + 31)//32) > 1 is True: "
        "the same graph at height = 32, width = 32"
    ],
    "shaped gpt2": [
        "batch != 1 is True: the same graph at batch = 1 and at batch = 1, length = 1",
        "length > 1 is True: the same graph at length = 1 and at length = 1, batch = 1",
    ],
}
NAMES = [
    *(f"shaped {name}" for name in SHAPED["small"]),
    *(f"zoo {name}" for name in MODELS["small"]),
]


@dataclass(frozen=True)
class Case:
    """A model, its declared inputs, and what was compiled of them."""

    name: str
    module: nn.Module
    inputs: Any
    compiled: Any


def build(name: str) -> tuple[nn.Module, Any]:
    table, model_name = name.split()
    if table == "shaped":
        model = SHAPED["small"][model_name]
        return model.module(), {key: Input(x.shape, x.dtype) for key, x in model.arguments.items()}
    small = MODELS["small"][model_name]
    tensors = small.inputs(2, 1)
    return small.build().eval(), [Input((BATCH, *t.shape[1:]), t.dtype) for t in tensors]


def compiled(module: Callable[..., Any], inputs: Any) -> Any:
    return trtnn.compile(module, inputs=inputs, backend="reference")


@pytest.fixture(scope="module", params=NAMES)
def case(request: pytest.FixtureRequest) -> Case:
    module, inputs = build(request.param)
    return Case(request.param, module, inputs, compiled(module, inputs))


def written(graph: trtnn.Graph) -> list[str]:
    """Return the assumptions as the graph's text has them."""
    lines = graph.text().splitlines()
    return [line.removeprefix("assume ") for line in lines if line.startswith("assume ")]


def test_a_model_asks_what_its_row_says_and_the_second_trace_agrees(case: Case) -> None:
    assert written(case.compiled.graph) == ASKED.get(case.name, [])


@pytest.mark.parametrize("case", ASKED, indirect=True)
def test_a_trace_alone_asks_the_same_and_leaves_the_verdict_open(case: Case) -> None:
    graph = trace(case.module, case.inputs)
    questions = [row.split(":")[0] for row in ASKED[case.name]]
    assert written(graph) == [f"{q}: not verified: trtnn.trace" for q in questions]


@pytest.mark.parametrize("case", ASKED, indirect=True)
def test_special_sizes_equal_eager(case: Case) -> None:
    model = SHAPED["small"][case.name.split()[1]]
    for sizes in itertools.product(*((d.min, d.opt) for d in model.dims)):
        inputs = model.inputs(dict(zip((d.name for d in model.dims), sizes, strict=True)))
        with torch.no_grad():
            expected = list(leaves(case.module(**inputs)))
        for mine, theirs in zip(leaves(case.compiled(**inputs)), expected, strict=True):
            assert error(mine, theirs) <= 1e-4, sizes


def test_both_graphs_run_at_each_special_size(monkeypatch: pytest.MonkeyPatch) -> None:
    shapes = set()

    def run(graph: trtnn.Graph, tensors: list[torch.Tensor], **options: Any) -> Any:
        shapes.add(tuple(tensors[0].shape))
        return original(graph, tensors, **options)

    original = assumptions.run
    monkeypatch.setattr(assumptions, "run", run)
    with pytest.warns(trtnn.AssumptionWarning, match="equal on random inputs at n = 1 .m = 2."):
        compiled(asks_both, [Input((Dim("n", 1, 2, 4), Dim("m", 1, 2, 4), 3))])
    assert shapes == {(1, 2, 3), (2, 1, 3)}  # where both are 1, the special graphs are the same


def other_answer(comparison: str, left: Any, right: Any) -> bool | None:
    """Plant the answer for the special size in place of that for the general one."""
    answer = GENERAL(comparison, left, right)
    return None if answer is None else not answer


GENERAL = recorder.general_answer
N = Dim("n", 1, 2, 4)


def first_or_sum(x: torch.Tensor) -> torch.Tensor:
    return x.sum(0) if x.shape[0] > 1 else x[0]


def test_a_wrong_general_answer_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    inputs = [Input((N, 3))]
    assert written(compiled(first_or_sum, inputs).graph) == [
        "n > 1 is True: the same graph at n = 1"
    ]
    monkeypatch.setattr(recorder, "general_answer", other_answer)
    with pytest.raises(TraceError, match="something else where n is 2: n > 1 is False"):
        compiled(first_or_sum, inputs)


DIFFERENT: dict[str, tuple[Callable[[torch.Tensor], Any], str]] = {
    "values": (lambda x: x if x.shape[0] > 1 else -x, "forward computes something else"),
    "shapes": (lambda x: x if x.shape[0] > 1 else x[0], "forward computes something else"),
    "dtypes": (lambda x: x if x.shape[0] > 1 else x.half(), "forward computes something else"),
    "structures": (lambda x: (x, x) if x.shape[0] > 1 else x, "returns another structure"),
    "numbers": (lambda x: (x, 2 if x.shape[0] > 1 else 3), "returns another value"),
    "sizes": (lambda x: (x, x.shape[0] * 2 if x.shape[0] > 1 else 3), "returns another value"),
    "indices": (
        lambda x: x[torch.tensor([1])] if x.shape[0] > 1 else x,
        "the graph for other sizes raises IndexError",
    ),
}


HIDDEN: dict[str, Callable[[torch.Tensor], Any]] = {
    "what is above 50": lambda x: x.clamp(max=50) if x.shape[0] > 1 else x,
    "what is below -999": lambda x: x.clamp(min=-999) if x.shape[0] > 1 else x,
    "ones": lambda x: (x != 1) * x if x.shape[0] > 1 else x,
}


@pytest.mark.parametrize("name", HIDDEN)
def test_what_differs_rarely_is_found(name: str) -> None:
    with pytest.raises(TraceError, match="computes something else where n is 1"):
        compiled(HIDDEN[name], [Input((N, 3))])


SAME: dict[str, Callable[[torch.Tensor], Any]] = {
    "expanded": lambda x: (
        x + torch.ones(1, 3).expand(x.shape) if x.shape[0] > 1 else x + torch.ones(1, 3)
    ),
    "a slice of everything": lambda x: x[: x.shape[0]] * 2 if x.shape[0] > 1 else x[:1] * 2,
    "a slice, or an item": lambda x: x[:1] * 2 if x.shape[0] > 1 else x[0][None] * 2,
    "reshaped": lambda x: x.view(-1, 3, 1).mT if x.shape[0] > 1 else x.view(1, 1, 3),
    "transposed": lambda x: x.t().sin() if x.shape[0] > 1 else x.view(3, 1).sin(),
    "cast": lambda x: x.float() * 2 if x.shape[0] > 1 else x * 2,
    "counted": lambda x: torch.arange(x.shape[0]) + 0 if x.shape[0] > 1 else torch.tensor([0]),
    "a size": lambda x: (x * 2, x.shape[0] + 1) if x.shape[0] > 1 else (x * 2, 2),
    "averaged": lambda x: x.mean(0) if x.shape[0] > 1 else x[0],
}
ALIKE: dict[str, Callable[[torch.Tensor], Any]] = {
    "other ops": lambda x: x * 2 if x.shape[0] > 1 else x + x,
    "another limit": lambda x: x.clamp(max=1e7) if x.shape[0] > 1 else x,
    "another order": lambda x: x[:, :2] - x[:, 1:] if x.shape[0] > 1 else -(x[:, 1:] - x[:, :2]),
}


@pytest.mark.parametrize("name", SAME)
def test_graphs_that_are_the_same_are_known_to_be(name: str) -> None:
    (text,) = written(compiled(SAME[name], [Input((N, 3))]).graph)
    assert text == "n > 1 is True: the same graph at n = 1"


@pytest.mark.parametrize("name", ALIKE)
def test_graphs_that_give_the_same_on_random_inputs_are_warned_of(name: str) -> None:
    with pytest.warns(trtnn.AssumptionWarning, match="n = 1. The graphs") as caught:
        (text,) = written(compiled(ALIKE[name], [Input((N, 3))]).graph)
    assert text == "n > 1 is True: equal on random inputs at n = 1" and len(caught) == 1
    assert caught[0].filename == __file__


@pytest.mark.parametrize("name", DIFFERENT)
def test_what_differs_is_said(name: str) -> None:
    function, text = DIFFERENT[name]
    with pytest.raises(TraceError) as caught:
        compiled(function, [Input((N, 3))])
    assert text in caught.value.message and "where n is 1: n > 1 is True" in caught.value.message
    assert caught.value.hint == 'declare Dim("n", min=2, ...), or compile n = 1 on its own'


def asks_both(x: torch.Tensor) -> torch.Tensor:
    several, long = bool(x.shape[0] != 1), bool(x.shape[1] != 1)
    return x * 2 if several and long else x + x


SPAN = Dim("span", profiles=[(16, 16, 16), (1, 2, 4)])
ROWS = Dim("rows", profiles=[(1, 1, 1), (4, 4, 8)])
VERDICTS: dict[str, tuple[Callable[[torch.Tensor], Any], tuple[Dim, ...], str]] = {
    "other Dims are those of the same profile": (
        lambda x: x * 2 if x.shape[0] > 1 else x + x,
        (SPAN, ROWS),
        "span > 1 is True: equal on random inputs at span = 1 (rows = 4)",
    ),
    "no profile has the size": (
        lambda x: x * 2 if x.shape[0] - 8 != 0 else x,
        (SPAN,),
        "span - 8 != 0 is True: so at every size in range",
    ),
    "no profile has the sizes together": (
        lambda x: x * 2 if x.shape[0] * x.shape[1] != 1 else x,
        (SPAN, ROWS),
        "rows*span != 1 is True: so at every size in range",
    ),
    "no profile has the sizes that two questions ask about": (
        asks_both,
        (SPAN, ROWS),
        "span != 1 is True: equal on random inputs at span = 1 (rows = 4)",
    ),
    "several sizes": (
        lambda x: x * 2 if x.shape[0] // 2 > 0 else x + x,
        (Dim("z", 0, 2, 4),),
        "z//2 > 0 is True: equal on random inputs at z = 0 and at z = 1",
    ),
}


@pytest.mark.parametrize("name", VERDICTS)
def test_verdicts(name: str) -> None:
    function, dims, text = VERDICTS[name]
    warns = pytest.warns(trtnn.AssumptionWarning, match="on others they may not")
    with warns if "random" in text else contextlib.nullcontext():
        model = compiled(function, [Input((*dims, 3))])
    assert written(model.graph)[0] == text


def asks_often(x: torch.Tensor) -> torch.Tensor:
    for _ in range(3):
        x = x * 2 if x.shape[0] > 1 else x + x  # <- here
    return x


@pytest.mark.filterwarnings("ignore::trtnn.AssumptionWarning")
def test_a_graph_prints_each_line_once_with_its_verdict() -> None:
    inputs = [Input((N, 3))]
    (assumption,) = compiled(asks_often, inputs).graph.assumptions
    assert assumption.times == 3 and "# <- here" in str(assumption.source)
    line = assumption.source.line
    where = f"n > 1 is True (at test_assumptions.py:{line} in asks_often, 3 times)"
    for graph, verdict in (
        (trace(asks_often, inputs), "not verified: trtnn.trace"),
        (compiled(asks_often, inputs).graph, "equal on random inputs at n = 1"),
    ):
        assert f"\nassumes {where}: {verdict}" in str(graph)


@pytest.mark.filterwarnings("ignore::trtnn.AssumptionWarning")
def test_the_verdict_is_part_of_the_hash() -> None:
    inputs = [Input((N, 3))]
    traced, verified = trace(asks_often, inputs), compiled(asks_often, inputs).graph
    assert traced.nodes and traced.hash() != verified.hash()
    assert verified.hash() == compiled(asks_often, inputs).graph.hash()
