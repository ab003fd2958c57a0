"""Inputs that are made up to verify engines with."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import trtnn
from trtnn import InputError
from trtnn.run.samples import draws, require_indices

F = torch.nn.functional
INF = float("inf")


@pytest.mark.parametrize(
    ("ends", "dtype", "text"),
    [
        ({"low": "a"}, torch.float32, "expected low to be a finite number of torch.float32"),
        ({"high": INF}, torch.float32, "expected high to be a finite number"),
        ({"low": 0.5}, torch.int64, r"expected low to be a finite number of torch.int64, got 0.5"),
        ({"low": 3, "high": 2}, torch.int64, "low=3 is above high=2"),
    ],
)
def test_a_range_of_values_that_is_none(ends: Any, dtype: torch.dtype, text: str) -> None:
    with pytest.raises(InputError, match=text):
        trtnn.Input((2,), dtype, **ends)


def drawn(function: Any, *inputs: trtnn.Input) -> list[torch.Tensor]:
    graph = trtnn.trace(function, list(inputs))
    return next(iter(draws(graph, {dim.name: dim.min for dim in graph.dims}, {})))


def test_indices_go_over_the_whole_table_that_they_are_for() -> None:
    table, small = torch.randn(300, 2), torch.randn(20, 2)
    ids = trtnn.Input((500,), torch.int64)
    for function, low, high in (
        (lambda x: table[x.reshape(5, 100)], 0, 299),
        (lambda x: F.embedding(x.int().long(), table), 0, 299),
        (lambda x: F.embedding(x + 2, table), -2, 297),
        (lambda x: F.embedding(x - 3, table), 3, 302),
        (lambda x: F.embedding(x.clamp(0, 299), table) * F.embedding(x, small).sum(), 0, 19),
        (lambda x: torch.gather(table, 0, x.reshape(250, 2)), 0, 299),
    ):
        (made,) = drawn(function, ids)
        assert low <= int(made.min()) < low + 9 and high - 9 < int(made.max()) <= high


def test_indices_that_write_differ() -> None:
    x = torch.zeros(9, 4)
    for function, shape, axis in (
        (lambda i: torch.index_copy(x, 0, i, x + 1), (9,), 0),
        (lambda i: torch.scatter(x, 1, i, x + 1), (9, 4), 1),
        (lambda i: x.index_put((i,), x + 1), (9,), 0),
    ):
        (made,) = drawn(function, trtnn.Input(shape, torch.int64))
        ordered = made.sort(axis).values
        assert torch.equal(ordered, torch.arange(shape[axis]).expand(shape))


def test_an_index_that_writes_out_of_range_is_found_before_a_gpu_meets_it() -> None:
    inputs = [trtnn.Input((3, 4)), trtnn.Input((2,), torch.int64), trtnn.Input((3, 1), torch.int64)]
    graph = trtnn.trace(lambda x, i, j: (x.index_copy(0, i, x[:2]), x.scatter(1, j, 1.0)), inputs)
    constants = {value: constant.tensor for value, constant in graph.constants.items()}
    good, far = torch.tensor([0, 2]), torch.tensor([[0], [4], [1]])
    require_indices(graph, constants, [torch.zeros(3, 4), good, far - far], ())
    for first, second in ((good + 1, far - far), (good, far)):
        with pytest.raises(IndexError, match="out of bounds"):
            require_indices(graph, constants, [torch.zeros(3, 4), first, second], ())


def test_masks_show_something_and_hide_something() -> None:
    for dtype, function in (
        (torch.int64, lambda x: (1 - x[:, None].float()) * -9.0),
        (torch.int32, lambda x: x != 0),
        (torch.bool, lambda x: x & True),
    ):
        (made,) = drawn(function, trtnn.Input((30, 8), dtype))
        ones = made.long().sum(-1)
        assert made.dtype == dtype and int(ones.min()) >= 2 and int(ones.max()) <= 7
        assert bool((made.long().cumsum(-1) == torch.arange(1, 9).clamp(max=ones[:, None])).all())


def test_other_integers_are_small() -> None:
    (made,) = drawn(lambda x: x * 3, trtnn.Input((100,), torch.int64))
    assert sorted(set(made.tolist())) == [0, 1, 2, 3]
