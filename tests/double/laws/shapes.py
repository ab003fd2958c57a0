"""Laws of shapes: ranks, broadcasts, limits, sizes that are dynamic or zero."""

from __future__ import annotations

from typing import Any

from tests.double.lab import Lab, put
from tests.double.laws.law import Laws, each, joined
from tests.double.laws.movement import MODES

PADDINGS = ("EXPLICIT_ROUND_DOWN", "EXPLICIT_ROUND_UP", "SAME_UPPER", "SAME_LOWER")


def sized(t: Lab, shape: tuple[int, ...], *targets: int) -> Any:
    return t.shuffle(t.input(shape), reshape_dims=targets)


def cut(
    t: Lab, size: int, start: int, count: int, stride: int = 1, mode: str = "STRICT_BOUNDS"
) -> Any:
    layer = t.net.add_slice(t.input((size,)), (start,), (count,), (stride,))
    return put(layer, mode=t.member("SampleMode", mode))


def to_size_of(t: Lab, shape: tuple[int, ...], other: tuple[int, ...]) -> Any:
    """Reshape to the shape of another input."""
    size = t.net.add_shape(t.input(other)).get_output(0)
    return put(t.net.add_shuffle(t.input(shape)), input1=size)


def expand(t: Lab) -> Any:
    size = t.net.add_shape(t.input((-1, 3))).get_output(0)
    return put(t.net.add_slice(t.input((1, 3)), (0, 0), (1, 3), (0, 1)), input2=size)


def select(t: Lab, *shapes: tuple[int, ...]) -> Any:
    return t.net.add_select(t.input(shapes[0], "BOOL"), t.input(shapes[1]), t.input(shapes[2]))


def pool(t: Lab, mode: str) -> Any:
    layer = t.net.add_pooling_nd(t.input((1, 4, 9, 10)), t.trt.PoolingType.MAX, (2, 3))
    return put(layer, stride_nd=(2, 2), padding_mode=t.member("PaddingMode", mode))


def convolve(t: Lab, mode: str) -> Any:
    kind = t.member("PaddingMode", mode)
    return t.convolve(
        t.input((1, 4, 9, 10)), t.weights((8, 4, 3, 3)), stride_nd=(2, 2), padding_mode=kind
    )


def transposed(t: Lab, mode: str) -> Any:
    layer = t.net.add_deconvolution_nd(t.input((1, 4, 5, 6)), 8, (3, 3), t.weights((4, 8, 3, 3)))
    return put(layer, stride_nd=(2, 2), padding_mode=t.member("PaddingMode", mode))


def joined_sizes(t: Lab, *shapes: tuple[int, ...], axis: int = 0) -> Any:
    return put(t.net.add_concatenation([t.input(shape) for shape in shapes]), axis=axis)


