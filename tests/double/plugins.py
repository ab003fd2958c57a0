"""The plugin registry of the double, and some creators: of each generation, and users' own.

What a plugin gives is a rule here, as a layer's is: of facts of its inputs. Those that Python
classes implement are asked through the interfaces that they implement.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy

from tests.double.facts import INTEGERS, Case, Facts, Refused, Violation
from tests.double.signature import Mismatch
from tests.double.sizes import Size, Symbol, minus, plus, times
from tests.double.surface import Plain

Told = Mapping[str, Any]
Rule = Callable[[Case, Told, list[Facts]], list[Facts]]
DTYPES = {
    "FLOAT16": "float16",
    "FLOAT32": "float32",
    "FLOAT64": "float64",
    "INT8": "int8",
    "INT16": "int16",
    "INT32": "int32",
    "INT64": "int64",
}


@dataclass(frozen=True)
class Known:
    """A creator: what it lists, its results, and its interface (2 or 3)."""

    fields: Mapping[str, str]
    outputs: int
    rule: Rule
    version: str = "1"
    interface: int = 2


def coordinates(case: Case, told: Told, inputs: list[Facts]) -> list[Facts]:
    """A library's own: two channels more."""
    (x,) = inputs
    case.require(x.rank == 4, f"it takes rank 4, not {x.rank}")
    case.types(x, frozenset({"FLOAT", "HALF"}))
    return [Facts(x.dtype, (x.shape[0], plus(x.shape[1], 2), *x.shape[2:]))]


def gelu(case: Case, told: Told, inputs: list[Facts]) -> list[Facts]:
    """CustomGeluPluginDynamic: of the type that a field names."""
    (x,) = inputs
    wanted = ("FLOAT", "HALF")[int(told["type_id"][0])]
    case.require(x.dtype == wanted, f"it was made for {wanted}, and is given {x.dtype}")
    return [Facts(x.dtype, x.shape)]


def suppression(case: Case, told: Told, inputs: list[Facts]) -> list[Facts]:
    """EfficientNMS_TRT: how many, and boxes, scores and classes of the most there may be."""
    boxes, scores = inputs
    case.same(boxes, scores)
    case.require(boxes.rank == scores.rank == 3, "boxes and scores are of rank 3")
    batch, most = boxes.shape[0], int(told["max_output_boxes"][0])
    return [
        Facts("INT32", (batch, 1)),
        Facts(boxes.dtype, (batch, most, 4)),
        Facts(boxes.dtype, (batch, most)),
        Facts("INT32", (batch, most)),
    ]


def regions(case: Case, told: Told, inputs: list[Facts]) -> list[Facts]:
    """ROIAlign_TRT: of each region of interest a grid."""
    x, boxes, batches = inputs
    case.same(x, boxes)
    case.types(batches, INTEGERS & {"INT32"})
    grid = int(told["output_height"][0]), int(told["output_width"][0])
    return [Facts(x.dtype, (boxes.shape[0], x.shape[1], *grid))]


ALIGN = {
    "coordinate_transformation_mode": "INT32",
    "mode": "INT32",
    "output_height": "INT32",
    "output_width": "INT32",
    "sampling_ratio": "INT32",
    "spatial_scale": "FLOAT32",
}
PICK = {
    "score_threshold": "FLOAT32",
    "iou_threshold": "FLOAT32",
    "max_output_boxes": "INT32",
    "background_class": "INT32",
    "score_activation": "INT32",
    "box_coding": "INT32",
}
# Creators that are there as soon as TensorRT is imported, and others when they are asked for.
THERE = [("CustomGeluPluginDynamic", Known({"type_id": "INT32", "bias": "FLOAT32"}, 1, gelu))]
# As TensorRT 8.6.0 lists them; 10 and later have an ROIAlign_TRT of the third interface beside it.
OWN = [
    ("EfficientNMS_TRT", Known(PICK, 4, suppression)),
    ("ROIAlign_TRT", Known(ALIGN, 1, regions)),
]
LATER = [("ROIAlign_TRT", Known(ALIGN, 1, regions, version="2", interface=3))]


class FallbackString(Plain):
    """Stand in for the text that pybind11 takes for a name."""

    @classmethod
    def _adopt(cls, value: Any) -> Any:
        if not isinstance(value, (str, bytes)):
            raise Mismatch(f"str expected, not {type(value).__name__}")
        return value if isinstance(value, str) else value.decode()


