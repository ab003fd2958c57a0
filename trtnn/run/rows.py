"""Whether the rows of a model may be put together in any batch: those of strangers, in servers."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from trtnn.graph.graph import Graph, Interface, all_nodes
from trtnn.graph.interpreter import run
from trtnn.run.samples import CPU, Ranges, draws
from trtnn.sizes.dims import Dim

ROWS = 3  # each of which is held against itself alone: a flip leaves the one between
TOLERANCE = 2e-2  # another batch may take other kernels, in half too; what mixes rows is far off


def batch_of(graph: Interface) -> Dim | str:
    """Return the Dim that every input and output begins with, or why there is none.

    >>> from trtnn import Input, trace
    >>> n = Dim("n", 1, 4, 8)
    >>> batch_of(trace(torch.nn.ReLU(), [Input((n, 3))]))
    n
    >>> batch_of(trace(lambda x: x.sum(), [Input((n, 3))]))
    'output_0 has no dims'
    """
    if graph.hosts:
        return f"{next(iter(graph.hosts))} is one integer for the whole batch"
    named = {value.name: value.spec.shape for value in graph.inputs}
    named |= {f"output_{i}": value.spec.shape for i, value in enumerate(graph.outputs)}
    found: Dim | None = None
    for name, shape in named.items():
        first = shape[0] if shape else None
        if first is None:
            return f"{name} has no dims"
        if not isinstance(first, Dim) or first not in graph.dims:
            return f"{name} begins with {first}, which is no Dim"
        if found is not None and first != found:
            return f"{next(iter(named))} begins with {found} and {name} with {first}"
        found = first
    return "it takes nothing" if found is None else found


def mixes_rows(graph: Interface, ranges: Ranges) -> str | None:
    """Return the output that has, in one row, what comes of another: "" where none was seen to.

    The reference computes some rows of random inputs together, and each alone, on the CPU.

    Args:
        graph: It has a Dim of rows, of 1 too.
        ranges: The low and high that were declared of inputs' values, by name.

    Returns:
        None where nobody can tell: of a loaded model, of random numbers, of what has no reference.

    >>> from trtnn import Input, trace
    >>> n = Dim("n", 1, 4, 8)
    >>> mixes_rows(trace(lambda x: x.softmax(1), [Input((n, 3))]), {})
    ''
    >>> mixes_rows(trace(lambda x: x.softmax(0), [Input((n, 3))]), {})
    'output_0'
    """
    batch = batch_of(graph)
    if not isinstance(graph, Graph) or isinstance(batch, str) or batch.min > 1:
        return None
    if any(node.op.draws for node in all_nodes(graph)):
        return None
    count = min(ROWS, batch.max)
    sizes = {dim.name: dim.opt for dim in graph.dims} | {batch.name: count}
    constants = {value: c.tensor.detach().to(CPU) for value, c in graph.constants.items()}
    for inputs in draws(graph, sizes, ranges):
        rows = [[x[i : i + 1] for x in inputs] for i in range(count)]
        try:
            together, *alone = (
                run(graph, each, constants, device=CPU)[0] for each in (inputs, *rows)
            )
        except Exception:  # of whatever type: an index, a size, no reference
            continue
        joined = [torch.cat(parts) for parts in zip(*alone, strict=True)]
        pairs = enumerate(zip(together, joined, strict=True))
        return next((f"output_{i}" for i, (a, b) in pairs if not _alike(a, b)), "")
    return None


def _alike(left: torch.Tensor, right: torch.Tensor) -> bool:
    if left.is_floating_point():
        how = {"rtol": TOLERANCE, "atol": TOLERANCE, "equal_nan": True}
        return torch.allclose(left.float(), right.float(), **how)  # type: ignore[arg-type]
    return torch.equal(left, right)


def gaps_of(batch: Dim, greatest: int) -> Sequence[int]:
    """Return the sizes from 1 to ``greatest`` that no profile takes.

    >>> gaps_of(Dim("n", profiles=[(1, 1, 1), (4, 8, 8)]), 8)
    [2, 3]
    """
    ranges = [(low, high) for low, _, high in batch.profiles]
    return [n for n in range(1, greatest + 1) if not any(a <= n <= b for a, b in ranges)]
