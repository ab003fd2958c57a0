"""``export_triton``: what it writes, as the server's own protobuf classes read it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import torch

import trtnn
from tests.on_double import on_double
from tests.saved.saving import load, manifest_of, save
from trtnn import Dim, Input, InputError, UnsupportedError
from trtnn.options import BuildOptions

text_format = pytest.importorskip("google.protobuf.text_format", reason="needs tritonclient[grpc]")
model_config = pytest.importorskip(
    "tritonclient.grpc.model_config_pb2", reason="needs tritonclient[grpc]"
)

N = Dim("n", 1, 4, 8)
P = Dim("n", profiles=[(1, 1, 1), (2, 4, 8)])
S = Dim("s", 1, 4, 16)
H = Dim("count", 1, 2, 4)
X, IDS = Input((N, 6)), Input((N, S), torch.int64)


def twice(x: Any) -> Any:
    return x * 2


def exported(model: Any, folder: Path, options: BuildOptions | None = None, **how: Any) -> Any:
    """Return the config that a model on a double writes, parsed, and its text."""
    model._describe = lambda: manifest_of(model, options)
    place = model.export_triton(folder, **{"name": "net", **how})
    assert (place / str(how.get("version", 1)) / "model.plan").read_bytes() == model.plan
    text = (place / "config.pbtxt").read_text()
    return text_format.Parse(text, model_config.ModelConfig()), text


def tensors(ports: Any) -> dict[str, Any]:
    return {port.name: (port.data_type, [*port.dims]) for port in ports}


FLOAT, HALF, INT32, INT64, BOOL = (
    model_config.DataType.Value(f"TYPE_{name}") for name in "FP32 FP16 INT32 INT64 BOOL".split()
)
Row = tuple[Any, list[Any], int, dict[str, Any], dict[str, Any]]
ROWS: dict[str, Row] = {
    "batch": (twice, [X], 8, {"x": (FLOAT, [6])}, {"output_0": (FLOAT, [6])}),
    "a vector for each": (
        lambda x: x.half().sum(1),
        [X],
        8,
        {"x": (FLOAT, [6])},
        {"output_0": (HALF, [1])},
    ),
    "another Dim": (lambda x: x > 0, [Input((N, S, 3))], 8, {"x": (FLOAT, [-1, 3])}, {
        "output_0": (BOOL, [-1, 3])
    }),
    "static": (lambda x: x * 2, [Input((3, 6))], 0, {"x": (FLOAT, [3, 6])}, {
        "output_0": (FLOAT, [3, 6])
    }),
    "no dims": (lambda x: x.sum(), [X], 0, {"x": (FLOAT, [-1, 6])}, {"output_0": (FLOAT, [1])}),
    "never one": (lambda x: x * 2, [Input((Dim("n", 2, 4, 8), 6))], 0, {"x": (FLOAT, [-1, 6])}, {
        "output_0": (FLOAT, [-1, 6])
    }),
    "rows mixed": (lambda x: x.flip(0), [X], 0, {"x": (FLOAT, [-1, 6])}, {
        "output_0": (FLOAT, [-1, 6])
    }),
}  # fmt: skip


@pytest.mark.parametrize("version", ["8.6", "10", "11"])
@pytest.mark.parametrize("name", ROWS)
def test_tensors_are_what_the_server_reads(name: str, version: str, tmp_path: Path) -> None:
    function, inputs, greatest, given, returned = ROWS[name]
    config, text = exported(on_double(version, function, inputs)[0], tmp_path)
    assert (config.name, config.backend, config.max_batch_size) == ("net", "tensorrt", greatest)
    assert config.default_model_filename == "model.plan"
    assert (tensors(config.input), tensors(config.output)) == (given, returned)
    assert config.HasField("dynamic_batching") is (greatest > 1)
    assert ("# No batching by the server: " in text) is (greatest == 0)
    shapes = [[*port.reshape.shape] for port in config.output if port.HasField("reshape")]
    assert shapes == ([[]] if returned["output_0"][1] == [1] else [])


@pytest.mark.parametrize(("version", "held"), [("8.6", INT32), ("10", INT64), ("11", INT64)])
def test_int64_is_what_the_plan_has(version: str, held: int, tmp_path: Path) -> None:
    model, _ = on_double(version, lambda ids: {"next": ids + 1}, [IDS])
    config, text = exported(model, tmp_path)
    assert tensors(config.input)["ids"] == (held, [-1])
    assert tensors(config.output)["output_0"] == (held, [-1])
    assert "# output_0 is the result.next of forward.\n" in text
    assert ("# ids is int32: this TensorRT has no int64.\n" in text) is (held == INT32)


def test_profiles_are_named_and_preferred(tmp_path: Path) -> None:
    config, _ = exported(on_double("10", twice, [Input((P, 6))])[0], tmp_path)
    (group,) = config.instance_group
    assert [*group.profile] == ["0", "1"] and group.kind == group.KIND_GPU
    assert [*config.dynamic_batching.preferred_batch_size] == [4]
    other, _ = exported(on_double("10", twice, [X])[0], tmp_path / "one profile")
    assert not other.instance_group and not other.dynamic_batching.preferred_batch_size


def test_a_host_input_is_a_shape_tensor(tmp_path: Path) -> None:
    def sized(x: Any, count: int) -> Any:
        return torch.ones(count, device=x.device) * x.sum()

    model, _ = on_double("10", sized, [X, Input(H, host=True)])
    config, text = exported(model, tmp_path)
    assert [port.name for port in config.input if port.is_shape_tensor] == ["count"]
    assert "batching by the server: count is one integer for the whole batch.\n" in text


def test_memory_formats_are_told(tmp_path: Path) -> None:
    image = Input((N, 8, 4, 4), torch.float16, "image", memory_format=torch.channels_last)
    config, text = exported(on_double("10", twice, [image])[0], tmp_path)
    (port,) = config.input
    assert port.is_non_linear_format_io and [*port.dims] == [8, 4, 4]
    assert "# image is sent as channels_last memory" in text


def test_a_batch_of_a_users_own(tmp_path: Path) -> None:
    model, _ = on_double("10", twice, [X])
    assert exported(model, tmp_path, max_batch_size=3)[0].max_batch_size == 3
    config, text = exported(model, tmp_path, max_batch_size=0)
    assert config.max_batch_size == 0 and "max_batch_size=0 was asked for" in text


@pytest.mark.parametrize(
    ("function", "dim", "asked", "why"),
    [
        (twice, N, 9, "n is at most 8"),
        (twice, Dim("n", profiles=[(1, 1, 1), (3, 4, 8)]), 4, "no profile of n takes 2"),
        (lambda x: x.softmax(0), N, 8, "rows of output_0 depend on each other"),
        (lambda x: (x, x.sum()), N, 8, "output_1 has no dims"),
        (lambda x: x.repeat(2, 1), N, 8, r"output_0 begins with 2\*n, which is no Dim"),
        (twice, N, -1, "expected an int of 0 or more, or None, got -1"),
        (twice, N, True, "expected an int of 0 or more, or None, got True"),
    ],
)
def test_batches_that_cannot_be_are_refused(
    function: Any, dim: Dim, asked: int, why: str, tmp_path: Path
) -> None:
    model, _ = on_double("10", function, [Input((dim, 6))])
    with pytest.raises(InputError, match=why):
        exported(model, tmp_path, max_batch_size=asked)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("how", "why"),
    [
        ({"name": "a/b"}, "name: expected letters, digits"),
        ({"name": ".."}, "name: expected letters, digits"),
        ({"name": 3}, "got 3"),
        ({"version": 0}, "version: expected an int of 1 or more, got 0"),
        ({"version": "1"}, "version: expected an int of 1 or more, got '1'"),
    ],
)
def test_names_and_versions_are_checked(how: dict[str, Any], why: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=why):
        exported(on_double("10", twice, [X])[0], tmp_path, **how)
    assert not list(tmp_path.iterdir())


def test_versions_share_a_config_or_are_refused(tmp_path: Path) -> None:
    exported(on_double("10", twice, [X])[0], tmp_path)
    exported(on_double("10", twice, [X])[0], tmp_path, version=2)
    other, _ = on_double("10", twice, [Input((N, 7))])
    with pytest.raises(InputError, match=r"config.pbtxt serves version 1 too, and would change"):
        exported(other, tmp_path, version=2)
    assert exported(other, tmp_path, name="other")[0].input[0].dims == [7]


def test_what_the_server_needs_is_told(tmp_path: Path) -> None:
    model, _ = on_double("10", twice, [X])
    _, text = exported(model, tmp_path)
    assert "# It needs this TensorRT, and this GPU.\n" in text and "CPU" not in text
    free = BuildOptions(version_compatible=True, hardware_compatibility_level="AMPERE_PLUS")
    _, text = exported(model, tmp_path, free)
    assert "--backend-config=tensorrt,version-compatible=true" in text
    assert "a GPU of the level AMPERE_PLUS" in text
    assert "# The plan holds code for the CPU, which the server runs" in text


def test_a_loaded_model_says_that_rows_were_not_seen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, _ = on_double("10", lambda x: x.flip(0), [X])
    loaded = load(monkeypatch, model, save(tmp_path / "net.trtnn", model))
    folder = loaded.export_triton(tmp_path, name="net")
    text = (folder / "config.pbtxt").read_text()
    assert "max_batch_size: 8" in text
    assert "# Whether rows depend on each other was not seen: there they may not.\n" in text


def test_what_has_no_plan_for_the_server_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedError, match="export_triton: this model runs on the reference"):
        model = trtnn.compile(torch.nn.ReLU(), inputs=[X], backend="reference")
        model.export_triton(tmp_path, name="net")
    with pytest.raises(UnsupportedError, match="plans of TensorRT, not of TensorRT for RTX"):
        exported(on_double("rtx", twice, [X])[0], tmp_path)
    with pytest.raises(InputError, match="export_triton: nothing is compiled before the first"):
        lazy = trtnn.compile(torch.nn.ReLU(), backend="reference")
        lazy.export_triton(tmp_path, name="net")
    assert not list(tmp_path.iterdir())
    assert "tritonclient" not in {name for name in sys.modules if name.startswith("trtnn")}