class Field(Plain):
    """Stand in for ``trt.PluginField``."""

    def _init(self, name: str, data: Any = None, kind: Any = None) -> None:
        self._value_name = name
        self._value_type = kind if kind is not None else self._surface.PluginFieldType.UNKNOWN
        self._content = b"" if data is None else data

    @property
    def data(self) -> Any:
        content = self._content
        content = content.tobytes() if isinstance(content, numpy.ndarray) else bytes(content)
        return numpy.frombuffer(content, DTYPES.get(self._value_type.name, "int8"))

    @data.setter
    def data(self, content: Any) -> None:
        self._content = content

    @property
    def size(self) -> int:
        return len(self._content)

    @size.setter
    def size(self, count: int) -> None:
        raise Violation(f"size {count} of a field: its data say it")


class Collection(Plain):
    """Stand in for ``trt.PluginFieldCollection``, and for the read-only one."""

    def _init(self, fields: Any = ()) -> None:
        self._fields = list(fields)

    @classmethod
    def _adopt(cls, value: Any) -> Any:
        if not isinstance(value, Collection) and not hasattr(value, "_fields"):
            raise Mismatch(f"PluginFieldCollection expected, not {type(value).__name__}")
        return value

    def __iter__(self) -> Any:
        return iter(self._fields)

    def __len__(self) -> int:
        return len(self._fields)


class Creator(Plain):
    """Stand in for the creators that a library registers."""

    _known: Known | None = None

    def _setup(self, name: str, known: Known, namespace: str) -> None:
        surface, self._known = self._surface, known
        self._value_name, self._value_plugin_version = name, known.version
        self._value_plugin_namespace = namespace
        kinds = surface.PluginFieldType
        self._value_field_names = surface.PluginFieldCollection(
            [
                surface.PluginField(key, numpy.array([]), getattr(kinds, kind))
                for key, kind in known.fields.items()
            ]
        )

    def create_plugin(self, name: str, fields: Any, *phase: Any) -> Any:
        assert self._known is not None
        told = {field.name: field.data for field in fields}
        for field in fields:
            if field.type.name != self._known.fields.get(field.name):
                raise Violation(f"{field.name}: {field.type} is not what the creator reads")
        kind = "IPluginV2" if self._known.interface == 2 else "IPluginV3"
        return self._surface.new(kind, self._known, told)


class Made(Plain):
    """Stand in for a plugin that a library's creator made, or that a class in Python is."""

    _known: Known | None = None

    def _setup(self, known: Known, told: Told) -> None:
        self._known, self._told = known, told

    def get_output_shape(self, index: int, shapes: Any) -> Any:
        raise Violation("get_output_shape: 8.6.0 dies where the plugin has dynamic shapes")


class Registry(Plain):
    """Stand in for ``trt.IPluginRegistry``."""

    def _setup(self) -> None:
        self._creators: dict[tuple[str, str, str], Any] = {}
        self._loading: dict[str, Sequence[tuple[str, Known]]] = {}

    def _add(self, name: str, known: Known, namespace: str = "") -> None:
        kind = "IPluginCreator" if known.interface == 2 else "IPluginCreatorV3One"
        made = self._surface.new(kind, name, known, namespace)
        self._creators.setdefault((name, known.version, namespace), made)

    @property
    def plugin_creator_list(self) -> list[Any]:
        second = self._surface.IPluginCreator
        return [one for one in self._creators.values() if isinstance(one, second)]

    @property
    def all_creators(self) -> list[Any]:
        return list(self._creators.values())

    def get_plugin_creator(self, name: str, version: str, namespace: str = "") -> Any:
        return self._creators.get((name, version, namespace))

    def get_creator(self, name: str, version: str, namespace: str = "") -> Any:
        return self._creators.get((name, version, namespace))

    def register_creator(self, creator: Any, namespace: str = "") -> bool:
        key = creator.name, creator.plugin_version, namespace
        if key in self._creators:
            return False
        self._creators[key] = creator
        return True

    def deregister_creator(self, creator: Any) -> bool:
        kept = {key: one for key, one in self._creators.items() if one is not creator}
        found, self._creators = len(kept) < len(self._creators), kept
        return found

    def load_library(self, path: str) -> Any:
        found = self._loading.get(path)
        for name, known in found or ():
            self._add(name, known, "mine")
        return None if found is None else object()


