"""``quantize``: from a module and data to a model that ``compile`` takes."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import trtnn
from tests.real_builder import build, needs_builder
from trtnn import InputError, OptionError, UnsupportedError, quantize
from trtnn.ops.quantization import QuantizeDequantize


class Small(nn.Module):
    """Two convolutions and a linear layer; what comes in second is added."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(16, 16, 3, padding=1)
        self.block = nn.Sequential(nn.Conv2d(16, 16, 3, padding=1), nn.ReLU())
        self.head = nn.Linear(16, 24)

    def forward(self, x: torch.Tensor, *, shift: torch.Tensor | None = None) -> torch.Tensor:
        x = torch.relu(self.first(x if shift is None else x + shift))
        return self.head(self.block(x).mean((2, 3)))


LAYERS = ("first/Convolution", "block.0/Convolution", "head/MatrixMultiply")


def small() -> Small:
    torch.manual_seed(0)
    return Small().eval()


def images(count: int = 3, batch: int = 4, seed: int = 1) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(batch, 16, 6, 6, generator=generator) for _ in range(count)]


def error(model: Any, net: nn.Module, x: torch.Tensor) -> float:
    with torch.no_grad():
        expected = net(x)
    return float((model(x) - expected).norm() / expected.norm())


@pytest.mark.parametrize("method", [None, "entropy", "max", "percentile", "mse"])
def test_a_quantized_model_is_near_the_module_and_compiles_to_the_same(method: str | None) -> None:
    net = small()
    model = quantize(net, images(), method=method)
    assert model.report.quantized == LAYERS and not model.report.left
    (x,) = images(1, 7, seed=5)
    assert 1e-4 < error(model, net, x) < 0.05
    assert model.report.error is not None and 1e-4 < model.report.error < 0.05
    batch = trtnn.Dim("batch", 1, 4, 9)
    compiled = trtnn.compile(model, inputs=[trtnn.Input((batch, 16, 6, 6))], backend="reference")
    assert torch.equal(compiled(x), model(x))
    assert not any(isinstance(m, trtnn.QuantizedModel) for m in net.modules())
    quantized = [n for n in compiled.graph.nodes if isinstance(n.op, QuantizeDequantize)]
    assert len(quantized) == 6
    assert method in (None, model.report.method)


def test_a_lazy_compile_and_a_trace_take_it_too() -> None:
    model = quantize(small(), images())
    (x,) = images(1)
    assert torch.equal(trtnn.compile(model, backend="reference")(x), model(x))
    kinds = [node.op.name for node in trtnn.trace(model, [x]).nodes]
    assert kinds.count("QuantizeDequantize") == 6


def test_arguments_come_as_tensors_tuples_and_dicts() -> None:
    net = small()
    a = quantize(net, [(x,) for x in images()])
    b = quantize(net, [{"x": x} for x in images()])
    c = quantize(net, iter([[x] for x in images()]))
    assert a.report.scales == b.report.scales == c.report.scales
    shifted = quantize(net, [{"x": x, "shift": torch.full((1,), 9.0)} for x in images()])
    assert max(shifted.report.scales.values()) > max(a.report.scales.values())
    assert len(quantize(net, [*images(1), *images(1, 2)]).report.quantized) == 3


def test_a_half_module_is_quantized_in_half() -> None:
    net = small().half()
    model = quantize(net, [x.half() for x in images()])
    (x,) = images(1)
    assert model(x.half()).dtype == torch.float16
    assert error(model, net, x.half()) < 0.05


def test_weights_alone_take_no_scales() -> None:
    model = quantize(small(), images(1), activations=False)
    assert not model.report.scales
    kinds = [node.op.name for node in trtnn.trace(model, images(1)).nodes]
    assert kinds.count("QuantizeDequantize") == 3
    plan = trtnn.trace(model, images(1))
    assert all(
        n.inputs[0] in plan.constants for n in plan.nodes if isinstance(n.op, QuantizeDequantize)
    )


def test_e4m3_is_nearer_where_values_are_spread() -> None:
    net = small()
    with torch.no_grad():
        net.first.weight *= torch.randn(16, 16, 3, 3).abs() ** 3
    model = quantize(net, images(), dtype=torch.float8_e4m3fn, method="max")
    assert error(model, net, images(1)[0]) < 0.1
    ops = [
        n.op for n in trtnn.trace(model, images(1)).nodes if isinstance(n.op, QuantizeDequantize)
    ]
    assert {op.dtype for op in ops} == {torch.float8_e4m3fn}


@needs_builder
@pytest.mark.parametrize("half", [False, True])
def test_the_real_builder_takes_weights_alone_and_e4m3(half: bool) -> None:
    net, data = small(), images(1)
    if half:
        net, data = net.half(), [x.half() for x in data]
    for how in ({"activations": False}, {"dtype": torch.float8_e4m3fn}):
        model = quantize(net, data, **how)
        assert len(build(trtnn.trace(model, data))) > 1000
    with pytest.raises(UnsupportedError, match="int8 activations"):
        build(trtnn.trace(quantize(net, data), data))


