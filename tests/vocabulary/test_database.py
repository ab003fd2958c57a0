"""PyTorch's operator database, in part: what matched all samples matches the first of each type.

``python -m tests.vocabulary --json benchmarks/results/vocabulary.json`` takes them all, in minutes.
"""

from __future__ import annotations

import json
from typing import Any

import pytest
import torch

import trtnn
from tests.layout import ROOT
from tests.vocabulary.database import Entry, entries, examined
from trtnn.ops.op import TABLE

RECORDED: dict[str, Any] = json.loads(
    (ROOT / "benchmarks" / "results" / "vocabulary.json").read_text()
)
LEAST = 480  # entries that match on all of their samples
ENTRIES = entries()


def test_the_counts_are_those_of_the_record() -> None:
    told = RECORDED["told"]
    assert set(told) == set(ENTRIES) and len(told) == RECORDED["entries"]
    matching = sum(text == "matches" for text in told.values())
    assert matching == RECORDED["match on all samples"] >= LEAST
    assert RECORDED["anything else"] == 0


@pytest.mark.parametrize("name", ENTRIES)
def test_an_entry_matches_or_is_refused(name: str) -> None:
    entry = examined(name, ENTRIES[name], most=1)
    assert not entry.wrong
    assert entry.matches or RECORDED["told"][name] != "matches", entry.refused


def test_a_wrong_meaning_a_raw_error_and_a_refusal_are_told_apart(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def judged(meaning: Any) -> Entry:
        monkeypatch.setitem(TABLE, torch.exp, meaning)
        return examined("exp", ENTRIES["exp"], most=1)

    def raw(x: Any) -> Any:
        raise KeyError("from inside")

    def refusing(x: Any) -> Any:
        raise trtnn.UnsupportedError("not this")

    assert "values differ" in judged(lambda x: torch.sin(x)).wrong[0]
    assert "KeyError" in judged(raw).wrong[0]
    refused = judged(refusing)
    assert not refused.wrong and refused.told() == "not this"
