"""``build``: compile a module into a file, and run nothing."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any

import torch

from trtnn.compiled import require_running
from trtnn.compiler import graph_of, optimize, run_stages
from trtnn.engine.builder import Built, build_plan
from trtnn.engine.verified import Verified
from trtnn.errors import InputError, OptionError
from trtnn.graph.graph import Graph
from trtnn.ops.quantization import QuantizeDequantize
from trtnn.options import BuildOptions
from trtnn.precision.policy import Precision
from trtnn.run.subject import require_verify
from trtnn.saved.description import describe
from trtnn.saved.file import write
from trtnn.settings import Settings, choose, library_for, place_for, refuse_checks, settings_of
from trtnn.tracing.forward import _parameters, unwrapped
from trtnn.tracing.signature import declare
from trtnn.trt.identity import RTX, TENSORRT, TITLES
from trtnn.trt.library import TensorRT


def build(
    module: Callable[..., Any],
    path: str | os.PathLike[str],
    *,
    inputs: Any,
    precision: str | Precision = "tf32",
    backend: str = TENSORRT,
    compute_capabilities: Sequence[str] = (),
    device: Any = None,
    int64_checks: str = "always",
    options: BuildOptions | None = None,
    cache: Any = None,
    progress: bool | None = None,
    execution: str = "sync",
    verify: Any = True,
    checks: Any = None,
) -> None:
    """Compile a module into a file, which ``trtnn.load`` and ``HostModel`` read, and run nothing.

    TensorRT builds for the GPU at hand. TensorRT for RTX needs none: on any Linux machine it
    builds one file for several generations of GPUs. The plan in it is right for Windows too.

    Args:
        module: As for ``compile``, and so are the arguments that are not named here.
        path: The file; it is there whole or not at all.
        backend: ``"tensorrt"`` or ``"tensorrt_rtx"``.
        compute_capabilities: The GPUs that TensorRT for RTX builds for, as ``("8.9", "12.0")``;
            none: all from 8.0 on that have the network's dtypes. 7.5 is best built alone.
        device: The GPU that TensorRT builds for; the current one, if omitted.

    Raises:
        OptionError: A value that is none of these, or not for this backend.
        InputError: ``inputs`` do not fit ``forward``.
        BackendError: TensorRT is absent, or has no GPU to build for.
        OSError: The folder is missing, or cannot be written.
        TraceError, UnsupportedError, BuildError: As for ``compile``.

    With ``pip install "trtnn[rtx]"``, on any Linux machine::

        net, x = torch.nn.Linear(4, 2), trtnn.Input((trtnn.Dim("batch", 1, 8, 32), 4))
        trtnn.build(net, "net.trtnn", inputs=[x], backend="tensorrt_rtx",
                    compute_capabilities=("8.9", "12.0"))

    >>> x = torch.ones(3)
    >>> try:
    ...     build(torch.nn.ReLU(), "net.trtnn", inputs=[x], compute_capabilities=("8.9",))
    ... except OptionError as error:
    ...     print(error.message)
    compute_capabilities: TensorRT builds for the GPU at hand
    """
    refuse_checks(checks)
    module = unwrapped(module)
    choose("backend", backend, (TENSORRT, RTX))
    require_running(execution, 1, "own")
    settings = settings_of(
        options,
        None,
        precision,
        int64_checks,
        cache,
        progress,
        execution,
        verify=require_verify(verify, lazy=False),
    )
    if inputs is None:
        raise InputError(
            "inputs: expected what compile(inputs=...) takes, got None",
            hint="declare each input: no call follows that could decide",
        )
    if backend == TENSORRT:
        if compute_capabilities:
            raise OptionError(
                "compute_capabilities: TensorRT builds for the GPU at hand",
                hint='use backend="tensorrt_rtx"',
            )
        library = library_for(backend, settings)
        place = place_for(module, device, library)
        run_stages(module, settings, library, place, declare(module, inputs)).save(path)
        return
    if device is not None:
        raise OptionError(
            f"device: {TITLES[RTX]} builds for no GPU at hand, got {device!r}",
            hint="name the GPUs by compute_capabilities",
        )
    library = TensorRT(log_level=settings.options.log_level, package=RTX)
    manifest, plan = _ahead(module, settings, library, compute_capabilities, inputs)
    write(path, manifest, plan)


def _ahead(
    module: Callable[..., Any],
    settings: Settings,
    library: TensorRT,
    capabilities: Sequence[str],
    inputs: Any,
) -> tuple[dict[str, Any], bytes]:
    """Return the manifest and the plan of a build that needs no GPU."""
    options = settings.options
    library.check_options(options)
    if options.refit is not None:
        raise OptionError(
            f"refit={options.refit!r}: {library.target.name} builds a refittable engine only where "
            "it runs, and a file holds no recipes of weights",
            hint='use compile(..., backend="tensorrt_rtx") on a machine with such a GPU',
        )
    place = torch.device("cuda", 0)  # what the graph says its tensors live on
    signature = declare(module, inputs)
    chosen, signature = graph_of(module, settings.precision, library, signature, place)
    graph = chosen.graph
    built, targets = build_ahead(
        graph,
        library,
        options,
        tf32=settings.tf32,
        accumulate=settings.precision.accumulate,
        progress=settings.progress,
        capabilities=_capabilities(capabilities),
    )
    manifest = describe(
        graph,
        signature,
        _parameters(module),
        library,
        device=place,
        capabilities=targets,
        verified=Verified(why="built without a GPU to run it"),
        **settings.described(),
    )
    return manifest, bytes(built.plan)


def build_ahead(
    graph: Graph,
    library: TensorRT,
    options: BuildOptions,
    *,
    tf32: bool,
    accumulate: str | None = None,
    progress: bool | None = None,
    capabilities: Sequence[str] = (),
) -> tuple[Built, tuple[str, ...]]:
    """Build a typed graph for GPUs that are not here; return the build, and for which it is."""
    lowered = optimize(graph, library, accumulate=accumulate)
    held = {value.spec.dtype for value in lowered.values()}
    held |= {n.op.dtype for n in lowered.nodes if isinstance(n.op, QuantizeDequantize)}
    dtypes = {str(dtype).removeprefix("torch.") for dtype in held}
    targets = library.capabilities_for(dtypes, capabilities)
    how: dict[str, Any] = {"tf32": tf32, "progress": progress, "capabilities": targets}
    return build_plan(lowered, library, options, **how), targets


def _capabilities(given: Sequence[str]) -> tuple[str, ...]:
    if isinstance(given, str) or not all(isinstance(name, str) for name in given):
        raise OptionError(
            f'compute_capabilities: expected texts such as ("8.9", "12.0"), got {given!r}'
        )
    return tuple(dict.fromkeys(given))
