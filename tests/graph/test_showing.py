"""What a graph shows of itself: a table that fits a page, a picture, plain data, HTML."""

from __future__ import annotations

import json
import re
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
import torch

import trtnn
from trtnn.errors import OptionError, UnsupportedError
from trtnn.graph.graph import Graph

BATCH = trtnn.Dim("batch", 1, 2, 8)


class Block(torch.nn.Module):
    """Two layers and a sum; what it is called is said by who has it."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = torch.nn.Linear(4, 4), torch.nn.Linear(4, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.second(self.first(x).relu())


class Net(torch.nn.Module):
    """Blocks inside blocks, an op of many operands, and branches."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = torch.nn.Sequential(Block(), Block())
        self.head = torch.nn.Linear(4, 2)

    def forward(self, x: torch.Tensor, flag: torch.Tensor) -> Any:
        y = self.encoder(x)
        z = trtnn.cond(flag, lambda a: self.head(a), lambda a: self.head(a - 1), (y,))
        return z, torch.cat([y * i for i in range(1, 12)], dim=1)


@pytest.fixture(scope="module")
def graph() -> Graph:
    inputs = [trtnn.Input((BATCH, 4)), trtnn.Input((), torch.bool)]
    return trtnn.trace(Net().eval(), inputs)


def test_the_table_fits_a_page_and_full_is_whole(graph: Graph) -> None:
    short, full = str(graph), graph.table(full=True)
    assert short == graph.table() and max(map(len, short.splitlines())) <= 120
    assert max(map(len, full.splitlines())) > 120
    assert len(short.splitlines()) >= len(full.splitlines())
    for node in graph.nodes:
        assert f"{node.op.name}(" in short
        if node.op.name != "Cond":
            assert repr(node.op) in full
    row = next(line for line in short.splitlines() if " Concat(" in line)
    assert re.search(r"%\w+, .*, \+\d+$", row)
    hidden = int(row.rpartition("+")[2])
    joined = next(node for node in graph.nodes if node.op.name == "Concat")
    assert row.count(", %") + 1 + hidden == len(joined.inputs) == 11


def test_long_paths_keep_their_end_and_long_lines_are_folded(graph: Graph) -> None:
    deep = torch.nn.Sequential()
    inner = deep
    for _ in range(20):
        inner.add_module("a_long_name", torch.nn.Sequential())
        inner = inner.a_long_name  # type: ignore[assignment]
    inner.add_module("last", torch.nn.LayerNorm(4))

    def forward(x: torch.Tensor) -> Any:
        return tuple(deep(x) + i for i in range(60))

    traced = trtnn.trace(deep, [trtnn.Input((BATCH, 4))])
    assert re.search(r" {2}\.\.\.[a-z_.]*\.last ", str(traced))
    many = str(trtnn.trace(forward, [trtnn.Input((BATCH, 4))]))
    assert max(map(len, many.splitlines())) <= 120
    assert many.count("%") == trtnn.trace(forward, [trtnn.Input((BATCH, 4))]).table(
        full=True
    ).count("%")


def boxes(dot: str) -> dict[str, str]:
    """Return the labels of a picture's boxes by name."""
    return dict(re.findall(r'^ *(\w+) \[label="((?:[^"\\]|\\.)*)"', dot, re.M))


def test_modules_are_boxes(graph: Graph) -> None:
    found = boxes(graph.to_dot())
    labels = [text.split("\\n")[0] for text in found.values()]
    assert labels[:3] == ["%x", "%flag", "encoder"] and "layer" not in " ".join(labels)
    assert any(text == r"encoder\n12 ops" for text in found.values())
    deeper = [text.split("\\n")[0] for text in boxes(graph.to_dot(depth=2)).values()]
    assert deeper[2:4] == ["encoder.0", "encoder.1"]
    assert any("true: 2 ops" in text for text in found.values())


@pytest.mark.parametrize("depth", [1, 2, 3, None])
def test_edges_are_what_passes_between_boxes(graph: Graph, depth: int | None) -> None:
    dot = graph.to_dot(depth=depth)
    found = boxes(dot)
    edges = re.findall(r"^ *(\w+) -> (\w+) ", dot, re.M)
    assert edges and all(a in found and b in found and a != b for a, b in edges)
    assert {b for _, b in edges} == found.keys() - {"in0", "in1"}
    assert {a for a, _ in edges} == found.keys() - {"out0", "out1"}
    assert dot.count("{") == dot.count("}")
    if depth is None:
        assert len(found) == len(graph.nodes) + 4
        assert dot.index('"cluster encoder"') < dot.index('"cluster encoder.0.first"')


