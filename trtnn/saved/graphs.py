"""A graph as plain data, which a file holds, and back: what runs it on the reference.

Sizes, leaves and tensors are written as the manifest of a saved model writes them. Values are
numbers in the order in which the graph defines them: inputs, constants, results of nodes. Where
nodes stand in ``forward`` is told by module, and by no file and no line.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import torch

import trtnn.flow.callables
import trtnn.ops  # noqa: F401 - whose import defines all ops
from trtnn.errors import LoadError, TrtnnError, UnsupportedError
from trtnn.graph.graph import Constant, Graph, Node, Origin, Value, as_tuple
from trtnn.ops.op import Op, Spec, sizes_in
from trtnn.ops.plugins import Plugin
from trtnn.saved.description import MALFORMED, declared_dim, described_dim, described_tensor
from trtnn.saved.leaves import decode, dtype_of, encode
from trtnn.saved.notation import read_dims, read_size
from trtnn.sizes.dims import Dim, Expr, symbols
from trtnn.sizes.expressions import SizeSymbol
from trtnn.tracing.tracer import Output
from trtnn.tree import LEAF, Tree

Keep = Callable[[torch.Tensor], str]
Array = Callable[[str], torch.Tensor]
PLACE = ("path", "module_class", "call", "scope", "region")


def describe_graph(graph: Graph, keep: Keep) -> dict[str, Any]:
    """Return a graph as JSON holds it; its result is a tuple of all outputs.

    Args:
        keep: Keeps a constant's tensor, and returns the name that it is found by.

    Raises:
        UnsupportedError: It has a number that a file cannot hold, or a plugin.
    """
    number = {value: i for i, value in enumerate(graph.values())}
    return {
        "dims": {name: described_dim(symbol) for name, symbol in _symbols(graph).items()},
        "hosts": [{"name": name, "dim": dim.name} for name, dim in graph.hosts.items()],
        "inputs": [
            described_tensor(v.name, v.spec, graph.formats.get(v.name)) for v in graph.inputs
        ],
        "constants": [
            {**described_tensor(v.name, v.spec), "key": c.key, "array": keep(c.tensor)}
            for v, c in graph.constants.items()
        ],
        "nodes": [
            {
                "op": node.op.name,
                "fields": {
                    field.name: _described(getattr(node.op, field.name), node, field.name, keep)
                    for field in dataclasses.fields(node.op)
                },
                "inputs": [number[v] for v in node.inputs],
                "outputs": [v.name for v in node.outputs],
                "place": {name: getattr(node.origin, name) for name in PLACE},
            }
            for node in graph.nodes
        ],
        "outputs": [number[v] for v in graph.outputs],
    }


def _described(value: Any, node: Node, name: str, keep: Keep) -> Any:
    if isinstance(node.op, Plugin):
        raise UnsupportedError(
            f"{node.op.title}: a file holds no code, such as its reference, so no graph with it",
            where=node.origin.source,
        )
    if isinstance(value, Graph):
        return {"graph": describe_graph(value, keep)}
    return encode(value, f"{node.label}.{name}")


def _symbols(graph: Graph) -> dict[str, SizeSymbol]:
    found: dict[str, SizeSymbol] = {}
    sizes = [size for v in graph.values() for size in v.spec.shape]
    sizes += [size for node in graph.nodes for size in sizes_in(tuple(vars(node.op).values()))]
    for size in (*sizes, *graph.dims, *graph.hosts.values()):
        found.update((symbol.name, symbol) for symbol in symbols(size))
    return found


def restore_graph(written: Mapping[str, Any], array: Array) -> Graph:
    """Return the graph that ``describe_graph`` wrote.

    Args:
        array: Returns the entries of a constant by name, in one row.

    Raises:
        LoadError: It is none, or of ops that this trtnn does not have.
    """
    try:
        graph = _restored(written, array)
        graph.check()
    except LoadError:
        raise
    except (TrtnnError, *MALFORMED) as error:
        raise LoadError(f"the file holds no graph: {type(error).__name__}: {error}") from error
    return graph


def _restored(written: Mapping[str, Any], array: Array) -> Graph:
    dims = read_dims(written["dims"])
    inputs = tuple(Value(t["name"], _spec(t, dims)) for t in written["inputs"])
    constants = {
        Value(t["name"], (spec := _spec(t, dims))): Constant(_tensor(array(t["array"]), spec))
        for t in written["constants"]
    }
    values = [*inputs, *constants]
    ops, nodes = ops_by_name(), []
    for entry in written["nodes"]:
        if entry["op"] not in ops:
            raise LoadError(f"there is no op {entry['op']!r}")
        fields = {name: _field(value, dims, array) for name, value in entry["fields"].items()}
        op = ops[entry["op"]](**fields)
        given = tuple(values[i] for i in entry["inputs"])
        specs = as_tuple(op.infer(*(v.spec for v in given)))
        outputs = tuple(map(Value, entry["outputs"], specs))
        nodes.append(Node(op, given, outputs, Origin(**entry["place"])))
        values += outputs
    results = tuple(values[i] for i in written["outputs"])
    hosts = {host["name"]: declared_dim(dims[host["dim"]]) for host in written["hosts"]}
    declared = tuple(dim for dim in dims.values() if isinstance(dim, Dim))
    formats = {t["name"]: t["memory_format"] for t in written["inputs"] if "memory_format" in t}
    graph = Graph(inputs, tuple(nodes), results, constants, declared, hosts, formats)
    return with_tuple(graph)


def _field(written: Any, dims: Mapping[str, Expr], array: Array) -> Any:
    if isinstance(written, dict) and written.keys() == {"graph"}:
        return _restored(written["graph"], array)
    return decode(written, dims)


def with_tuple(graph: Graph) -> Graph:
    """Return a graph whose result is a tuple of all its outputs."""
    count = len(graph.outputs)
    result = Tree(tuple, tuple(range(count)), (LEAF,) * count)
    return replace(graph, result=result, leaves=tuple(map(Output, range(count))))


def _spec(written: Mapping[str, Any], dims: Mapping[str, Expr]) -> Spec:
    return Spec(tuple(read_size(s, dims) for s in written["shape"]), dtype_of(written["dtype"]))


def _tensor(entries: torch.Tensor, spec: Spec) -> torch.Tensor:
    return entries.view(spec.dtype).reshape([int(size) for size in spec.shape])  # type: ignore[arg-type]


def ops_by_name() -> dict[str, type[Op]]:
    """Return trtnn's own ops."""
    found, waiting = {}, list[type[Op]]([Op])
    while waiting:
        kind = waiting.pop()
        waiting += kind.__subclasses__()
        if kind.__module__.startswith(("trtnn.ops.", "trtnn.flow.")):
            found[kind.__name__] = kind
    return found
