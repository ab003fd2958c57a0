"""Execution contexts of the double."""

from __future__ import annotations

import ctypes
from collections import Counter
from typing import Any

import numpy

from tests.double import rtx
from tests.double.debugging import Listening
from tests.double.facts import Violation, static, volume
from tests.double.runtime import (
    Binding,
    Shape,
    broken,
    missing,
    nbytes,
    poison,
    resolve,
)
from tests.double.surface import Plain

INTEGERS = {"INT32": numpy.int32, "INT64": numpy.int64}


class Context(Plain):
    """Stand in for ``trt.IExecutionContext``."""

    def _setup(self, engine: Any) -> None:
        self._engine, self._plan = engine, engine._plan
        self._shapes: dict[str, Shape] = {}
        self._addresses: dict[str, int] = {}
        self._allocators: dict[str, Any] = {}
        self._listening = Listening(self._plan.debug)
        self.__dict__["calls"] = Counter()
        self._borrows = False  # scratch memory
        self.__dict__["device_memory"] = 0
        self._profile = 0
        if not self._plan.sharing:
            self._profile = -1 if 0 in engine._taken else 0
            engine._taken.add(0)

    def _fail(self, message: str) -> bool:
        self._engine._owner._log("ERROR", f"IExecutionContext: {message}")
        return False

    def _inputs(self) -> list[Binding]:
        return [binding for binding in self._plan.bindings if binding.is_input]

    def _unset(self) -> list[str]:
        """Return the dynamic inputs whose shape is not set."""
        return [
            binding.name
            for binding in self._inputs()
            if -1 in static(binding.shape) and binding.name not in self._shapes
        ]

    def _known(self) -> dict[str, int]:
        """Return the numbers behind the size names, as far as shapes are set."""
        known: dict[str, int] = {}
        for binding in self._inputs():
            for name, size in zip(binding.sizes, self._shapes.get(binding.name, ()), strict=False):
                if name is not None:
                    known[name] = size
        return known

    @property
    def engine(self) -> Any:
        return self._engine

    @property
    def active_optimization_profile(self) -> int:
        return self._profile

    @active_optimization_profile.setter
    def active_optimization_profile(self, index: int) -> None:
        self.set_optimization_profile_async(index, 0)

    @property
    def all_binding_shapes_specified(self) -> bool:
        return not self._unset()

    def set_optimization_profile_async(self, index: int, stream: int) -> bool:
        if not 0 <= index < len(self._plan.profiles):
            return self._fail(f"there is no profile {index}")
        if not self._plan.sharing and index != self._profile:
            if index in self._engine._taken:
                return self._fail(f"Profile {index} has been chosen by another IExecutionContext")
            self._engine._taken.discard(self._profile)
            self._engine._taken.add(index)
        if index != self._profile:
            self._shapes.clear()
        self._profile = index
        return True

    def set_input_shape(self, name: str, shape: Any) -> bool:
        binding = self._engine._binding(name)
        given = tuple(int(size) for size in shape)
        if binding is None or not binding.is_input:
            return self._fail(f"set_input_shape: {name} is no input")
        if self._profile < 0:
            return self._fail("mOptimizationProfile >= 0 failed")
        declared = static(binding.shape)
        if len(given) != len(declared):
            return self._fail(f"set_input_shape: {name}: {given} does not fit {declared}")
        low, _, high = self._plan.profiles[self._profile].get(name, (declared,) * 3)
        for size, least, most in zip(given, low, high, strict=True):
            if not least <= size <= most:
                return self._fail(f"set_input_shape: {name}: {given} is not in [{low}, {high}]")
        self._shapes[name] = given
        return True

    def get_tensor_shape(self, name: str) -> Any:
        binding = self._engine._binding(name)
        if binding is None:
            return self._surface.dims(())
        return self._surface.dims(self._shape(binding, self._values(self._addresses)))

    def _shape(self, binding: Binding, values: dict[str, int] | None = None) -> Shape:
        if binding.is_input:
            return self._shapes.get(binding.name, static(binding.shape))
        return resolve(binding, {**self._known(), **(values or {})})

    def get_tensor_strides(self, name: str) -> Any:
        shape = tuple(self.get_tensor_shape(name))
        return self._surface.dims(volume(shape[axis + 1 :]) for axis in range(len(shape)))

    def get_max_output_size(self, name: str) -> int:
        binding = self._engine._binding(name)
        shape = tuple(max(size, 0) for size in self._shape(binding))
        return nbytes(shape, binding.dtype)

    def infer_shapes(self) -> list[str]:
        return self._unset()

    def set_tensor_address(self, name: str, memory: int) -> bool:
        if self._engine._binding(name) is None:
            return False
        self._addresses[name] = memory
        return True

    def get_tensor_address(self, name: str) -> int:
        return self._addresses.get(name, 0)

    def set_output_allocator(self, name: str, allocator: Any) -> bool:
        binding = self._engine._binding(name)
        if binding is None or binding.is_input:
            return False
        self._allocators[name] = allocator
        return True

    def get_output_allocator(self, name: str) -> Any:
        return self._allocators.get(name)

    def set_debug_listener(self, listener: Any) -> bool:
        return self._listening.set(listener)

    def get_debug_listener(self) -> Any:
        found = self._listening.listener
        return found and found()

    def set_tensor_debug_state(self, name: str, flag: bool) -> bool:
        if name not in self._listening.states:
            return self._fail(f"set_tensor_debug_state: {name} is no debug tensor")
        self._listening.states[name] = flag
        return True

    def set_all_tensors_debug_state(self, flag: bool) -> bool:
        self._listening.states.update(dict.fromkeys(self._listening.states, flag))
        return True

    def get_debug_state(self, name: str) -> bool:
        return self._listening.states.get(name, False)

    def set_device_memory(self, memory: int, size: int) -> None:
        if size < 1024:
            raise Violation(f"set_device_memory: {size} bytes; TensorRT writes out of bounds")
        self.device_memory = memory

    def update_device_memory_size_for_shapes(self) -> int:
        return 1024

    def set_aux_streams(self, streams: list[int]) -> None:
        """Take nothing: the double has no streams."""

    def report_to_profiler(self) -> bool:
        return True

    def execute_v2(self, bindings: list[int]) -> bool:
        names = self._plan.bindings
        blocks = len(self._plan.profiles) if self._surface.major == 8 else 1
        if len(bindings) != len(names) * blocks:
            raise Violation(
                f"execute_v2: {len(bindings)} addresses for {len(names) * blocks} bindings; "
                "TensorRT reads out of bounds"
            )
        for binding in self._inputs():
            # Seen on 8.6.0: the list alone does not tell a context its host inputs.
            if binding.decides_shape and not self._addresses.get(binding.name):
                return self._fail("condition: allInputShapesSpecified(routine)")
        start = len(names) * max(self._profile, 0) if blocks > 1 else 0
        addresses = {binding.name: bindings[start + place] for place, binding in enumerate(names)}
        return self._execute(addresses, {})

    def execute_async_v3(self, stream: int) -> bool:
        for binding in self._plan.bindings:
            absent = not self._addresses.get(binding.name)
            if absent and binding.needs_memory and binding.name not in self._allocators:
                return self._fail(f"{binding.name}: neither an address nor an allocator is set")
        return self._execute(self._addresses, self._allocators)

    def _execute(self, addresses: dict[str, int], allocators: dict[str, Any]) -> bool:
        if any(held.content is None for held in self._engine._weights.values()):
            raise Violation("an engine without weights was executed; it has to be refitted before")
        self._engine._running.append(self)
        try:
            return self._executed(addresses, allocators)
        finally:
            self._engine._running.remove(self)

    def _executed(self, addresses: dict[str, int], allocators: dict[str, Any]) -> bool:
        if self._profile < 0:
            return self._fail("mOptimizationProfile >= 0 failed")
        if self._borrows and not self.device_memory:
            raise Violation("a context without memory of its own was given none")
        unset = self._unset()
        if unset:
            return self._fail(f"the shapes of {unset} are not set")
        values = self._values(addresses)
        fault = broken(self._plan, {**self._known(), **values})
        if fault:
            return self._fail(fault)
        tensors: dict[str, tuple[int, Shape, Any]] = {}
        for binding in self._plan.bindings:
            pointer = addresses.get(binding.name, 0)
            given = binding.name in allocators
            if not pointer and binding.needs_memory and not given:
                raise missing(binding.name)
            dtype = getattr(self._surface.DataType, binding.dtype)
            tensors[binding.name] = (pointer, self._shape(binding, values), dtype)
        callback = self._plan.callback or self._surface.callback
        results = callback(self, tensors) or {} if callback is not None else {}
        sizes = {**self._known(), **values}
        self._listening.emit(self._surface, results, lambda told: resolve(told, sizes))
        if callback is None:
            for binding in self._plan.bindings:
                pointer, shape, _ = tensors[binding.name]
                if not binding.is_input and pointer and -1 not in shape:
                    poison(pointer, shape, binding.dtype)
        else:
            debug = self._listening.tensors.keys() - tensors.keys()
            shown = {n: result for n, result in results.items() if n not in debug}
            self._deliver(shown, tensors, allocators)
        rtx.compiled(self)
        self._tell_profiler()
        return True

    def _tell_profiler(self) -> None:
        """Tell a time of each layer, a microsecond more than of the one before."""
        profiler = self.__dict__.get("_value_profiler")  # asking for it would be counted
        if profiler is None:
            return
        several = len(self._plan.profiles) > 1
        end = f" [profile {self._profile}]" if several else ""
        for place, name in enumerate(self._plan.layers, start=1):
            profiler.report_layer_time(name + end, place / 1000)

    def is_stream_capturable(self, stream: int) -> bool:
        return True

    def _values(self, addresses: dict[str, int]) -> dict[str, int]:
        """Read the inputs on the host that decide shapes."""
        known: dict[str, int] = {}
        for binding in self._inputs():
            kind = INTEGERS.get(binding.dtype)
            if not binding.decides_shape or kind is None or not addresses.get(binding.name):
                continue
            shape = self._shape(binding)
            content = ctypes.string_at(addresses[binding.name], nbytes(shape, binding.dtype))
            for place, number in enumerate(numpy.frombuffer(content, dtype=kind)):
                known[f"{binding.name}({place})"] = int(number)
        return known

    def _deliver(
        self,
        results: dict[str, Any],
        tensors: dict[str, tuple[int, Shape, Any]],
        allocators: dict[str, Any],
    ) -> None:
        """Copy the arrays that a callback returned, through an allocator where there is one."""
        for name, result in results.items():
            array = numpy.ascontiguousarray(result)
            pointer = tensors[name][0]
            allocator = allocators.get(name)
            if allocator is not None:
                size = max(array.nbytes, 1)
                if self._surface.major == 8:
                    pointer = allocator.reallocate_output(name, pointer, size, 256)
                else:
                    pointer = allocator.reallocate_output_async(name, pointer, size, 256, 0)
            if not pointer:
                raise missing(name)
            ctypes.memmove(pointer, array.ctypes.data, array.nbytes)
            if allocator is not None:
                allocator.notify_shape(name, self._surface.dims(array.shape))
