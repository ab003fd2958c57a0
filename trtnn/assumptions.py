"""The 0/1 rule: a comparison with 0 or 1 that ranges leave open is answered for the general size.

A second trace at the special size then shows whether that answer restricts anything.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch

from trtnn.dims import Dim, Expr, Size, bounds, decide, evaluate, symbols, wrap
from trtnn.errors import TraceError
from trtnn.graph import Assumption, Graph
from trtnn.interpreter import run
from trtnn.op import Spec
from trtnn.signature import Signature

SPECIAL_SIZES = 4
SCANNED = 4096


def verify(graph: Graph, signature: Signature, trace: Callable[[Signature], Graph]) -> None:
    """Trace again at each special size and compare both graphs on the interpreter.

    Raises:
        TraceError: They differ there: the error has the line that asked.
    """
    for assumption in graph.assumptions:
        symbol, values = special_sizes(assumption)
        for value in values:
            special = at(signature, symbol, value)
            if not _agree(graph, trace(special), special, {symbol.name: value}):
                raise TraceError(
                    f"forward computes something else where {symbol.name} is {value}: {assumption}",
                    hint=f'declare Dim("{symbol.name}", min={value + 1}, ...), or compile '
                    f"{symbol.name} = {value} on its own",
                    where=assumption.source,
                )


def special_sizes(assumption: Assumption) -> tuple[Any, list[int]]:
    """Return the symbol, and its values at which the comparison has the other answer."""
    difference = assumption.left - assumption.right
    (symbol, *others) = symbols(difference)
    low, high = int(symbol.low), min(int(symbol.high), int(symbol.low) + SCANNED)
    values = []
    if not others:
        for value in range(low, high + 1):
            bindings = {symbol.name: value}
            left, right = (evaluate(s, bindings) for s in (assumption.left, assumption.right))
            if decide(assumption.comparison, left, right) != assumption.answer:
                values.append(value)
    if others or len(values) > SPECIAL_SIZES:
        least, greatest = bounds(difference)
        raise TraceError(
            f"cannot decide {assumption}: the difference is {least} to {greatest}",
            hint="narrow the Dims' ranges",
            where=assumption.source,
        )
    return symbol, values


def at(signature: Signature, symbol: Any, value: int) -> Signature:
    """Return a signature with one Dim fixed."""

    def fix(size: Size) -> Size:
        return wrap(size.sym.subs(symbol, value)) if isinstance(size, Expr) else size

    leaves = tuple(
        Spec(tuple(map(fix, x.shape)), x.dtype) if isinstance(x, Spec) else x
        for x in signature.leaves
    )
    dims = tuple(d for d in signature.dims if d.name != symbol.name)
    return replace(signature, leaves=leaves, dims=dims)


def _agree(graph: Graph, special: Graph, signature: Signature, fixed: dict[str, int]) -> bool:
    generator = torch.Generator().manual_seed(0)
    device = next((c.tensor.device for c in graph.constants.values()), torch.device("cpu"))
    sizes = {d.name: _small(d) for d in signature.dims}
    inputs = [sample(spec, sizes, generator).to(device) for spec in signature.specs.values()]
    general, bindings = run(graph, inputs)
    exact, _ = run(special, inputs)
    if graph.result != special.result or len(general) != len(exact):
        return False
    kept = zip(graph.leaves, special.leaves, strict=True)
    same_leaves = all(
        (evaluate(a, {**bindings, **fixed}) if isinstance(a, Expr) else a)
        == (evaluate(b, bindings) if isinstance(b, Expr) else b)
        for a, b in kept
    )
    return same_leaves and all(
        a.shape == b.shape and a.dtype == b.dtype and _close(a, b)
        for a, b in zip(general, exact, strict=True)
    )


def _small(dim: Dim) -> int:
    return max(dim.min, min(dim.max, 2))


def _close(a: torch.Tensor, b: torch.Tensor) -> bool:
    tolerance = 1e-4 if a.dtype in (torch.float32, torch.float64) else 2e-2
    return torch.allclose(a.double(), b.double(), rtol=tolerance, atol=tolerance, equal_nan=True)


def sample(spec: Spec, sizes: dict[str, int], generator: torch.Generator) -> torch.Tensor:
    """Return random content for an input: normal floats, zeros and ones for the rest."""
    shape = [evaluate(s, sizes) for s in spec.shape]
    if spec.dtype.is_floating_point:
        return torch.randn(shape, generator=generator).to(spec.dtype)
    return torch.randint(0, 2, shape, generator=generator).to(spec.dtype)
