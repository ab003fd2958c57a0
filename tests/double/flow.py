"""Loops and if-conditionals of the double, and the rules of what lies inside them."""

from __future__ import annotations

from typing import Any

from tests.double.facts import RuleError, Violation
from tests.double.inference import facts
from tests.double.surface import Plain

# RTX 1.7.1: 'invalid inferred type' where a back edge comes from one of these.
NO_BACK_EDGE = frozenset(
    "IMatrixMultiplyLayer IActivationLayer ISoftMaxLayer IConvolutionLayer IDeconvolutionLayer "
    "IPoolingLayer IDequantizeLayer".split()
)
BEGINS = frozenset({"IRecurrenceLayer", "IIteratorLayer", "IIfConditionalInputLayer"})
ENDS = frozenset({"ILoopOutputLayer", "IIfConditionalOutputLayer"})
LIMITS = frozenset({"ITripLimitLayer", "IConditionLayer"})


class Loop(Plain):
    """Stand in for ``trt.ILoop``."""

    _value_name = "loop"

    def _setup(self, network: Any) -> None:
        self._network, self._limits = network, list[str]()

    def _add(self, layer: str, tensor: Any, **attributes: Any) -> Any:
        return self._network._add(layer, [tensor], {"loop": self, **attributes})

    def add_recurrence(self, tensor: Any) -> Any:
        return self._add("IRecurrenceLayer", tensor)

    def add_iterator(self, tensor: Any, axis: int, reverse: bool) -> Any:
        return self._add("IIteratorLayer", tensor, axis=axis, reverse=reverse)

    def add_trip_limit(self, tensor: Any, kind: Any) -> Any:
        if kind.name in self._limits:
            self._network._reject(f"a loop has one trip limit {kind.name}")
            return None
        self._limits.append(kind.name)
        return self._add("ITripLimitLayer", tensor, kind=kind)

    def add_loop_output(self, tensor: Any, kind: Any, axis: int) -> Any:
        return self._add("ILoopOutputLayer", tensor, kind=kind, axis=axis)


class Conditional(Plain):
    """Stand in for ``trt.IIfConditional``."""

    _value_name = "conditional"

    def _setup(self, network: Any) -> None:
        self._network = network

    def _add(self, kind: str, *tensors: Any) -> Any:
        return self._network._add(kind, list(tensors), {"conditional": self})

    def set_condition(self, condition: Any) -> Any:
        return self._add("IConditionLayer", condition)

    def add_input(self, tensor: Any) -> Any:
        return self._add("IIfConditionalInputLayer", tensor)

    def add_output(self, true: Any, false: Any) -> Any:
        return self._add("IIfConditionalOutputLayer", true, false)


def owner(layer: Any) -> Any:
    """Return the loop or the conditional that a layer at its border belongs to."""
    return layer._attributes.get("loop") or layer._attributes.get("conditional")


def check_flow(network: Any) -> None:
    """Judge what lies inside loops and branches, now that they are whole."""
    inside: dict[int, frozenset[Any]] = {}
    for layer in _in_order(network):
        scopes = frozenset[Any]().union(*(_scopes(inside, tensor) for tensor in layer._inputs))
        if layer._kind in BEGINS:
            scopes |= {owner(layer)}
        if layer._kind in ENDS:
            scopes -= {owner(layer)}
        inside[id(layer)] = scopes
        if layer._kind == "IAttention" and scopes:
            raise RuleError(f"{layer._name}: unknown input tensor")  # RTX 1.7.1
        if layer._kind not in LIMITS | ENDS:
            _entered(layer, scopes, inside)
        if layer._kind == "IRecurrenceLayer":
            _closed(layer)
        if layer._kind == "ILoopOutputLayer":
            _given(layer)
    for tensor in network._outputs:
        if _scopes(inside, tensor):
            raise RuleError(f"{tensor._name} is inside a loop or a branch, and no output")
    for layer in network._layers:
        if layer._kind == "IRecurrenceLayer" and not owner(layer)._limits:
            raise RuleError("a loop has no trip limit")
    _apart(network, inside)


def _in_order(network: Any) -> list[Any]:
    """Return all layers, those first that others read; an edge back is no input here."""
    found: dict[int, Any] = {}
    waiting = list(reversed(network._layers))
    while waiting:
        layer = waiting[-1]
        before = [t._producer for t in layer._inputs if t is not None and t._producer is not None]
        missing = [producer for producer in before if id(producer) not in found]
        if missing:
            waiting += missing
        else:
            found.setdefault(id(layer), waiting.pop())
    return list(found.values())


def _scopes(inside: dict[int, frozenset[Any]], tensor: Any) -> frozenset[Any]:
    known = tensor is not None and tensor._producer is not None
    return inside[id(tensor._producer)] if known else frozenset()


def _entered(layer: Any, scopes: frozenset[Any], inside: dict[int, frozenset[Any]]) -> None:
    """Demand that what a branch uses of outside enters it through an input layer."""
    for branch in scopes:
        if not isinstance(branch, Conditional) or owner(layer) is branch:
            continue
        for tensor in layer._inputs:
            if tensor is None or facts(tensor).constant or branch in _scopes(inside, tensor):
                continue
            raise Violation(f"{layer._name}: {tensor._name} enters a branch without its input")


def _closed(layer: Any) -> None:
    back = layer._back
    if back is None:
        raise RuleError(f"{layer._name}: a recurrence has no edge back")
    producer = back._producer
    if producer is not None and producer._kind in NO_BACK_EDGE:
        raise RuleError(f"{layer._name}: invalid inferred type of {back._name}")
    first, last = facts(layer._inputs[0]), facts(back)
    if (first.dtype, first.shape) != (last.dtype, last.shape):
        raise RuleError(f"{layer._name}: a state of {first} becomes {last}")


def _given(layer: Any) -> None:
    source = layer._inputs[0]._producer
    if layer._attributes["kind"].name == "LAST_VALUE" and (
        source is None or source._kind != "IRecurrenceLayer" or owner(source) is not owner(layer)
    ):
        raise RuleError(f"{layer._name}: LAST_VALUE is of a recurrence of the loop")


def _apart(network: Any, inside: dict[int, frozenset[Any]]) -> None:
    """Demand that no layer lies in both branches of a conditional."""
    sides: dict[Any, tuple[set[int], set[int]]] = {}
    for layer in network._layers:
        if layer._kind == "IIfConditionalOutputLayer":
            both = sides.setdefault(owner(layer), (set(), set()))
            for side, tensor in zip(both, layer._inputs, strict=True):
                side.update(_before(tensor, owner(layer), inside))
    for true, false in sides.values():
        if true & false:
            raise Violation("a layer lies in both branches of a conditional")


def _before(tensor: Any, branch: Any, inside: dict[int, frozenset[Any]]) -> set[int]:
    found: set[int] = set()
    waiting = [tensor]
    while waiting:
        layer = waiting.pop()._producer
        if layer is None or branch not in inside[id(layer)] or id(layer) in found:
            continue
        if not (layer._kind == "IIfConditionalInputLayer" and owner(layer) is branch):
            found.add(id(layer))
        waiting += [t for t in layer._inputs if t is not None]
        if layer._kind == "IRecurrenceLayer":
            waiting.append(layer._back)
    return found
