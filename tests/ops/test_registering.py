"""``trtnn.register``: what trtnn lacks, or an operator of ``torch.library``, with a meaning."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch

import trtnn
from tests.compare import error
from trtnn.errors import OptionError, UnsupportedError
from trtnn.graph.graph import Graph
from trtnn.graph.interpreter import run
from trtnn.ops.op import TABLE


@torch.library.custom_op("trtnn_tests::scaled", mutates_args=())
def scaled(x: torch.Tensor, factor: float, shift: float = 0.0) -> torch.Tensor:
    return x * factor + shift


PACKET: Any = torch.ops.trtnn_tests.scaled
CALLS: dict[str, Callable[..., torch.Tensor]] = {
    "the function that custom_op returned": lambda x: scaled(x, 2.0),
    "the operator": lambda x: PACKET(x, 2.0, shift=1.0),
    "its overload": lambda x: PACKET.default(x, 2.0),
}


@pytest.fixture(autouse=True)
def restored() -> Iterator[None]:
    """Leave no meaning to other tests."""
    before = dict(TABLE)
    yield
    TABLE.clear()
    TABLE.update(before)


def traced(function: Callable[..., Any]) -> Graph:
    return trtnn.trace(function, [trtnn.Input((2, 3))])


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
@pytest.mark.parametrize("given", [scaled, PACKET, PACKET.default], ids=["def", "packet", "one"])
def test_an_operator_gets_a_meaning_in_all_its_spellings(given: Any, call: Any) -> None:
    with pytest.raises(UnsupportedError, match=r"trtnn_tests\.scaled"):
        traced(call)

    @trtnn.register(given)
    def meaning(x: torch.Tensor, factor: float, shift: float = 0.0) -> torch.Tensor:
        return torch.add(torch.mul(x, factor), shift)

    x = torch.randn(2, 3)
    (result,), _ = run(traced(call), [x])
    assert error(result, call(x)) < 1e-6


def test_a_refusal_says_how_to_give_a_meaning() -> None:
    with pytest.raises(UnsupportedError) as caught:
        traced(lambda x: PACKET(x, 2.0))
    assert "@trtnn.register(torch.ops.trtnn_tests.scaled)" in str(caught.value)
    assert "test_registering.py" in str(caught.value)
    with pytest.raises(UnsupportedError, match="factors or inverts") as caught:
        traced(lambda x: torch.linalg.qr(x))
    assert "@trtnn.register(torch.linalg.qr)" in str(caught.value)


def test_a_plain_torch_callable_gets_a_meaning() -> None:
    @trtnn.register(torch.special.bessel_j0)
    def zero(input: torch.Tensor) -> torch.Tensor:
        return torch.zeros_like(input)

    (result,), _ = run(traced(lambda x: torch.special.bessel_j0(x) + x), [torch.ones(2, 3)])
    assert torch.equal(result, torch.ones(2, 3))


def test_what_has_a_meaning_keeps_it_unless_told() -> None:
    with pytest.raises(OptionError, match=r"torch\.relu has a meaning already") as caught:
        trtnn.register(torch.relu)
    assert "replace=True" in str(caught.value)
    trtnn.register(torch.relu, replace=True)(lambda input: torch.mul(input, 2))
    (result,), _ = run(traced(lambda x: torch.relu(x)), [-torch.ones(2, 3)])
    assert torch.equal(result, torch.full((2, 3), -2.0))


@pytest.mark.parametrize(
    "given", [(), ("torch.relu",), (torch.relu, 3)], ids=["none", "a name", "a number"]
)
def test_what_is_no_callable_is_refused(given: tuple[Any, ...]) -> None:
    with pytest.raises(OptionError, match="register: expected"):
        trtnn.register(*given, replace=True)


def test_arguments_that_the_meaning_does_not_take_are_the_users_error() -> None:
    trtnn.register(PACKET)(lambda x: x)
    with pytest.raises(UnsupportedError, match="scaled"):
        traced(lambda x: PACKET(x, 2.0))
