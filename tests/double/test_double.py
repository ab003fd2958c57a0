"""Show what the double of TensorRT knows, takes and refuses beside the rules of layers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy
import pytest
import torch

from tests.double import RuleError, Violation, load, on_execute, own, shape_at, typed
from tests.double.lab import NEW, VERSIONS, Lab, put, put_slice

ABSENT = [
    ("8.6", lambda t: t.trt.DataType.INT64, AttributeError),
    ("8.6", lambda t: t.trt.ActivationType.GELU_ERF, AttributeError),
    ("8.6", lambda t: t.net.add_squeeze, AttributeError),
    ("8.6", lambda t: setattr(put_slice(t), "axes", (0,)), AttributeError),
    ("8.6", lambda t: t.trt.Weights(numpy.ones(2, numpy.int64)), ValueError),
    ("8.6", lambda t: t.trt.Weights(t.trt.float32, 64, 1), TypeError),
    ("10", lambda t: t.net.add_convolution, AttributeError),
    ("10", lambda t: t.builder.create_network(0), Violation),
    ("11", lambda t: t.trt.BuilderFlag.FP16, AttributeError),
    ("11", lambda t: t.trt.NetworkDefinitionCreationFlag.EXPLICIT_BATCH, AttributeError),
    ("11", lambda t: setattr(put_slice(t), "precision", t.trt.float32), AttributeError),
    ("11", lambda t: setattr(t.input((2,)), "dtype", t.trt.float16), AttributeError),
    ("11", lambda t: t.net.add_quantize(t.input((2,)), t.constant(1.0)), TypeError),
]
ABSENT += [
    (version, action, error)
    for version in VERSIONS
    for action, error in (
        (lambda t: t.trt.IFooLayer, AttributeError),
        (lambda t: setattr(t.input((2,)), "foo", 1), AttributeError),
        (lambda t: setattr(t.net, "num_layers", 1), AttributeError),
        (lambda t: 1 << t.trt.BuilderFlag.TF32, TypeError),
        (lambda t: t.net.add_softmax(), TypeError),
        (lambda t: t.net.add_softmax(t.input((2,)), 1), TypeError),
        (lambda t: t.net.add_softmax(tensor=t.input((2,))), TypeError),
        (lambda t: t.net.add_softmax(None), TypeError),
        (lambda t: t.net.add_unary(t.input((2,)), t.trt.ActivationType.RELU), TypeError),
        (lambda t: setattr(put_slice(t), "shape", (1.5,)), TypeError),
        (
            lambda t: t.net.add_reduce(t.input((2,)), t.trt.ReduceOperation.SUM, 1.0, True),
            TypeError,
        ),
        (lambda t: t.trt.ITensor(), TypeError),
        (lambda t: t.trt.Weights(numpy.ones((4, 4), numpy.float32).T), ValueError),
        (lambda t: t.net.remove_tensor(t.input((2,))), NotImplementedError),
    )
]


@pytest.mark.parametrize(("version", "action", "error"), ABSENT)
def test_surface(version: str, action: Callable[[Lab], Any], error: type[Exception]) -> None:
    with pytest.raises(error):
        action(Lab(version))


@pytest.mark.parametrize("version", VERSIONS)
def test_members_look_like_pybind_enumerations(version: str) -> None:
    trt = load(version)
    assert trt.DataType.HALF.name == "HALF" and int(trt.DataType.HALF) == 1
    assert trt.DataType.__members__["HALF"] is trt.float16
    assert trt.Logger.ERROR < trt.Logger.VERBOSE
    assert trt.DataType is not load(version).DataType


@pytest.mark.parametrize("version", VERSIONS)
def test_values_of_shape_tensors_reach_shapes(version: str) -> None:
    lab = Lab(version)
    x = lab.input((-1, 6, -1), name="x")
    sizes = lab.net.add_shape(x).get_output(0)
    assert typed(sizes) is lab.member("DataType", lab.shape_type)
    first = lab.net.add_slice(sizes, (0,), (1,), (1,)).get_output(0)
    twice = lab.pair(first, lab.constant([2], lab.shape_type), "PROD").get_output(0)
    rest = lab.constant([3, -1], lab.shape_type)
    target = put(lab.net.add_concatenation([twice, rest]), axis=0).get_output(0)
    y = put(lab.net.add_shuffle(x), input1=target).get_output(0)
    assert y.shape == (-1, 3, -1)
    assert shape_at(y, {"x": (5, 6, 7)}) == (10, 3, 7)
    assert target.is_shape_tensor and sizes.is_shape_tensor and not x.is_shape_tensor
    with pytest.raises(ValueError, match="does not fit"):
        shape_at(y, {"x": (5, 5, 7)})
    wrong = put(lab.net.add_shuffle(x), reshape_dims=(-1, 12)).get_output(0)
    with pytest.raises(RuleError, match="cannot reshape"):
        shape_at(wrong, {"x": (1, 6, 1)})


@pytest.mark.parametrize("version", VERSIONS)
def test_shape_arithmetic_mixes_no_integer_types(version: str) -> None:
    lab = Lab(version)
    sizes = lab.net.add_shape(lab.input((-1,))).get_output(0)
    made = lab.pair(sizes, lab.constant([1], "INT32"), "SUM")
    assert lab.refuses(made) == (version != "8.6")


@pytest.mark.parametrize("version", NEW)
def test_attention(version: str) -> None:
    lab = Lab(version)
    query, key = lab.input((2, 8, -1, 16)), lab.input((2, 4, -1, 16))
    kind = lab.trt.AttentionNormalizationOp.SOFTMAX
    layer = lab.net.add_attention(query, key, key, kind, False)
    assert layer.get_output(0).shape == (2, 8, -1, 16)
    assert lab.refuses(lab.net.add_attention(query, lab.input((2, 3, 5, 16)), key, kind, False))
    half = lab.input((2, 4, 5, 16), "HALF")
    assert lab.refuses(lab.net.add_attention(query, half, half, kind, False))


def half_graph(lab: Lab) -> tuple[Any, Any]:
    layer = lab.activate(lab.input((2,), "HALF"), "RELU")
    flags = lab.trt.BuilderFlag
    lab.config.set_flag(flags.FP16)
    lab.config.set_flag(flags.OBEY_PRECISION_CONSTRAINTS)
    layer.precision = lab.trt.float16
    layer.set_output_type(0, lab.trt.float16)
    return layer, layer.get_output(0)


@pytest.mark.parametrize(
    ("fault", "match"),
    [
        (None, ""),
        (lambda t, layer: t.config.clear_flag(t.trt.BuilderFlag.FP16), "FP16 is missing"),
        (lambda t, layer: layer.reset_precision(), "precision is None"),
        (lambda t, layer: layer.reset_output_type(0), "output type is None"),
        (lambda t, layer: setattr(layer, "precision", t.trt.float32), "precision is FLOAT"),
        (lambda t, layer: put_slice(t), "moves FLOAT unconstrained"),
        (lambda t, layer: setattr(put_slice(t), "precision", t.trt.float32), "moves FLOAT"),
        (lambda t, layer: put(put_slice(t, "HALF"), precision=t.trt.float16), "does not compute"),
    ],
)
def test_typing_contract_on_8(fault: Any, match: str) -> None:
    lab = Lab("8.6")
    layer, output = half_graph(lab)
    assert output.dtype is lab.trt.float16
    if fault is None:
        assert lab.build(output) is not None
        return
    fault(lab, layer)
    with pytest.raises(Violation, match=match):
        lab.build(output)


def test_half_values_are_reported_as_float_on_8() -> None:
    lab = Lab("8.6")
    _, output = half_graph(lab)
    moved = lab.net.add_shuffle(output).get_output(0)
    assert moved.dtype is lab.trt.float32 and typed(moved) is lab.trt.float16
    with pytest.raises(Violation, match="would come out as FLOAT"):
        lab.build(moved)
    moved.dtype = lab.trt.float16
    assert lab.build() is not None


@pytest.mark.parametrize(("flag", "version"), [("FP16", "8.6"), ("FP16", "10"), ("INT8", "10")])
def test_flags_that_change_types(flag: str, version: str) -> None:
    lab = Lab(version)
    output = lab.activate(lab.input((2,)), "RELU").get_output(0)
    lab.config.set_flag(lab.member("BuilderFlag", flag))
    if version == "8.6":
        with pytest.raises(Violation):
            lab.build(output)
    else:
        assert lab.build(output) is None and "strongly typed" in lab.lines[-1][1]


@pytest.mark.parametrize("version", VERSIONS)
def test_boundary(version: str) -> None:
    for fault in ("input", "twice", "name", "profile", "none", "long"):
        lab = Lab(version)
        x = lab.input((-1 if fault == "profile" else 2,), name="x")
        y = lab.activate(x, "RELU").get_output(0)
        y.name = {"name": "x", "long": "y" * 4097}.get(fault, "y")
        outputs = {"input": [x], "twice": [y, y], "none": []}.get(fault, [y])
        assert lab.build(*outputs) is None and lab.lines[-1][0] == "ERROR", fault


@pytest.mark.parametrize("version", VERSIONS)
def test_implicit_batch_and_parameters(version: str) -> None:
    lab = Lab(version)
    y = lab.activate(lab.input((2,)), "CLIP").get_output(0)
    with pytest.raises(Violation, match="CLIP needs alpha"):
        lab.build(y)
    if version == "8.6":
        implicit = lab.builder.create_network()
        assert implicit.add_input("x", lab.trt.float32, (2,)) is None


@pytest.mark.parametrize("version", VERSIONS)
def test_names_of_dimensions(version: str) -> None:
    lab = Lab(version)
    a, b = lab.input((-1,), name="a"), lab.input((-1,), name="b")
    for tensor in (a, b):
        tensor.set_dimension_name(0, "batch")
    y = lab.pair(a, b).get_output(0)
    lab.profile(a=((1,), (2,), (4,)), b=((1,), (2,), (8,)))
    with pytest.raises(Violation, match="ranges"):
        lab.build(y)
    with pytest.raises(ValueError, match="inconsistent"):
        lab.profile(a=((3,), (2,), (4,)))


@pytest.mark.parametrize("version", VERSIONS)
def test_a_freed_weight_is_found(version: str) -> None:
    lab = Lab(version)
    kept, freed = torch.ones(2), torch.ones(2)
    for tensor in (kept, freed):
        if version == "8.6":
            weights = lab.trt.Weights(tensor.numpy())
        else:
            weights = lab.trt.Weights(lab.trt.float32, tensor.data_ptr(), 2)
        y = lab.net.add_constant((2,), weights).get_output(0)
        lab.net.mark_output(y)
    assert lab.build() is not None
    del tensor, freed
    with pytest.raises(Violation, match="freed"):
        lab.build()


@pytest.mark.parametrize("version", NEW)
def test_pointers_of_arrays_are_registered(version: str) -> None:
    lab = Lab(version)
    array = numpy.ones(2, numpy.float32)
    with pytest.raises(Violation, match="registered"):
        lab.trt.Weights(lab.trt.float32, array.ctypes.data, 2)
    weights = lab.trt.Weights(lab.trt.float32, own(array).ctypes.data, 2)
    assert lab.build(lab.net.add_constant((2,), weights).get_output(0)) is not None


@pytest.mark.parametrize("version", VERSIONS)
def test_execution(version: str) -> None:
    lab = Lab(version)
    y = lab.activate(lab.input((-1, 2), name="x"), "RELU").get_output(0)
    y.name = "y"
    lab.profile(x=((1, 2), (2, 2), (4, 2)))
    lab.profile(x=((5, 2), (5, 2), (8, 2)))
    if version == "8.6":
        lab.config.set_preview_feature(lab.trt.PreviewFeature.PROFILE_SHARING_0806, True)
    plan = lab.build(y)
    runtime = lab.trt.Runtime(lab.builder.logger)
    assert runtime.deserialize_cuda_engine(b"corrupt") is None
    engine = runtime.deserialize_cuda_engine(plan)
    context = engine.create_execution_context()
    assert not context.set_input_shape("x", (5, 2)) and context.set_input_shape("x", (3, 2))
    assert context.get_tensor_shape("y") == (3, 2)
    source, result = torch.ones(3, 2), torch.zeros(3, 2)
    blocks = 2 if version == "8.6" else 1
    bindings = [source.data_ptr(), result.data_ptr()] * blocks
    assert context.execute_v2(bindings)
    assert result.view(torch.uint8).eq(0xAB).all()
    on_execute(engine, lambda _, tensors: {"y": torch.full(tensors["y"][1], 7.0).numpy()})
    assert context.execute_v2(bindings) and result.eq(7).all()
    assert context.calls["execute_v2"] == 2
    with pytest.raises(Violation, match="out of bounds"):
        context.execute_v2(bindings[:-1])
    with pytest.raises(Violation, match="null pointer"):
        context.execute_v2([0, 0] * blocks)
    assert context.set_optimization_profile_async(1, 0)
    assert not context.execute_v2(bindings) and "not set" in lab.lines[-1][1]


@pytest.mark.parametrize("version", VERSIONS)
def test_outputs_whose_shape_depends_on_data(version: str) -> None:
    lab = Lab(version)
    y = lab.net.add_non_zero(lab.input((2, 3), name="x")).get_output(0)
    y.name = "y"
    engine = lab.trt.Runtime(lab.builder.logger).deserialize_cuda_engine(lab.build(y))
    context = engine.create_execution_context()
    source, told = torch.ones(2, 3), []
    held: list[torch.Tensor] = []

    class Allocator(lab.trt.IOutputAllocator):  # type: ignore[misc, name-defined]
        def reallocate_output(self, name: str, memory: Any, size: int, align: int) -> int:
            held.append(torch.empty(size, dtype=torch.uint8))
            return held[-1].data_ptr()

        def reallocate_output_async(self, *arguments: Any) -> int:
            return self.reallocate_output(*arguments[:4])

        def notify_shape(self, name: str, shape: Any) -> None:
            told.append((name, tuple(shape)))

    on_execute(engine, lambda *_: {"y": torch.zeros(2, 4, dtype=torch.int32).numpy()})
    assert context.get_tensor_shape("y") == (2, -1)
    assert context.set_tensor_address("x", source.data_ptr())
    assert not context.execute_async_v3(0)
    assert context.set_output_allocator("y", Allocator()) and context.execute_async_v3(0)
    assert told == [("y", (2, 4))] and held[-1].numel() == 32


@pytest.mark.parametrize("version", VERSIONS)
def test_quantized_convolution(version: str) -> None:
    lab = Lab(version)
    types = lab.trt.DataType
    to8, back = ((), ()) if version == "8.6" else ((types.INT8,), (types.FLOAT,))

    def through(x: Any, scale: Any, **attributes: Any) -> Any:
        low = put(lab.net.add_quantize(x, scale, *to8), **attributes).get_output(0)
        assert low.dtype is types.INT8
        return put(lab.net.add_dequantize(low, scale, *back), **attributes).get_output(0)

    x = through(lab.input((1, 4, 9, 9)), lab.constant(0.5))
    kernel = lab.net.add_constant((8, 4, 3, 3), lab.weights((8, 4, 3, 3))).get_output(0)
    kernel = through(kernel, lab.constant([1.0] * 8), axis=0)
    y = lab.convolve(x, lab.trt.Weights(), input1=kernel).get_output(0)
    assert y.shape == (1, 8, 7, 7)
    if version == "8.6":
        with pytest.raises(Violation, match="INT8"):
            lab.build(y)
        lab.config.set_flag(lab.trt.BuilderFlag.INT8)
        assert lab.build() is not None
    else:
        assert lab.build(y) is not None


@pytest.mark.parametrize("version", VERSIONS)
def test_refit_needs_all_names(version: str) -> None:
    lab = Lab(version)
    first, second = (lab.trt.Weights(lab.weights((2,))) for _ in range(2))
    outputs = [lab.net.add_constant((2,), item).get_output(0) for item in (first, second)]
    assert lab.net.set_weights_name(first, "a") and lab.net.set_weights_name(second, "b")
    assert not lab.net.set_weights_name(lab.trt.Weights(lab.weights((2,))), "c")
    lab.config.set_flag(lab.trt.BuilderFlag.REFIT)
    runtime = lab.trt.Runtime(lab.builder.logger)
    engine = runtime.deserialize_cuda_engine(lab.build(*outputs))
    refitter = lab.trt.Refitter(engine, lab.builder.logger)
    assert refitter.set_named_weights("a", first) and refitter.get_missing_weights() == ["b"]
    assert not refitter.refit_cuda_engine()