def test_names_of_modules_are_no_part_of_the_language() -> None:
    net = torch.nn.Sequential()
    net.add_module('a "quoted\\ name', torch.nn.ReLU())
    dot = trtnn.trace(net, [trtnn.Input((2,))]).to_dot(depth=None)
    assert r'label="a \"quoted\\ name"' in dot


@pytest.mark.parametrize("depth", [0, True, "1"])
def test_a_depth_is_a_positive_int(graph: Graph, depth: Any) -> None:
    with pytest.raises(OptionError, match=r"depth: expected an int of 1 or more, or None, got"):
        graph.to_dot(depth=depth)


DOT = """#!{python}
import sys
source = sys.stdin.read()
sys.exit(3) if "broken" in source else print(sys.argv[1:], "<svg>", source)
"""


def test_a_picture_is_what_dot_makes_of_it(
    graph: Graph, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "dot"
    program.write_text(DOT.format(python=sys.executable))
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    graph.draw(tmp_path / "net.svg")
    written = (tmp_path / "net.svg").read_text()
    assert "-Tsvg" in written.splitlines()[0] and graph.to_dot() in written
    broken = torch.nn.Sequential()
    broken.add_module("broken", torch.nn.ReLU())
    with pytest.raises(UnsupportedError, match="draw: dot failed"):
        trtnn.trace(broken, [trtnn.Input((2,))]).draw(tmp_path / "other.svg")
    assert not (tmp_path / "other.svg").exists()


def test_what_is_missing_for_a_picture_is_told(
    graph: Graph, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(OptionError, match=r"path: expected a file that ends in \.svg, \.png"):
        graph.draw(tmp_path / "net.jpeg")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UnsupportedError, match="dot, is not installed"):
        graph.draw(tmp_path / "net.svg")
    monkeypatch.setitem(sys.modules, "graphviz", None)
    with pytest.raises(UnsupportedError, match=r'pip install "trtnn\[graph\]"'):
        graph.draw(tmp_path / "net.svg")
    assert list(tmp_path.iterdir()) == []


def test_plain_data_holds_every_op_and_no_weights(graph: Graph) -> None:
    written = json.dumps(graph.to_json(), allow_nan=False)
    read = json.loads(written)
    assert read == graph.to_json()
    assert [node["op"] for node in read["nodes"]] == [node.op.name for node in graph.nodes]
    assert read["dims"] == {"batch": [[1, 2, 8]]} and read["inputs"][0]["shape"] == ["batch", 4]
    names = {v["name"] for v in (*read["inputs"], *read["constants"])}
    for node in read["nodes"]:
        assert names >= set(node["inputs"])
        names |= {output["name"] for output in node["outputs"]}
    assert names >= set(read["outputs"])
    held = next(node for node in read["nodes"] if node["op"] == "Cond")["graphs"]
    assert [n["module"] for n in held["true"]["nodes"]] == ["head", "head"]
    assert "test_showing.py:" in read["nodes"][0]["line"] or read["nodes"][0]["class"] == "Linear"


class Cells(HTMLParser):
    """Collects the cells of tables, and holds open tags to be closed."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.rows: list[list[str]] = []

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.open.append(tag)
        if tag == "tr":
            self.rows.append([])
        if tag == "td":
            self.rows[-1].append("")

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] == "td":
            self.rows[-1][-1] += data


def test_a_notebook_shows_graphs_and_models() -> None:
    net = torch.nn.Sequential()
    net.add_module("<b>", torch.nn.Linear(4, 2))
    model = trtnn.compile(net, inputs=[trtnn.Input((BATCH, 4))], backend="reference")
    parser = Cells()
    parser.feed(model._repr_html_())
    rows = [row for row in parser.rows if row]
    assert parser.open == [] and rows[1][2] == "<b> Linear" and rows[1][4].endswith("<b>.weight")
    assert [row[3] for row in rows] == [
        "(batch, 4) float32",
        *["(batch, 2) float32"] * 2,
    ]
    lazy = trtnn.compile(net, backend="reference")
    assert lazy._repr_html_() == "<p>CompiledModule(lazy, 0 compiled)</p>"
    lazy(torch.ones(2, 4))
    assert "CompiledModule(reference" in lazy._repr_html_() and "<table" in lazy._repr_html_()
