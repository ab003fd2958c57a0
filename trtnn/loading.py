"""``load``: a saved model back, on the GPU, TensorRT and platform that it was built for."""

from __future__ import annotations

import contextlib
import logging
import os
from typing import Any

import torch

from trtnn.cache.kernels import keep_kernels
from trtnn.compiled import CompiledModule, find_device, require_running
from trtnn.engine.engine import Engine
from trtnn.engine.verified import Verified
from trtnn.errors import AbsentError, OptionError
from trtnn.options import RuntimeOptions
from trtnn.run.allocating import runner_for
from trtnn.saved.agreement import require_agreement
from trtnn.saved.border import border_of
from trtnn.saved.description import gpu_of, restore
from trtnn.saved.file import read
from trtnn.saved.fit import (
    package_of,
    require_fit,
    require_host_code_allowed,
    require_plugins,
    require_valid,
)
from trtnn.saved.promises import sizes_asked
from trtnn.trt.library import TensorRT


def load(
    path: str | os.PathLike[str],
    *,
    device: Any = None,
    allow_host_code: bool = False,
    execution: str | None = None,
    max_contexts: int = 4,
    memory: str = "own",
    log_level: int = logging.WARNING,
    runtime: RuntimeOptions | None = None,
) -> CompiledModule:
    """Load what ``CompiledModule.save`` wrote: no module, no trace and no build is needed.

    What cannot be right is refused before TensorRT is asked. Classes of the arguments' and the
    result's structure are taken only from modules that are already imported. A saved model holds
    code for the GPU all the same: load only what you would also run.

    Args:
        device: Where inputs will be; the current GPU, if omitted.
        allow_host_code: Let TensorRT run the code for the CPU that the plan holds: an engine
            built with ``version_compatible`` carries the runtime of its own version.
        execution: How calls run, as for ``trtnn.compile``; as it was compiled, if omitted.
        max_contexts: How many calls may run at once; further ones wait.
        memory: ``"own"`` or ``"shared"``, as for ``trtnn.compile``.
        log_level: Messages of TensorRT below this level of ``logging`` are dropped.
        runtime: What contexts of TensorRT for RTX are told.

    Raises:
        OptionError: ``execution``, ``max_contexts``, ``memory``, ``log_level`` or ``runtime`` is
            none that this TensorRT has.
        LoadError: The file is damaged or no saved model; or was made for another GPU, TensorRT or
            platform; or holds code for the host, which was not allowed; or needs a plugin that
            this process does not have, which the error names.
        AbsentError: TensorRT is not installed, or there is no GPU.
        BuildError: TensorRT refuses the plan; carries its log lines.
        OSError: There is no such file, or it cannot be read.

    >>> load("net.trtnn")
    Traceback (most recent call last):
    FileNotFoundError: [Errno 2] No such file or directory: 'net.trtnn'
    """
    require_running("sync" if execution is None else execution, max_contexts, memory)
    if type(log_level) is not int:
        raise OptionError(f"log_level: expected a level of logging, an int, got {log_level!r}")
    saved = read(path)
    manifest = saved.manifest
    border = border_of(manifest, str(path))
    library = TensorRT(log_level=log_level, package=package_of(manifest), runtime=runtime)
    place = _device(device)
    gpu = gpu_of(place)
    require_fit(manifest, str(path), version=library.target.version, gpu=gpu)
    require_host_code_allowed(manifest, str(path), allowed=allow_host_code)
    require_plugins(manifest, str(path), library)
    require_valid(library, str(path), saved.plan)
    keep_kernels(library, gpu)
    model = restore(manifest)
    if execution is not None:
        manifest["execution"] = execution
    current = torch.cuda.device(place) if place.type == "cuda" else contextlib.nullcontext()
    with current:
        engine = Engine(saved.plan, library, host_code=allow_host_code)
        engine.timing_digest = manifest["engine"].get("timing_digest")
        if found := manifest.get("verified"):
            engine.verified = Verified.of(found)
        require_agreement(border, str(path), library, engine.handle)
        runner = runner_for(model.graph)(
            engine,
            model.graph,
            place,
            manifest["checks"],
            max_contexts,
            execution=manifest["execution"],
            memory=memory,
        )
    runner.verify = sizes_asked(border, str(path))
    return CompiledModule(
        model.graph, model.signature, model.parameters, runner, engine, lambda: dict(manifest)
    )


def _device(device: Any) -> torch.device:
    if device is None and not torch.cuda.is_available():
        raise AbsentError("PyTorch sees no CUDA device")
    return find_device("device", "cuda" if device is None else device)
