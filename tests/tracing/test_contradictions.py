"""Sizes that contradict: the error names where each comes from, the user's line, and what to do."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from trtnn import Dim, Input, ShapeError, TraceError, TrtnnError, trace

F = nn.functional
A, B, H = Dim("a", 1, 4, 8), Dim("b", 1, 4, 8), Dim("h", 4, 16, 64)
X, Y = Input((A, 3), name="x"), Input((B, 3), name="y")
Q, K = Input((2, 2, A, 4), name="q"), Input((2, 2, B, 4), name="k")
IMAGE = Input((1, 3, H, 32), name="image")
A_IS = "a is dim 0 of input x (declared Dim a, 1 to 8)"
B_IS = "b is dim 0 of input y (declared Dim b, 1 to 8)"
H_IS = "h is dim 2 of input image (declared Dim h, 4 to 64)"


class Head(nn.Module):
    """A body that gives 6 features and a head that takes 5."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.head = nn.Linear(3, 6), nn.Linear(5, 10)
        self.scale = nn.Parameter(torch.ones(5))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        features = self.body(x)
        result: torch.Tensor = self.head(features)  # <- here
        return result


class Transposed(Head):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.body(x) @ self.head.weight.t()


class Scaled(Head):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor = self.body(x) * self.scale
        return result


def failure(function: Callable[..., Any], *inputs: Input) -> TrtnnError:
    with pytest.raises(TrtnnError) as caught:
        trace(function, list(inputs))
    return caught.value


def line_of(function: Callable[..., Any], marked: str) -> int:
    lines, first = inspect.getsourcelines(function)
    return first + next(i for i, line in enumerate(lines) if marked in line)


