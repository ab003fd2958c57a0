"""The planted faults are found by the real builder too, or stand in a table of those it cannot see.

Those of 8.6 alone are about its contract of precisions, which strongly typed networks lack.
"""

from __future__ import annotations

import pytest

import trtnn
from tests.faults import Fault
from tests.mutations import FAULTS
from tests.real_builder import build, needs_builder
from trtnn.errors import TrtnnError

pytestmark = needs_builder
HELD = "weights are read while it builds; memory freed a moment before still holds them"
UNSEEN = {
    "a fill value of another type": "it takes one",
    "statistics in half": "a matter of numbers, not of form",
    "weights are not held": HELD,
    "bfloat16 weights are not held": HELD,
    "a permutation of symbolic sizes is turned round": "equal ranks and dynamic sizes, swapped",
    "a size is read off another axis": "one that fits the profile's opt: no more is asked",
    "a binding list of no block": "it executes nothing here",
}
UNBUILT = {"nonzero gives columns for rows": "it has no implementation of NonZero"}
CASES = [fault for fault in FAULTS if "11" in fault.found and fault.name not in UNBUILT]


def found(fault: Fault, monkeypatch: pytest.MonkeyPatch) -> Exception | None:
    """Return what is raised with a fault planted, after a look that nothing is without it."""
    graph = trtnn.trace(fault.function, list(fault.inputs))
    build(graph)
    fault.plant(monkeypatch)
    try:
        build(graph)
    except (TrtnnError, AssertionError, AttributeError) as error:
        return error
    return None


@pytest.mark.parametrize("fault", CASES, ids=[fault.name for fault in CASES])
def test_the_real_builder_finds_a_planted_fault(
    fault: Fault, monkeypatch: pytest.MonkeyPatch
) -> None:
    error = found(fault, monkeypatch)
    if fault.name in UNSEEN:
        assert error is None, f"no longer unseen: {error}"
    else:
        assert error is not None, "the real builder does not see it"


@pytest.mark.parametrize("name", UNBUILT)
def test_what_the_real_builder_cannot_build_is_refused(name: str) -> None:
    fault = next(fault for fault in FAULTS if fault.name == name)
    with pytest.raises(TrtnnError):
        build(trtnn.trace(fault.function, list(fault.inputs)))


def test_the_tables_name_faults() -> None:
    assert {*UNSEEN, *UNBUILT} <= {fault.name for fault in FAULTS if "11" in fault.found}