LAWS: Laws = joined(
    {
        "add scalars": lambda t: t.pair(t.input(()), t.input(())),
        "add dynamic": lambda t: t.pair(t.input((-1, 3)), t.input((-1, 3))),
        "add dynamic and one": lambda t: t.pair(t.input((-1, 3)), t.input((1, 3))),
        "add nothing": lambda t: t.pair(t.input((0, 3)), t.input((1, 3))),
        "unary of nothing": lambda t: t.unary(t.input((0, 3)), "EXP"),
        "unary dynamic": lambda t: t.unary(t.input((-1, 3)), "EXP"),
        "rank 8": lambda t: t.unary(t.input((1,) * 8), "EXP"),
        "matmul broadcast": lambda t: t.matmul(t.input((1, 2, 3)), t.input((5, 3, 4))),
        "matmul dynamic": lambda t: t.matmul(t.input((-1, 2, 3)), t.input((1, 3, 4))),
        "matmul of nothing": lambda t: t.matmul(t.input((2, 0)), t.input((0, 4))),
        "matmul vector by matrix": lambda t: t.matmul(t.input((3,)), t.input((3, 4)), "VECTOR"),
        "reduce to a scalar": lambda t: t.reduce(t.input((3,)), 1),
        "reduce a scalar": lambda t: t.reduce(t.input(()), 1),
        "reduce nothing at all": lambda t: t.reduce(t.input((0, 3)), 1),
        "reduce dynamic": lambda t: t.reduce(t.input((-1, 3)), 1, keep=True),
        "softmax vector": lambda t: put(t.net.add_softmax(t.input((3,))), axes=1),
        "softmax scalar": lambda t: put(t.net.add_softmax(t.input(())), axes=1),
        "softmax no axis": lambda t: put(t.net.add_softmax(t.input((2, 3))), axes=0),
        "softmax by default": lambda t: t.net.add_softmax(t.input((2, 3, 4, 5))),
        "top of nothing": lambda t: t.topk(t.input((2, 5)), 0, 2),
        "top of two axes": lambda t: t.topk(t.input((2, 5)), 1, 3),
        "top of the fifth axis": lambda t: t.topk(t.input((3, 1, 1, 1, 2)), 1, 1),
        "top of a dynamic axis": lambda t: t.topk(t.input((2, -1)), 1, 2),
        "topk more by a tensor": lambda t: put(
            t.topk(t.input((2, 5)), 1, 2), input1=t.constant(6, "INT32")
        ),
        "topk by a tensor of INT64": lambda t: put(
            t.topk(t.input((2, 5)), 1, 2), input1=t.constant(2, "INT64")
        ),
        "select broadcast": lambda t: select(t, (2, 1), (1, 3), (2, 3)),
        "select ranks": lambda t: select(t, (3,), (2, 3), (2, 3)),
        "select sizes": lambda t: select(t, (2,), (3,), (3,)),
        "reshape 0 is kept": lambda t: sized(t, (2, 3), 0, 3),
        "reshape 0 beyond": lambda t: sized(t, (6,), 2, 0),
        "reshape to a scalar": lambda t: sized(t, (1, 1)),
        "reshape dynamic": lambda t: sized(t, (-1, 4), -1, 2),
        "reshape dynamic, not a multiple": lambda t: sized(t, (-1, 4), -1, 3),
        "reshape by a shape": lambda t: to_size_of(t, (-1, 6), (-1, 6)),
        "reshape by a shape, other volume": lambda t: to_size_of(t, (-1, 6), (-1, 5)),
        "permute twice the same": lambda t: t.shuffle(t.input((2, 3)), first_transpose=(0, 0)),
        "slice of nothing": lambda t: cut(t, 0, 0, 0),
        "slice of nothing back from the end": lambda t: cut(t, 0, -1, 0, -1),
        "slice to nothing from before": lambda t: cut(t, 8, -1, 0),
        "slice dynamic, negative start": lambda t: cut(t, -1, -1, 1),
        "slice dynamic, too far at all sizes": lambda t: cut(t, -1, 0, 9),
        "slice to nothing": lambda t: cut(t, 8, 8, 0),
        "slice to nothing beyond": lambda t: cut(t, 8, 9, 0),
        "slice negative start": lambda t: cut(t, 8, -1, 1),
        "slice negative size": lambda t: cut(t, 8, 0, -1),
        "slice wrong count": lambda t: t.net.add_slice(t.input((8,)), (0, 0), (1, 1), (1, 1)),
        "slice dynamic": lambda t: t.net.add_slice(t.input((-1, 3)), (0, 1), (2, 2), (1, 1)),
        "slice dynamic, too far": lambda t: t.net.add_slice(t.input((-1,)), (0,), (4,), (1,)),
        "slice expands": expand,
        "concat axis": lambda t: joined_sizes(t, (2, 3), (2, 4)),
        "concat ranks": lambda t: joined_sizes(t, (2, 3), (3,)),
        "concat negative axis": lambda t: joined_sizes(t, (2, 3), (2, 4), axis=-1),
        "concat dynamic": lambda t: joined_sizes(t, (-1, 3), (2, 3)),
        "concat with nothing": lambda t: joined_sizes(t, (0, 3), (2, 3)),
        "concat by default": lambda t: t.net.add_concatenation(t.inputs(2, (2, 3, 4, 5))),
        "concat one": lambda t: joined_sizes(t, (2, 3)),
        "concat of nobody": lambda t: t.net.add_concatenation([]),
        "gather scalar index": lambda t: t.net.add_gather(t.input((5, 3)), t.input((), "INT32"), 0),
        "gather negative axis": lambda t: t.net.add_gather(
            t.input((5, 3)), t.input((2,), "INT32"), -1
        ),
        "scatter negative axis": lambda t: put(
            t.net.add_scatter(
                t.input((5, 3)),
                t.input((2, 3), "INT32"),
                t.input((2, 3)),
                t.trt.ScatterMode.ELEMENT,
            ),
            axis=-1,
        ),
        "slice negative axis": lambda t: put(
            t.net.add_slice(t.input((2, 8)), (1,), (4,), (1,)), axes=(-1,)
        ),
        "squeeze negative axis": lambda t: t.net.add_squeeze(
            t.input((2, 1)), t.constant([-1], "INT64")
        ),
        "unsqueeze negative axis": lambda t: t.net.add_unsqueeze(
            t.input((2, 1)), t.constant([-1], "INT64")
        ),
        "gather outside": lambda t: t.net.add_gather(t.input((5, 3)), t.input((2,), "INT32"), 2),
        "gather of a scalar": lambda t: t.net.add_gather(t.input(()), t.input((2,), "INT32"), 0),
        "shape of a scalar": lambda t: t.net.add_shape(t.input(())),
        "squeeze of another length": lambda t: t.net.add_squeeze(
            t.input((2, 3)), t.constant([0], "INT64")
        ),
        "unsqueeze outside": lambda t: t.net.add_unsqueeze(
            t.input((2, 3)), t.constant([4], "INT64")
        ),
        "conv bias": lambda t: t.net.add_convolution_nd(
            t.input((1, 4, 9, 9)), 8, (3, 3), t.weights((8, 4, 3, 3)), t.weights((8,))
        ),
        "conv bias count": lambda t: t.net.add_convolution_nd(
            t.input((1, 4, 9, 9)), 8, (3, 3), t.weights((8, 4, 3, 3)), t.weights((4,))
        ),
        "conv groups do not divide": lambda t: t.convolve(
            t.input((1, 4, 9, 9)), t.weights((8, 4, 3, 3)), num_groups=3
        ),
        "conv dynamic": lambda t: t.convolve(t.input((-1, 4, 9, 9)), t.weights((8, 4, 3, 3))),
        "conv rank 3": lambda t: t.net.add_convolution_nd(
            t.input((1, 4, 9)), 8, (3,), t.weights((8, 4, 3))
        ),
        "conv other type": lambda t: t.convolve(
            t.input((1, 4, 9, 9), "HALF"), t.weights((8, 4, 3, 3))
        ),
        "deconv stride and dilation of two axes": lambda t: put(
            t.net.add_deconvolution_nd(t.input((1, 4, 5, 6)), 8, (3, 3), t.weights((4, 8, 3, 3))),
            stride_nd=(2, 1),
            dilation_nd=(1, 2),
        ),
        "pool rank 3": lambda t: t.net.add_pooling_nd(
            t.input((1, 4, 9)), t.trt.PoolingType.MAX, (2,)
        ),
        "pool too small": lambda t: t.net.add_pooling_nd(
            t.input((1, 4, 1, 9)), t.trt.PoolingType.MAX, (2, 2)
        ),
        "prelu ranks": lambda t: t.net.add_parametric_relu(t.input((1, 4, 2)), t.input((4,))),
        "prelu sizes": lambda t: t.net.add_parametric_relu(t.input((1, 4, 2)), t.input((1, 3, 1))),
        "einsum ellipsis": lambda t: t.net.add_einsum([t.input((2, 3))], "...i->..."),
        "einsum three": lambda t: t.net.add_einsum(t.inputs(3, (3, 3)), "ij,jk,kl->il"),
        "einsum without arrow": lambda t: t.net.add_einsum(
            [t.input((2, 3)), t.input((3, 4))], "ij,jk"
        ),
        "einsum sizes": lambda t: t.net.add_einsum([t.input((2, 3)), t.input((4, 4))], "ij,jk->ik"),
        "einsum broadcast": lambda t: t.net.add_einsum(
            [t.input((2, 1)), t.input((3, 4))], "ij,jk->ik"
        ),
        "einsum outer": lambda t: t.net.add_einsum([t.input((2,)), t.input((3,))], "i,j->ij"),
        "einsum transpose": lambda t: t.net.add_einsum([t.input((2, 3))], "ij->ji"),
        "resize scales": lambda t: put(
            t.net.add_resize(t.input((1, 2, -1, 3))), scales=[1, 1, 1.5, 1.5]
        ),
        "resize batch": lambda t: put(t.net.add_resize(t.input((1, 2, 3, 3))), shape=(2, 2, 3, 3)),
        "resize four axes linear": lambda t: put(
            t.net.add_resize(t.input((1, 2, 3, 3))),
            shape=(2, 3, 4, 5),
            resize_mode=t.trt.InterpolationMode.LINEAR,
        ),
        "resize batch cubic": lambda t: put(
            t.net.add_resize(t.input((1, 2, 3, 3))),
            shape=(1, 3, 3, 3),
            resize_mode=t.trt.InterpolationMode.CUBIC,
        ),
        "fill of nothing": lambda t: put(
            t.net.add_fill((0,), t.trt.FillOperation.LINSPACE, t.type("FLOAT")), alpha=0.0, beta=1.0
        ),
        "fill of two axes": lambda t: put(
            t.net.add_fill((2, 3), t.trt.FillOperation.LINSPACE, t.type("FLOAT")),
            alpha=0.0,
            beta=1.0,
        ),
        "norm no axis": lambda t: t.net.add_normalization(
            t.input((2, 4)), t.input((1, 4)), t.input((1, 4)), 0
        ),
        "norm of a vector": lambda t: t.net.add_normalization(
            t.input((4,)), t.input((4,)), t.input((4,)), 1
        ),
        "norm weights of another rank": lambda t: t.net.add_normalization(
            t.input((2, 4)), t.input((4,)), t.input((4,)), 2
        ),
        "norm weights of another type": lambda t: t.net.add_normalization(
            t.input((2, 4), "HALF"), t.input((1, 4)), t.input((1, 4)), 2
        ),
        "norm weights of another size": lambda t: t.net.add_normalization(
            t.input((2, 4)), t.input((1, 3)), t.input((1, 3)), 2
        ),
    },
    each("pool padded", PADDINGS, pool),
    each("conv padded", PADDINGS, convolve),
    each("deconv padded", PADDINGS, transposed),
    each("slice dynamic", MODES, lambda t, mode: cut(t, -1, 1, 8, 1, mode)),
)
