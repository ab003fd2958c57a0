"""A fixed number of programs of fixed seeds, and that the search finds what is wrong."""

from __future__ import annotations

import contextlib
import io
from dataclasses import replace
from typing import Any

import pytest

import trtnn
from tests.fuzz import judging
from tests.fuzz.judging import Verdict, judge
from tests.fuzz.programs import Operand, Program, Range, Statement
from tests.fuzz.search import Search, explained
from trtnn.errors import UnsupportedError
from trtnn.graph.graph import Graph
from trtnn.ops.pointwise import Activation

# In all about forty seconds on one core; `make fuzz` goes on.
SEEDS = range(6)
PROGRAMS = 100

A = Operand("a", (3, 4), "float32")


def program(*lines: str, result: str, dims: tuple[Range, ...] = (), a: Operand = A) -> Program:
    return Program(dims, (a,), tuple(Statement(line, line) for line in lines), (result,))


@pytest.mark.parametrize("seed", SEEDS)
def test_random_programs_equal_eager_or_are_refused_at_their_line(seed: int) -> None:
    search = Search()
    search.round(seed, PROGRAMS)
    assert not search.finds, "\n".join(explained(*find) for find in search.finds)
    assert search.outcomes["equal"] >= 0.6 * search.outcomes.total(), search.report()


def test_a_wrong_op_is_found_and_shrunk_to_its_call(monkeypatch: pytest.MonkeyPatch) -> None:
    right = Activation.reference
    monkeypatch.setattr(Activation, "reference", lambda op, x: right(op, x) + 0.25)
    search = Search()
    while not search.finds:
        search.round(sum(search.outcomes.values()))
    _, shrunk, verdict = search.finds[0]
    assert verdict.kind == "traced: value"
    assert len(shrunk.statements) == len(shrunk.operands) == len(shrunk.results) == 1
    assert search.is_known(shrunk, verdict)
    monkeypatch.undo()
    assert judge(shrunk).outcome == "equal"
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(explained(0, shrunk, verdict), {"__name__": "pasted"})
    assert printed.getvalue().count("(tensor(") == 2  # eager's result, and ours


def test_what_the_passes_change_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def optimize(graph: Graph, library: Any) -> Graph:
        return replace(graph, outputs=graph.outputs[::-1])

    monkeypatch.setattr(judging, "optimize", optimize)
    both = replace(program("v0 = a + 1", result="v0"), results=("v0", "a"))
    assert judge(both).kind == "passes: value"


def raising(error: Exception) -> Any:
    def compile(*_: Any, **__: Any) -> Any:
        raise error

    return compile


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (KeyError("v0"), "raw KeyError"),
        (UnsupportedError("no", search=False), "no line: UnsupportedError"),
    ],
)
def test_an_error_without_type_or_line_is_found(
    error: Exception, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trtnn, "compile", raising(error))
    found = judge(program("v0 = a + 1", result="v0"))
    assert found.outcome == "find" and found.kind.startswith(kind)


def test_results_that_share_memory_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trtnn.run.reference._memory", lambda tensor: 0)
    assert (
        judge(program(result="a")).kind == "alias" or judge(program(result="a[0]")).kind == "alias"
    )


ENDS: dict[str, tuple[Program, str]] = {
    "equal": (program("v0 = a * 2", "a.zero_()", result="v0"), "equal"),
    "state": (program("v0 = self.weight * a", "v0[0] = 1", result="v0"), "equal"),
    "refused": (program("v0 = a.sum().item()", result="v0"), "refused"),
    "eager raises too": (program("v0 = a + torch.zeros(5)", result="v0"), "raises"),
    "some sizes": (
        program(
            "v0 = a[2]",
            result="v0",
            dims=(Range("n", 0, 5, 9),),
            a=Operand("a", ("n",), "float32"),
        ),
        "refused",
    ),
}


@pytest.mark.parametrize("name", ENDS)
def test_how_programs_end(name: str) -> None:
    known, outcome = ENDS[name]
    verdict: Verdict = judge(known)
    assert verdict.outcome == outcome, verdict
