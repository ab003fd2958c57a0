"""What ``forward`` may not ask of the world, for a graph would freeze the answer: clocks, chance.

PyTorch cannot show such calls. The functions of the modules below are watched while a trace runs,
also where ``from time import time`` put them into the user's module; the states of generators are
compared before and after. ``datetime.now`` cannot be watched.
"""

from __future__ import annotations

import random
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Any

import torch

from trtnn.errors import TraceError
from trtnn.source import belongs_to_user

WATCHED = {
    "time": "time time_ns perf_counter perf_counter_ns monotonic monotonic_ns process_time "
    "process_time_ns thread_time thread_time_ns",
    "random": "random uniform randint randrange choice choices sample shuffle gauss normalvariate "
    "triangular betavariate expovariate getrandbits randbytes",
    "numpy.random": "rand randn randint random random_sample uniform normal standard_normal choice "
    "permutation shuffle binomial poisson exponential beta gamma default_rng",
    "os": "urandom",
    "uuid": "uuid1 uuid4",
    "secrets": "randbelow randbits choice token_bytes token_hex token_urlsafe",
}  # fmt: skip


def frozen(what: str) -> TraceError:
    return TraceError(
        f"forward asks {what}, whose answer a graph would freeze",
        hint="ask outside, and give the answer as an input; or keep it out of forward",
    )


@contextmanager
def watched(functions: Iterable[Callable[..., Any]]) -> Iterator[None]:
    """Refuse what user code asks of clocks and of chance, in this thread, at its line.

    Args:
        functions: What the user wrote: names that their modules imported are watched too.
    """
    places: list[dict[str, Any]] = []
    for function in functions:
        names = getattr(function, "__globals__", None)
        if names is not None and not any(names is place for place in places):
            places.append(names)
    replaced: list[tuple[dict[str, Any], str, Any, Any]] = []
    thread = threading.get_ident()
    for module, names_of in WATCHED.items():
        if (home := sys.modules.get(module)) is None:
            continue
        for name in names_of.split():
            original = vars(home).get(name)
            if original is None:
                continue
            refusing = _refusing(original, f"{module}.{name}()", thread)
            replaced.append((vars(home), name, original, refusing))
            for place in places:
                same = [n for n, value in place.items() if value is original]
                replaced += [(place, n, original, refusing) for n in same]
    try:
        for place, name, _, refusing in replaced:
            place[name] = refusing
        yield
    finally:
        for place, name, original, refusing in replaced:
            if place.get(name) is refusing:
                place[name] = original


def _refusing(function: Callable[..., Any], name: str, thread: int) -> Callable[..., Any]:
    @wraps(function)
    def ask(*args: Any, **kwargs: Any) -> Any:
        if threading.get_ident() == thread and belongs_to_user(sys._getframe(1)):
            raise frozen(name)
        return function(*args, **kwargs)

    return ask


def generator_states(reached: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    """Return the state of each generator of random numbers: the global ones, and those reached."""
    numpy = sys.modules.get("numpy")
    states: dict[str, Any] = {}
    if _is_alone():  # else another thread may have drawn
        states["the random module"] = random.getstate()
        if numpy is not None:
            states["numpy.random"] = numpy.random.get_state()
    for path, value in reached:
        if isinstance(value, random.Random):
            states[path] = value.getstate()
        elif isinstance(value, torch.Generator):
            states[path] = value.get_state()
        elif hasattr(value, "bit_generator"):
            states[path] = value.bit_generator.state
        elif numpy is not None and isinstance(value, numpy.random.RandomState):
            states[path] = value.get_state()
    return states


def _is_alone() -> bool:
    """Say whether no other thread runs that may draw: tqdm's monitor, for one, only looks on."""
    others = [t for t in threading.enumerate() if t is not threading.current_thread()]
    return all(type(thread).__module__.startswith("tqdm.") for thread in others)


def require_same_states(before: dict[str, Any], after: dict[str, Any]) -> None:
    """Raise TraceError for a generator whose numbers ``forward`` drew, or that it seeded."""
    for name, state in after.items():
        if name in before and not _same(before[name], state):
            raise frozen(f"{name} for random numbers, or seeds it")


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, torch.Tensor):
        return torch.equal(one, other)
    if isinstance(one, dict):
        return all(_same(value, other[key]) for key, value in one.items())
    if isinstance(one, tuple):
        return all(map(_same, one, other))
    equal = one == other
    return bool(equal.all() if hasattr(equal, "all") else equal)
