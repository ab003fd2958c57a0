"""``compile``: trace, check, passes, network, engine, runner; these stages in order, visibly."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from typing import Any

import torch

import trtnn.flow.callables  # noqa: F401 - whose import lets torch.cond be traced
from trtnn.cache.engines import find_or_build
from trtnn.cache.folder import open_cache
from trtnn.cache.kernels import keep_kernels
from trtnn.compiled import CompiledModule, require_running
from trtnn.engine.builder import build as build_engine
from trtnn.engine.engine import Engine
from trtnn.errors import OptionError
from trtnn.graph import passes
from trtnn.graph.graph import Graph
from trtnn.graph.holding import drop_unused, map_held
from trtnn.graph.notes import noted
from trtnn.lazy import LazyModule
from trtnn.lower.plugins import keys_of
from trtnn.ops.op import Spec
from trtnn.options import BuildOptions, RuntimeOptions
from trtnn.precision.border import given_as, traced_as
from trtnn.precision.outcome import report_of
from trtnn.precision.policy import Precision
from trtnn.precision.quantized import QuantizedModel
from trtnn.precision.ranges import observed
from trtnn.precision.shown import shown_by
from trtnn.precision.typing import Typed, typed
from trtnn.precision.unasked import sums, warn_of_halves
from trtnn.run.allocating import runner_for
from trtnn.run.calling import refuse_traced
from trtnn.run.reference import Reference
from trtnn.run.runner import Runner
from trtnn.run.subject import Call, Subject, require_verify, subject_of
from trtnn.run.verification import verify as verify_engine
from trtnn.run.watching import Watched
from trtnn.saved.description import describe, gpu_of
from trtnn.saved.promises import inferred_asked, require_inferred
from trtnn.settings import (
    Settings,
    choose,
    library_for,
    place_for,
    refuse_checks,
    settings_of,
)
from trtnn.tools.recipe import Recipe, Runs
from trtnn.tracing.assumptions import verify as verify_assumptions
from trtnn.tracing.attributes import Attributes
from trtnn.tracing.forward import _parameters, refuse_positional, unwrapped
from trtnn.tracing.signature import Input, Signature, declare, require_unchanged
from trtnn.tracing.tracer import trace as trace_graph
from trtnn.trt.identity import RTX, TENSORRT
from trtnn.trt.library import TensorRT

__all__ = ["CompiledModule", "Input", "compile", "trace"]


def trace(module: Callable[..., Any], inputs: Any, device: Any = "cpu") -> Graph:
    """Return the graph that ``module`` computes on ``inputs``.

    Args:
        module: A ``torch.nn.Module``, or a function of tensors.
        inputs: As for ``compile``.

    Raises:
        TraceError: Code in ``forward`` that has no meaning in a graph.
        UnsupportedError: A torch callable without a lowering.

    >>> print(trace(torch.nn.ReLU(), [Input((2, 3))]).outputs[0].spec)
    (2, 3) float32
    """
    signature = declare(module, inputs)
    return _trace(unwrapped(module), signature, torch.device(device))


def _trace(module: Callable[..., Any], signature: Signature, device: torch.device) -> Graph:
    traced, placement = module, None
    if isinstance(module, QuantizedModel):
        traced, placement = module.module, module.placement
    # A constant that is an object may be written to as a module may.
    attributes = Attributes([leaf for leaf in signature.leaves if not isinstance(leaf, Spec)])
    try:
        given = signature.arguments(), signature.given, signature.dims
        graph = trace_graph(traced, *given, device, signature.formats)
        require_unchanged(signature)
    finally:
        attributes.restore()
    graph = placement.applied(graph) if placement is not None else graph
    graph.check()
    return graph


def compile(
    module: Callable[..., Any],
    *surplus: Any,
    inputs: Any = None,
    precision: str | Precision = "tf32",
    backend: str = "auto",
    dynamic: bool = False,
    device: Any = None,
    int64_checks: str = "always",
    options: BuildOptions | None = None,
    cache: Any = None,
    progress: bool | None = None,
    execution: str = "sync",
    max_contexts: int = 4,
    memory: str = "own",
    runtime: RuntimeOptions | None = None,
    verify: Any = True,
    checks: Any = None,
) -> CompiledModule:
    """Compile a module for the shapes and dtypes of ``inputs``.

    Args:
        module: A ``torch.nn.Module``, ``trtnn.Module`` or not, or a function of tensors.
        inputs: A list in ``forward``'s positional order, or a dict by parameter name. Each entry
            is an ``Input``, an example tensor (its shape is static), a plain value (a constant of
            the compilation, which calls need not give again), or a tuple, list or dict of these.
            ``None``: the first call decides.
        precision: What floats are computed in: ``"tf32"``, ``"fp32"`` (which turns TF32 off),
            ``"fp16"``, ``"bf16"``, or a ``Precision`` that says more. Inputs and outputs keep their
            types; half modules are computed as they are typed.
        backend: ``"tensorrt"``, ``"tensorrt_rtx"`` (TensorRT for RTX, built and not yet run by
            us), ``"reference"`` (PyTorch runs the graph), or ``"auto"``: TensorRT, or the
            reference, with a warning, where TensorRT or a GPU is absent.
        dynamic: Without ``inputs``, make a size that changes from one call to the next dynamic:
            the second engine takes the range seen so far, widened to powers of two, or, with a
            warning, as it is where the wider one cannot be compiled.
        device: Where inputs will be; the module's own, or the current GPU, if omitted.
        int64_checks: ``"always"``, or ``"first"``: the range of int64 inputs is checked on the
            first call of a signature only, where TensorRT has no int64.
        options: What TensorRT's builder is told.
        cache: The folder where plans are kept, so that what was built once is only loaded: by
            default ``$TRTNN_CACHE_DIR``, else ``$XDG_CACHE_HOME/trtnn``, else ``~/.cache/trtnn``.
            Only the user can write to it; it holds at most ``$TRTNN_CACHE_BYTES`` (10 GiB), those
            used last. ``False``: none. Of processes that compile the same at once one builds.
        progress: Whether to show on stderr how far a build is; None: where stderr is a terminal.
            With ``rich`` installed as bars, else in one line. Ctrl-C ends a build at its next
            step; on TensorRT 8.6, which tells of no steps, when the running build is over.
            Either way nothing of it is kept or written.
        execution: ``"sync"``: ``execute_v2``, outputs are complete on return. ``"async"``:
            ``execute_async_v3`` in order with PyTorch's current stream. ``"graph"``: a CUDA graph
            for each combination of shapes (the 8 used last), on copies of the inputs; its first
            replay must give what a plain run gave, and an engine that refuses the capture runs
            ``"async"`` with a warning. ``model.with_execution`` gives a view that runs otherwise.
        max_contexts: How many calls may run at once; further ones wait.
        memory: ``"own"``: contexts that may run at once have scratch memory of their own;
            ``"shared"``: all models of this device that say so share one block, and run one after
            another.
        runtime: What contexts of TensorRT for RTX are told. It needs no engine cache, since a
            build takes about a second; what takes long is kept as ``runtime_cache`` says.
        verify: Run a newly built engine beside its graph before it is given out: ``True``, on the
            first call's own tensors where compile is lazy, else on made-up ones (normal floats,
            indices over the whole table that they are for, masks that begin with 1, and what
            ``Input(low=, high=)`` says), at opt, max and min of each profile as far as a tenth of
            the build's time, or a second, lasts. The inputs of a call, as a tuple, list or dict:
            on these. ``False``: not. ``model.verified`` says what was found. It finds what is
            further off than rounding explains: a bias, mask, batch element or channel that is
            wrong; not an epsilon of 1e-6, nor what other inputs would show.
        checks: The former name of ``int64_checks``.

    Raises:
        KeyboardInterrupt: Ctrl-C during a build.
        InputError: ``inputs`` do not fit ``forward``, or stand without ``inputs=``.
        OptionError: A value that is none of these.
        BackendError: ``backend="tensorrt"`` or ``"tensorrt_rtx"`` without it, or a GPU for it.
        TraceError: Code in ``forward`` that has no meaning in a graph.
        UnsupportedError: Something that trtnn or this TensorRT cannot express.
        BuildError: TensorRT refused the network; carries its log lines.
        WrongEngineError: It built an engine that computes something else.

    >>> model = compile(torch.nn.Linear(4, 2), inputs=[Input((3, 4))], backend="reference")
    >>> model(torch.zeros(3, 4)).shape
    torch.Size([3, 2])
    """
    refuse_traced()
    refuse_checks(checks)
    if surplus:
        raise refuse_positional("compile", module, surplus)
    module = unwrapped(module)
    choose("backend", backend, ("auto", TENSORRT, RTX, "reference"))
    require_running(execution, max_contexts, memory)
    settings = settings_of(
        options,
        runtime,
        precision,
        int64_checks,
        cache,
        progress,
        execution,
        max_contexts,
        memory,
        verify=require_verify(verify, lazy=inputs is None),
    )
    library = library_for(backend, settings)
    place = place_for(module, device, library)
    if dynamic and inputs is not None:
        raise OptionError("dynamic: expected False where inputs are declared", hint="use Dims")
    stages = partial(run_stages, module, settings, library, place)
    if inputs is None:
        return LazyModule(_parameters(module), stages, dynamic=dynamic)
    return stages(declare(module, inputs))


def run_stages(
    module: Callable[..., Any],
    settings: Settings,
    library: TensorRT | None,
    device: torch.device,
    signature: Signature,
    call: Call | None = None,
) -> CompiledModule:
    """Run the stages in order: this is what compiling is.

    Args:
        call: The arguments of the call that a lazy model is compiled for.
    """
    chosen, signature, recipe = prepare(module, settings, library, device, signature)
    known: dict[str, Any] = {"report": report_of(chosen, settings.precision), "recipe": recipe}
    if library is None:
        runs, parameters = Reference(chosen.graph, device), _parameters(module)
        return CompiledModule(chosen.graph, signature, parameters, runs, None, **known)
    return _model(module, settings, library, device, signature, chosen.graph, call, **known)


def _model(
    module: Callable[..., Any],
    settings: Settings,
    library: TensorRT,
    device: torch.device,
    signature: Signature,
    graph: Graph,
    call: Call | None,
    **known: Any,
) -> CompiledModule:
    """Build a model of a typed graph, or find it; ``known`` is what else is known of it."""
    accumulate = settings.precision.accumulate
    lowered, parameters = optimize(graph, library, accumulate=accumulate), _parameters(module)
    keys = keys_of(lowered)
    judged = {"tf32": settings.tf32, "verify": settings.verify}
    subject = subject_of(module, graph, lowered, device, signature, call, **judged)
    runner = _runner(module, settings, library, device, lowered, subject)
    engine = runner.engine
    if "report" in known:
        detailed = settings.options.profiling_verbosity == "DETAILED"
        told = shown_by(engine, lowered, settings.precision, detailed=detailed)
        notes = (*known["report"].notes, *sums(graph, library.target, accumulate))
        known["report"] = replace(known["report"], notes=notes, shown=told)
    facts = partial(
        describe,
        graph,
        signature,
        parameters,
        library,
        device=device,
        timing_digest=engine.timing_digest,
        verified=engine.verified,
        capabilities=_own_capability(library, gpu_of(device)),
        plugins=library.plugins.in_plan(keys, settings.options) if keys else (),
        **settings.described(),
    )
    return CompiledModule(graph, signature, parameters, runner, engine, facts, **known)


def _runner(
    module: Callable[..., Any],
    settings: Settings,
    library: TensorRT,
    device: torch.device,
    lowered: Graph,
    subject: Subject | None = None,
    debug: int = 0,
) -> Runner:
    """Return what runs a lowered graph: an engine that was built, or found.

    Args:
        debug: How many of the last outputs are debug tensors instead.
    """
    with torch.cuda.device(device) if device.type == "cuda" else nullcontext():
        engine = _engine(module, settings, library, device, lowered, subject, debug)
        shown = lowered.outputs[: len(lowered.outputs) - debug]
        asks = inferred_asked(replace(lowered, outputs=shown)) if keys_of(lowered) else None
        lowered = replace(lowered.boundary(), outputs=shown)  # the engine has the weights now
        runner = runner_for(lowered)(
            engine,
            lowered,
            device,
            settings.int64_checks,
            settings.max_contexts,
            execution=settings.execution,
            memory=settings.memory,
        )
        runner.verify = asks
        return runner


def prepare(
    module: Callable[..., Any],
    settings: Settings,
    library: TensorRT | None,
    device: torch.device,
    signature: Signature,
) -> tuple[Typed, Signature, Recipe]:
    """Trace a module and type its values.

    Returns:
        The graph, the signature of its calls, and what makes other models of it: what that builds
        is neither verified nor kept.
    """
    chosen, signature = graph_of(module, settings.precision, library, signature, device)

    def build(
        graph: Graph, precision: Precision, other: TensorRT | None = None, debug: int = 0
    ) -> Runs:
        trt = other if other is not None else library
        assert trt is not None
        told = replace(
            settings,
            precision=precision,
            verify=False,
            cache=False,
            execution="async" if debug else "sync",  # as debug tensors are documented
            max_contexts=1,
        )
        lowered = optimize(graph, trt, accumulate=told.precision.accumulate)
        runner = _runner(module, told, trt, device, lowered, debug=debug)
        return Watched(runner) if debug else runner

    observe = partial(observed, declared=signature.ranges)
    made = None if library is None else build
    recipe = Recipe(chosen.traced, settings.precision, observe, made, library, settings.options)
    return chosen, signature, recipe


def graph_of(
    module: Callable[..., Any],
    precision: Precision,
    library: TensorRT | None,
    signature: Signature,
    device: torch.device,
) -> tuple[Typed, Signature]:
    """Trace a module, see that what the trace assumed changes nothing, and type its values.

    Returns:
        The graph, and the signature of its calls.
    """
    if library is not None:
        precision.require_types(library.target)
    traced = traced_as(signature, precision, module)
    graph = noted(_trace(module, traced, device))
    graph = verify_assumptions(graph, traced, lambda other: _trace(module, other, device))
    observe = partial(observed, declared=signature.ranges) if precision.ranges else None
    chosen = typed(graph, precision, observe)
    warn_of_halves(chosen, precision)
    return chosen, given_as(signature, precision)


def _own_capability(library: TensorRT, gpu: Mapping[str, Any] | None) -> tuple[str, ...]:
    """Return what an engine that runs at once is built for, where a builder can be told it."""
    if gpu is None or not library.target.compute_capabilities:
        return ()
    return (".".join(map(str, gpu["compute_capability"])),)


def _engine(
    module: Callable[..., Any],
    settings: Settings,
    library: TensorRT,
    device: torch.device,
    graph: Graph,
    subject: Subject | None,
    debug: int,
) -> Engine:
    """Find the engine of a lowered graph in the cache, or build it, and verify it."""
    name = getattr(module, "__qualname__", type(module).__qualname__)
    options, tf32, gpu = settings.options, settings.tf32, gpu_of(device)
    keep_kernels(library, gpu, settings.cache)
    # A build for RTX takes about a second: there is nothing to keep.
    store = open_cache(settings.cache) if library.times_kernels else None
    free = torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else None

    def make(**how: Any) -> Engine:
        start = time.perf_counter()
        engine = build_engine(
            graph,
            library,
            options,
            tf32=tf32,
            free_bytes=free,
            progress=settings.progress,
            capabilities=_own_capability(library, gpu),
            debug=debug,
            **how,
        )
        if keys_of(graph) and not debug:
            require_inferred(graph, engine)
        if subject is not None:  # before the cache may have it
            seconds = time.perf_counter() - start
            engine.verified = verify_engine(engine, subject, build_seconds=seconds)
        return engine

    return find_or_build(
        store,
        graph,
        library,
        options,
        make,
        tf32=tf32,
        device=device,
        module=name,
        subject=subject,
    )


def optimize(
    graph: Graph, library: TensorRT, *, accumulate: str | None = None, held: bool = False
) -> Graph:
    """Return the graph as it is lowered: the list of passes stands here.

    Args:
        accumulate: As ``Precision`` has it.
        held: Whether an op holds it: a branch, or what a loop repeats.
    """
    within = partial(optimize, library=library, accumulate=accumulate, held=True)
    graph = map_held(drop_unused(graph), within)
    passes.refuse_data(graph, library.target)
    graph = passes.fold_norms(graph)
    graph = passes.decompose(graph, library.target, held=held)
    graph = passes.cast_constants(graph, library.target)
    graph = passes.merge_equal(graph)
    graph = passes.absorb_pads(graph)
    graph = passes.absorb_expands(graph)
    graph = passes.fold_lone_weights(graph, library.target)
    graph = passes.widen_quantized(graph)
    graph = passes.merge_shuffles(graph)
    graph = passes.split_heads(graph)
    graph = passes.widen_products(graph, library.target, accumulate)
    graph = passes.part_regions(graph, library.target)
    graph.check()
    return graph
