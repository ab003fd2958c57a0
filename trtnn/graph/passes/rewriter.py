"""``Rewriter``: builds a new graph from an old one, node by node."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch

from trtnn.errors import GraphError
from trtnn.graph.graph import Constant, Graph, Node, Origin, Value, as_tuple
from trtnn.graph.program import ProgramBuilder, Slot, change
from trtnn.graph.tensor import Tensor
from trtnn.ops.op import TABLE, Op, Spec
from trtnn.sizes.dims import Size, decide


class Rewriter:
    """A recorder whose nodes go into a copy of ``graph``.

    A pass calls ``keep(node)`` or records replacements and ``substitute``s their results.
    """

    device = torch.device("cpu")

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.nodes: list[Node] = []
        self.constants = dict(graph.constants)
        self.home = next((c.tensor.device for c in graph.constants.values()), self.device)
        self.program = ProgramBuilder(graph.program)
        self.replaced: dict[Value, Value] = {}
        self.origin = Origin()
        self.count = 0

    def value(self, value: Value) -> Value:
        """Return what an old value has become."""
        return self.replaced.get(value, value)

    def keep(self, node: Node) -> None:
        """Copy a node, with its operands as they are now."""
        inputs = tuple(map(self.value, node.inputs))
        self.nodes.append(node if inputs == node.inputs else replace(node, inputs=inputs))

    def substitute(self, old: Sequence[Value], new: Any) -> None:
        """Let the results of recorded ops stand for old values."""
        for before, after in zip(old, as_tuple(new), strict=True):
            value = self.value_of(after)
            if value.spec != before.spec:
                raise GraphError(f"a pass replaced {before.spec} by {value.spec}")
            self.replaced[before] = value

    def tensor(self, value: Value) -> Tensor:
        """Return a value as an operand for our functions."""
        current = self.value(value)
        return Tensor(current.spec, self, value=current)

    def constant(self, tensor: torch.Tensor, slot: Slot | None = None) -> Value:
        """Add a constant; ``slot`` is its place in the program, None where it never changes."""
        self.count += 1
        tensor = tensor.to(self.home)
        value = Value(
            f"p{len(self.constants)}_{self.count}", Spec(tuple(tensor.shape), tensor.dtype)
        )
        self.constants[value] = Constant(tensor, None, slot)
        return value

    def compute(self, function: Callable[..., torch.Tensor], *arguments: Any) -> Value:
        """Add the constant that ``function`` gives; a Value among its arguments is a constant.

        Refitting calls ``function`` again, with what those constants are then.
        """
        constants = change(arguments, Value, self.constants.__getitem__)
        ((result, slot),) = self.program.compute(function, constants, Constant)
        return self.constant(result, slot)

    def value_of(self, operand: Any) -> Value:
        if isinstance(operand, Value):
            return operand
        if isinstance(operand, Tensor):
            assert operand._trtnn_value is not None
            return operand._trtnn_value
        return self.constant(operand)

    def record(self, op: Op, operands: Sequence[Any]) -> Any:
        """Append a node; where the traced graph had one node there may now be several."""
        inputs = tuple(map(self.value_of, operands))
        specs = op.infer(*(v.spec for v in inputs))
        self.count += 1
        outputs = tuple(
            Value(f"r{len(self.nodes)}_{self.count}_{i}", spec)
            for i, spec in enumerate(as_tuple(specs))
        )
        self.nodes.append(Node(op, inputs, outputs, self.origin))
        results = tuple(Tensor(v.spec, self, value=v) for v in outputs)
        return results if isinstance(specs, tuple) else results[0]

    def call(self, function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Give an operator between tensors of the rewriter its meaning."""
        return TABLE[function](*args, **kwargs)

    def decide(self, comparison: str, left: Size, right: Size) -> bool:
        answer = decide(comparison, left, right)
        if answer is None:
            raise GraphError(f"a pass asked {comparison}({left}, {right}), which ranges leave open")
        return answer

    def integer(self, size: Size) -> int:
        if isinstance(size, int):
            return size
        raise GraphError(f"a pass asked for the int of {size}")

    def finish(self) -> Graph:
        """Return the new graph, without what nothing uses any more."""
        outputs = tuple(map(self.value, self.graph.outputs))
        nodes = tuple(self.nodes)
        program = self.program.finish()
        return replace(
            self.graph, nodes=nodes, outputs=outputs, constants=self.constants, program=program
        ).live()
