"""The one table of laws that the "11" double and the real builder of TensorRT for RTX read apart.

A law that stands here and is read alike fails the test, as does one that is read apart and does
not stand here. All else that the real builder says, the double says too.
"""

from __future__ import annotations

import re
from typing import NamedTuple

LIMIT = "a limit of RTX"
HELD = "a rule that RTX does not enforce, and we hold"


class Difference(NamedTuple):
    """Laws of some names, and why their answers differ; ``names`` is a regular expression."""

    names: str
    kind: str
    reason: str

    def covers(self, law: str) -> bool:
        return re.fullmatch(self.names, law) is not None


UNFUSED = "same|gqa|gqa by one|one query|head size (1|300)"
STATISTICS = "norm|norm, weights are tensors|norm groups|norm of images|norm v2|norm v2 groups"

DIFFERENCES = (
    Difference(
        "nonzero (FLOAT|HALF|BF16|INT32|INT64|BOOL|as INT32|as INT64)|non zero",
        LIMIT,
        "it lists NonZero and has no implementation of it",
    ),
    Difference(
        rf"attention (causal )?({UNFUSED}) \w+ decomposable=False",
        LIMIT,
        "it has no fused kernel for these sizes, and may not decompose the attention",
    ),
    Difference(
        "attention (causal )?head size 64 FLOAT decomposable=False",
        LIMIT,
        "it has no fused kernel for float32",
    ),
    Difference(
        "slice dynamic, too far",
        LIMIT,
        "it checks a slice at a profile's opt; the double at min and max as well",
    ),
    Difference(
        r"activation by default \w+ FLOAT",
        HELD,
        "alpha and beta are given always: their defaults are documented nowhere",
    ),
    Difference(
        rf"({STATISTICS}) (HALF|BF16)",
        HELD,
        "statistics are in FLOAT: a strongly typed layer computes in the type of its input",
    ),
    Difference(
        "unary (RECIP|NEG|ERF|scalar NEG) INT8|(prelu|select|lrn) INT8|topk .* INT8"
        "|(norm, weights are tensors|norm v2|norm v2 groups) INT8",
        HELD,
        "INT8 stands beside Quantize and Dequantize; these layers are documented without it",
    ),
    Difference(
        "elementwise EQUAL UINT8",
        HELD,
        "UINT8 stands at a network's border beside a cast, as is documented",
    ),
    Difference(
        r"one hot INT64 \w+",
        HELD,
        "the header says that indices of OneHot are INT32",
    ),
    Difference(
        "topk by a tensor of INT64",
        HELD,
        "k is documented as a scalar of INT32",
    ),
    Difference(
        "top of the fifth axis",
        HELD,
        "the axis of TopK is documented to be one of the last four",
    ),
    Difference(
        "fill linspace of numbers (INT32|INT64)|fill linspace of whole numbers FLOAT",
        HELD,
        "numbers of the fill's own kind are documented; a float cannot hold every INT64",
    ),
    Difference(
        "fill of two axes",
        HELD,
        "numbers for alpha and beta are documented for one dimension: which axis counts?",
    ),
    Difference(
        "softmax no axis|softmax two axes",
        HELD,
        "axes of SoftMax are exactly one bit; the setter logs an error and keeps what it had",
    ),
    Difference(
        "slice FILL value of another type",
        HELD,
        "a fill value is documented to have the type of the data",
    ),
    Difference(
        "einsum (ellipsis|three|diagonal)",
        HELD,
        "up to 10.8 the header excludes them, and one lowering serves all versions",
    ),
    Difference(
        "resize batch cubic",
        HELD,
        "cubic interpolation is documented for the innermost two axes",
    ),
    Difference(
        "conv layout",
        HELD,
        "weights carry no shape: that an array of another layout has as many entries is a mistake",
    ),
    Difference(
        "conv dynamic channels",
        HELD,
        "the number of channels is documented to be static",
    ),
    Difference(
        "add dynamic",
        HELD,
        "sizes that have to be equal say so by one dimension name, or 8.6.0 branches on them",
    ),
)


def difference(law: str) -> Difference | None:
    """Return what stands in the table of a law."""
    return next((entry for entry in DIFFERENCES if entry.covers(law)), None)
