"""How the arguments of each ``add_*`` become a layer's inputs and attributes."""

from __future__ import annotations

from typing import Any

TENSOR, TENSORS = "@", "@*"
ADDS: dict[str, tuple[str, str]] = {
    "add_activation": ("IActivationLayer", "@ type"),
    "add_assertion": ("IAssertionLayer", "@ message"),
    "add_attention": ("IAttention", "@ @ @ norm_op causal"),
    "add_attention_v2": ("IAttention", "@ @ @ norm_op causal_kind"),
    "add_cast": ("ICastLayer", "@ to_type"),
    "add_concatenation": ("IConcatenationLayer", "@*"),
    "add_constant": ("IConstantLayer", "shape weights"),
    "add_convolution_nd": (
        "IConvolutionLayer",
        "@ num_output_maps kernel_size_nd kernel bias",
    ),
    "add_cumulative": ("ICumulativeLayer", "@ @ op exclusive reverse"),
    "add_deconvolution_nd": (
        "IDeconvolutionLayer",
        "@ num_output_maps kernel_size_nd kernel bias",
    ),
    "add_dequantize": ("IDequantizeLayer", "@ @ to_type"),
    "add_einsum": ("IEinsumLayer", "@* equation"),
    "add_elementwise": ("IElementWiseLayer", "@ @ op"),
    "add_fill": ("IFillLayer", "shape operation to_type"),
    "add_gather": ("IGatherLayer", "@ @ axis"),
    "add_gather_v2": ("IGatherLayer", "@ @ mode"),
    "add_grid_sample": ("IGridSampleLayer", "@ @"),
    "add_identity": ("IIdentityLayer", "@"),
    "add_lrn": ("ILRNLayer", "@ window_size alpha beta k"),
    "add_matrix_multiply": ("IMatrixMultiplyLayer", "@ op0 @ op1"),
    "add_nms": ("INMSLayer", "@ @ @ indices_type"),
    "add_non_zero": ("INonZeroLayer", "@ indices_type"),
    "add_normalization": ("INormalizationLayer", "@ @ @ axes"),
    "add_normalization_v2": ("INormalizationLayer", "@ @ @ axes"),
    "add_one_hot": ("IOneHotLayer", "@ @ @ axis"),
    "add_padding_nd": ("IPaddingLayer", "@ pre_padding_nd post_padding_nd"),
    "add_parametric_relu": ("IParametricReLULayer", "@ @"),
    "add_plugin_v2": ("IPluginV2Layer", "@* plugin"),
    "add_plugin_v3": ("IPluginV3Layer", "@* @* plugin"),
    "add_pooling_nd": ("IPoolingLayer", "@ type window_size_nd"),
    "add_quantize": ("IQuantizeLayer", "@ @ to_type"),
    "add_ragged_softmax": ("IRaggedSoftMaxLayer", "@ @"),
    "add_reduce": ("IReduceLayer", "@ op axes keep_dims"),
    "add_resize": ("IResizeLayer", "@"),
    "add_reverse_sequence": ("IReverseSequenceLayer", "@ @"),
    "add_rotary_embedding": (
        "IRotaryEmbeddingLayer",
        "@ @ @ interleaved rotary_embedding_dim",
    ),
    "add_scale": ("IScaleLayer", "@ mode shift scale power"),
    "add_scale_nd": ("IScaleLayer", "@ mode shift scale power channel_axis"),
    "add_scatter": ("IScatterLayer", "@ @ @ mode"),
    "add_select": ("ISelectLayer", "@ @ @"),
    "add_shape": ("IShapeLayer", "@"),
    "add_shuffle": ("IShuffleLayer", "@"),
    "add_slice": ("ISliceLayer", "@ start shape stride"),
    "add_softmax": ("ISoftMaxLayer", "@"),
    "add_squeeze": ("ISqueezeLayer", "@ @"),
    "add_topk": ("ITopKLayer", "@ op k axes indices_type"),
    "add_unary": ("IUnaryLayer", "@ op"),
    "add_unsqueeze": ("IUnsqueezeLayer", "@ @"),
}
# Their shape depends on attributes that are set after ``add_*``: judged later.
LATER = frozenset(
    {
        "IShuffleLayer",
        "ISliceLayer",
        "IConcatenationLayer",
        "ISoftMaxLayer",
        "IConvolutionLayer",
        "IDeconvolutionLayer",
        "IPoolingLayer",
        "IResizeLayer",
        "INormalizationLayer",
        "IFillLayer",
        "IGatherLayer",
        "IScatterLayer",
        "IQuantizeLayer",
        "IDequantizeLayer",
        "IReverseSequenceLayer",
        "IRotaryEmbeddingLayer",
        "ILoopOutputLayer",
    }
)
OUTPUTS = {"ITopKLayer": 2, "INMSLayer": 2}
OUTPUTS |= dict.fromkeys(("IAssertionLayer", "ITripLimitLayer", "IConditionLayer"), 0)


