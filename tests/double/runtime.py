"""Plans, engines and execution contexts of the double."""

from __future__ import annotations

import ctypes
import itertools
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from tests.double import rtx
from tests.double.debugging import Told, told
from tests.double.facts import Check, Violation, static, volume
from tests.double.formats import format_of
from tests.double.inference import facts, size_name, verify
from tests.double.inspection import shown
from tests.double.refit import Named, named_weights, refit_flag, stripped
from tests.double.sizes import Size, Unknown, evaluate
from tests.double.surface import Plain
from tests.double.weights import BITS

POISON = 0xAB
MAGIC = b"plan of the TensorRT double "
Callback = Callable[[Any, dict[str, tuple[int, tuple[int, ...], Any]]], Any]
plans: dict[bytes, Plan] = {}
counter = itertools.count()
Shape = tuple[int, ...]


@dataclass(frozen=True)
class Binding:
    """One input or output of a plan."""

    name: str
    is_input: bool
    dtype: str
    shape: tuple[Size, ...]
    sizes: tuple[str | None, ...]
    decides_shape: bool
    needs_memory: bool
    format: str


@dataclass(frozen=True)
class Rules:
    """The conditions of one layer."""

    _checks: list[Check]


@dataclass
class Plan:
    """What a build leaves behind."""

    version: int
    bindings: list[Binding]
    profiles: list[dict[str, tuple[Shape, Shape, Shape]]]
    integers: list[dict[str, tuple[Shape, Shape, Shape]]]
    rules: list[Rules]
    layers: list[str]
    sharing: bool
    refit: str
    weights: dict[str, Named]
    host_code: bool
    release: str
    targets: tuple[str, ...] = ()
    debug: list[Told] = field(default_factory=list)
    shown: list[Any] = field(default_factory=list)
    settings: dict[str, Any] = field(default_factory=dict)
    callback: Callback | None = None


def bound(tensor: Any) -> Binding:
    """Return what a plan knows of an input or output."""
    given = tensor._producer is None
    shape = facts(tensor).shape
    sizes = tuple(
        size_name(tensor, axis) if given and size == -1 else None
        for axis, size in enumerate(static(shape))
    )
    return Binding(
        tensor._name,
        given,
        facts(tensor).dtype,
        shape,
        sizes,
        tensor._decides_shape,
        tensor.is_execution_tensor,
        format_of(tensor),
    )


def make_plan(network: Any, config: Any) -> Plan:
    """Take what an engine needs out of a network."""
    surface = network._surface
    bindings = [bound(tensor) for tensor in [*network._inputs, *network._outputs]]
    weights = named_weights(network, config)
    strips = "STRIP_PLAN" in surface.BuilderFlag.__members__ and config._has("STRIP_PLAN")
    feature = surface.PreviewFeature.__members__.get("PROFILE_SHARING_0806")
    return Plan(
        version=surface.major,
        bindings=bindings,
        profiles=[dict(profile._shapes) for profile in config._profiles] or [{}],
        integers=[dict(profile._numbers) for profile in config._profiles] or [{}],
        rules=[Rules(layer._checks) for layer in network._layers],
        layers=[layer._name for layer in network._layers],
        sharing=surface.major > 8 or config.get_preview_feature(feature),
        refit=refit_flag(config),
        weights=stripped(weights) if strips else weights,
        host_code=config._has("VERSION_COMPATIBLE"),
        release=surface.release,
        targets=rtx.targets(config) if surface.rtx else (),
        debug=told(network),
        shown=shown(network, config),
    )


def register(plan: Plan) -> bytes:
    """Keep a plan under a token and return the token."""
    token = MAGIC + str(next(counter)).encode()
    plans[token] = plan
    return token


def on_execute(target: Any, callback: Callback | None) -> None:
    """Let a callback compute what an engine, or every engine of a module, computes.

    It gets the context and ``{name: (pointer, shape, DataType)}``. It may return a dict of
    arrays for outputs whose shape depends on data; these go through the output allocator.
    """
    if hasattr(target, "_plan"):
        target._plan.callback = callback
    else:
        target._surface.callback = callback


