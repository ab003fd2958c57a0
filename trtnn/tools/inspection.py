"""Each value of a typed graph beside what it is in float32, and the node where they part."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import torch

from trtnn.graph.graph import Graph, Node, Value
from trtnn.graph.interpreter import Compute, run
from trtnn.ops.arithmetic import HALVES
from trtnn.precision.kinds import name_of
from trtnn.precision.typing import Typed
from trtnn.run.rounding import kind_of, own, widened
from trtnn.run.samples import CPU
from trtnn.tools.findings import NodeFinding, Row, advice_of
from trtnn.tools.judging import difference

Values = Mapping[Value, torch.Tensor]
Bad = Callable[[Value], bool]


class Inspection:
    """All values of one call, twice: in float32, and in the types of a precision.

    They are kept on the CPU, all of them: activations of one call, not more.

    Attributes:
        kind: The coarsest type that is computed in, as ``bars.BARS`` has it.
    """

    def __init__(
        self,
        typed: Typed,
        inputs: Sequence[torch.Tensor],
        hosts: Sequence[int],
        device: torch.device,
        *,
        tf32: bool,
    ) -> None:
        self.typed, self.source = typed, typed.source
        self.kind = kind_of(typed.graph, tf32=tf32)
        wide = torch.float64 if self.kind == "fp32" else torch.float32
        self.exact = kept(self.source, inputs, hosts, device, widened(wide, device))
        self.own = kept(typed.graph, inputs, hosts, device, own(device, tf32=tf32))
        self.maker = {value: node for node in self.source.nodes for value in node.outputs}
        self.place = {node: place for place, node in enumerate(self.source.nodes)}
        self.errors: dict[Value, float] = {}

    def outputs(self) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
        """Return the outputs in float32, and in the types of the precision."""
        exact, rounded = self.source.outputs, self.typed.graph.outputs
        return [self.exact[v] for v in exact], [self.own[v] for v in rounded]

    def now(self, value: Value) -> Value:
        """Return what a value has become in the typed graph."""
        return self.typed.values.get(value, value)

    def error(self, value: Value) -> float:
        """Return how far off a value is; 0 where there is nothing to compare."""
        if value not in self.errors:
            found, exact = self.own.get(self.now(value)), self.exact.get(value)
            known = found is not None and exact is not None
            self.errors[value] = difference(found, exact) if known else 0.0  # type: ignore[arg-type]
        return self.errors[value]

    def parting(self, output: int, tolerance: float) -> NodeFinding | None:
        """Return the first node on the way to an output that leaves a tolerance.

        All it is given is within it. None where the output is an input or a constant.
        """
        node = self._first(self.source.outputs[output], lambda v: self.error(v) > tolerance)
        if node is None:
            return None
        result = self.now(node.outputs[0]).spec.dtype
        return self.finding(node, advice_of(node, self._rows(node), result in HALVES))

    def not_finite(self, output: int) -> NodeFinding | None:
        """Return the node that makes an output NaN or infinite in float32 already.

        None where it does not, or where an infinity was put there by a constant, as masks are.
        """
        value, node = self.source.outputs[output], None
        if self._holds(value, torch.isnan):
            node = self._first(value, lambda v: self._holds(v, torch.isnan))
        seeds = [value] if node is None else [v for v in node.inputs if v in self.maker]
        for seed in seeds:
            if not self._holds(seed, torch.isinf):
                continue
            first = self._first(seed, lambda v: self._holds(v, torch.isinf))
            if first is not None and not self._is_given(first):
                node = first
                break
        return None if node is None else self.finding(node, advice_of(node, self._rows(node), None))

    def finding(self, node: Node, advice: str) -> NodeFinding:
        """Return what is known of a node's values."""
        rows = self._rows(node)
        return NodeFinding(label_of(node), node.origin, rows, advice)

    def _first(self, value: Value, bad: Bad) -> Node | None:
        """Go back from a bad value by bad operands, to the node that has none."""
        node = self.maker.get(value)
        while node is not None:
            worse = [self.maker[v] for v in node.inputs if v in self.maker and bad(v)]
            if not worse:
                return node
            node = min(worse, key=self.place.__getitem__)
        return None

    def _holds(self, value: Value, test: Callable[[torch.Tensor], torch.Tensor]) -> bool:
        tensor = self.exact.get(value)
        return tensor is not None and tensor.is_floating_point() and bool(test(tensor).any())

    def _is_given(self, node: Node) -> bool:
        """Say whether an infinity stands in forward: as a constant, or as a number of an op."""
        numbers = [x for x in vars(node.op).values() if isinstance(x, float)]
        constants = [v for v in node.inputs if v not in self.maker]
        return any(map(math.isinf, numbers)) or any(self._holds(v, torch.isinf) for v in constants)

    def _rows(self, node: Node) -> tuple[Row, ...]:
        rows = [self._row("constant" if v in self.constants else "operand", v) for v in node.inputs]
        return (*rows, *(self._row("result", v) for v in node.outputs))

    @property
    def constants(self) -> Mapping[Value, object]:
        return self.source.constants

    def _row(self, role: str, value: Value) -> Row:
        exact, found = self.exact[value], self.own.get(self.now(value))
        finite = exact[exact.isfinite()] if exact.is_floating_point() else exact
        low, high = (float(end) for end in finite.aminmax()) if finite.numel() else (0.0, 0.0)
        counted = exact if found is None else found
        nans, infinities = (int(test(counted).sum()) for test in (torch.isnan, torch.isinf))
        dtype = self.now(value).spec.dtype
        return Row(role, dtype, (low, high), nans, infinities, self.error(value))


def label_of(node: Node) -> str:
    """Return ``module.path/op``, with the op's kind where it has one."""
    return f"{node.origin.path}/{name_of(node)}" if node.origin.path else name_of(node)


def kept(
    graph: Graph,
    inputs: Sequence[torch.Tensor],
    hosts: Sequence[int],
    device: torch.device,
    compute: Compute,
) -> dict[Value, torch.Tensor]:
    """Return all values of one call, on the CPU."""
    found: dict[Value, torch.Tensor] = {}

    def see(value: Value, tensor: torch.Tensor) -> None:
        found[value] = tensor.detach().to(CPU)

    for value, tensor in zip(graph.inputs, inputs, strict=True):
        see(value, tensor.to(value.spec.dtype))
    for value, constant in graph.constants.items():
        see(value, constant.tensor)
    constants = {value: constant.tensor.detach() for value, constant in graph.constants.items()}
    given = [t.to(v.spec.dtype) for v, t in zip(graph.inputs, inputs, strict=True)]
    run(graph, given, constants, None, hosts, device, see, compute)
    return found


def outputs(
    graph: Graph,
    inputs: Sequence[torch.Tensor],
    hosts: Sequence[int],
    device: torch.device,
    *,
    tf32: bool,
) -> list[torch.Tensor]:
    """Return a graph's outputs in its own types, on the CPU."""
    given = [t.to(v.spec.dtype) for v, t in zip(graph.inputs, inputs, strict=True)]
    results = run(graph, given, None, None, hosts, device, compute=own(device, tf32=tf32))[0]
    return [tensor.detach().to(CPU) for tensor in results]
