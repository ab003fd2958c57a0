"""Builder, its configuration and the optimization profiles of the double."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from tests.double import contract, rtx
from tests.double.facts import RuleError, Violation
from tests.double.flow import check_flow
from tests.double.formats import check_formats
from tests.double.inference import concrete, facts, infer, size_name, verify
from tests.double.phases import tell
from tests.double.refit import refit_flag
from tests.double.runtime import Plan, make_plan, register
from tests.double.surface import Plain
from tests.double.weights import is_alive

DEFAULT_FEATURES = {
    8: {"FASTER_DYNAMIC_SHAPES_0805", "DISABLE_EXTERNAL_TACTIC_SOURCES_FOR_CORE_0805"},
    10: {"PROFILE_SHARING_0806"},
    11: set(),
}
Range = tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]


class Profile(Plain):
    """Stand in for ``trt.IOptimizationProfile``."""

    _value_extra_memory_target = 1.0

    def _setup(self) -> None:
        self._shapes: dict[str, Range] = {}
        self._numbers: dict[str, Range] = {}

    def set_shape(self, name: str, low: Any, best: Any, high: Any) -> None:
        given = tuple(low), tuple(best), tuple(high)
        if not ordered(given) or any(size < 0 for size in given[0]):
            raise ValueError(f"Shape provided for min is inconsistent with other shapes: {given}")
        self._shapes[name] = given

    def get_shape(self, name: str) -> list[Any]:
        return [self._surface.dims(shape) for shape in self._shapes.get(name, ())]

    def set_shape_input(self, name: str, low: Any, best: Any, high: Any) -> None:
        given = tuple(low), tuple(best), tuple(high)
        if not ordered(given):
            raise ValueError(f"min input provided for {name} is inconsistent: {given}")
        self._numbers[name] = given

    def get_shape_input(self, name: str) -> list[list[int]]:
        return [list(numbers) for numbers in self._numbers.get(name, ())]


def ordered(given: Range) -> bool:
    """Tell whether min <= opt <= max, entry by entry."""
    if len({len(entries) for entries in given}) != 1:
        return False
    return all(low <= best <= high for low, best, high in zip(*given, strict=True))


class Config(Plain):
    """Stand in for ``trt.IBuilderConfig``."""

    def _setup(self, builder: Any) -> None:
        surface = self._surface
        self._builder = builder
        self._profiles: list[Any] = []
        self._pools: dict[Any, int] = {}
        # What is on by default; 10 keeps only the name of profile sharing.
        on = {*surface.PreviewFeature.__members__} & DEFAULT_FEATURES[surface.major]
        self._features = {getattr(surface.PreviewFeature, name): True for name in on}
        self._cache: Any = None
        self._targets: list[Any] = []
        self._value_flags = 1 << int(surface.BuilderFlag.TF32)
        self._value_builder_optimization_level = 3
        self._value_max_aux_streams = -1
        self._value_avg_timing_iterations = 1
        self._value_profiling_verbosity = surface.ProfilingVerbosity.LAYER_NAMES_ONLY
        self._value_hardware_compatibility_level = surface.HardwareCompatibilityLevel.NONE
        self._value_plugins_to_serialize: list[str] = []
        self._value_default_device_type = surface.DeviceType.GPU
        self._value_engine_capability = surface.EngineCapability.STANDARD
        self._value_DLA_core = -1
        self._value_max_num_tactics = -1
        self._value_l2_limit_for_tiling = -1
        self._value_remote_auto_tuning_config = ""
        if surface.major > 8:
            self._value_runtime_platform = surface.RuntimePlatform.SAME_AS_BUILD
            self._value_tiling_optimization_level = surface.TilingOptimizationLevel.NONE
        self._value_tactic_sources = self._bits(surface.TacticSource.__members__.values())
        if surface.major == 10:
            self._value_tactic_sources &= ~self._bits(
                getattr(surface.TacticSource, name) for name in ("CUBLAS", "CUBLAS_LT", "CUDNN")
            )

    def _bits(self, members: Iterable[Any]) -> int:
        return sum(1 << int(member) for member in members)

    def _has(self, name: str) -> bool:
        flag = self._surface.BuilderFlag.__members__.get(name)
        return flag is not None and self.get_flag(flag)

    def set_flag(self, flag: Any) -> None:
        self._value_flags |= 1 << int(flag)

    def clear_flag(self, flag: Any) -> None:
        self._value_flags &= ~(1 << int(flag))

    def get_flag(self, flag: Any) -> bool:
        return bool(self._value_flags >> int(flag) & 1)

    @property
    def builder_optimization_level(self) -> int:
        return self._value_builder_optimization_level

    @builder_optimization_level.setter
    def builder_optimization_level(self, level: int) -> None:
        if not 0 <= level <= 5:
            self._builder._log("ERROR", f"builder_optimization_level {level} is outside [0, 5]")
            return
        self._value_builder_optimization_level = level

    @property
    def DLA_core(self) -> int:
        return self._value_DLA_core

    @DLA_core.setter
    def DLA_core(self, core: int) -> None:
        if not 0 <= core < self._builder.num_DLA_cores:
            self._builder._log("ERROR", f"DLA core {core} is not there")
            return
        self._value_DLA_core = core

    @property
    def num_optimization_profiles(self) -> int:
        return len(self._profiles)

    @property
    def num_compute_capabilities(self) -> int:
        return len(self._targets)

    @num_compute_capabilities.setter
    def num_compute_capabilities(self, count: int) -> None:
        self._targets = [None] * count

    def set_compute_capability(self, capability: Any, index: int) -> bool:
        if index >= len(self._targets):
            self._builder._log("ERROR", "the index of a compute capability is out of range")
            return False
        self._targets[index] = capability
        return True

    def get_compute_capability(self, index: int) -> Any:
        return self._targets[index]

    def set_memory_pool_limit(self, pool: Any, size: int) -> None:
        self._pools[pool] = size

    def get_memory_pool_limit(self, pool: Any) -> int:
        return self._pools.get(pool, 1 << 40)

    def set_preview_feature(self, feature: Any, enable: bool) -> None:
        self._features[feature] = enable

    def get_preview_feature(self, feature: Any) -> bool:
        return self._features.get(feature, False)

    def set_tactic_sources(self, sources: int) -> bool:
        if sources & ~self._bits(self._surface.TacticSource.__members__.values()):
            return False
        self._value_tactic_sources = sources
        return True

    def get_tactic_sources(self) -> int:
        return self._value_tactic_sources

    def add_optimization_profile(self, profile: Any) -> int:
        if not profile._shapes and not profile._numbers:
            self._builder._log("ERROR", "add_optimization_profile: the profile is empty")
            return -1
        self._profiles.append(profile)
        return len(self._profiles) - 1

    def create_timing_cache(self, content: bytes) -> Any:
        made = self._surface.new("ITimingCache", content)
        if made._version is None:
            self._builder._log("ERROR", "the serialized timing cache is corrupt")
            return None
        if content and self._surface.major == 8:
            # 8.6.0 says so of every one, but only what it keeps of fused regions is lost.
            self._builder._log("ERROR", "The timing cache will not be used!")
            made._entries = {e for e in made._entries if not e.startswith("Myelin")}
        return made

    def set_timing_cache(self, cache: Any, mismatch: bool) -> bool:
        if cache._version != self._surface.major:
            self._builder._log("ERROR", "the timing cache is from another TensorRT")
            return False
        self._cache = cache
        return True

    def get_timing_cache(self) -> Any:
        return self._cache


class Builder(Plain):
    """Stand in for ``trt.Builder``."""

    _value_max_threads = 1
    _value_num_DLA_cores = 0

    def _init(self, logger: Any) -> None:
        self._logger = logger

    def _log(self, severity: str, message: str) -> None:
        """Write a line to the logger of the user."""
        self._logger.log(getattr(self._surface.Severity, severity), message)

    @property
    def logger(self) -> Any:
        return self._logger

    @property
    def platform_has_fast_fp16(self) -> bool:
        return True

    @property
    def platform_has_fast_int8(self) -> bool:
        return True

    @property
    def platform_has_tf32(self) -> bool:
        return True

    def create_network(self, flags: int) -> Any:
        surface = self._surface
        if surface.major == 10:
            strong = 1 << int(surface.NetworkDefinitionCreationFlag.STRONGLY_TYPED)
            if not flags & strong:
                raise Violation("create_network: STRONGLY_TYPED is missing; 10 would type weakly")
        return surface.new("INetworkDefinition", self, flags)

    def create_builder_config(self) -> Any:
        return self._surface.new("IBuilderConfig", self)

    def create_optimization_profile(self) -> Any:
        return self._surface.new("IOptimizationProfile")

    def build_serialized_network(self, network: Any, config: Any, *rest: Any) -> Any:
        plan = self._plan(network, config)
        if plan and not tell(self, network, config):
            return None
        if plan and config._cache is not None:
            config._cache._entries.update(layer._name for layer in network._layers)
        return plan and self._surface.new("IHostMemory", register(plan))

    def build_engine_with_config(self, network: Any, config: Any) -> Any:
        plan = self._plan(network, config)
        return plan and self._surface.new("ICudaEngine", plan, self)

    def build_engine(self, network: Any, config: Any) -> Any:
        return self.build_engine_with_config(network, config)

    def is_network_supported(self, network: Any, config: Any) -> bool:
        return self._plan(network, config) is not None

    def reset(self) -> None:
        """Take nothing: the double has no global state to reset."""

    def _plan(self, network: Any, config: Any) -> Plan | None:
        """Judge a network; None and a line in the log where TensorRT would refuse it."""
        try:
            if network._failures:
                raise RuleError(network._failures[0])
            for layer in network._layers:
                infer(layer)
                if layer._late:
                    raise RuleError(layer._late[0])
            check_flow(network)
            check_boundary(network)
            check_formats(network)
            contract.parameters(network)
            contract.names(network)
            (contract.weak if self._surface.major == 8 else contract.strong)(network, config)
            check_weights(self._surface, network)
            check_profiles(network, config)
            if self._surface.rtx:
                rtx.check(network, config)
            return make_plan(network, config)
        except RuleError as error:
            self._log("ERROR", str(error))
            return None


def check_boundary(network: Any) -> None:
    """Check that there are outputs and that the names of inputs and outputs are unique."""
    if not network._outputs:
        raise RuleError("Network must have at least one output")
    names = [tensor._name for tensor in [*network._inputs, *network._outputs]]
    repeated = {name for name in names if names.count(name) > 1}
    if repeated:
        raise RuleError(f"repeated tensor name: {sorted(repeated)[0]}")


def check_weights(surface: Any, network: Any) -> None:
    """Check that the memory of every weight still lives."""
    for layer in network._layers:
        for name, value in layer._attributes.items():
            if isinstance(value, surface.Weights) and not is_alive(value):
                raise Violation(
                    f"{layer._name}: {name}: weight freed before build; the frontend has to hold "
                    "every weight itself (see tests/double/weights.py)"
                )


def check_profiles(network: Any, config: Any) -> None:
    """Check that the profiles cover every dynamic input and every condition on sizes."""
    dynamic = [item for item in network._inputs if -1 in item._shape]
    values = [item for item in network._inputs if item._decides_shape]
    if (dynamic or values) and not config._profiles:
        raise RuleError("Network has dynamic or shape inputs, but no optimization profile")
    if refit_flag(config) and len(config._profiles) > 1:
        raise RuleError("a refittable engine has at most one profile")
    for profile in config._profiles:
        for tensor in dynamic:
            covered(tensor, profile)
        for tensor in values:
            if tensor._name not in profile._numbers:
                raise RuleError(f"shape input {tensor._name} has no values in a profile")
        for name in profile._numbers.keys() - {tensor._name for tensor in values}:
            raise RuleError(f"a profile has values of {name}, which is no shape input")
        same_ranges(network, profile)
        for place in range(3):
            shapes = {
                item._name: profile._shapes[item._name][place]
                if item._name in profile._shapes
                else item._shape
                for item in network._inputs
            }
            fault = verify(network._layers, concrete(network, shapes))
            if fault:
                raise RuleError(f"{fault} for shapes {shapes}")


def covered(tensor: Any, profile: Any) -> None:
    """Check that a profile gives a dynamic input fitting shapes."""
    if tensor._name not in profile._shapes:
        raise RuleError(f"dynamic input {tensor._name} is missing in an optimization profile")
    for shape in profile._shapes[tensor._name]:
        fitting = len(shape) == len(tensor._shape) and all(
            declared in (-1, size) for declared, size in zip(tensor._shape, shape, strict=True)
        )
        if not fitting:
            raise RuleError(f"input {tensor._name}: {shape} does not fit {tensor._shape}")


def same_ranges(network: Any, profile: Any) -> None:
    """Check that dimensions of one name have one range."""
    ranges: dict[str, tuple[int, ...]] = {}
    for tensor in network._inputs:
        for axis in tensor._dimension_names:
            if tensor._shape[axis] != -1 or tensor._name not in profile._shapes:
                continue
            found = tuple(shape[axis] for shape in profile._shapes[tensor._name])
            name = size_name(tensor, axis)
            if ranges.setdefault(name, found) != found:
                raise Violation(f"{name} has the ranges {ranges[name]} and {found}")


def typed(tensor: Any) -> Any:
    """Return the type that a tensor has by strong typing, also where 8.6 reports another."""
    return getattr(tensor._surface.DataType, facts(tensor).dtype)
