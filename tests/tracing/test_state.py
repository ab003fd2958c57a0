"""What a graph would freeze is refused: attributes that change, clocks, and chance."""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable
from functools import cached_property
from random import random as chance
from time import perf_counter
from typing import Any

import numpy
import pytest
import torch

from tests.tracing.traced import X, check
from trtnn import TraceError, trace

Forward = Callable[[Any, torch.Tensor], Any]


class Helper:
    calls = 0


class Stateful(torch.nn.Module):
    """A module with state of every kind that is no tensor."""

    steps = 0

    def __init__(self, function: Forward) -> None:
        super().__init__()
        self.function = function
        self.n, self.ratio, self.last = 0, 0.5, None
        self.seen: list[int] = []
        self.table: dict[str, int] = {}
        self.helper = Helper()
        self.random = random.Random(1)
        self.numpy = numpy.random.default_rng(1)
        self.legacy = numpy.random.RandomState(1)
        self.inner = torch.nn.Linear(6, 6)

    @cached_property
    def scale(self) -> float:
        return 2.0

    def forward(self, x: torch.Tensor) -> Any:
        return self.function(self, x)


def count(self: Any, x: torch.Tensor) -> Any:
    self.n += 1
    return x * self.n


def count_elsewhere(self: Any, x: torch.Tensor) -> Any:
    self.helper.calls += 1
    return x * self.helper.calls


def count_in_the_class(self: Any, x: torch.Tensor) -> Any:
    type(self).steps += 1
    return x * self.steps


def count_over_the_class(self: Any, x: torch.Tensor) -> Any:
    self.steps += 1
    return x * self.steps


def decay(self: Any, x: torch.Tensor) -> Any:
    self.ratio = self.ratio * 0.5
    return x * self.ratio


def append(self: Any, x: torch.Tensor) -> Any:
    self.seen.append(1)
    return x * len(self.seen)


def remember(self: Any, x: torch.Tensor) -> Any:
    if self.last is None:
        self.last = 3
    return x * self.last


def remember_in_a_table(self: Any, x: torch.Tensor) -> Any:
    return x * self.table.setdefault("k", 3)


def of_a_submodule(self: Any, x: torch.Tensor) -> Any:
    self.inner.out_features -= 1
    return self.inner(x)


CHANGES: dict[str, tuple[Forward, str]] = {
    "count": (count, "'n'"),
    "count elsewhere": (count_elsewhere, "'helper.calls'"),
    "count in the class": (count_in_the_class, "'Stateful.steps'"),
    "count over the class": (count_over_the_class, "'steps'"),
    "decay": (decay, "'ratio'"),
    "append": (append, "'seen'"),
    "remember": (remember, "'last'"),
    "remember in a table": (remember_in_a_table, "table"),
    "of a submodule": (of_a_submodule, "'inner.out_features'"),
}


@pytest.mark.parametrize("name", CHANGES)
def test_an_attribute_that_forward_counts_with_is_named_and_put_back(name: str) -> None:
    function, text = CHANGES[name]
    module = Stateful(function)
    for _ in range(2):
        with pytest.raises(TraceError, match="which a graph would freeze") as found:
            trace(module, [X])
        assert text in found.value.message
        if name in ("count", "decay", "of a submodule"):
            line = found.value.where
            assert line is not None and line.function == function.__name__
    assert (module.n, module.ratio, module.last, module.seen, module.table) == (
        0,
        0.5,
        None,
        [],
        {},
    )
    assert Stateful.steps == 0 and "steps" not in vars(module) and Helper.calls == 0
    assert "calls" not in vars(module.helper) and module.inner.out_features == 6


def hand_over(self: Any, x: torch.Tensor) -> Any:
    self.n, self.inner.height = x.shape[1], x.shape[0]
    return self.inner(x) * self.n + self.inner.height


def computed_once(self: Any, x: torch.Tensor) -> Any:
    return x * self.scale


def the_same_again(self: Any, x: torch.Tensor) -> Any:
    self.n = int(self.n)
    self.seen = list(self.seen)
    return x + self.n


def a_list_of_its_own(self: Any, x: torch.Tensor) -> Any:
    self.seen = []
    self.seen.append(2)
    return x * self.seen[0]


@pytest.mark.parametrize("function", [hand_over, computed_once, the_same_again, a_list_of_its_own])
def test_what_is_written_before_it_is_read_is_no_state(function: Forward) -> None:
    module = Stateful(function)
    trace(module, [X])
    assert module.n == 0 and module.seen == [] and not hasattr(module.inner, "height")
    check(module)


def test_an_object_that_is_no_module_has_state_too() -> None:
    class Counter:
        n = 0

        def __call__(self, x: torch.Tensor) -> torch.Tensor:
            self.n += 1
            return x * self.n

    counter = Counter()
    for function in (counter, counter.__call__):
        with pytest.raises(TraceError, match="changes 'n'"):
            trace(function, [X])
    assert "n" not in vars(counter)


ASKED: dict[str, tuple[Callable[[Any], Any], str]] = {
    "time": (lambda self: time.time(), "time.time()"),
    "imported from time": (lambda self: perf_counter(), "time.perf_counter()"),
    "random": (lambda self: random.random(), "random.random()"),
    "imported from random": (lambda self: chance(), "random.random()"),
    "randint": (lambda self: random.randint(1, 6), "random.randint()"),
    "shuffle": (lambda self: random.shuffle([1, 2, 3]), "random.shuffle()"),
    "numpy": (lambda self: numpy.random.rand(2), "numpy.random.rand()"),
    "a new generator": (lambda self: numpy.random.default_rng(), "numpy.random.default_rng()"),
    "numpy, not watched": (lambda self: numpy.random.laplace(), "numpy.random"),
    "random, not watched": (lambda self: random.paretovariate(1.0), "the random module"),
    "seed": (lambda self: random.seed(3), "the random module"),
    "own random": (lambda self: self.random.random(), "random for random numbers"),
    "own numpy": (lambda self: self.numpy.normal(), "numpy for random numbers"),
    "own legacy numpy": (lambda self: self.legacy.rand(), "legacy for random numbers"),
}


@pytest.mark.parametrize("name", ASKED)
def test_clocks_and_chance_are_refused_by_name(name: str) -> None:
    ask, text = ASKED[name]

    def forward(self: Any, x: torch.Tensor) -> Any:
        ask(self)
        return x * 2

    before = (time.time, random.random, numpy.random.rand, chance, perf_counter)
    with pytest.raises(TraceError, match="whose answer a graph would freeze") as found:
        trace(Stateful(forward), [X])
    assert text in found.value.message
    if text.endswith("()"):
        assert found.value.where is not None and found.value.where.function == "<lambda>"
    assert before == (time.time, random.random, numpy.random.rand, chance, perf_counter)


def test_other_threads_and_libraries_may_look_at_the_clock() -> None:
    answers: list[float] = []

    def forward(x: torch.Tensor) -> torch.Tensor:
        thread = threading.Thread(target=lambda: answers.append(time.time()))
        thread.start()
        thread.join()
        logging.getLogger("quiet").warning("a record has a time")
        return x * 2

    check(forward)
    assert answers


def test_a_progress_bar_that_is_there_hides_no_drawing() -> None:
    class Monitor(threading.Thread):
        __module__ = "tqdm._monitor"

    done = threading.Event()
    monitor = Monitor(target=done.wait)
    monitor.start()
    try:
        with pytest.raises(TraceError, match="the random module"):
            trace(lambda x: x * random.paretovariate(1.0), [X])
    finally:
        done.set()
        monitor.join()
