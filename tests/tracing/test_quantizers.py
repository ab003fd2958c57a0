"""Modules that are aware of quantization: PyTorch's FakeQuantize, modelopt's TensorQuantizer."""

from __future__ import annotations

import warnings
from typing import Any

import pytest
import torch
from torch import nn

import trtnn
from tests.real_builder import build, needs_builder
from trtnn.errors import UnsupportedError
from trtnn.ops.quantization import QuantizeDequantize

FP8 = torch.float8_e4m3fn


class TensorQuantizer(nn.Module):
    """What modelopt 0.47 has under this name, as far as its values go."""

    rotate_is_enabled = False
    backend = None

    def __init__(self, amax: Any, axis: Any = None, num_bits: Any = 8, **attributes: Any) -> None:
        super().__init__()
        self._num_bits, self._axis, self._unsigned, self._narrow_range = (
            num_bits,
            axis,
            False,
            False,
        )
        self._disabled, self._if_quant, self._if_calib, self._dynamic = False, True, False, False
        self._fake_quant, self._block_sizes, self._bias = True, None, None
        self.pre_quant_scale: Any = None
        if amax is not None:
            self.register_buffer("_amax", torch.as_tensor(amax))
        for name, value in attributes.items():
            setattr(self, name, value)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x if self.pre_quant_scale is None else x * self.pre_quant_scale
        if self._disabled or not self._if_quant:
            return x
        amax = self._amax.float().clamp(min=2.0**-24)
        if self._num_bits == (4, 3):
            entries = (x.float() * (448 / amax)).clamp(-448, 448).to(FP8).float()
            return (entries * (amax / 448)).to(x.dtype)
        low = -127 if self._narrow_range else -128
        return torch.round(x.float() * (127 / amax)).clamp(low, 127).mul(amax / 127).to(x.dtype)


class Quantized(nn.Module):
    """A linear layer between quantizers."""

    def __init__(self, taken: TensorQuantizer, weight: TensorQuantizer) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.taken, self.weight_quantizer = taken, weight
        self.layer = nn.Linear(16, 16)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        weight = self.weight_quantizer(self.layer.weight)
        return nn.functional.linear(self.taken(x), weight, self.layer.bias)


def pairs(graph: Any) -> list[QuantizeDequantize]:
    return [node.op for node in graph.nodes if isinstance(node.op, QuantizeDequantize)]


def columns() -> torch.Tensor:
    return torch.linspace(0.1, 0.3, 16)[:, None]


CASES = [
    (TensorQuantizer(2.0), TensorQuantizer(columns(), 0), [(None, torch.int8), (0, torch.int8)]),
    (TensorQuantizer(torch.full((1, 1), 2.0)), TensorQuantizer(0.2), [(None, torch.int8)] * 2),
    (
        TensorQuantizer(0.5, _narrow_range=True), TensorQuantizer(columns(), (0,)),
        [(None, torch.int8), (0, torch.int8)],
    ),
    (TensorQuantizer(2.0), TensorQuantizer(0.2, _disabled=True), [(None, torch.int8)]),
    (TensorQuantizer(2.0, _if_quant=False), TensorQuantizer(0.2), [(None, torch.int8)]),
    (TensorQuantizer(2.0, num_bits=(4, 3)), TensorQuantizer(0.2, None, (4, 3)), [(None, FP8)] * 2),
    (
        TensorQuantizer(0.0), TensorQuantizer(columns() * 0, 0),
        [(None, torch.int8), (0, torch.int8)],
    ),
    (
        TensorQuantizer(2.0, pre_quant_scale=torch.linspace(0.5, 2, 16)), TensorQuantizer(0.2),
        [(None, torch.int8)] * 2,
    ),
]  # fmt: skip


