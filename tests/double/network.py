"""The network definition of the double."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tests.double.factory import ADDS, LATER, OUTPUTS, TENSOR, TENSORS, defaults, ranked_defaults
from tests.double.facts import Refused, RuleError, Violation
from tests.double.inference import facts, infer
from tests.double.plugins import outputs_of
from tests.double.surface import Plain
from tests.double.weights import identity


class Network(Plain):
    """Stand in for ``trt.INetworkDefinition``."""

    _value_name = "Unnamed Network 0"

    def _setup(self, builder: Any, flags: int) -> None:
        self._builder, self._flags = builder, flags
        self._inputs: list[Any] = []
        self._outputs: list[Any] = []
        self._debug: list[Any] = []
        self._layers: list[Any] = []
        self._failures: list[str] = []
        self._weight_names: dict[tuple[str, int, int], str] = {}
        self._marked: set[str] = set()
        self._defaults = defaults(self._surface)

    def _error(self, message: str) -> None:
        """Write an error to the logger."""
        self._builder._log("ERROR", message)

    def _reject(self, message: str) -> None:
        """Write an error to the logger and let the build fail."""
        self._failures.append(message)
        self._error(message)

    def _lazy(self) -> bool:
        """Tell whether a layer is added although its rule is broken: 11 tells by the shape."""
        return bool(self._surface.major > 10)

    def _explicit(self) -> bool:
        return self._surface.major > 8 or bool(self._flags & 1)

    def add_input(self, name: str, dtype: Any, shape: Any) -> Any:
        if not self._explicit():
            self._reject("add_input: implicit batch; EXPLICIT_BATCH is missing")
            return None
        for failure, found in (
            ("a size below -1", any(size < -1 for size in shape)),
            ("the name is empty", not name),
            ("the name is taken", any(item._name == name for item in self._inputs)),
            ("the type is not for inputs", dtype.name in ("INT4", "FP4", "E8M0")),
        ):
            if found:
                self._error(f"add_input {name!r}: {failure}")
                return None
        tensor = self._surface.new("ITensor", self, name, None)
        tensor._dtype, tensor._shape = dtype.name, tuple(shape)
        self._inputs.append(tensor)
        return tensor

    def _add(self, kind: str, tensors: list[Any], attributes: dict[str, Any]) -> Any:
        """Make a layer; None where TensorRT refuses it at once."""
        for tensor in tensors:
            if tensor._network is not self:
                raise Violation(f"{kind}: the tensor {tensor._name!r} is of another network")
        try:
            ranked = ranked_defaults(kind, [facts(tensor).rank for tensor in tensors])
        except RuleError as error:
            if not self._lazy():
                self._error(f"add {kind}: an input is invalid: {error}")
                return None
            ranked = ranked_defaults(kind, [0] * len(tensors))
        every = {**self._defaults.get(kind, {}), **ranked, **attributes}
        layer = self._surface.new(kind, self, kind, len(self._layers), every)
        made = attributes.get("plugin")
        for index in range(OUTPUTS.get(kind, 1) if made is None else outputs_of(made)):
            name = f"{layer._name}_output" if index == 0 else f"{layer._name}_output_{index}"
            layer._outputs.append(self._surface.new("ITensor", self, name, layer, index))
        for index, tensor in enumerate(tensors):
            layer._connect(index, tensor)
        try:
            if kind not in LATER or self._lazy():
                infer(layer)
        except (RuleError, Violation) as error:
            if self._lazy() and not isinstance(error, (Refused, Violation)):
                self._layers.append(layer)
                return layer
            for index in range(len(tensors)):
                layer._connect(index, None)
            if isinstance(error, Violation):
                raise
            self._error(f"add {error}")
            return None
        self._layers.append(layer)
        return layer

    def add_loop(self) -> Any:
        return self._surface.new("ILoop", self)

    def add_if_conditional(self) -> Any:
        return self._surface.new("IIfConditional", self)

    def add_plugin(self, given: Any, *ahead: bool) -> Any:
        inputs, shape_inputs, plugin = given if isinstance(given, tuple) else given(*ahead)
        return self.add_plugin_v3(inputs, shape_inputs, plugin)

    def mark_output(self, tensor: Any) -> None:
        if tensor.is_network_input:
            self._reject(f"mark_output: {tensor._name} is an input")
        elif tensor._is_output:
            self._reject(f"mark_output: {tensor._name} is an output already")
        else:
            tensor._is_output = True
            self._outputs.append(tensor)

    def unmark_output(self, tensor: Any) -> None:
        tensor._is_output = False
        self._outputs.remove(tensor)

    def mark_output_for_shapes(self, tensor: Any) -> bool:
        tensor._decides_shape = True
        self.mark_output(tensor)
        return tensor._is_output is True

    def set_weights_name(self, weights: Any, name: str) -> bool:
        used = {
            identity(value)
            for layer in self._layers
            for value in layer._attributes.values()
            if isinstance(value, self._surface.Weights)
        }
        taken = {other for other, key in self._weight_names.items() if key == name}
        if identity(weights) not in used or taken - {identity(weights)}:
            self._error(f"set_weights_name: {name!r} is taken, or no layer uses the weights")
            return False
        if sum(start == weights._pointer for _, start, _ in used) > 1:
            self._error(f"set_weights_name: {name!r}: weights of another size start there")
            return False
        self._weight_names[identity(weights)] = name
        return True

    def mark_weights_refittable(self, name: str) -> bool:
        if name not in self._weight_names.values():
            return False
        self._marked.add(name)
        return True

    def unmark_weights_refittable(self, name: str) -> bool:
        self._marked.discard(name)
        return name in self._weight_names.values()

    def are_weights_marked_refittable(self, name: str) -> bool:
        return name in self._marked

    def mark_debug(self, tensor: Any) -> bool:
        if tensor._network is not self:
            raise Violation(f"mark_debug: the tensor {tensor._name!r} is of another network")
        if tensor not in self._debug:
            self._debug.append(tensor)
        return True

    def unmark_debug(self, tensor: Any) -> bool:
        if tensor in self._debug:
            self._debug.remove(tensor)
        return True

    def is_debug_tensor(self, tensor: Any) -> bool:
        return tensor in self._debug

    def get_input(self, index: int) -> Any:
        return self._inputs[index] if 0 <= index < len(self._inputs) else None

    def get_output(self, index: int) -> Any:
        return self._outputs[index] if 0 <= index < len(self._outputs) else None

    def get_layer(self, index: int) -> Any:
        return self._layers[index] if 0 <= index < len(self._layers) else None

    def get_flag(self, flag: Any) -> bool:
        return bool(self._flags >> int(flag) & 1)

    @property
    def flags(self) -> int:
        return int(self._flags)

    @property
    def num_inputs(self) -> int:
        return len(self._inputs)

    @property
    def num_outputs(self) -> int:
        return len(self._outputs)

    @property
    def num_layers(self) -> int:
        return len(self._layers)

    @property
    def builder(self) -> Any:
        return self._builder

    @property
    def has_implicit_batch_dimension(self) -> bool:
        return not self._explicit()

    @property
    def has_explicit_precision(self) -> bool:
        return False


def adder(method: str, kind: str, slots: list[str]) -> Callable[..., Any]:
    """Return the ``add_*`` that turns its arguments into inputs and attributes."""

    def add(self: Any, *arguments: Any) -> Any:
        tensors: list[Any] = []
        attributes: dict[str, Any] = {}
        for slot, argument in zip(slots, arguments, strict=False):
            if slot == TENSORS:
                tensors.extend(argument)
            elif slot != TENSOR:
                attributes[slot] = argument
            elif argument is not None:
                tensors.append(argument)
        if method == "add_normalization_v2":
            attributes["is_v2"] = True
        if "causal_kind" in attributes:
            attributes["causal"] = attributes["causal_kind"].name != "NONE"
        return self._add(kind, tensors, attributes)

    return add


for _method, (_kind, _slots) in ADDS.items():
    setattr(Network, _method, adder(_method, _kind, _slots.split()))
