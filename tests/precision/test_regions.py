"""Regions of precision in ``forward`` and around ``compile``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

import trtnn
from tests.precision.test_typing import types
from trtnn.errors import OptionError, UnsupportedError
from trtnn.precision.policy import Precision
from trtnn.precision.typing import typed

X = trtnn.Input((4, 4), name="x")
HALF = torch.float16
MADE_BEFORE = torch.autocast("cpu", dtype=torch.bfloat16)


def of(function: Callable[..., Any], precision: str = "tf32", dtype: Any = torch.float32) -> str:
    graph = trtnn.trace(function, [trtnn.Input((4, 4), dtype, name="x")])
    return types(typed(graph, Precision(precision)).graph)


def cuda(x: torch.Tensor) -> torch.Tensor:
    with torch.autocast("cuda", dtype=HALF):
        y = x @ x
    return y @ x


def cuda_by_default(x: torch.Tensor) -> torch.Tensor:
    with torch.autocast("cuda"):
        return x @ x


def cpu_by_default(x: torch.Tensor) -> torch.Tensor:
    with torch.autocast("cpu"):
        return x @ x


def nested(x: torch.Tensor) -> torch.Tensor:
    with torch.autocast("cuda", torch.float16):
        y = x @ x
        with torch.autocast("cuda", enabled=False):
            return y.float() @ x


def lists(x: torch.Tensor) -> torch.Tensor:
    with torch.amp.autocast("cuda", dtype=HALF):
        return (x @ x).exp().sum()


def before(x: torch.Tensor) -> torch.Tensor:
    with MADE_BEFORE:
        return x @ x


def ours(x: torch.Tensor) -> torch.Tensor:
    with trtnn.autocast("fp16"):
        y = x @ x
        with trtnn.autocast("fp32"):
            return y @ y


LOW = "-> half, MatrixMultiply half, -> float"
CASES: dict[Callable[..., Any], str] = {
    cuda: LOW + ", MatrixMultiply float",
    cuda_by_default: LOW,
    cpu_by_default: LOW.replace("half", "bfloat"),
    nested: LOW + ", MatrixMultiply float",
    lists: LOW + ", EXP float, SUM float",
    before: LOW.replace("half", "bfloat"),
    ours: LOW + ", MatrixMultiply float",
}


@pytest.mark.parametrize("function", CASES)
def test_a_region_is_read_from_its_arguments(function: Callable[..., Any]) -> None:
    """On a machine without a GPU too, where ``autocast("cuda")`` switches itself off."""
    assert of(function) == CASES[function]
    assert not torch.is_autocast_enabled("cpu") and not torch.is_autocast_enabled("cuda")


@pytest.mark.skipif(torch.cuda.is_available(), reason="there it is on")
def test_a_region_that_was_off_before_forward_ran_is_refused() -> None:
    with pytest.warns(UserWarning, match="CUDA is not available"):
        region = torch.autocast("cuda", dtype=HALF)
    with pytest.raises(UnsupportedError, match="made before forward ran"):
        of(region(lambda x: x @ x))


def test_a_region_around_compile() -> None:
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert of(lambda x: x @ x) == LOW.replace("half", "bfloat")
        assert torch.is_autocast_enabled("cpu")


def test_an_island_of_a_half_module() -> None:
    def forward(x: torch.Tensor) -> torch.Tensor:
        with trtnn.autocast("fp32"):
            y = (x * x).mean(-1, keepdim=True)
        return x * y

    assert of(forward, dtype=HALF) == "-> float, PROD float, AVG float, -> half, PROD half"


def test_a_wrong_type_is_refused_at_its_line() -> None:
    def forward(x: torch.Tensor) -> torch.Tensor:
        with torch.autocast("cuda", dtype=torch.float64):
            return x @ x

    with pytest.raises(UnsupportedError, match=r"torch\.autocast: expected float16, bfloat16"):
        of(forward)
    with pytest.raises(OptionError, match="autocast: expected one of fp32, fp16, bf16, got 'int8'"):
        trtnn.autocast("int8")


def test_eager_computes_wide_and_casts_back() -> None:
    x = torch.full((2,), 300.0, dtype=HALF)
    with trtnn.autocast("fp32"):
        assert torch.equal(torch.linalg.vector_norm(x), torch.tensor(424.25, dtype=HALF))
        assert x.view(1, 2).data_ptr() == x.data_ptr()
        y = x.clone()
        assert y.add_(1) is y and y[0] == 301 and y.dtype == HALF
        assert (x > 1).dtype == torch.bool and x.float().dtype == torch.float32
    with trtnn.autocast("bf16"):
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == torch.bfloat16
    assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == torch.float32


class Enters(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> Any:
        region = torch.autocast("cpu", dtype=torch.bfloat16)
        region.__enter__()
        return x @ x, region


class Leaves(torch.nn.Module):
    def forward(self, x: torch.Tensor, region: Any) -> torch.Tensor:
        x = x @ x
        region.__exit__(None, None, None)
        return x @ x


class Split(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.enters, self.leaves = Enters(), Leaves()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        assert not torch.is_autocast_enabled("cpu")
        y, region = self.enters(x)
        assert torch.is_autocast_enabled("cpu")
        return self.leaves(y, region) @ x


def test_a_region_is_left_where_it_is_left() -> None:
    low, wide = "MatrixMultiply bfloat", "MatrixMultiply float"
    assert of(Split()) == f"-> bfloat, {low}, {low}, -> float, {wide}, {wide}"
    assert torch.is_autocast_enabled.__name__ == "is_autocast_enabled"


def test_eager_switches_autocast_off_inside() -> None:
    with torch.autocast("cpu", dtype=torch.bfloat16), trtnn.autocast("fp32"):
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == torch.float32
