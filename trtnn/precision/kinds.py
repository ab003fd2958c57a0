"""What each node wants to be computed in, by PyTorch's lists and by what is around it."""

from __future__ import annotations

from collections.abc import Iterable

import torch

from trtnn.graph.graph import Graph, Node, Value
from trtnn.ops.arithmetic import Elementwise, Scaled, Select
from trtnn.ops.movement import Expand, Identity, Shuffle
from trtnn.ops.reduction import Reduce, Softmax
from trtnn.ops.slicing import Concat, Slice

LOW = frozenset(
    "Convolution Deconvolution MatrixMultiply Einsum Attention QuantizeDequantize".split()
)
"""Computed in 16 bits; products accumulate in float32 as PyTorch's do, where TensorRT does."""

NORMS = frozenset(("Normalization", "ChannelNormalization"))
"""Take 16 bits or float32, give the same, and compute in float32 as they are lowered."""

WIDE = frozenset(
    {
        *("Softmax", "Cumulative", "Elementwise POW", "Reduce SUM", "Reduce PROD"),
        *(f"Unary {k}" for k in "EXP LOG RECIP TAN SINH COSH ASIN ACOS ACOSH ATANH".split()),
        *("Activation SOFTPLUS", "LocalResponse", "RaggedSoftmax", "Scale"),
    }
)
"""Computed in float32: PyTorch's list for CUDA, as TensorRT's layers."""

TABLES = frozenset(("Gather", "GatherElements", "Fetch"))
MOVES = (Shuffle, Expand, Slice, Identity, Concat)


