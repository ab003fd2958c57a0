"""A graph as a table that fits a page: a row for each input and node."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING

from trtnn.ops.op import Op

if TYPE_CHECKING:
    from trtnn.graph.graph import Graph, Node, Value

WIDTH = 120
INDENT = 4  # of a graph that an op holds
HEAD = ("", "op", "module", "output", "inputs")
LEAST = (12, 24, 16, 20, 16)  # the widths that columns keep, however much others need
GAP = "  "
Row = tuple[str, str, str, str, tuple[str, ...]]


def held(graph: Graph, op: Op) -> dict[str, Graph]:
    """Return the graphs that an op holds, by field."""
    return {name: field for name, field in vars(op).items() if isinstance(field, type(graph))}


def table(graph: Graph, width: int | None = WIDTH) -> str:
    """Write a graph as a table: op, module path, shapes and dtype, one row per node.

    Args:
        width: What longer cells and lines are shortened and folded to; None: all is written.
    """
    lines = _rows(graph, width)
    for node in graph.nodes:
        for name, inner in held(graph, node.op).items():
            lines.append(f"{name} of %{node.outputs[0].name}:")
            text = table(inner, None if width is None else width - INDENT)
            lines += [" " * INDENT + line for line in text.splitlines()]
    told = [f"return {', '.join(map(repr, graph.outputs))}"]
    told += [f"assumes {a}: {a.verdict}" for a in graph.assumptions]
    told += [f"note: {note}" for note in graph.notes]
    for text in told:
        lines += text.splitlines() if width is None else _folded(text, width)
    return "\n".join(line.rstrip() for line in lines)


def operand_of(graph: Graph, value: Value) -> str:
    """Return how an operand is called: a parameter by its key, others by name."""
    constant = graph.constants.get(value)
    return (constant.key if constant is not None else None) or repr(value)


def op_text(graph: Graph, node: Node) -> str:
    """Return an op with its fields; without the graphs among them."""
    return f"{node.op.name}(...)" if held(graph, node.op) else repr(node.op)


def _rows(graph: Graph, width: int | None) -> list[str]:
    """Return the lines of the table itself."""
    rows: list[Row] = [
        (f"%{v.name}", "input", graph.formats.get(v.name, ""), str(v.spec), ())
        for v in graph.inputs
    ]
    rows += [(name, "host input", "", str(dim), ()) for name, dim in graph.hosts.items()]
    for node in graph.nodes:
        left = ", ".join(f"%{v.name}" for v in node.outputs)
        specs = ", ".join(str(v.spec) for v in node.outputs)
        operands = tuple(operand_of(graph, v) for v in node.inputs)
        rows.append((left, op_text(graph, node), node.origin.path, specs, operands))
    whole = [HEAD, *((*row[:4], ", ".join(row[4])) for row in rows)]
    widths = [max(len(row[i]) for row in whole) for i in range(len(HEAD))]
    if width is not None:
        widths = _narrowed(widths, width - len(GAP) * (len(HEAD) - 1))
    cells = [HEAD, *(_fitted(row, widths) for row in rows)]
    lines = [GAP.join(c.ljust(w) for c, w in zip(row, widths, strict=True)) for row in cells]
    lines.insert(1, GAP.join("-" * w for w in widths))
    return lines


def _narrowed(widths: Sequence[int], room: int) -> list[int]:
    """Return widths that fit: the widest column gives first, and each keeps its least."""
    found = list(widths)
    while sum(found) > room:
        spare = [w if w > least else 0 for w, least in zip(found, LEAST, strict=True)]
        if not any(spare):
            break  # a graph deep inside others has no room left
        found[spare.index(max(spare))] -= 1
    return found


def _fitted(row: Row, widths: Sequence[int]) -> tuple[str, ...]:
    name, op, module, output, inputs = row
    ends = [_cut(text, w) for text, w in zip((name, op), widths, strict=False)]
    listed = _listed(inputs, widths[4])
    return (*ends, _tail(module, widths[2]), _cut(output, widths[3]), listed)


def _cut(text: str, width: int) -> str:
    """Return the head of a text, with dots where it goes on."""
    return text if len(text) <= width else text[: width - 3] + "..."


def _tail(text: str, width: int) -> str:
    """Return the end of a text: of a module's path that says more than its head."""
    return text if len(text) <= width else "..." + text[3 - width :]


def _listed(items: Sequence[str], width: int) -> str:
    """Return the first items of a list, and how many more there are."""
    whole = ", ".join(items)
    if len(whole) <= width:
        return whole
    for count in range(len(items) - 1, 0, -1):
        text = f"{', '.join(items[:count])}, +{len(items) - count}"
        if len(text) <= width:
            return text
    more = f", +{len(items) - 1}" if len(items) > 1 else ""
    return _tail(items[0], width - len(more)) + more


def _folded(text: str, width: int) -> list[str]:
    return [
        line
        for part in text.splitlines()
        for line in textwrap.wrap(part, width, subsequent_indent=" " * INDENT)
    ]
