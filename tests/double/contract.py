"""The typing contract on 8.6, and what strongly typed networks refuse."""

from __future__ import annotations

from typing import Any

from tests.double import fused
from tests.double.facts import FLOATS, RuleError, Violation
from tests.double.inference import facts
from tests.double.rules.pointwise import PARAMETERS
from tests.double.sizes import Symbol

COMPUTING = frozenset(
    {
        "IConvolutionLayer",
        "IDeconvolutionLayer",
        "IMatrixMultiplyLayer",
        "IEinsumLayer",
        "IElementWiseLayer",
        "IUnaryLayer",
        "IActivationLayer",
        "ISoftMaxLayer",
        "IRaggedSoftMaxLayer",
        "IReduceLayer",
        "IPoolingLayer",
        "IScaleLayer",
        "INormalizationLayer",
        "IResizeLayer",
        "ILRNLayer",
        "ITopKLayer",
        "IParametricReLULayer",
        "IGridSampleLayer",
        "IPluginV2Layer",
    }
)
UNSIGNED = frozenset({"ICastLayer", "IIdentityLayer"})  # what gives an output of UINT8
# A trip limit gives no tensor.
STILL = frozenset({"IConstantLayer", "IShapeLayer", "ITripLimitLayer"})
FLOWING = frozenset({"IFillLayer"})
QUANTIZING = frozenset({"IQuantizeLayer", "IDequantizeLayer"})


def strong(network: Any, config: Any) -> None:
    """Refuse what a strongly typed network does not take (10 and 11)."""
    for flag in ("FP16", "BF16", "INT8", "FP8", "INT4", "FP4"):
        if config._has(flag):
            raise RuleError(f"k{flag} is not compatible with a strongly typed network")
    for flag in ("OBEY_PRECISION_CONSTRAINTS", "PREFER_PRECISION_CONSTRAINTS"):
        if config._has(flag):
            raise RuleError(f"{flag} is not compatible with a strongly typed network")
    for layer in network._layers:
        if "precision" in layer._attributes or layer._output_types:
            raise RuleError(f"{layer._name}: a precision or output type in a strong network")
        eight_bits(layer)
        if layer._kind == "INormalizationLayer":
            inside = facts(layer._inputs[0]).dtype
            if inside != "FLOAT":  # strong typing computes in the type of the input
                raise Violation(f"{layer._name}: computes in {inside}; statistics are in FLOAT")


def eight_bits(layer: Any) -> None:
    """Refuse 8-bit values where they are neither quantized nor at the network's border."""
    for tensor in layer._outputs:
        dtype, name = facts(tensor).dtype, tensor._name
        if dtype == "UINT8" and not (tensor._is_output and layer._kind in UNSIGNED):
            raise RuleError(f"Tensor {name} has datatype UInt8 but is not network-level IO")
        if dtype == "INT8" and layer._kind == "IConstantLayer" and layer._surface.major > 10:
            after = {consumer._kind for consumer in tensor._consumers}
            if tensor._is_output or after - {"IDequantizeLayer"}:
                raise RuleError(f"Quantized constant ({layer._name}) is only allowed before DQ")


def weak(network: Any, config: Any) -> None:
    """Demand that 8.6 is told the types of the graph."""
    layers = network._layers
    tensors = [*network._inputs, *(out for layer in layers for out in layer._outputs)]
    half = any(facts(tensor).dtype == "HALF" for tensor in tensors)
    quantized = any(layer._kind in ("IQuantizeLayer", "IDequantizeLayer") for layer in layers)
    if config._has("INT8") != quantized:
        raise Violation("flag INT8 and Quantize or Dequantize layers go together")
    if config._has("PREFER_PRECISION_CONSTRAINTS") or config._has("STRICT_TYPES"):
        raise Violation("constraints are obeyed, not preferred")
    if half:
        for flag in ("FP16", "OBEY_PRECISION_CONSTRAINTS"):
            if not config._has(flag):
                raise Violation(f"the graph holds HALF, and flag {flag} is missing")
    else:
        if config._has("FP16") and not quantized:
            raise Violation("flag FP16 on a graph without HALF: TensorRT would lower precision")
        if config._has("OBEY_PRECISION_CONSTRAINTS"):
            raise Violation("constraints on a graph without HALF")
    free = set()
    for region in fused.regions(layers):
        fused.of_one_type(region)
        if fused.multiplies_eight_bits(region):
            fused.loose(region)
            free.update(map(id, region))
    for layer in layers:
        if id(layer) not in free or floats_read(layer) != "HALF":
            typed_layer(layer, half=half)
    for tensor in network._outputs:
        intended = facts(tensor).dtype
        if tensor._reported() != intended:
            raise Violation(
                f"output {tensor._name!r} would come out as {tensor._reported()}, not {intended}: "
                "set its dtype"
            )


