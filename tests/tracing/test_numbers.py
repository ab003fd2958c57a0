"""NumPy's scalars are numbers wherever Python's are, and flags count by position too."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

import trtnn
from tests.tracing.traced import check, refused
from trtnn.graph.interpreter import run
from trtnn.tree import flatten

HALF = torch.float16
N = trtnn.Dim("n", 2, 3, 6)
F2, D2, I2, I1, YES = np.float32(2.5), np.float64(2.5), np.int64(2), np.int32(1), np.bool_(True)

NUMBERS: dict[str, Callable[[torch.Tensor], Any]] = {
    "operands": lambda x: (x * F2, F2 * x, D2 - x, x / I2, x**F2, I2 + x, x // I1, x > F2),
    "operands of half": lambda x: (x.half() * F2, F2 * x.half(), x.half() + D2, x.half() * I2),
    "operands of ints": lambda x: (x.long() * F2, x.long() + I2, x.long() * YES, x.long() == I1),
    "truth values": lambda x: (x * YES, YES + x.half(), torch.where(x > 0, YES, x)),
    "functions": lambda x: (torch.add(x, x, alpha=F2), torch.mul(x, I2), torch.pow(F2, x)),
    "bounds": lambda x: (x.clamp(np.float32(-0.5), I1), x.masked_fill(x > 0, D2)),
    "both of where": lambda x: (torch.where(x > 0, F2, D2), torch.where(x > 0, I1, I2)),
    "where beside half": lambda x: torch.where(x > 0, x.half(), F2),
    "dims": lambda x: (x.sum(np.int64(1)), x.sum((np.int64(1),)), x.mean(dim=[I1], keepdim=True)),
    "dims of movement": lambda x: (x.transpose(np.int64(0), I1), x.permute(I1, np.int64(0))),
    "dims of all kinds": lambda x: (x.unsqueeze(I1), x.softmax(I1), x.flip(np.int8(0)), x.max(I1)),
    "sizes": lambda x: (x.reshape(np.int64(-1), I2), x.reshape((I2, np.int32(-1))), x.view(-1, I2)),
    "sizes of expand": lambda x: (x[None].expand(I2, -1, np.int64(4)), x.repeat(I2, I1)),
    "cuts": lambda x: (x.split([I1, np.int64(3)], I1), x.narrow(I1, I1, I2), x.chunk(I2, I1)),
    "indices": lambda x: (x[I1], x[:, I2], x[: np.int64(1)], x[I1:, ::I2], x[..., np.uint8(1)]),
    "arrays as indices": lambda x: (x[np.array([1, 0])], x[:, np.array([[0, 1]])], x[np.array(1)]),
    "masks": lambda x: x[:, np.array([True, False, True, False])],
    "lists of them": lambda x: (x[[I1, np.int64(0)]], x[:, [I2]]),
    "fills": lambda x: (torch.full((x.shape[0],), F2), torch.full((x.shape[0],), I2)),
    "truth as a fill": lambda x: (torch.full((x.shape[0],), YES), torch.full_like(x, D2)),
    "factories": lambda x: (x.new_full((I2,), F2), torch.zeros(x.shape[0], I2), x.new_zeros(I2)),
    "ranges": lambda x: torch.arange(np.int64(1), x.shape[0] + I2, I2),
    "settings": lambda x: (F.leaky_relu(x, np.float32(0.5)), F.elu(x, F2), F.softplus(x, I2)),
    "eps": lambda x: F.layer_norm(x, (np.int64(4),), eps=np.float32(0.5)),
    "padding": lambda x: (F.pad(x, (I1, I2)), F.pad(x, (I1, 0), value=F2)),
    "scale": lambda x: F.interpolate(x[None, None], scale_factor=np.float32(2)),
    "size of a picture": lambda x: F.interpolate(x[None, None], size=(I2, np.int64(6))),
    "sizes of Dims": lambda x: torch.zeros(I2 * x.shape[0], x.shape[0] + np.int32(1)),
    "sizes as operands": lambda x: (x * (x.shape[0] * I2), x * (np.int64(3) - x.shape[0])),
    "topk": lambda x: torch.topk(x, I2, I1),
}


@pytest.mark.parametrize("function", NUMBERS.values(), ids=NUMBERS)
def test_numpy_number_equals_torch(function: Callable[[torch.Tensor], Any]) -> None:
    x = torch.randn(3, 4, generator=torch.Generator().manual_seed(1))
    graph = trtnn.trace(function, [trtnn.Input((N, 4))])
    results, _ = run(graph, [x])
    wanted, _ = flatten(function(x))
    for leaf, expected in zip(graph.leaves, wanted, strict=True):
        assert results[leaf].dtype == expected.dtype
        torch.testing.assert_close(results[leaf], expected, rtol=2e-3, atol=2e-3, equal_nan=True)


def test_numpy_number_in_a_layer_is_one() -> None:
    net = nn.Sequential(
        nn.Conv1d(4, 4, 3, padding=np.int64(1)),
        nn.LeakyReLU(F2),
        nn.LayerNorm(5, eps=np.float64(1)),
    )
    x = torch.randn(2, 4, 5)
    graph = trtnn.trace(net.eval(), [trtnn.Input((N, 4, 5))])
    (result,), _ = run(graph, [x])
    torch.testing.assert_close(result, net(x).detach())


WRONG: dict[str, tuple[Callable[[torch.Tensor], Any], str]] = {
    "a float as a dim": (lambda x: F.softmax(x, 1.0), "softmax: expected an int as dim, got 1.0"),
    "a complex fill": (lambda x: torch.full((x.shape[0],), 2j), "expected a number to fill with"),
    "truth as an index": (lambda x: x[YES], "indexing: 1.0 as an index"),
    "a float as an index": (lambda x: x[F2], "indexing: 2.5 as an index"),
    "a number as a device": (lambda x: x.to(0, HALF), "device cuda:0 in a model compiled for cpu"),
    "an array of floats": (lambda x: x[np.array([0.5])], "expected int32 or int64 indices"),
}


@pytest.mark.parametrize("case", WRONG.values(), ids=WRONG)
def test_wrong_number_is_refused_at_the_line(case: Any) -> None:
    function, text = case
    refused(function, text)


def written(convert: Callable[[torch.Tensor], torch.Tensor]) -> Callable[..., Any]:
    def forward(x: torch.Tensor) -> Any:
        y = x * 2
        convert(y).add_(1)
        return y

    return forward


COPIES: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "to by position": lambda y: y.to(torch.float32, False, True),
    "to by name": lambda y: y.to(torch.float32, copy=True),
    "to a device": lambda y: y.to("cpu", torch.float32, False, True),
    "to another": lambda y: y.to(y, False, True),
    "to nothing but a copy": lambda y: y.to(copy=True),
    "to another type": lambda y: y.to(HALF),
    "clone": lambda y: y.clone(memory_format=torch.contiguous_format),
    "to itself": lambda y: y.to(torch.float32, False, False),
    "to itself by name": lambda y: y.to(dtype=torch.float32, copy=False),
    "to its device": lambda y: y.to("cpu", None, True, False),
    "type": lambda y: y.type(torch.float32, True),
    "float": lambda y: y.float(),
}


@pytest.mark.parametrize("convert", COPIES.values(), ids=COPIES)
def test_write_to_a_conversion_reaches_what_pytorchs_does(convert: Any) -> None:
    check(written(convert))


@pytest.mark.parametrize("convert", COPIES.values(), ids=COPIES)
def test_write_to_a_conversion_of_a_known_tensor(convert: Any) -> None:
    def forward(x: torch.Tensor) -> Any:
        y = torch.ones(6) * 2
        convert(y).add_(x[0])
        return y + x

    check(forward)


@pytest.mark.parametrize("function", [F.relu, F.silu, F.hardswish], ids=lambda f: f.__name__)
def test_inplace_by_position_writes(function: Any) -> None:
    def forward(x: torch.Tensor) -> Any:
        y = x * 2
        function(y, True)
        return y

    check(forward)


def test_keyword_of_a_replayed_view_is_read_as_the_first_time() -> None:
    def forward(x: torch.Tensor) -> Any:
        base = torch.zeros(2, 6)
        view = base.reshape(shape=(6, 2))
        base.add_(x[:2])
        return view

    check(forward)
