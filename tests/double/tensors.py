"""Tensors and layers of the double's networks."""

from __future__ import annotations

from typing import Any

from tests.double.facts import FLOATS, RuleError, Violation, static
from tests.double.formats import EVERY
from tests.double.inference import facts, forget, forget_tensor, mark_shape
from tests.double.surface import Plain

LONGEST_NAME = 4096
SHAPE_INPUTS: dict[str, tuple[int, ...]] = {
    "IShuffleLayer": (1,),
    "ISliceLayer": (1, 2, 3, 5),
    "IResizeLayer": (1,),
    "IFillLayer": (0,),
    "ITopKLayer": (1,),
    "IAssertionLayer": (0,),
    "ILoopOutputLayer": (1,),
}
APPENDED: dict[str, int] = {
    "IShuffleLayer": 1,
    "ISliceLayer": 4,
    "IResizeLayer": 1,
    "IFillLayer": 2,
    "ITopKLayer": 1,
    "IConvolutionLayer": 2,
    "IDeconvolutionLayer": 2,
    "IQuantizeLayer": 2,
    "IDequantizeLayer": 2,
    "IAttention": 3,
    "INMSLayer": 4,
    "IRotaryEmbeddingLayer": 3,
    "ILoopOutputLayer": 1,
}
RESETS: dict[tuple[str, str], int] = {
    ("IShuffleLayer", "reshape_dims"): 1,
    ("ISliceLayer", "start"): 1,
    ("ISliceLayer", "shape"): 2,
    ("ISliceLayer", "stride"): 3,
    ("ISliceLayer", "axes"): 5,
    ("IResizeLayer", "shape"): 1,
    ("IResizeLayer", "scales"): 1,
    ("IFillLayer", "shape"): 0,
}
SQUARE = ("kernel_size", "stride", "padding", "dilation", "window_size")
TYPED_BY_OUTPUT = ("IDequantizeLayer", "IFillLayer")


class Named(Plain):
    """What tensors and layers share: a name of limited length."""

    _network: Any
    _name: str

    @property
    def name(self) -> str:
        return self._name

    @name.setter
    def name(self, name: str) -> None:
        if len(name.encode()) > LONGEST_NAME:
            self._network._reject(f"name of {len(name.encode())} bytes; at most {LONGEST_NAME}")
        else:
            self._rename(name)

    def _rename(self, name: str) -> None:
        self._name = name


class Tensor(Named):
    """Stand in for ``trt.ITensor``."""

    def _setup(self, network: Any, name: str, producer: Any, index: int = 0) -> None:
        self._network, self._name, self._producer, self._index = network, name, producer, index
        self._consumers: list[Any] = []
        self._dimension_names: dict[int, str] = {}
        self._known: Any = None
        self._assigned: str | None = None
        self._decides_shape = False
        self._is_output = False
        self._value_allowed_formats = EVERY
        self._value_location = self._surface.TensorLocation.DEVICE

    def _rename(self, name: str) -> None:
        self._name = name
        forget_tensor(self) if self._producer is None else None

    def _reported(self) -> str:
        """Return the type as ``ITensor.dtype`` tells it before a build."""
        if self._producer is None:
            return str(self._dtype)
        intended = facts(self).dtype
        if self._surface.major > 8 or intended != "HALF":
            return intended
        declared = self._producer._output_types.get(self._index)
        if self._assigned or declared:
            return str(self._assigned or declared)
        return "HALF" if self._producer._kind == "ICastLayer" else "FLOAT"

    @property
    def dtype(self) -> Any:
        try:
            return getattr(self._surface.DataType, self._reported())
        except RuleError as error:
            self._network._error(str(error))
            return self._surface.DataType.FLOAT

    @dtype.setter
    def dtype(self, value: Any) -> None:
        if self._producer is None:
            self._dtype = value.name
            forget_tensor(self)
        elif facts(self).dtype == value.name:
            self._assigned = value.name
        elif self._surface.major == 8:
            raise Violation(f"{self._name}: dtype {value.name} for a {facts(self).dtype} value")
        else:
            self._network._reject(f"{self._name}: dtype cannot be set in a strongly typed network")

    @property
    def shape(self) -> Any:
        try:
            return self._surface.dims(static(facts(self).shape))
        except RuleError as error:
            self._network._error(str(error))
            if self._surface.major > 10:
                raise RuntimeError("Could not get tensor shape.") from None
            invalid = self._surface.dims(())
            invalid._sizes = None
            return invalid

    @shape.setter
    def shape(self, value: Any) -> None:
        if self._producer is not None:
            self._network._reject(f"{self._name}: the shape of a computed tensor cannot be set")
        else:
            self._shape = tuple(value)
            forget_tensor(self)

    @property
    def is_network_input(self) -> bool:
        return self._producer is None

    @property
    def is_network_output(self) -> bool:
        return self._is_output

    @property
    def is_shape_tensor(self) -> bool:
        return self._decides_shape

    @property
    def is_execution_tensor(self) -> bool:
        used = [layer for layer in self._consumers if layer._kind != "IShapeLayer"]
        return bool(used) or self._is_output or not self._consumers

    def set_dimension_name(self, index: int, name: str) -> None:
        self._dimension_names[index] = name
        forget_tensor(self)

    def get_dimension_name(self, index: int) -> str | None:
        return self._dimension_names.get(index)

    def set_dynamic_range(self, low: float, high: float) -> bool:
        raise Violation("dynamic ranges are implicit quantization; only Q/DQ is used")


