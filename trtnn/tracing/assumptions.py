"""The 0/1 rule: a comparison with 0 or 1 that ranges leave open is answered for the general size.

A second trace at each size with the other answer then shows whether that restricts anything.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import torch

from trtnn.errors import TraceError
from trtnn.graph.graph import Assumption, Graph
from trtnn.graph.interpreter import run
from trtnn.ops.op import Spec
from trtnn.sizes.dims import Box, Dim, Expr, Size, evaluate, exceptions, symbols, wrap
from trtnn.sizes.profiles import count_profiles, profile_of
from trtnn.tracing.signature import Signature

SPECIAL_SIZES = 4
Sizes = dict[str, int]


def verify(graph: Graph, signature: Signature, trace: Callable[[Signature], Graph]) -> Graph:
    """Return the graph with a verdict on each assumption.

    Where the comparison has the other answer, trace again and compare both graphs on the
    interpreter. What such a trace assumes of other Dims is verified as well, at the sizes fixed so
    far.

    Raises:
        TraceError: They differ there, or there are too many such sizes: the error has the line
            that asked.
    """
    done: set[frozenset[tuple[str, int]]] = set()

    def compared(
        current: Graph, general: Signature, fixed: Sizes, assumption: Assumption
    ) -> list[str]:
        found = []
        for sizes in special_sizes(assumption, general):
            place = {**fixed, **sizes}
            others = _companions(signature.dims, place)
            if others is None:  # no profile has these sizes together
                continue
            found.append(_place(place, others))
            if frozenset(place.items()) in done:
                continue
            done.add(frozenset(place.items()))
            special = at(general, sizes)
            again = _traced(trace, special, assumption, place)
            difference = _difference(current, again, special, {**place, **others})
            if difference is not None:
                raise _differs(difference, assumption, place)
            for inner in again.assumptions:
                found += compared(again, special, place, inner)
        return found

    verdicts = [compared(graph, signature, {}, a) for a in graph.assumptions]
    verified = (
        replace(a, verdict=f"equal at {' and at '.join(places)}" if places else NOWHERE)
        for a, places in zip(graph.assumptions, map(dict.fromkeys, verdicts), strict=True)
    )
    return replace(graph, assumptions=tuple(verified))


NOWHERE = "so at every size in range"


def _place(fixed: Sizes, others: Sizes) -> str:
    """Write the sizes that a trace fixed and, in brackets, those that the comparison ran at."""
    text, rest = (", ".join(f"{n} = {v}" for n, v in x.items()) for x in (fixed, others))
    return f"{text} ({rest})" if rest else text


def _differs(what: str, assumption: Assumption, sizes: Sizes) -> TraceError:
    name, value = list(sizes.items())[-1]
    where = " and ".join(f"{name} is {value}" for name, value in sizes.items())
    return TraceError(
        f"{what} where {where}: {assumption}",
        hint=f'declare Dim("{name}", min={value + 1}, ...), or compile {name} = {value} on its own',
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
            raise _undecided(assumption, f"it is {not assumption.answer} at {_spread(box)}")
    return found


def _undecided(assumption: Assumption, why: str) -> TraceError:
    return TraceError(
        f"cannot decide {assumption.question}: {why}",
        hint="narrow the Dims' ranges",
        where=assumption.source,
    )


def _spread(box: Box) -> str:
    return ", ".join(f"{n} = {low} to {high}" for n, (low, high) in box.items())


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
        if not isinstance(size, Expr):
            return size
        values = {s: sizes[s.name] for s in symbols(size) if s.name in sizes}
        return wrap(size.sym.subs(values)) if values else size

    leaves = tuple(
        Spec(tuple(map(fix, x.shape)), x.dtype) if isinstance(x, Spec) else fix(x)
        for x in signature.leaves
    )
    dims = tuple(d for d in signature.dims if d.name not in sizes)
    return replace(signature, leaves=leaves, dims=dims)


def _difference(
    graph: Graph, special: Graph, signature: Signature, sizes: Mapping[str, int]
) -> str | None:
    """Run both graphs on random inputs; say what differs."""
    generator = torch.Generator().manual_seed(0)
    device = next((c.tensor.device for c in graph.constants.values()), torch.device("cpu"))
    inputs = [sample(spec, sizes, generator).to(device) for spec in signature.specs.values()]
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
