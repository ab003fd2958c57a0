"""A graph for other programs and for notebooks: as plain data, and as HTML."""

from __future__ import annotations

import html
from typing import TYPE_CHECKING, Any

from trtnn.graph.table import held, op_text, operand_of

if TYPE_CHECKING:
    from trtnn.graph.graph import Graph, Node, Value
    from trtnn.ops.op import Spec

MOST_ROWS = 400  # of a graph in a notebook
HEAD = ("value", "op", "module", "output", "inputs")


def described(graph: Graph) -> dict[str, Any]:
    """Return a graph as JSON holds it, to be read by other programs; without weights.

    Sizes are integers, or texts where they are expressions of Dims.
    """
    return {
        "inputs": [
            {**_tensor(v), "memory_format": graph.formats.get(v.name, "contiguous_format")}
            for v in graph.inputs
        ],
        "host_inputs": {name: str(dim) for name, dim in graph.hosts.items()},
        "dims": {dim.name: [list(range_) for range_ in dim.profiles] for dim in graph.dims},
        "constants": [{**_tensor(v), "key": c.key} for v, c in graph.constants.items()],
        "nodes": [_node(graph, node) for node in graph.nodes],
        "outputs": [value.name for value in graph.outputs],
        "assumptions": [f"{a}: {a.verdict}" for a in graph.assumptions],
        "notes": list(graph.notes),
    }


def _node(graph: Graph, node: Node) -> dict[str, Any]:
    origin, inner = node.origin, held(graph, node.op)
    fields = {name: field for name, field in vars(node.op).items() if name not in inner}
    return {
        "op": node.op.name,
        "fields": {name: _plain(field) for name, field in fields.items()},
        "inputs": [value.name for value in node.inputs],
        "outputs": [_tensor(value) for value in node.outputs],
        "module": origin.path,
        "class": origin.module_class,
        "call": origin.call,
        "function": origin.scope,
        "line": None if origin.source is None else f"{origin.source.file}:{origin.source.line}",
        "graphs": {name: described(one) for name, one in inner.items()},
    }


def _tensor(value: Value) -> dict[str, Any]:
    spec: Spec = value.spec
    shape = [_plain(size) for size in spec.shape]
    dtype = str(spec.dtype).removeprefix("torch.")
    return {"name": value.name, "shape": shape, "dtype": dtype}


def _plain(field: Any) -> Any:
    """Return a field of an op as JSON has it: text, where JSON has nothing like it."""
    if isinstance(field, tuple):
        return [_plain(item) for item in field]
    if isinstance(field, float) and not abs(field) < float("inf"):
        return str(field)
    if field is None or isinstance(field, (bool, int, float, str)):
        return field
    return str(field).removeprefix("torch.")


def page(graph: Graph) -> str:
    """Return a graph as HTML: what a notebook shows."""
    rows = [
        (f"%{v.name}", "input", graph.formats.get(v.name, ""), str(v.spec), "")
        for v in graph.inputs
    ]
    rows += [(name, "host input", "", str(dim), "") for name, dim in graph.hosts.items()]
    rows += [
        (
            ", ".join(f"%{v.name}" for v in node.outputs),
            op_text(graph, node),
            f"{node.origin.path} {node.origin.module_class}".strip(),
            ", ".join(str(v.spec) for v in node.outputs),
            ", ".join(operand_of(graph, v) for v in node.inputs),
        )
        for node in graph.nodes
    ]
    more = len(rows) - MOST_ROWS
    told = [f"and {more} rows more: print(graph)"] if more > 0 else []
    told += [f"return {', '.join(map(repr, graph.outputs))}"]
    told += [f"assumes {a}: {a.verdict}" for a in graph.assumptions]
    told += [f"note: {note}" for note in graph.notes]
    inner = [
        f"<p>{html.escape(f'{name} of %{node.outputs[0].name}')}</p>{page(one)}"
        for node in graph.nodes
        for name, one in held(graph, node.op).items()
    ]
    body = "".join(_row("td", row) for row in rows[:MOST_ROWS])
    style = "text-align:left;font-family:monospace"
    lines = "".join(f"<div>{html.escape(line)}</div>" for line in told)
    summary = f"{len(graph.nodes)} ops, {len(graph.inputs)} inputs, {len(graph.outputs)} outputs"
    return (
        f'<details open><summary>{summary}</summary><table style="{style}"><thead>'
        f"{_row('th', HEAD)}</thead><tbody>{body}</tbody></table>{lines}{''.join(inner)}</details>"
    )


def _row(tag: str, cells: tuple[str, ...]) -> str:
    inside = "".join(
        f'<{tag} style="text-align:left">{html.escape(cell)}</{tag}>' for cell in cells
    )
    return f"<tr>{inside}</tr>"
