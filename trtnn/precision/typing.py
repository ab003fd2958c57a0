"""Type the float values of a graph as a ``Precision`` says: casts are put in, and nothing else."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import torch

from trtnn.graph import passes
from trtnn.graph.graph import Graph, Node, Value, all_nodes, graphs_in
from trtnn.graph.holding import map_held
from trtnn.graph.passes.rewriter import Rewriter
from trtnn.ops.arithmetic import HALVES, Cast, Elementwise, Scaled
from trtnn.ops.creation import Full
from trtnn.ops.normalization import BatchNorm
from trtnn.ops.op import Spec
from trtnn.ops.plugins import Plugin
from trtnn.ops.quantization import QuantizeDequantize
from trtnn.precision.doubles import DOUBLE, narrowed
from trtnn.precision.islands import Islands
from trtnn.precision.kinds import MOVES, Kinds, floats, name_of
from trtnn.precision.limits import MOST, Masks, factor_of, outside, unfit
from trtnn.precision.policy import Precision
from trtnn.tracing.regions import DTYPES, TYPED

SAME_SIZE = ("Unary ABS", "Unary NEG")


@dataclass(frozen=True)
class Choice:
    """What one node is computed in, and why; ``dtype`` is None where it is as it was typed."""

    node: Node
    dtype: torch.dtype | None
    reason: str


@dataclass(frozen=True)
class Typed:
    """A graph as a precision types it, and what was chosen for each node that has floats.

    Attributes:
        source: The graph before that, with norms folded, in float64 where it is traced so.
        values: What became of its values, where they are others now.
        traced: The graph that was given.
    """

    graph: Graph
    choices: tuple[Choice, ...]
    source: Graph
    values: Mapping[Value, Value]
    traced: Graph


Observe = Callable[[Graph], Mapping[Value, float]]


def typed(graph: Graph, precision: Precision, observe: Observe | None = None) -> Typed:
    """Return ``graph`` with each float value in the type that ``precision`` gives it.

    Args:
        observe: Gives the greatest absolute entry of values, as far as it is known.

    Raises:
        OptionError: ``precision`` names what the graph does not have.
        UnsupportedError: The graph computes in float64, and ``precision`` does not say how.
    """
    precision.require_fit(graph)
    asks = any(node.origin.region is not None for node in all_nodes(graph))
    says = precision.modules or precision.classes or precision.keep
    if precision.low is None and not asks and not says:
        single = narrowed(graph, precision.float64)
        return Typed(single.graph, (), graph, single.values, graph)
    source = _folded(graph, precision)
    single = narrowed(source, precision.float64)
    half = "fp16" in {*precision.words, *(node.origin.region for node in all_nodes(graph))}
    ranges = observe(single.graph) if observe is not None and half else {}
    found = _within(_Typing(single.graph, precision, ranges, single.nodes).run(), precision)
    values = {**found.values, **{v: found.values.get(w, w) for v, w in single.values.items()}}
    return replace(found, source=source, values=values, traced=graph)


def _folded(graph: Graph, precision: Precision) -> Graph:
    """Fold norms in float64 from the parameters as they are; the result is rounded once."""
    apart = any(isinstance(n.op, BatchNorm) and precision.word(n) == "fp32" for n in graph.nodes)
    return graph if apart else passes.fold_norms(graph)


def _within(found: Typed, precision: Precision) -> Typed:
    """Type the graphs that ops hold; these take and give what they did."""
    held = replace(precision, inputs="keep", outputs="keep")
    choices = [*found.choices]

    def choose(graph: Graph) -> Graph:
        inner = _within(_Typing(_folded(graph, held), held, {}).run(), held)
        choices.extend(inner.choices)
        return inner.graph

    return replace(found, graph=map_held(found.graph, choose), choices=tuple(choices))


class _Typing:
    def __init__(
        self,
        graph: Graph,
        precision: Precision,
        ranges: Mapping[Value, float],
        doubles: Sequence[Node] = (),
    ) -> None:
        self.graph, self.precision = graph, precision
        self.rewriter = Rewriter(graph)
        self.kinds = Kinds(graph)
        self.masks = Masks(self.kinds)
        self.islands = Islands()
        self.have = {v: v.spec.dtype for v in (*graph.inputs, *graph.constants)}
        self.made = {(v, v.spec.dtype): v for v in graph.inputs}
        self.inputs = tuple(map(self._given, graph.inputs))
        self.weak = set(graph.constants)  # what fits whatever is beside it
        self.wholes: set[Value] = set()  # integers: 16 bits may not hold them, PyTorch promotes
        self.origin: dict[Value, Value] = {}  # of what was moved, or lost its sign
        self.sources: dict[Value, Value] = {}
        self.choices: list[Choice] = []
        self.forced = outside(graph, self.kinds, self.masks, ranges)
        self.forced.update(dict.fromkeys(doubles, "float64 in the module"))
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
        values = self.rewriter.replaced.copy()
        keep = self.precision.outputs == "keep" or self.precision.low is None
        for value in floats(self.graph.outputs):
            wanted = value.spec.dtype
            if not keep and wanted == torch.float32:
                wanted = self.precision.low  # type: ignore[assignment]
            self.rewriter.replaced[value] = self._in(value, wanted)
        graph = replace(self.rewriter.finish(), inputs=self.inputs)
        graph.check()
        return Typed(graph, tuple(self.choices), self.graph, values, self.graph)

    # What a node is computed in -------------------------------------------------------------

    def _node(self, node: Node) -> None:
        inputs, outputs = floats(operands_of(node)), floats(node.outputs)
        if graphs_in(node.op) or isinstance(node.op, Plugin):
            self._record(node, None)
            return
        if not inputs and not outputs:
            self.rewriter.keep(node)
            return
        if not inputs:  # a number, a ramp, the cast of an integer: they fit what is beside them
            self.rewriter.keep(node)
            self._define(node.outputs, tuple(map(self.rewriter.value, node.outputs)))
            if not (isinstance(node.op, Cast) and node.inputs[0].spec.dtype == DOUBLE):
                self._enter_number(node)
            return
        dtype, reason = self._choose(node, inputs)
        if isinstance(node.op, MOVES) or name_of(node) in SAME_SIZE:
            self.origin[node.outputs[0]] = self._origin(inputs[0])
        if dtype == torch.float32 and not self.weak.issuperset(inputs):
            low = [v for v in inputs if self.have[v] in HALVES and v not in self.weak]
            self.islands.join(inputs, outputs, list(map(self._origin, low)))
        if self.kinds.of[node] == "follow" and self.weak.issuperset(inputs):
            self.weak.update(outputs)
        elif self.kinds.of[node] == "follow" and (self.weak | self.wholes).issuperset(inputs):
            self.wholes.update(outputs)
        self.choices.append(Choice(node, dtype, reason))
        self._record(node, dtype)

    def _enter_number(self, node: Node) -> None:
        """Note what floats are made of no floats: a number, a truth, or integers."""
        value = node.outputs[0]
        source = node.inputs[0] if isinstance(node.op, Cast) else None
        if source is not None:
            self.sources[value] = self.rewriter.value(source)
        truth = source is not None and self._is_truth(source)
        (self.weak if isinstance(node.op, Full) or truth else self.wholes).add(value)

    def _is_truth(self, value: Value) -> bool:
        maker = self.kinds.maker.get(value)
        if value.spec.dtype == torch.bool or maker is None:
            return value.spec.dtype == torch.bool
        return isinstance(maker.op, (Cast, *MOVES)) and self._is_truth(maker.inputs[0])

    def _origin(self, value: Value) -> Value:
        return self.origin.get(value, value)

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
        if unfit(self.graph, node, low, self.masks):
            return torch.float32, "a constant that float16 does not hold"
        known = (self.weak | self.wholes).issuperset(inputs)
        if kind == "wide" or (kind == "low" and known and node.op.name == "MatrixMultiply"):
            return torch.float32, "PyTorch's list" if kind == "wide" else "made of integers"
        if kind == "low":
            return low, "PyTorch's list"
        if kind == "norm":
            return self._of_norm(inputs[0], low), "the type of its operand"
        return self._following(node, inputs, low), "the type of its operands"

    def _of_norm(self, value: Value, low: torch.dtype) -> torch.dtype:
        """Return the type of a norm: what is float32 may be large beside its spread."""
        given = self.have[value] == torch.float32 and value not in self.weak
        return torch.float32 if given else low

    def _following(self, node: Node, inputs: list[Value], low: torch.dtype) -> torch.dtype:
        """Return the type of a node that has none of its own: that of what it is given."""
        strong = [v for v in inputs if v not in self.weak]
        given = {self.have[v] for v in strong}
        if len(given) == 1:
            return given.pop()
        if not strong:
            return torch.float32
        wide = [v for v in strong if self.have[v] == torch.float32]
        others = [self._origin(v) for v in strong if self.have[v] != torch.float32]
        # An integer, or a divisor, may be one that 16 bits make infinite, or 0.
        divides = name_of(node) == "Elementwise DIV" and node.inputs[1] in wide
        promotes = divides or not self.wholes.isdisjoint(wide)
        return torch.float32 if promotes or self.islands.holds(wide, others) else low

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
        number = factor_of(self.graph, node, dtype, self.masks) if dtype in HALVES else None
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
            same = value.spec.dtype == dtype
            function = bounded if value in self.masks.values else torch.Tensor.to
            self.made[key] = value if same else self.rewriter.compute(function, value, dtype)
        if key not in self.made:
            source = self.sources.get(value, self.made[value, self.have[value]])
            if value in self.masks.values and source.spec.dtype == torch.float32:
                least = torch.full((1,) * source.spec.rank, -MOST.get(dtype, 0.0))
                bound = (source, self.rewriter.constant(least))
                source = self.rewriter.record(Elementwise("MAX"), bound)._trtnn_value
            self.made[key] = self.rewriter.record(Cast(dtype), (source,))._trtnn_value
        return self.made[key]


def operands_of(node: Node) -> tuple[Value, ...]:
    """Return the inputs of a node that have its type: a scale of 8 bits is float32 beside any."""
    return node.inputs[:1] if isinstance(node.op, QuantizeDequantize) else node.inputs


def bounded(mask: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """Return a mask in 16 bits, its finite entries bounded; infinite ones stay."""
    most = MOST.get(dtype, torch.inf)
    return torch.where(mask.isfinite(), mask.clamp(-most, most), mask).to(dtype)
