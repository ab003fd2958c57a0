"""PyTorch's operator database, in part: what matched all samples matches the first of each type.

``python -m tests.vocabulary --json benchmarks/results/vocabulary.json`` takes them all, in minutes.
"""

from __future__ import annotations

import importlib
import json
from functools import cache
from typing import Any

import pytest
import torch

import trtnn
from tests.layout import ROOT
from trtnn.ops.op import TABLE

RECORDED: dict[str, Any] = json.loads(
    (ROOT / "benchmarks" / "results" / "vocabulary.json").read_text()
)
LEAST = 480  # entries that match on all of their samples


@cache
def database() -> Any:
    """Return the database, which takes seconds to import, where a test asks for it."""
    return importlib.import_module("tests.vocabulary.database")


def judged(name: str) -> Any:
    return database().examined(name, entries()[name], most=1)


@cache
def entries() -> dict[str, Any]:
    found: dict[str, Any] = database().entries()
    return found


def test_the_counts_are_those_of_the_record() -> None:
    told = RECORDED["told"]
    assert set(told) == set(entries()) and len(told) == RECORDED["entries"]
    matching = sum(text == "matches" for text in told.values())
    assert matching == RECORDED["match on all samples"] >= LEAST
    assert RECORDED["anything else"] == 0


@pytest.mark.parametrize("name", RECORDED["told"])
def test_an_entry_matches_or_is_refused(name: str) -> None:
    entry = judged(name)
    assert not entry.wrong
    assert entry.matches or RECORDED["told"][name] != "matches", entry.refused


def test_a_wrong_meaning_a_raw_error_and_a_refusal_are_told_apart(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def exp(meaning: Any) -> Any:
        monkeypatch.setitem(TABLE, torch.exp, meaning)
        return judged("exp")

    def raw(x: Any) -> Any:
        raise KeyError("from inside")

    def refusing(x: Any) -> Any:
        raise trtnn.UnsupportedError("not this")

    assert "values differ" in exp(lambda x: torch.sin(x)).wrong[0]
    assert "KeyError" in exp(raw).wrong[0]
    refused = exp(refusing)
    assert not refused.wrong and refused.told() == "not this"
