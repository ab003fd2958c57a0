"""What is refused of a plugin, and in which words: each at the line that calls it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy
import pytest
import torch

import trtnn
from tests import double
from tests.double.plugins import Known, coordinates
from tests.on_double import on_double
from tests.ops.test_ops import check_lowering, library_of
from trtnn.compiler import optimize
from trtnn.errors import (
    BuildError,
    DTypeError,
    OptionError,
    ShapeError,
    TrtnnError,
    UnsupportedError,
)
from trtnn.saved.promises import inferred_asked, require_inferred
from trtnn.trt import library

BATCH = trtnn.Dim("batch", 1, 2, 4)
GELU = "plugin CustomGeluPluginDynamic version 1"
LISTED = "expected type_id (INT32), bias (FLOAT32)"


def refusal(
    function: Callable[..., Any],
    *inputs: trtnn.Input,
    version: str = "8.6",
    kind: type[TrtnnError] = OptionError,
) -> str:
    """Return what is said of a function that cannot be compiled, from its first line on."""

    def forward(*tensors: torch.Tensor) -> Any:
        return function(*tensors)  # <- here

    with pytest.raises(kind) as caught:
        graph = trtnn.trace(forward, list(inputs or [trtnn.Input((BATCH, 3))]))
        check_lowering(graph, version, list(graph.dims))
    assert "# <- here" in str(caught.value)
    return caught.value.message + (f" | {caught.value.hint}" if caught.value.hint else "")


def coordinates_as(infer: Callable[..., Any] | None) -> Any:
    """Return a plugin that a library brought, which adds two channels, with a shape rule."""
    for version in ("8.6", "11"):
        registry = library_of(version).trt.get_plugin_registry()
        registry._add("Coordinates", Known({}, 1, coordinates), "mine")
    return trtnn.plugin("Coordinates", namespace="mine", infer=infer)


def gelu(**fields: Any) -> Any:
    return trtnn.plugin("CustomGeluPluginDynamic", **{"infer": torch.empty_like, **fields})


@pytest.mark.parametrize("version", ["8.6", "11"])
def test_an_unknown_plugin_is_named_with_what_is_near(version: str) -> None:
    said = refusal(trtnn.plugin("EfficientNMS", infer=torch.empty_like), version=version)
    name = double.load(version).__version__
    assert said == (
        f"plugin EfficientNMS version 1: TensorRT {name} has no such creator; "
        "it has EfficientNMS_TRT version 1 | "
        "load the library that has it: trtnn.load_plugins(path)"
    )


def test_another_version_or_namespace_is_another_plugin() -> None:
    said = refusal(trtnn.plugin("ROIAlign_TRT", "3", infer=torch.empty_like), version="10")
    assert "has no such creator; it has ROIAlign_TRT version 1, ROIAlign_TRT version 2" in said
    said = refusal(trtnn.plugin("Coordinates", infer=torch.empty_like))
    assert said.startswith("plugin Coordinates version 1: TensorRT 8.6.0 has no such")


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "one that there is not": (
        {"type_id": 0, "bias": 1.0, "axis": 1},
        f"{GELU}: there is no field 'axis'; {LISTED}",
    ),
    "one that is missing": (
        {"type_id": 0},
        f"{GELU}: the field 'bias' is not given; {LISTED} | "
        "give bias=None to leave it to the plugin",
    ),
    "a float for an int": (
        {"type_id": 0.5, "bias": None},
        f"{GELU}: the field 'type_id' is INT32: expected an int, or several, got 0.5",
    ),
    "a text for a float": (
        {"type_id": 0, "bias": "one"},
        f"{GELU}: the field 'bias' is FLOAT32: expected a float, or several, got 'one'",
    ),
    "too large an int": (
        {"type_id": 1 << 31, "bias": None},
        f"{GELU}: the field 'type_id' is INT32: expected what int32 can hold, got 2147483648",
    ),
    "too large a float": (
        {"type_id": 0, "bias": [0.0, 1e39]},
        f"{GELU}: the field 'bias' is FLOAT32: expected what float32 can hold, got (0.0, 1e+39)",
    ),
    "an array of another type": (
        {"type_id": 0, "bias": numpy.ones(2)},
        f"{GELU}: the field 'bias' is FLOAT32: expected an array of float32, got "
        "Entries(dtype='float64', values=(1.0, 1.0))",
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_field_prints_the_list(name: str) -> None:
    fields, said = WRONG[name]
    assert refusal(gelu(**fields)) == said


def test_a_field_is_no_tensor() -> None:
    with pytest.raises(OptionError, match=r"the field 'bias' is tensor.* of Tensor; expected"):
        gelu(type_id=0, bias=torch.ones(3))


def test_what_infer_says_is_held_to_tensorrt() -> None:
    same = coordinates_as(torch.empty_like)
    images = trtnn.Input((BATCH, 3, 4, 5))
    assert refusal(same, images, kind=ShapeError) == (
        "plugin mine::Coordinates version 1: result 0 is (batch, 3, 4, 5) float32 as infer= says, "
        "and TensorRT says (-1, 5, 4, 5)"
    )
    half = coordinates_as(lambda x: x.new_empty(x.shape[0], 5, 4, 5).half())
    said = refusal(half, images, version="11", kind=DTypeError)
    assert said.endswith("(batch, 5, 4, 5) float16 as infer= says, and TensorRT says FLOAT")
    two = coordinates_as(lambda x: (x, x))
    assert refusal(two, images, kind=ShapeError).endswith("it gives 1 results, infer= 2")


def test_what_plugins_do_not_take_or_give_is_refused() -> None:
    byte = trtnn.Input((3,), torch.uint8)
    said = refusal(gelu(type_id=0, bias=None), byte, kind=DTypeError)
    assert said.startswith(f"{GELU}: input 0 is torch.uint8; expected one of float32, float16")
    truth = coordinates_as(lambda x: x > 0)
    assert "result 0 is torch.bool; expected one of float32" in refusal(truth, kind=DTypeError)
    values = coordinates_as(lambda x: (x, 3))
    assert "infer= returned no tensors, or other values too" in refusal(values, kind=DTypeError)
    with pytest.raises(DTypeError, match="input 1 is 2; expected a tensor"):
        gelu(type_id=0, bias=None)(torch.ones(3), 2)


def test_without_a_reference_only_an_engine_computes_it() -> None:
    alone = gelu(type_id=0, bias=None)
    with pytest.raises(UnsupportedError, match="only an engine computes it: it has no reference"):
        alone(torch.ones(3))
    model = trtnn.compile(alone, inputs=[trtnn.Input((3,))], backend="reference")
    with pytest.raises(UnsupportedError, match="PyTorch cannot compute it: it has no reference"):
        model(torch.ones(3))


def test_a_reference_is_held_to_infer() -> None:
    def reference(x: torch.Tensor) -> torch.Tensor:
        return x[:1]

    lying = trtnn.plugin("Mine", infer=torch.empty_like, reference=reference)
    text = r"plugin Mine version 1: result 0 of reference= is \(1,\) float32, infer= \(3,\) float32"
    with pytest.raises(ShapeError, match=text):
        lying(torch.ones(3))
    model = trtnn.compile(lying, inputs=[trtnn.Input((3,))], backend="reference")
    with pytest.raises(ShapeError, match=text):
        model(torch.ones(3))


def test_sizes_that_infer_is_wrong_about_are_found_before_anything_is_written() -> None:
    """What TensorRT knows only of sizes is asked of the engine, and at the sizes of each call."""
    double_of = coordinates_as(lambda x: x.new_empty(2 * x.shape[0], 5, 4, 5))
    inputs = [trtnn.Input((BATCH, 3, 4, 5))]
    model, runner = on_double(library_of("8.6").trt, double_of, inputs)
    assert model.engine is not None
    graph = optimize(model.graph, model.engine.library)
    text = r"a plugin gives others than its infer= says: .*output_0"
    with pytest.raises(ShapeError, match=text):
        require_inferred(graph, model.engine)
    runner.verify = inferred_asked(graph)
    with pytest.raises(ShapeError, match=text + r".* \(6, 5, 4, 5\), .* \(3, 5, 4, 5\)"):
        model(torch.ones(3, 3, 4, 5))


def test_without_infer_tensorrt_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    own, dynamic = coordinates_as(None), trtnn.Input((BATCH, 3, 4, 5))
    need = "give a function of its inputs that returns tensors like its results: infer="
    static = trtnn.Input((2, 3, 4, 5))
    said = refusal(own, static)
    assert said.endswith(f"version 1: there is no TensorRT that tells its results | {need}")
    for version in ("8.6", "11"):
        monkeypatch.setattr(library, "_import", lambda _, v=version: library_of(v).trt)
        assert f"for static sizes alone | {need}" in refusal(own, dynamic, version=version)
    graph = trtnn.trace(own, [static])
    check_lowering(graph, "11", [])
    assert str(graph.outputs[0].spec) == "(2, 5, 4, 5) float32"
    assert "CustomGeluPluginDynamic version 1: it refuses its inputs" in refusal(
        gelu(infer=None, type_id=1, bias=None), static, kind=BuildError
    )
    monkeypatch.setattr(library, "_import", lambda _: library_of("8.6").trt)
    said = refusal(own, static)
    assert said.endswith(f"TensorRT 8.6.0 does not tell what types it gives | {need}")
