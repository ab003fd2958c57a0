"""The regions of layers that TensorRT 8.6 fuses into one, and what it does not find there."""

from __future__ import annotations

from typing import Any

from tests.double.facts import RuleError, Violation
from tests.double.inference import facts

ALONE = frozenset(
    "IConstantLayer IConvolutionLayer IDeconvolutionLayer IPoolingLayer IResizeLayer "
    "IScaleLayer".split()
)
CORES = frozenset("IMatrixMultiplyLayer INormalizationLayer ISoftMaxLayer".split())


def regions(layers: list[Any]) -> list[list[Any]]:
    """Return what is connected without a layer that is a kernel of its own, and has a core."""
    left = {id(layer): layer for layer in layers if layer._kind not in ALONE}
    found = []
    while left:
        region, around = [], [left.popitem()[1]]
        while around:
            layer = around.pop()
            region.append(layer)
            makers = [t._producer for t in layer._inputs if t is not None and t._producer]
            users = [user for tensor in layer._outputs for user in tensor._consumers]
            around += [left.pop(id(near)) for near in (*makers, *users) if id(near) in left]
        found.append(region)
    return [region for region in found if any(layer._kind in CORES for layer in region)]


def multiplies_eight_bits(region: list[Any]) -> bool:
    """Say whether a region holds a product of what is dequantized."""
    return any(
        layer._kind == "IMatrixMultiplyLayer"
        and any(t._producer and t._producer._kind == "IDequantizeLayer" for t in layer._inputs)
        for layer in region
    )


def of_one_type(region: list[Any]) -> None:
    """Refuse a region whose cores compute in half and in float32.

    Seen on 8.6.0: it finds no implementation, or computes the float32 layers in half.
    """
    types = {facts(layer._inputs[0]).dtype for layer in region if layer._kind in CORES}
    if types >= {"HALF", "FLOAT"}:
        name = f"{{ForeignNode[{region[0]._name}...{region[-1]._name}]}}"
        raise RuleError(f"Could not find any implementation for node {name}.")


def loose(region: list[Any]) -> None:
    """Refuse a type that a half layer is told beside products of 8 bits."""
    for layer in region:
        told = layer._attributes.get("precision")
        if told is not None and told.name == "HALF":
            raise Violation(f"{layer._name}: HALF is told beside 8 bits: 8.6.0 finds nothing then")
