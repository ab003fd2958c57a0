"""What an error tells to do can be done: each hint is tried here, in the words that it uses."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy
import pytest
import torch

import trtnn
from tests.tracing.traced import X, check, refused
from trtnn import Dim, Input, TraceError

INDEX = torch.tensor([0, 2, 0, 1, 2])


class Kept(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.kept = x * 2
        return x


ADVICE: dict[str, tuple[Callable[..., Any], str, Callable[..., Any]]] = {
    "item": (
        lambda x: x * x.sum().item(),
        "x * y.sum() instead of x * y.sum().item()",
        lambda x: x * x.sum(),
    ),
    "float": (lambda x: x * float(x.sum()), "keep it a tensor", lambda x: x * x.sum()),
    "numpy": (
        lambda x: torch.tensor(numpy.tanh(x.numpy())),
        "torch.tanh(x) instead of numpy.tanh(x)",
        lambda x: torch.tanh(x),
    ),
    "NumPy's own": (lambda x: numpy.tanh(x), "torch.tanh(x)", lambda x: torch.tanh(x)),
    "a branch": (
        lambda x: x if x.sum() > 0 else -x,
        "torch.where",
        lambda x: torch.where(x.sum() > 0, x, -x),
    ),
}


@pytest.mark.parametrize("name", ADVICE)
def test_a_hint_says_what_works(name: str) -> None:
    wrong, text, right = ADVICE[name]
    refused(wrong, text)
    check(right)


def test_a_tensor_that_is_kept_is_named_with_its_line() -> None:
    with pytest.raises(TraceError, match="'kept'") as found:
        trtnn.trace(Kept(), [X])
    assert found.value.where is not None and found.value.where.text == "self.kept = x * 2"


@pytest.mark.parametrize("most", [6, 64])
def test_a_branch_on_a_remainder_says_what_to_do(most: int) -> None:
    dim = Dim("n", 1, 2, most)
    with pytest.raises(TraceError, match="padding by n % 2") as found:
        trtnn.compile(
            lambda x: x if x.shape[0] % 2 else -x, inputs=[Input((dim, 3))], backend="reference"
        )
    assert "2 * Dim" in str(found.value)
    padded = trtnn.compile(
        lambda x: torch.nn.functional.pad(x, (0, 0, 0, x.shape[0] % 2)),
        inputs=[Input((dim, 3))],
        backend="reference",
    )
    assert [len(padded(torch.ones(n, 3))) for n in (1, 2, 5)] == [2, 2, 6]