class Kinds:
    """The kind of each node: ``"low"``, ``"wide"``, ``"norm"``, or ``"follow"``: as it is given."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.maker = {v: node for node in graph.nodes for v in node.outputs}
        self.users: dict[Value, list[Node]] = {}
        for node in graph.nodes:
            for value in node.inputs:
                self.users.setdefault(value, []).append(node)
        self.attentions = [
            a for n in graph.nodes if isinstance(n.op, Softmax) if (a := self.chain(n))
        ]
        inside = {node for chain in self.attentions for node in chain}
        self.of = {node: "low" if node in inside else self._listed(node) for node in graph.nodes}
        for node in graph.nodes:
            if self._is_square(node) and self._feeds(node, "Reduce"):
                self._widen_norm(node)
            elif name_of(node) == "Unary EXP" and node not in inside:
                self._widen_before(node.inputs[0], ("Elementwise SUB",))
            elif name_of(node) == "Unary RECIP":
                self._widen_before(node.inputs[0], ("Unary SQRT",))
            elif name_of(node) in ("Unary SIN", "Unary COS"):  # of an angle, of whole turns
                self._widen_before(node.inputs[0], ("MatrixMultiply",))

    def _listed(self, node: Node) -> str:
        if node.op.name in LOW:
            return "low"
        if node.op.name in TABLES and node.inputs[0] in self.graph.constants:
            return "low" if self._is_read_low(node.outputs[0]) else "wide"
        if node.op.name in NORMS:
            return "norm"
        return "wide" if {node.op.name, name_of(node)} & WIDE else "follow"

    def _is_read_low(self, value: Value) -> bool:
        """Say whether all that a looked-up value goes to takes 16 bits, as an embedding's does."""
        after = self.users.get(value, [])
        return bool(after) and all(
            node.op.name in LOW | NORMS
            or (
                (isinstance(node.op, MOVES) or name_of(node) == "Elementwise SUM")
                and self._is_read_low(node.outputs[0])
            )
            for node in after
        )

    # Composed norms -------------------------------------------------------------------------

    def _is_square(self, node: Node) -> bool:
        square = name_of(node) == "Elementwise PROD" and len(set(node.inputs)) == 1
        return square or name_of(node) == "Elementwise POW"

    def _feeds(self, node: Node, name: str) -> bool:
        """Say whether a node goes into one of a name, perhaps moved or with a number added."""
        return any(
            user.op.name == name or (self._is_light(user) and self._feeds(user, name))
            for user in self.users.get(node.outputs[0], ())
        )

    def _is_light(self, node: Node) -> bool:
        adds = name_of(node) == "Elementwise SUM"
        constant = any(value in self.graph.constants for value in node.inputs)
        return isinstance(node.op, MOVES) or (adds and constant)

    def _widen_norm(self, square: Node) -> None:
        """Make a square and its mean wide, and what is taken off before: one island of float32."""
        self.of[square] = "wide"
        pending = list(self.users[square.outputs[0]])
        while pending:
            user = pending.pop()
            if isinstance(user.op, Reduce):
                self.of[user] = "wide"
                self._widen_variance(user.outputs[0])
            elif self._is_light(user):
                pending += self.users.get(user.outputs[0], [])
        difference = self._widen_before(square.inputs[0], ("Elementwise SUB",))
        if difference is not None:
            self._widen_before(difference.inputs[1], ("Reduce AVG",))

    def _widen_variance(self, squares: Value) -> None:
        """Make wide what a mean of squares is reduced by: the square of the mean."""
        for user in self.users.get(squares, ()):
            if isinstance(user.op, MOVES):
                self._widen_variance(user.outputs[0])
            elif name_of(user) == "Elementwise SUB" and user.inputs[0] is squares:
                mean = self._widen_before(user.inputs[1], ("Elementwise PROD", "Elementwise POW"))
                if mean is not None:
                    self.of[user] = "wide"
                    self._widen_before(mean.inputs[0], ("Reduce AVG",))

    def _widen_before(self, value: Value, names: tuple[str, ...]) -> Node | None:
        """Make the node that gives ``value`` wide, where it has one of these names."""
        node = self.maker.get(value)
        while node is not None and isinstance(node.op, MOVES):
            node = self.maker.get(node.inputs[0])
        if node is None or name_of(node) not in names:
            return None
        self.of[node] = "wide"
        return node

    # Attention ------------------------------------------------------------------------------

    def chain(self, softmax: Node) -> list[Node] | None:
        """Return the nodes from one matrix product to the next around a softmax, both included."""
        above = self._products(softmax.inputs[0], self._made)
        below = self._products(softmax.outputs[0], self._used)
        if above is None or below is None:
            return None
        return [*above, softmax, *below]

    def _made(self, value: Value) -> Iterable[tuple[Node, Iterable[Value]]]:
        node = self.maker.get(value)
        return [(node, node.inputs)] if node is not None else []

    def _used(self, value: Value) -> Iterable[tuple[Node, Iterable[Value]]]:
        return [(node, node.outputs) for node in self.users.get(value, ())]

    def _products(self, start: Value, step: object) -> list[Node] | None:
        """Return the nodes up to a matrix product of computed values; None if there is none."""
        found, pending, reached = [], [start], False
        while pending:
            for node, further in step(pending.pop()):  # type: ignore[operator]
                computed = not any(v in self.graph.constants for v in node.inputs)
                if node.op.name == "MatrixMultiply":
                    reached = reached or computed
                    found += [node] if computed else []
                elif isinstance(node.op, (Elementwise, Scaled, Select, *MOVES)) and is_float(node):
                    found.append(node)
                    pending += further
        return found if reached else None


def name_of(node: Node) -> str:
    """Return an op's name, and its kind where it has one: ``"Unary EXP"``."""
    kind = getattr(node.op, "kind", None)
    return f"{node.op.name} {kind}" if isinstance(kind, str) else node.op.name


def is_float(node: Node) -> bool:
    return any(v.spec.dtype.is_floating_point for v in node.outputs)


def floats(values: Iterable[Value]) -> list[Value]:
    """Return the values of floating point that TensorRT has."""
    kinds = (torch.float32, torch.float16, torch.bfloat16)
    return [v for v in values if v.spec.dtype in kinds]
