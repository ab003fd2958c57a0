"""What 8.6 builds wrong when it is to be refitted: found at compile, and kept nowhere."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import trtnn
from tests import double
from tests.test_cache import World, double_it
from tests.test_calls import _read
from trtnn import UnsupportedError
from trtnn.options import BuildOptions
from trtnn.proof import LIMIT, difference

REFIT = BuildOptions(refit="refit")
INF, NAN = float("inf"), float("nan")
BATCH = trtnn.Dim("batch", 1, 4, 8)


def triple_it(context: Any, tensors: Any) -> dict[str, Any]:
    """Stand in for an engine of ``x * 2`` with another constant in its place."""
    return {"output_0": (_read(tensors["x"]) * 3).numpy()}


@pytest.fixture
def world(request: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    return World(request.param, tmp_path / "cache", monkeypatch)


@pytest.mark.parametrize("world", ["8.6", "10", "11"], indirect=True)
@pytest.mark.parametrize("shape", [(2, 3), (BATCH, 3)], ids=["static", "dynamic"])
def test_an_engine_that_is_right_is_kept(world: World, shape: Any) -> None:
    inputs = [trtnn.Input(shape, name="x")]
    world.compile(options=REFIT, inputs=inputs)
    assert world.compile(options=REFIT, inputs=inputs)[1] == ["Runtime"]


@pytest.mark.parametrize("world", ["8.6"], indirect=True)
def test_an_engine_that_is_wrong_is_refused_and_not_kept(world: World) -> None:
    double.on_execute(world.trt, triple_it)
    for _ in range(2):
        with pytest.raises(UnsupportedError, match=r"gives wrong results: output 0 .* 0\.5") as bad:
            world.compile(options=REFIT)
        assert "TensorRT 8.6" in str(bad.value) and "without refit" in str(bad.value)
        assert "test_cache.py" in str(bad.value)  # the line that compiles
    assert not list(world.folder.glob("*.trtnn-engine"))
    double.on_execute(world.trt, double_it)
    assert "Builder" in world.compile(options=REFIT)[1]


@pytest.mark.parametrize("world", ["8.6"], indirect=True)
def test_an_engine_without_refit_is_trusted(world: World) -> None:
    double.on_execute(world.trt, triple_it)
    world.compile()


@pytest.mark.parametrize("world", ["10", "11"], indirect=True)
def test_later_versions_are_trusted(world: World) -> None:
    double.on_execute(world.trt, triple_it)
    world.compile(options=REFIT)


@pytest.mark.parametrize("world", ["8.6"], indirect=True)
def test_what_cannot_be_checked_is_refused(world: World) -> None:
    class Table(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.table = nn.Embedding(1, 4)  # has no row 1

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.table(x)

    inputs = [trtnn.Input((3,), torch.int32, name="x")]
    with pytest.raises(UnsupportedError, match="cannot be checked: index out of range"):
        world.compile(Table(), inputs=inputs, options=REFIT)


@pytest.mark.parametrize(
    ("found", "expected", "least", "most"),
    [
        ([1.0, 2.0], [1.0, 2.0], 0, 0),
        ([1.0, 2.1], [1.0, 2.0], 0.04, 0.05),
        ([2.0, 1.0], [1.0, 2.0], 0.6, 0.7),
        ([NAN, 2.0], [NAN, 2.0], 0, 0),
        ([1.0, 2.0], [INF, 2.0], 0, 0),
        ([NAN, 2.0], [1.0, 2.0], INF, INF),
        ([1e-9, 0.0], [0.0, 0.0], 0, LIMIT),  # rounding beside nothing
        ([1.0, 0.0], [0.0, 0.0], 1, INF),
        ([1, 2, 3, 4], [1, 2, 3, 5], 0.25, 0.25),
        ([True, False], [True, True], 0.5, 0.5),
        ([1.0], [1.0, 2.0], 0, 0),  # a count of data that rounding decides
        ([], [], 0, 0),
    ],
)
def test_the_difference(found: Any, expected: Any, least: float, most: float) -> None:
    assert least <= difference(torch.tensor(found), torch.tensor(expected)) <= most
