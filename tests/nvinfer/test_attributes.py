"""What a layer is told: attributes and operands, of which shapes and types show nothing."""

from __future__ import annotations

import ctypes
import struct
from typing import Any

import pytest
import torch

import trtnn
from tests.ops.test_ops import library_of
from trtnn import nvinfer
from trtnn.compiler import optimize
from trtnn.lower.network import Net, lower

INT, HALF = torch.int32, torch.float16
FLAT, IMAGE = (2, 3, 4), (2, 4, 6, 6)
Told = dict[str, Any]
# A function, its tensors (shape, or shape and dtype), other arguments by position and by name,
# the layer, and what it is told beyond arguments by name.
CASES: list[tuple[str, list[Any], list[Any], Told, str, Told]] = [
    (
        "activation",
        [FLAT],
        ["SELU"],
        {"alpha": 0.5, "beta": 2.0},
        "IActivationLayer",
        {"type": "SELU"},
    ),
    ("unary", [FLAT], ["ASINH"], {}, "IUnaryLayer", {"op": "ASINH"}),
    ("elementwise", [FLAT, FLAT], ["SUB"], {}, "IElementWiseLayer", {"op": "SUB"}),
    ("select", [(FLAT, torch.bool), FLAT, FLAT], [], {}, "ISelectLayer", {}),
    ("cast", [FLAT], ["HALF"], {}, "ICastLayer", {"to_type": "HALF"}),
    ("parametric_relu", [FLAT, FLAT], [], {}, "IParametricReLULayer", {}),
    (
        "lrn",
        [IMAGE],
        [3, 0.5, 0.25, 2.0],
        {},
        "ILRNLayer",
        {"window_size": 3, "alpha": 0.5, "beta": 0.25, "k": 2.0},
    ),
    (
        "pooling_nd",
        [IMAGE],
        ["MAX_AVERAGE_BLEND", (3, 2)],
        {
            "blend_factor": 0.25,
            "stride_nd": (2, 1),
            "pre_padding": (1, 0),
            "post_padding": (0, 1),
            "average_count_excludes_padding": False,
        },
        "IPoolingLayer",
        {"type": "MAX_AVERAGE_BLEND", "window_size_nd": (3, 2)},
    ),
    (
        "resize",
        [IMAGE],
        [],
        {
            "shape": (2, 4, 9, 3),
            "resize_mode": "CUBIC",
            "coordinate_transformation": "HALF_PIXEL",
            "selector_for_single_pixel": "UPPER",
            "nearest_rounding": "CEIL",
            "cubic_coeff": -0.5,
            "exclude_outside": True,
        },
        "IResizeLayer",
        {},
    ),
    (
        "grid_sample",
        [IMAGE, (2, 3, 3, 2)],
        [],
        {"align_corners": True, "sample_mode": "REFLECT", "interpolation_mode": "LINEAR"},
        "IGridSampleLayer",
        {},
    ),
    (
        "slice",
        [FLAT],
        [(-1, 2, 0), (4, 2, 4), (1, -1, 1)],
        {"mode": "REFLECT"},
        "ISliceLayer",
        {"start": (-1, 2, 0), "shape": (4, 2, 4), "stride": (1, -1, 1)},
    ),
    ("concatenation", [[FLAT, FLAT]], [], {"axis": 2}, "IConcatenationLayer", {}),
    (
        "gather_v2",
        [FLAT, ((2, 5, 1), INT)],
        ["ND"],
        {"num_elementwise_dims": 1},
        "IGatherLayer",
        {"mode": "ND"},
    ),
    (
        "gather_v2",
        [FLAT, (FLAT, INT)],
        ["ELEMENT"],
        {"axis": 1},
        "IGatherLayer",
        {"mode": "ELEMENT"},
    ),
    ("scatter", [FLAT, (FLAT, INT), FLAT], ["ELEMENT"], {"axis": 1}, "IScatterLayer", {}),
    ("one_hot", [(FLAT, INT), (2,)], [5, 1], {}, "IOneHotLayer", {"axis": 1}),
    ("topk", [FLAT], ["MIN", 2, 4], {}, "ITopKLayer", {"op": "MIN", "k": 2, "axes": 4}),
    (
        "reduce",
        [FLAT],
        ["PROD", 5, True],
        {},
        "IReduceLayer",
        {"op": "PROD", "axes": 5, "keep_dims": True},
    ),
    ("softmax", [FLAT], [], {"axes": 2}, "ISoftMaxLayer", {}),
    ("ragged_softmax", [FLAT, ((2, 3, 1), INT)], [], {}, "IRaggedSoftMaxLayer", {}),
    (
        "normalization_v2",
        [IMAGE, (1, 4, 1, 1), (1, 4, 1, 1)],
        [12],
        {"epsilon": 0.25, "num_groups": 2},
        "INormalizationLayer",
        {"axes": 12},
    ),
    (
        "cumulative",
        [FLAT],
        [1, "SUM"],
        {"exclusive": True, "reverse": False},
        "ICumulativeLayer",
        {"op": "SUM"},
    ),
    ("cumulative", [FLAT], [1], {"exclusive": False, "reverse": True}, "ICumulativeLayer", {}),
    ("attention", [IMAGE, IMAGE, IMAGE], ["SOFTMAX", True], {}, "IAttention", {"causal": True}),
    (
        "rotary_embedding",
        [IMAGE, (2, 6, 2), (2, 6, 2)],
        [True, 4],
        {},
        "IRotaryEmbeddingLayer",
        {"interleaved": True, "rotary_embedding_dim": 4},
    ),
    ("matrix_multiply", [], [], {}, "IMatrixMultiplyLayer", {"op0": "TRANSPOSE", "op1": "NONE"}),
    ("einsum", [[(2, 3), (3, 2)]], ["ij,jk"], {}, "IEinsumLayer", {"equation": "ij,jk->ik"}),
    (
        "reverse_sequence",
        [FLAT, ((2,), INT)],
        [],
        {"batch_axis": 0, "sequence_axis": 2},
        "IReverseSequenceLayer",
        {},
    ),
    (
        "nms",
        [(2, 6, 4), (2, 6, 1)],
        [3],
        {"bounding_box_format": "CENTER_SIZES", "topk_box_limit": 100},
        "INMSLayer",
        {},
    ),
    (
        "fill",
        [],
        [(2, 3), "RANDOM_NORMAL"],
        {"alpha": 2.0, "beta": 3.0},
        "IFillLayer",
        {"operation": "RANDOM_NORMAL", "shape": (2, 3)},
    ),
]
LACKS = {
    "8.6": {"cumulative", "attention", "rotary_embedding", "normalization_v2"},
    "11": set[str](),
}


