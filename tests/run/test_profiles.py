"""Several optimization profiles: which one a call takes, on the doubles and on the reference."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import trtnn
from tests import double
from tests.run.test_runner import double_it, runner
from trtnn import Dim, Input, InputError, ShapeError
from trtnn.run.runner import Runner

WIDE = Dim("n", profiles=[(1, 64, 128), (1, 4, 16), (256, 256, 256)])


@pytest.fixture(params=["8.6", "10", "11"])
def made(request: Any) -> Runner:
    trt, made = runner(request.param, lambda x: x * 2, [Input((WIDE,), name="x")])
    double.on_execute(trt, double_it)
    return made


def call(made: Runner, size: int) -> int:
    """Run one size; return the profile that ran it."""
    x = torch.randn(size)
    (y,), prepared = made([x])
    torch.testing.assert_close(y, x * 2)
    return prepared.profile


def test_a_call_stays_on_the_last_profile_else_takes_the_tightest(made: Runner) -> None:
    assert [call(made, n) for n in (100, 10, 256, 16, 17)] == [0, 0, 2, 1, 0]


def test_alternating_profiles_stays_right(made: Runner) -> None:
    for _ in range(50):
        assert call(made, 256) == 2
        call(made, 100)
    assert {c.profile for c in made.pool.contexts} <= {0, 2} and len(made.pool.contexts) <= 2


def test_one_context_switches_where_no_second_one_is_allowed(made: Runner) -> None:
    made.pool.limit = 1
    for size, profile in ((100, 0), (256, 2), (100, 0), (256, 2)):
        assert call(made, size) == profile
    assert len(made.pool.contexts) == 1


def test_a_pinned_view_takes_its_profile_only(made: Runner) -> None:
    pinned = made.view(profile=1)
    assert call(made, 100) == 0 and call(pinned, 10) == 1 and call(made, 10) == 0
    with pytest.raises(InputError, match=r"n = 17 does not fit profile 1: n = 1 to 16"):
        pinned([torch.zeros(17)])
    assert pinned.pool is made.pool


def test_sizes_between_profiles_are_refused_with_all_ranges(made: Runner) -> None:
    text = r"n = 200 does not fit profile 0: n = 1 to 128; 1: n = 1 to 16; 2: n = 256"
    with pytest.raises(InputError, match=text):
        made([torch.zeros(200)])


def test_the_reference_has_the_same_profiles() -> None:
    model = trtnn.compile(lambda x: x * 2, inputs=[Input((WIDE,))], backend="reference")
    assert model.profiles == tuple({"n": p} for p in WIDE.profiles)
    assert model(torch.ones(256)).shape == (256,)
    with pytest.raises(InputError, match="does not fit profile 0"):
        model(torch.ones(200))
    view = model.with_profile(1)
    assert torch.equal(view(torch.ones(3)), torch.full((3,), 2.0))
    with pytest.raises(InputError, match="profile 1: n = 1 to 16"):
        view(torch.ones(100))
    with pytest.raises(InputError, match="expected an int from 0 to 2, got 3"):
        model.with_profile(3)


def test_numbers_of_profiles_must_agree() -> None:
    other = Dim("m", profiles=[(1, 2, 3), (4, 5, 6)])
    with pytest.raises(ShapeError, match=r"'n' has 3 profiles, Dim 'm' has 2"):
        trtnn.compile(lambda x: x, inputs=[Input((WIDE, other))], backend="reference")
    single = Dim("k", 1, 2, 3)
    model = trtnn.compile(lambda x: x + 1, inputs=[Input((WIDE, single))], backend="reference")
    assert [p["k"] for p in model.profiles] == [(1, 2, 3)] * 3


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({}, "expected either min, opt and max, or profiles"),
        ({"min": 1, "max": 2, "profiles": [(1, 1, 1)]}, "expected either"),
        ({"profiles": []}, "at least one profile"),
        ({"profiles": [(1, 2)]}, r"expected ints \(min, opt, max\), got \(1, 2\)"),
        ({"profiles": [(1, 2, 3), (3, 2, 1)]}, "0 <= min <= opt <= max"),
    ],
)
def test_bad_profiles(arguments: Any, text: str) -> None:
    with pytest.raises(ShapeError, match=text):
        Dim("n", **arguments)


def test_an_exception_while_it_runs_loses_no_context(made: Runner) -> None:
    def interrupted(*_: Any) -> None:
        raise KeyboardInterrupt

    trt = made.engine.library.trt
    double.on_execute(trt, interrupted)
    for _ in range(5):
        with pytest.raises(KeyboardInterrupt):
            made([torch.zeros(4)])
    double.on_execute(trt, double_it)
    assert call(made, 4) == 0


def test_a_negated_view_is_read_as_it_is(made: Runner) -> None:
    x = torch.tensor([1 + 2j]).conj().imag
    assert x.is_neg() and x.is_contiguous()
    with pytest.warns(trtnn.CopyWarning, match="negates"):
        (y,), _ = made([x])
    assert y.tolist() == [-4.0]
