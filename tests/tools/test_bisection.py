"""The smallest set that holds, and how few trials find it."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import pytest

from trtnn.tools.bisection import SpentError, collapsed, limited, smallest

NAMES = [f"layer.{i}" for i in range(16)]


class Needing:
    """Holds where all of ``needed`` are there; counts how often it was asked."""

    def __init__(self, *needed: str) -> None:
        self.needed, self.asked = set(needed), 0

    def __call__(self, kept: Sequence[str]) -> bool:
        self.asked += 1
        return self.needed <= set(kept)


@pytest.mark.parametrize("count", [1, 2, 3])
def test_each_set_is_found_in_a_logarithmic_number_of_trials(count: int) -> None:
    for needed in combinations(NAMES[::3], count):
        needing = Needing(*needed)
        assert smallest(NAMES, limited(needing, 1000)) == list(needed)
        assert needing.asked <= 1 + count * (4 + 2)


def test_one_search_names_the_first_that_matters() -> None:
    needing = Needing("layer.2", "layer.9")
    assert smallest(NAMES, limited(needing, 1000), first=True) == ["layer.2"]
    assert needing.asked == 5


def test_what_nothing_repairs_is_none() -> None:
    assert smallest(NAMES, Needing("another")) is None
    assert smallest([], Needing()) is None


def test_either_of_two_is_enough() -> None:
    found = smallest(NAMES, lambda kept: "layer.3" in kept or "layer.7" in kept)
    assert found == ["layer.7"]


def test_what_was_added_in_vain_is_taken_away() -> None:
    """One of them is only needed beside another that is not."""

    def holds(kept: Sequence[str]) -> bool:
        return "layer.9" in kept and ("layer.12" not in kept or "layer.5" in kept)

    assert smallest(NAMES, limited(holds, 1000)) == ["layer.9"]


def test_where_trials_run_out_the_best_known_set_holds() -> None:
    needing = Needing("layer.2", "layer.9")
    found = smallest(NAMES, limited(needing, 4))
    assert found is not None and needing.needed <= set(found) and len(found) < 16
    assert needing.asked == 4
    with pytest.raises(SpentError):
        limited(needing, 0)(["layer.1"])


@pytest.mark.parametrize(
    ("kept", "paths"),
    [
        (["a.0", "a.1"], ["a"]),
        (["a.0"], ["a.0"]),
        (["a.0", "b.c.0", "b.c.1"], ["a.0", "b.c"]),
        (["a.0", "a.1", "b.c.0", "b.c.1", "b.d"], ["a", "b"]),
        (["", "a.1"], ["", "a.1"]),
    ],
)
def test_a_module_stands_for_all_that_is_in_it(kept: list[str], paths: list[str]) -> None:
    assert collapsed(kept, ["a.0", "a.1", "b.c.0", "b.c.1", "b.d", "", "ab"]) == paths
