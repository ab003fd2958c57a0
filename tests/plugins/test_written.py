"""Plugins that are written in Python: by ``tensorrt.plugin``, and as classes of TensorRT's.

``tensorrt.plugin`` reads annotations as they are: none of this file's is a text.
"""

from typing import Any

import numpy
import numpy.typing
import pytest
import torch

import trtnn
from tests import double
from tests.cache.test_key import GPU
from trtnn.cache.engines import engine_key
from trtnn.compiler import optimize
from trtnn.engine.builder import build
from trtnn.errors import OptionError, ShapeError
from trtnn.options import BuildOptions
from trtnn.trt.library import TensorRT
from trtnn.trt.plugins import Key

BATCH = trtnn.Dim("batch", 1, 2, 4)
FIELDS: dict[str, Any] = {
    "pads": numpy.array([1, 2], numpy.int32),
    "times": 2,
    "factor": 3,  # a float is asked for, which an int may be
    "clipped": True,
    "name": "mine",
}
Array = numpy.typing.NDArray[numpy.int32]


@pytest.fixture(params=["10", "11"])
def library(request: pytest.FixtureRequest) -> TensorRT:
    return TensorRT(double.load(request.param))


def register(library: TensorRT, *forms: str) -> None:
    """Register a plugin as users of ``tensorrt.plugin`` do: it repeats and pads."""
    trtp = library.trt.plugin

    @trtp.register("sample::padded")
    def describe(
        x: trtp.TensorDesc, pads: Array, times: int, factor: float, clipped: bool, name: str
    ) -> trtp.TensorDesc:
        assert (times, factor, clipped, name) == (2, 3.0, True, "mine")
        made = x.like()
        made.shape_expr[0] = made.shape_expr[0] * times
        made.shape_expr[1] = made.shape_expr[1] + int(pads.sum())
        return made

    if "run" in forms:

        @trtp.impl("sample::padded")
        def run(x, pads, times, outputs, stream):
            raise NotImplementedError

    if "ahead" in forms:

        @trtp.aot_impl("sample::padded")
        def compiled(
            x, pads, times, factor, clipped, name, outputs, tactic
        ) -> tuple[str, bytes, trtp.KernelLaunchParams, trtp.SymIntExprs]:
            launch, extra = trtp.KernelLaunchParams(), trtp.SymIntExprs(1)
            launch.grid_x = trtp.cdiv(outputs[0].shape_expr.numel(), 128)
            extra[0] = trtp.SymInt32(x.shape_expr.numel())
            return "kernel", b"ptx", launch, extra


def padded(x: torch.Tensor) -> torch.Tensor:
    return x.new_empty(2 * x.shape[0], x.shape[1] + 3)


def built(library: TensorRT, key: Key, infer: Any = padded, **fields: Any) -> dict[str, Any]:
    """Build an engine with a plugin, and return what a manifest says of it."""
    function = trtnn.plugin(*key, infer=infer, **fields)
    graph = optimize(trtnn.trace(function, [trtnn.Input((BATCH, 3))]), library)
    build(graph, library, BuildOptions())
    # Nobody knows which code that is: the engine is in no cache.
    assert engine_key(graph, library, BuildOptions(), tf32=True, gpu=dict(GPU)) is None
    return library.plugins.in_plan([key], BuildOptions())[0]


@pytest.mark.parametrize("forms", [("run",), ("ahead",), ("run", "ahead")], ids="-".join)
def test_a_plugin_in_python_is_compiled_ahead_where_it_can(
    library: TensorRT, forms: tuple[str, ...]
) -> None:
    """Then the plan has its kernel, and whoever loads it needs no Python of the user's."""
    register(library, *forms)
    entry = built(library, Key("padded", "1", "sample"), **FIELDS)
    assert entry["needed"] is ("ahead" not in forms) and entry["library"] is None


def test_its_attributes_are_fields(library: TensorRT) -> None:
    register(library, "run")
    key = Key("padded", "1", "sample")
    listed = "expected pads (INT32), times (INT64), factor (FLOAT64), clipped (INT8), name (CHAR)"
    with pytest.raises(OptionError, match="there is no field 'pad'") as caught:
        built(library, key, pad=1, **FIELDS)
    assert listed in str(caught.value)
    for wrong in ({"times": 2.0}, {"name": 3}, {"pads": numpy.ones(2)}, {"factor": "3"}):
        (name,) = wrong
        with pytest.raises(OptionError, match=f"the field '{name}' is .*: expected "):
            built(library, key, **{**FIELDS, **wrong})
    with pytest.raises(ShapeError, match=r"result 0 is .* as infer= says, and TensorRT says"):
        built(library, key, lambda x: x.new_empty(x.shape[0], 4), **FIELDS)


def test_a_class_in_python_is_a_plugin(library: TensorRT) -> None:
    trt = library.trt

    class Repeated(
        trt.IPluginV3, trt.IPluginV3OneCore, trt.IPluginV3OneBuild, trt.IPluginV3OneRuntime
    ):
        def __init__(self, times: int) -> None:
            for kind in Repeated.__mro__[1:5]:
                kind.__init__(self)
            self.times, self.num_outputs = times, 1
            self.plugin_name, self.plugin_version, self.plugin_namespace = "repeated", "2", "mine"

        def get_capability_interface(self, kind: Any) -> Any:
            return self

        def get_output_data_types(self, types: Any) -> Any:
            return [types[0]]

        def get_output_shapes(self, inputs: Any, shape_inputs: Any, builder: Any) -> Any:
            made = trt.DimsExprs(inputs[0])
            product, times = trt.DimensionOperation.PROD, builder.constant(self.times)
            made[0] = builder.operation(product, made[0], times)
            return [made]

    class Creator(trt.IPluginCreatorV3One):
        def __init__(self) -> None:
            trt.IPluginCreatorV3One.__init__(self)
            self.name, self.plugin_version, self.plugin_namespace = "repeated", "2", "mine"
            kind = trt.PluginFieldType.INT32
            field = trt.PluginField("times", numpy.array([]), kind)
            self.field_names = trt.PluginFieldCollection([field])

        def create_plugin(self, name: str, fields: Any, phase: Any) -> Any:
            assert phase == trt.TensorRTPhase.BUILD
            (field,) = fields
            return Repeated(int(field.data[0]))

    creator = Creator()
    assert trt.get_plugin_registry().register_creator(creator, "mine")
    entry = built(
        library,
        Key("repeated", "2", "mine"),
        lambda x: x.new_empty(3 * x.shape[0], x.shape[1]),
        times=3,
    )
    assert entry["needed"]