class Expression(Plain):
    """Stand in for ``trt.IDimensionExpr``."""

    def _setup(self, size: Size) -> None:
        self._size = size

    def is_constant(self) -> bool:
        return not isinstance(self._size, Symbol)

    def get_constant_value(self) -> int:
        if isinstance(self._size, Symbol):
            raise Violation("get_constant_value of a size that is not constant")
        return self._size


class Expressions(Plain):
    """Stand in for ``trt.DimsExprs``."""

    def _init(self, given: Any = ()) -> None:
        self._expressions = [None] * given if isinstance(given, int) else list(given)

    def __len__(self) -> int:
        return len(self._expressions)

    def __getitem__(self, index: int) -> Any:
        return self._expressions[index]

    def __setitem__(self, index: int, expression: Any) -> None:
        self._expressions[index] = expression


class ExpressionBuilder(Plain):
    """Stand in for ``trt.IExprBuilder``."""

    def _setup(self) -> None:
        """Take nothing."""

    def constant(self, number: int) -> Any:
        return self._surface.new("IDimensionExpr", number)

    def operation(self, kind: Any, left: Any, right: Any) -> Any:
        compute = {"SUM": plus, "SUB": minus, "PROD": times}[kind.name]
        return self._surface.new("IDimensionExpr", compute(left._size, right._size))


def outputs_of(plugin: Any) -> int:
    """Return how many results a plugin gives."""
    if plugin._known is not None:
        return int(plugin._known.outputs)
    kind = plugin._surface.PluginCapabilityType.BUILD
    return int(plugin.get_capability_interface(kind).num_outputs)


def plugin_layer(case: Case) -> list[Facts]:
    """Return the results of a plugin layer: as its rule says, or the class in Python."""
    plugin, inputs = case["plugin"], [case.operand(i) for i in range(len(case.inputs))]
    if plugin._known is not None:
        results = plugin._known.rule(case, plugin._told, inputs)
    else:
        results = asked(plugin, inputs)
    if len(results) != outputs_of(plugin):
        raise Refused(f"{case.name}: it gives {len(results)} results, not {outputs_of(plugin)}")
    for result in results:
        case.require(result.dtype not in ("BOOL", "UINT8"), f"a plugin gives no {result.dtype}")
    return results


def asked(plugin: Any, inputs: list[Facts]) -> list[Facts]:
    """Return what a class in Python says of its results."""
    surface = plugin._surface
    build = plugin.get_capability_interface(surface.PluginCapabilityType.BUILD)
    types = [getattr(surface.DataType, x.dtype) for x in inputs]
    shapes = [
        surface.DimsExprs([surface.new("IDimensionExpr", size) for size in x.shape]) for x in inputs
    ]
    if hasattr(build, "register_function"):  # of ``tensorrt.plugin``, which is told the ranks too
        given = build.get_output_data_types(types, [x.rank for x in inputs])
    else:
        given = build.get_output_data_types(types)
    found = build.get_output_shapes(shapes, [], surface.new("IExprBuilder"))
    return [
        Facts(dtype.name, tuple(shape[i]._size for i in range(len(shape))))
        for dtype, shape in zip(given, found, strict=True)
    ]


BEHAVIOURS: Mapping[str, type] = {
    "DimsExprs": Expressions,
    "FallbackString": FallbackString,
    "IDimensionExpr": Expression,
    "IExprBuilder": ExpressionBuilder,
    "IPluginCreator": Creator,
    "IPluginCreatorV3One": Creator,
    "IPluginCreatorV3Quick": Creator,
    "IPluginRegistry": Registry,
    "IPluginV2": Made,
    "IPluginV3": Made,
    "PluginField": Field,
    "PluginFieldCollection": Collection,
    "PluginFieldCollection_": Collection,
}


def install(module: Any) -> None:
    """Give a module its registry, which TensorRT's own creators come to when they are asked for."""
    registry = module._surface.new("IPluginRegistry")
    for name, known in THERE:
        registry._add(name, known)

    def begin(logger: Any, namespace: str) -> bool:
        for name, known in OWN + (LATER if module._surface.major > 8 else []):
            registry._add(name, known, namespace)
        return True

    module.init_libnvinfer_plugins = begin
    module.get_plugin_registry = lambda: registry
