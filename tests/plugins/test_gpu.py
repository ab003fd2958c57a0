"""Plugins that TensorRT 8.6 brings, on a GPU: against their references, saved, and kept."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

import trtnn
from tests.compare import error
from tests.rows.plugins import coordinates, gelu_of, wider
from trtnn.options import BuildOptions

pytestmark = pytest.mark.gpu
BATCH = trtnn.Dim("batch", 1, 2, 4)
FAST = BuildOptions(builder_optimization_level=0)


class Net(torch.nn.Module):
    """Two plugins between layers, at a dynamic size."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = torch.nn.Conv2d(5, 4, 3, padding=1)
        self.place = trtnn.plugin("CoordConvAC", infer=wider, reference=coordinates)
        self.gelu = gelu_of(0)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.gelu(self.conv(self.place(x)).mean((2, 3))[:, :3].unsqueeze(1)) * 2


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_plugins_in_a_network_equal_their_references(precision: str, tmp_path: Path) -> None:
    """In fp16 the plugins keep their float32 beside halves."""
    net, inputs = Net().cuda().eval(), [trtnn.Input((BATCH, 3, 8, 8))]
    how: Any = {"inputs": inputs, "precision": precision, "cache": tmp_path, "options": FAST}
    model = trtnn.compile(net, backend="tensorrt", **how)
    assert model.verified
    for size in (1, 4):
        x = torch.randn(size, 3, 8, 8, device="cuda")
        assert error(model(x), net(x)) < (1e-4 if precision == "fp32" else 8e-3)
    model.save(tmp_path / "net.trtnn")
    again = trtnn.load(tmp_path / "net.trtnn")
    assert torch.equal(again(x), model(x))


def test_an_engine_without_a_reference_is_not_verified() -> None:
    alone = trtnn.plugin("CoordConvAC", infer=wider)
    inputs, how = [trtnn.Input((2, 3, 4, 5))], {"backend": "tensorrt", "options": FAST}
    with pytest.warns(trtnn.VerifyWarning, match="has no reference=: nothing to hold it against"):
        model = trtnn.compile(alone, inputs=inputs, **how)
    x = torch.randn(2, 3, 4, 5, device="cuda")
    assert not model.verified and error(model(x), coordinates(x)) < 1e-5