def floats_read(layer: Any) -> str | None:
    """Return the type of the first tensor that a layer reads."""
    given = [tensor for tensor in layer._inputs if tensor is not None]
    return facts(given[0]).dtype if given else None


def typed_layer(layer: Any, *, half: bool) -> None:
    """Check the precision and output type of one layer."""
    inputs = [facts(tensor).dtype for tensor in layer._inputs if tensor is not None]
    computes = layer._kind in COMPUTING and bool(inputs) and inputs[0] in FLOATS
    precision = layer._attributes.get("precision")
    name = layer._name
    if layer._kind in QUANTIZING or any(
        tensor is not None
        and tensor._producer is not None
        and tensor._producer._kind == "IDequantizeLayer"
        for tensor in layer._inputs
    ):
        if precision is not None or layer._output_types:
            raise Violation(f"{name}: a precision or output type beside 8 bits would be a cast")
        return
    moves = half and not computes and layer._kind not in STILL
    if moves and facts(layer._outputs[0]).dtype == "FLOAT":
        # Seen on 8.6.0: beside half values, an unconstrained float32 tensor travels as half.
        declared = layer._output_types.get(0)
        if precision is None or precision.name != "FLOAT" or declared != "FLOAT":
            raise Violation(f"{name}: moves FLOAT unconstrained beside HALF, and may round it")
        return
    if not computes or not half:
        if layer._kind in FLOWING:
            return
        if precision is not None or layer._output_types:
            why = "in a graph without HALF" if computes else "on a layer that does not compute"
            raise Violation(f"{name}: a precision or output type {why}")
        return
    if precision is None or precision.name != inputs[0]:
        given = None if precision is None else precision.name
        raise Violation(f"{name}: precision is {given}, the graph says {inputs[0]}")
    for index, tensor in enumerate(layer._outputs):
        intended = facts(tensor).dtype
        declared = layer._output_types.get(index)
        if (intended in FLOATS or declared is not None) and declared != intended:
            raise Violation(f"{name}: output type is {declared}, the graph says {intended}")
    if layer._kind == "INormalizationLayer":
        inside = layer._attributes["compute_precision"].name
        if inside != "FLOAT":
            raise Violation(f"{name}: compute_precision is {inside}; statistics are in FLOAT")


def names(network: Any) -> None:
    """Demand that inputs whose sizes have to be equal say so by one dimension name.

    Without it TensorRT 8.6.0 branches on whether they are, and fuses less.
    """
    for layer in network._layers:
        for check in layer._checks:
            sides = (check.left, check.right)
            plain = all(isinstance(s, Symbol) and s.operation == "size" for s in sides)
            if plain and check.kind in ("equal", "broadcast"):
                raise Violation(
                    f"{check.message}: whether {sides[0].operands[0]} is {sides[1].operands[0]} "
                    "is asked at run time; give both one dimension name"
                )


def parameters(network: Any) -> None:
    """Demand that undocumented defaults are not relied upon."""
    for layer in network._layers:
        if layer._kind != "IActivationLayer":
            continue
        name = layer._attributes["type"].name
        for parameter in PARAMETERS.get(name, ()):
            if parameter not in layer._written:
                raise Violation(f"{layer._name}: {name} needs {parameter}, its default is unknown")
