"""Branches and loops: layers that only run where a condition holds, or again and again."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

from trtnn.errors import BuildError, UnsupportedError
from trtnn.graph.graph import Graph, Node, Value, as_tuple, graphs_in
from trtnn.lower.layers import DOUBLE, Handle, ITensor, Layers, Operand
from trtnn.ops.arithmetic import Cast
from trtnn.sizes.dims import Size

Enter: TypeAlias = Callable[[ITensor], ITensor] | None
"""Takes a tensor from outside into a branch; a loop uses it as it is."""


class Scopes(Layers):
    """Lowers the graphs that ops hold, each in a scope of its own.

    A size that one branch has computed is not there in another, nor outside: each scope computes
    its own, from those around it.
    """

    node: Node | None
    used: set[Value]
    held: list[Any]
    sizes: dict[Any, ITensor]
    around: list[tuple[dict[Any, ITensor], Enter]]

    def checked(self, node: Node, value: Value, result: Operand) -> ITensor:
        raise NotImplementedError

    def _label(self) -> str:
        raise NotImplementedError

    def lower_node(self, node: Node, tensors: dict[Value, Operand]) -> None:
        """Lower a node, of the graph or of one that an op holds, and note what it gives."""
        self.node = node
        _refuse_double(self, node)
        results = as_tuple(node.op.lower(self, *(tensors[v] for v in node.inputs)))
        require_silence(self)
        for value, result in zip(node.outputs, results, strict=True):
            if result is not None:
                tensors[value] = self.checked(node, value, result)

    def _size(self, size: Size) -> ITensor:
        raise NotImplementedError

    def conditional(
        self, pred: Operand, graphs: Sequence[Graph], captured: Sequence[Operand]
    ) -> tuple[ITensor, ...]:
        """Return what the first of two graphs gives where ``pred`` holds, else the second."""
        self._require_nesting(graphs[0])
        made = self.network.add_if_conditional()
        self.held.append(made)
        made.set_condition(self.tensor(pred).handle)

        def enter(x: ITensor) -> ITensor:
            return self.done(made.add_input(x.handle), x.dtype, x.shape, None)

        branches = [self._inside(graph, captured, enter) for graph in graphs]
        results = []
        for true, false in zip(*branches, strict=True):
            layer = made.add_output(true.handle, false.handle)
            results.append(self.done(layer, true.dtype, true.shape, None))
        return tuple(results)

    def repeated(
        self,
        graphs: tuple[Graph, Graph | None],
        initial: Sequence[Operand],
        scanned: Sequence[tuple[Operand, int]],
        captured: Sequence[Operand],
        *,
        length: Size | None,
        reverse: bool,
    ) -> tuple[ITensor | None, ...]:
        """Return what is left of values that a graph computes anew, and what each step gave.

        What nothing uses is None: in a branch, TensorRT for RTX dies of such an output of a loop.

        Args:
            graphs: The step, and a condition to go on, or None.
            initial: The values at first.
            scanned: Tensors of which each step gets a slice, with their axes.
            length: How many steps there are, where there is no condition.
        """
        trt, made = self.library.trt, self.network.add_loop()
        self.held.append(made)
        body, condition = graphs
        states, edges = [], []
        for x in map(self.tensor, initial):
            edges.append(made.add_recurrence(x.handle))
            states.append(self.done(edges[-1], x.dtype, x.shape, None))
        slices = []
        for operand, axis in scanned:
            x = self.tensor(operand)
            layer = made.add_iterator(x.handle, axis, reverse)
            shape = (*x.shape[:axis], *x.shape[axis + 1 :])
            slices.append(self.done(layer, x.dtype, shape, None))
        count = None
        if condition is not None:
            (truth,) = self._inside(condition, [*states, *captured], None)
            made.add_trip_limit(truth.handle, trt.TripLimit.WHILE)
        else:
            assert length is not None
            count = self.shuffle(self._size(length), shape=())
            made.add_trip_limit(count.handle, trt.TripLimit.COUNT)
        outputs = self._inside(body, [*states, *slices, *captured], None)
        assert self.node is not None
        kind, wanted = trt.LoopOutput, [value in self.used for value in self.node.outputs]
        results: list[ITensor | None] = [None] * len(wanted)
        for index, (edge, state) in enumerate(zip(edges, states, strict=True)):
            # RTX 1.7.1: an edge back from a product or an activation has an 'invalid inferred type'
            edge.set_input(1, self.identity(outputs[index]).handle)
            if wanted[index]:
                layer = made.add_loop_output(state.handle, kind.LAST_VALUE)
                results[index] = self.done(layer, state.dtype, state.shape, None)
        for index in range(len(states), len(outputs)):
            if count is not None and length is not None and wanted[index]:
                how, output = kind.REVERSE if reverse else kind.CONCATENATE, outputs[index]
                layer = made.add_loop_output(output.handle, how, 0)
                layer.set_input(1, count.handle)
                results[index] = self.done(layer, output.dtype, (length, *output.shape), None)
        return tuple(results)

    def _require_nesting(self, graph: Graph) -> None:
        """Refuse a condition in a branch where this TensorRT does not take it."""
        target = self.library.target
        dynamic = any(not isinstance(s, int) for v in graph.outputs for s in v.spec.shape)
        if dynamic and not target.nests_dynamic_conditions and any(e for _, e in self.around):
            raise UnsupportedError(
                f"a condition in a branch, of a result with a dynamic size: {target.name} cannot "
                "build it",
                hint='TensorRT itself takes it: backend="tensorrt"; or give a static size, or '
                "choose one after the other: torch.cond(a, ...), then torch.cond(b, ...)",
                where=self._where(),
            )

    def _inside(self, graph: Graph, given: Sequence[Operand], enter: Enter) -> list[ITensor]:
        """Lower a graph in a scope of its own; what it uses of ``given`` is taken into it."""
        node, self.sizes, sizes = self.node, {}, self.sizes
        self.around.append((sizes, enter))
        used = {v for n in graph.nodes for v in n.inputs}
        try:
            tensors: dict[Value, Operand] = {
                value: x if isinstance(x, Handle) or enter is None else enter(x)
                for value, x in zip(graph.inputs, given, strict=True)
                if value in used or value in graph.outputs
            }
            for inner in graph.nodes:
                self.lower_node(inner, tensors)
            ends = {v for n in graph.nodes for v in n.outputs}
            outputs = []
            for value in graph.outputs:
                x = self.tensor(tensors[value])
                outputs.append(x if value in ends else self.identity(x))
            return outputs
        finally:
            self.around.pop()
            self.sizes, self.node = sizes, node

    def size_around(self, size: Size) -> ITensor:
        """Return a size that the scope around this one has, or computes, taken into this one."""
        inside = self.sizes
        outer, enter = self.around.pop()
        try:
            self.sizes = outer
            tensor = self._size(size)
        finally:
            self.sizes = inside
            self.around.append((outer, enter))
        return tensor if enter is None else enter(tensor)


def _refuse_double(net: Scopes, node: Node) -> None:
    """Refuse what is computed in float64: no TensorRT has it."""
    if isinstance(node.op, Cast):
        return
    if any(value.spec.dtype == DOUBLE for value in (*node.inputs, *node.outputs)):
        raise UnsupportedError(
            f"{node.label}: {net.library.target.name} has no float64", where=node.origin.source
        )


def require_silence(net: Scopes) -> None:
    """Raise BuildError if TensorRT complained: a setter that fails says so, and keeps what it had.

    The build would succeed: of Softmax with an axis that was not taken, for example.
    """
    if net.library.log.complained:
        lines = net.library.log.take()
        raise BuildError(f"TensorRT refused a part of {net._label()}: {lines}", where=net._where())


def used_values(graph: Graph) -> set[Value]:
    """Return the values that a node of a graph, or of one that an op holds, or a result reads."""
    found = {*graph.outputs}
    for node in graph.nodes:
        found.update(node.inputs)
        for inner in graphs_in(node.op):
            found |= used_values(inner)
    return found
