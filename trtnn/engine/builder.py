"""From a graph to an engine: lower, configure, build, with the timings of earlier builds."""

from __future__ import annotations

import gc
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from trtnn.engine.engine import Engine
from trtnn.engine.refit import Named, check_refit, make_refittable
from trtnn.errors import BuildError, UnsupportedError
from trtnn.graph.graph import Graph, Value
from trtnn.lower.network import Net, lower
from trtnn.lower.recipes import Recipes
from trtnn.ops.masks import depends_on_data
from trtnn.options import BuildOptions
from trtnn.sizes.dims import Expr, evaluate, symbols
from trtnn.sizes.profiles import count_profiles, profile_of
from trtnn.trt.library import TensorRT
from trtnn.trt.timing import begin, keep, load


def profile_shapes(graph: Graph, profile: int = 0) -> dict[str, Sequence[Any]]:
    """Return (min, opt, max) shapes of each dynamic input in one profile."""
    ranges = {dim.name: profile_of(dim, profile) for dim in graph.dims}
    ends = [{name: sizes[end] for name, sizes in ranges.items()} for end in range(3)]

    def at(value: Value, end: dict[str, int]) -> tuple[int, ...]:
        return tuple(evaluate(size, end) for size in value.spec.shape)

    return {
        value.name: tuple(at(value, end) for end in ends)
        for value in graph.inputs
        if any(not isinstance(size, int) for size in value.spec.shape)
    }


@dataclass(frozen=True, eq=False)
class Built:
    """What a build leaves: the plan, and what the next build and a refit need.

    Attributes:
        plan: In TensorRT's memory.
        named: The recipes of the weights, and the weights of a stripped plan.
        timing_cache: What the build measured; None without a timing cache.
        timing_digest: The SHA-256 of the timing cache that it started from.
        debug: The names of the debug tensors.
    """

    plan: Any
    named: Named
    timing_cache: bytes | None
    timing_digest: str | None
    debug: tuple[str, ...] = ()


def build_plan(
    graph: Graph,
    library: TensorRT,
    options: BuildOptions,
    *,
    tf32: bool = True,
    free_bytes: int | None = None,
    progress: bool | None = None,
    timings_file: Path | None = None,
    capabilities: Sequence[str] = (),
    debug: int = 0,
) -> Built:
    """Lower ``graph`` and build its plan, which nobody has read yet.

    Args:
        free_bytes: How much of the GPU's memory is free, for the error of a build without room.
        progress: Whether to show the build's phases on stderr; None: where it is a terminal.
        timings_file: The timing cache for where the options name none; one that TensorRT refuses
            is made anew.
        capabilities: The GPUs to build for, by compute capability; none: TensorRT's default.
        debug: How many of the last outputs are debug tensors instead.

    Raises:
        OptionError: An option that this TensorRT lacks.
        UnsupportedError: This TensorRT cannot express a node.
        BuildError: TensorRT refused a layer or the build; carries its log lines.
    """
    _refuse_hidden_sizes(graph)
    check_refit(graph, library, options)
    library.log.take()
    timings = load(options, timings_file) if library.times_kernels else None
    builder = library.builder()
    network = library.network(builder)
    net = lower(graph, library, network, debug=debug)
    weights = net.name_weights(options.refit) if options.refit is not None else {}
    types = {"half": net.half, "quantized": net.quantized}
    config = library.config(builder, options, tf32=tf32, **types, capabilities=capabilities)
    if timings is not None:
        timings = timings.start(partial(begin, config, library.log))
    for index in range(count_profiles(graph.dims)):
        shapes = profile_shapes(graph, index)
        integers = {name: profile_of(dim, index) for name, dim in net.shape_inputs().items()}
        if shapes or integers:
            library.profile(builder, config, shapes, integers)
    try:
        plan, measured = library.build(builder, network, config, free_bytes, progress=progress)
    except BuildError as error:
        raise _explain(error, net) from None
    if timings is not None and measured is not None:
        keep(timings, measured, config, library.log)
    recipes = Recipes.of(weights, net.program.finish(), library.target)
    named = recipes, weights if options.strip_plan else {}
    if timings is None or measured is None:
        return Built(plan, named, None, None, net.debug)
    return Built(plan, named, measured, timings.digest, net.debug)


def build(graph: Graph, library: TensorRT, options: BuildOptions, **how: Any) -> Engine:
    """Lower ``graph``, build its plan, and open it.

    Args:
        how: As for ``build_plan``, which also says what is raised.
    """
    built = build_plan(graph, library, options, **how)
    gc.collect(0)  # what the network held, before the engine takes its own
    engine = Engine(built.plan, library, host_code=bool(options.version_compatible))
    make_refittable(engine, graph, options, built.named)
    for value in graph.inputs:
        if form := graph.formats.get(value.name):
            dtype = str(value.spec.dtype).removeprefix("torch.")
            library.check_format(engine.handle, value.name, form, dtype)
    engine.debug = built.debug
    engine.timing_cache, engine.timing_digest = built.timing_cache, built.timing_digest
    return engine


def _refuse_hidden_sizes(graph: Graph) -> None:
    """Refuse a size that depends on data as a result, unless an output tensor has it."""
    plain = (s for v in graph.outputs for s in v.spec.shape if isinstance(s, Expr))
    shown = {str(size) for size in plain if size.sym.is_Symbol}
    for node in graph.nodes:
        for symbol in (s for v in node.outputs for size in v.spec.shape for s in symbols(size)):
            used = any(symbol in symbols(s) for leaf in graph.leaves for s in sizes_in(leaf))
            if used and depends_on_data(Expr(symbol)) and symbol.name not in shown:
                raise UnsupportedError(
                    f"forward returns the size {symbol.name}, which depends on data, "
                    "and no tensor that has it",
                    hint='return the tensor too, or use backend="reference"',
                    where=node.origin.source,
                )


def sizes_in(leaf: Any) -> tuple[Any, ...]:
    """Return the sizes that a leaf of a result holds."""
    if isinstance(leaf, tuple):
        return tuple(s for s in leaf if isinstance(s, Expr))
    return (leaf,) if isinstance(leaf, Expr) else ()


def _explain(error: BuildError, net: Net) -> BuildError:
    """Add the module path and source line of the layer that TensorRT's message names."""
    named: list[Any] = [node for name, node in net.nodes.items() if name in error.message]
    if not named:
        return error
    node = max(named, key=lambda n: len(n.label))
    return BuildError(f"{error.message}\n    layer: {node.label}", where=node.origin.source)
