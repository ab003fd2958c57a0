"""A first run of an engine that TensorRT may have built wrong, beside the reference's."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch

from trtnn.allocating import AllocatingRunner
from trtnn.dims import evaluate
from trtnn.engine import Engine
from trtnn.errors import UnsupportedError
from trtnn.graph import Graph, Value
from trtnn.ops.masks import depends_on_data
from trtnn.profiles import profile_of
from trtnn.reference import Reference
from trtnn.runner import Runner

# Relative. An engine in half, or in TF32 whose kernels cut numbers off, stays below 0.03 with the
# networks of the benchmark; what TensorRT builds wrong has other numbers altogether.
LIMIT = 0.2
SMALL = 1e-6  # an output below this is as good as zero


def prove(engine: Engine, graph: Graph, device: torch.device) -> None:
    """Raise unless an engine computes what its graph says, on inputs that are made up.

    Floating point is normal, integers are 1: an index that most tables have, a token to be seen.

    Args:
        graph: As it was lowered for the engine, with its constants.

    Raises:
        UnsupportedError: It does not, or the graph cannot be run on such inputs.
    """
    sizes = {dim.name: profile_of(dim, 0)[1] for dim in graph.dims}
    generator = torch.Generator().manual_seed(0)
    inputs = [_made_up(value, sizes, graph, generator) for value in graph.inputs]
    hosts = [sizes[dim.name] for dim in graph.hosts.values()]
    # An index out of range is an error on the CPU, and the end of CUDA for the process on a GPU.
    indexing = not all(value.spec.dtype.is_floating_point for value in graph.inputs)
    place = torch.device("cpu") if indexing else device
    counted = any(depends_on_data(*value.spec.shape) for value in graph.outputs)
    kind = AllocatingRunner if counted else Runner
    with torch.no_grad():
        try:
            expected, _ = Reference(graph, place)([*(t.to(place) for t in inputs), *hosts])
        except Exception as error:
            raise _refused(engine, f"cannot be checked: {error}") from error
        run = kind(engine, graph.boundary(), device, "first", 1)
        found, _ = run([*(t.to(device) for t in inputs), *hosts])
    for index, (ours, right) in enumerate(zip(found, expected, strict=True)):
        if (wrong := difference(ours.cpu(), right.cpu())) > LIMIT:
            raise _refused(
                engine, f"gives wrong results: output {index} differs by {wrong:.2g}, relatively"
            )


def _made_up(
    value: Value, sizes: Mapping[str, int], graph: Graph, generator: torch.Generator
) -> torch.Tensor:
    shape = tuple(evaluate(size, sizes) for size in value.spec.shape)
    if not value.spec.dtype.is_floating_point:
        return torch.ones(shape, dtype=value.spec.dtype)
    form = getattr(torch, graph.formats.get(value.name, "contiguous_format"))
    made = torch.randn(shape, generator=generator).to(value.spec.dtype)
    return made.contiguous(memory_format=form)


def difference(found: torch.Tensor, expected: torch.Tensor) -> float:
    """Return how far a tensor is from what it should be, relatively.

    For integers it is the share of those that differ. Where the expected value is not finite,
    nothing is asked; a size that depends on data, and so on rounding, is not either.

    >>> difference(torch.tensor([3.0, 4.0]), torch.tensor([3.0, 4.5])) < 0.1
    True
    >>> difference(torch.tensor([1, 2]), torch.tensor([1, 3]))
    0.5
    >>> difference(torch.tensor([float("nan")]), torch.tensor([0.0]))
    inf
    """
    if found.shape != expected.shape or expected.numel() == 0:
        return 0.0
    if not expected.dtype.is_floating_point:
        return float((found != expected).double().mean())
    asked = expected.isfinite()
    ours, right = found[asked].double(), expected[asked].double()
    if not bool(ours.isfinite().all()):
        return float("inf")
    scale = max(float(right.norm()), SMALL * math.sqrt(right.numel()))
    return float((ours - right).norm()) / scale


def _refused(engine: Engine, what: str) -> UnsupportedError:
    return UnsupportedError(
        f"refit: TensorRT {engine.library.target.version} builds some refittable engines wrong, "
        f"and this one {what}",
        hint="compile without refit, or use TensorRT 10 or later",
    )