def plain_defaults() -> dict[str, dict[str, Any]]:
    """Return the documented defaults that are no enumerations."""
    window = {"pre_padding": None, "post_padding": None, "num_groups": 1, "kernel": None}
    return {
        "IActivationLayer": {"alpha": None, "beta": None},
        "IShuffleLayer": {
            "first_transpose": None,
            "second_transpose": None,
            "reshape_dims": None,
            "zero_is_placeholder": True,
        },
        "ISliceLayer": {"axes": None},
        "IGatherLayer": {"axis": 0, "num_elementwise_dims": 0},
        "IScatterLayer": {"axis": 0},
        "IConvolutionLayer": {**window, "bias": None},
        "IDeconvolutionLayer": {**window, "bias": None},
        "IPoolingLayer": {
            "pre_padding": None,
            "post_padding": None,
            "blend_factor": 0.0,
            "average_count_excludes_padding": True,
        },
        "IResizeLayer": {
            "shape": None,
            "scales": None,
            "cubic_coeff": -0.75,
            "exclude_outside": False,
        },
        "INormalizationLayer": {"epsilon": 1e-5, "num_groups": 1},
        "IFillLayer": {"alpha": None, "beta": None},
        "IScaleLayer": {"channel_axis": 1},
        "IQuantizeLayer": {"axis": -1},
        "IDequantizeLayer": {"axis": -1},
        "IReverseSequenceLayer": {"batch_axis": 1, "sequence_axis": 0},
        "IGridSampleLayer": {"align_corners": False},
        "INMSLayer": {"topk_box_limit": 5000},
        "IAttention": {"decomposable": False, "causal": False},
    }


def enumerated_defaults(surface: Any) -> dict[str, dict[str, Any]]:
    """Return the documented defaults that are members of enumerations."""
    types, strict = surface.DataType, surface.SampleMode.STRICT_BOUNDS
    rounding = surface.PaddingMode.EXPLICIT_ROUND_DOWN
    return {
        "ISliceLayer": {"mode": strict},
        "IGatherLayer": {"mode": surface.GatherMode.DEFAULT},
        "IConvolutionLayer": {"padding_mode": rounding},
        "IDeconvolutionLayer": {"padding_mode": rounding},
        "IPoolingLayer": {"padding_mode": rounding},
        "IResizeLayer": {
            "resize_mode": surface.InterpolationMode.NEAREST,
            "coordinate_transformation": surface.ResizeCoordinateTransformation.ASYMMETRIC,
            "nearest_rounding": surface.ResizeRoundMode.FLOOR,
            "selector_for_single_pixel": surface.ResizeSelector.FORMULA,
        },
        "INormalizationLayer": {"compute_precision": types.FLOAT} if surface.major < 11 else {},
        "ITopKLayer": {"indices_type": types.INT32},
        "INonZeroLayer": {"indices_type": types.INT32},
        "INMSLayer": {
            "indices_type": types.INT32,
            "bounding_box_format": surface.BoundingBoxFormat.CORNER_PAIRS,
        },
        "IQuantizeLayer": {"to_type": types.INT8},
        "IDequantizeLayer": {"to_type": types.FLOAT},
        "IFillLayer": {"to_type": types.FLOAT} if surface.major > 8 else {},
        "IGridSampleLayer": {
            "interpolation_mode": surface.InterpolationMode.LINEAR,
            "sample_mode": surface.SampleMode.FILL,
        },
    }


def ranked_defaults(kind: str, ranks: list[int]) -> dict[str, Any]:
    """Return the defaults that depend on the rank of the first input."""
    if kind == "IConcatenationLayer":
        return {"axis": max(0, ranks[0] - 3)} if ranks else {"axis": 0}
    if kind == "ISoftMaxLayer":
        return {"axes": 1 << max(0, ranks[0] - 3)}
    return {}


def defaults(surface: Any) -> dict[str, dict[str, Any]]:
    """Return the defaults of every layer class of a version."""
    plain, enumerated = plain_defaults(), enumerated_defaults(surface)
    return {
        kind: {**plain.get(kind, {}), **enumerated.get(kind, {})} for kind in {*plain, *enumerated}
    }
