"""The build options: TensorRT's own settings, under its own names in lower case."""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal

from trtnn.errors import OptionError

EVERY = "8.6, 10 and 11"
LATER = "10 and 11"
EARLIER = "8.6 and 10"

# The members of enumerations that not every version has, for the texts of errors.
MEMBERS = {
    "ALIASED_PLUGIN_IO_10_03": LATER,
    "CUBLAS": EARLIER,
    "CUBLAS_LT": EARLIER,
    "CUDNN": EARLIER,
    "DEFAULT": "8.6",
    "DISABLE_EXTERNAL_TACTIC_SOURCES_FOR_CORE_0805": "8.6",
    "FASTER_DYNAMIC_SHAPES_0805": "8.6",
    "MULTIDEVICE_RUNTIME_10_16": "10",
    "PROFILE_SHARING_0806": EARLIER,
    "REFIT_IDENTICAL": LATER,
    "REFIT_INDIVIDUAL": LATER,
    "RUNTIME_ACTIVATION_RESIZE_10_10": LATER,
    "SAME_COMPUTE_CAPABILITY": LATER,
    "VERBOSE": "8.6",
}


@dataclass(frozen=True)
class Values:
    """What a field takes: in words, as a test, and in the one form that is kept."""

    expected: str
    accept: Callable[[Any], bool]
    keep: Callable[[Any], Any]


def _same(value: Any) -> Any:
    return value


def _integers(low: int, high: int, expected: str) -> Values:
    def accept(value: Any) -> bool:
        return isinstance(value, int) and not isinstance(value, bool) and low <= value <= high

    return Values(expected, accept, _same)


def _is_names(value: Any) -> bool:
    if isinstance(value, str) or not isinstance(value, Iterable):
        return False
    return all(isinstance(name, str) for name in value)


def _set(value: Iterable[str]) -> tuple[str, ...]:
    return tuple(sorted(set(value)))


def _pairs(value: Any) -> tuple[Any, ...]:
    return tuple(sorted(value.items() if isinstance(value, Mapping) else value))


def _is_features(value: Any) -> bool:
    if not isinstance(value, (Mapping, tuple)):
        return False
    try:
        return all(isinstance(n, str) and isinstance(on, bool) for n, on in _pairs(value))
    except (TypeError, ValueError):
        return False


def _paths(value: Any) -> Any:
    """Return paths as texts; what is no list of paths as it is."""
    try:
        return tuple(map(os.fspath, value))
    except TypeError:
        return value


def _is_timings(value: Any) -> bool:
    return value is False or (isinstance(value, (bytes, str, os.PathLike)) and value != "")


def _timings(value: Any) -> Any:
    return value if value is False or isinstance(value, bytes) else Path(value)


_BOOL = Values("True or False", lambda value: isinstance(value, bool), _same)
_BYTES = _integers(1, 2**63 - 1, "a positive int")
_COUNT = _integers(0, 2**31 - 1, "an int from 0 to 2**31 - 1")
_POSITIVE = _integers(1, 2**31 - 1, "an int from 1 to 2**31 - 1")
_LEVEL = _integers(0, 5, "an int from 0 to 5")
_NAME = Values(
    "a name in capitals", lambda value: isinstance(value, str) and value.isupper(), _same
)
_TEXT = Values("a str", lambda value: isinstance(value, str), _same)
_SOURCES = Values("a list of names", _is_names, _set)
_PATHS = Values(
    "a list of paths",
    lambda value: not isinstance(value, (str, os.PathLike)) and _is_names(_paths(value)),
    lambda value: _paths(value),
)
_FEATURES = Values("a dict of names to True or False", _is_features, _pairs)
_REFIT = Values(
    "'refit', 'identical' or 'individual'",
    lambda value: isinstance(value, str) and value in ("refit", "identical", "individual"),
    _same,
)
_TIMINGS = Values("bytes, a path, False or None", _is_timings, _timings)
_OBJECT = Values("an object of TensorRT's class", lambda value: True, _same)
_LOGGING = Values("a level of logging, an int", lambda value: isinstance(value, int), _same)


