"""A first run of a refittable engine, which TensorRT 8.6 may have built wrong, and of its graph."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from typing import Any

import torch

from trtnn.engine.engine import Engine
from trtnn.engine.refit import refit
from trtnn.errors import BuildError, UnsupportedError
from trtnn.graph.graph import Graph, Value
from trtnn.graph.interpreter import run
from trtnn.ops.masks import depends_on_data
from trtnn.run.allocating import AllocatingRunner
from trtnn.run.runner import Runner
from trtnn.sizes.dims import evaluate
from trtnn.sizes.profiles import profile_of
from trtnn.source import warn_user

CPU = torch.device("cpu")
INDEXING = ("Gather", "GatherElements", "GatherND")
Constants = Mapping[Value, torch.Tensor]

# What is built wrong differs by as much as unrelated numbers do. An engine in half, or in TF32 that
# cuts numbers off, stays below 0.03 with the networks of the benchmark.
LIMIT = 0.1
ROUNDING = 1e-3  # by so much at most are weights changed to see what rounding does
TIMES = 10  # an engine may differ by so many times what that changes
HUGE = 1e3  # times the median: such as what a mask puts there


def prove(
    engine: Engine, graph: Graph, device: torch.device, state: Mapping[str, torch.Tensor]
) -> None:
    """Refit a copy of an engine, and raise if its results are not those of its graph.

    Its weights all differ from one another then, where those of a new module may be equal. Inputs
    are made up: floating point is normal, all else is 0 or 1 at random, or all 1, or all 0, until
    there is something that can be compared. If there never is, or no memory for the copy, a warning
    says so.

    Args:
        graph: As it was lowered for the engine.
        state: The module's, from which the engine's weights were computed.

    Raises:
        UnsupportedError: They are not.
        BuildError: The engine does not run.
    """
    try:
        trial = engine.copy()
    except BuildError as error:  # the GPU has no memory for two
        _warn(engine, str(error))
        return
    try:
        other = _shaken({k: t for k, t in state.items() if k in graph.program.keys})
        constants: Constants = graph.recompute(other)
    except Exception:  # such weights cannot be: forward decided by its own, or inverted them
        constants = {value: c.tensor.detach() for value, c in graph.constants.items()}
    else:
        refit(trial, other, nullcontext)
    left = {i for i, v in enumerate(graph.outputs) if v.spec.dtype.is_floating_point}
    reason = "none of them has floating point that is finite and not 0"
    for number in (None, 1, 0):  # equal integers may make results cancel, so they come last
        try:
            compared = _compare(trial, graph, device, constants, number)
        except (UnsupportedError, BuildError):  # BuildError: it does not even run
            raise
        except Exception as error:  # an index out of range, no memory
            compared, reason = set(), str(error)
        if device.type == "cuda":
            torch.cuda.empty_cache()  # TensorRT's contexts cannot have what PyTorch keeps
        left -= compared
        if compared and not left:
            return
    which = f"outputs {sorted(left)}" if left else "the outputs"
    _warn(engine, reason, f" in {which}")


def _compare(
    engine: Engine, graph: Graph, device: torch.device, constants: Constants, number: int | None
) -> set[int]:
    """Raise UnsupportedError if results differ; return which outputs could be compared."""
    sizes = {dim.name: profile_of(dim, 0)[1] for dim in graph.dims}
    generator = torch.Generator().manual_seed(1)
    inputs = [_made_up(value, sizes, graph, number, generator) for value in graph.inputs]
    hosts = [sizes[dim.name] for dim in graph.hosts.values()]
    _require_indices(graph, constants, inputs, hosts)
    counted = any(depends_on_data(*value.spec.shape) for value in graph.outputs)
    kind = AllocatingRunner if counted else Runner
    there = [tensor.to(device) for tensor in inputs]
    with torch.no_grad():
        runs = kind(engine, graph.boundary(), device, "first", 1)
        results = [runs([*there, *hosts])[0]]
        for values in (constants, _rounded(graph, constants, generator)):
            placed = {value: tensor.to(device) for value, tensor in values.items()}
            results.append(run(graph, there, placed, None, hosts, device)[0])
    compared = set()
    for index, (ours, right, near) in enumerate(zip(*results, strict=True)):
        wrong = difference(ours.cpu(), right.cpu(), near.cpu())
        if wrong is not None and wrong > 1:
            raise UnsupportedError(
                f"{_doubt(engine)} gives wrong results: output {index} differs from its graph's by "
                f"{wrong:.2g} times what is allowed",
                hint="compile without refit, or use TensorRT 10 or later",
            )
        if wrong is not None:
            compared.add(index)
    return compared


def difference(found: torch.Tensor, expected: torch.Tensor, near: torch.Tensor) -> float | None:
    """Return how far a result is from what it should be, as a part of what is allowed.

    Args:
        near: What rounding may make of ``expected``.

    Returns:
        None where there is nothing to compare: other types than floating point, no finite values,
        or a size that depends on data, and so on rounding.

    >>> right = torch.tensor([3.0, 4.0])
    >>> difference(right, right, right), difference(-right, right, right)
    (0.0, 20.0)
    """
    if found.shape != expected.shape or near.shape != expected.shape:
        return None
    if not expected.dtype.is_floating_point:
        return None
    asked = expected.isfinite() & near.isfinite()
    ours, right, other = (t[asked].double() for t in (found, expected, near))
    if not right.count_nonzero():
        return None
    most = HUGE * float(right[right != 0].abs().median())
    ours, right, other = (t.clamp(-most, most) for t in (ours, right, other))
    if ours.isnan().any():
        return float("inf")
    allowed = max(LIMIT * float(right.norm()), TIMES * float((other - right).norm()))
    return float((ours - right).norm()) / allowed


def _made_up(
    value: Value,
    sizes: Mapping[str, int],
    graph: Graph,
    number: int | None,
    generator: torch.Generator,
) -> torch.Tensor:
    shape = tuple(evaluate(size, sizes) for size in value.spec.shape)
    if not value.spec.dtype.is_floating_point:
        if number is None:
            made = torch.randint(2, shape, generator=generator, device=CPU)
        else:
            made = torch.full(shape, number, device=CPU)
        return made.to(value.spec.dtype)
    form = getattr(torch, graph.formats.get(value.name, "contiguous_format"))
    made = torch.randn(shape, generator=generator, device=CPU).to(value.spec.dtype)
    return made.contiguous(memory_format=form)


def _shaken(state: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Return a state with other values of the same signs; what was all 0 is small."""
    generator, made = torch.Generator().manual_seed(0), {}
    known: dict[Any, torch.Tensor] = {}
    for key, tensor in state.items():
        if not isinstance(tensor, torch.Tensor):
            continue
        place = tensor.data_ptr(), tensor.shape, tensor.stride(), tensor.dtype
        if tensor.dtype.is_floating_point and place not in known:
            random = torch.rand(tensor.shape, generator=generator, device=CPU)
            given = tensor.detach().to(CPU, torch.float32)
            changed = given * (random + 0.5) if given.any() else (random - 0.5) / 4
            known[place] = changed.to(tensor)
        made[key] = known.get(place, tensor.detach())
    return made


