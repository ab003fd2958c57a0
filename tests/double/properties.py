"""Types of the writable properties, which the recorded surface does not tell."""

from __future__ import annotations

INT = (
    "axis axes num_groups num_output_maps num_elementwise_dims k window_size batch_axis "
    "sequence_axis channel_axis num_ranks allowed_formats flags builder_optimization_level "
    "avg_timing_iterations max_aux_streams max_num_tactics l2_limit_for_tiling DLA_core "
    "quantization_flags profile_stream max_workspace_size min_timing_iterations max_threads "
    "persistent_cache_limit active_optimization_profile extra_memory_target block_size "
    "weight_streaming_budget weight_streaming_budget_v2 max_batch_size tempfile_control_flags "
    "rotary_embedding_dim topk_box_limit"
)
FLOAT = "alpha beta epsilon blend_factor cubic_coeff extra_memory_target"
BOOL = (
    "keep_dims align_corners average_count_excludes_padding exclude_outside zero_is_placeholder "
    "exclusive reverse causal decomposable broadcast_across_batch engine_host_code_allowed "
    "enqueue_emits_profile debug_sync weights_validation interleaved"
)
STR = "name metadata message equation temporary_directory remote_auto_tuning_config"
DIMS = (
    "shape start stride reshape_dims kernel_size_nd stride_nd padding_nd dilation_nd "
    "window_size_nd pre_padding post_padding pre_padding_nd post_padding_nd block_shape"
)
WEIGHTS = "weights kernel bias shift scale power"
TYPES: dict[str, str] = {
    **dict.fromkeys(INT.split(), "int"),
    **dict.fromkeys(FLOAT.split(), "float"),
    **dict.fromkeys(BOOL.split(), "bool"),
    **dict.fromkeys(STR.split(), "str"),
    **dict.fromkeys(DIMS.split(), "Dims"),
    **dict.fromkeys(WEIGHTS.split(), "Weights"),
    **dict.fromkeys(
        ["dtype", "precision", "to_type", "compute_precision", "indices_type", "scale_type"],
        "DataType",
    ),
    "location": "TensorLocation",
    "padding_mode": "PaddingMode",
    "operation": "FillOperation",
    "interpolation_mode": "InterpolationMode",
    "sample_mode": "SampleMode",
    "resize_mode": "InterpolationMode",
    "coordinate_transformation": "ResizeCoordinateTransformation",
    "nearest_rounding": "ResizeRoundMode",
    "selector_for_single_pixel": "ResizeSelector",
    "scales": "List[float]",
    "op0": "MatrixOperation",
    "op1": "MatrixOperation",
    "first_transpose": "Permutation",
    "second_transpose": "Permutation",
    "causal_kind": "CausalMaskKind",
    "norm_op": "AttentionNormalizationOp",
    "query_form": "AttentionIOForm",
    "key_value_form": "AttentionIOForm",
    "mask": "ITensor",
    "profiling_verbosity": "ProfilingVerbosity",
    "nvtx_verbosity": "ProfilingVerbosity",
    "engine_capability": "EngineCapability",
    "default_device_type": "DeviceType",
    "hardware_compatibility_level": "HardwareCompatibilityLevel",
    "runtime_platform": "RuntimePlatform",
    "tiling_optimization_level": "TilingOptimizationLevel",
    "min_severity": "Severity",
    "plugins_to_serialize": "List[str]",
    "progress_monitor": "IProgressMonitor",
    "profiler": "IProfiler",
    "algorithm_selector": "IAlgorithmSelector",
    "int8_calibrator": "IInt8Calibrator",
    "gpu_allocator": "IGpuAllocator",
    "error_recorder": "IErrorRecorder",
    "bounding_box_format": "BoundingBoxFormat",
}
SPECIAL: dict[str, str] = {
    "IActivationLayer.type": "ActivationType",
    "IPoolingLayer.type": "PoolingType",
    "IUnaryLayer.op": "UnaryOperation",
    "IElementWiseLayer.op": "ElementWiseOperation",
    "IReduceLayer.op": "ReduceOperation",
    "ITopKLayer.op": "TopKOperation",
    "ICumulativeLayer.op": "CumulativeOperation",
    "IGatherLayer.mode": "GatherMode",
    "ISliceLayer.mode": "SampleMode",
    "IScaleLayer.mode": "ScaleMode",
    "IScatterLayer.mode": "ScatterMode",
    "ISliceLayer.axes": "Dims",
    "IFillLayer.alpha": "int | float",
    "IFillLayer.beta": "int | float",
    "IOptimizationProfile.extra_memory_target": "float",
}


def property_type(owner: str, name: str) -> str:
    """Return the type of a property as a signature would write it."""
    return SPECIAL.get(f"{owner}.{name}", TYPES.get(name, "object"))