@dataclass(frozen=True)
class Setting:
    """How TensorRT knows one field.

    Attributes:
        kind: ``flag``, ``pool``, ``number`` (a property of the config), ``member`` (a property
            that holds a member of the enumeration ``type``), ``instance`` (one that holds an
            object of the class ``type``), ``builder`` (a property of the builder), ``sources``,
            ``features``, ``refit``; ``timings`` and ``log`` are set elsewhere.
        name: TensorRT's own name of the flag, pool or property.
        values: What the field takes.
        versions: The TensorRT versions that have it.
        type: The enumeration or class of the values.
        keyed: Whether it decides which plan is right, and so belongs in a cache's key.
    """

    kind: str
    name: str
    values: Values
    versions: str = EVERY
    type: str = ""
    keyed: bool = True


SETTINGS: dict[str, Setting] = {
    "workspace_bytes": Setting("pool", "WORKSPACE", _BYTES),
    "tactic_dram_bytes": Setting("pool", "TACTIC_DRAM", _BYTES),
    "tactic_shared_memory_bytes": Setting("pool", "TACTIC_SHARED_MEMORY", _BYTES, LATER),
    "dla_managed_sram_bytes": Setting("pool", "DLA_MANAGED_SRAM", _BYTES),
    "dla_local_dram_bytes": Setting("pool", "DLA_LOCAL_DRAM", _BYTES),
    "dla_global_dram_bytes": Setting("pool", "DLA_GLOBAL_DRAM", _BYTES),
    "builder_optimization_level": Setting("number", "builder_optimization_level", _LEVEL),
    "avg_timing_iterations": Setting("number", "avg_timing_iterations", _POSITIVE),
    "max_num_tactics": Setting("number", "max_num_tactics", _POSITIVE, LATER),
    "tactic_sources": Setting("sources", "tactic_sources", _SOURCES, type="TacticSource"),
    "tiling_optimization_level": Setting(
        "member", "tiling_optimization_level", _NAME, LATER, "TilingOptimizationLevel"
    ),
    "l2_limit_for_tiling": Setting("number", "l2_limit_for_tiling", _BYTES, LATER),
    "remote_auto_tuning_config": Setting("number", "remote_auto_tuning_config", _TEXT, LATER),
    "enable_tactic_heuristic": Setting("flag", "ENABLE_TACTIC_HEURISTIC", _BOOL, "8.6"),
    "algorithm_selector": Setting(
        "instance", "algorithm_selector", _OBJECT, EARLIER, "IAlgorithmSelector"
    ),
    "reject_empty_algorithms": Setting("flag", "REJECT_EMPTY_ALGORITHMS", _BOOL, EARLIER),
    "max_threads": Setting("builder", "max_threads", _POSITIVE, keyed=False),
    "max_aux_streams": Setting("number", "max_aux_streams", _COUNT),
    "timing_cache": Setting("timings", "timing_cache", _TIMINGS, keyed=False),
    "editable_timing_cache": Setting("flag", "EDITABLE_TIMING_CACHE", _BOOL, LATER, keyed=False),
    "error_on_timing_cache_miss": Setting(
        "flag", "ERROR_ON_TIMING_CACHE_MISS", _BOOL, LATER, keyed=False
    ),
    "disable_timing_cache": Setting("flag", "DISABLE_TIMING_CACHE", _BOOL, keyed=False),
    "disable_compilation_cache": Setting(
        "flag", "DISABLE_COMPILATION_CACHE", _BOOL, LATER, keyed=False
    ),
    "profiling_verbosity": Setting(
        "member", "profiling_verbosity", _NAME, type="ProfilingVerbosity"
    ),
    "hardware_compatibility_level": Setting(
        "member", "hardware_compatibility_level", _NAME, type="HardwareCompatibilityLevel"
    ),
    "version_compatible": Setting("flag", "VERSION_COMPATIBLE", _BOOL),
    "exclude_lean_runtime": Setting("flag", "EXCLUDE_LEAN_RUNTIME", _BOOL),
    "plugins_to_serialize": Setting("number", "plugins_to_serialize", _PATHS),
    "refit": Setting("refit", "refit", _REFIT),
    "strip_plan": Setting("flag", "STRIP_PLAN", _BOOL, LATER),
    "weight_streaming": Setting("flag", "WEIGHT_STREAMING", _BOOL, LATER),
    "sparse_weights": Setting("flag", "SPARSE_WEIGHTS", _BOOL),
    "strict_nans": Setting("flag", "STRICT_NANS", _BOOL, LATER),
    "distributive_independence": Setting("flag", "DISTRIBUTIVE_INDEPENDENCE", _BOOL, LATER),
    "direct_io": Setting("flag", "DIRECT_IO", _BOOL),
    "default_device_type": Setting("member", "default_device_type", _NAME, type="DeviceType"),
    "dla_core": Setting("number", "DLA_core", _COUNT),
    "gpu_fallback": Setting("flag", "GPU_FALLBACK", _BOOL),
    "debug": Setting("flag", "DEBUG", _BOOL),
    "monitor_memory": Setting("flag", "MONITOR_MEMORY", _BOOL, LATER, keyed=False),
    "progress_monitor": Setting(
        "instance", "progress_monitor", _OBJECT, LATER, "IProgressMonitor", keyed=False
    ),
    "preview_features": Setting("features", "preview_features", _FEATURES, type="PreviewFeature"),
    "log_level": Setting("log", "log_level", _LOGGING, keyed=False),
}

