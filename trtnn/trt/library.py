"""The one door to TensorRT: imports one, asks it for facts, hides what differs by version."""

from __future__ import annotations

import importlib
import importlib.util
import logging
import os
import sys
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from types import ModuleType
from typing import Any

from trtnn.errors import AbsentError, BackendError, BuildError, OptionError
from trtnn.options import BuildOptions, RuntimeOptions
from trtnn.trt.allocators import output_allocator
from trtnn.trt.builder_config import check, configure, memory_note
from trtnn.trt.capabilities import (
    build_for,
    capabilities_for,
    require_gpu,
)
from trtnn.trt.contexts import check_runtime, create_context, lend_memory, scratch_bytes
from trtnn.trt.identity import RTX, TENSORRT, TITLES, package_of, title_of
from trtnn.trt.kernels import Kernels
from trtnn.trt.listening import Log, watching
from trtnn.trt.memory_formats import check_format, require_format
from trtnn.trt.plugins import Plugins, plugins_of
from trtnn.trt.progress import display, uninterrupted
from trtnn.trt.refitting import give_weights
from trtnn.trt.stacks import on_a_deep_stack
from trtnn.trt.target import target_of
from trtnn.trt.tensors import DTYPES, TensorFacts, dtype_name, tensor_facts

# Observed on a GPU: execute_v2 runs on a blocking stream of its own, so that CUDA itself makes it
# wait for work on the legacy default stream. Only versions seen to behave so stand here.
_WAITS_FOR_DEFAULT_STREAM = ("8.6.0",)
_EXTRAS = {TENSORRT: "cuda", RTX: "rtx"}  # of trtnn, which install each


def load(package: str = TENSORRT) -> ModuleType:
    """Import TensorRT, or TensorRT for RTX.

    Raises:
        AbsentError: It is not installed.
        BackendError: It is of a version that trtnn does not take.
    """
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_initialized():
        os.environ.setdefault("CUDA_MODULE_LOADING", "LAZY")
    try:
        module = _import(package)
    except ImportError as error:
        raise AbsentError(
            f"{TITLES[package]} cannot be imported: {error}",
            hint=f'pip install "trtnn[{_EXTRAS[package]}]"',
        ) from error
    check_version(module)
    return module


def _import(package: str) -> ModuleType:
    if package == TENSORRT:
        return importlib.import_module("tensorrt")
    try:
        return importlib.import_module("tensorrt_rtx")
    except ModuleNotFoundError:  # the bindings can be installed alone
        return importlib.import_module("tensorrt_rtx_bindings")


def check_version(module: ModuleType) -> None:
    """Refuse versions that lack what trtnn needs, such as complete strong typing."""
    major, minor = (int(part) for part in module.__version__.split(".")[:2])
    if package_of(module) == RTX:
        if (major, minor) < (1, 7):
            raise BackendError(
                f"{title_of(module)} is not supported", hint="install TensorRT for RTX 1.7 or later"
            )
        return
    early = major == 10 and minor < 12
    if early or (major, minor) < (8, 6) or major == 9:
        reason = ": strong typing is incomplete before 10.12" if early else " is not supported"
        raise BackendError(
            f"TensorRT {module.__version__}{reason}",
            hint="install TensorRT 8.6, 10.12 or later, or 11",
        )


_logs: dict[int, Log] = {}


