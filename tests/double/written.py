"""``tensorrt.plugin`` of the double: plugins that are written in Python, on 10 and later.

Names and rules are those of NVIDIA's package: what has to be annotated, in which order attributes
stand, of which types they are, and what a kernel that is compiled ahead gives.
"""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable
from functools import partial
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy

from tests.double.facts import Case, Facts, Violation
from tests.double.plugins import Known, Told
from tests.double.sizes import (
    Size,
    Symbol,
    apply,
    ceil_divide,
    floor_divide,
    minus,
    plus,
    product,
    times,
)

KINDS = {int: "INT64", float: "FLOAT64", bool: "INT8", str: "CHAR", bytes: "UNKNOWN"}
ARRAYS = {"int32": "INT32", "int64": "INT64", "float32": "FLOAT32", "float64": "FLOAT64"}
RESERVED = ("", "trt", "tensorrt", "std")


class ShapeExpr:
    """A size of a tensor, which may be known only at run time."""

    def __init__(self, value: Any = None) -> None:
        self._size: Size = value._size if isinstance(value, ShapeExpr) else value

    def _with(self, compute: Callable[..., Size], other: Any) -> ShapeExpr:
        if not isinstance(other, (int, ShapeExpr)):
            raise TypeError(f"a size and {other!r}")
        return ShapeExpr(compute(self._size, ShapeExpr(other)._size))

    def __add__(self, other: Any) -> ShapeExpr:
        return self._with(plus, other)

    def __sub__(self, other: Any) -> ShapeExpr:
        return self._with(minus, other)

    def __mul__(self, other: Any) -> ShapeExpr:
        return self._with(times, other)

    def __floordiv__(self, other: Any) -> ShapeExpr:
        return self._with(floor_divide, other)

    @property
    def is_constant(self) -> bool:
        return not isinstance(self._size, Symbol)


class ShapeExprs:
    """The sizes of a tensor."""

    def __init__(self, length: int) -> None:
        self._sizes: list[Any] = [None] * length

    @classmethod
    def from_tuple(cls, sizes: tuple[Any, ...]) -> ShapeExprs:
        made = cls(len(sizes))
        made._sizes = [ShapeExpr(size) for size in sizes]
        return made

    def numel(self) -> ShapeExpr:
        return ShapeExpr(product(size._size for size in self._sizes))

    def __len__(self) -> int:
        return len(self._sizes)

    def __getitem__(self, index: int) -> Any:
        return self._sizes[index]

    def __setitem__(self, index: int, size: Any) -> None:
        self._sizes[index] = size


class TensorDesc:
    """What is known of a tensor before it exists."""

    def __init__(self, shape_expr: Any = None, dtype: Any = None) -> None:
        self.shape_expr, self.dtype = shape_expr, dtype

    @property
    def ndim(self) -> int:
        return len(self.shape_expr)

    def like(self) -> TensorDesc:
        return TensorDesc(ShapeExprs.from_tuple(tuple(self.shape_expr)), self.dtype)


class Tensor:
    """A tensor where a plugin runs, which the double never does."""


class SymInt32:
    """A number that a kernel is given beside its tensors."""

    def __init__(self, value: Any) -> None:
        if not isinstance(value, (int, ShapeExpr)):
            raise TypeError(f"SymInt32 of {value!r}")
        self.value = ShapeExpr(value)


class SymExprs:
    """Such numbers in order."""

    def __init__(self, length: int) -> None:
        self._numbers: list[Any] = [None] * length

    @classmethod
    def from_tuple(cls, numbers: Any) -> SymExprs:
        made = cls(len(numbers))
        for index, number in enumerate(numbers):
            made[index] = number
        return made

    def __len__(self) -> int:
        return len(self._numbers)

    def __setitem__(self, index: int, number: Any) -> None:
        if not isinstance(number, SymInt32):
            raise TypeError(f"a SymInt32 expected, not {type(number).__name__}")
        self._numbers[index] = number


class SymIntExprs(SymExprs):
    """The one kind that there is."""


