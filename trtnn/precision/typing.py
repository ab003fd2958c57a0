"""Type the float values of a graph as a ``Precision`` says: casts are put in, and nothing else."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import torch

from trtnn.graph import passes
from trtnn.graph.graph import Constant, Graph, Node, Value
from trtnn.graph.passes.rewriter import Rewriter
from trtnn.ops.arithmetic import Cast, Elementwise, Scaled
from trtnn.ops.op import Spec
from trtnn.ops.quantization import QuantizeDequantize
from trtnn.precision.islands import Islands
from trtnn.precision.kinds import Kinds, floats, name_of
from trtnn.precision.limits import masks_of, outside, too_large
from trtnn.precision.policy import Precision
from trtnn.tracing.regions import DTYPES, TYPED

HALVES = (torch.float16, torch.bfloat16)
MOST = 30000.0  # of a mask: twice that is a float16 too


@dataclass(frozen=True)
class Choice:
    """What one node is computed in, and why; ``dtype`` is None where it is as it was typed."""

    node: Node
    dtype: torch.dtype | None
    reason: str


@dataclass(frozen=True)
class Typed:
    """A graph as a precision types it, and what was chosen for each node that has floats."""

    graph: Graph
    choices: tuple[Choice, ...]


Observe = Callable[[Graph], Mapping[Value, float]]


def typed(graph: Graph, precision: Precision, observe: Observe | None = None) -> Typed:
    """Return ``graph`` with each float value in the type that ``precision`` gives it.

    Args:
        observe: Gives the greatest absolute entry of values, as far as it is known.

    Raises:
        OptionError: ``precision`` names what the graph does not have.
    """
    precision.require_fit(graph)
    asks = any(node.origin.region is not None for node in graph.nodes)
    says = precision.modules or precision.classes or precision.keep
    if precision.low is None and not asks and not says:
        return Typed(graph, ())
    # A norm is folded in float64 from the parameters as they are, and the result rounded once.
    graph = passes.fold_norms(graph)
    asks = observe is not None and precision.low == torch.float16
    return _Typing(graph, precision, observe(graph) if asks else {}).run()  # type: ignore[misc]


class _Typing:
    def __init__(self, graph: Graph, precision: Precision, ranges: Mapping[Value, float]) -> None:
        self.graph, self.precision = graph, precision
        self.rewriter = Rewriter(graph)
        self.kinds = Kinds(graph)
        half = "fp16" in {precision.dtype, *(node.origin.region for node in graph.nodes)}
        self.masks = masks_of(graph) if half else frozenset()
        self.islands = Islands()
        self.have = {v: v.spec.dtype for v in (*graph.inputs, *graph.constants)}
        self.made = {(v, v.spec.dtype): v for v in graph.inputs}
        self.inputs = tuple(map(self._given, graph.inputs))
        self.weak = set(graph.constants)
        self.sources: dict[Value, Value] = {}
        self.choices: list[Choice] = []
        self.forced = outside(graph, precision, self.kinds, ranges)
        self._widen_attention()

    def _given(self, value: Value) -> Value:
        """Return an input as calls give it."""
        low = self.precision.low
        if self.precision.inputs == "keep" or low is None or value.spec.dtype != torch.float32:
            return value
        given = Value(value.name, Spec(value.spec.shape, low))
        self.have[value], self.made[value, low] = low, given
        del self.made[value, torch.float32]
        self.rewriter.replaced[value] = given
        return given

    def _widen_attention(self) -> None:
        """Keep an attention in float32 whole, where a part of it has to be."""
        for chain in self.kinds.attentions:
            reasons = [self.forced[n] for n in chain if n in self.forced]
            reasons += ["asked" for n in chain if self.precision.word(n) == "fp32"]
            if reasons:
                self.forced.update((n, f"{reasons[0]}, in this attention") for n in chain)

    def run(self) -> Typed:
        for node in self.graph.nodes:
            self._node(node)
        keep = self.precision.outputs == "keep" or self.precision.low is None
        for value in floats(self.graph.outputs):
            wanted = value.spec.dtype
            if not keep and wanted == torch.float32:
                wanted = self.precision.low  # type: ignore[assignment]
            self.rewriter.replaced[value] = self._in(value, wanted)
        graph = replace(self.rewriter.finish(), inputs=self.inputs)
        graph.check()
        return Typed(graph, tuple(self.choices))

    # What a node is computed in -------------------------------------------------------------

    def _node(self, node: Node) -> None:
        inputs, outputs = floats(operands_of(node)), floats(node.outputs)
        if not inputs and not outputs:
            self.rewriter.keep(node)
            return
        if not inputs:  # a number, a ramp, the cast of an integer: they fit what is beside them
            self.rewriter.keep(node)
            self._define(node.outputs, tuple(map(self.rewriter.value, node.outputs)))
            self.weak.update(outputs)
            if isinstance(node.op, Cast):
                self.sources[node.outputs[0]] = self.rewriter.value(node.inputs[0])
            return
        dtype, reason = self._choose(node, inputs)
        if dtype == torch.float32 and not self.weak.issuperset(inputs):
            low = [v for v in inputs if self.have[v] in HALVES and v not in self.weak]
            self.islands.join(inputs, outputs, low)
        if inputs and self.weak.issuperset(inputs) and self.kinds.of[node] == "follow":
            self.weak.update(outputs)
        self.choices.append(Choice(node, dtype, reason))
        self._record(node, dtype)

    def _choose(self, node: Node, inputs: list[Value]) -> tuple[torch.dtype | None, str]:
        word = self.precision.word(node)
        if word == "fp32":
            return torch.float32, "asked"
        low = DTYPES.get(word or "", self.precision.low)
        halves = [v for v in (*inputs, *floats(node.outputs)) if v.spec.dtype in HALVES]
        if word == TYPED or low is None or halves:
            return None, "as the module is typed"
        if node in self.forced:
            return torch.float32, self.forced[node]
        kind = self.kinds.of[node]
        if kind == "wide" or too_large(self.graph, node, low, self.masks):
            return (
                torch.float32,
                "PyTorch's list" if kind == "wide" else "a constant beyond float16",
            )
        if kind == "low":
            return low, "PyTorch's list"
        return self._following(inputs, low), "the type of its operands"

    def _following(self, inputs: list[Value], low: torch.dtype) -> torch.dtype:
        """Return the type of a node that has none of its own: that of what it is given."""
        strong = [v for v in inputs if v not in self.weak]
        given = {self.have[v] for v in strong}
        if len(given) == 1:
            return given.pop()
        if not strong:
            return torch.float32
        wide = [v for v in strong if self.have[v] == torch.float32]
        others = [v for v in strong if self.have[v] != torch.float32]
        return torch.float32 if self.islands.holds(wide, others) else low

    # The new graph --------------------------------------------------------------------------

    def _record(self, node: Node, dtype: torch.dtype | None) -> None:
        self.rewriter.origin = node.origin
        op = node.op
        if isinstance(op, Cast) and floats(node.outputs):
            value = node.inputs[0]
            self._define(node.outputs, (self._in(value, op.dtype),))
            return
        if isinstance(op, Cast):  # to an integer: of the value as it is
            dtype = self.have[node.inputs[0]]
        typed = set(floats(operands_of(node)))
        inputs = [
            self._in(v, dtype or v.spec.dtype) if v in typed else self.rewriter.value(v)
            for v in operands_of(node)
        ]
        inputs += map(self.rewriter.value, node.inputs[len(inputs) :])
        number = self._number(node, dtype)
        if number is not None:
            op, inputs = Scaled(node.op.kind, number), inputs[:1]  # type: ignore[attr-defined]
        elif isinstance(op, Scaled) and dtype == torch.float32:
            inputs.append(self.rewriter.constant(torch.tensor(op.number, dtype=dtype)))
            op = Elementwise(op.kind)
        if op is node.op and tuple(inputs) == node.inputs:
            self.rewriter.keep(node)
            self._define(node.outputs, node.outputs)
            return
        results = self.rewriter.record(op, inputs)
        results = results if isinstance(results, tuple) else (results,)
        self._define(node.outputs, tuple(r._trtnn_value for r in results))

    def _define(self, old: tuple[Value, ...], new: tuple[Value, ...]) -> None:
        for before, after in zip(old, new, strict=True):
            self.rewriter.replaced[before] = after
            if floats([before]):
                self.have[before] = after.spec.dtype
                self.made[before, after.spec.dtype] = after

    def _in(self, value: Value, dtype: torch.dtype) -> Value:
        """Return a value in a type; each is cast once."""
        key = (value, dtype)
        if key not in self.made and value in self.graph.constants:
            masks = value in self.masks
            same = value.spec.dtype == dtype and not masks
            self.made[key] = value if same else self._constant(value, dtype, masks)
        if key not in self.made:
            source = self.sources.get(value, self.made[value, self.have[value]])
            self.made[key] = self.rewriter.record(Cast(dtype), (source,))._trtnn_value
        return self.made[key]

    def _constant(self, value: Value, dtype: torch.dtype, masks: bool) -> Value:  # noqa: FBT001
        function = bounded if masks else torch.Tensor.to
        return self.rewriter.compute(function, value, dtype)

    def _number(self, node: Node, dtype: torch.dtype | None) -> float | None:
        """Return the number that a product has beside it, where 16 bits do not hold it."""
        if dtype not in HALVES or name_of(node) not in ("Elementwise PROD", "Elementwise DIV"):
            return None
        constant: Constant | None = self.graph.constants.get(node.inputs[1])
        if constant is None or constant.slot is not None or constant.tensor.numel() != 1:
            return None
        if node.inputs[1] in self.masks or node.inputs[1].spec.rank > node.inputs[0].spec.rank:
            return None
        number, limits = float(constant.tensor), torch.finfo(dtype)
        fits = number == 0 or limits.smallest_normal <= abs(number) <= limits.max
        return None if fits or number != number or abs(number) == float("inf") else number


def operands_of(node: Node) -> tuple[Value, ...]:
    """Return the inputs of a node that have its type: a scale of 8 bits is float32 beside any."""
    return node.inputs[:1] if isinstance(node.op, QuantizeDequantize) else node.inputs


def bounded(mask: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """Return a mask in a type, its finite entries within ``MOST``; infinite ones stay."""
    return torch.where(mask.isfinite(), mask.clamp(-MOST, MOST), mask).to(dtype)