class Layer(Named):
    """Stand in for ``trt.ILayer`` and all its subclasses."""

    def _setup(self, network: Any, kind: str, index: int, attributes: dict[str, Any]) -> None:
        self._network, self._kind, self._uid = network, kind, f"#{index}"
        self._name = f"(Unnamed Layer* {index}) [{kind.removeprefix('I').removesuffix('Layer')}]"
        self._attributes: dict[str, Any] = attributes
        self._inputs: list[Any] = []
        self._outputs: list[Any] = []
        self._checks: list[Any] = []
        self._late: list[str] = []
        self._output_types: dict[int, str] = {}
        self._written: set[str] = set()
        self._back: Any = None

    def _read(self, name: str) -> Any:
        if name in SQUARE and name not in self._attributes:
            raise NotImplementedError(f"the double has no 2-D attribute {name}: use {name}_nd")
        value = self._attributes.get("pre_padding" if name == "padding_nd" else name)
        return self._surface.dims(value) if isinstance(value, tuple) else value

    def _write(self, name: str, value: Any) -> None:
        if name in SQUARE and name not in self._attributes:
            raise NotImplementedError(f"the double has no 2-D attribute {name}: use {name}_nd")
        for key in ("pre_padding", "post_padding") if name == "padding_nd" else (name,):
            self._attributes[key] = value
            self._written.add(key)
        reset = RESETS.get((self._kind, name))
        if reset is not None and reset < len(self._inputs):
            self._connect(reset, None)
        if name == "causal_kind":
            self._attributes["causal"] = value.name != "NONE"
        forget(self)

    def _connect(self, index: int, tensor: Any) -> None:
        """Put a tensor at an input, or take it away."""
        while len(self._inputs) <= index:
            self._inputs.append(None)
        before = self._inputs[index]
        if before is not None:
            before._consumers.remove(self)
        self._inputs[index] = tensor
        if tensor is not None:
            tensor._consumers.append(self)
            if index in SHAPE_INPUTS.get(self._kind, ()):
                mark_shape(tensor)

    @property
    def type(self) -> Any:
        members = self._surface.LayerType.__members__
        plain = self._kind.removeprefix("I").removesuffix("Layer").upper()
        return next(
            (member for name, member in members.items() if name.replace("_", "") == plain), None
        )

    @property
    def num_inputs(self) -> int:
        return len(self._inputs)

    @property
    def num_outputs(self) -> int:
        return len(self._outputs)

    def get_input(self, index: int) -> Any:
        return self._inputs[index] if 0 <= index < len(self._inputs) else None

    def get_output(self, index: int) -> Any:
        return self._outputs[index] if 0 <= index < len(self._outputs) else None

    def get_output_type(self, index: int) -> Any:
        return self._outputs[index].dtype

    def set_input(self, index: int, tensor: Any) -> Any:
        if self._kind == "IRecurrenceLayer" and index == 1:
            self._back = tensor  # no input, or there would be a cycle
            return None
        last = APPENDED.get(self._kind, -1)
        if self._kind == "ISliceLayer" and self._surface.major > 8:
            last = 5
        if not 0 <= index <= max(last, len(self._inputs) - 1):
            self._network._reject(f"{self._name}: there is no input {index}")
            return False if self._kind == "IAttention" else None
        self._connect(index, tensor)
        forget(self)
        return True if self._kind == "IAttention" else None

    @property
    def precision(self) -> Any:
        return self._attributes.get("precision", self._surface.DataType.FLOAT)

    @precision.setter
    def precision(self, value: Any) -> None:
        self._attributes["precision"] = value

    @property
    def precision_is_set(self) -> bool:
        return "precision" in self._attributes

    def reset_precision(self) -> None:
        self._attributes.pop("precision", None)

    def set_output_type(self, index: int, dtype: Any) -> None:
        if not 0 <= index < len(self._outputs):
            self._network._reject(f"{self._name}: there is no output {index}")
            return
        self._output_types[index] = dtype.name
        if self._kind in TYPED_BY_OUTPUT and dtype.name in FLOATS | {"INT32"}:
            self._attributes["to_type"] = dtype
            forget(self)

    def output_type_is_set(self, index: int) -> bool:
        return index in self._output_types

    def reset_output_type(self, index: int) -> None:
        self._output_types.pop(index, None)


class Attention(Layer):
    """Stand in for ``trt.IAttention``, which is several layers but looks like one."""

    @property
    def mask(self) -> Any:
        return self.get_input(3)

    @mask.setter
    def mask(self, tensor: Any) -> None:
        self._connect(3, tensor)
        forget(self)
