"""Drop expands before ops that broadcast by themselves."""

from __future__ import annotations

from trtnn.graph.graph import Graph
from trtnn.graph.passes.rewriter import Rewriter
from trtnn.ops.arithmetic import Elementwise, Select
from trtnn.ops.movement import Expand
from trtnn.ops.op import Spec, broadcast


def absorb_expands(graph: Graph) -> Graph:
    """Return ``graph`` with each Expand that an elementwise op would do itself left out."""
    makers = {value: node for node in graph.nodes for value in node.outputs}
    rewriter = Rewriter(graph)
    for node in graph.nodes:
        inputs = list(node.inputs)
        if isinstance(node.op, (Elementwise, Select)):
            for index, value in enumerate(inputs):
                maker = makers.get(value)
                if maker is None or not isinstance(maker.op, Expand):
                    continue
                narrow = [*inputs[:index], maker.inputs[0], *inputs[index + 1 :]]
                shape = broadcast("expand", *(v.spec.shape for v in narrow))
                if Spec(shape, node.outputs[0].spec.dtype) == node.outputs[0].spec:
                    inputs = narrow
        if inputs == list(node.inputs):
            rewriter.keep(node)
        else:
            rewriter.origin = node.origin
            result = rewriter.record(node.op, [rewriter.tensor(v) for v in inputs])
            rewriter.substitute(node.outputs, result)
    return rewriter.finish()