def _rounded(graph: Graph, constants: Constants, generator: torch.Generator) -> Constants:
    """Return constants with the weights as some other way to compute may have them."""
    made = dict(constants)
    for value, tensor in constants.items():
        if graph.constants[value].slot is not None and tensor.dtype.is_floating_point:
            factor = 1 - ROUNDING * torch.rand(tensor.shape, generator=generator, device=CPU)
            made[value] = tensor * factor.to(tensor)
    return made


def _require_indices(
    graph: Graph, constants: Constants, inputs: Sequence[torch.Tensor], hosts: Sequence[int]
) -> None:
    """Raise IndexError for an index out of range: on a GPU it ends CUDA for the process.

    What indices are computed from is computed on the CPU for that, and nothing else.
    """
    nodes = [node for node in graph.nodes if node.op.name in INDEXING]
    wanted = tuple(node.inputs[1] for node in nodes)
    needed, kept = set(wanted), []
    for node in reversed(graph.nodes):
        if not needed.isdisjoint(node.outputs):
            kept.append(node)
            needed.update(node.inputs)
    known = {value: c for value, c in graph.constants.items() if value in needed}
    part = replace(graph, nodes=tuple(reversed(kept)), outputs=wanted, constants=known)
    values = {value: constants[value].to(CPU) for value in known}
    indices, bindings = run(part, inputs, values, None, hosts, CPU)
    for node, index in zip(nodes, indices, strict=True):
        spec = node.inputs[0].spec
        shape = [evaluate(size, bindings) for size in spec.shape]
        table = torch.zeros((), dtype=spec.dtype, device=CPU).expand(shape)
        node.op.at(bindings).reference(table, index)


def _warn(engine: Engine, reason: str, where: str = "") -> None:
    first = reason.partition("\n")[0]
    warn_user(f"{_doubt(engine)} could not be compared{where}: {first}", UserWarning)


def _doubt(engine: Engine) -> str:
    name = engine.library.target.name
    return f"refit: {name} builds some refittable engines wrong, and this one"