class Runtime(Plain):
    """Stand in for ``trt.Runtime``."""

    _value_engine_host_code_allowed = False

    def _init(self, logger: Any) -> None:
        self._logger = logger

    def _log(self, severity: str, message: str) -> None:
        self._logger.log(getattr(self._surface.Severity, severity), message)

    @property
    def logger(self) -> Any:
        return self._logger

    def deserialize_cuda_engine(self, content: Any) -> Any:
        plan = plans.get(bytes(content))
        if plan is None or plan.release != self._surface.release:
            self._log("ERROR", "Serialization assertion failed: corrupt plan or other version")
            return None
        if plan.host_code and not self.engine_host_code_allowed:
            self._log("ERROR", "the plan holds host code, which engine_host_code_allowed forbids")
            return None
        if self._surface.rtx and not self._runs_here(plan):
            self._log("ERROR", "The engine cannot run on this GPU")
            return None
        return self._surface.new("ICudaEngine", plan, self)

    def _runs_here(self, plan: Plan) -> bool:
        return rtx.PLAYED.driver and rtx.PLAYED.capability in plan.targets

    def get_engine_validity(self, content: Any) -> tuple[Any, int]:
        plan, validity = plans.get(bytes(content)), self._surface.EngineValidity
        reasons = self._surface.EngineInvalidityDiagnostics
        if not rtx.PLAYED.driver:
            return validity.INVALID, 0  # seen without a driver, of a good plan
        if plan is None:
            return validity.INVALID, int(reasons.MALFORMED_ENGINE)
        if plan.release != self._surface.release:
            return validity.INVALID, int(reasons.VERSION_MISMATCH)
        if not self._runs_here(plan):
            return validity.INVALID, int(reasons.UNSUPPORTED_CC)
        return validity.VALID, 0


class Engine(Plain):
    """Stand in for ``trt.ICudaEngine``."""

    def _setup(self, plan: Plan, owner: Any) -> None:
        self._plan, self._owner = plan, owner
        self._weights = dict(plan.weights)
        self._running: list[Any] = []
        self._breaks = False  # a test sets it: the next refit fails half-way
        self._taken: set[int] = set()
        self.__dict__["calls"] = Counter()

    def _binding(self, name: str) -> Binding | None:
        for binding in self._plan.bindings:
            if binding.name == name:
                return binding
        self._owner._log("ERROR", f"Given invalid tensor name: {name}")
        return None

    @property
    def num_io_tensors(self) -> int:
        return len(self._plan.bindings)

    @property
    def num_bindings(self) -> int:
        return len(self._plan.bindings) * len(self._plan.profiles)

    @property
    def num_optimization_profiles(self) -> int:
        return len(self._plan.profiles)

    def is_debug_tensor(self, name: str) -> bool:
        return any(tensor.name == name for tensor in self._plan.debug)

    @property
    def num_layers(self) -> int:
        return len(self._plan.layers)

    @property
    def name(self) -> str:
        return "Unnamed Network 0"

    @property
    def refittable(self) -> bool:
        return bool(self._plan.refit)

    @property
    def device_memory_size(self) -> int:
        return 1024

    @property
    def device_memory_size_v2(self) -> int:
        return 1024

    @property
    def num_aux_streams(self) -> int:
        return 0

    @property
    def has_implicit_batch_dimension(self) -> bool:
        return False

    def get_tensor_name(self, index: int) -> str:
        return self._plan.bindings[index].name

    def get_tensor_mode(self, name: str) -> Any:
        modes, binding = self._surface.TensorIOMode, self._binding(name)
        if binding is None:
            return modes.NONE
        return modes.INPUT if binding.is_input else modes.OUTPUT

    def get_tensor_dtype(self, name: str) -> Any:
        binding = self._binding(name)
        return getattr(self._surface.DataType, binding.dtype if binding else "FLOAT")

    def get_tensor_shape(self, name: str) -> Any:
        binding = self._binding(name)
        return self._surface.dims(static(binding.shape) if binding else ())

    def get_tensor_location(self, name: str) -> Any:
        binding, places = self._binding(name), self._surface.TensorLocation
        host = binding is not None and binding.decides_shape and binding.is_input
        return places.HOST if host else places.DEVICE

    def is_shape_inference_io(self, name: str) -> bool:
        binding = self._binding(name)
        return binding is not None and binding.decides_shape

    def get_tensor_format(self, name: str, *profile: int) -> Any:
        binding = self._binding(name)
        return getattr(self._surface.TensorFormat, binding.format if binding else "LINEAR")

    def get_tensor_format_desc(self, name: str, *profile: int) -> str:
        return "Row major linear FP32 format"

    def get_tensor_bytes_per_component(self, name: str, *profile: int) -> int:
        binding = self._binding(name)
        return BITS.get(binding.dtype, 8) // 8 if binding else 0

    def get_tensor_profile_shape(self, name: str, index: int) -> list[Any]:
        binding = self._binding(name)
        if binding is None or not binding.is_input:
            return []
        shapes = self._plan.profiles[index].get(name) or (static(binding.shape),) * 3
        return [self._surface.dims(shape) for shape in shapes]

    def get_tensor_profile_values(self, index: int, name: str) -> list[list[int]]:
        return [list(numbers) for numbers in self._plan.integers[index].get(name, ())]

    def get_profile_shape_input(self, index: int, name: str) -> list[list[int]]:
        return [list(numbers) for numbers in self._plan.integers[index].get(name, ())]

    def create_execution_context(self, *strategy: Any) -> Any:
        if not self._plan.sharing and len(self._taken) >= len(self._plan.profiles):
            self._owner._log("WARNING", "every profile has been chosen by another context")
        context = self._surface.new("IExecutionContext", self)
        context._borrows = any("USER_MANAGED" in str(one) for one in strategy)
        for config in strategy:
            if hasattr(config, "_strategy"):
                context._config = config
                context._borrows = "USER_MANAGED" in str(config._strategy)
        return context

    def create_runtime_config(self) -> Any:
        return self._surface.new("IRuntimeConfig")

    def create_execution_context_without_device_memory(self) -> Any:
        context = self.create_execution_context()
        context._borrows = True
        return context

    def create_engine_inspector(self) -> Any:
        return self._surface.new("EngineInspector", self._plan.shown)

    def serialize(self) -> Any:
        plan = replace(self._plan, weights=dict(self._weights))
        return self._surface.new("IHostMemory", register(plan))

    def create_serialization_config(self) -> Any:
        return self._surface.new("ISerializationConfig")

    def serialize_with_config(self, config: Any) -> Any:
        flags = self._surface.SerializationFlag
        excluded = config.get_flag(flags.EXCLUDE_WEIGHTS)
        weights = stripped(self._weights) if excluded else dict(self._weights)
        refit = self._plan.refit if config.get_flag(flags.INCLUDE_REFIT) else ""
        plan = replace(self._plan, weights=weights, refit=refit)
        return self._surface.new("IHostMemory", register(plan))