class TensorRT:
    """One TensorRT library: its facts, its logger, and calls whose failure is an error.

    Args:
        module: ``tensorrt`` itself; ``package`` is imported if omitted.
        log_level: Messages below this level of ``logging`` are dropped.
        runtime: What execution contexts are told.

    Attributes:
        kernels: Where contexts of TensorRT for RTX keep the kernels that they compile.

    Raises:
        OptionError: This TensorRT has none of the runtime options.
    """

    kernels: Kernels | None = None

    def __init__(
        self,
        module: ModuleType | None = None,
        log_level: int = logging.WARNING,
        *,
        package: str = TENSORRT,
        runtime: RuntimeOptions | None = None,
    ) -> None:
        self.trt = module if module is not None else load(package)
        self.runtime = runtime if runtime is not None else RuntimeOptions()
        check_runtime(self.trt, self.runtime)
        self.target = target_of(self.trt)
        # TensorRT keeps one logger for the process: the first, so there is one for each module.
        self.log = _logs.setdefault(id(self.trt), Log(self.trt, log_level))
        self.log.level = log_level

    @property
    def waits_for_default_stream(self) -> bool:
        """Whether this version was seen to wait for the legacy default stream by itself."""
        return self.target.version in _WAITS_FOR_DEFAULT_STREAM

    def dtype(self, name: str) -> Any:
        """Return TensorRT's DataType of a torch dtype's name, or of what calls cast it to."""
        if name == "int64" and "INT64" not in self.target.dtypes:
            name = "int32"
        name = "float32" if name == "float64" else name
        member = DTYPES.get(name)
        if member is None or member not in self.target.dtypes:
            raise OptionError(f"{self.target.name} has no {name}")
        return getattr(self.trt.DataType, member)

    def builder(self) -> Any:
        return self._made(self.trt.Builder(self.log.handle), "create a builder")

    def network(self, builder: Any) -> Any:
        """Create a network: explicit batch on 8.6, strongly typed later."""
        flags = self.trt.NetworkDefinitionCreationFlag
        bits = 0
        if hasattr(flags, "EXPLICIT_BATCH"):
            name = "STRONGLY_TYPED" if hasattr(flags, "STRONGLY_TYPED") else "EXPLICIT_BATCH"
            bits = 1 << int(getattr(flags, name))
        network = self._made(builder.create_network(bits), "create a network")
        # Else it is "Unnamed Network 0", 1 and so on, in the plan too: equal builds would differ.
        network.name = "trtnn"
        return network

    @property
    def plugins(self) -> Plugins:
        """The plugins of this TensorRT in this process."""
        return plugins_of(self.trt, self.log, self._plugins_in_python)

    def _plugins_in_python(self) -> Any:
        """Return the module by which plugins are written in Python; a double has its own."""
        own = vars(self.trt).get("plugin")
        return own if own is not None else importlib.import_module("tensorrt.plugin")

    def weights(self, array: Any, dtype: str) -> Any:
        """Return weights that refer to ``array`` (NumPy, or a torch tensor for bfloat16)."""
        if dtype == "bfloat16":
            return self.trt.Weights(self.dtype(dtype), array.data_ptr(), array.numel())
        return self.trt.Weights(array)

    def no_weights(self, dtype: str) -> Any:
        """Return the absence of weights of a type."""
        return self.trt.Weights(self.dtype(dtype))

    def name_weights(self, network: Any, weights: Any, name: str, *, mark: bool) -> None:
        """Name weights that a layer uses, so that a refit finds them; ``mark`` them as its own."""
        self.require(network.set_weights_name(weights, name), f"name the weights {name!r}")
        if mark:
            done = network.mark_weights_refittable(name)
            self.require(done, f"mark the weights {name!r} as refittable")

    @property
    def times_kernels(self) -> bool:
        """Whether a build times kernels, and so has a timing cache; RTX only lists the calls."""
        return self.target.package == TENSORRT

    @property
    def compiles_kernels(self) -> bool:
        """Whether kernels are compiled where an engine runs."""
        return hasattr(self.trt, "IRuntimeCache")

    def require_gpu(self, name: str, capability: Sequence[int]) -> None:
        """Raise BackendError where this TensorRT is known not to run on a GPU.

        Args:
            name: The GPU's.
            capability: Its compute capability, as ``(8, 9)``.
        """
        require_gpu(self.trt, name, capability)

    def capabilities_for(self, dtypes: Iterable[str], given: Sequence[str]) -> tuple[str, ...]:
        """Return the GPUs to build for, by compute capability: all that can run these dtypes.

        Args:
            given: Those that were asked for; none: all but the ones that are built alone.

        Raises:
            OptionError: One that was asked for cannot run a dtype.
        """
        return capabilities_for(self.trt, dtypes, given)

    @property
    def refits_integers(self) -> bool:
        """Whether a refit can replace weights of integers; STRIP_PLAN came with that."""
        return "STRIP_PLAN" in self.trt.BuilderFlag.__members__

    def check_options(self, options: BuildOptions) -> None:
        """Refuse the options that this TensorRT lacks, before anything is built for them."""
        check(self.trt, options)

    def config(
        self,
        builder: Any,
        options: BuildOptions,
        *,
        tf32: bool,
        half: bool,
        quantized: bool = False,
        capabilities: Sequence[str] = (),
    ) -> Any:
        """Create the builder's configuration from options and the graph's types.

        Args:
            capabilities: The compute capabilities of the GPUs to build for, as ``"8.9"``; none:
                TensorRT's default.
        """
        trt = self.trt
        config = self._made(builder.create_builder_config(), "create a builder config")
        configure(trt, builder, config, options, self.log.said)
        build_for(trt, config, capabilities)
        if not tf32:
            config.clear_flag(trt.BuilderFlag.TF32)
        if half and not self.target.strongly_typed:
            config.set_flag(trt.BuilderFlag.FP16)
            config.set_flag(trt.BuilderFlag.OBEY_PRECISION_CONSTRAINTS)
        if quantized and not self.target.strongly_typed:
            config.set_flag(trt.BuilderFlag.INT8)
        return config

    def require_format(
        self, tensor: Any, form: str, dtype: str, divides: Callable[[int], bool]
    ) -> None:
        """Have an input read as PyTorch lays it out in a memory format, or refuse it."""
        require_format(self.trt, tensor, form, dtype, divides)

    def check_format(self, engine: Any, name: str, form: str, dtype: str) -> None:
        """Raise BuildError unless an engine reads an input as it was declared."""
        check_format(engine, name, form, dtype)

    def constrain(self, layer: Any, dtype: str, *, output: bool) -> None:
        """Tell 8.6 the type that a layer computes in; later versions read it off the inputs."""
        layer.precision = self.dtype(dtype)
        if output:
            layer.set_output_type(0, self.dtype(dtype))

    def profile(
        self,
        builder: Any,
        config: Any,
        shapes: dict[str, Sequence[Any]],
        integers: Mapping[str, Sequence[int]] | None = None,
    ) -> None:
        """Add an optimization profile: (min, opt, max) per dynamic input and shape input."""
        profile = builder.create_optimization_profile()
        for name, (low, best, high) in shapes.items():
            profile.set_shape(name, low, best, high)
        for name, ends in (integers or {}).items():
            profile.set_shape_input(name, *([end] for end in ends))
        if config.add_optimization_profile(profile) < 0:
            raise BuildError("TensorRT refused the profile" + self.log.said(), search=False)

    def build(
        self,
        builder: Any,
        network: Any,
        config: Any,
        free_bytes: int | None = None,
        *,
        progress: bool | None = None,
    ) -> tuple[Any, bytes | None]:
        """Return the plan, in TensorRT's memory, and the timing cache, if any, after the build.

        Args:
            free_bytes: How much of the GPU's memory is free, for the error.
            progress: Whether to show the phases on stderr; None: where it is a terminal.

        Raises:
            KeyboardInterrupt: Ctrl-C: at the next step where TensorRT tells of steps, and when the
                build is over where it does not (8.6).
            BuildError: TensorRT refused, or the user's monitor stopped the build.
        """
        title = self.target.name
        with (
            display(title, progress) as shown,
            uninterrupted() as kept,
            watching(self.trt, self.log, config, shown, kept) as watch,
        ):
            plan = on_a_deep_stack(
                network.num_layers if self.target.recurses else 0,
                partial(builder.build_serialized_network, network, config),
            )
        if watch.broken is not None:
            warnings.warn(f"the progress cannot be shown: {watch.broken!r}", stacklevel=2)
        if plan is None:
            lines = self.log.said()
            note = memory_note(self.trt, config, lines, free_bytes)
            what = "was told by progress_monitor to stop" if watch.refused else "could not build"
            raise BuildError(f"TensorRT {what} the engine{lines}{note}", search=False)
        cache = config.get_timing_cache() if self.times_kernels else None
        return plan, None if cache is None else bytes(cache.serialize())

    def deserialize(self, plan: Any, *, host_code: bool = False) -> tuple[Any, Any]:
        """Return a runtime and the engine of a plan.

        Args:
            host_code: Run the code for the host that a version-compatible plan holds.
        """
        runtime = self._made(self.trt.Runtime(self.log.handle), "create a runtime")
        if host_code:
            runtime.engine_host_code_allowed = True
        with uninterrupted():
            engine = runtime.deserialize_cuda_engine(plan)
        return runtime, self._made(engine, "deserialize the plan")

    def validity(self, plan: bytes) -> tuple[str, tuple[str, ...]]:
        """Return what the runtime says of a plan's head, and why; VALID where it cannot say.

        Without a driver TensorRT for RTX calls every plan INVALID, and gives no reason.
        """
        if not hasattr(self.trt, "EngineValidity"):
            return "VALID", ()
        runtime = self._made(self.trt.Runtime(self.log.handle), "create a runtime")
        validity, bits = runtime.get_engine_validity(plan)
        reasons = self.trt.EngineInvalidityDiagnostics.__members__.items()
        return validity.name, tuple(name for name, member in reasons if int(bits) & int(member))

    def serialize(self, engine: Any, *, stripped: bool = False) -> bytes:
        """Return the plan of an engine as it is now, with its weights or without."""
        if not hasattr(engine, "create_serialization_config"):
            return bytes(self._made(engine.serialize(), "serialize the engine"))
        flags = self.trt.SerializationFlag
        config = self._made(engine.create_serialization_config(), "serialize the engine")
        (config.set_flag if stripped else config.clear_flag)(flags.EXCLUDE_WEIGHTS)
        if hasattr(flags, "INCLUDE_REFIT"):
            config.set_flag(flags.INCLUDE_REFIT)
        return bytes(self._made(engine.serialize_with_config(config), "serialize the engine"))

    def refitter(
        self, engine: Any, weights: Mapping[str, tuple[Any, str]], needed: Iterable[str]
    ) -> Any:
        """Return a refitter that was given weights by name; nothing of the engine has changed.

        Args:
            weights: Array and dtype: they must live until the refit is done. Those that TensorRT
                does not list are left out.
            needed: The names that it has to list.

        Raises:
            BuildError: TensorRT lists or takes others.
        """
        made = {name: self.weights(*weights[name]) for name in weights}
        refitter = self._made(self.trt.Refitter(engine, self.log.handle), "create a refitter")
        give_weights(refitter, made, needed, self.log.said)
        return refitter

    def context(self, engine: Any, *, own: bool = True) -> Any:
        """Create an execution context, with or without scratch memory of its own."""
        made = create_context(self.trt, engine, own=own, options=self.runtime, kernels=self.kernels)
        return self._made(made, "create an execution context")

    def scratch_bytes(self, engine: Any) -> int:
        """Return how much scratch memory a context of an engine needs, in bytes."""
        return scratch_bytes(self.trt, engine)

    def lend_memory(self, context: Any, address: int, size: int) -> None:
        """Tell a context without scratch memory of its own where to work."""
        lend_memory(context, address, size)

    def select_profile(self, context: Any, profile: int, stream: int) -> None:
        """Give a context a profile, and wait until it has it."""
        context.set_optimization_profile_async(profile, stream)
        if context.active_optimization_profile != profile:
            raise BuildError(f"TensorRT could not select profile {profile}" + self.log.said())

    def tensors(self, engine: Any) -> list[tuple[str, bool, str]]:
        """Return (name, is input, dtype name) of each I/O tensor, in binding order."""
        names = [engine.get_tensor_name(i) for i in range(engine.num_io_tensors)]
        mode = self.trt.TensorIOMode.INPUT
        return [
            (n, engine.get_tensor_mode(n) == mode, dtype_name(engine.get_tensor_dtype(n)))
            for n in names
        ]

    def facts(self, engine: Any) -> dict[str, TensorFacts]:
        """Return what an engine says of each of its inputs and outputs, in binding order."""
        return tensor_facts(self.trt, engine)

    def on_host(self, engine: Any, name: str) -> bool:
        """Say whether TensorRT reads an input on the host, because shapes need its values."""
        return bool(engine.get_tensor_location(name) == self.trt.TensorLocation.HOST)

    def count_profiles(self, engine: Any) -> int:
        """Return how many optimization profiles an engine has, at least one."""
        return max(int(engine.num_optimization_profiles), 1)

    def output_allocator(
        self, allocate: Callable[[str, int], int], notify: Callable[[str, tuple[int, ...]], None]
    ) -> Any:
        """Return an allocator of outputs whose size TensorRT tells while it runs."""
        return output_allocator(self.trt, allocate, notify)

    def require(self, done: bool, what: str) -> None:  # noqa: FBT001 - TensorRT's own answer
        """Raise BuildError unless a call succeeded."""
        if not done:
            raise BuildError(f"TensorRT could not {what}" + self.log.said(), search=False)

    def binding_blocks(self, engine: Any) -> int:
        """Return how often the binding list repeats: once for each profile on 8.6."""
        return int(engine.num_optimization_profiles) if hasattr(engine, "num_bindings") else 1

    def _made(self, thing: Any, what: str) -> Any:
        if thing is None:
            raise BuildError(f"TensorRT could not {what}" + self.log.said(), search=False)
        return thing
