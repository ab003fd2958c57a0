"""What a traced tensor says of its place in memory is what PyTorch says."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

import trtnn
from tests.tracing.traced import X
from trtnn import Dim, Input, TraceError

F = torch.nn.functional
CONV = torch.nn.Conv2d(3, 4, 3)
WAYS: dict[str, Callable[[torch.Tensor], Any]] = {
    "input": lambda x: x,
    "transposed": lambda x: x.transpose(1, 2),
    "transposed, and more": lambda x: x.transpose(1, 2) * 2 + 1,
    "transposed twice": lambda x: x.transpose(1, 2).transpose(1, 2),
    "contiguous": lambda x: x.transpose(1, 2).contiguous(),
    "sliced": lambda x: x[..., ::2],
    "cut": lambda x: x[:, 1:],
    "first": lambda x: x[0],
    "expanded": lambda x: x[:, :1].expand(-1, 5, -1, -1),
    "reshaped": lambda x: x.transpose(1, 2).reshape(2, -1),
    "flattened": lambda x: x.flatten(1),
    "permuted": lambda x: x.permute(0, 2, 3, 1),
    "channels_last": lambda x: x.contiguous(memory_format=torch.channels_last),
    "convolved": lambda x: CONV(x),
    "matmul": lambda x: x @ x.transpose(-1, -2),
    "chunk": lambda x: x.chunk(3, 1)[1],
    "softmax": lambda x: x.transpose(1, 3).softmax(-1),
    "beside a constant": lambda x: x + torch.ones(7, 6).t(),
    "split in a structure": lambda x: x.unbind(1)[2],
    "written": lambda x: x.transpose(1, 2).clone().add_(1),
}


@pytest.mark.parametrize("name", WAYS)
def test_layout_is_that_of_pytorch(name: str) -> None:
    asked: list[Any] = []

    def forward(x: torch.Tensor) -> Any:
        y = WAYS[name](x)
        asked.append((y.is_contiguous(), y.stride(), y.stride(-1), y.storage_offset()))
        if y.dim() == 4:
            asked.append(y.is_contiguous(memory_format=torch.channels_last))
        return y + 0

    forward(torch.randn(2, 3, 6, 7))
    expected = asked.copy()
    asked.clear()
    trtnn.trace(forward, [Input((2, 3, 6, 7))])
    assert asked == expected


@pytest.mark.parametrize("name", ["input", "transposed", "contiguous", "cut", "permuted"])
def test_contiguity_with_dims_is_that_of_the_general_size(name: str) -> None:
    asked: list[bool] = []

    def forward(x: torch.Tensor) -> Any:
        y = WAYS[name](x)
        asked.append(y.is_contiguous())
        return y if asked[-1] else y.contiguous()

    forward(torch.randn(2, 3, 6, 7))
    batch, height = Dim("batch", 1, 2, 4), Dim("height", 1, 6, 9)
    model = trtnn.compile(forward, inputs=[Input((batch, 3, height, 7))], backend="reference")
    assert asked[1] == asked[0]
    for size in (1, 6):
        x = torch.randn(3, 3, size, 7)
        assert torch.equal(model(x), WAYS[name](x))


def test_an_input_of_another_memory_format_says_so() -> None:
    def forward(x: torch.Tensor) -> torch.Tensor:
        assert not x.is_contiguous()
        assert x.is_contiguous(memory_format=torch.channels_last)
        return x * 2

    trtnn.trace(forward, [Input((2, 8, 4, 4), memory_format=torch.channels_last)])


def strides_of_a_size(x: torch.Tensor) -> Any:
    return x * x.t().stride(1)


def made_by_data(x: torch.Tensor) -> Any:
    return x if x[x > 0].is_contiguous() else -x


def decided_by_the_kernel(x: torch.Tensor) -> Any:
    images = (
        F.pad(x, (2, 2, 2, 2)).expand(1, 3, -1, -1).contiguous(memory_format=torch.channels_last)
    )
    return CONV(images) if CONV(images).is_contiguous() else x


@pytest.mark.parametrize("forward", [strides_of_a_size, made_by_data, decided_by_the_kernel])
def test_what_pytorch_cannot_tell_is_refused(forward: Callable[..., Any]) -> None:
    dims = (X.shape[0], Dim("other", 3, 3, 5))
    with pytest.raises(TraceError, match=r"different answers|does not tell") as found:
        trtnn.trace(forward, [Input(dims)])
    assert found.value.where is not None and found.value.where.function == forward.__name__
