"""TensorRT's layers by its own names, eager and traced: ``add_shuffle`` is ``nvinfer.shuffle``.

Arguments stand in the order of ``INetworkDefinition``'s ``add_`` methods, and the attributes of
the layer are keywords of their own names, with TensorRT's defaults. A member of an enumeration is
its name, as ``op="SUM"``. Axes may be TensorRT's bit masks, or tuples of axes. Shapes are sizes,
not tensors: those of a traced tensor may be computed with. What a version lacks is composed of
what it has, or refused with an error that says so.
"""

from trtnn.nvinfer.making import assertion, constant, fill, shape
from trtnn.nvinfer.matrices import (
    attention,
    attention_v2,
    cumulative,
    einsum,
    kv_cache_update,
    matrix_multiply,
    normalization,
    normalization_v2,
    ragged_softmax,
    reduce,
    rotary_embedding,
    softmax,
)
from trtnn.nvinfer.movement import (
    concatenation,
    identity,
    reverse_sequence,
    shuffle,
    slice,
    squeeze,
    unsqueeze,
)
from trtnn.nvinfer.picking import gather, gather_v2, nms, non_zero, one_hot, scatter, topk
from trtnn.nvinfer.pointwise import (
    activation,
    cast,
    elementwise,
    lrn,
    parametric_relu,
    scale,
    scale_nd,
    select,
    unary,
)
from trtnn.nvinfer.quantization import (
    dequantize,
    dynamic_quantize,
    dynamic_quantize_v2,
    quantize,
)
from trtnn.nvinfer.windows import (
    convolution_nd,
    deconvolution_nd,
    grid_sample,
    padding_nd,
    pooling_nd,
    resize,
)

__all__ = [
    "activation", "assertion", "attention", "attention_v2", "cast", "concatenation", "constant",
    "convolution_nd", "cumulative", "deconvolution_nd", "dequantize", "dynamic_quantize",
    "dynamic_quantize_v2", "einsum", "elementwise", "fill", "gather", "gather_v2", "grid_sample",
    "identity", "kv_cache_update", "lrn", "matrix_multiply", "nms", "non_zero", "normalization",
    "normalization_v2", "one_hot", "padding_nd", "parametric_relu", "pooling_nd", "quantize",
    "ragged_softmax", "reduce", "resize", "reverse_sequence", "rotary_embedding", "scale",
    "scale_nd", "scatter", "select", "shape", "shuffle", "slice", "softmax", "squeeze", "topk",
    "unary", "unsqueeze",
]  # fmt: skip
