"""The same models in every precision, built for every TensorRT, each layer in its type."""

from __future__ import annotations

from functools import cache

import pytest
import torch

import trtnn
from tests import double, real_builder
from tests.zoo import MODELS, build_lively
from trtnn.compiler import optimize
from trtnn.engine.builder import build
from trtnn.errors import UnsupportedError
from trtnn.graph.graph import Graph
from trtnn.options import BuildOptions
from trtnn.precision.policy import WORDS, Precision
from trtnn.precision.typing import typed
from trtnn.trt.library import TensorRT

NAMES = ("mlp", "resnet18", "mobilenet_v3_small", "bert_encoder", "vit_b_16")


@cache
def traced(name: str) -> Graph:
    model = MODELS["small"][name]
    batch = trtnn.Dim("batch", 1, 2, 4)
    inputs = [trtnn.Input((batch, *x.shape[1:]), x.dtype) for x in model.inputs(2, 1)]
    return trtnn.trace(build_lively(model), inputs)


@pytest.mark.parametrize("precision", WORDS)
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("version", ["8.6", "10", "11"])
def test_on_the_doubles(version: str, name: str, precision: str) -> None:
    """Their contracts compare the types that TensorRT is told with those of the network."""
    library = TensorRT(double.load(version))
    asked = Precision(precision)
    if (version, precision) == ("8.6", "bf16"):
        with pytest.raises(UnsupportedError, match=r"precision: TensorRT 8\.6.* has no bfloat16"):
            asked.require_types(library.target)
        return
    lowered = optimize(typed(traced(name), asked).graph, library)
    build(lowered, library, BuildOptions(), tf32=asked.uses_tf32)
    low = sum(node.outputs[0].spec.dtype == asked.low for node in lowered.nodes)
    assert low > len(lowered.nodes) / 2 if asked.low else not low


@pytest.mark.parametrize("precision", WORDS)
@pytest.mark.parametrize("name", NAMES)
def test_by_the_real_builder(name: str, precision: str) -> None:
    graph = typed(traced(name), Precision(precision)).graph
    assert real_builder.build(graph)
    assert {v.spec.dtype for v in graph.outputs} == {torch.float32}
