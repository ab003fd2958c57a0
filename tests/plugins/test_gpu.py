"""Plugins that TensorRT 8.6 brings, on a GPU: against their references, saved, and kept."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

import trtnn
from tests.compare import error
from tests.rows.plugins import BIAS, align, gelu, gelu_of
from trtnn.options import BuildOptions

pytestmark = pytest.mark.gpu
COUNT = trtnn.Dim("count", 1, 2, 4)
FAST = BuildOptions(builder_optimization_level=0)


class Net(torch.nn.Module):
    """Two plugins between layers, at a dynamic size."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = torch.nn.Conv2d(3, 3, 3, padding=1)
        self.gelu = gelu_of(0)

    def forward(self, x: torch.Tensor, corner: torch.Tensor, images: torch.Tensor) -> Any:
        boxes = torch.cat((corner, corner + 4.0), 1)
        found = align(self.conv(x), boxes, images)
        return self.gelu(found.mean((2, 3)).unsqueeze(1)) * 2


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_plugins_in_a_network_equal_their_references(precision: str, tmp_path: Path) -> None:
    """In fp16 the plugins keep their float32 beside halves."""
    net = Net().cuda().eval()
    indices = trtnn.Input((COUNT,), torch.int32, low=0, high=1)
    inputs = [trtnn.Input((2, 3, 8, 9)), trtnn.Input((COUNT, 2), low=0.0, high=3.0), indices]
    how: Any = {"inputs": inputs, "precision": precision, "cache": tmp_path, "options": FAST}
    model = trtnn.compile(net, backend="tensorrt", **how)
    assert model.verified
    for size in (1, 4):
        x, corner = torch.randn(2, 3, 8, 9, device="cuda"), 3 * torch.rand(size, 2, device="cuda")
        call = x, corner, torch.arange(size, dtype=torch.int32, device="cuda") % 2
        assert error(model(*call), net(*call)) < (1e-4 if precision == "fp32" else 8e-3)
    model.save(tmp_path / "net.trtnn")
    again = trtnn.load(tmp_path / "net.trtnn")
    assert torch.equal(again(*call), model(*call))


def test_an_engine_without_a_reference_is_not_verified() -> None:
    name, fields = "CustomGeluPluginDynamic", {"type_id": 0, "bias": BIAS}
    alone = trtnn.plugin(name, infer=torch.empty_like, **fields)
    with pytest.warns(trtnn.VerifyWarning, match="has no reference=: nothing to hold it against"):
        model = trtnn.compile(alone, inputs=[trtnn.Input((2, 4, 3))], options=FAST)
    x = torch.randn(2, 4, 3, device="cuda")
    assert not model.verified and error(model(x), gelu(x)) < 1e-5
