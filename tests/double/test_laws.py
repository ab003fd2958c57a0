"""The "11" double follows the real builder: both are asked every law, and answer alike."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

import pytest

from tests.double.answers import answer
from tests.double.differences import DIFFERENCES, HELD, LIMIT, difference
from tests.double.lab import REAL, has_real
from tests.double.laws import FAMILIES
from tests.double.laws.law import Law, Laws, joined
from tests.double.test_rules import ROWS

EVERY = {**FAMILIES, "rows": {name: make for name, make, _ in ROWS}}
LAWS: Laws = joined(*EVERY.values())
CHUNK = 60  # a test, so that several processes share them


def chunks() -> Iterator[tuple[str, list[tuple[str, Law]]]]:
    """Yield parts of the families, of a few seconds each."""
    for family, laws in EVERY.items():
        rest, number = iter(laws.items()), 1
        while part := list(islice(rest, CHUNK)):
            yield f"{family} {number}", part
            number += 1


def test_there_are_some_thousand_laws() -> None:
    assert len(LAWS) > 1_000


@pytest.mark.skipif(not has_real(), reason="needs the tensorrt_rtx package")
@pytest.mark.parametrize("laws", [part for _, part in chunks()], ids=[name for name, _ in chunks()])
def test_the_double_answers_as_the_real_builder(laws: list[tuple[str, Law]]) -> None:
    complaints = []
    for name, law in laws:
        double, real = answer(law, "11"), answer(law, REAL)
        entry = difference(name)
        if double != real and entry is None:
            complaints.append(f"{name}: the double: {double}; the real builder: {real}")
        if double == real and entry is not None:
            complaints.append(f"{name}: both: {real}; the table has it as {entry.kind}")
    assert not complaints, "\n".join(complaints)


def test_every_entry_of_the_table_is_about_a_law_of_its_own() -> None:
    for entry in DIFFERENCES:
        assert entry.kind in (LIMIT, HELD) and entry.reason
        assert any(entry.covers(name) for name in LAWS), entry.names
    for name in LAWS:
        assert sum(entry.covers(name) for entry in DIFFERENCES) <= 1, name
