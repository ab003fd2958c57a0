"""The double's own rule table: layer class to output types and shapes."""

from collections.abc import Callable

from tests.double.facts import Case, Facts
from tests.double.plugins import plugin_layer
from tests.double.rules import creation, flow, indexing, matrices, movement, pointwise, windows

Rule = Callable[[Case], list[Facts]]

RULES: dict[str, Rule] = {
    "IActivationLayer": pointwise.activation,
    "IUnaryLayer": pointwise.unary,
    "IElementWiseLayer": pointwise.elementwise,
    "ISelectLayer": pointwise.select,
    "IParametricReLULayer": pointwise.parametric_relu,
    "ICastLayer": pointwise.cast,
    "IIdentityLayer": pointwise.identity,
    "IScaleLayer": pointwise.scale,
    "ILRNLayer": pointwise.local_response,
    "IQuantizeLayer": pointwise.quantize,
    "IDequantizeLayer": pointwise.dequantize,
    "IShuffleLayer": movement.shuffle,
    "ISliceLayer": movement.slice_layer,
    "IGatherLayer": indexing.gather,
    "IScatterLayer": indexing.scatter,
    "IConcatenationLayer": movement.concatenation,
    "ISqueezeLayer": movement.squeeze,
    "IUnsqueezeLayer": movement.unsqueeze,
    "IReverseSequenceLayer": movement.reverse_sequence,
    "IPaddingLayer": movement.padding,
    "INonZeroLayer": indexing.non_zero,
    "IConvolutionLayer": windows.convolution,
    "IDeconvolutionLayer": windows.deconvolution,
    "IPoolingLayer": windows.pooling,
    "IResizeLayer": windows.resize,
    "IGridSampleLayer": windows.grid_sample,
    "IMatrixMultiplyLayer": matrices.matrix_multiply,
    "IEinsumLayer": matrices.einsum,
    "IReduceLayer": matrices.reduce,
    "ISoftMaxLayer": matrices.softmax,
    "IRaggedSoftMaxLayer": matrices.ragged_softmax,
    "ITopKLayer": matrices.topk,
    "INormalizationLayer": matrices.normalization,
    "ICumulativeLayer": matrices.cumulative,
    "IAttention": matrices.attention,
    "INMSLayer": indexing.nms,
    "IRotaryEmbeddingLayer": matrices.rotary_embedding,
    "IOneHotLayer": indexing.one_hot,
    "IAssertionLayer": matrices.assertion,
    "IPluginV2Layer": plugin_layer,
    "IPluginV3Layer": plugin_layer,
    "IConstantLayer": creation.constant,
    "IShapeLayer": creation.shape_of,
    "IFillLayer": creation.fill,
    "IRecurrenceLayer": flow.carried,
    "IIteratorLayer": flow.iterated,
    "ITripLimitLayer": flow.trip_limit,
    "ILoopOutputLayer": flow.loop_output,
    "IConditionLayer": flow.condition,
    "IIfConditionalInputLayer": flow.branch_input,
    "IIfConditionalOutputLayer": flow.branch_output,
}
