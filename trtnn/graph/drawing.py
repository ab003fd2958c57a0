"""A graph as Graphviz draws it: modules as boxes, and what passes between them."""

from __future__ import annotations

import importlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trtnn.errors import OptionError, UnsupportedError
from trtnn.files import replacing
from trtnn.graph.table import held, op_text

if TYPE_CHECKING:
    from trtnn.graph.graph import Graph, Node, Value

FORMATS = ("svg", "png", "pdf")
LONGEST = 60  # characters of a line in a box
HEAD = """digraph trtnn {
  node [shape=box, style="rounded,filled", fillcolor="#eef3fb", fontname="Helvetica", fontsize=11];
  edge [fontname="Helvetica", fontsize=9, color="#555555"];"""
Box = tuple[str, tuple[str, ...]]  # what stands for a node: its kind, and the parts of its path


def dot_of(graph: Graph, depth: int | None = 1) -> str:
    """Return a graph in Graphviz's language.

    Args:
        depth: How many parts of a module's path have boxes of their own: what is deeper is in the
            box of its module. None: every op has a box, in frames that are the modules.

    Raises:
        OptionError: ``depth`` is none of these.
    """
    if depth is not None and (type(depth) is not int or depth < 1):
        raise OptionError(f"depth: expected an int of 1 or more, or None, got {depth!r}")
    boxes = {node: _box(node, index, depth) for index, node in enumerate(graph.nodes)}
    inside: dict[Box, list[Node]] = {}
    for node, box in boxes.items():
        inside.setdefault(box, []).append(node)
    names = {box: f"n{i}" for i, box in enumerate(inside)}
    lines = [HEAD]
    lines += [
        f"  in{i} [label={_quoted(f'%{v.name}', str(v.spec))}, fillcolor=white];"
        for i, v in enumerate(graph.inputs)
    ]
    if depth is None:
        lines += _frames(graph, {node: names[box] for node, box in boxes.items()})
    else:
        lines += [f"  {names[box]} [label={_label(graph, box, inside[box])}];" for box in names]
    lines += [
        f"  out{i} [label={_quoted(f'output {i}', str(v.spec))}, fillcolor=white];"
        for i, v in enumerate(graph.outputs)
    ]
    return "\n".join([*lines, *_edges(graph, boxes, names), "}"])


def draw(graph: Graph, path: str | os.PathLike[str], depth: int | None) -> None:
    """Write the picture of a graph: SVG, PNG or PDF, by the file's ending.

    Raises:
        OptionError: The ending is another one, or ``depth`` is not right.
        UnsupportedError: Graphviz is not installed, or fails.
        OSError: The file cannot be written.
    """
    form = Path(path).suffix.removeprefix(".").lower()
    if form not in FORMATS:
        raise OptionError(
            f"path: expected a file that ends in {', '.join(f'.{f}' for f in FORMATS)}, got {path}",
            hint="to_dot gives Graphviz's own language as text",
        )
    content = _rendered(dot_of(graph, depth), form)
    with replacing(Path(path)) as file:
        file.write(content)


def _rendered(source: str, form: str) -> bytes:
    graphviz = _graphviz()
    try:
        content: bytes = graphviz.Source(source).pipe(format=form)
    except graphviz.ExecutableNotFound as error:
        raise UnsupportedError(
            "draw: Graphviz's own program, dot, is not installed",
            hint="apt-get install graphviz, or conda install graphviz; to_dot needs neither",
        ) from error
    except graphviz.CalledProcessError as error:
        raise UnsupportedError(f"draw: dot failed: {error}") from error
    return content


def _graphviz() -> Any:
    try:
        return importlib.import_module("graphviz")
    except ImportError as error:
        raise UnsupportedError(
            "draw: the Python package graphviz is not installed",
            hint='pip install "trtnn[graph]", and Graphviz itself; to_dot needs neither',
        ) from error


def _box(node: Node, index: int, depth: int | None) -> Box:
    parts = tuple(node.origin.path.split(".")) if node.origin.path else ()
    if depth is None or len(parts) < depth:
        return f"op {index}", parts
    return "module", parts[:depth]


def _label(graph: Graph, box: Box, inside: Sequence[Node]) -> str:
    """Return what a box says: an op, or a module with its class and the number of its ops."""
    if box[0] != "module":
        return _op_label(graph, inside[0])
    path = ".".join(box[1])
    kinds = {node.origin.module_class for node in inside if node.origin.path == path}
    kind = f"{kinds.pop()}, " if len(kinds) == 1 and "" not in kinds else ""
    if len(inside) == 1:
        return _quoted(path, f"{kind}{inside[0].op.name}")
    return _quoted(path, f"{kind}{len(inside)} ops")


def _op_label(graph: Graph, node: Node) -> str:
    lines = [op_text(graph, node), *(str(v.spec) for v in node.outputs)]
    lines += [f"{name}: {len(g.nodes)} ops" for name, g in held(graph, node.op).items()]
    return _quoted(*lines)


def _frames(graph: Graph, names: dict[Node, str], parts: tuple[str, ...] = ()) -> list[str]:
    """Return the boxes of all ops inside one module, each inner module in a frame."""
    lines: list[str] = []
    inner: dict[str, dict[Node, str]] = {}
    for node, name in names.items():
        path = node.origin.path.split(".") if node.origin.path else []
        if len(path) == len(parts):
            lines.append(f"{name} [label={_op_label(graph, node)}];")
        else:
            inner.setdefault(path[len(parts)], {})[node] = name
    for part, nodes in inner.items():
        whole = ".".join((*parts, part))
        lines += [
            f"subgraph {_quoted(f'cluster {whole}')} {{",
            f'  label={_quoted(whole)}; color="#99aacc"; fontname="Helvetica";',
            *_frames(graph, nodes, (*parts, part)),
            "}",
        ]
    return [f"  {line}" for line in lines]


def _edges(graph: Graph, boxes: dict[Node, Box], names: dict[Box, str]) -> list[str]:
    maker: dict[Value, str] = {v: f"in{i}" for i, v in enumerate(graph.inputs)}
    maker |= {v: names[boxes[node]] for node in graph.nodes for v in node.outputs}
    found: dict[tuple[str, str, Value], None] = {}
    for node in graph.nodes:
        for value in node.inputs:
            if value in maker and maker[value] != names[boxes[node]]:
                found[maker[value], names[boxes[node]], value] = None
    for i, value in enumerate(graph.outputs):
        if value in maker:
            found[maker[value], f"out{i}", value] = None
    return [f"  {a} -> {b} [label={_quoted(str(v.spec))}];" for a, b, v in found]


def _quoted(*lines: str) -> str:
    """Return lines as one text of Graphviz's language."""
    short = (line if len(line) <= LONGEST else line[: LONGEST - 3] + "..." for line in lines)
    return '"' + "\\n".join(s.replace("\\", "\\\\").replace('"', '\\"') for s in short) + '"'
