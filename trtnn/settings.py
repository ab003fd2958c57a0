"""What ``compile`` and ``build`` are told beside module and inputs, checked."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import torch

from trtnn.cache.folder import check as check_cache
from trtnn.compiled import find_device
from trtnn.errors import AbsentError, OptionError
from trtnn.options import BuildOptions, RuntimeOptions
from trtnn.precision.policy import Precision, precision_of
from trtnn.saved.description import gpu_of
from trtnn.tracing.forward import module_of
from trtnn.trt.identity import RTX, TENSORRT, TITLES, is_installed
from trtnn.trt.library import TensorRT


def settings_of(
    options: BuildOptions | None,
    runtime: RuntimeOptions | None,
    precision: str | Precision,
    int64_checks: str,
    cache: Any,
    progress: bool | None,  # noqa: FBT001
    execution: str,
    max_contexts: int = 4,
    memory: str = "own",
    *,
    verify: Any,
) -> Settings:
    """Return what ``compile`` and ``build`` are told alike, checked."""
    choose("int64_checks", int64_checks, ("always", "first"))
    choose("progress", progress, (None, True, False))
    check_cache(cache)
    options = options if options is not None else BuildOptions()
    if not isinstance(options, BuildOptions):
        raise OptionError(f"options: expected a trtnn.options.BuildOptions, got {options!r}")
    runtime = runtime if runtime is not None else RuntimeOptions()
    if not isinstance(runtime, RuntimeOptions):
        raise OptionError(f"runtime: expected a trtnn.options.RuntimeOptions, got {runtime!r}")
    return Settings(
        precision_of(precision),
        int64_checks,
        options,
        runtime,
        cache,
        progress,
        execution,
        max_contexts,
        memory,
        verify,
    )


@dataclass(frozen=True)
class Settings:
    """What ``compile`` was told beside module and inputs, once checked."""

    precision: Precision
    int64_checks: str
    options: BuildOptions
    runtime: RuntimeOptions
    cache: Any
    progress: bool | None
    execution: str
    max_contexts: int
    memory: str
    verify: Any

    @property
    def tf32(self) -> bool:
        return self.precision.uses_tf32

    def described(self) -> dict[str, Any]:
        """Return what a saved file tells of them."""
        names = ("execution", "int64_checks", "options")
        return {**{name: getattr(self, name) for name in names}, "precision": str(self.precision)}


def refuse_checks(given: Any) -> None:
    """Raise OptionError where the former name of ``int64_checks`` is used."""
    if given is not None:
        raise OptionError(
            f"checks: the argument is named int64_checks, got checks={given!r}",
            hint=f"write int64_checks={given!r}; verify= says whether a new engine is checked",
        )


def choose(name: str, value: Any, allowed: tuple[Any, ...]) -> None:
    if value not in allowed:
        raise OptionError(f"{name}: expected one of {', '.join(map(str, allowed))}, got {value!r}")


def library_for(backend: str, settings: Settings) -> TensorRT | None:
    """Return the TensorRT to build with, or None for the reference."""
    if backend == "reference":
        return None
    package = RTX if backend == RTX else TENSORRT
    try:
        library = TensorRT(
            log_level=settings.options.log_level, package=package, runtime=settings.runtime
        )
        if not torch.cuda.is_available():
            raise AbsentError("PyTorch sees no CUDA device")
    except AbsentError as error:
        if backend != "auto":
            raise
        other = ""
        if not is_installed(TENSORRT) and is_installed(RTX):
            other = f'; {TITLES[RTX]} is installed: backend="tensorrt_rtx" asks for it'
        warnings.warn(
            f"the reference backend is used: {error.message}{other}; "
            'backend="reference" says so silently',
            UserWarning,
            stacklevel=3,
        )
        return None
    library.check_options(settings.options)
    return library


def place_for(module: Any, device: Any, library: TensorRT | None) -> torch.device:
    if device is None:
        owner = module_of(module)
        tensors = list(owner.parameters()) if owner is not None else []
        own = tensors[0].device if tensors else torch.device("cpu")
        device = "cuda" if library is not None and own.type != "cuda" else own
    place = find_device("device", device)
    gpu = gpu_of(place)
    if library is not None and gpu is not None:
        library.require_gpu(gpu["name"], gpu["compute_capability"])
    return place