# A field that TensorRT would take and ignore, but for this value of another.
_NEEDS: dict[str, tuple[str, object]] = {
    "exclude_lean_runtime": ("version_compatible", True),
    "plugins_to_serialize": ("version_compatible", True),
    "dla_core": ("default_device_type", "DLA"),
    "gpu_fallback": ("default_device_type", "DLA"),
    "dla_managed_sram_bytes": ("default_device_type", "DLA"),
    "dla_local_dram_bytes": ("default_device_type", "DLA"),
    "dla_global_dram_bytes": ("default_device_type", "DLA"),
    "disable_timing_cache": ("timing_cache", False),
}
# Fields that say something of a timing cache.
_TIMED = (
    "timing_cache",
    "editable_timing_cache",
    "error_on_timing_cache_miss",
    "disable_compilation_cache",
)


@dataclass(frozen=True, kw_only=True)
class BuildOptions:
    """What TensorRT's builder is told, under TensorRT's names in lower case.

    ``None`` is TensorRT's own default, except that the timing cache is on, and that profiles are
    shared (PROFILE_SHARING_0806) on 8.6. A field exists on 8.6, 10 and 11 unless versions stand
    behind it; on a version that lacks it, and where TensorRT would ignore it, it is an error.

    Args:
        workspace_bytes: Limit of the WORKSPACE memory pool: scratch memory of one layer. All
            memory of the GPU by default. This and the other pools are in bytes.
        tactic_dram_bytes: Limit of the memory that one tactic may take while it is timed.
        tactic_shared_memory_bytes: Limit of a kernel's shared memory (10 and 11).
        dla_managed_sram_bytes: Limit of the fast memory that DLA manages, a power of two.
        dla_local_dram_bytes: Limit of DLA's memory for intermediate tensors, a power of two.
        dla_global_dram_bytes: Limit of DLA's memory for weights and metadata, a power of two.
        builder_optimization_level: 0 (fastest build, nothing is timed) to 5 (fastest engine); 3
            by default.
        avg_timing_iterations: How many runs of a tactic are averaged.
        max_num_tactics: How many tactics of a layer are timed at most (10 and 11).
        tactic_sources: The libraries that kernels may come from, as names of TacticSource.
            CUBLAS, CUBLAS_LT and CUDNN (8.6 and 10) need their library; on 8.6 also
            ``preview_features={"DISABLE_EXTERNAL_TACTIC_SOURCES_FOR_CORE_0805": False}``.
        tiling_optimization_level: NONE, FAST, MODERATE or FULL search for tilings over several
            kernels (10 and 11).
        l2_limit_for_tiling: How many bytes of the L2 cache such a tiling may use (10 and 11).
        remote_auto_tuning_config: Where TensorRT times kernels on another machine (10 and 11).
        enable_tactic_heuristic: Let a heuristic choose which tactics are timed (8.6).
        algorithm_selector: A ``tensorrt.IAlgorithmSelector``, which sees each layer's tactics and
            chooses; turns the timing cache off (8.6 and 10; 11 has the editable timing cache).
        reject_empty_algorithms: Fail where the algorithm selector chooses nothing (8.6 and 10).
        max_threads: How many threads the builder may use.
        max_aux_streams: How many streams beside its own an engine may use; 0 for none.
        timing_cache: Timings to start from: the bytes ``engine.timing_cache`` of an earlier build
            with this TensorRT on the same GPU model, or a path, whose file is read if it exists
            and gets the timings of this build added; its folders are made. Another board of that
            model will do, so TensorRT's own check of the device is skipped. ``False``: none, each
            build times everything anew. None: a file in the engine cache's folder for this GPU
            model and TensorRT, made anew if TensorRT refuses it; timings of this build alone
            without such a folder, and with ``editable_timing_cache``. 8.6.0 reads none of regions
            that it fused, as attention.
        editable_timing_cache: Make a cache whose entries ``ITimingCache.update`` can change: the
            way to force a tactic (10 and 11).
        error_on_timing_cache_miss: Fail where the cache lacks a timing (10 and 11).
        disable_timing_cache: Time equal layers of one network each; with ``timing_cache=False``.
        disable_compilation_cache: Keep compiled kernels out of the timing cache (10 and 11).
        profiling_verbosity: LAYER_NAMES_ONLY, NONE or DETAILED: what the plan tells an inspector,
            and ``model.precision_report`` of the engine's types.
        hardware_compatibility_level: NONE, AMPERE_PLUS, or SAME_COMPUTE_CAPABILITY (10 and 11):
            which other GPUs can run the plan. It costs speed.
        version_compatible: Make a plan that later versions of TensorRT can run. It costs speed,
            and the plan holds code for the host.
        exclude_lean_runtime: Keep that code out of the plan; with ``version_compatible``.
        plugins_to_serialize: Paths of plugin libraries to put in such a plan.
        refit: ``"refit"`` lets ``model.refit`` replace all weights. It can cost speed, because no
            weights are computed at build time: in half on 8.6.0, ResNet-50 took 1.00 and BERT-base
            1.15 times as long. It needs one optimization profile, and on 8.6 parameters of floating
            point. 8.6.0 builds some such engines wrong, so there a copy of each new one is refitted
            and run beside its graph, on made-up inputs, and refused where they differ; a warning
            says where they could not be compared. ``"identical"`` lets
            them be replaced by the same values only, at no cost; ``"individual"`` keeps weights
            that no parameter has a part in as they are (both 10 and 11).
        strip_plan: Keep the weights that can be refitted out of ``model.plan``; the model itself
            is refitted as soon as it is built, and cannot be saved; the engine cache has it with
            its weights; with ``refit`` (10 and 11).
        weight_streaming: Let weights stay in host memory and stream in (10 and 11).
        sparse_weights: Use kernels for weights of which two of four are 0 where they are, as
            ``trtnn.sparsify`` makes them.
        strict_nans: Do not rewrite what would hide a NaN, as ``x - x`` by 0 (10 and 11).
        distributive_independence: Compute each matrix of a batch, and each row of a reduction, by
            the same operations (10 and 11).
        direct_io: Fail rather than reformat an input whose memory format was declared.
        default_device_type: GPU or DLA: where layers run.
        dla_core: Which DLA core, from 0; with ``default_device_type="DLA"``, as are the next and
            the DLA pools.
        gpu_fallback: Run on the GPU what DLA cannot.
        debug: Synchronize after every layer.
        monitor_memory: Log how much memory the build takes (10 and 11).
        progress_monitor: A ``tensorrt.IProgressMonitor``: told of each phase, and able to stop the
            build (10 and 11).
        preview_features: Names of PreviewFeature, and whether each is on, as a dict; kept as pairs.
            PROFILE_SHARING_0806 (8.6 and 10) cannot be cleared.
        log_level: A level of ``logging`` for TensorRT's messages: below it they are dropped.

    Raises:
        OptionError: A value is of a wrong type, out of its range, or would be ignored.

    >>> BuildOptions(builder_optimization_level=5).builder_optimization_level
    5
    """

    workspace_bytes: int | None = None
    tactic_dram_bytes: int | None = None
    tactic_shared_memory_bytes: int | None = None
    dla_managed_sram_bytes: int | None = None
    dla_local_dram_bytes: int | None = None
    dla_global_dram_bytes: int | None = None
    builder_optimization_level: int | None = None
    avg_timing_iterations: int | None = None
    max_num_tactics: int | None = None
    tactic_sources: Iterable[str] | None = None
    tiling_optimization_level: str | None = None
    l2_limit_for_tiling: int | None = None
    remote_auto_tuning_config: str | None = None
    enable_tactic_heuristic: bool | None = None
    algorithm_selector: Any = None
    reject_empty_algorithms: bool | None = None
    max_threads: int | None = None
    max_aux_streams: int | None = None
    timing_cache: bytes | str | os.PathLike[str] | bool | None = None
    editable_timing_cache: bool | None = None
    error_on_timing_cache_miss: bool | None = None
    disable_timing_cache: bool | None = None
    disable_compilation_cache: bool | None = None
    profiling_verbosity: str | None = None
    hardware_compatibility_level: str | None = None
    version_compatible: bool | None = None
    exclude_lean_runtime: bool | None = None
    plugins_to_serialize: Iterable[str] | None = None
    refit: str | None = None
    strip_plan: bool | None = None
    weight_streaming: bool | None = None
    sparse_weights: bool | None = None
    strict_nans: bool | None = None
    distributive_independence: bool | None = None
    direct_io: bool | None = None
    default_device_type: str | None = None
    dla_core: int | None = None
    gpu_fallback: bool | None = None
    debug: bool | None = None
    monitor_memory: bool | None = None
    progress_monitor: Any = None
    preview_features: Mapping[str, bool] | Iterable[tuple[str, bool]] | None = None
    log_level: int = logging.WARNING

    def __post_init__(self) -> None:
        for name, value in self.given().items():
            values = SETTINGS[name].values
            if not values.accept(value):
                raise OptionError(f"{name}: expected {values.expected}, got {value!r}")
            object.__setattr__(self, name, values.keep(value))
        self._refuse_what_has_no_effect()

    def given(self) -> dict[str, Any]:
        """Return the fields that are not at their default."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return {f.name: values[f.name] for f in fields(self) if values[f.name] is not f.default}

    @property
    def without_timings(self) -> str | None:
        """Why no timing cache is used, or None where one is."""
        if self.timing_cache is False:
            return "timing_cache=False"
        if self.builder_optimization_level == 0:
            return "builder_optimization_level=0"
        return None if self.algorithm_selector is None else "an algorithm_selector"

    def describe(self, *, keyed: bool = False) -> dict[str, object]:
        """Return the fields that are not at their default, as JSON can hold them.

        The text of equal options is equal in every process. An object stands there as the name
        of its class, which does not tell two of them apart: a plan that an ``algorithm_selector``
        chose belongs in no cache.

        Args:
            keyed: Leave out what has no part in which plan is right: paths, threads, the log.

        >>> BuildOptions(tactic_sources=["CUDNN", "CUBLAS"], refit="refit").describe()
        {'refit': 'refit', 'tactic_sources': ['CUBLAS', 'CUDNN']}
        """
        given = sorted(self.given().items())
        return {n: _described(n, v) for n, v in given if SETTINGS[n].keyed or not keyed}

    def _refuse_what_has_no_effect(self) -> None:
        for name, (other, needed) in _NEEDS.items():
            value = getattr(self, name)
            idle = value is None or value is False or value == ()
            if not idle and getattr(self, other) != needed:
                raise OptionError(f"{name}={value!r}: has no effect without {other}={needed!r}")
        if self.l2_limit_for_tiling and self.tiling_optimization_level in (None, "NONE"):
            raise OptionError(
                f"l2_limit_for_tiling={self.l2_limit_for_tiling}: "
                'has no effect without tiling_optimization_level="FAST" or more'
            )
        for name, other in (
            ("reject_empty_algorithms", "algorithm_selector"),
            ("strip_plan", "refit"),
        ):
            if getattr(self, name) and getattr(self, other) is None:
                raise OptionError(f"{name}=True: has no effect without {other}")
        if reason := self.without_timings:
            for name in _TIMED:
                if getattr(self, name) not in (None, False):
                    raise OptionError(f"{name}: there is no timing cache with {reason}")


@dataclass(frozen=True, kw_only=True)
class RuntimeOptions:
    """What execution contexts of TensorRT for RTX are told; TensorRT itself has none of these.

    TensorRT for RTX compiles an engine's kernels on the GPU that runs it: when a context is made,
    and where sizes vary, when shapes are new. ``None`` is its own default, except that the kernels
    are kept. Built and tested against a double; run on no GPU so far.

    Args:
        kernel_specialization: What a call with new shapes does, of an engine whose sizes vary.
            ``"lazy"``, the default: it runs fallback kernels, and others are compiled meanwhile,
            so that calls of one shape become faster. ``"eager"``: it waits for them, and calls of
            one shape take the same time. ``"none"``: fallback kernels for ever.
        cuda_graph_strategy: ``"disabled"``, the default, or ``"whole_graph_capture"``: TensorRT
            for RTX captures a CUDA graph for each shape and replays it by itself.
        runtime_cache: The file that compiled kernels are read from and written to. None: one in
            the engine cache's folder for this version, GPU model and platform. ``False``: none.

    Raises:
        OptionError: A value that is none of these.

    >>> RuntimeOptions(kernel_specialization="eager").describe()
    {'kernel_specialization': 'eager'}
    """

    kernel_specialization: str | None = None
    cuda_graph_strategy: str | None = None
    runtime_cache: str | os.PathLike[str] | Literal[False] | None = None

    def __post_init__(self) -> None:
        for name, words in STRATEGIES.items():
            value = getattr(self, name)
            if value is not None and value not in words:
                expected = " or ".join(map(repr, words))
                raise OptionError(f"{name}: expected {expected}, got {value!r}")
        path = self.runtime_cache
        named = isinstance(path, (str, os.PathLike)) and path != ""
        if not (named or path is None or path is False):
            raise OptionError(f"runtime_cache: expected a path, False or None, got {path!r}")

    def describe(self) -> dict[str, object]:
        """Return the fields that are not at their default, as JSON can hold them."""
        given = ((f.name, getattr(self, f.name)) for f in fields(self))
        texts = ((n, os.fspath(v) if isinstance(v, os.PathLike) else v) for n, v in given)
        return {name: value for name, value in texts if value is not None}


STRATEGIES = {
    "kernel_specialization": ("lazy", "eager", "none"),
    "cuda_graph_strategy": ("disabled", "whole_graph_capture"),
}


def _described(name: str, value: Any) -> object:
    if isinstance(value, bytes):
        return f"sha256:{hashlib.sha256(value).hexdigest()}"
    if SETTINGS[name].kind == "features":
        return dict(value)
    if SETTINGS[name].kind == "instance":
        return f"{type(value).__module__}.{type(value).__qualname__}"
    if isinstance(value, tuple):
        return list(value)
    return os.fspath(value) if isinstance(value, os.PathLike) else value