def declared(given: Any) -> trtnn.Input:
    plain = isinstance(given[0], int)
    return trtnn.Input(given) if plain else trtnn.Input(given[0], given[1])


def lowered(function: Any, inputs: list[trtnn.Input], version: str = "11") -> Net:
    """Return the network that a function becomes; it holds its weights."""
    library = library_of(version)
    network = library.network(library.builder())
    return lower(optimize(trtnn.trace(function, inputs), library), library, network)


def one(net: Net, kind: str) -> Any:
    """Return the one layer of a kind."""
    (layer,) = (layer for layer in net.network._layers if layer._kind == kind)
    return layer


def numbers(weights: Any) -> list[float]:
    """Return small weights of float32 or integers."""
    if weights._values is not None:
        return list(weights._values)
    raw = ctypes.string_at(weights._pointer, 4 * weights._count)
    return list(struct.unpack(f"{weights._count}f", raw))


def given_to(layer: Any, first: int) -> list[list[float]]:
    """Return the constants that a layer takes from an input on."""
    return [numbers(t._producer._attributes["weights"]) for t in layer._inputs[first:]]


def plain(value: Any) -> Any:
    """Return a member by its name, and sizes as a tuple."""
    if hasattr(value, "name"):
        return value.name
    return tuple(value) if hasattr(value, "__iter__") and not isinstance(value, str) else value


@pytest.mark.parametrize("version", LACKS)
@pytest.mark.parametrize("case", CASES, ids=[case[0] for case in CASES])
def test_a_layer_is_told_what_was_asked(case: Any, version: str) -> None:
    name, tensors, rest, named, kind, told = case
    several = bool(tensors) and isinstance(tensors[0], list)
    inputs = [declared(given) for given in (tensors[0] if several else tensors)]

    def call(*given: torch.Tensor) -> Any:
        if name == "matrix_multiply":
            return nvinfer.matrix_multiply(given[0], "TRANSPOSE", given[1], "NONE")
        return getattr(nvinfer, name)(*([given] if several else given), *rest, **named)

    if name == "matrix_multiply":
        inputs = [trtnn.Input((3, 2)), trtnn.Input((3, 4))]
    net = lowered(call, inputs, version)
    layers = [layer for layer in net.network._layers if layer._kind == kind]
    if name in LACKS[version] and not (name == "normalization_v2" and layers):
        assert not layers
        return
    (layer,) = layers
    if name == "normalization_v2" and version == "8.6":
        told = {"axes": 12}
    for attribute, value in {**named, **told}.items():
        found = plain(layer._attributes[attribute])
        assert found == value, f"{attribute} is {found}, not {value}"
    own = [tensor._name for tensor in layer._inputs if tensor is not None and not tensor._producer]
    order = [tensor._name for tensor in layer._network._inputs]
    assert own == [n for n in order if n in own]
    assert name in ("fill", "normalization_v2") or own


def test_the_weights_of_a_scale_stand_where_they_belong() -> None:
    def scaled(x: torch.Tensor) -> torch.Tensor:
        shift, scale, power = (torch.full((3,), n) for n in (1.0, 2.0, 3.0))
        return nvinfer.scale_nd(x, "CHANNEL", shift, scale, power, 1)

    net = lowered(scaled, [trtnn.Input((2, 3, 4, 5))])
    told = one(net, "IScaleLayer")._attributes
    values = [numbers(told[name]) for name in ("shift", "scale", "power")]
    assert values == [[1.0] * 3, [2.0] * 3, [3.0] * 3]
    assert told["mode"].name == "CHANNEL" and told["channel_axis"] == 1


def test_the_thresholds_of_an_nms_stand_where_they_belong() -> None:
    def selected(boxes: torch.Tensor, scores: torch.Tensor) -> Any:
        return nvinfer.nms(boxes, scores, 7, iou_threshold=0.25, score_threshold=0.75)

    net = lowered(selected, [trtnn.Input((1, 6, 4)), trtnn.Input((1, 6, 2))])
    assert given_to(one(net, "INMSLayer"), 2) == [[7], [0.25], [0.75]]


def test_a_ramp_begins_and_steps() -> None:
    def ramp(x: torch.Tensor) -> torch.Tensor:
        return nvinfer.fill((x.shape[0], 2), "LINSPACE", alpha=5.0, beta=(1.0, 2.0))

    net = lowered(ramp, [trtnn.Input((trtnn.Dim("batch", 1, 2, 4),))])
    assert given_to(one(net, "IFillLayer"), 1) == [[5.0], [1.0, 2.0]]
