"""Known values answer and are not lowered; real tensors are never written; nothing is random."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy
import pytest
import torch

import trtnn
from tests.tracing.traced import X, check, refused
from trtnn import TraceError, trace

F = torch.nn.functional
WEIGHT = torch.nn.Parameter(torch.arange(6.0))
TABLE = torch.linspace(0, 1, 48).view(8, 6)
ARRAY = numpy.ones(6, dtype=numpy.float32)


class Holder(trtnn.Module):
    """A module whose forward is the row's function of itself and ``x``."""

    def __init__(self, function: Callable[[Any, torch.Tensor], Any]) -> None:
        super().__init__()
        self.function = function
        self.weight = torch.nn.Parameter(torch.arange(6.0))
        self.register_buffer("table", torch.linspace(0, 1, 48).view(8, 6))
        self.register_buffer("count", torch.zeros(6))
        self.plain = torch.ones(6)

    def forward(self, x: torch.Tensor) -> Any:
        return self.function(self, x)

    def everything(self) -> dict[str, torch.Tensor]:
        return {**self.state_dict(), "plain": self.plain}


ANSWERS: dict[str, tuple[Callable[[torch.Tensor], Any], int]] = {
    "item": (lambda x: x * (WEIGHT * 2).max().item(), 1),
    "bool": (lambda x: x * 2 if WEIGHT.max() > 3 else x + 1, 1),
    "tolist": (lambda x: x * WEIGHT.tolist()[2], 1),
    "int": (lambda x: x[:, : int(WEIGHT[3])], 1),
    "in": (lambda x: x * (3.0 in WEIGHT), 1),
    "iterate": (lambda x: sum(row for row in TABLE) + x, 1),
    "numpy": (lambda x: x + torch.from_numpy(ARRAY) * float(WEIGHT.detach().numpy()[1]), 1),
    "as_tensor written": (lambda x: x + torch.as_tensor(ARRAY).clone().add_(1), 1),
    "out": (lambda x: x + torch.add(WEIGHT.detach(), WEIGHT.detach(), out=torch.zeros(6)), 1),
    "scalar index": (lambda x: x[:, torch.tensor(2)], 2),
    "attention": (
        lambda x: x + F.scaled_dot_product_attention(TABLE[None], TABLE[None], TABLE[None])[0, 0],
        1,
    ),
    "inference mode": (lambda x: _inference(x), 2),
    "inference mode, of a traced shape": (lambda x: x + _inference_zeros(x), 1),
    "equal": (lambda x: x * torch.equal(WEIGHT, WEIGHT + 0), 1),
}


def _inference(x: torch.Tensor) -> torch.Tensor:
    with torch.inference_mode():
        mask = torch.zeros(6)
        mask[0] = 1
        y = x * 2
    return y + mask


def _inference_zeros(x: torch.Tensor) -> torch.Tensor:
    with torch.inference_mode():
        zeros = torch.zeros_like(x[0])
        return zeros.add_(1).clone()


@pytest.mark.parametrize("name", ANSWERS)
def test_known_values_answer_and_are_not_lowered(name: str) -> None:
    function, nodes = ANSWERS[name]
    assert len(check(function).nodes) == nodes


UNKNOWN: dict[str, tuple[Callable[[torch.Tensor], Any], str]] = {
    "item": (lambda x: x * x.sum().item(), "item of"),
    "bool": (lambda x: x if (x > 0).all() else -x, "__bool__ of"),
    "float": (lambda x: x * float(x.sum()), "__float__ of"),
    "tolist": (lambda x: x.tolist(), "tolist of"),
    "numpy": (lambda x: x.numpy(), "numpy of"),
    "in": (lambda x: x * (3 in x), "__contains__ of"),
    "equal": (lambda x: x * torch.equal(torch.ones(2), x), "equal of"),
    "data_ptr": (lambda x: x * x.data_ptr(), "no memory of its own"),
    "data_ptr of a parameter": (lambda x: x * WEIGHT.data_ptr(), "no memory of its own"),
}


