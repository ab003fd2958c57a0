"""In-place calls: exact through bases and views, or an error; never a wrong answer."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch

from tests.tracing.traced import X, check, refused
from trtnn import DTypeError, UnsupportedError, trace

F = torch.nn.functional
Function = Callable[[torch.Tensor], Any]


def add_to_view(x: torch.Tensor) -> Any:
    y = x * 1
    v = y[0]
    y = y + 1
    v.add_(1)
    return y, v


def set_items(x: torch.Tensor) -> Any:
    y = x * 1
    y[:, 1:3] = x[:, :2] * 3
    y[..., -1] = 0
    y[0, 0] = x[1, 1]
    y[:, None, 2] = 7
    y[1] = x[0][None]
    y[0, 1] = x.shape[0]
    return y


def set_through_transpose(x: torch.Tensor) -> Any:
    y = x * 1
    z, w = y.t(), y[:, 2:4]
    z[1] = 7
    w.mul_(2)
    return y, z, w


def chain_of_views(x: torch.Tensor) -> Any:
    y = x * 1
    y.view(y.shape[0], 3, 2)[0].t().mul_(2)
    return y


def overlapping(x: torch.Tensor) -> Any:
    y = x * 1
    y[:, 1:] = y[:, :-1] * 1
    first = y[0]
    y[0] = y[1]
    y[1] = first
    return y


def augmented(x: torch.Tensor) -> Any:
    y = x * 1
    y += x
    y[:, ::1] *= 2
    y[:, 1] -= x[:, 0]
    y.mul_(x.shape[0] * 0.5)
    return y


def parts(cut: Callable[[torch.Tensor], Any]) -> Function:
    def write(x: torch.Tensor) -> Any:
        y = x * 1
        first, *_, last = cut(y)
        first.add_(1)
        last.zero_()
        return y, first, last

    return write


def same(change: Callable[[torch.Tensor], torch.Tensor]) -> Function:
    """Write to what ``change`` gives, and return both."""

    def write(x: torch.Tensor) -> Any:
        y = x * 1
        z = change(y)
        z.add_(1)
        return y, z

    return write


def relu_by_name(x: torch.Tensor) -> Any:
    y = x * 1
    return y, F.relu(input=y, inplace=True)


def zeros_then_rows(x: torch.Tensor) -> Any:
    out = torch.zeros(4, 6)
    for i in range(4):
        out[i] = x[0] * i
    like = torch.zeros_like(x)
    like[:, 0] = x[:, 1]
    return out, like


def set_rows_by_list(x: torch.Tensor) -> Any:
    y = x * 1
    v = y[:, 1:]
    y[:, [0, 2]] = x[:, 4:]
    y[[1, -1], 1:3] += 1
    return y, v


def set_by_mask(x: torch.Tensor) -> Any:
    y = x * 1
    v = y.t()
    y[y > 0] = 0
    y[y < -1] += 1
    y[1, x[1] > 0] = x[0, 0]
    return y, v


def set_every_second(x: torch.Tensor) -> Any:
    y = torch.zeros_like(x)
    v = y[1]
    y[:, ::2] = x[:, :3]
    y[:, 1::2] = x[:, 3:]
    y[::2, 1:5:3] *= 2
    return y, v


def set_by_tensors(x: torch.Tensor) -> Any:
    y = torch.zeros_like(x)
    at = (x[0] > 0).long()
    y[at[0], 2:4] = x[1, 2:4]
    y[at[1:2], :, None] = x[:1, :, None]
    y[:, 4:][at[:1] - 1, at[:1]] = 3
    return y


def set_diagonal(x: torch.Tensor) -> Any:
    y = x[:2, :4].clone()
    d = y.diagonal(1)
    d.copy_(x[1, :2])
    return (
        y,
        d,
        torch.zeros_like(x[:, :2]).fill_diagonal_(3),
        y.clone().fill_diagonal_(2, wrap=True),
    )


EXACT: dict[str, Function] = {
    "view of a base rebound since": add_to_view,
    "items": set_items,
    "through transpose and slice": set_through_transpose,
    "chain of views": chain_of_views,
    "overlapping": overlapping,
    "augmented assignment": augmented,
    "chunk": parts(lambda y: y.chunk(2, 1)),
    "split": parts(lambda y: torch.split(tensor=y, split_size_or_sections=[2, 4], dim=1)),
    "unbind": parts(lambda y: y.t().unbind(0)),
    "iterate": parts(lambda y: list(y.t())),
    "data": same(lambda y: y.data),
    "detach": same(lambda y: y.detach()),
    "to the same dtype": same(lambda y: y.to(torch.float32)),
    "float of float": same(lambda y: y.float()),
    "view of the same shape": same(lambda y: y.view(y.shape)),
    "expand to the same shape": same(lambda y: y.expand(y.shape[0], 6)),
    "squeeze of unsqueeze": same(lambda y: y.unsqueeze(0).squeeze(0)),
    "unflatten": same(lambda y: y.unflatten(1, (2, 3))[:, 0]),
    "cat of one": same(lambda y: torch.cat([y])),
    "clone": same(lambda y: y.clone()),
    "deepcopy": same(copy.deepcopy),
    "to with copy": same(lambda y: y.to(torch.float32, copy=True)),
    "advanced index": same(lambda y: y[:, [0, 2]]),
    "relu in place": lambda x: F.relu(x * 1, inplace=True),
    "relu in place by name": relu_by_name,
    "relu_": lambda x: torch.relu_(x * 1),
    "masked_fill_": lambda x: (x * 1).masked_fill_(x > 0, 3.0),
    "rows of zeros": zeros_then_rows,
    "a list": set_rows_by_list,
    "a mask": set_by_mask,
    "a step": set_every_second,
    "index tensors": set_by_tensors,
    "a diagonal": set_diagonal,
}


@pytest.mark.parametrize("name", EXACT)
def test_what_is_written_is_seen_as_in_pytorch(name: str) -> None:
    check(EXACT[name])


def written_then_used(view: Callable[[torch.Tensor], torch.Tensor], write_base: bool) -> Function:
    def forward(x: torch.Tensor) -> Any:
        y = x * 1
        z = view(y)
        (y if write_base else z).add_(1)
        return z + 1 if write_base else y + 1

    return forward


def write_expanded(x: torch.Tensor) -> Any:
    y = x[:1].clone().expand(x.shape[0], 6)
    y.add_(1)
    return y


def set_data(x: torch.Tensor) -> Any:
    y = x * 1
    y.data = torch.zeros(6)
    return y


DOUBT = "may or may not share memory"
ERRORS: dict[str, tuple[Function, str]] = {
    "base of a reshape": (written_then_used(lambda y: y.reshape(-1), False), DOUBT),
    "reshape of a base": (written_then_used(lambda y: y.reshape(-1), True), DOUBT),
    "view of a reshape": (written_then_used(lambda y: y.reshape(-1).view(-1, 2), True), DOUBT),
    "two reshapes": (written_then_used(lambda y: y.reshape(-1).reshape(-1, 2), True), DOUBT),
    "contiguous": (written_then_used(lambda y: y.contiguous(), False), DOUBT),
    "dropout": (written_then_used(lambda y: F.dropout(y, 0.5, training=False), True), DOUBT),
    "an expanded tensor": (write_expanded, "in-place write through Expand"),
    "data": (set_data, "data.__set__"),
}


@pytest.mark.parametrize("name", ERRORS)
def test_doubt_is_an_error_at_its_line(name: str) -> None:
    function, text = ERRORS[name]
    with pytest.raises(NotImplementedError) as caught:
        trace(function, [X])
    assert text in str(caught.value) and "test_in_place.py" in str(caught.value)


def write_only_the_reshape(x: torch.Tensor) -> Any:
    z = (x * 1).reshape(-1)
    z.add_(1)
    return z


def test_a_reshape_that_alone_is_used_may_be_written() -> None:
    check(write_only_the_reshape)


def divide_an_integer(x: torch.Tensor) -> Any:
    y = x.long()
    y /= 2
    return y


def test_a_result_that_does_not_go_into_the_dtype_is_refused_by_an_operator_too() -> None:
    error = refused(divide_an_integer, "torch.float32, which does not go into torch.int64")
    assert type(error) is DTypeError


def write_input(x: torch.Tensor) -> Any:
    x.add_(1)
    x[:, :2].mul_(3)
    return x, x * 2


def test_an_input_is_never_written_and_a_note_says_so() -> None:
    graph = check(write_input)  # which looks at the input afterwards
    assert graph.notes == ("x is written in forward: a copy is, the caller's is not",)
    assert "note: x is written" in str(graph)


def constant_of_its_moment(x: torch.Tensor) -> Any:
    t = torch.ones(6)
    v = t[:3]
    before = x * t
    v.mul_(5)
    return before, x * t, x[:, :3] * v


def known_row(x: torch.Tensor) -> Any:
    t = torch.zeros(4, 6)
    row, flat = t[1], t.view(24)
    left, right = flat.split(12)
    row.copy_(x[0])
    t[2] += x[1]
    right.mul_(2)
    return t, row, flat, left, right


def known_reshape(x: torch.Tensor) -> Any:
    t = torch.zeros(4, 6)
    flat = t.reshape(24)
    before = x + t[0]
    t[0] = x[0]
    return t, flat, before


def known_cut_by_a_size(x: torch.Tensor) -> Any:
    t = torch.zeros(8, 6)
    v = t[: x.shape[0]]
    w = v[:, :2]
    w.add_(1)
    t[: x.shape[0]] += x
    return t, v, w


def numpy_of_known(x: torch.Tensor) -> Any:
    return x * float(torch.arange(6.0).numpy()[2])


def known_as_it_is(through: Function) -> Function:
    """Return a forward that writes to what a call gave back as it was, and to the tensor itself."""

    def forward(x: torch.Tensor) -> Any:
        y = x[0]
        first, second, third = (torch.zeros_like(y) for _ in range(3))
        through(first, y).copy_(y)
        other = through(second, y)
        second.add_(y)
        last = through(third, y)
        last.fill_(2.0)
        return first, second, other, third, last

    return forward


def known_diagonal(x: torch.Tensor) -> Any:
    t = torch.zeros(4, 6)
    d = t.diagonal()
    t[0] = x[0]
    return d + 1


KNOWN: dict[str, Function] = {
    "expand_as": known_as_it_is(lambda z, y: z.expand_as(y)),
    "view_as": known_as_it_is(lambda z, y: z.view_as(y)),
    "reshape_as": known_as_it_is(lambda z, y: z.reshape_as(y)),
    "broadcast_tensors": known_as_it_is(lambda z, y: torch.broadcast_tensors(z, y)[0]),
    "cat with nothing": known_as_it_is(lambda z, y: torch.cat([z, y[:0]])),
    "type_as": known_as_it_is(lambda z, y: z.type_as(y)),
    "a constant keeps its moment": constant_of_its_moment,
    "a traced value in a known row": known_row,
    "a known tensor reshaped": known_reshape,
    "a known tensor cut by a size": known_cut_by_a_size,
    "read through numpy": numpy_of_known,
    "a known diagonal": known_diagonal,
}


@pytest.mark.parametrize("name", KNOWN)
def test_known_tensors_share_memory_as_in_pytorch(name: str) -> None:
    check(KNOWN[name])


def known_expanded_then_written(x: torch.Tensor) -> Any:
    t = torch.zeros(1, 6)
    v = t.expand(x.shape[0], 6)
    t.add_(1)
    return v + x


def known_windows(x: torch.Tensor) -> Any:
    t = torch.zeros(4, 6)
    d = t.unfold(0, 2, 2)
    t[0] = x[0]
    return d + 1


def numpy_written(x: torch.Tensor) -> Any:
    t = torch.zeros(6)
    t.numpy()[0] = 1
    return x + t


def test_aliases_of_known_tensors_that_cannot_be_followed_are_refused() -> None:
    refused(known_expanded_then_written, "a view of a tensor that was written in place since")
    refused(known_windows, "a view that has no lowering")
    with pytest.raises(ValueError, match="read-only"):
        trace(numpy_written, [X])


RESHAPED: dict[str, Function] = {
    "squeeze_": lambda t, x: t.squeeze_(),
    "unsqueeze_": lambda t, x: t.unsqueeze_(0),
    "t_": lambda t, x: t.t_(),
    "transpose_": lambda t, x: t.transpose_(0, 1),
    "swapaxes_": lambda t, x: t.swapaxes_(0, 1),
    "swapdims_": lambda t, x: t.swapdims_(0, 1),
    "resize_": lambda t, x: t.resize_(2, 2),
    "resize_as_": lambda t, x: t.resize_as_(x),
    "as_strided_": lambda t, x: t.as_strided_((2,), (1,)),
    "by keyword": lambda t, x: torch.Tensor.unsqueeze_(t, dim=0),
}


@pytest.mark.parametrize("name", RESHAPED)
def test_a_shape_is_not_changed_in_place(name: str) -> None:
    weight = torch.ones(6, 6)
    for make in (lambda x: x * 2, lambda x: torch.zeros(4, 6), lambda x: weight):
        with pytest.raises(UnsupportedError, match="changes what a tensor is") as found:
            trace(lambda x, make=make: RESHAPED[name](make(x), x), [X])
        assert found.value.where is not None and found.value.where.text.startswith(f'"{name}"')
    assert weight.shape == (6, 6)


def test_detaching_in_place_is_nothing() -> None:
    check(lambda x: (x * 2).detach_() + torch.ones(6).detach_())
