"""Inputs in channels-last memory: bound as they are, or refused with the reason."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy
import pytest
import torch

import tests.double as double
import trtnn
from tests.compare import error
from tests.double.facts import Violation
from tests.double.surface import VERSIONS
from tests.on_double import on_double
from tests.real_builder import build as really_build
from tests.real_builder import needs_builder
from trtnn import Dim, Input
from trtnn.compiler import optimize
from trtnn.engine.builder import build
from trtnn.errors import BuildError, CopyWarning, InputError, LoadError, UnsupportedError
from trtnn.host.arrays import TensorSpec
from trtnn.options import BuildOptions
from trtnn.saved.description import describe, restore
from trtnn.trt.library import TensorRT

LAST, LAST_3D = torch.channels_last, torch.channels_last_3d
HALF, BFLOAT = torch.float16, torch.bfloat16
C = Dim("c", 1, 2, 4)


def image(*shape: Any, dtype: torch.dtype = torch.float32, form: Any = LAST) -> Input:
    return Input(shape, dtype, "x", memory_format=form)


def network_of(version: str, *inputs: Input) -> Any:
    """Return the network of a sum on the double, lowered."""
    library = TensorRT(double.load(version))
    graph = optimize(trtnn.trace(lambda *xs: sum(xs) + 1, list(inputs)), library)
    network = library.network(library.builder())
    net = trtnn.lower.network.lower(graph, library, network)
    return net, network


BOUND = [
    (image(2, 3, 8, 8), "HWC", VERSIONS),
    (image(2, C, 8, 8), "HWC", VERSIONS),
    (image(2, 3, 4, 8, 8, form=LAST_3D), "DHWC", VERSIONS),
    (image(2, 8, 8, 8, dtype=HALF), "HWC8", VERSIONS),
    (image(Dim("n", 1, 2, 4), 16, 8, 8, dtype=HALF), "HWC8", VERSIONS),
    (image(2, 8 * C, 8, 8, dtype=HALF), "HWC8", VERSIONS),
    (image(2, 8, 4, 8, 8, dtype=HALF, form=LAST_3D), "DHWC8", VERSIONS),
    (image(2, 8, 8, 8, dtype=BFLOAT), "HWC8", ("10", "11")),
    (image(2, 8, 4, 8, 8, dtype=BFLOAT, form=LAST_3D), "DHWC8", ("10", "11")),
]


@pytest.mark.parametrize(
    ("given", "name", "version"), [(i, n, v) for i, n, versions in BOUND for v in versions]
)
def test_the_one_format_that_is_allowed(given: Input, name: str, version: str) -> None:
    plain = replace(given, name="y", memory_format=torch.contiguous_format)
    net, network = network_of(version, given, plain)
    formats = net.library.trt.TensorFormat
    masks = {t.name: t.allowed_formats for t in map(network.get_input, range(network.num_inputs))}
    assert masks["x"] == 1 << int(formats.__members__[name])
    assert masks["y"] == (1 << len(formats.__members__)) - 1  # TensorRT's own default


@needs_builder
@pytest.mark.parametrize("given", [i for i, _, _ in BOUND])
def test_the_real_builder_takes_formats(given: Input) -> None:
    plain = replace(given, name="y", memory_format=torch.contiguous_format)
    assert really_build(trtnn.trace(lambda x, y: (x + y, torch.relu(x)), [given, plain]))


REFUSED = [
    (image(2, 3, 8, 8, dtype=HALF), "TensorRT pads the channels of float16 to a multiple of 8"),
    (image(2, C, 8, 8, dtype=HALF), "pads the channels of float16 to a multiple of 8"),
    (image(2, 4 * C, 8, 8, dtype=HALF), "pads the channels of float16 to a multiple of 8"),
    (image(2, 12, 4, 8, 8, dtype=HALF, form=LAST_3D), "pads the channels of float16"),
    (image(2, 8, 8, 8, dtype=torch.int32), "of float32, float16, bfloat16, not of int32"),
    (image(2, 8, 8, 8, dtype=torch.int64), "of float32, float16, bfloat16, not of int64"),
    (image(2, 8, 4, 8, 8, dtype=torch.bool, form=LAST_3D), "bfloat16, not of bool"),
]


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(("given", "text"), REFUSED)
def test_what_tensorrt_lays_out_otherwise_is_refused(given: Input, text: str, version: str) -> None:
    form = str(given.memory_format)
    with pytest.raises(UnsupportedError, match=f"input x: memory_format {form}: .*{text}"):
        network_of(version, given)


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: image(2, 3, 8), "torch.channels_last is of 4 dims, got 3"),
        (lambda: image(2, 3, 8, 8, form=LAST_3D), "torch.channels_last_3d is of 5 dims, got 4"),
        (lambda: image(2, 3, 8, 8, form=torch.preserve_format), "got torch.preserve_format"),
        (lambda: image(2, 3, 8, 8, form="channels_last"), "got 'channels_last'"),
        (lambda: Input(C, host=True, memory_format=LAST), "a host input has no memory_format"),
    ],
)
def test_a_declaration_that_means_nothing(make: Callable[[], Input], text: str) -> None:
    with pytest.raises(InputError, match=text):
        make()


def test_the_double_checks_formats() -> None:
    trt = double.load("10")
    library = TensorRT(trt)
    formats = trt.TensorFormat
    for dtype, shape, mask, error_kind in (
        (trt.float32, (1, 8, 4, 4), 1 << int(formats.HWC8), BuildError),
        (trt.float16, (1, 8, 4, 4), 1 << int(formats.HWC), BuildError),
        (trt.float32, (1, 8, 4), 1 << int(formats.DHWC), BuildError),
        (trt.float32, (1, 8, 4, 4), 1 << 20, Violation),
        (trt.float32, (1, 8, 4, 4), 0, Violation),
    ):
        builder = library.builder()
        network = library.network(builder)
        x = network.add_input("x", dtype, shape)
        x.allowed_formats = mask
        network.mark_output(network.add_identity(x).get_output(0))
        config = library.config(builder, BuildOptions(), tf32=True, half=False)
        with pytest.raises(error_kind, match="formats"):
            library.build(builder, network, config)


def test_an_engine_that_reads_another_format_is_refused() -> None:
    trt = double.load("8.6")
    library = TensorRT(trt)
    graph = optimize(trtnn.trace(lambda x: x + 1, [image(1, 3, 4, 4)]), library)
    assert build(graph, library, BuildOptions()).plan
    linear = property(lambda _: lambda name: trt.TensorFormat.LINEAR)
    type.__setattr__(trt.ICudaEngine, "get_tensor_format", linear)
    with pytest.raises(BuildError, match="input x: TensorRT reads LINEAR instead of HWC"):
        build(graph, library, BuildOptions())


def test_graphs_differ_by_it_in_text_and_hash() -> None:
    plain, last = (
        trtnn.trace(lambda x: x + 1, [image(1, 3, 4, 4, form=form)])
        for form in (torch.contiguous_format, LAST)
    )
    assert plain.hash() != last.hash()
    assert "input x is channels_last" in last.text() and "channels_last" in str(last)
    assert "channels_last" not in plain.text() + str(plain)
    library = TensorRT(double.load("11"))
    assert optimize(last, library).formats == {"x": "channels_last"}


def test_names_of_structures_and_a_second_trace_keep_it() -> None:
    batch = Dim("batch", 1, 2, 4)
    given = {"pair": [image(batch, 3, 4, 4), Input((batch, 3), name="y")]}
    graph = trtnn.trace(lambda pair: pair[0].mean((2, 3)) + pair[1], given)
    assert graph.formats == {"x": "channels_last"}
    model = trtnn.compile(
        lambda pair: pair[0].mean((2, 3)) + pair[1], inputs=given, backend="reference"
    )
    x, y = torch.randn(2, 3, 4, 4).to(memory_format=LAST), torch.randn(2, 3)
    assert torch.equal(model([x, y]), x.mean((2, 3)) + y)


# Calls ----------------------------------------------------------------------------------------


def addresses_of(runner: Any) -> list[int]:
    """Return the list to which each call on the double adds the address bound for x."""
    seen: list[int] = []
    double.on_execute(runner.engine.handle, lambda _, bound: seen.append(bound["x"][0]))
    return seen


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(
    ("given", "form"), [(image(Dim("n", 1, 2, 4), 3, 4, 4), LAST), (BOUND[2][0], LAST_3D)]
)
def test_the_callers_memory_is_bound(version: str, given: Input, form: Any) -> None:
    model, runner = on_double(version, lambda x: x + 1, [given])
    seen = addresses_of(runner)
    shape = (2, *given.shape[1:])
    x = torch.randn(shape).to(memory_format=form)
    for _ in range(2):
        model(x)
    assert seen == [x.data_ptr()] * 2


@pytest.mark.parametrize("version", VERSIONS)
def test_other_memory_is_copied_and_said_once(version: str) -> None:
    model, runner = on_double(version, lambda x: x + 1, [image(2, 3, 4, 4)])
    x = torch.randn(2, 3, 4, 4)
    read: list[torch.Tensor] = []

    def read_back(_: Any, bound: Any) -> None:
        pointer, _, _ = bound["x"]
        assert pointer != x.data_ptr()
        content = ctypes.string_at(pointer, 4 * 2 * 3 * 4 * 4)
        flat = torch.frombuffer(bytearray(content), dtype=torch.float32)
        read.append(flat.reshape(2, 4, 4, 3).permute(0, 3, 1, 2))

    double.on_execute(runner.engine.handle, read_back)
    with pytest.warns(CopyWarning, match=r"x is not contiguous in torch\.channels_last and is cop"):
        model(x)
    model(x)
    assert len(read) == 2 and all(torch.equal(found, x) for found in read)


@pytest.mark.parametrize("version", VERSIONS)
def test_contiguous_inputs_beside_it_are_as_before(version: str) -> None:
    model, runner = on_double(
        version,
        lambda x, y: x + y,
        [Input((2, 3, 4, 4), name="x"), replace(image(2, 3, 4, 4), name="y")],
    )
    seen = addresses_of(runner)
    x, y = torch.randn(2, 3, 4, 4), torch.randn(2, 3, 4, 4).to(memory_format=LAST)
    model(x, y)
    assert seen == [x.data_ptr()]
    with pytest.warns(CopyWarning, match="x is not contiguous and is copied"):
        model(y, y)
    assert seen[1] != y.data_ptr()


# Saved ----------------------------------------------------------------------------------------


def test_a_saved_model_knows_it() -> None:
    model, _ = on_double("10", lambda x: x + 1, [image(2, 3, 4, 4)])
    manifest = describe(
        model.graph,
        model._signature,
        model._parameters,
        model.engine.library,
        device=torch.device("cpu"),
        precision="tf32",
        execution="sync",
        int64_checks="always",
        options=BuildOptions(),
    )
    again = restore(manifest)
    assert again.graph.formats == again.signature.formats == {"x": "channels_last"}
    manifest["inputs"][0]["memory_format"] = "preserve_format"
    with pytest.raises(LoadError, match="there is no memory format 'preserve_format'"):
        restore(manifest)


def test_numpy_arrays_are_laid_out() -> None:
    array = numpy.arange(24).reshape(1, 2, 3, 4)
    spec = TensorSpec("x", (1, 2, 3, 4), array.dtype, channels_last=True)
    expected = torch.from_numpy(array).permute(0, 2, 3, 1).contiguous().numpy()
    assert spec.laid_out(array).tolist() == expected.tolist()
    assert replace(spec, channels_last=False).laid_out(array) is array


# On a GPU -------------------------------------------------------------------------------------


@pytest.mark.gpu
@pytest.mark.parametrize(("dtype", "channels", "bar"), [(torch.float32, 3, 1e-4), (HALF, 8, 8e-3)])
@pytest.mark.parametrize("direct", [None, True])
def test_a_conv_net_in_channels_last(
    dtype: torch.dtype, channels: int, bar: float, direct: bool | None
) -> None:
    net = torch.nn.Sequential(
        torch.nn.Conv2d(channels, 16, 3, padding=1), torch.nn.ReLU(), torch.nn.Conv2d(16, 8, 3)
    )
    net = net.cuda().to(dtype)
    model = trtnn.compile(
        net,
        inputs=[image(Dim("n", 1, 2, 4), channels, 32, 32, dtype=dtype)],
        backend="tensorrt",
        precision="fp32" if dtype == torch.float32 else "tf32",
        options=BuildOptions(direct_io=direct),
    )
    x = torch.randn(2, channels, 32, 32, device="cuda", dtype=dtype)
    last = x.to(memory_format=LAST)
    with torch.no_grad():
        expected = net(x)
    assert error(model(last), expected) <= bar
    with pytest.warns(CopyWarning, match="not contiguous in torch.channels_last"):
        assert error(model(x), expected) <= bar
    kinds = [torch.profiler.ProfilerActivity.CUDA]
    with torch.profiler.profile(activities=kinds, acc_events=True) as seen:
        model(last)
    names = [event.name for event in seen.events()]
    assert names and not [name for name in names if "elementwise_kernel" in name], names