@pytest.mark.parametrize("name", UNKNOWN)
def test_a_value_that_is_not_known_is_refused_at_its_line(name: str) -> None:
    refused(*UNKNOWN[name])


def set_item(self: Any, x: torch.Tensor) -> Any:
    self.count[0] = 1
    return x


def set_traced_item(self: Any, x: torch.Tensor) -> Any:
    self.plain[0] = x[0, 0]
    return x


def add_to_cut(self: Any, x: torch.Tensor) -> Any:
    self.table[: x.shape[0]].add_(x)
    return x


def set_data(self: Any, x: torch.Tensor) -> Any:
    self.weight.data = torch.zeros(6)
    return x * self.weight


def batch_norm(self: Any, x: torch.Tensor) -> Any:
    return x + F.batch_norm(self.table, self.count, self.plain, training=True)[0]


WRITES: dict[str, tuple[Callable[[Any, torch.Tensor], Any], str]] = {
    "item": (set_item, "'count'"),
    "item, traced": (set_traced_item, "a real tensor"),
    "add_": (lambda self, x: x + self.count.add_(1), "'count'"),
    "add_, traced": (lambda self, x: self.count.add_(x[0]), "'count'"),
    "view": (lambda self, x: x + self.count.view(2, 3).zero_().view(6), "'count'"),
    "cut by a size": (add_to_cut, "'table'"),
    "data copy": (lambda self, x: x + self.weight.data.copy_(x[0]), "'weight'"),
    "data zero": (lambda self, x: x + self.weight.data.zero_(), "'weight'"),
    "set data": (set_data, "data.__set__"),
    "out": (lambda self, x: x + torch.add(self.weight, 1, out=self.count), "'count'"),
    "in place": (lambda self, x: x + F.relu(self.count, inplace=True), "'count'"),
    "plain": (lambda self, x: x + self.plain.add_(1), "a real tensor"),
    "plain view": (lambda self, x: x + self.plain.view(-1).add_(1), "a real tensor"),
    "init": (lambda self, x: x + torch.nn.init.zeros_(self.count), "'count'"),
    "batch norm": (batch_norm, "'count'"),
    "embedding": (
        lambda self, x: x + F.embedding(torch.tensor([1]), self.table, max_norm=0.1),
        "'table'",
    ),
}


@pytest.mark.parametrize("name", WRITES)
def test_nothing_real_is_written(name: str) -> None:
    function, text = WRITES[name]
    module = Holder(function)
    before = {key: value.clone() for key, value in module.everything().items()}
    with pytest.raises((TraceError, NotImplementedError)) as caught:
        trace(module, [X])
    assert text in str(caught.value) and "test_values.py" in str(caught.value)
    assert all(torch.equal(value, before[key]) for key, value in module.everything().items())


RANDOM: dict[str, Callable[[torch.Tensor], Any]] = {
    "rand": lambda x: x + torch.rand(6),
    "rand_like": lambda x: x + torch.rand_like(x),
    "bernoulli": lambda x: torch.bernoulli(x),
    "uniform_": lambda x: x.uniform_(),
    "init": lambda x: x + torch.nn.init.normal_(torch.zeros(6)),
    "distribution": lambda x: x + torch.distributions.Normal(0.0, 1.0).sample((6,)),
    "dropout of known": lambda x: x + F.dropout(WEIGHT, 0.5, training=True),
    "gumbel": lambda x: x + F.gumbel_softmax(WEIGHT.detach()),
    "own generator": lambda x: x + torch.rand(6, generator=torch.default_generator),
}


@pytest.mark.parametrize("name", RANDOM)
def test_random_functions_are_refused_and_draw_nothing(name: str) -> None:
    state = torch.get_rng_state()
    refused(RANDOM[name], "draws random numbers")
    assert torch.equal(state, torch.get_rng_state())
