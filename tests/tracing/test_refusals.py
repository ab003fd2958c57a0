"""A refusal ends the trace, whoever catches it; random numbers are refused where they are used."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from tests.tracing.traced import X, check
from trtnn import Input, TraceError, TrtnnError, trace

F = torch.nn.functional


def caught(ask: Callable[[torch.Tensor], Any]) -> Callable[[torch.Tensor], torch.Tensor]:
    """Return a forward that takes another branch where ``ask`` raises."""

    def forward(x: torch.Tensor) -> torch.Tensor:
        try:
            answer = bool(ask(x))
        except Exception:
            answer = False
        return x + 1 if answer else x

    return forward


REFUSED: dict[str, Callable[[torch.Tensor], Any]] = {
    "a value": lambda x: x.max().item() > 5,
    "a truth": lambda x: (x > 0).all(),
    "a size": lambda x: x.shape[0] > 3,
    "an int of a size": lambda x: int(x.shape[0]),
    "an address": lambda x: x.data_ptr(),
    "a callable without a lowering": lambda x: torch.linalg.det(x[:, :2]),
    "shapes that do not fit": lambda x: (x + x[:, :2]).shape,
    "random numbers": lambda x: torch.rand([]) > 0.5,
}


def test_a_complex_input_is_told_how_to_come_in() -> None:
    with pytest.raises(TrtnnError, match=r"input z of torch\.complex64") as found:
        trace(lambda z: z.real, [Input((2, 3), torch.complex64)])
    assert "torch.view_as_complex" in str(found.value)


@pytest.mark.parametrize("ask", REFUSED.values(), ids=REFUSED)
def test_a_refusal_that_forward_catches_ends_the_trace(ask: Callable[..., Any]) -> None:
    with pytest.raises(TrtnnError) as found:
        trace(caught(ask), [X])
    assert found.value.where is not None and found.value.where.file == __file__
    assert "also where forward or a library catches it" in str(found.value)


def test_errors_of_others_may_be_caught() -> None:
    check(caught(lambda x: {}["none"]))
    check(caught(lambda x: [][0]))


def test_a_trace_inside_a_trace_has_refusals_of_its_own() -> None:
    def forward(x: torch.Tensor) -> torch.Tensor:
        with pytest.raises(TraceError):
            trace(lambda y: y if y.sum() > 0 else -y, [Input((2,))])
        return x + 1

    check(forward)


WORDS = ("rand", "bernoulli", "uniform_", "normal_")
"""What draws, as it stands at the lines that do."""


def uniform(*shape: int) -> torch.Tensor:
    return torch.empty(*shape).uniform_()


DRAWN: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "rand": lambda x: torch.rand([]),
    "rand of a size": lambda x: torch.rand(x.shape[0], 1),
    "randn by name": lambda x: torch.randn(size=(x.shape[0], 6)),
    "randint": lambda x: torch.randint(0, 5, (x.shape[0], 2)),
    "randint of known sizes": lambda x: torch.randint(5, (6,)),
    "randperm": lambda x: torch.randperm(x.shape[0]),
    "randn_like": torch.randn_like,
    "rand_like in half": lambda x: torch.rand_like(x, dtype=torch.float16),
    "bernoulli": lambda x: torch.bernoulli(torch.sigmoid(x)),
    "uniform_": lambda x: uniform(6),
    "normal_ of a traced tensor": lambda x: (x + 1).normal_(),
    "a view of what was drawn": lambda x: uniform(3, 6)[0],
    "init": lambda x: torch.nn.init.normal_(torch.empty(6)),
    "a generator": lambda x: torch.rand(6, generator=torch.Generator().manual_seed(1)),
}


@pytest.mark.parametrize("draw", DRAWN.values(), ids=DRAWN)
def test_what_is_drawn_and_not_used_is_no_error(draw: Callable[..., Any]) -> None:
    def forward(x: torch.Tensor) -> torch.Tensor:
        draw(x)
        return x + 1

    state = torch.random.get_rng_state()
    trace(forward, [X])
    assert torch.equal(torch.random.get_rng_state(), state), "numbers were drawn"


@pytest.mark.parametrize("draw", DRAWN.values(), ids=DRAWN)
def test_what_is_drawn_and_used_is_refused_at_the_line_that_drew(draw: Callable[..., Any]) -> None:
    for use in (lambda x, y: x + y.sum(), lambda x, y: y, lambda x, y: x if y.any() else -x):
        with pytest.raises(TraceError, match="draws random numbers") as found:
            trace(lambda x, use=use: use(x, draw(x)), [X])
        line = found.value.where
        assert line is not None and any(word in line.text for word in ("draw(x)", *WORDS))


def test_a_layer_that_only_training_drops_is_taken() -> None:
    """As HuBERT and Wav2Vec2 do: the number is drawn always, and looked at in training."""

    class Dropped(torch.nn.Linear):
        def forward(self, input: torch.Tensor) -> torch.Tensor:
            drawn = torch.rand([])
            skip = self.training and bool(drawn < 0.1)
            return input if skip else super().forward(input)

    check(Dropped(6, 6).eval())
    with pytest.raises(TraceError, match="rand in forward draws"):
        trace(Dropped(6, 6), [X])
