"""``trtnn.supported``: its names are PyTorch's, and the versions it tells are those of the rows."""

from __future__ import annotations

from operator import attrgetter

import pytest
import torch

import trtnn
from tests.ops.test_ops import VALID, traced
from tests.rows import Row
from trtnn.ops.op import TABLE
from trtnn.vocabulary import LACKING, VERSIONS, Supported, supported

LEAST = 460  # distinct functions; an alias, a method or an in-place form counts with its function
ENTRIES = supported()


def rows_of(entry: Supported) -> list[Row]:
    """Return the rows that call one of an entry's spellings."""
    names = {name.rpartition(".")[2] for name in (entry.name, *entry.aliases)}
    return [row for _, row in VALID if getattr(row.function, "__name__", "") in names]


def refused(row: Row, version: str) -> bool:
    if version != "RTX":
        return version in row.unsupported
    return any(node.op.name == "NonZero" for node in traced(row)[0].nodes)


def test_every_name_is_one_of_pytorchs_and_means_what_the_table_says() -> None:
    assert len(ENTRIES) >= LEAST
    names = [name for entry in ENTRIES for name in (entry.name, *entry.aliases)]
    assert len(set(names)) == len(names)
    for entry in ENTRIES:
        item = attrgetter(entry.name.removeprefix("torch."))(torch)
        assert (item if callable(item) else item.__get__) in TABLE, entry.name


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry.name)
def test_the_versions_are_those_of_its_rows(entry: Supported) -> None:
    rows = rows_of(entry)
    for version in VERSIONS if rows else ():
        works = any(not refused(row, version) for row in rows)
        assert works == (version in entry.versions), version


def test_what_lacks_a_version_is_in_the_table() -> None:
    known = {name.rpartition(".")[2] for e in ENTRIES for name in (e.name, *e.aliases)}
    assert set(LACKING) <= known


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("torch.relu", ["torch.nn.functional.relu"]),
        ("__add__", ["torch.add"]),
        ("add_", ["torch.add"]),
        ("adaptive_avg_pool2?", ["torch.nn.functional.adaptive_avg_pool2d"]),
        ("nothing like it", []),
    ],
)
def test_a_pattern_is_held_to_names_and_aliases(pattern: str, names: list[str]) -> None:
    assert [entry.name for entry in trtnn.supported(pattern)][: len(names) or None] == names


def test_what_a_user_registered_is_listed() -> None:
    before = dict(TABLE)
    try:

        @trtnn.register(torch.special.airy_ai)
        def airy_ai(input: torch.Tensor) -> torch.Tensor:
            return input

        (entry,) = trtnn.supported("airy_ai")
    finally:
        TABLE.clear()
        TABLE.update(before)
    assert entry.name == "torch.special.airy_ai"
