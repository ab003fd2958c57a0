"""Whether two graphs are the same where some Dims have certain sizes."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from trtnn.graph.graph import Graph, Node, Value, as_tuple, graphs_in
from trtnn.ops.arithmetic import Cast
from trtnn.ops.movement import Expand, Identity, Shuffle
from trtnn.ops.op import Op, Spec, has_sizes
from trtnn.ops.reduction import Reduce
from trtnn.ops.slicing import Concat, Slice
from trtnn.sizes.dims import Expr, replaced

Number = int


def same(graph: Graph, other: Graph, sizes: Mapping[str, int]) -> bool:
    """Say whether ``graph`` with the sizes put in is ``other``, once both are simplified.

    True is certain; of False nothing follows.
    """
    numbering = Numbering(sizes)
    return bool(numbering.of(graph) == numbering.of(other))


class Numbering:
    """Gives each value a number, the same one to values that are computed alike.

    What only moves nothing has the number of its operand: an expansion to the same shape, a slice
    of everything, a sum over one entry. What has constants alone as operands is computed, and
    constants are the same where all their entries are.
    """

    def __init__(self, sizes: Mapping[str, int]) -> None:
        self.sizes = sizes
        self.numbers: dict[Any, Number] = {}
        self.specs: list[Spec] = []
        self.constants: dict[Number, torch.Tensor] = {}
        self.shaped: dict[Number, Number] = {}  # reshaped values: what is reshaped

    def of(self, graph: Graph) -> Any:
        """Return what a graph gives: the numbers of its outputs, and its result."""
        found: dict[Value, Number] = {}
        for index, value in enumerate(graph.inputs):
            found[value] = self._number(("input", index), self._spec(value.spec))
        for value, constant in graph.constants.items():
            found[value] = self._constant(constant.tensor)
        for node in graph.nodes:
            operands = [found[value] for value in node.inputs]
            found.update(zip(node.outputs, self._results(node, operands), strict=True))
        leaves = [self._sized(leaf) for leaf in graph.leaves]
        return [found[value] for value in graph.outputs], graph.result, leaves

    def _number(self, key: Any, spec: Spec) -> Number:
        number = self.numbers.setdefault((key, repr(spec)), len(self.specs))
        if number == len(self.specs):
            self.specs.append(spec)
        return number

    def _constant(self, tensor: torch.Tensor) -> Number:
        host = tensor.detach().cpu().contiguous()
        content = host.reshape(-1).view(torch.uint8).numpy().tobytes() if host.numel() else b""
        number = self._number(content, Spec(tuple(host.shape), host.dtype))
        self.constants[number] = host
        return number

    def _results(self, node: Node, operands: Sequence[Number]) -> list[Number]:
        op: Op = self._op(node.op)
        specs = [self._spec(value.spec) for value in node.outputs]
        known = [self.constants.get(number) for number in operands]
        sized = any(has_sizes(v) for v in vars(op).values())
        plain = not sized and not hasattr(op, "bind_sizes") and not graphs_in(op)
        if None not in known and plain:
            with torch.no_grad():
                return [self._constant(t) for t in as_tuple(op.reference(*known))]
        moved = self._moved(op, operands, specs[0])
        if moved is not None:
            return [moved]
        key = (type(op), repr(op), tuple(operands))
        return [self._number((key, i), spec) for i, spec in enumerate(specs)]

    def _moved(self, op: Op, operands: Sequence[Number], result: Spec) -> Number | None:
        """Return the number of what only moves nothing, or gives entries another shape."""
        if not operands:
            return None
        x, (source, *_) = self.specs[operands[0]], operands
        if isinstance(op, Identity) or (isinstance(op, (Cast, Expand)) and result == x):
            return source
        if isinstance(op, Slice) and result == x and not any(op.start):
            whole = all(a == 1 or s == 1 for a, s in zip(x.shape, op.stride, strict=True))
            return source if whole else None
        if isinstance(op, Concat) and len(operands) == 1:
            return source
        one = isinstance(op, Reduce) and all(x.shape[axis] == 1 for axis in op.axes)
        if one or (isinstance(op, Shuffle) and _keeps_order(op, x)):
            source = self.shaped.get(source, source)
            if self.specs[source] == result:
                return source
            number = self._number(("shape", source), result)
            self.shaped[number] = source
            return number
        return None

    def _op(self, op: Op) -> Op:
        fields = {f.name: getattr(op, f.name) for f in dataclasses.fields(op)}
        changed = {name: self._sized(value) for name, value in fields.items() if has_sizes(value)}
        return dataclasses.replace(op, **changed) if changed else op

    def _spec(self, spec: Spec) -> Spec:
        return Spec(self._sized(spec.shape), spec.dtype)

    def _sized(self, value: Any) -> Any:
        if isinstance(value, Expr):
            return replaced(value, self.sizes)
        return tuple(map(self._sized, value)) if isinstance(value, tuple) else value


def _keeps_order(op: Shuffle, x: Spec) -> bool:
    """Say whether a Shuffle moves axes of size 1 only, and so is a reshape."""

    def straight(order: tuple[int, ...] | None, shape: Sequence[Any]) -> bool:
        long = [axis for axis in order or () if shape[axis] != 1]
        return long == sorted(long)

    first = x.shape if op.first is None else tuple(x.shape[axis] for axis in op.first)
    return straight(op.first, x.shape) and straight(op.second, op.shape or first)
