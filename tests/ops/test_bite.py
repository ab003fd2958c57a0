"""Every op has rows, and a fault in its shape rule, its meaning or its lowering fails one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import pytest
import torch

from tests.ops import test_ops
from tests.ops.test_ops import TRACED, VALID, check_lowering, dims_of, library_of, traced
from tests.rows import Row
from trtnn.compiler import optimize
from trtnn.graph import passes
from trtnn.graph.graph import Graph
from trtnn.lower.layers import ITensor
from trtnn.ops.op import Op, Spec

pytestmark = pytest.mark.filterwarnings("ignore:Using padding='same'")
LEAST = 3  # rows of each op
TRIED = 5  # the smallest rows that may find a fault


def subclasses(kind: type[Op]) -> Iterator[type[Op]]:
    """Yield the classes of ops that trtnn has."""
    for below in kind.__subclasses__():
        if below.__module__.startswith("trtnn.") and below.lower is not Op.lower:
            yield below
        yield from subclasses(below)


KINDS = sorted(set(subclasses(Op)), key=lambda kind: kind.__name__)
every_kind = pytest.mark.parametrize("kind", KINDS, ids=[kind.__name__ for kind in KINDS])


@dataclass(frozen=True, eq=False)
class Meeting:
    """A row whose graph, traced or decomposed, holds an op."""

    row: Row
    graph: Graph
    dims: list[Any]


@cache
def meetings() -> dict[type[Op], list[Meeting]]:
    """Return the valid rows of each op, those with the smallest graphs first."""
    found: dict[type[Op], list[Meeting]] = {kind: [] for kind in KINDS}
    for _, row in VALID:
        graph, inputs, _ = traced(row)
        nodes = graph.nodes
        if "8.6" not in row.unsupported:
            nodes += passes.decompose(graph, library_of("8.6").target).nodes
        for kind in {type(node.op) for node in nodes}:
            found[kind].append(Meeting(row, graph, dims_of(inputs)))
    for rows in found.values():
        rows.sort(key=lambda meeting: len(meeting.graph.nodes))
    return found


def is_found(kind: type[Op], check: Callable[[Meeting], None]) -> bool:
    """Say whether one of the smallest rows of an op fails."""
    for meeting in meetings()[kind][:TRIED]:
        try:
            check(meeting)
        except Exception:  # whatever a fault leads to: a row that fails has found it
            return True
    return False


def plant(patch: pytest.MonkeyPatch, kind: type[Op], name: str, change: Any) -> None:
    """Change the first result of ``kind.name``."""
    original = getattr(kind, name)

    def changed(op: Op, *args: Any) -> Any:
        result = original(op, *args)
        net = args[:1] if name == "lower" else ()
        if isinstance(result, tuple):
            return (change(*net, result[0]), *result[1:])
        return change(*net, result)

    patch.setattr(kind, name, changed)


def longer(spec: Spec) -> Spec:
    return replace(spec, shape=(*spec.shape[:-1], spec.shape[-1] + 1) if spec.shape else (1,))


def retyped(spec: Spec) -> Spec:
    return replace(spec, dtype=other(spec.dtype))


def other(dtype: torch.dtype) -> torch.dtype:
    return torch.float16 if dtype == torch.float32 else torch.float32


def altered(tensor: torch.Tensor) -> torch.Tensor:
    return ~tensor if tensor.dtype == torch.bool else tensor + 1


def cast(net: Any, result: Any) -> ITensor:
    """Return another type under the name of the right one."""
    x = net.tensor(result)
    return ITensor(net.cast(x, other(x.dtype)).handle, x.dtype, x.shape)


def turned(net: Any, result: Any) -> ITensor:
    """Return another rank under the name of the right one."""
    x = net.tensor(result)
    shape = (1, *x.shape) if x.rank < 8 else (*x.shape[:-2], -1)
    return ITensor(net.shuffle(x, shape=shape).handle, x.dtype, x.shape)


def equals_torch(meeting: Meeting) -> None:
    """Trace a row anew, with the fault, and leave no trace of it."""
    TRACED.pop(id(meeting.row), None)
    try:
        test_ops.test_row_equals_torch(meeting.row)
    finally:
        TRACED.pop(id(meeting.row), None)


def lowers(kind: type[Op], meeting: Meeting) -> None:
    """Lower a row where a version can and has the op."""
    for version in {"8.6", "11"} - set(meeting.row.unsupported):
        lowered = optimize(meeting.graph, library_of(version))
        if any(type(node.op) is kind for node in lowered.nodes):
            check_lowering(meeting.graph, version, meeting.dims)


@every_kind
def test_an_op_has_rows(kind: type[Op]) -> None:
    assert len(meetings()[kind]) >= LEAST


@every_kind
def test_nothing_is_found_where_nothing_is_planted(kind: type[Op]) -> None:
    assert not is_found(kind, equals_torch)
    assert not is_found(kind, lambda meeting: lowers(kind, meeting))


@every_kind
@pytest.mark.parametrize("change", [longer, retyped])
def test_a_wrong_shape_rule_is_found(
    kind: type[Op], change: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    meetings()
    plant(monkeypatch, kind, "infer", change)
    assert is_found(kind, equals_torch)


@every_kind
def test_a_wrong_meaning_is_found(kind: type[Op], monkeypatch: pytest.MonkeyPatch) -> None:
    meetings()
    plant(monkeypatch, kind, "reference", altered)
    assert is_found(kind, equals_torch)


@every_kind
@pytest.mark.parametrize("change", [cast, turned])
def test_a_wrong_lowering_is_found(
    kind: type[Op], change: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    meetings()
    plant(monkeypatch, kind, "lower", change)
    assert is_found(kind, lambda meeting: lowers(kind, meeting))
