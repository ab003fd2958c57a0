"""What a precision asks for and a module has otherwise: said in the report, and warned of."""

from __future__ import annotations

import warnings
from typing import Any

import pytest
import torch
from torch import nn

import trtnn
from trtnn import Precision, PrecisionWarning

HALF, BFLOAT = torch.float16, torch.bfloat16
STAYS = "ops stay as the module is typed with precision="


def net(dtype: torch.dtype) -> nn.Module:
    return nn.Sequential(nn.Linear(4, 4), nn.ReLU()).to(dtype)


def compiled(module: Any, dtype: torch.dtype, precision: Any) -> tuple[Any, list[str]]:
    """Return a model on the reference, and what was warned of."""
    inputs = [trtnn.Input((2, 4), dtype)]
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        model = trtnn.compile(module, inputs=inputs, precision=precision, backend="reference")
    assert {warning.category for warning in caught} <= {PrecisionWarning}
    assert all(warning.filename == __file__ for warning in caught)
    return model, [str(warning.message) for warning in caught]


# What the module is typed in, what is asked for, and what is told.
TOLD: list[tuple[torch.dtype, Any, str, bool]] = [
    (HALF, "tf32", "float16: 3 ops stay", False),  # what nobody has to say
    (HALF, "fp32", "float16: 3 ops stay", True),
    (HALF, "bf16", "float16: 3 ops stay", True),
    (BFLOAT, "fp16", "bfloat16: 3 ops stay", True),
    (BFLOAT, "fp32", "bfloat16: 3 ops stay", True),
    (HALF, Precision("fp32", modules={"0": "fp32"}), "float16: 1 ops stay", True),
    (HALF, "fp16", "", False),
    (BFLOAT, "bf16", "", False),
    (torch.float32, "fp32", "", False),
    (torch.float32, "fp16", "", False),
    (HALF, Precision("fp32", modules={"*": "fp32"}), "", False),
]


@pytest.mark.parametrize(("dtype", "precision", "text", "warns"), TOLD)
def test_a_half_module_and_a_word(
    dtype: torch.dtype, precision: Any, text: str, warns: bool
) -> None:
    model, warned = compiled(net(dtype), dtype, precision)
    report = model.precision_report
    assert (STAYS in str(report)) == (text != "") == bool(report.notes)
    assert str(report).splitlines()[-1].startswith(text)
    assert warned == ([f"precision: {report.notes[0]}"] if warns else [])
    x = torch.randn(2, 4, dtype=dtype)
    assert model(x).dtype == dtype


def test_a_cast_of_the_module_alone_is_nothing_to_tell() -> None:
    model, warned = compiled(lambda x: (x * 2).half(), torch.float32, "fp32")
    assert not warned and not model.precision_report.notes


def test_what_float64_became_is_told() -> None:
    precision = Precision("fp32", float64="float32")
    model, warned = compiled(lambda x: (x.double() * 2).float(), torch.float32, precision)
    assert not warned
    assert str(model.precision_report).splitlines() == [
        "as the module is typed",
        "float64: 3 ops are computed in float32",
    ]
