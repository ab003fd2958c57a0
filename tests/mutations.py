"""Planted faults of the lowering, each with a graph that meets it and what the doubles say of it.

The list is the doubles' own examination: a fault that they let pass is a hole in them.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F

from tests import faults
from tests.double import Violation
from tests.faults import Fault, X, around, constrain, every, mixed, new, old, put, without
from tests.rows import B, S
from trtnn.errors import BuildError
from trtnn.lower import layers, network, recipes
from trtnn.lower.layers import Handle, Layers
from trtnn.lower.network import Net
from trtnn.lower.particular import Particular
from trtnn.lower.picking import Picking
from trtnn.lower.quantization import Quantization
from trtnn.lower.windows import Windows
from trtnn.ops.arithmetic import Elementwise, Select
from trtnn.ops.attention import Attention
from trtnn.ops.pointwise import Gelu
from trtnn.trt.library import TensorRT
from trtnn.trt.target import Target

HALF, LONG, BOOL = torch.float16, torch.int64, torch.bool
OFF = "TensorRT has"  # what TensorRT makes of a layer is not what the graph says
SHAPE = "has the shape"  # nor is it at a size within the ranges
IMAGE, ROW, HALVES = X(B, 4, 6, 8), X(B, S), X(B, S, dtype=HALF)
SDPA = (X(B, 2, S, 4), X(B, 2, S, 4), X(B, 2, S, 4), X(S, S))


def relu(x: torch.Tensor) -> torch.Tensor:
    return torch.relu(x)


def quantized(x: torch.Tensor) -> torch.Tensor:
    return torch.relu(torch.fake_quantize_per_tensor_affine(x, 0.1, 0, -128, 127))


def quantized_weights(x: torch.Tensor) -> torch.Tensor:
    steps, zeros = torch.full((4,), 0.1), torch.zeros(4, dtype=torch.int32)
    kernel = torch.ones(4, 3, 3, 3)
    kernel = torch.fake_quantize_per_channel_affine(kernel, steps, zeros, 0, -128, 127)
    return F.conv2d(x, kernel)


TYPES = [
    Fault("a cast is dropped",
        around(Layers, "cast", faults.no_cast),
        lambda x, y: x.half() + y, (ROW, HALVES), mixed("inputs"),
    ),
    Fault("one operand is cast to another type",
        put(Elementwise, "lower", lambda op, net, a, b: net.elementwise(
            net.cast(a, HALF), b, op.kind)),
        lambda x, y: x + y, (ROW, ROW), mixed("inputs"),
    ),
    Fault("a fill value of another type",
        around(Layers, "slice", lambda f, net, *a, fill=None, **k: f(
            net, *a, fill=fill and net.cast(fill, HALF), **k)),
        lambda x: F.pad(x, (1, 2), value=3.0), (ROW,),
        old(Violation, "fill value differ in type") | new(BuildError, "fill value differ in type"),
    ),
    Fault("an int64 constant on 8.6",
        put(recipes, "narrowed", lambda tensor, *_: tensor),
        lambda x: x + torch.tensor([1, 2]), (X(B, 2, dtype=LONG),),
        old(ValueError, "Could not implicitly convert NumPy data type: int64"),
    ),
    Fault("int32 shape arithmetic where shapes are int64",
        put(Target, "index_dtype", property(lambda _: "int32")),
        lambda x: torch.zeros(x.shape[0] * 2, 3), (ROW,),
        new(BuildError, "differ in type: INT32 and INT64"),
    ),
    Fault("a fill that is not told its type",
        around(Particular, "_fill", faults.fill_untyped),
        lambda x: torch.arange(x.shape[1]), (ROW,),
        new(BuildError, "alpha is INT64, the output FLOAT"),
    ),
    Fault("bool through Select",
        put(Select, "lower", lambda op, net, *operands: net.select(*operands)),
        lambda x, y, z: torch.where(x, y, z), (X(B, dtype=BOOL),) * 3,
        old(BuildError, "data of type BOOL is not supported"),
    ),
    Fault("statistics in half",
        put(Windows, "normalization", faults.half_statistics),
        lambda x: F.layer_norm(x, (8,)), (X(B, S, 8, dtype=HALF),),
        new(Violation, "statistics are in FLOAT"),
    ),
]  # fmt: skip

TOLD = [
    Fault("no precision on half layers",
        around(TensorRT, "constrain", constrain(precision=None, output=True)),
        relu, (HALVES,), old(Violation, "precision is None"),
    ),
    Fault("no output type on half layers",
        around(TensorRT, "constrain", constrain(precision="float16", output=False)),
        relu, (HALVES,), old(Violation, "output type is None"),
    ),
    Fault("float32 precision on half layers",
        around(TensorRT, "constrain", constrain(precision="float32", output=True)),
        relu, (HALVES,), old(Violation, "precision is FLOAT"),
    ),
    Fault("an output type on a Shuffle",
        around(Net, "done", lambda f, net, layer, dtype, shape, _: f(
            net, layer, dtype, shape, dtype)),
        lambda x: x.t(), (HALVES,), old(Violation, "on a layer that does not compute"),
    ),
    Fault("a precision in a strongly typed network",
        around(Net, "done", faults.precision_everywhere),
        relu, (HALVES,),
        {
            "10": (BuildError, "a precision or output type in a strong network"),
            "11": (AttributeError, "no attribute 'precision'"),
        },
    ),
    Fault("half is left free in a float32 graph",
        around(Net, "__init__", faults.half_everywhere),
        relu, (ROW,), old(Violation, "flag FP16 on a graph without HALF"),
    ),
    Fault("flag FP16 is missing",
        around(TensorRT, "config", without("FP16")),
        relu, (HALVES,), old(Violation, "flag FP16 is missing"),
    ),
    Fault("precisions are not obeyed",
        around(TensorRT, "config", without("OBEY_PRECISION_CONSTRAINTS")),
        relu, (HALVES,), old(Violation, "flag OBEY_PRECISION_CONSTRAINTS is missing"),
    ),
    Fault("a half output is not told its type",
        put(network, "mark_output", faults.plain_output),
        lambda x: x.t(), (HALVES,), old(Violation, "would come out as FLOAT"),
    ),
]  # fmt: skip

WEIGHTS = [
    Fault("weights are not held",
        around(Net, "weights", faults.loose_weights),
        lambda x: F.linear(x, torch.ones(3, 40)), (X(B, 40),),
        every(Violation, "weight freed before build"),
    ),
    Fault("bfloat16 weights are not held",
        around(Net, "weights", faults.loose_weights),
        lambda x: F.linear(x, torch.ones(3, 40).bfloat16()), (X(B, 40, dtype=torch.bfloat16),),
        new(Violation, "weight freed before build"),
    ),
    Fault("a narrowed copy is held until the next layer only",
        around(Net, "weights", faults.forgotten_weights),
        lambda x: x + torch.ones(20, dtype=LONG).cumsum(0), (X(B, 20, dtype=LONG),),
        old(Violation, "weight freed before build"),
    ),
    Fault("a channel scale of twice the length",
        around(Windows, "scale", lambda f, net, x, scale, shift: f(
            net, x, Handle(torch.cat([scale.tensor, scale.tensor])), shift)),
        lambda x: F.batch_norm(x, torch.zeros(4), torch.ones(4)), (IMAGE,),
        every(BuildError, "scale has 8 weights, not 4"),
    ),
    Fault("a kernel with its window turned",
        around(Windows, "convolution", lambda f, net, x, kernel, *rest: f(
            net, x, Handle(kernel.tensor.mT.contiguous()), *rest)),
        lambda x: F.conv2d(x, torch.ones(4, 4, 3, 1)), (IMAGE,), every(BuildError, OFF),
    ),
    Fault("a convolution without its groups",
        around(Windows, "convolution", lambda f, *a: f(*a[:-1], 1)),
        lambda x: F.conv2d(x, torch.ones(4, 2, 3, 3), groups=2), (IMAGE,),
        every(BuildError, "kernel has 72 weights, not 144"),
    ),
]  # fmt: skip

AXES = [
    Fault("Reduce takes the axis after",
        around(Layers, "reduce", lambda f, net, x, kind, axes, keep: f(
            net, x, kind, [a + 1 for a in axes], keep)),
        lambda x: x.mean(1, keepdim=True), (IMAGE,), every(BuildError, OFF),
    ),
    Fault("Softmax takes an index for bits",
        put(layers, "bits", lambda axes: axes[0]),
        lambda x: x.softmax(-1), (IMAGE,), every(BuildError, "axes 0b11 must be one bit"),
    ),
    Fault("Gather takes the axis before",
        around(Picking, "gather", lambda f, net, x, i, axis: f(net, x, i, axis - 1)),
        lambda x: x[:, [3, 0, 1]], (X(6, 4),), every(BuildError, OFF),
    ),
    Fault("a concatenation is not told its axis",
        put(Layers, "concat", faults.concat_without_axis),
        lambda x, y: torch.cat([x, y], 1), (X(2, 3), X(2, 4)), every(BuildError, "axis 1 differs"),
    ),
    Fault("a permutation is turned round",
        around(Layers, "shuffle", faults.inverse),
        lambda x: x.permute(2, 0, 1), (X(2, 3, 5),), every(BuildError, OFF),
    ),
    Fault("a permutation of symbolic sizes is turned round",
        around(Layers, "shuffle", faults.inverse),
        lambda x: x.permute(2, 0, 1), (X(B, S, 2 * S),), every(AssertionError, SHAPE),
    ),
    Fault("a convolution's padding is in the order of width, height",
        around(Windows, "convolution", lambda f, net, x, k, b, stride, padding, *rest: f(
            net, x, k, b, stride, padding[::-1], *rest)),
        lambda x: F.conv2d(x, torch.ones(4, 4, 3, 3), padding=(1, 0)), (IMAGE,),
        every(BuildError, OFF),
    ),
    Fault("a pooling window is in the order of width, height",
        around(Windows, "pooling", lambda f, net, x, kind, window, *rest: f(
            net, x, kind, window[::-1], *rest)),
        lambda x: F.max_pool2d(x, (2, 3), 1), (IMAGE,), every(BuildError, OFF),
    ),
    Fault("a group norm over the channels too",
        around(Windows, "normalization", lambda f, net, x, scale, bias, axes, *rest: f(
            net, x, scale, bias, (1, *axes), *rest)),
        lambda x: F.group_norm(x, 2), (IMAGE,),
        every(BuildError, "groups need all axes after the channel"),
    ),
    Fault("a layer norm over the axis after the last",
        around(Windows, "normalization", lambda f, net, x, scale, bias, axes, *rest: f(
            net, x, scale, bias, (x.rank,), *rest)),
        lambda x: F.layer_norm(x, (8,)), (IMAGE,), every(BuildError, "are outside rank 4"),
    ),
    Fault("the flag of a transposed matrix is dropped",
        around(Layers, "matmul", lambda f, net, a, b, *_: f(net, a, b)),
        lambda x: F.linear(x, torch.ones(3, 4)), (X(B, 4),),
        every(BuildError, "inner sizes differ"),
    ),
    Fault("nonzero gives columns for rows",
        put(Picking, "nonzero", lambda net, x, count: net.cast(net.done(
            net.network.add_non_zero(x.handle), torch.int32, (count, x.rank), None), LONG)),
        lambda x: torch.nonzero(x), (X(2, 3, 4),), every(AssertionError, SHAPE),
    ),
]  # fmt: skip

RANKS = [
    Fault("ones are not put in front",
        around(Net, "tensor", lambda f, net, operand, rank=None: f(net, operand)),
        lambda x, y: x + y, (ROW, X(S)), every(BuildError, "ranks differ"),
    ),
    Fault("a scalar through a unary layer",
        put(Target, "scalars_in_unary", property(lambda _: True)),
        lambda x: x.exp(), (X(),), old(BuildError, "unary layers take no scalar on 8.6"),
    ),
    Fault("an attention mask of another type",
        around(Layers, "attention", lambda f, net, q, k, v, mask, causal: f(
            net, q, k, v, net.cast(mask, HALF), causal)),
        lambda *x: F.scaled_dot_product_attention(*x), SDPA,
        new(BuildError, "query and mask differ in type"),
    ),
    Fault("a resize of the spatial sizes only",
        around(Windows, "resize", lambda f, net, x, size, *rest: f(net, x, size[2:], *rest)),
        lambda x: F.interpolate(x, (12, 16)), (IMAGE,), every(BuildError, "2 sizes for rank 4"),
    ),
]  # fmt: skip

SIZES = [
    Fault("a dynamic size is baked at its optimum",
        around(Net, "size_vector", faults.sizes_at_opt),
        lambda x: torch.zeros(x.shape[0], 3), (ROW,), every(AssertionError, SHAPE),
    ),
    Fault("a dynamic size is baked inside the graph",
        around(Net, "size_vector", faults.sizes_at_opt),
        lambda x: x + torch.arange(x.shape[1]), (ROW,), every(BuildError, "do not broadcast"),
    ),
    Fault("every symbolic size of a reshape is left to TensorRT",
        put(layers, "placeholders", lambda shape, _: tuple(
            s if isinstance(s, int) else -1 for s in shape)),
        lambda x: x.view(*x.shape[:2], 2, 4), (X(B, S, 8),),
        every(BuildError, "more than one -1"),
    ),
    Fault("a size is read off another axis",
        around(Net, "_symbol", faults.other_axis),
        lambda x: torch.zeros(x.shape[0], 3), (ROW,), every(AssertionError, SHAPE),
    ),
    Fault("a difference of sizes is taken the wrong way round",
        around(Layers, "elementwise", faults.swapped),
        lambda x: torch.zeros(x.shape[0] - 1, 3), (X(2 * S + 1, 2),),
        every(BuildError, "negative size on axis 0"),
    ),
    Fault("dimensions are not named",
        around(network, "add_input", faults.unnamed),
        lambda x, y: x + y, (ROW, ROW), every(Violation, "give both one dimension name"),
    ),
]  # fmt: skip

NAMES = [
    Fault("an activation of 10 on 8.6",
        put(Gelu, "needs_decomposition", lambda op, target: False),
        lambda x: F.gelu(x), (ROW,), old(AttributeError, "GELU_ERF"),
    ),
    Fault("a layer of 10 on 8.6",
        put(Attention, "needs_decomposition", lambda op, target: False),
        lambda *x: F.scaled_dot_product_attention(*x), SDPA,
        old(AttributeError, "AttentionNormalizationOp"),
    ),
    Fault("an output has the name of an input",
        around(network, "mark_output", faults.output_named_as_input),
        relu, (ROW,), every(BuildError, "repeated tensor name"),
    ),
    Fault("an input is an output as it is",
        put(Layers, "identity", lambda net, x: net.tensor(x)),
        lambda x: x.clone(), (ROW,), every(BuildError, "is an input"),
    ),
]  # fmt: skip

PROFILES = [
    Fault("a profile's shapes are out of order",
        around(TensorRT, "profile", lambda f, lib, builder, config, shapes: f(
            lib, builder, config, {k: v[::-1] for k, v in shapes.items()})),
        relu, (ROW,), every(ValueError, "Shape provided for min is inconsistent"),
    ),
    Fault("a profile of the first input only",
        around(TensorRT, "profile", lambda f, lib, builder, config, shapes: f(
            lib, builder, config, dict(list(shapes.items())[:1]))),
        lambda x, y: x + y, (ROW, ROW), every(BuildError, "is missing in an optimization profile"),
    ),
    Fault("no profile",
        put(TensorRT, "profile", lambda *_: None),
        relu, (ROW,), every(BuildError, "but no optimization profile"),
    ),
    Fault("a binding list of no block",
        put(TensorRT, "binding_blocks", lambda lib, engine: 0),
        relu, (ROW,), every(Violation, "out of bounds"), called=True,
    ),
]  # fmt: skip

QUANTIZED = [
    Fault("no word that the graph is quantized",
        put(network, "is_quantized", lambda node: False),
        quantized, (ROW,), old(Violation, "flag INT8 and Quantize or Dequantize"),
    ),
    Fault("a precision between Dequantize and what computes",
        put(Net, "_is_free", lambda net: False),
        quantized, (HALVES,), old(Violation, "beside 8 bits would be a cast"),
    ),
    Fault("a scale for each channel without its axis",
        around(Quantization, "quantize_dequantize",
            lambda f, net, x, scale, axis, dtype: f(net, x, scale, None, dtype)),
        quantized_weights, (X(B, 3, 6, 8),), new(BuildError, "axis -1 is outside rank 4"),
    ),
]  # fmt: skip

FAULTS = [*QUANTIZED, *TYPES, *TOLD, *WEIGHTS, *AXES, *RANKS, *SIZES, *NAMES, *PROFILES]
