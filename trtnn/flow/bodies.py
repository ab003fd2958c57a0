"""Functions of the user's as graphs in an op: traced, and closed over what they use."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

from trtnn.errors import UnsupportedError
from trtnn.graph.graph import Graph, Node, Value
from trtnn.graph.holding import Holder, captured_by
from trtnn.graph.tensor import Tensor
from trtnn.ops.masks import depends_on_data
from trtnn.ops.movement import Identity
from trtnn.ops.op import Spec, active_recorder, recorder_of
from trtnn.source import SourceLine, find_user_line
from trtnn.tracing.frames import Frame
from trtnn.tree import Tree, flatten, unflatten


@dataclass(frozen=True)
class Body:
    """A function as a graph.

    Attributes:
        what: The function, as errors name it.
        graph: Its inputs are those that it was given as its own; it may use values from outside.
        tree: The structure of what it returns.
        leaves: The leaves of that: a tensor is the index of an output.
        lines: Where each output is computed.
    """

    what: str
    graph: Graph
    tree: Tree
    leaves: tuple[Any, ...]
    lines: tuple[SourceLine | None, ...]

    def line(self, index: int) -> str:
        """Say where an output comes from."""
        line = self.lines[index]
        return f"at {line}" if line is not None else "somewhere"


class Index(int):
    """The index of an output, as distinct from an int that a function returned."""


def recorder_for(operands: Sequence[Any]) -> Any:
    """Return who traces, None where everything is real."""
    found = recorder_of(*operands)
    return found if found is not None else active_recorder()


def traced(
    recorder: Any, what: str, function: Callable[..., Any], specs: Sequence[Spec], call: Any = None
) -> Body:
    """Trace a function on new tensors of these specs.

    Args:
        what: The function, as errors name it.
        call: Calls the function with these tensors; with them alone, if omitted.

    Raises:
        UnsupportedError: It makes a size that depends on data, or writes to what it is given.
    """
    frame = Frame(what)
    values = []
    for spec in specs:
        values.append(Value(f"a{recorder.count}", spec))
        recorder.count += 1
    with recorder.writing(*recorder.frames, frame):
        given = [Tensor(v.spec, recorder, value=v) for v in values]
        frame.given = given
        result = call(given) if call is not None else function(*given)
        leaves, tree = flatten(result, f"the result of {what}")
        with torch._C.DisableTorchFunction():
            outputs, kept = _outputs(recorder, leaves, {*values})
    require_no_data_sizes(what, frame.nodes)
    graph = Graph(tuple(values), tuple(frame.nodes), tuple(outputs), {}).live()
    lines = tuple(_line(recorder, value, function) for value in outputs)
    return Body(what, graph, tree, tuple(kept), lines)


def _outputs(
    recorder: Any, leaves: Sequence[Any], given: set[Value]
) -> tuple[list[Value], list[Any]]:
    """Return the values of a result, each computed by a node of its own, and its leaves."""
    made = {value for node in recorder.frame.nodes for value in node.outputs}
    outputs: list[Value] = []
    kept: list[Any] = []
    for leaf in leaves:
        if not isinstance(leaf, torch.Tensor):
            kept.append(leaf)
            continue
        value = recorder.value_of(leaf)
        if value not in made or value in outputs:
            value = recorder.value_of(recorder.add(Identity(), (value,)))
        kept.append(Index(len(outputs)))
        outputs.append(value)
    return outputs, kept


def _line(recorder: Any, value: Value, function: Callable[..., Any]) -> SourceLine | None:
    """Return where a value is computed, else where the function stands that returned it."""
    node = recorder.makers[value]
    if not isinstance(node.op, Identity):
        found: SourceLine | None = node.origin.source
        return found
    source = recorder.makers.get(node.inputs[0])
    if source is not None and source.origin.source is not None:
        line: SourceLine = source.origin.source
        return line
    code = getattr(function, "__code__", None)
    if code is None:
        return find_user_line()
    return SourceLine(code.co_filename, code.co_firstlineno, code.co_name)


def require_no_data_sizes(what: str, nodes: Sequence[Node]) -> None:
    """Refuse sizes that depend on data: how much memory a branch or a step takes is not known."""
    for node in nodes:
        if depends_on_data(*(size for v in node.outputs for size in v.spec.shape)):
            raise UnsupportedError(
                f"{node.op.name} in {what}: a size that depends on data, in a branch or a loop",
                hint="keep all entries, with torch.where, or pick them outside",
                where=node.origin.source,
            )


def record(recorder: Any, op: Callable[..., Holder], bodies: Sequence[Body], *lead: Any) -> Any:
    """Record the op that holds bodies, and return its results as a tuple.

    Args:
        op: Makes it of their graphs.
        lead: Its own operands.
    """
    graphs = [body.graph for body in bodies]
    captured = captured_by(graphs, [graph.inputs for graph in graphs])
    closed = [replace(graph, inputs=(*graph.inputs, *captured)) for graph in graphs]
    with torch._C.DisableTorchFunction():
        operands = tuple(map(recorder.value_of, lead))
        results = recorder.add(op(*closed), (*operands, *captured))
    return results if isinstance(results, tuple) else (results,)


def filled(body: Body, results: Sequence[Any]) -> Any:
    """Return what a function returned, with results of the op in it."""
    return unflatten(body.tree, [results[x] if isinstance(x, Index) else x for x in body.leaves])


def copied(value: Any) -> Any:
    """Return what a function returned with each tensor a new one, as the results of an op are."""
    leaves, tree = flatten(value)
    return unflatten(tree, [x.clone() if isinstance(x, torch.Tensor) else x for x in leaves])