@pytest.mark.parametrize(("taken", "weight", "expected"), CASES)
def test_a_tensor_quantizer_is_a_pair_of_layers(
    taken: TensorQuantizer, weight: TensorQuantizer, expected: list[Any]
) -> None:
    net = Quantized(taken, weight).eval()
    x = torch.randn(3, 16, generator=torch.Generator().manual_seed(2))
    model = trtnn.compile(net, inputs=[x], backend="reference")
    assert sorted(map(str, ((op.axis, op.dtype) for op in pairs(model.graph)))) == sorted(
        map(str, expected)
    )
    torch.testing.assert_close(model(x), net(x).detach(), rtol=1e-4, atol=1e-5)
    assert "forward" not in vars(taken)  # it is what it was


@pytest.mark.parametrize(
    ("attributes", "match"),
    [
        ({"_unsigned": True}, "unsigned=True"),
        ({"num_bits": 4}, "num_bits=4"),
        ({"num_bits": (2, 1)}, "num_bits"),
        ({"_block_sizes": {-1: 16}}, "block_sizes"),
        ({"_if_calib": True}, "if_calib"),
        ({"_dynamic": True}, "dynamic"),
        ({"_fake_quant": False}, "fake_quant"),
        ({"rotate_is_enabled": True}, "rotate_is_enabled"),
        ({"backend": "mine"}, "backend='mine'"),
        ({"amax": None}, "without amax"),
        ({"amax": torch.ones(3, 16)}, "nor one for each index"),
    ],
)
def test_what_the_pair_cannot_say_is_refused_with_the_path(attributes: Any, match: str) -> None:
    taken = TensorQuantizer(**{"amax": 2.0, **attributes})
    net = Quantized(taken, TensorQuantizer(0.2))
    with pytest.raises(UnsupportedError, match=match) as caught:
        trtnn.trace(net, [trtnn.Input((3, 16))])
    assert "taken: " in str(caught.value) and caught.value.hint
    assert "forward" not in vars(taken)


@needs_builder
@pytest.mark.parametrize("bits", [8, (4, 3)])
def test_the_real_builder_takes_weights_of_8_bits_and_values_of_e4m3(bits: Any) -> None:
    taken = TensorQuantizer(2.0, None, bits, _disabled=bits == 8)
    weight = TensorQuantizer(columns() if bits == 8 else 0.2, 0 if bits == 8 else None, bits)
    graph = trtnn.trace(Quantized(taken, weight).eval().half(), [trtnn.Input((3, 16), torch.half)])
    assert len(build(graph)) > 1000


def test_modelopt_itself() -> None:
    """Where it is installed: it is no requirement of the tests."""
    mtq: Any = pytest.importorskip("modelopt.torch.quantization")
    torch.manual_seed(0)
    x = torch.randn(4, 16)
    for config in ("INT8_DEFAULT_CFG", "FP8_DEFAULT_CFG"):
        net = nn.Sequential(nn.Linear(16, 16), nn.ReLU(), nn.Linear(16, 8)).eval()
        net = mtq.quantize(net, getattr(mtq, config), lambda m: m(x))
        model = trtnn.compile(net, inputs=[x], backend="reference")
        assert len(pairs(model.graph)) == 4
        torch.testing.assert_close(model(x), net(x).detach(), rtol=1e-4, atol=1e-4)


def test_fake_quantize_of_pytorch_once_its_observer_is_off() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from torch.ao import quantization as ao  # noqa: PLC0415

        symmetric = {"quant_min": -128, "quant_max": 127, "dtype": torch.qint8}
        taken = ao.FakeQuantize(
            ao.MovingAverageMinMaxObserver, qscheme=torch.per_tensor_symmetric, **symmetric
        )
        weight = ao.FakeQuantize(
            ao.PerChannelMinMaxObserver, qscheme=torch.per_channel_symmetric, ch_axis=0, **symmetric
        )
    net: Any = Quantized(taken, weight).eval()  # type: ignore[arg-type]
    x = torch.randn(3, 16)
    net(x)
    with pytest.raises(trtnn.TrtnnError):
        trtnn.trace(net, [x])  # it would observe
    net.apply(ao.disable_observer)
    model = trtnn.compile(net, inputs=[x], backend="reference")
    assert [op.axis for op in pairs(model.graph)] in ([0, None], [None, 0])
    torch.testing.assert_close(model(x), net(x).detach())