def test_two_dims_where_one_was_meant() -> None:
    def forward(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return x + y

    assert str(failure(forward, X, Y)) == (
        "sum: (a, 3) and (b, 3) do not broadcast: "
        "sizes a and b are not shown to be equal at dim -2\n"
        f"  at test_contradictions.py:{line_of(forward, 'x + y')} in forward\n"
        "    return x + y\n"
        "  a is dim 0 of input x (declared Dim a, 1 to 8)\n"
        "  b is dim 0 of input y (declared Dim b, 1 to 8)\n"
        "  hint: declare one Dim for both, or reshape one side"
    )


def test_a_size_of_a_parameter_and_one_that_a_module_computed() -> None:
    body, head = line_of(Head.forward, "self.body"), line_of(Head.forward, "<- here")
    assert str(failure(Head(), X)) == (
        "linear: input (a, 6) float32 has last size 6, weight (10, 5) float32 takes 5\n"
        f"  at test_contradictions.py:{head} in forward\n"
        "    result: torch.Tensor = self.head(features)  # <- here\n"
        "  6 is dim 1 of the result of linear in body "
        f"(at test_contradictions.py:{body} in forward)\n"
        "  5 is dim 1 of parameter head.weight"
    )


def test_a_window_that_the_smallest_size_does_not_hold() -> None:
    def forward(image: torch.Tensor) -> torch.Tensor:
        return F.conv2d(image, torch.ones(4, 3, 7, 7))

    assert str(failure(forward, IMAGE)) == (
        "convolution: window 7 (dilation 1) is larger than size h with padding 0 at dim 2, "
        "where h = 4 to 6\n"
        f"  at test_contradictions.py:{line_of(forward, 'conv2d')} in forward\n"
        "    return F.conv2d(image, torch.ones(4, 3, 7, 7))\n"
        "  h is dim 2 of input image (declared Dim h, 4 to 64)\n"
        '  hint: declare Dim("h", min=7, ...)'
    )


Z = Input((3, A), name="x")
ROWS: dict[str, tuple[Callable[..., Any], tuple[Input, ...], str, list[str]]] = {
    # The function, its inputs, what the message says, and where the sizes come from.
    "matmul": (
        lambda x, y: x @ y,
        (Z, Y),
        "inner sizes a and b are not",
        ["a is dim 1 of input x (declared Dim a, 1 to 8)", B_IS],
    ),
    "matmul batches": (
        lambda x, y: x[:, None] @ y[:, :, None],
        (X, Y),
        "sizes a and b",
        [A_IS, B_IS],
    ),
    "bmm": (
        lambda x, y: torch.bmm(x[:, None], y[:, :, None]),
        (X, Y),
        "batch sizes a and b",
        [A_IS, B_IS],
    ),
    "view of a parameter": (
        Transposed(),
        (X,),
        "inner sizes 6 and 5 differ",
        ["6 is dim 1 of the result of linear in body", "5 is dim 0 of a view of head.weight"],
    ),
    "static": (
        Scaled(),
        (X,),
        "sizes 6 and 5 differ",
        ["6 is dim 1 of the result of linear in body", "5 is dim 0 of parameter scale"],
    ),
    "constant": (
        lambda x: x + torch.ones(5),
        (X,),
        "sizes 3 and 5 differ",
        ["3 is dim 1 of input x", "5 is dim 0 of a constant"],
    ),
    "cat": (lambda x, y: torch.cat([x, y], 1), (X, Y), "differ in more than dim 1", [A_IS, B_IS]),
    "stack": (lambda x, y: torch.stack([x, y]), (X, Y), "differ in more", [A_IS, B_IS]),
    "where": (lambda x, y: torch.where(x > 0, x, y), (X, Y), "where: ", [A_IS, B_IS]),
    "broadcast_tensors": (
        lambda x, y: torch.broadcast_tensors(x, y),
        (X, Y),
        "sizes a and b",
        [A_IS, B_IS],
    ),
    "expand": (
        lambda x, y: x.expand(y.shape[0], 3),
        (X, Y),
        "size a at dim 0 is neither 1 nor b",
        [A_IS, B_IS],
    ),
    "in place": (lambda x, y: (x * 1).add_(y), (X, Y), "sizes a and b", [A_IS, B_IS]),
    "reshape": (
        lambda x, y: x.reshape(y.shape[0], 3),
        (X, Y),
        "3*a elements, (b, 3) has 3*b, where a = 1 and b = 2",
        [A_IS, B_IS],
    ),
    "reshape, never": (
        lambda x: x.reshape(7, x.shape[0]),
        (X,),
        "has 3*a elements, (7, a) has 7*a",
        [A_IS],
    ),
    "reshape, not always": (
        lambda x: x.view(-1, 7),
        (X,),
        "3*a elements do not divide into (-1, 7), where a = 1 to 6",
        [A_IS],
    ),
    "computed": (
        lambda x, y: x[: x.shape[0] // 2] + y,
        (X, Y),
        "sizes a//2 and b",
        ["a//2 is dim 0 of the result of __getitem__ (at test_contradictions.py", A_IS, B_IS],
    ),
    "derived": (
        lambda x, y: x + y,
        (Input((2 * A, 3), name="x"), Y),
        "sizes 2*a and b",
        ["2*a is dim 0 of input x", "a is in 2*a, dim 0 of input x (declared Dim a, 1 to 8)", B_IS],
    ),
    "one Dim of two inputs": (
        lambda x, y, z: x + y + z,
        (X, Y, Input((B, 3), name="z")),
        "sizes a and b",
        [A_IS, "b is dim 0 of input y and dim 0 of input z (declared Dim b, 1 to 8)"],
    ),
    "counted": (
        lambda x: x[x > 0] + x.reshape(-1),
        (X,),
        "sizes nonzero_0 and 3*a",
        [
            "nonzero_0 depends on data: it is counted by __getitem__",
            "3*a is dim 0 of the result of reshape",
            A_IS,
        ],
    ),
    "channels": (
        lambda x: F.conv2d(x, torch.ones(4, 5, 1, 1)),
        (IMAGE,),
        "expected 5 channels (1 groups of 5), got 3",
        ["3 is dim 1 of input image", "5 is dim 1 of a constant"],
    ),
    "channels transposed": (
        lambda x: F.conv_transpose2d(x, torch.ones(5, 4, 1, 1)),
        (IMAGE,),
        "expected 5 channels",
        ["3 is dim 1 of input image", "5 is dim 0 of a constant"],
    ),
    "pooling": (lambda x: F.max_pool2d(x, 9), (IMAGE,), "window 9 is larger than dim 2", [H_IS]),
    "padding": (
        lambda x: F.pad(x, (0, 0, 5, 0), "reflect"),
        (IMAGE,),
        "beyond size h at dim 2, where h = 4 to 5",
        [H_IS],
    ),
    "narrow": (
        lambda x: x.narrow(2, 3, 3),
        (IMAGE,),
        "3 to 6 is outside size h, where h = 4 to 5",
        [H_IS],
    ),
    "index": (
        lambda x: x[:, :, 5],
        (IMAGE,),
        "index 5 is out of range for size h, where h = 4 to 5",
        [H_IS],
    ),
    "index from the end": (
        lambda x: x[:, :, -6],
        (IMAGE,),
        "index -6 is out of range for size h, where h = 4 to 5",
        [H_IS],
    ),
    "topk": (
        lambda x: x.topk(6, 2),
        (IMAGE,),
        "expected 1 to h entries, got k=6, where h = 4 to 5",
        [H_IS],
    ),
    "split": (lambda x: x.split([2, 3], 2), (IMAGE,), "outside size h, where h = 4", [H_IS]),
    "attention": (
        lambda q, k: F.scaled_dot_product_attention(q, k, q),
        (Q, K),
        "sizes b and a",
        [
            "b is dim 2 of input k (declared Dim b, 1 to 8)",
            "a is dim 2 of input q (declared Dim a, 1 to 8)",
        ],
    ),
    "comparison": (lambda x: x if x.shape[0] > 5 else -x, (X,), "cannot decide a > 5", [A_IS]),
    "number": (lambda x: x * int(x.shape[0]), (X,), "symbolic size a", [A_IS]),
}


@pytest.mark.parametrize("name", ROWS)
def test_where_contradicting_sizes_come_from(name: str) -> None:
    function, inputs, text, places = ROWS[name]
    error = failure(function, *inputs)
    assert isinstance(error, (ShapeError, TraceError)) and text in error.message
    assert error.where is not None and error.where.file == __file__
    assert len(error.origins) == len(places)
    for origin, place in zip(error.origins, places, strict=True):
        assert origin.startswith(place) and f"\n  {origin}" in str(error)


HINTS: dict[str, tuple[Callable[..., Any], str | None]] = {
    "window": (lambda x: F.max_pool2d(x, 9), 'declare Dim("h", min=9, ...)'),
    "strided": (
        lambda x: F.conv2d(x[:, :, ::2], torch.ones(1, 3, 5, 5)),
        'declare Dim("h", min=9, ...)',
    ),
    "index": (lambda x: x[:, :, 5], 'declare Dim("h", min=6, ...)'),
    "at the other end": (lambda x: torch.zeros(20).narrow(0, 0, x.shape[2]), None),
    "scattered": (lambda x: x.unflatten(2, (-1, 5)), "h would have to be a multiple of 5"),
}


@pytest.mark.parametrize("name", HINTS)
def test_the_hint_names_the_least_size_that_serves(name: str) -> None:
    function, hint = HINTS[name]
    error = failure(function, IMAGE)
    assert error.hint == hint
    if hint is not None and "min=" in hint:
        least = int(hint.split("min=")[1].split(",")[0])
        trace(function, [Input((1, 3, Dim("h", least, 16, 64), 32))])
        assert failure(function, Input((1, 3, Dim("h", least - 1, 16, 64), 32))).hint == hint


SERVES: dict[str, tuple[Callable[..., Any], Input]] = {
    "a padded window": (lambda x: F.conv2d(x, torch.ones(1, 3, 7, 7), padding=3), IMAGE),
    "padded to a multiple": (
        lambda x: F.pad(x, (0, 0, 0, -x.shape[2] % 5)).unflatten(2, (-1, 5)),
        IMAGE,
    ),
    "a multiple": (lambda x: x.reshape(-1, 7), Input((7 * A, 3))),
    "only sizes of its profiles": (
        lambda x: x.reshape(-1, 64),
        Input((Dim("p", profiles=[(64, 64, 64), (128, 128, 128)]), 3)),
    ),
    "data": (lambda x: x[x > 0][0], Input((8,))),
    "divided by data": (lambda x: x.new_zeros(10 // x.nonzero().shape[0]), Input((8,))),
}


@pytest.mark.parametrize("name", SERVES)
def test_what_holds_at_every_size_in_range_is_taken(name: str) -> None:
    function, declared = SERVES[name]
    trace(function, [declared])


def test_two_dims_of_one_name() -> None:
    other = Input((Dim("a", 2, 4, 8), 3), name="y")
    error = failure(lambda x, y: x + y, X, other)
    assert error.message == (
        "y: two Dims are named 'a', with (min, opt, max) ((1, 4, 8),) in input x and "
        "((2, 4, 8),) in input y"
    )
