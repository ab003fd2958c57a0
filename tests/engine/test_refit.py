"""Refit: an engine with new parameters has the weights that a build from them would have."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Iterator
from typing import Any

import numpy
import pytest
import torch
from torch import nn

import trtnn
from tests.double import Violation
from tests.refitting import (
    MODULES,
    REFIT,
    VERSIONS,
    WRONG,
    Computing,
    Small,
    X,
    built,
    contents,
    entered,
    free,
    inputs_of,
)
from tests.tracing.test_recipes import shaken
from trtnn import BuildError, Input, InputError, OptionError, UnsupportedError
from trtnn.compiler import optimize
from trtnn.engine.engine import Engine
from trtnn.engine.refit import make_refittable, refit
from trtnn.options import BuildOptions
from trtnn.sizes.dims import Dim


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16], ids=["float", "half"])
@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("name", MODULES)
def test_a_refit_gives_the_weights_of_a_fresh_build(
    name: str, version: str, dtype: torch.dtype
) -> None:
    module = MODULES[name][0]().to(dtype).eval()
    other, inputs = copy.deepcopy(module), inputs_of(name, dtype)
    other.load_state_dict(shaken(module).state_dict())  # which holds no hidden buffers
    engine = built(version, module, inputs)
    before, plan = contents(engine), engine.plan
    refit(engine, other.state_dict(), free)
    after, fresh = contents(engine), contents(built(version, other, inputs))
    assert after == fresh
    keys = [n for n in after if not n.startswith("constant")]
    assert {n.partition("#")[0] for n in keys} <= set(module.state_dict())
    assert [n for n in keys if before[n] == after[n]] == []
    assert all(before[n] == after[n] for n in after.keys() - set(keys))
    again = Engine(engine.plan, engine.library)
    assert engine.plan != plan and contents(again) == after and again.handle.refittable
    refit(engine, module.state_dict(), free)
    assert contents(engine) == before


def test_names_are_keys_of_the_state() -> None:
    module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 2, 1))
    engine = built("8.6", module.eval(), [Input((1, 3, 8, 8))])
    assert set(contents(engine)) == {"0.weight", "0.weight#1", "3.weight", "3.bias"}


@pytest.mark.parametrize("name", WRONG)
def test_a_state_that_does_not_fit_changes_nothing(name: str) -> None:
    changes, error, text = WRONG[name]
    module = Small().eval()
    engine = built("8.6", module, X)
    before = contents(engine)
    given = {**shaken(module).state_dict(), **changes}
    with pytest.raises(error, match=text):
        refit(engine, {k: v for k, v in given.items() if v is not None}, entered)
    assert contents(engine) == before


def test_what_is_no_state_is_refused() -> None:
    with pytest.raises(InputError, match="state: expected a state_dict, got Small"):
        refit(built("8.6", Small().eval(), X), Small(), free)  # type: ignore[arg-type]


def test_keys_that_the_graph_does_not_use_may_be_there_or_not() -> None:
    module = Small().eval()
    engine, state = built("8.6", module, X), shaken(module).state_dict()
    assert {"unused.weight", "norm.num_batches_tracked", "_extra_state"} < state.keys()
    refit(engine, state, free)
    after = contents(engine)
    for key in ("unused.weight", "unused.bias", "norm.num_batches_tracked", "_extra_state"):
        del state[key]
    refit(engine, state, free)
    assert contents(engine) == after


def test_the_module_may_change_before_and_after() -> None:
    """The engine shares the module's memory while it is built; a refit reads the given state."""
    module = Small().eval()
    engine, state = built("8.6", module, X), shaken(module).state_dict()
    with torch.no_grad():
        module.linear.weight.fill_(7)
    refit(engine, state, free)
    after = contents(engine)
    state["linear.weight"].zero_()
    assert contents(engine) == after == contents(built("8.6", with_state(module, state, after), X))


def with_state(module: nn.Module, state: dict[str, Any], after: dict[str, Any]) -> nn.Module:
    """Return a copy of a module with a state, its first weights as an engine has them."""
    other = copy.deepcopy(module)
    other.load_state_dict(state)
    content = bytearray(after["linear.weight"].content)
    with torch.no_grad():
        other.linear.weight.copy_(torch.frombuffer(content, dtype=torch.float32).view(4, 4))
    return other.eval()