class SerializationConfig(Plain):
    """Stand in for ``trt.ISerializationConfig``; the weights are left out unless it is told."""

    def _setup(self) -> None:
        self._flags = 1 << int(self._surface.SerializationFlag.EXCLUDE_WEIGHTS)

    @property
    def flags(self) -> int:
        return self._flags

    @flags.setter
    def flags(self, bits: int) -> None:
        self._flags = bits

    def set_flag(self, flag: Any) -> bool:
        self._flags |= 1 << int(flag)
        return True

    def clear_flag(self, flag: Any) -> bool:
        self._flags &= ~(1 << int(flag))
        return True

    def get_flag(self, flag: Any) -> bool:
        return bool(self._flags >> int(flag) & 1)


def nbytes(shape: Shape, dtype: str) -> int:
    """Return the bytes of a dense tensor."""
    return (volume(shape) * BITS.get(dtype, 8) + 7) // 8


def poison(pointer: int, shape: Shape, dtype: str) -> None:
    """Fill an output with bytes that no test takes for a result."""
    ctypes.memset(pointer, POISON, nbytes(shape, dtype))


def resolve(binding: Binding | Told, known: dict[str, int]) -> Shape:
    """Return a shape for concrete sizes, -1 where they do not decide it."""
    memory: dict[str, Any] = {}
    sizes = []
    for size in binding.shape:
        try:
            sizes.append(int(evaluate(size, known, memory)))
        except (Unknown, ValueError):
            sizes.append(-1)
    return tuple(sizes)


def broken(plan: Plan, known: dict[str, int]) -> str | None:
    """Return a condition on sizes that concrete shapes break."""
    return verify(list(plan.rules), known)


def missing(name: str) -> Violation:
    """Return the error for an execution that would read or write nowhere."""
    return Violation(f"{name}: null pointer; TensorRT would access address 0")
