"""PyTorch's operator database: every sample traced, run by the interpreter, and held to eager."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import torch
from torch.testing._internal.common_methods_invocations import op_db

import trtnn
from trtnn.errors import TrtnnError, UnsupportedError
from trtnn.graph.interpreter import run
from trtnn.tree import flatten, unflatten

DTYPES = (torch.float32, torch.int64)
TOLERANCE = 1e-4  # relative and absolute: sums in another order, beside eager in the same float32

# No meaning to hold a graph to: random numbers, uninitialised memory, gradients and training,
# sparse tensors, kernels that are compiled, what PyTorch keeps to itself, sizes changed in place.
LEFT_OUT = re.compile(
    r"""(nn\.functional\.)?(dropout\d?d?|feature_alpha_dropout|alpha_dropout|fractional_max_pool.*)$
    |(cauchy|exponential|geometric|log_normal|uniform|normal|bernoulli|multinomial|rand.*)$
    |normal\..*|.*\.with_train$|empty.*|new_empty.*|.*backward.*|.*\.grad$|.*grad_oriented$|gradient$
    |.*subgradients.*|sparse\..*|to_sparse|jiterator.*|_.*[a-z]$|torch\.(_|ops).*|.*\.triton_optimized
    |resize_.*|hash_tensor|pca_lowrank|svd_lowrank|nn\.functional\.rrelu""",
    re.VERBOSE,
)

# Whose second result is an index, that PyTorch does not define where entries are equal.
TIED = frozenset({"kthvalue", "median", "nanmedian", "mode"})


@dataclass
class Entry:
    """One entry of the database, and what became of its samples."""

    name: str
    matched: int = 0
    refused: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)

    @property
    def matches(self) -> bool:
        """Say whether every sample gave what eager gives."""
        return bool(self.matched) and not self.refused and not self.wrong

    def told(self) -> str:
        """Return what became of the samples, with the first reason."""
        if self.matches:
            return "matches"
        first = (*self.wrong, *self.refused)[0].partition(" | ")[0]
        return first if not self.matched else f"{first} ({self.matched} samples match)"


def name_of(info: Any) -> str:
    return f"{info.name}.{info.variant_test_name}" if info.variant_test_name else str(info.name)


def entries() -> dict[str, Any]:
    """Return the entries that have a meaning in a graph, by name."""
    named = {name_of(info): info for info in op_db if info.supports_dtype(torch.float32, "cpu")}
    named |= {name_of(info): info for info in op_db if info.supports_dtype(torch.int64, "cpu")}
    return {n: named[n] for n in sorted(named) if n.startswith("__") or not LEFT_OUT.fullmatch(n)}


def samples_of(info: Any, most: int | None) -> Iterator[tuple[torch.dtype, Any]]:
    """Yield the samples of an entry, the first ``most`` of each dtype."""
    for dtype in DTYPES:
        if not info.supports_dtype(dtype, "cpu"):
            continue
        torch.manual_seed(0)
        samples = info.sample_inputs_func(info, "cpu", dtype, requires_grad=False)
        yield from ((dtype, sample) for sample in islice(samples, most))


def examined(name: str, info: Any, most: int | None = None) -> Entry:
    """Trace the samples of an entry and hold each to eager."""
    entry = Entry(name)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for dtype, sample in samples_of(info, most):
            leaves, structure = flatten((sample.input, tuple(sample.args), dict(sample.kwargs)))
            places = [i for i, leaf in enumerate(leaves) if isinstance(leaf, torch.Tensor)]
            call = _call(info.op, leaves, structure, places)
            tensors = [leaves[i] for i in places]
            shown = f"{dtype} {[tuple(t.shape) for t in tensors]} {sample.args} {sample.kwargs}"
            shown = re.sub(r"\s+", " ", shown)[:300]
            try:
                told = _compared(call, tensors, tied=name in TIED)
            except UnsupportedError as error:
                entry.refused.append(f"{str(error).splitlines()[0]} | {shown}")
            except Exception as error:  # whatever it is, a user would not know what to do
                entry.wrong.append(f"{type(error).__name__}: {str(error)[:200]} | {shown}")
            else:
                if told is None:
                    entry.matched += 1
                else:
                    entry.wrong.append(f"{told} | {shown}")
    return entry


def _call(op: Any, leaves: list[Any], structure: Any, places: list[int]) -> Callable[..., Any]:
    def call(*tensors: torch.Tensor) -> Any:
        filled = list(leaves)
        for place, tensor in zip(places, tensors, strict=True):
            filled[place] = tensor
        first, args, kwargs = unflatten(structure, filled)
        result = op(first, *args, **kwargs)
        return list(map(_real, result)) if isinstance(result, (tuple, list)) else _real(result)

    return call


def _real(result: Any) -> Any:
    """Return a complex result as what a graph can give: pairs of real numbers."""
    complex_ = isinstance(result, torch.Tensor) and result.is_complex()
    return torch.view_as_real(result.resolve_conj()) if complex_ else result


def _compared(
    call: Callable[..., Any], tensors: list[torch.Tensor], *, tied: bool = False
) -> str | None:
    """Return what differs between the graph and eager, None where nothing does."""
    try:
        expected = call(*(t.clone() for t in tensors))
    except Exception as error:
        try:
            trtnn.trace(call, [trtnn.Input(tuple(t.shape), t.dtype) for t in tensors])
        except TrtnnError:
            return None
        return f"eager raises {type(error).__name__}, the trace does not"
    graph = trtnn.trace(call, [trtnn.Input(tuple(t.shape), t.dtype) for t in tensors])
    results, _ = run(graph, [t.clone() for t in tensors])
    want, _ = flatten(expected)
    if len(want) != len(graph.leaves):
        return f"{len(graph.leaves)} results, expected {len(want)}"
    for leaf, reference in zip(graph.leaves, want, strict=True):
        given = results[leaf] if isinstance(reference, torch.Tensor) else leaf
        if not isinstance(reference, torch.Tensor):
            if given != reference:
                return f"{given!r}, expected {reference!r}"
            continue
        if (given.shape, given.dtype) != (reference.shape, reference.dtype):
            return (
                f"{tuple(given.shape)} {given.dtype}, expected {tuple(reference.shape)} "
                f"{reference.dtype}"
            )
        if tied and given.dtype == torch.int64 and given is not results[graph.leaves[0]]:
            continue
        if not torch.allclose(
            given.resolve_conj(), reference.resolve_conj(), TOLERANCE, TOLERANCE, equal_nan=True
        ):
            return f"values differ: {given.flatten()[:4]}, expected {reference.flatten()[:4]}"
    return None
