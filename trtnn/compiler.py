"""``compile``: trace, check, passes, network, engine, runner; these stages in order, visibly."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch

from trtnn.cache.engines import find_or_build
from trtnn.cache.folder import Cache, open_cache
from trtnn.cache.folder import check as check_cache
from trtnn.compiled import CompiledModule, find_device, require_running
from trtnn.engine.builder import build
from trtnn.engine.engine import Engine
from trtnn.errors import AbsentError, OptionError
from trtnn.graph import passes
from trtnn.graph.graph import Graph
from trtnn.graph.notes import noted
from trtnn.lazy import LazyModule
from trtnn.ops.masks import depends_on_data
from trtnn.options import BuildOptions
from trtnn.run.allocating import AllocatingRunner
from trtnn.run.proof import prove
from trtnn.run.reference import Reference
from trtnn.run.runner import Runner
from trtnn.saved.description import describe
from trtnn.tracing.assumptions import verify
from trtnn.tracing.signature import Input, Signature, _parameters, declare
from trtnn.tracing.tracer import trace as trace_graph
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
    return _trace(module, signature, torch.device(device))


def _trace(module: Callable[..., Any], signature: Signature, device: torch.device) -> Graph:
    graph = trace_graph(module, signature.arguments(), signature.given, signature.dims, device)
    graph = replace(graph, formats=signature.formats)
    graph.check()
    return graph


def compile(
    module: Callable[..., Any],
    *,
    inputs: Any = None,
    precision: str = "tf32",
    backend: str = "auto",
    dynamic: bool = False,
    device: Any = None,
    checks: str = "always",
    options: BuildOptions | None = None,
    cache: Any = None,
    progress: bool | None = None,
    execution: str = "sync",
    max_contexts: int = 4,
    memory: str = "own",
) -> CompiledModule:
    """Compile a module for the shapes and dtypes of ``inputs``.

    Args:
        module: A ``torch.nn.Module``, ``trtnn.Module`` or not, or a function of tensors.
        inputs: A list in ``forward``'s positional order, or a dict by parameter name. Each entry
            is an ``Input``, an example tensor (its shape is static), a plain value (a constant of
            the compilation), or a tuple, list or dict of these. ``None``: the first call decides.
        precision: ``"tf32"``, or ``"fp32"`` to turn TF32 off for what is float32 in the graph.
        backend: ``"tensorrt"``, ``"reference"`` (PyTorch runs the graph), or ``"auto"``, which
            takes the reference, with a warning, where TensorRT or a GPU is absent.
        dynamic: Without ``inputs``, make a size that changes from one call to the next dynamic:
            the second engine takes the range seen so far, widened to powers of two.
        device: Where inputs will be; the module's own, or the current GPU, if omitted.
        checks: ``"always"``, or ``"first"``: the range of int64 inputs is checked on the first
            call of a signature only, where TensorRT has no int64.
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

    Raises:
        KeyboardInterrupt: Ctrl-C during a build.
        OptionError: A value that is none of these.
        BackendError: ``backend="tensorrt"`` without TensorRT or a GPU.
        TraceError: Code in ``forward`` that has no meaning in a graph.
        UnsupportedError: Something that trtnn or this TensorRT cannot express.
        BuildError: TensorRT refused the network; carries its log lines.

    >>> model = compile(torch.nn.Linear(4, 2), inputs=[Input((3, 4))], backend="reference")
    >>> model(torch.zeros(3, 4)).shape
    torch.Size([3, 2])
    """
    _choose("precision", precision, ("tf32", "fp32"))
    _choose("backend", backend, ("auto", "tensorrt", "reference"))
    _choose("checks", checks, ("always", "first"))
    _choose("progress", progress, (None, True, False))
    require_running(execution, max_contexts, memory)
    check_cache(cache)
    options = options if options is not None else BuildOptions()
    if not isinstance(options, BuildOptions):
        raise OptionError(f"options: expected a trtnn.options.BuildOptions, got {options!r}")
    library = _library(backend, options)
    if library is not None:
        library.check_options(options)
    place = _device(module, device, library)
    if dynamic and inputs is not None:
        raise OptionError("dynamic: expected False where inputs are declared", hint="use Dims")
    store = open_cache(cache) if library is not None else None
    settings = Settings(
        precision, checks, options, store, progress, execution, max_contexts, memory
    )
    stages = partial(_stages, module, settings, library, place)
    if inputs is None:
        return LazyModule(_parameters(module), stages, dynamic=dynamic)
    return stages(declare(module, inputs))


@dataclass(frozen=True)
class Settings:
    """What ``compile`` was told beside module and inputs, once checked."""

    precision: str
    checks: str
    options: BuildOptions
    cache: Cache | None
    progress: bool | None
    execution: str
    max_contexts: int
    memory: str


def _stages(
    module: Callable[..., Any],
    settings: Settings,
    library: TensorRT | None,
    device: torch.device,
    signature: Signature,
) -> CompiledModule:
    """Run the stages in order: this is what compiling is."""
    graph = noted(_trace(module, signature, device))
    graph = verify(graph, signature, lambda other: _trace(module, other, device))
    parameters = _parameters(module)
    if library is None:
        return CompiledModule(graph, signature, parameters, Reference(graph, device), None)
    lowered = optimize(graph, library)
    with torch.cuda.device(device) if device.type == "cuda" else nullcontext():
        engine = _engine(module, settings, library, device, lowered)
        lowered = lowered.boundary()  # the engine has the weights now
        counted = any(depends_on_data(*v.spec.shape) for v in lowered.outputs)
        runner = (AllocatingRunner if counted else Runner)(
            engine,
            lowered,
            device,
            settings.checks,
            settings.max_contexts,
            execution=settings.execution,
            memory=settings.memory,
        )
    facts = partial(
        describe,
        graph,
        signature,
        parameters,
        engine,
        device=device,
        precision=settings.precision,
        execution=settings.execution,
        checks=settings.checks,
        options=settings.options,
    )
    return CompiledModule(graph, signature, parameters, runner, engine, facts)


def _engine(
    module: Callable[..., Any],
    settings: Settings,
    library: TensorRT,
    device: torch.device,
    graph: Graph,
) -> Engine:
    """Find the engine of a lowered graph in the cache, or build it."""
    name = getattr(module, "__qualname__", type(module).__qualname__)
    options, tf32 = settings.options, settings.precision == "tf32"
    free = torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else None

    def make(**how: Any) -> Engine:
        engine = build(
            graph,
            library,
            options,
            tf32=tf32,
            free_bytes=free,
            progress=settings.progress,
            **how,
        )
        if options.refit is not None and not library.trusted_refits:
            owner = getattr(module, "__self__", module)
            state = owner.state_dict() if isinstance(owner, torch.nn.Module) else {}
            prove(engine, graph, device, state)  # before the cache may have it
        return engine

    return find_or_build(
        settings.cache, graph, library, options, make, tf32=tf32, device=device, module=name
    )


def _choose(name: str, value: Any, allowed: tuple[Any, ...]) -> None:
    if value not in allowed:
        raise OptionError(f"{name}: expected one of {', '.join(map(str, allowed))}, got {value!r}")


def _library(backend: str, options: BuildOptions) -> TensorRT | None:
    """Return TensorRT, or None for the reference."""
    if backend == "reference":
        return None
    try:
        library = TensorRT(log_level=options.log_level)
        if not torch.cuda.is_available():
            raise AbsentError("PyTorch sees no CUDA device")
    except AbsentError as error:
        if backend == "tensorrt":
            raise
        warnings.warn(
            f'the reference backend is used: {error.message}; backend="reference" says so silently',
            UserWarning,
            stacklevel=3,
        )
        return None
    return library


def _device(module: Any, device: Any, library: TensorRT | None) -> torch.device:
    if device is None:
        tensors = list(module.parameters()) if isinstance(module, torch.nn.Module) else []
        own = tensors[0].device if tensors else torch.device("cpu")
        device = "cuda" if library is not None and own.type != "cuda" else own
    return find_device("device", device)


def optimize(graph: Graph, library: TensorRT) -> Graph:
    """Return the graph as it is lowered: the list of passes stands here."""
    passes.refuse_data(graph, library.target)
    graph = passes.fold_norms(graph)
    graph = passes.decompose(graph, library.target)
    graph = passes.merge_equal(graph)
    graph = passes.absorb_pads(graph)
    graph = passes.absorb_expands(graph)
    graph = passes.merge_shuffles(graph)
    graph.check()
    return graph