class KernelLaunchParams:
    """How a kernel is launched; a size may be known only at run time."""

    NAMES = ("grid_x", "grid_y", "grid_z", "block_x", "block_y", "block_z", "shared_mem")

    def __init__(self) -> None:
        for name in self.NAMES:
            setattr(self, name, 0 if name == "shared_mem" else 1)

    def __setattr__(self, name: str, value: Any) -> None:
        if name not in self.NAMES or not isinstance(value, (int, ShapeExpr)):
            raise AttributeError(f"KernelLaunchParams.{name} = {value!r}")
        object.__setattr__(self, name, value)


class Definition:
    """A plugin that was registered; called, it gives what makes a layer of it."""

    def __init__(self, module: Any, plugin_id: str, function: Callable[..., Any]) -> None:
        self.module, self.plugin_id, self.register_func = module, plugin_id, function
        self.impl_func: Callable[..., Any] | None = None
        self.aot_impl_func: Callable[..., Any] | None = None
        self.kernel: Any = None
        self.input_tensor_names: list[str] = []
        self.input_attrs: dict[str, Any] = {}
        signature = inspect.signature(function)
        for name, parameter in signature.parameters.items():
            if parameter.annotation is TensorDesc:
                require(not self.input_attrs, "tensors come before attributes")
                self.input_tensor_names.append(name)
                continue
            kind = parameter.annotation
            require(kind is not inspect.Parameter.empty, f"{name} has no annotation")
            require(bool(self.input_tensor_names), "tensors come first")
            require(kind in KINDS or array_of(kind) is not None, f"{name}: {kind} is no attribute")
            self.input_attrs[name] = kind
        returned = signature.return_annotation
        require(returned is not inspect.Parameter.empty, "there is no return annotation")
        several = typing.get_origin(returned) is tuple
        self.outputs = len(typing.get_args(returned)) if several else 1

    @property
    def fields(self) -> dict[str, str]:
        return {
            name: KINDS[kind] if kind in KINDS else ARRAYS[str(array_of(kind))]
            for name, kind in self.input_attrs.items()
        }

    def __call__(self, *tensors: Any, **attributes: Any) -> Callable[..., Any]:
        require(len(tensors) == len(self.input_tensor_names), f"{len(tensors)} tensors")
        require(list(attributes) == list(self.input_attrs), f"attributes {list(attributes)}")
        for name, value in attributes.items():
            kind = self.input_attrs[name]
            dtype = array_of(kind)
            same = value.dtype == dtype if dtype is not None else type(value) is kind
            require(same, f"attribute {name}: {value!r}")
        return lambda request=None: (list(tensors), [], self.made(request, attributes))

    def made(self, request: Any, attributes: dict[str, Any]) -> Any:
        name = None if request is None else request.name
        ahead = name == "STRICT_AOT" or (name != "STRICT_JIT" and self.impl_func is None)
        function = self.aot_impl_func if ahead else self.impl_func
        require(function is not None, f"{self.plugin_id} has no {'AOT' if ahead else 'JIT'} form")
        known = Known(self.fields, self.outputs, self.rule(ahead=ahead), interface=3)
        return self.module._surface.new("IPluginV3", known, attributes)

    def require_parameters(self, function: Callable[..., Any], *last: str) -> None:
        names = [n for n in inspect.signature(function).parameters if n not in self.input_attrs]
        require(names == [*self.input_tensor_names, *last], f"{names} as parameters")

    def rule(self, *, ahead: bool) -> Callable[[Case, Told, list[Facts]], list[Facts]]:
        """Return what says the plugin's results, by the function that was registered."""

        def results(case: Case, told: Told, inputs: list[Facts]) -> list[Facts]:
            types = self.module._surface.DataType
            given = [
                TensorDesc(ShapeExprs.from_tuple(x.shape), getattr(types, x.dtype)) for x in inputs
            ]
            found = self.register_func(*given, **told)
            found = found if isinstance(found, tuple) else (found,)
            if ahead:
                self.check_kernel(self.aot_impl_func(*given, **told, outputs=found, tactic=0))  # type: ignore[misc]
            return [
                Facts(x.dtype.name, tuple(ShapeExpr(size)._size for size in x.shape_expr))
                for x in found
            ]

        return results

    def check_kernel(self, made: Any) -> None:
        """Refuse what is no kernel that is compiled ahead."""
        self.kernel = name, code, launch, extra = made
        for text in (name, code):
            require(isinstance(text, (str, bytes)) and bool(text), f"{text!r} is no text")
        require(isinstance(launch, KernelLaunchParams), "no KernelLaunchParams")
        require(isinstance(extra, SymExprs), "no SymExprs")
        if any(number is None for number in extra._numbers):
            raise Violation("a number of a kernel was never set")


