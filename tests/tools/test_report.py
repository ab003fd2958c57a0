"""``report``: one file with the smallest part that fails, and a script that shows it again."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import trtnn
from tests.tools.test_check import HALF, REFERENCE, Chain, Then, inputs
from trtnn import InputError, OptionError, Report, UnsupportedError
from trtnn.errors import LoadError
from trtnn.options import BuildOptions

FILES = {"manifest.json", "graph.json", "arrays.npz", "inputs.npz", "expected.npz", "log.txt"}


def names_in(path: str) -> set[str]:
    with zipfile.ZipFile(path) as archive:
        return set(archive.namelist())


def labels(report: Report) -> list[str]:
    found: list[str] = report.manifest["held"]["labels"]
    return found


def trials(report: Report) -> int:
    return int(report.manifest["held"]["trials"])


# On the reference ---------------------------------------------------------------------------------


@pytest.mark.parametrize("place", [0, 2, 3])
def test_a_planted_overflow_is_cut_out(place: int, tmp_path: Path) -> None:
    net, x = Chain(**{f"_{place}": 1e5}), inputs(3.0**place)
    asked = {"precision": HALF, **REFERENCE}
    report = trtnn.report(net, x, path=tmp_path / "net.zip", **asked)
    assert labels(report) == [f"layers.{place}/MatrixMultiply"] and trials(report) == 1
    assert report.manifest["how"] == "types" and report.manifest["seen"]
    assert names_in(report.path) == FILES
    read = Report.load(report.path)
    for found, expected in zip(read.run(), read.expected, strict=True):
        assert found.isinf().any() and expected.isfinite().all()
        assert torch.equal(expected, report.expected[0])
    assert [t.dtype for t in read.inputs] == [torch.float16] and not read.found
    assert f"layers.{place}/MatrixMultiply is the first node" in str(read)


def test_an_error_that_grows_takes_the_nodes_that_it_needs(tmp_path: Path) -> None:
    net = Chain(40)
    for layer in net.layers:
        nn.init.orthogonal_(layer.weight)
    asked = {"precision": "bf16", "tolerance": 8e-3, **REFERENCE}
    report = trtnn.report(net, inputs(), path=tmp_path / "net.zip", weights=True, **asked)
    assert 1 < len(labels(report)) < 45 and report.manifest["seen"]


def test_where_nothing_fails_the_whole_graph_is_held(tmp_path: Path) -> None:
    net, x = Chain(), inputs()
    report = trtnn.report(net, x, path=tmp_path / "net.zip", **REFERENCE)
    assert report.manifest["how"] == "none" and trials(report) == 0
    assert "every output is within the tolerance" in str(report)
    held = report.manifest["held"]
    assert held["nodes"] == held["of"] > 5 and "is not seen" not in str(report)
    read = Report.load(report.path)
    torch.testing.assert_close(read.run()[0], read.expected[0].float())


def test_dims_host_inputs_and_formats_are_taken(tmp_path: Path) -> None:
    batch, times = trtnn.Dim("file", 1, 4, 16), trtnn.Dim("n", 1, 2, 8)
    form = torch.channels_last
    declared = [
        trtnn.Input((batch, 3, 4, 4), name="x", memory_format=form),
        trtnn.Input(times, host=True),
    ]
    model = trtnn.compile(lambda x, n: x.repeat(1, n, 1, 1) * 2, inputs=declared, **REFERENCE)
    x = torch.randn(5, 3, 4, 4).to(memory_format=form)
    report = trtnn.report(model, x, 3, path=tmp_path / "net.zip")
    read = Report.load(report.path)
    assert read.hosts == (3,) and torch.equal(read.run()[0], x.repeat(1, 3, 1, 1) * 2)
    assert report.manifest["held"]["sizes"] == "as declared"


# Without weights ----------------------------------------------------------------------------------


def content(path: str) -> bytes:
    """Return all that a report holds, unpacked."""
    found = b""
    with zipfile.ZipFile(path) as archive:
        for name in archive.namelist():
            found += archive.read(name)  # arrays in it are stored
    return found


def rows_in(held: bytes, net: nn.Module) -> list[str]:
    """Return the keys of parameters and buffers of which a row, or a number, stands in bytes."""
    found = []
    for key, tensor in net.state_dict().items():
        if not tensor.dtype.is_floating_point or not tensor.any():
            continue
        rows = tensor.reshape(-1, tensor.shape[-1]) if tensor.dim() else tensor.reshape(1, 1)
        rows = torch.cat([rows, rows.T.reshape(-1, rows.shape[1])]) if tensor.dim() else rows
        kinds = [rows.to(k) for k in (torch.float32, torch.float16, torch.bfloat16)]
        texts = [repr(float(x)) for kind in kinds for x in kind.reshape(-1)[:64]]
        parts = [row.view(torch.uint8).numpy().tobytes() for k in kinds for row in k]
        if any(p in held for p in parts if len(p) > 6) or any(
            t.encode() in held for t in texts if len(t) > 8
        ):
            found.append(key)
    return found


def weighty() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 8, 3),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(32, 8),
        nn.LayerNorm(8),
        nn.Linear(8, 3),
    ).eval()


@pytest.mark.parametrize("precision", ["fp32", "fp16", "bf16"])
@pytest.mark.parametrize("weights", [False, True])
def test_no_weights_are_in_a_report_unless_asked_for(
    weights: bool, precision: str, tmp_path: Path
) -> None:
    torch.manual_seed(0)
    net = weighty()
    with torch.no_grad():
        for tensor in net.state_dict().values():
            if tensor.dtype.is_floating_point:
                tensor.uniform_(0.3, 0.9)
    asked = {"precision": precision, **REFERENCE}
    path = tmp_path / "net.zip"
    report = trtnn.report(net, torch.randn(2, 3, 4, 4), path=path, weights=weights, **asked)
    found = rows_in(content(report.path), net)
    assert (len(found) > 4) if weights else found == []
    random = report.manifest["constants"]["random"]
    assert (random == []) if weights else {"4.weight", "6.bias"} <= {c["key"] for c in random}


def test_no_rounded_weights_are_in_a_report(tmp_path: Path) -> None:
    net, x = nn.Sequential(nn.Conv2d(16, 16, 3), nn.ReLU()).eval(), torch.randn(2, 16, 8, 8)
    model = trtnn.compile(trtnn.quantize(net, [(x,)]), inputs=[x], **REFERENCE)
    report = trtnn.report(model, x, path=tmp_path / "net.zip", tolerance=1e-9)
    assert "QuantizeDequantize" in str(labels(report))
    assert rows_in(content(report.path), net) == []
    scale = net[0].weight.abs().amax((1, 2, 3)) / 127
    rounded = (net[0].weight / scale[:, None, None, None]).round() * scale[:, None, None, None]
    other = nn.Conv2d(16, 16, 3)
    other.load_state_dict({"weight": rounded, "bias": net[0].bias})
    assert rows_in(content(report.path), other) == []


def test_random_constants_keep_masks_and_ties(tmp_path: Path) -> None:
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Linear(16, 16, bias=False), nn.Linear(16, 16, bias=False)
            self.b.weight = self.a.weight
            hidden = torch.full((16, 16), float("-inf")).triu(1)
            self.register_buffer("mask", hidden)
            self.register_buffer("places", torch.arange(16).flip(0))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            y = self.b(self.a(x))
            return (y @ y.T + self.mask).softmax(-1)[:, self.places]

    net, x = Tied(), torch.randn(16, 16)
    report = trtnn.report(net, x, path=tmp_path / "net.zip", **REFERENCE)
    constants = {c.key: c.tensor for c in report.graph.constants.values()}
    assert torch.equal(constants["mask"], net.mask)
    assert constants["places"].min() >= 0 and constants["places"].max() < 16
    assert not torch.equal(constants["a.weight"], net.a.weight)
    assert report.run()[0].isfinite().all()


def test_a_failure_of_these_weights_alone_is_said_to_be(tmp_path: Path) -> None:
    net, x = nn.Linear(16, 16, bias=False), torch.zeros(1, 16)
    with torch.no_grad():
        net.weight[0, 0], x[0, 0] = 60000.0, 2.0  # twice it is beyond float16
    asked = {"precision": HALF, **REFERENCE}
    first = trtnn.report(net, x, path=tmp_path / "a.zip", **asked)
    kept = trtnn.report(net, x, path=tmp_path / "b.zip", weights=True, **asked)
    assert kept.manifest["seen"] and not first.manifest["seen"]
    assert "is not seen: weights=True keeps them" in str(first)
    assert "random" not in str(kept)


# What is given ------------------------------------------------------------------------------------


def test_a_file_that_is_there_is_kept(tmp_path: Path) -> None:
    place = tmp_path / "net.zip"
    place.write_bytes(b"mine")
    with pytest.raises(OptionError, match=r"path: .*net.zip is there already"):
        trtnn.report(Chain(), inputs(), path=place, **REFERENCE)
    assert place.read_bytes() == b"mine" and list(tmp_path.iterdir()) == [place]


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ({"path": 3}, "path: expected the path of a new zip file, got 3"),
        ({"path": "no/such/folder/net.zip"}, "path: there is no folder no/such/folder"),
        ({"path": "."}, r"path: \. is there already"),
        ({"weights": "no"}, "weights: expected True or False, got 'no'"),
        ({"tolerance": -1}, "tolerance: expected a number above 0, got -1"),
        ({"backend": "onnx"}, "backend: expected one of"),
        ({"precision": "fp7"}, "precision: expected"),
        ({"options": 3}, "options: expected a trtnn.options.BuildOptions"),
    ],
)
def test_options_that_are_none_are_refused(
    given: dict[str, Any], text: str, tmp_path: Path
) -> None:
    with pytest.raises(OptionError, match=text):
        trtnn.report(Chain(), inputs(), **{"path": tmp_path / "net.zip", **REFERENCE, **given})
    assert list(tmp_path.iterdir()) == []


def test_what_does_not_fit_is_refused_as_check_does(tmp_path: Path) -> None:
    net, x = nn.Linear(16, 4), inputs()
    path = tmp_path / "net.zip"
    model = trtnn.compile(net, inputs=[x], **REFERENCE)
    with pytest.raises(OptionError, match="precision: the model is compiled already"):
        trtnn.report(model, x, path=path, precision="fp16")
    with pytest.raises(OptionError, match="options: the model is compiled already"):
        trtnn.report(model, x, path=path, options=BuildOptions())
    with pytest.raises(InputError, match=r"input: expected torch\.float32"):
        trtnn.report(model, x.half(), path=path)
    with pytest.raises(InputError, match="call: missing a required argument"):
        trtnn.report(net, path=path, **REFERENCE)
    with pytest.raises(InputError, match="the graph refuses them: index out of range"):
        trtnn.report(nn.Embedding(4, 2), torch.tensor([4]), path=path, **REFERENCE)
    with pytest.raises(OptionError, match="model: expected a module"):
        trtnn.report(3, path=path)  # type: ignore[arg-type]
    with pytest.raises(UnsupportedError, match="computes nothing from its inputs"):
        trtnn.report(lambda x: x.shape[0], x, path=path, **REFERENCE)
    model.refit(nn.Linear(16, 4).state_dict())
    with pytest.raises(UnsupportedError, match=r"report: .* the model was refitted"):
        trtnn.report(model, x, path=path)
    assert list(tmp_path.iterdir()) == []


def test_a_lazy_model_and_names_are_taken(tmp_path: Path) -> None:
    x = inputs(9.0)
    lazy = trtnn.compile(Chain(_1=1e5), precision=HALF, **REFERENCE)
    one = trtnn.report(lazy, named={"x": x}, path=tmp_path / "a.zip")
    asked = {"precision": HALF, **REFERENCE}
    other = trtnn.report(Chain(_1=1e5), named={"x": x}, path=str(tmp_path / "b.zip"), **asked)
    assert labels(one) == labels(other) == ["layers.1/MatrixMultiply"]


def test_what_float32_makes_infinite_is_no_failure_of_an_engine(tmp_path: Path) -> None:
    net = Then(lambda y: y.relu() * y.relu().log())
    report = trtnn.report(net, inputs(), path=tmp_path / "net.zip", **REFERENCE)
    assert report.manifest["how"] == "none" and "not finite in float32 either" in report.finding


def test_what_is_no_report_is_refused(tmp_path: Path) -> None:
    net, x, path = nn.Linear(16, 4), inputs(), tmp_path / "net.zip"
    trtnn.report(net, x, path=path, **REFERENCE)
    (tmp_path / "text.zip").write_text("nothing")
    with zipfile.ZipFile(path) as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
    damages = {
        "other.zip": {"manifest.json": json.dumps({"format": 9}).encode()},
        "graph.zip": {"graph.json": b"{}"},
        "arrays.zip": {"arrays.npz": entries["inputs.npz"]},
    }
    for name, changed in damages.items():
        with zipfile.ZipFile(tmp_path / name, "w") as archive:
            for entry, text in {**entries, **changed}.items():
                archive.writestr(entry, text)
    for name in ("text.zip", *damages):
        with pytest.raises(LoadError, match=name):
            Report.load(tmp_path / name)
    with pytest.raises(FileNotFoundError):
        Report.load(tmp_path / "none.zip")