# What is refused ----------------------------------------------------------------------------


def test_an_engine_without_refit_says_how() -> None:
    engine = built("8.6", Small().eval(), X, BuildOptions())
    with pytest.raises(OptionError) as caught:
        refit(engine, {}, entered)
    assert 'options=BuildOptions(refit="refit")' in str(caught.value)
    assert contents(engine) == {}


def test_a_loaded_engine_has_no_recipes() -> None:
    plan = built("8.6", Small().eval(), X)
    loaded = Engine(plan.plan, plan.library)
    with pytest.raises(UnsupportedError, match="a loaded model does not know"):
        refit(loaded, {}, entered)


class Index(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("order", torch.tensor([1, 0, 2]))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.index_select(x, 1, self.order)


@pytest.mark.parametrize("version", VERSIONS)
def test_integers_that_follow_from_the_state(version: str) -> None:
    module, other = Index(), Index()
    other.order = torch.tensor([2, 0, 1])
    if version == "8.6":
        with pytest.raises(UnsupportedError) as caught:
            built(version, module, X)
        assert "weights of floating point only" in str(caught.value)
        assert "follows from 'order'" in str(caught.value)
        assert "return torch.index_select(x, 1, self.order)" in str(caught.value)
        return
    engine = built(version, module, X)
    refit(engine, other.state_dict(), free)
    assert contents(engine) == contents(built(version, other, X)) != {}


@pytest.mark.parametrize("version", VERSIONS)
def test_one_profile_only(version: str) -> None:
    batch = Dim("batch", profiles=[(1, 2, 4), (5, 6, 8)])
    with pytest.raises(UnsupportedError, match="one optimization profile, and here are 2"):
        built(version, Small().eval(), [Input((batch, 4))])


# How TensorRT is told -------------------------------------------------------------------------


def test_order_is_compute_then_wait_then_replace() -> None:
    module, seen = Small().eval(), []
    engine, state = built("8.6", module, X), shaken(module).state_dict()
    before = contents(engine)

    @contextlib.contextmanager
    def exclusive() -> Iterator[None]:
        seen.append(contents(engine) == before)
        yield
        seen.append(contents(engine) == before)

    refit(engine, state, exclusive)
    assert seen == [True, False]


def test_a_refit_that_fails_half_way_leaves_no_engine() -> None:
    module = Small().eval()
    engine = built("8.6", module, X)
    engine.handle._breaks = True
    with pytest.raises(BuildError, match="may have old and new weights: Refitter: out of memory"):
        refit(engine, shaken(module).state_dict(), free)
    with pytest.raises(BuildError, match="the engine is unusable"):
        engine.library.context(engine.handle)
    with pytest.raises(BuildError, match="the engine is unusable"):
        refit(engine, module.state_dict(), free)


class Twice(nn.Module):
    """A parameter used as it is, and in what is computed from it."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.linear(x) * (self.linear.weight[0] * 2)


@pytest.mark.parametrize(
    ("method", "result", "text"),
    [
        ("set_named_weights", False, "could not take the weights 'linear.weight'"),
        ("get_missing_weights", ["a", "b"], "misses the weights 'a', 'b'"),
        ("get_all_weights", ["linear.weight"], "cannot refit 'linear.bias', 'linear.weight#1'"),
    ],
)
def test_a_refusal_before_anything_changed_leaves_the_engine(
    method: str, result: Any, text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = Twice()
    engine = built("8.6", module, X)
    before, trt = contents(engine), engine.library.trt
    monkeypatch.setattr(trt, "Refitter", answering(trt.Refitter, method, result))
    with pytest.raises(BuildError, match=text):
        refit(engine, module.state_dict(), free)
    assert contents(engine) == before and engine.library.context(engine.handle) is not None


def answering(kind: Any, method: str, result: Any) -> Any:
    """Return a refitter's class with one answer of its own."""

    class Other:
        def __init__(self, *given: Any) -> None:
            self.real = kind(*given)

        def __getattr__(self, name: str) -> Any:
            return (lambda *_: result) if name == method else getattr(self.real, name)

    return Other


@pytest.mark.parametrize("version", VERSIONS)
def test_the_double_takes_what_fits_only(version: str) -> None:
    engine = built(version, Small().eval(), X).handle
    logger = engine._owner.logger
    refitter = engine._surface.types["Refitter"](engine, logger)
    array = numpy.ones(4, dtype=numpy.float32)
    weights = engine._surface.types["Weights"]
    for name, wrong in (
        ("linear", array),
        ("linear.bias", array[:3]),
        ("linear.bias", array.astype(numpy.float16)),
    ):
        assert not refitter.set_named_weights(name, weights(wrong))
    assert refitter.get_missing_weights() == []
    assert refitter.set_named_weights("linear.bias", weights(array))
    assert set(refitter.get_missing_weights()) == engine._weights.keys() - {"linear.bias"}
    assert not refitter.refit_cuda_engine()
    for name in refitter.get_missing_weights():
        held = engine._weights[name]
        assert refitter.set_named_weights(name, weights(numpy.ones(held.count, numpy.float32)))
    with pytest.raises(Violation, match="weights freed before TensorRT read them"):
        refitter.refit_cuda_engine()
    plain = built(version, Small().eval(), X, BuildOptions()).handle
    with pytest.raises(Violation, match="not refittable"):
        plain._surface.types["Refitter"](plain, plain._owner.logger)


# The ways of refit and the plan ---------------------------------------------------------------


@pytest.mark.parametrize("mode", ["refit", "identical", "individual"])
@pytest.mark.parametrize("version", ["10", "11"])
def test_a_stripped_plan_gets_its_weights_before_it_runs(version: str, mode: str) -> None:
    module = Computing().eval()
    inputs = inputs_of("computing", torch.float32)
    options = BuildOptions(refit=mode, strip_plan=True)
    engine = built(version, module, inputs, options)
    whole = contents(built(version, module, inputs, BuildOptions(refit=mode)))
    assert contents(engine) == whole != {}
    empty = Engine(engine.plan, engine.library)
    assert {held.content for held in contents(empty).values()} == {None}
    found = Engine(engine.whole_plan, engine.library)  # as the cache has it
    make_refittable(found, optimize(trtnn.trace(module, inputs), engine.library), options)
    assert contents(found) == whole and contents(found.copy()) == whole
    again = Engine(found.plan, engine.library)
    assert {held.content for held in contents(again).values()} == {None}
    if mode == "identical":
        return
    plan, other = engine.plan, shaken(module)
    refit(engine, other.state_dict(), free)
    assert engine.plan == plan
    assert contents(engine) != whole and contents(engine.copy()) == contents(engine)


@pytest.mark.parametrize("version", VERSIONS)
def test_an_engine_from_the_cache_learns_its_recipes(version: str) -> None:
    module = Computing().eval()
    inputs, state = inputs_of("computing", torch.float32), shaken(module).state_dict()
    engine = built(version, module, inputs)
    found = Engine(engine.plan, engine.library)
    make_refittable(found, optimize(trtnn.trace(module, inputs), engine.library), REFIT)
    for each in (engine, found, found):
        refit(each, state, free)
    assert contents(found) == contents(engine)


@pytest.mark.parametrize("version", ["10", "11"])
def test_identical_takes_the_values_of_the_build_only(version: str) -> None:
    module = Small().eval()
    options = BuildOptions(refit="identical")
    engine = built(version, module, X, options)
    state = copy.deepcopy(module.state_dict())
    refit(engine, state, free)
    with torch.no_grad():
        module.linear.bias.add_(1)  # the engine has what it was built with
    with pytest.raises(InputError, match=r"'linear.bias' has other values than the engine"):
        refit(engine, module.state_dict(), entered)
    refit(engine, state, free)


@pytest.mark.parametrize("version", ["10", "11"])
def test_individual_marks_what_follows_from_the_state(version: str) -> None:
    module = Computing().eval()
    inputs, options = inputs_of("computing", torch.float32), BuildOptions(refit="individual")
    engine = built(version, module, inputs, options)
    every = contents(built(version, module, inputs))
    assert contents(engine) == {n: w for n, w in every.items() if n.partition("#")[0] != "constant"}
    assert len(contents(engine)) < len(every)
    other = copy.deepcopy(module)
    other.load_state_dict(shaken(module).state_dict())
    refit(engine, other.state_dict(), free)
    assert contents(engine) == contents(built(version, other, inputs, options))


def test_engines_without_refit_have_no_names() -> None:
    assert contents(built("8.6", Small().eval(), X, BuildOptions())) == {}
