"""Every build option on the real TensorRT: the engine is right with it, or it is refused."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest
import torch

import trtnn
from tests.settings import CASES
from trtnn.errors import BuildError, OptionError
from trtnn.options import BuildOptions
from trtnn.trt.library import TensorRT

pytestmark = pytest.mark.gpu
DLA = {field for field, case in CASES.items() if "DLA" in (case.value, *case.beside.values())}
# What each needs is no part of every installation: the lean runtime, and libraries of plugins.
LEAN = {"version_compatible", "exclude_lean_runtime", "plugins_to_serialize"}


class Net(torch.nn.Module):
    """Layers that have more than one kernel to choose from."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = torch.nn.Conv2d(8, 16, 3, padding=1)
        self.head = torch.nn.Linear(16, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(torch.relu(self.conv(x)).mean((2, 3)))


def valued(trt: Any, value: Any) -> Any:
    """Return a value of the table, or for the name of a class of TensorRT's an object of it."""
    if value != "IAlgorithmSelector" or not hasattr(trt, value):
        return value

    class First(trt.IAlgorithmSelector):
        def select_algorithms(self, context: Any, choices: Any) -> list[int]:
            return [0]

        def report_algorithms(self, contexts: Any, choices: Any) -> None:
            """Nothing is asked about them."""

    return First()


def require_right(options: BuildOptions, cache: Path) -> Any:
    """Compile with options, and see that the engine computes what PyTorch does."""
    torch.manual_seed(0)
    net, x = Net().cuda().eval(), torch.randn(2, 8, 16, 16, device="cuda")
    chosen: Any = {"inputs": [x], "precision": "fp32", "cache": cache, "options": options}
    model = trtnn.compile(net, **chosen)
    with torch.no_grad():
        torch.testing.assert_close(model(x), net.double()(x.double()).float(), rtol=0, atol=1e-4)
    return model


@pytest.mark.parametrize("field", [field for field in CASES if field != "preview_features"])
def test_an_engine_is_right_with_an_option(field: str, tmp_path: Path) -> None:
    if field == "progress_monitor" and hasattr(TensorRT().trt, "IProgressMonitor"):
        pytest.skip("tests/trt/test_interrupt.py has one")
    trt, case = TensorRT().trt, CASES[field]
    chosen = {name: valued(trt, v) for name, v in {field: case.value, **case.beside}.items()}
    options = BuildOptions(**chosen)
    if not all(CASES[name].exists(trt) for name in chosen if name in CASES):
        with pytest.raises(OptionError, match="lacks this option"):
            require_right(options, tmp_path)
        return
    if field in DLA:
        with pytest.raises(OptionError, match="0 DLA cores"):
            require_right(options, tmp_path)
    elif field in LEAN:
        try:
            require_right(options, tmp_path)
        except BuildError as error:
            assert "lean" in str(error) or "a.so" in str(error)
    else:
        require_right(options, tmp_path)


@pytest.mark.parametrize("on", [False, True])
def test_an_engine_is_right_with_a_preview_feature(on: bool, tmp_path: Path) -> None:
    for name in TensorRT().trt.PreviewFeature.__members__:
        features = {name: on}
        if not on and name in (
            "PROFILE_SHARING_0806",
            "DISABLE_EXTERNAL_TACTIC_SOURCES_FOR_CORE_0805",
        ):
            continue  # refused, and for libraries that may be missing
        require_right(BuildOptions(preview_features=features), tmp_path / name)


def test_an_inspector_tells_what_detailed_asks_for(tmp_path: Path) -> None:
    model = require_right(BuildOptions(profiling_verbosity="DETAILED"), tmp_path)
    trt = model.engine.library.trt
    inspector = model.engine.handle.create_engine_inspector()
    told = inspector.get_engine_information(trt.LayerInformationFormat.JSON)
    assert '"TacticName"' in told and "conv" in told
    assert "float32" in {row.reported for row in model.precision_report.shown.rows}


def test_the_log_tells_what_a_level_asks_for(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG):
        require_right(BuildOptions(log_level=logging.DEBUG), tmp_path)
    assert any(record.levelno == logging.DEBUG for record in caplog.records)