def require(condition: bool, message: str) -> None:
    if not condition:
        raise ValueError(message)


def array_of(kind: Any) -> Any:
    """Return the dtype of an annotation ``numpy.typing.NDArray[dtype]``, None of another."""
    if typing.get_origin(kind) is not numpy.ndarray:
        return None
    return numpy.dtype(typing.get_args(typing.get_args(kind)[1])[0])


class Registered:
    """The decorators of one module, and what they registered."""

    def __init__(self, module: Any) -> None:
        self.module, self.op = module, SimpleNamespace()
        self.definitions: dict[str, Definition] = {}

    def register(self, plugin_id: str, lazy_register: bool = False) -> Callable[..., Any]:
        namespace, name = plugin_id.split("::")
        require(namespace not in RESERVED and "." not in plugin_id, f"{plugin_id} is no name")

        def decorator(function: Callable[..., Any]) -> Callable[..., Any]:
            home = vars(self.op).setdefault(namespace, SimpleNamespace())
            require(not hasattr(home, name), f"{plugin_id} is defined already")
            made = self.definitions[plugin_id] = Definition(self.module, plugin_id, function)
            setattr(home, name, made)
            known = Known(made.fields, made.outputs, made.rule(ahead=False))
            quick = self.module._surface.new("IPluginCreatorV3Quick", name, known, namespace)
            self.module.get_plugin_registry().register_creator(quick, namespace)
            return function

        return decorator

    def impl(self, plugin_id: str) -> Callable[..., Any]:
        definition = self.definition(plugin_id)

        def decorator(function: Callable[..., Any]) -> Callable[..., Any]:
            definition.require_parameters(function, "outputs", "stream")
            definition.impl_func = function
            return function

        return decorator

    def aot_impl(self, plugin_id: str) -> Callable[..., Any]:
        definition = self.definition(plugin_id)

        def decorator(function: Callable[..., Any]) -> Callable[..., Any]:
            definition.require_parameters(function, "outputs", "tactic")
            returned = typing.get_args(inspect.signature(function).return_annotation)
            require(len(returned) == 4, "the annotation of four results is missing")
            require(returned[2] is KernelLaunchParams, f"{returned[2]} is no launch")
            require(issubclass(returned[3], SymExprs), f"{returned[3]} are no numbers")
            definition.aot_impl_func = function
            return function

        return decorator

    def definition(self, plugin_id: str) -> Definition:
        require(plugin_id in self.definitions, f"{plugin_id} is not registered")
        return self.definitions[plugin_id]


KINDS_GIVEN = (
    *(ShapeExpr, ShapeExprs, TensorDesc, Tensor),
    *(SymInt32, SymExprs, SymIntExprs, KernelLaunchParams),
)


def module_of(module: Any) -> ModuleType:
    """Return the ``tensorrt.plugin`` of a double."""
    made: Any = ModuleType("tensorrt.plugin")
    registered = Registered(module)
    made.op, made.register = registered.op, registered.register
    made.impl, made.aot_impl = registered.impl, registered.aot_impl
    made.max = lambda one, other: ShapeExpr(one)._with(partial(apply, "maximum"), other)
    made.min = lambda one, other: ShapeExpr(one)._with(partial(apply, "minimum"), other)
    made.cdiv = lambda one, other: ShapeExpr(one)._with(ceil_divide, other)
    made.from_shape_expr = lambda sizes, dtype: TensorDesc(ShapeExprs.from_tuple(sizes), dtype)
    for kind in KINDS_GIVEN:
        setattr(made, kind.__name__, kind)
    return made
