"""Which float32 values belong together, so that what is computed of them is not torn apart."""

from __future__ import annotations

from collections.abc import Sequence

from trtnn.graph.graph import Value


class Islands:
    """Sets of float32 values, each with the values of 16 bits that were cast to enter it.

    ``x * rsqrt(mean(x * x))`` is one: x entered it, so the product with x is part of it, while
    what another island gives meets x in 16 bits.
    """

    def __init__(self) -> None:
        self._parent: dict[Value, Value] = {}
        self._entered: dict[Value, set[Value]] = {}

    def _root(self, value: Value) -> Value:
        while self._parent[value] is not value:
            value = self._parent[value]
        return value

    def join(
        self, inputs: Sequence[Value], outputs: Sequence[Value], entering: Sequence[Value]
    ) -> None:
        """Let a node's results be one island with those of its inputs that are in one."""
        roots = {self._root(v) for v in inputs if v in self._parent}
        if not outputs:
            return
        root = next(iter(roots), outputs[0])
        for value in (*roots, *outputs):
            self._parent[value] = root
        merged = {v for other in roots for v in self._entered.get(other, set())}
        self._entered[root] = {*merged, *entering}

    def holds(self, wide: Sequence[Value], narrow: Sequence[Value]) -> bool:
        """Say whether all ``narrow`` values entered the islands of the ``wide`` ones."""
        roots = {self._root(v) for v in wide if v in self._parent}
        entered = {v for root in roots for v in self._entered[root]}
        return bool(roots) and entered.issuperset(narrow)
