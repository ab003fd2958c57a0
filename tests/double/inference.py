"""Runs the rule table over a network, lazily, from the attributes as they are now."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any, cast

from tests.double.facts import (
    INTEGERS,
    MOST_AXES,
    MOST_VALUES,
    Case,
    Facts,
    is_static,
    objects,
    static,
    volume,
)
from tests.double.rules import RULES
from tests.double.sizes import Unknown, evaluate, leaf


def size_name(tensor: Any, axis: int) -> str:
    """Return the name of a dynamic size: the dimension's name, else input and axis."""
    named = tensor._dimension_names.get(axis)
    return f"dimension {named}" if named else f"{tensor._name}[{axis}]"


def facts(tensor: Any) -> Facts:
    """Return type, shape and values of a tensor, or raise what a layer before it violates."""
    if tensor._known is None:  # not inferred yet, or forgotten
        if tensor._producer is None:
            tensor._known = input_facts(tensor)
        else:
            infer(tensor._producer)
    return cast(Facts, tensor._known)


def input_facts(tensor: Any) -> Facts:
    """Return the facts of a network input."""
    shape = tuple(
        leaf(size_name(tensor, axis)) if size == -1 else size
        for axis, size in enumerate(tensor._shape)
    )
    values = None
    if tensor._dtype in INTEGERS and len(shape) <= 1 and is_static(shape):
        count = volume(static(shape))
        if count <= MOST_VALUES:
            values = objects([leaf(f"{tensor._name}({i})") for i in range(count)], static(shape))
    return Facts(tensor._dtype, shape, values)


def infer(layer: Any) -> None:
    """Run the rules of a layer and of all layers before it that have not been run."""
    waiting = [layer]
    while waiting:
        current = waiting[-1]
        if all(output._known is not None for output in current._outputs) and current._outputs:
            waiting.pop()
            continue
        before = [
            tensor._producer
            for tensor in current._inputs
            if tensor is not None and tensor._known is None and tensor._producer is not None
        ]
        if before:
            assert not any(producer in waiting for producer in before), "the network has a cycle"
            waiting.extend(before)
            continue
        run(current)
        waiting.pop()


def run(layer: Any) -> None:
    """Run the rule of one layer."""
    inputs = [None if tensor is None else facts(tensor) for tensor in layer._inputs]
    case = Case(layer._surface.major, layer._name, layer._attributes, inputs, layer._uid)
    given = [item for item in inputs if item is not None]
    constant = bool(given) and all(item.constant for item in given)
    results = RULES[layer._kind](case)
    layer._checks, layer._late = case.checks, case.late
    for tensor, result in zip(layer._outputs, results, strict=True):
        case.require(result.rank <= MOST_AXES, f"rank {result.rank} is above {MOST_AXES}")
        tensor._known = tidy(result, constant=constant)


def tidy(result: Facts, *, constant: bool) -> Facts:
    """Keep values only where shape tensors have them."""
    values = result.values
    if values is not None:
        fitting = is_static(result.shape) and values.shape == result.shape
        if result.dtype not in INTEGERS | {"BOOL"} or not fitting or values.size > MOST_VALUES:
            values = None
    if values is not result.values or constant:
        return replace(result, values=values, constant=constant or result.constant)
    return result


def forget(layer: Any) -> None:
    """Drop what was inferred for a layer and all layers after it."""
    waiting = [layer]
    while waiting:
        for tensor in waiting.pop()._outputs:
            if tensor._known is not None:
                tensor._known = None
                waiting.extend(tensor._consumers)


def forget_tensor(tensor: Any) -> None:
    """Drop what was inferred for an input and all layers after it."""
    tensor._known = None
    for layer in tensor._consumers:
        forget(layer)


def mark_shape(tensor: Any) -> None:
    """Note that a tensor's values decide a shape, and so those it is computed from."""
    waiting = [tensor]
    while waiting:
        current = waiting.pop()
        if current._decides_shape:
            continue
        current._decides_shape = True
        producer = current._producer
        if producer is not None and producer._kind != "IShapeLayer":
            waiting.extend(item for item in producer._inputs if item is not None)


def layers_before(tensors: Iterable[Any]) -> list[Any]:
    """Return the layers that tensors are computed by."""
    found: dict[int, Any] = {}
    waiting = [tensor._producer for tensor in tensors]
    while waiting:
        layer = waiting.pop()
        if layer is not None and id(layer) not in found:
            found[id(layer)] = layer
            waiting.extend(item._producer for item in layer._inputs if item is not None)
    return list(found.values())


def concrete(network: Any, shapes: dict[str, tuple[int, ...]]) -> dict[str, int]:
    """Return the number of each size name for concrete input shapes."""
    known: dict[str, int] = {}
    for tensor in network._inputs:
        if tensor._name not in shapes:
            continue
        shape = tuple(shapes[tensor._name])
        if len(shape) != len(tensor._shape):
            raise ValueError(f"input {tensor._name}: {shape} does not fit {tensor._shape}")
        for axis, (declared, size) in enumerate(zip(tensor._shape, shape, strict=True)):
            if declared not in (-1, size):
                raise ValueError(f"input {tensor._name}: {shape} does not fit {tensor._shape}")
            if declared == -1 and known.setdefault(size_name(tensor, axis), size) != size:
                raise ValueError(f"{size_name(tensor, axis)} is both {size} and another size")
    return known


def verify(layers: list[Any], known: dict[str, int]) -> str | None:
    """Return the first condition that does not hold for concrete sizes, or None."""
    memory: dict[str, Any] = {}
    for layer in layers:
        for check in layer._checks:
            try:
                if not check.holds(known, memory):
                    left = evaluate(check.left, known, memory)
                    right = evaluate(check.right, known, memory)
                    return f"{check.message} ({left} against {right})"
            except Unknown:
                continue
            except (ValueError, ZeroDivisionError) as error:
                return f"{check.message}: {error}"
    return None
