"""Which values of a graph are quantized, and the graph with them quantized.

TensorRT computes a layer with 8 bits where all that it multiplies comes from Dequantize.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace

import torch

from trtnn.errors import InputError, UnsupportedError
from trtnn.graph import passes
from trtnn.graph.graph import Graph, Node, Value
from trtnn.graph.passes.rewriter import Rewriter
from trtnn.ops.arithmetic import Elementwise
from trtnn.ops.attention import Attention
from trtnn.ops.convolution import Convolution
from trtnn.ops.deconvolution import Deconvolution
from trtnn.ops.matrix import MatrixMultiply
from trtnn.ops.movement import Identity, Shuffle
from trtnn.ops.op import recording
from trtnn.ops.pooling import Pool
from trtnn.ops.quantization import LARGEST, QuantizeDequantize
from trtnn.ops.reduction import Reduce
from trtnn.ops.slicing import Concat, Slice

LEAST_CHANNELS = 16
WEIGHTED = (Convolution, Deconvolution, MatrixMultiply)
Points = dict[tuple[Node, int], Value]
"""Operands that are quantized, each with the value whose scale it has."""


def prepared(graph: Graph, *, attention: bool) -> Graph:
    """Return a traced graph as scales are found on it: norms folded, padding left to windows."""
    graph = passes.absorb_pads(passes.fold_norms(graph))
    if not attention:
        return graph
    rewriter = Rewriter(graph)
    for node in graph.nodes:
        if not isinstance(node.op, Attention):
            rewriter.keep(node)
            continue
        rewriter.origin = node.origin
        with recording(rewriter):
            result = node.op.decompose(*(rewriter.tensor(v) for v in node.inputs))
        rewriter.substitute(node.outputs, result)
    return rewriter.finish()


def names_of(graph: Graph) -> dict[Value, str]:
    """Return a name for each value that is no constant: of an input, or of the layer it leaves."""
    names = {value: value.name for value in graph.inputs}
    counts: Counter[str] = Counter()
    for node in graph.nodes:
        count = counts[node.label]
        counts[node.label] += 1
        name = f"{node.label}#{count}" if count else node.label
        for index, value in enumerate(node.outputs):
            names[value] = f"{name}:{index}" if index else name
    return names


def weighted(graph: Graph, *, attention: bool) -> tuple[dict[str, Node], dict[str, str]]:
    """Return the layers that are quantized, by name, and why the others of their kind are not."""
    names = names_of(graph)
    gates = _gates(graph)
    chosen: dict[str, Node] = {}
    left: dict[str, str] = {}
    for node in graph.nodes:
        if not isinstance(node.op, WEIGHTED):
            continue
        reason = _reason(graph, node, attention=attention)
        if reason is None and node in gates:
            reason = "it decides a factor for each channel (squeeze and excite)"
        name = names[node.outputs[0]]
        if reason is None:
            chosen[name] = node
        else:
            left[name] = reason
    return chosen, left


def _reason(graph: Graph, node: Node, *, attention: bool) -> str | None:
    """Say why a layer is not quantized; None where it is."""
    x, result = node.inputs[0].spec, node.outputs[0].spec
    constants = [value in graph.constants for value in node.inputs[:2]]
    if any(isinstance(maker.op, QuantizeDequantize) for maker in _makers(graph, node.inputs[:2])):
        return "it is quantized already"
    if isinstance(node.op, MatrixMultiply):
        if not any(constants) and not attention:
            return "both operands are activations (attention=True takes it)"
        if 1 in result.shape[-2:]:
            return "it multiplies a vector"
        return None
    assert isinstance(node.op, (Convolution, Deconvolution))
    if not constants[1]:
        return "its kernel is computed"
    channels, groups = (x.shape[1], result.shape[1]), node.op.groups
    if any(isinstance(size, int) and size < LEAST_CHANNELS for size in channels):
        return f"it has fewer than {LEAST_CHANNELS} channels"
    window = node.inputs[1].spec.shape[2:]
    sides = [int(size) for size in window if isinstance(size, int) and size > 1] or [1]
    if groups > 1 and (any(int(str(c)) % 8 for c in channels) or min(sides) < 3):
        return "its groups have no kernel of 8 bits: channels in eights, and a window of 3 or more"
    if all(size == 1 for size in x.shape[2:]):
        return "it sees one entry of each channel, as squeeze and excite does"
    return None


def _makers(graph: Graph, values: Iterable[Value]) -> list[Node]:
    wanted = set(values)
    return [node for node in graph.nodes if wanted.intersection(node.outputs)]


def _gates(graph: Graph) -> set[Node]:
    """Return the layers between a mean over space and the product that it scales."""
    makers = {value: node for node in graph.nodes for value in node.outputs}
    found: set[Node] = set()
    for node in graph.nodes:
        if not isinstance(node.op, Elementwise) or node.op.kind != "PROD":
            continue
        for gate, other in (node.inputs, node.inputs[::-1]):
            if _is_narrow(gate, other):
                path, reduced = _behind(makers, gate)
                found |= path if reduced else set()
    return found


def _is_narrow(gate: Value, other: Value) -> bool:
    """Say whether a factor has one entry for each channel, where the other has space."""
    return gate.spec.rank == other.spec.rank > 2 and any(
        a == 1 and b != 1 for a, b in zip(gate.spec.shape[2:], other.spec.shape[2:], strict=True)
    )


def _behind(makers: Mapping[Value, Node], gate: Value) -> tuple[set[Node], bool]:
    """Return the layers that compute a gate, back to means over space; and whether all end so."""
    path: set[Node] = set()
    waiting, reduced = [gate], False
    while waiting:
        node = makers.get(waiting.pop())
        if node is None or node in path:
            continue
        if isinstance(node.op, (Reduce, Pool)):
            reduced = True
            continue
        path.add(node)
        waiting += node.inputs
    return {node for node in path if isinstance(node.op, WEIGHTED)}, reduced


def points_of(graph: Graph, chosen: Collection[Node]) -> Points:
    """Return the activations that are quantized where the layers ``chosen`` are."""
    points: Points = {
        (node, index): value
        for node in graph.nodes
        if node in chosen
        for index, value in enumerate(node.inputs[:2])
        if value not in graph.constants
    }
    uses = graph.uses()
    makers = {value: node for node in graph.nodes for value in node.outputs}
    for node in graph.nodes:
        if isinstance(node.op, Elementwise) and node.op.kind == "SUM":
            points.update(_skip(graph, node, makers, uses, chosen))
    _spread(graph, points)
    return points


def _skip(
    graph: Graph,
    node: Node,
    makers: Mapping[Value, Node],
    uses: Mapping[Value, int],
    chosen: Collection[Node],
) -> Points:
    """Return the operand of a sum beside a convolution that TensorRT adds it to."""
    if any(v in graph.constants for v in node.inputs) or _unequal(node.inputs):
        return {}
    for index, value in enumerate(node.inputs):
        maker = makers.get(value)
        is_conv = maker is not None and isinstance(maker.op, Convolution)
        if is_conv and maker in chosen and uses[value] == 1:
            return {(node, 1 - index): node.inputs[1 - index]}
    return {}


def _unequal(values: Iterable[Value]) -> bool:
    return len({value.spec.shape for value in values}) > 1


def _spread(graph: Graph, points: Points) -> None:
    """Add what a concat joins, and an average pool takes, where only 8 bits read the result."""
    readers: dict[Value, list[tuple[Node, int]]] = {}
    for node in graph.nodes:
        for index, value in enumerate(node.inputs):
            readers.setdefault(value, []).append((node, index))
    read: set[Value] = set()
    for node in reversed(graph.nodes):
        result = node.outputs[0]
        if result in graph.outputs or not all(
            place in points or (_moves(place[0]) and place[0].outputs[0] in read)
            for place in readers.get(result, [])
        ):
            continue
        read.add(result)
        if not result.spec.dtype.is_floating_point:
            continue
        if isinstance(node.op, Concat) and not any(v in graph.constants for v in node.inputs):
            points.update({(node, i): result for i in range(len(node.inputs))})
        if isinstance(node.op, Pool) and node.op.kind == "AVERAGE":
            points[node, 0] = node.inputs[0]


def _moves(node: Node) -> bool:
    """Say whether TensorRT moves Quantize over an op."""
    picks = isinstance(node.op, Pool) and node.op.kind == "MAX"
    return picks or isinstance(node.op, (Concat, Identity, Shuffle, Slice))


def insert(
    graph: Graph,
    layers: Collection[str],
    scales: Mapping[str, float],
    *,
    per_channel: bool,
    activations: bool,
    dtype: torch.dtype,
) -> Graph:
    """Return a prepared graph with activations and weights of ``layers`` quantized.

    Raises:
        InputError: The graph lacks one of the layers, or a value has no scale.
    """
    names = names_of(graph)
    nodes = {names[node.outputs[0]]: node for node in graph.nodes if node.outputs}
    if absent := sorted(set(layers) - set(nodes)):
        raise InputError(
            f"quantize: this call of forward has no layer {absent[0]}, which was calibrated",
            hint="calibrate with inputs for which forward takes the same path",
        )
    chosen = {nodes[name] for name in layers}
    points = points_of(graph, chosen) if activations else {}
    rewriter = Rewriter(graph)
    made: dict[tuple[Value, str], Value] = {}
    for node in graph.nodes:
        inputs = list(map(rewriter.value, node.inputs))
        rewriter.origin = node.origin
        for index, value in enumerate(node.inputs):
            if node in chosen and index < 2 and value in graph.constants:
                axis = axis_of(node, index) if per_channel else None
                step = rewriter.compute(weight_scale, inputs[index], axis, LARGEST[dtype])
                operation = QuantizeDequantize(axis, dtype)
            elif (source := points.get((node, index))) is not None:
                key = inputs[index], names[source]
                if key in made:
                    inputs[index] = made[key]
                    continue
                step = rewriter.constant(torch.tensor(_scale(scales, names[source])))
                operation = QuantizeDequantize(None, dtype)
            else:
                continue
            result = rewriter.value_of(rewriter.record(operation, (inputs[index], step)))
            if (node, index) in points:
                made[key] = result
            inputs[index] = result
        rewriter.keep(replace(node, inputs=tuple(inputs)))
    return rewriter.finish()


def _scale(scales: Mapping[str, float], name: str) -> float:
    if name not in scales:
        raise InputError(
            f"calibration: no scale of {name}",
            hint="calibrate this model: quantize(module, data) without a cache, or of new name",
        )
    return scales[name]


def axis_of(node: Node, index: int) -> int | None:
    """Return the axis of a layer's weights that its outputs are numbered along."""
    if isinstance(node.op, Convolution):
        return 0
    if isinstance(node.op, Deconvolution):
        return 1 if node.op.groups == 1 else None
    assert isinstance(node.op, MatrixMultiply)
    rank = node.inputs[index].spec.rank
    rows_last = node.op.transpose_b if index else not node.op.transpose_a
    return rank - 2 if rows_last else rank - 1


def weight_scale(weight: torch.Tensor, axis: int | None, largest: float) -> torch.Tensor:
    """Return the steps of weights, one for each index along ``axis``; 1 where all are 0.

    Raises:
        UnsupportedError: A weight is not finite.
    """
    entries = weight.detach().float().abs()
    if axis is None:
        amax = entries.amax()
    else:
        amax = entries.amax([i for i in range(entries.dim()) if i != axis])
    if not bool(torch.isfinite(amax).all()):
        raise UnsupportedError("quantize: weights hold NaN or infinity, which have no scale")
    return torch.where(amax > 0, amax / largest, torch.ones_like(amax))
