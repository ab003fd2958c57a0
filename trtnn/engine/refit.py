"""Refit: new weights for a built engine, from another state of the module it was compiled of."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from typing import Any

import torch

from trtnn.engine.engine import Engine, Refittable
from trtnn.errors import InputError, OptionError, UnsupportedError
from trtnn.graph.graph import Graph, all_nodes
from trtnn.graph.program import Program, Slot
from trtnn.lower.network import lower
from trtnn.lower.recipes import Recipes, Stored
from trtnn.options import BuildOptions
from trtnn.sizes.profiles import count_profiles
from trtnn.trt.library import TensorRT

Named = tuple[Recipes, Mapping[str, Stored]]
QUANTIZED = "QuantizeDequantize"  # an op of networks that 8.6 cannot refit
EXTRA = "_extra_state"  # PyTorch's own last part of keys whose values are no tensors


def check_refit(graph: Graph, library: TensorRT, options: BuildOptions) -> None:
    """Refuse, before a build, what TensorRT cannot refit.

    Raises:
        UnsupportedError: More than one profile; on 8.6 also quantization, and integers that
            follow from the module's state.
    """
    if options.refit is None:
        return
    what = f"refit={options.refit!r}: {library.target.name}"
    if (count := count_profiles(graph.dims)) > 1:
        raise UnsupportedError(
            f"{what} refits engines with one optimization profile, and here are {count}",
            hint="give each Dim one profile",
        )
    if library.refits_integers:
        return
    for node in all_nodes(graph):
        if node.op.name == QUANTIZED:
            raise UnsupportedError(
                f"{what} cannot refit a quantized network", where=node.origin.source
            )
    for value, constant in graph.constants.items():
        if constant.slot is not None and not value.spec.dtype.is_floating_point:
            users = (node.origin.source for node in graph.nodes if value in node.inputs)
            key = graph.program.key_of(constant.slot)
            raise UnsupportedError(
                f"{what} refits weights of floating point only, and {value.spec} follows from "
                f"{key!r}",
                hint="use TensorRT 10.12 or later, or give it as an input",
                where=next(users, None),
            )


def make_refittable(
    engine: Engine, graph: Graph, options: BuildOptions, named: Named | None = None
) -> None:
    """Let an engine be refitted, as ``options`` say, and give a stripped one its weights.

    Args:
        graph: As it was lowered for the engine.
        named: The recipes and weights of the build; None for a plan that was found, which has its
            weights.
    """
    if options.refit is None:
        return
    stripped, same = bool(options.strip_plan), None
    if options.refit == "identical":
        following = [c for c in graph.constants.values() if c.slot is not None]
        same = graph.program, {c.slot: _digest(c.tensor) for c in following if c.slot is not None}
    if named is None:
        engine.refittable = Refittable(options.refit, stripped, None, graph, same)
        if stripped:
            engine.strip()
        return
    recipes, weights = named
    engine.refittable = Refittable(options.refit, stripped, recipes, None, same)
    if stripped:
        engine.refit(weights, recipes.slots)


def _recipes_again(graph: Graph, library: TensorRT, mode: str) -> Recipes:
    """Lower a graph once more, to know the names of its engine's weights."""
    builder = library.builder()
    net = lower(graph, library, library.network(builder))
    weights = net.name_weights(mode)
    return Recipes.of(weights, net.program.finish(), library.target)


def refit(
    engine: Engine,
    state: Mapping[str, torch.Tensor],
    exclusive: Callable[[], AbstractContextManager[Any]],
) -> None:
    """Replace the weights of an engine by what they are for another state of its module.

    All of them are computed and checked before anything changes.

    Args:
        state: As the module's ``state_dict()`` has it.
        exclusive: While it is entered, nothing runs on the engine, and no context of it is left.

    Raises:
        OptionError: The engine was not built for a refit.
        UnsupportedError: It was loaded from a file, which has no recipes of the weights.
        InputError: A key is missing or unexpected, or a tensor has another shape or dtype, or
            other values where only the same are allowed.
        TraceError: ``forward`` branched on a value that is another one with this state.
        BuildError: TensorRT refused the weights; carries its log lines.
    """
    found = engine.refittable
    if found is None:
        raise _not_refittable(engine)
    state = checked(state)
    if found.same is not None:
        _require_same(state, *found.same)
    recipes, graph = found.recipes, found.graph
    if recipes is None and graph is not None:
        recipes = found.recipes = _recipes_again(graph, engine.library, found.mode)
        found.graph = None
    assert recipes is not None
    weights = recipes.weights(state)
    with exclusive():
        engine.refit(weights, recipes.slots)


def checked(state: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Return the tensors of a state.

    Raises:
        InputError: It is none.
    """
    if not isinstance(state, Mapping):
        raise InputError(f"state: expected a state_dict, got {type(state).__name__}")
    tensors = {key: t for key, t in state.items() if str(key).rpartition(".")[2] != EXTRA}
    for key, tensor in tensors.items():
        if not isinstance(tensor, torch.Tensor):
            raise InputError(f"state: {key!r} is {type(tensor).__name__}, expected a tensor")
    return tensors


def _not_refittable(engine: Engine) -> Exception:
    if engine.handle.refittable:
        return UnsupportedError(
            "refit: a loaded model does not know how its weights follow from a module",
            hint="compile the module: its plan comes from the cache",
        )
    return OptionError(
        "refit: the engine was built without it",
        hint='compile with options=BuildOptions(refit="refit")',
    )


def _require_same(
    state: Mapping[str, torch.Tensor], program: Program, digests: Mapping[Slot, bytes]
) -> None:
    for slot, tensor in program.run(state, list(digests)).items():
        if _digest(tensor) != digests[slot]:
            raise InputError(
                f"state: {program.key_of(slot)!r} has other values than the engine was built with, "
                'which refit="identical" does not allow',
                hint='compile with options=BuildOptions(refit="refit")',
            )


def _digest(tensor: torch.Tensor) -> bytes:
    content = tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy()
    return hashlib.sha256(content.data).digest()
