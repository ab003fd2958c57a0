"""Names of a network: short enough for TensorRT, each once, and known from the graph alone."""

from __future__ import annotations

from trtnn.graph.graph import Graph, Value

LONGEST = 900  # TensorRT refuses names of more than 4,096 bytes, and cuts them in places


def shortened(label: str) -> str:
    """Return a label with its head and its op, and without its middle where it is long."""
    half = LONGEST // 2
    return label if len(label) <= LONGEST else f"{label[:half]}...{label[-half:]}"


def value_names(graph: Graph) -> dict[Value, str]:
    """Return the name that each result has as a tensor of the network.

    It is the label of its node; a further one of the label has a number. What TensorRT tells of
    tensors by name belongs to a value of the graph, also where the plan was built before.
    """
    taken = {*(value.name for value in graph.inputs), *graph.hosts}
    found: dict[Value, str] = {}
    counts: dict[str, int] = {}
    for node in graph.nodes:
        label = shortened(node.label)
        for value in node.outputs:
            name = label
            while name in taken:
                counts[label] = counts.get(label, 0) + 1
                name = f"{label}#{counts[label]}"
            taken.add(name)
            found[value] = name
    return found


def output_name(index: int) -> str:
    """Return the name of an output of the network, which its tensor has instead."""
    return f"output_{index}"
