"""What an engine says of its types: held against its graph, and told by module path."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import trtnn
from tests import double, real_builder
from tests.answering import let_answer
from tests.cache.test_compiling import World
from tests.double.surface import VERSIONS
from trtnn import BuildError, PrecisionWarning, WrongEngineError
from trtnn.compiler import optimize
from trtnn.engine.builder import build
from trtnn.lower.layers import ITensor, Layers
from trtnn.lower.naming import value_names
from trtnn.options import BuildOptions
from trtnn.precision.policy import Precision
from trtnn.precision.shown import NOT_VISIBLE, Row, shown
from trtnn.precision.typing import Typed, typed
from trtnn.trt.inspector import UNKNOWN, layers_of, type_in
from trtnn.trt.library import TensorRT

DETAILED = BuildOptions(profiling_verbosity="DETAILED")
X = trtnn.Input((2, 4), name="x")
ASKED = Precision("fp16", modules={"2": "fp32"})


def net() -> nn.Module:
    return nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 4), nn.Softmax(-1))


TEXTS = {
    "Row major linear FP32": "float32",
    "Row major linear FP16 format": "float16",
    "Two wide channel vectorized row major FP16 format": "float16",
    "Channel major FP16 format where channel % 8 == 0": "float16",
    "Thirty-two wide channel vectorized row major Int8 format": "int8",
    "Row major Int8 format": "int8",
    "Row major linear INT32 format": "int32",
    "Row major linear BFloat16 format": "bfloat16",
    "BF16": "bfloat16",
    "Half": "float16",
    "Float": "float32",
    "Int64": "int64",
    "Bool": "bool",
    "FP8": "float8_e4m3fn",
    "N/A due to dynamic shapes": UNKNOWN,
    "Row major linear FP7 format": UNKNOWN,
    "FP16 or FP32": UNKNOWN,
    "": UNKNOWN,
}


@pytest.mark.parametrize("text", TEXTS)
def test_a_format_names_a_type(text: str) -> None:
    assert type_in(text) == TEXTS[text]


# Engines ------------------------------------------------------------------------------------------


class Case:
    """An engine of a double, whose inspector can be told to say something else."""

    def __init__(self, version: str, precision: Precision, module: Any = None) -> None:
        self.library = TensorRT(double.load(version))
        traced = trtnn.trace(module or net(), [X])
        self.typed: Typed = typed(traced, precision)
        self.graph, self.precision = optimize(self.typed.graph, self.library), precision
        self.engine = build(self.graph, self.library, DETAILED)
        self.told: list[Any] = self.engine.handle._plan.shown

    def name(self, label: str) -> str:
        """Return the name of the first tensor of a label."""
        names = value_names(self.graph).items()
        return next(name for value, name in names if name.split("#")[0] == label)

    def claim(self, label: str, text: str) -> None:
        """Let the engine say that a tensor is of another type."""
        for layer in self.told:
            for tensor in (*layer["Inputs"], *layer["Outputs"]):
                if tensor["Name"] == self.name(label):
                    tensor["Format/Datatype"] = text

    def fuse(self) -> None:
        """Let the engine have one layer, which shows its border alone."""
        graph = self.graph
        ends = {v.name for v in graph.inputs}, {f"output_{i}" for i in range(len(graph.outputs))}
        all_of = [[t for x in self.told for t in x[side]] for side in ("Inputs", "Outputs")]
        border = [
            [t for t in tensors if t["Name"] in names]
            for tensors, names in zip(all_of, ends, strict=True)
        ]
        name = f"{{ForeignNode[{self.told[0]['Name']}...{self.told[-1]['Name']}]}}"
        self.told[:] = [{"Name": name, "Inputs": border[0], "Outputs": border[1]}]

    def rows(self) -> dict[str, Row]:
        layers = layers_of(self.library.trt, self.engine.handle)
        assert layers is not None
        return {row.name: row for row in shown(self.graph, layers, self.precision).rows}


@pytest.mark.parametrize("version", VERSIONS)
def test_every_value_is_as_asked(version: str) -> None:
    case = Case(version, ASKED)
    found = case.rows()
    assert len(found) == sum(len(node.outputs) for node in case.graph.nodes)
    assert all(row.reported == row.asked for row in found.values())
    assert {row.path: row.asked for row in found.values() if row.named} == {"2": "float32"}
    assert found[case.name("0/MatrixMultiply")].reported == "float16"


@pytest.mark.parametrize("version", VERSIONS)
def test_an_island_of_the_users_that_is_not_honoured_is_an_error(version: str) -> None:
    case = Case(version, ASKED)
    case.claim("2/MatrixMultiply", "Row major linear FP16 format")
    with pytest.raises(WrongEngineError) as caught:
        case.rows()
    assert "2/MatrixMultiply is float16, and float32 was asked for" in str(caught.value)


@pytest.mark.parametrize("version", VERSIONS)
def test_what_trtnn_typed_itself_is_warned_of(version: str) -> None:
    case = Case(version, Precision("fp16"), nn.Sequential(nn.Linear(4, 4), nn.Softmax(-1)))
    case.told[-1]["Outputs"][0]["Format/Datatype"] = "Half"  # the softmax, which is wide
    with pytest.warns(PrecisionWarning, match="1/Softmax is float16, and float32 was asked for"):
        found = case.rows()
    assert found[case.name("1/Softmax")].reported == "float16"


def test_a_type_that_is_wider_is_told_and_no_more() -> None:
    case = Case("8.6", ASKED)
    case.claim("0/MatrixMultiply", "Row major linear FP32 format")
    row = case.rows()[case.name("0/MatrixMultiply")]
    assert (row.asked, row.reported, row.is_lower) == ("float16", "float32", False)


def test_what_is_not_told_is_unknown() -> None:
    case = Case("10", ASKED)
    case.claim("2/MatrixMultiply", "N/A due to dynamic shapes")
    assert case.rows()[case.name("2/MatrixMultiply")].reported == UNKNOWN


def test_of_one_region_the_border_is_seen_and_the_inside_is_not() -> None:
    case = Case("8.6", ASKED)
    case.fuse()
    found = {row.reported for row in case.rows().values()}
    assert found == {NOT_VISIBLE, "float32"}
    assert case.rows()[case.name("2/MatrixMultiply")].reported == NOT_VISIBLE
    case.told[0]["Outputs"][0]["Format/Datatype"] = "Row major linear FP16 format"
    with pytest.warns(PrecisionWarning, match="3/Softmax is float16"):
        case.rows()


def test_names_of_several_profiles_are_one() -> None:
    case = Case("8.6", ASKED)
    for layer in case.told:
        for tensor in layer["Outputs"]:
            tensor["Name"] += " [profile 1]"
    assert all(row.reported == row.asked for row in case.rows().values())


@dataclass
class Says:
    """An engine, and its inspector, which says a text."""

    text: str

    def create_engine_inspector(self) -> Any:
        return self

    def get_engine_information(self, form: Any) -> str:
        return self.text


@pytest.mark.parametrize("text", ["no JSON", "[]", '{"Layers": [{"Inputs": []}]}'])
def test_an_inspector_that_says_something_else_is_an_error(text: str) -> None:
    trt = double.load("10")
    with pytest.raises(BuildError, match="the inspector of the engine gives no description"):
        layers_of(trt, Says(text))
    assert layers_of(trt, Says('{"Layers": ["a", "b"], "Bindings": []}')) is None


# Reports ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", VERSIONS)
def test_the_report_tells_it_by_module(
    version: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = World(version, tmp_path / "cache", monkeypatch)
    let_answer(monkeypatch)
    chosen: dict[str, Any] = {"inputs": [X], "precision": ASKED}
    module = net()
    for _ in ("built", "from the cache"):
        model, _ = world.compile(module, options=DETAILED, **chosen)
        lines = str(model.precision_report).splitlines()
        place = lines.index("in the engine:")
        assert "  0  float16: 3 float16" in lines[place:]
        assert "  2  float32: 3 float32" in lines[place:]
    model, _ = world.compile(module, **chosen)
    last = str(model.precision_report).splitlines()[-1]
    assert last.startswith("in the engine: not asked: ") and "DETAILED" in last
    model, _ = world.compile(module, options=BuildOptions(profiling_verbosity="NONE"), **chosen)
    assert str(model.precision_report).splitlines()[-1] == last


def test_the_reference_has_no_engine_to_ask() -> None:
    model = trtnn.compile(net(), inputs=[X], precision=ASKED, backend="reference")
    assert model.precision_report.shown is None
    assert "in the engine" not in str(model.precision_report)


# RTX, whose plans no CPU opens --------------------------------------------------------------------


@pytest.mark.parametrize("precision", ["fp16", "bf16", ASKED])
def test_the_real_builder_has_the_types_of_the_graph(precision: Any) -> None:
    asked = precision if isinstance(precision, Precision) else Precision(precision)
    assert real_builder.build(typed(trtnn.trace(net(), [X]), asked).graph)


def test_a_network_of_another_type_is_not_built(monkeypatch: pytest.MonkeyPatch) -> None:
    own = Layers.matmul

    def wide(self: Any, a: Any, b: Any, *more: Any) -> ITensor:
        result = own(self, self.cast(a, torch.float32), self.cast(b, torch.float32), *more)
        return ITensor(result.handle, torch.float16, result.shape)

    monkeypatch.setattr(Layers, "matmul", wide)
    graph = typed(trtnn.trace(net(), [X]), Precision("fp16")).graph
    library = TensorRT(double.load("rtx"))
    with pytest.raises(BuildError, match=r"0/MatrixMultiply: TensorRT has \(2, 4\) .*FLOAT"):
        build(optimize(graph, library), library, BuildOptions())