@pytest.mark.parametrize(
    ("exclude", "left"),
    [
        ("head", ["head"]),
        (["block"], ["block.0"]),
        (["block.*", nn.Linear], ["block.0", "head"]),
        (nn.Conv2d, ["first", "block.0"]),
    ],
)
def test_what_is_excluded_is_left_and_told(exclude: Any, left: list[str]) -> None:
    report = quantize(small(), images(1), exclude=exclude).report
    assert {name.split("/")[0] for name in report.left} == set(left)
    assert set(report.left.values()) == {"it is excluded"}
    assert "it is excluded" in str(report)


@pytest.mark.parametrize("exclude", ["hed", nn.LSTM, "first.weight"])
def test_an_exclusion_of_nothing_is_an_error_that_lists_layers(exclude: Any) -> None:
    with pytest.raises(OptionError, match="names no layer") as caught:
        quantize(small(), images(1), exclude=exclude)
    assert "block.0, first, head" in str(caught.value)


@pytest.mark.parametrize(
    ("data", "how", "match"),
    [
        ([], {}, "expected at least one batch"),
        (None, {}, "expected at least one batch"),
        (torch.zeros(2, 16, 6, 6), {}, "expected an iterable of inputs"),
        ({"x": 1}, {}, "expected an iterable of inputs"),
        ([(torch.zeros(2, 16, 6, 6), torch.zeros(2))], {}, "without labels"),
        ([torch.full((2, 16, 6, 6), torch.nan)], {}, "x holds NaN"),
        (images(1), {"method": "kl"}, "method: expected one of"),
        (images(1), {"dtype": torch.uint8}, "dtype: expected one of"),
        (images(1), {"tolerance": 0.0}, "tolerance: expected a number above 0"),
    ],
)
def test_what_cannot_be_is_refused(data: Any, how: dict[str, Any], match: str) -> None:
    with pytest.raises((InputError, OptionError), match=match):
        quantize(small(), data, **how)


def test_the_default_method_is_that_of_the_kind_of_model() -> None:
    assert quantize(small(), images(1)).report.method == "entropy"
    layer = nn.TransformerEncoderLayer(32, 2, 64, dropout=0.0, batch_first=True).eval()
    report = quantize(layer, [torch.randn(2, 5, 32)]).report
    assert report.method == "percentile" and len(report.quantized) >= 3


# Leaving layers out -------------------------------------------------------------------------------


class Uneven(nn.Module):
    """A layer whose inputs 8 bits cannot hold, and one that they can."""

    def __init__(self) -> None:
        super().__init__()
        self.fine, self.spread = nn.Linear(32, 32), nn.Linear(32, 32)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.tanh(self.fine(x))
        return self.spread(torch.cat([x[:, :1] * 1000, x[:, 1:]], 1))


def test_the_worst_layer_is_left_out_until_the_tolerance_holds() -> None:
    torch.manual_seed(0)
    net = Uneven()
    with torch.no_grad():
        net.spread.weight[:, 0] = 0
    data = [torch.randn(16, 32) for _ in range(2)]
    plain = quantize(net, data, method="max")
    assert plain.report.error is not None and plain.report.error > 0.05
    report = quantize(net, data, method="max", tolerance=0.05).report
    assert report.quantized == ("fine/MatrixMultiply",)
    assert report.left == {"spread/MatrixMultiply": "the tolerance did not hold with it"}
    assert report.error is not None and report.error <= 0.05
    assert report.leave_one_out[0][0] == "spread/MatrixMultiply"
    assert "without spread/MatrixMultiply" in str(report)


def test_a_tolerance_that_holds_leaves_nothing_out() -> None:
    report = quantize(small(), images(), tolerance=0.05).report
    assert report.quantized == LAYERS and report.leave_one_out == ()


# Files of scales ----------------------------------------------------------------------------------


def test_scales_are_read_again_and_data_are_not_measured(tmp_path: Path) -> None:
    net, path = small(), tmp_path / "scales.json"
    first = quantize(net, images(), method="mse", calibration_cache=path)
    held = json.loads(path.read_text())
    assert held["method"] == "mse" and held["dtype"] == "int8"
    assert held["scales"] == first.report.scales
    other = quantize(net, [x * 99 for x in images(1)], calibration_cache=path)
    assert other.report.scales == first.report.scales and other.report.method == "mse"


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda held: held | {"weights": "0"}, "other weights"),
        (lambda held: held | {"method": "max"}, "method='max'"),
        (lambda held: held | {"dtype": "float8_e4m3fn"}, "dtype='float8_e4m3fn'"),
        (lambda held: held | {"form": "of another"}, "holds no scales"),
        (lambda held: held | {"scales": {}}, "no scale of"),
        (lambda held: held | {"scales": {"x": -1.0}}, "the scale of x is -1"),
        (lambda held: [], "holds no scales"),
    ],
)
def test_a_file_that_does_not_fit_is_refused(tmp_path: Path, change: Any, match: str) -> None:
    net, path = small(), tmp_path / "scales.json"
    quantize(net, images(1), method="mse", calibration_cache=path)
    path.write_text(json.dumps(change(json.loads(path.read_text()))))
    with pytest.raises(InputError, match=match):
        quantize(net, images(1), method="mse", calibration_cache=path)


