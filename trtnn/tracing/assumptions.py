"""The 0/1 rule: a comparison with 0 or 1 that ranges leave open is answered for the general size.

A second trace at each size with the other answer then shows whether that restricts anything.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch

from trtnn.errors import AssumptionWarning, TraceError
from trtnn.graph.graph import Assumption, Graph
from trtnn.graph.interpreter import run
from trtnn.graph.sameness import same
from trtnn.ops.op import Spec
from trtnn.sizes.dims import Dim, Expr, Size, evaluate, exceptions, replaced, symbols
from trtnn.sizes.profiles import count_profiles, profile_of
from trtnn.source import warn_user
from trtnn.tracing.signature import Signature

SPECIAL_SIZES = 4
Sizes = dict[str, int]


def verify(graph: Graph, signature: Signature, trace: Callable[[Signature], Graph]) -> Graph:
    """Return the graph with a verdict on each assumption.

    Where the comparison has the other answer, trace again. Where the graph with these sizes put in
    is not that of the second trace, compare both on the interpreter, and warn that inputs that
    nobody drew may differ. What such a trace assumes of other Dims is verified as well, at the
    sizes fixed so far.

    Raises:
        TraceError: They differ there, or there are too many such sizes: the error has the line
            that asked.
    """
    done: dict[frozenset[tuple[str, int]], bool] = {}

    def compared(
        current: Graph, general: Signature, fixed: Sizes, assumption: Assumption
    ) -> dict[str, bool]:
        found: dict[str, bool] = {}
        for sizes in special_sizes(assumption, general):
            place = {**fixed, **sizes}
            others = _companions(signature.dims, place)
            if others is None:  # no profile has these sizes together
                continue
            key = frozenset(place.items())
            if key in done:
                found[_place(place, {} if done[key] else others)] = done[key]
                continue
            special = at(general, sizes)
            again = _traced(trace, special, assumption, place)
            done[key] = same(current, again, sizes)
            found[_place(place, {} if done[key] else others)] = done[key]
            if not done[key]:
                difference = _difference(current, again, special, {**place, **others})
                if difference is not None:
                    raise _differs(difference, assumption, place)
            for inner in again.assumptions:
                found |= compared(again, special, place, inner)
        return found

    verdicts = [compared(graph, signature, {}, a) for a in graph.assumptions]
    verified = tuple(
        replace(a, verdict=_verdict(places))
        for a, places in zip(graph.assumptions, verdicts, strict=True)
    )
    _warn([a for a, v in zip(verified, verdicts, strict=True) if not all(v.values())])
    return replace(graph, assumptions=verified)


NOWHERE = "so at every size in range"


def _warn(drawn: Sequence[Assumption]) -> None:
    """Say which answers change nothing as far as random inputs show."""
    if drawn:
        texts = "; ".join(f"{assumption}: {assumption.verdict}" for assumption in drawn)
        warn_user(
            f"{texts}. The graphs for the general and the special size differ, and give the same "
            "on random inputs; on others they may not. A Dim with a greater min, or a compilation "
            "for the special size, leaves no doubt",
            AssumptionWarning,
        )


def _verdict(places: Mapping[str, bool]) -> str:
    """Say where the graphs are the same, and where they only gave the same."""
    texts = []
    for certain, text in ((True, "the same graph at {}"), (False, "equal on random inputs at {}")):
        found = [place for place, known in places.items() if known is certain]
        if found:
            texts.append(text.format(" and at ".join(found)))
    return "; ".join(texts) or NOWHERE


def _place(fixed: Sizes, others: Sizes) -> str:
    """Write the sizes that a trace fixed and, in brackets, those that the comparison ran at."""
    text, rest = (", ".join(f"{n} = {v}" for n, v in x.items()) for x in (fixed, others))
    return f"{text} ({rest})" if rest else text


def _differs(what: str, assumption: Assumption, sizes: Sizes) -> TraceError:
    name, value = list(sizes.items())[-1]
    where = " and ".join(f"{name} is {value}" for name, value in sizes.items())
    apart = f'declare Dim("{name}", min={value + 1}, ...), or compile {name} = {value} on its own'
    return TraceError(
        f"{what} where {where}: {assumption}",
        hint=f"{NO_BRANCH}; or {apart}" if "%" in assumption.question else apart,
        where=assumption.source,
    )


def _traced(
    trace: Callable[[Signature], Graph],
    signature: Signature,
    assumption: Assumption,
    sizes: Sizes,
) -> Graph:
    try:
        return trace(signature)
    except Exception as error:  # of forward's own, of whatever type
        raise _differs(f"forward raises {error!r}", assumption, sizes) from error


def special_sizes(assumption: Assumption, signature: Signature) -> list[Sizes]:
    """Return the sizes of the Dims at which the comparison has the other answer.

    Raises:
        TraceError: There are too many, or too many to look at, or the size depends on data.
    """
    left, right = assumption.left, assumption.right
    named = {s.name for size in (left, right) for s in symbols(size)}
    if not named <= {dim.name for dim in signature.dims}:
        raise _undecided(assumption, "it depends on data")
    found: list[Sizes] = []
    for box in exceptions(assumption.comparison, left, right, answer=assumption.answer):
        if box is None:
            raise _undecided(assumption, "too many sizes would have to be tried")
        ranges = (range(low, min(high, low + SPECIAL_SIZES) + 1) for low, high in box.values())
        found += (dict(zip(box, each, strict=True)) for each in itertools.product(*ranges))
        if len(found) > SPECIAL_SIZES:
            raise _undecided(assumption, f"it is {not assumption.answer} at {_listed(found)}")
    return found


NO_BRANCH = (
    "write it without a branch (padding by n % 2 pads by nothing where n is even; torch.where), or "
    "declare the sizes that one branch is for: 2 * Dim(...), or Dims of narrower ranges, in a "
    "compilation of its own"
)


def _undecided(assumption: Assumption, why: str) -> TraceError:
    return TraceError(
        f"cannot decide {assumption.question}: {why}",
        hint=NO_BRANCH,
        where=assumption.source,
    )


def _listed(found: Sequence[Sizes]) -> str:
    places = (" and ".join(f"{n} = {v}" for n, v in sizes.items()) for sizes in found)
    return f"{', '.join(itertools.islice(places, SPECIAL_SIZES))}, ..."


def _companions(dims: tuple[Dim, ...], fixed: Sizes) -> Sizes | None:
    """Return small sizes for the other Dims in a profile that has the fixed ones, or None."""
    for index in range(count_profiles(dims)):
        ranges = {d.name: profile_of(d, index) for d in dims}
        if all(ranges[name][0] <= value <= ranges[name][2] for name, value in fixed.items()):
            rest = {name: r for name, r in ranges.items() if name not in fixed}
            return {name: max(low, min(high, 2)) for name, (low, _, high) in rest.items()}
    return None


def at(signature: Signature, sizes: Sizes) -> Signature:
    """Return a signature with some Dims fixed."""

    def fix(size: Size) -> Size:
        return replaced(size, sizes) if isinstance(size, Expr) else size

    leaves = tuple(
        Spec(tuple(map(fix, x.shape)), x.dtype) if isinstance(x, Spec) else fix(x)
        for x in signature.leaves
    )
    dims = tuple(d for d in signature.dims if d.name not in sizes)
    return replace(signature, leaves=leaves, dims=dims)


def _difference(
    graph: Graph, special: Graph, signature: Signature, sizes: Mapping[str, int]
) -> str | None:
    """Run both graphs on several random inputs; say what differs."""
    generator = torch.Generator().manual_seed(0)
    device = next((c.tensor.device for c in graph.constants.values()), torch.device("cpu"))
    for draw in DRAWS:
        inputs = [draw(sample(x, sizes, generator)).to(device) for x in signature.specs.values()]
        difference = _difference_on(inputs, graph, special, sizes)
        if difference is not None:
            return difference
    return None


DRAWS: tuple[Callable[[torch.Tensor], torch.Tensor], ...] = (
    lambda x: x,
    lambda x: x * 100 if x.is_floating_point() else x,
    lambda x: -x.abs() * 10_000 if x.is_floating_point() else torch.zeros_like(x),
    lambda x: x.sign() if x.is_floating_point() else torch.ones_like(x),
)
"""Random entries, and what is made of them: some that saturate, all of one sign, ones."""


def _difference_on(
    inputs: list[torch.Tensor], graph: Graph, special: Graph, sizes: Mapping[str, int]
) -> str | None:
    try:
        general, bindings = run(graph, inputs, hosts=hosts_of(graph, sizes))
    except Exception as error:  # PyTorch's own, of whatever type
        return f"the graph for other sizes raises {error!r}"
    exact, _ = run(special, inputs, hosts=hosts_of(special, sizes))
    if graph.result != special.result or len(general) != len(exact):
        return "forward returns another structure"
    every = {**bindings, **sizes}
    kept = zip(graph.leaves, special.leaves, strict=True)
    if any(_value(a, every) != _value(b, every) for a, b in kept):
        return "forward returns another value"
    pairs = zip(general, exact, strict=True)
    if all(a.shape == b.shape and a.dtype == b.dtype and _close(a, b) for a, b in pairs):
        return None
    return "forward computes something else"


def hosts_of(graph: Graph, sizes: Mapping[str, int]) -> list[int]:
    """Return the values of a graph's host inputs."""
    return [sizes[dim.name] for dim in graph.hosts.values()]


def _value(leaf: Any, sizes: Mapping[str, int]) -> Any:
    return evaluate(leaf, sizes) if isinstance(leaf, Expr) else leaf


def _close(a: torch.Tensor, b: torch.Tensor) -> bool:
    tolerance = 1e-4 if a.dtype in (torch.float32, torch.float64) else 2e-2
    return torch.allclose(a.double(), b.double(), rtol=tolerance, atol=tolerance, equal_nan=True)


def sample(spec: Spec, sizes: Mapping[str, int], generator: torch.Generator) -> torch.Tensor:
    """Return random content for an input: normal floats, zeros and ones for the rest."""
    shape = [evaluate(s, sizes) for s in spec.shape]
    if spec.dtype.is_floating_point:
        return torch.randn(shape, generator=generator).to(spec.dtype)
    return torch.randint(0, 2, shape, generator=generator).to(spec.dtype)
