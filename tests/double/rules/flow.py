"""Rules of the layers at the border of branches and loops."""

from __future__ import annotations

from dataclasses import replace

from tests.double.facts import Case, Facts, Violation


def carried(case: Case) -> list[Facts]:
    """A recurrence: of the type and shape of its initial value; what it holds is not known."""
    return [replace(case.operand(0), values=None, constant=False)]


def iterated(case: Case) -> list[Facts]:
    x, axis = case.operand(0), case["axis"]
    case.require(0 <= axis < x.rank, f"axis {axis} is outside rank {x.rank}")
    return [Facts(x.dtype, (*x.shape[:axis], *x.shape[axis + 1 :]))]


def trip_limit(case: Case) -> list[Facts]:
    x, kind = case.operand(0), case["kind"].name
    case.require(x.rank == 0, f"a trip limit is a scalar, not of rank {x.rank}")
    if kind == "COUNT":
        case.indices(x, "trip limit COUNT")
    else:
        case.types(x, frozenset({"BOOL"}), "trip limit WHILE")
    return []


def loop_output(case: Case) -> list[Facts]:
    x, axis = case.operand(0), case["axis"]
    if case["kind"].name == "LAST_VALUE":
        return [replace(x, values=None, constant=False)]
    case.require(0 <= axis <= x.rank, f"axis {axis} is outside rank {x.rank}")
    length = case.operand(1)
    case.require(length.rank == 0, "the length is a scalar")
    case.indices(length, "the length")
    case.require(length.values is not None, "the length is no shape tensor")
    size = length.values.item()
    return [Facts(x.dtype, (*x.shape[:axis], size, *x.shape[axis:]))]


def condition(case: Case) -> list[Facts]:
    x = case.operand(0)
    case.require(x.rank == 0, f"a condition is a scalar, not of rank {x.rank}")
    case.types(x, frozenset({"BOOL"}), "a condition")
    return []


def branch_input(case: Case) -> list[Facts]:
    return [replace(case.operand(0), constant=False)]


def branch_output(case: Case) -> list[Facts]:
    true, false = case.operand(0), case.operand(1)
    if (true.dtype, true.shape) != (false.dtype, false.shape):
        # RTX 1.7.1 builds branches of different shapes without a word.
        raise Violation(f"{case.name}: branches differ: {true} and {false}")
    return [replace(true, values=None, constant=False)]