def table(scales: dict[str, float]) -> str:
    lines = [f"{name}: {struct.pack('>f', scale).hex()}" for name, scale in scales.items()]
    return "\n".join(["TRT-8600-EntropyCalibration2", *lines]) + "\n"


def test_a_calibration_table_of_tensorrt_is_read(tmp_path: Path) -> None:
    net, path = small(), tmp_path / "calib.cache"
    found = quantize(net, images(1)).report.scales
    path.write_text(table({**found, "(Unnamed Layer* 3) [Shuffle]_output": 0.5}))
    given = quantize(net, images(1), calibration_cache=path).report.scales
    assert given == pytest.approx(found, rel=1e-6)


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("TRT-8600-EntropyCalibration2\nx: zz\n", ":2 is no scale"),
        ("TRT-8600-EntropyCalibration2\nx 3c010a14\n", ":2 is no scale|no scale of"),
        ("TRT-8600-EntropyCalibration2\nx: 7f800000\n", "the scale of x is inf"),
        ("TRT-8600-EntropyCalibration2\nx: 3c010a14\n", "no scale of"),
    ],
)
def test_a_table_that_is_broken_is_refused(tmp_path: Path, text: str, match: str) -> None:
    path = tmp_path / "calib.cache"
    path.write_text(text)
    with pytest.raises(InputError, match=match):
        quantize(small(), images(1), calibration_cache=path)


# Calibrators --------------------------------------------------------------------------------------


class Calibrator:
    """What a user of TensorRT 8.6 has: batches one after another, in one piece of memory."""

    def __init__(self, batches: list[torch.Tensor]) -> None:
        self.batches, self.memory = iter(batches), torch.empty_like(batches[0])

    def get_batch_size(self) -> int:
        return len(self.memory)

    def get_batch(self, names: list[str]) -> list[Any] | None:
        batch = next(self.batches, None)
        if batch is None:
            return None
        self.memory.copy_(batch)
        return [self.memory] * len(names)

    def read_calibration_cache(self) -> bytes | None:
        return None


def test_a_calibrator_feeds_its_batches() -> None:
    net, inputs = small(), {"x": trtnn.Input((4, 16, 6, 6))}
    data = trtnn.calibration_data(Calibrator(images()), inputs)
    assert quantize(net, data).report == quantize(net, images()).report


def test_a_calibrator_on_a_gpu_needs_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)

    class Addresses(Calibrator):
        def get_batch(self, names: list[str]) -> list[Any] | None:
            return [self.memory.data_ptr()]

    inputs = {"x": trtnn.Input((4, 16, 6, 6))}
    with pytest.raises(InputError, match="x is an address on a GPU"):
        next(trtnn.calibration_data(Addresses(images()), inputs))
    with pytest.raises(InputError, match="1 addresses for 2 inputs"):
        two = inputs | {"y": trtnn.Input((4,))}
        next(trtnn.calibration_data(Addresses(images()), two))


def test_an_address_is_read_as_its_input_was_declared(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Any] = []

    def as_tensor(memory: Any, device: str) -> torch.Tensor:
        seen.append((memory.__cuda_array_interface__, device))
        return torch.zeros(2, 3)

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch, "as_tensor", as_tensor)

    class Addresses:
        def get_batch_size(self) -> int:
            return 2

        def get_batch(self, names: list[str]) -> list[int]:
            return [4096]

    inputs = {"x": trtnn.Input((8, 3), torch.float16)}
    next(trtnn.calibration_data(Addresses(), inputs))
    assert seen[0][1] == "cuda" and seen[0][0]["data"][0] == 4096
    assert seen[0][0]["shape"] == (2, 3) and seen[0][0]["typestr"] == "<f2"


def test_a_graph_without_a_calibrated_layer_is_refused() -> None:
    class Branching(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Linear(16, 16), nn.Linear(16, 16)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.a(x) if x.shape[0] < 8 else self.b(x)

    model = quantize(Branching(), [torch.randn(4, 16)])
    with pytest.raises(InputError, match="no layer a/MatrixMultiply, which was calibrated"):
        model(torch.randn(9, 16))
