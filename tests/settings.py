"""Each build option: a value, where it arrives in TensorRT, and what is no option."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import tests.double as double
from tests.double.surface import VERSIONS
from trtnn.options import BuildOptions
from trtnn.trt.library import TensorRT

DLA = {"default_device_type": "DLA"}
DOUBLES = {version: double.load(version) for version in VERSIONS}


@dataclass(frozen=True)
class Case:
    """A value of a field, where it arrives, and what it needs beside it."""

    value: Any
    where: str
    name: str
    beside: dict[str, Any]
    arrives: Any = None

    def exists(self, trt: Any) -> bool:
        """Tell whether a TensorRT has the setting."""
        if self.where in ("BuilderFlag", "MemoryPoolType"):
            return self.name in getattr(trt, self.where).__members__
        return hasattr(getattr(trt, self.where), self.name)

    def read(self, trt: Any, builder: Any, config: Any) -> Any:
        """Return what a TensorRT holds."""
        if self.where == "BuilderFlag":
            return config.get_flag(trt.BuilderFlag.__members__[self.name])
        if self.where == "MemoryPoolType":
            return config.get_memory_pool_limit(trt.MemoryPoolType.__members__[self.name])
        held = getattr(builder if self.where == "Builder" else config, self.name)
        return held() if callable(held) else getattr(held, "name", held)


def flag(name: str, **beside: Any) -> Case:
    return Case(True, "BuilderFlag", name, beside)


def pool(name: str, **beside: Any) -> Case:
    return Case(1 << 20, "MemoryPoolType", name, beside)


def held(name: str, value: Any, arrives: Any = None, **beside: Any) -> Case:
    return Case(value, "IBuilderConfig", name, beside, arrives)


CASES = {
    "workspace_bytes": pool("WORKSPACE"),
    "tactic_dram_bytes": pool("TACTIC_DRAM"),
    "tactic_shared_memory_bytes": pool("TACTIC_SHARED_MEMORY"),
    "dla_managed_sram_bytes": pool("DLA_MANAGED_SRAM", **DLA),
    "dla_local_dram_bytes": pool("DLA_LOCAL_DRAM", **DLA),
    "dla_global_dram_bytes": pool("DLA_GLOBAL_DRAM", **DLA),
    "builder_optimization_level": held("builder_optimization_level", 5),
    "avg_timing_iterations": held("avg_timing_iterations", 4),
    "max_num_tactics": held("max_num_tactics", 7),
    "tactic_sources": held("get_tactic_sources", ["JIT_CONVOLUTIONS"]),
    "tiling_optimization_level": held("tiling_optimization_level", "FULL"),
    "l2_limit_for_tiling": held("l2_limit_for_tiling", 64, tiling_optimization_level="FAST"),
    "remote_auto_tuning_config": held("remote_auto_tuning_config", "ssh://there"),
    "enable_tactic_heuristic": flag("ENABLE_TACTIC_HEURISTIC"),
    "algorithm_selector": held("algorithm_selector", "IAlgorithmSelector"),
    "reject_empty_algorithms": flag(
        "REJECT_EMPTY_ALGORITHMS", algorithm_selector="IAlgorithmSelector"
    ),
    "max_threads": Case(3, "Builder", "max_threads", {}),
    "max_aux_streams": held("max_aux_streams", 0),
    "editable_timing_cache": flag("EDITABLE_TIMING_CACHE"),
    "error_on_timing_cache_miss": flag("ERROR_ON_TIMING_CACHE_MISS"),
    "disable_timing_cache": flag("DISABLE_TIMING_CACHE", timing_cache=False),
    "disable_compilation_cache": flag("DISABLE_COMPILATION_CACHE"),
    "profiling_verbosity": held("profiling_verbosity", "DETAILED"),
    "hardware_compatibility_level": held("hardware_compatibility_level", "AMPERE_PLUS"),
    "version_compatible": flag("VERSION_COMPATIBLE"),
    "exclude_lean_runtime": flag("EXCLUDE_LEAN_RUNTIME", version_compatible=True),
    "plugins_to_serialize": held("plugins_to_serialize", ["a.so"], version_compatible=True),
    "refit": replace(flag("REFIT"), value="refit", arrives=True),
    "strip_plan": flag("STRIP_PLAN", refit="refit"),
    "weight_streaming": flag("WEIGHT_STREAMING"),
    "sparse_weights": flag("SPARSE_WEIGHTS"),
    "strict_nans": flag("STRICT_NANS"),
    "distributive_independence": flag("DISTRIBUTIVE_INDEPENDENCE"),
    "direct_io": flag("DIRECT_IO"),
    "default_device_type": held("default_device_type", "DLA"),
    "dla_core": held("DLA_core", 1, **DLA),
    "gpu_fallback": flag("GPU_FALLBACK", **DLA),
    "debug": flag("DEBUG"),
    "monitor_memory": flag("MONITOR_MEMORY"),
    "progress_monitor": held("progress_monitor", "IProgressMonitor"),
    "preview_features": held("get_preview_feature", {}),
}
ELSEWHERE = {"timing_cache": "tests/trt/test_timing.py", "log_level": "TensorRT's logger"}
# What is no option, and why.
REFUSED = {
    "FP16 BF16 INT8 FP8 INT4 FP4": "the types of the graph decide",
    "TF32": "precision=",
    "OBEY_PRECISION_CONSTRAINTS PREFER_PRECISION_CONSTRAINTS STRICT_TYPES": "types are obeyed",
    "REFIT_IDENTICAL REFIT_INDIVIDUAL": "refit=",
    "WEIGHTLESS": "the older name of STRIP_PLAN",
    "SAFETY_SCOPE engine_capability": "the plan is for another runtime",
    "runtime_platform": "the plan is for another system, and the build ends with running it",
    "flags": "each flag is an option",
    "int8_calibrator quantization_flags": "Q/DQ is the one INT8 route",
    "max_workspace_size": "workspace_bytes",
    "min_timing_iterations": "deprecated for avg_timing_iterations",
    "profile_stream": "TensorRT's own stream is right",
    "build_route": "not documented",
    "max_batch_size": "of implicit batches",
    "error_recorder gpu_allocator": "the builder's, not the build's",
}


def given(trt: Any, value: Any) -> Any:
    """Return a value, or an object of the TensorRT class that a str names."""
    kind = getattr(trt, value, None) if isinstance(value, str) and value[0] == "I" else None
    return value if kind is None else kind()


def options_of(trt: Any, field: str, case: Case) -> BuildOptions:
    chosen = {name: given(trt, value) for name, value in {field: case.value, **case.beside}.items()}
    return BuildOptions(**chosen)


def configured(trt: Any, options: BuildOptions) -> tuple[Any, Any]:
    """Return a builder with two DLA cores, and the configuration that options make."""
    library = TensorRT(trt)
    builder = library.builder()
    builder._write("num_DLA_cores", 2)
    return builder, library.config(builder, options, tf32=True, half=False)


def versions_of(test: Callable[[Any], bool]) -> str:
    """Return the versions for which a test holds, in words."""
    *first, last = (version for version, trt in DOUBLES.items() if test(trt))
    return f"{', '.join(first)} and {last}" if first else last


def members_anywhere(kind: str) -> set[str]:
    found = [getattr(trt, kind, None) for trt in DOUBLES.values()]
    return {name for members in found if members for name in members.__members__}
