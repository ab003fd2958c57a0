"""``trtnn.nvinfer`` beside the recorded surface of each TensorRT, and what rows do not show."""

from __future__ import annotations

import inspect
import json
import re
from typing import Any

import pytest
import torch

import trtnn
from tests import double
from tests.double.surface import DATA, FILES
from tests.ops.test_ops import VALID, close, dims_of, library_of
from tests.rows import B, S, prepare
from trtnn import InputError, OptionError, nvinfer
from trtnn.compiler import optimize
from trtnn.graph.graph import Graph
from trtnn.graph.interpreter import run
from trtnn.lower.network import lower
from trtnn.nvinfer.members import MEMBERS, TYPES
from trtnn.tree import flatten

SURFACES: dict[str, Any] = {
    version: json.loads((DATA / name).read_text()) for version, name in FILES.items()
}
# What adds to a network and is no function here, each with its reason.
ELSEWHERE = {
    "input": "trtnn.Input declares it",
    "loop": "holds a network of its own",
    "if_conditional": "holds networks of its own: torch.cond",
    "plugin": "a user's own kernel",
    "plugin_v2": "a user's own kernel",
    "plugin_v3": "a user's own kernel",
    "dist_collective": "of several GPUs",
    "moe": "of the GPUs that have its kernel alone",
    "convolution": "deprecated in 8.6 for convolution_nd",
    "deconvolution": "deprecated in 8.6 for deconvolution_nd",
    "pooling": "deprecated in 8.6 for pooling_nd",
    "padding": "deprecated in 8.6 for padding_nd",
    "fully_connected": "deprecated in 8.6 for matrix_multiply",
    "rnn_v2": "deprecated in 8.6 for loops",
}
# Members that are another's older name, or of several GPUs.
LEFT_OUT = {"DEFAULT", "CAFFE_ROUND_UP", "CAFFE_ROUND_DOWN", "NONE"}
# Inputs of layers that their ``set_input`` gives, without a name of TensorRT's.
OPTIONAL = {"fill", "position_ids", "iou_threshold", "score_threshold"}


def added() -> dict[str, list[list[str]]]:
    """Return the arguments of each ``add_`` method, in every version and overload."""
    found: dict[str, list[list[str]]] = {}
    for surface in SURFACES.values():
        for name, texts in surface["INetworkDefinition"]["methods"].items():
            for text in texts if name.startswith("add_") else ():
                arguments = re.findall(r"(\w+): (?=[A-Za-z])", text.partition("->")[0])[1:]
                found.setdefault(name.removeprefix("add_"), []).append(arguments)
    return found


def test_every_layer_is_a_function_or_has_a_reason() -> None:
    assert set(added()) == set(nvinfer.__all__) | set(ELSEWHERE)
    assert not set(nvinfer.__all__) & set(ELSEWHERE) and all(ELSEWHERE.values())


@pytest.mark.parametrize("name", nvinfer.__all__)
def test_arguments_are_those_of_tensorrt_in_its_order(name: str) -> None:
    parameters = inspect.signature(getattr(nvinfer, name)).parameters.values()
    first = [p.name for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD]
    longest = max(added()[name], key=len)
    assert first == longest[: len(first)] and set(longest) <= {p.name for p in parameters}
    properties = {
        attribute
        for surface in SURFACES.values()
        for kind, found in surface.items()
        if kind.startswith("I") and "properties" in found
        for attribute in found["properties"]
    }
    named = {p.name for p in parameters if p.kind is p.KEYWORD_ONLY}
    assert named <= properties | OPTIONAL


@pytest.mark.parametrize("name", MEMBERS)
def test_members_are_those_of_all_versions(name: str) -> None:
    found = {
        member
        for surface in SURFACES.values()
        for member in surface.get(name, {}).get("members", ())
    }
    assert found - set(MEMBERS[name]) <= LEFT_OUT and set(MEMBERS[name]) <= found


def test_types_are_those_of_tensorrt() -> None:
    found = {member for surface in SURFACES.values() for member in surface["DataType"]["members"]}
    assert found - set(TYPES) == {"INT4", "FP4", "E8M0"} and set(TYPES) <= found


def test_a_wrong_member_is_an_error_that_lists_the_right_ones() -> None:
    with pytest.raises(OptionError) as caught:
        nvinfer.elementwise(torch.ones(1), torch.ones(1), "ADD")
    text = str(caught.value)
    assert "expected op to be a member of ElementWiseOperation, got 'ADD'" in text
    assert "'SUM', 'PROD'" in text


def test_a_member_of_tensorrts_own_does_too() -> None:
    trt = double.load("11")
    given = trt.ElementWiseOperation.SUM, trt.DataType.HALF
    assert nvinfer.elementwise(torch.ones(1), torch.ones(1), given[0]).item() == 2
    assert nvinfer.cast(torch.ones(1), given[1]).dtype == torch.float16


OURS = [(name, row) for name, row in VALID if name.startswith("nvinfer_")]


@pytest.mark.parametrize("row", [r for _, r in OURS], ids=[n for n, _ in OURS])
def test_a_row_runs_eagerly(row: Any) -> None:
    samples, call = prepare(row)
    bindings = {dim.name: dim.opt for dim in dims_of(samples)}
    generator = torch.Generator().manual_seed(5)
    tensors = [x.make(bindings, generator) for x in samples]
    given, expected = (call(f, [t.clone() for t in tensors]) for f in (row.function, row.oracle))
    for one, other in zip(flatten(given)[0], flatten(expected)[0], strict=True):
        close(one, other)


# Numbers that are drawn ---------------------------------------------------------------------------


def two(x: torch.Tensor) -> tuple[torch.Tensor, ...]:
    kinds = ("RANDOM_UNIFORM", "RANDOM_UNIFORM", "RANDOM_NORMAL")
    return tuple(-nvinfer.fill((x.shape[0], 200), kind) for kind in kinds)


@pytest.mark.parametrize("version", ["8.6", "10", "11"])
def test_each_draw_is_its_own_at_each_run(version: str) -> None:
    graph = optimize(trtnn.trace(two, [trtnn.Input((B,))]), library_of(version))
    assert [node.op.name for node in graph.nodes].count("RandomFill") == 3
    results = [*run(graph, [torch.ones(4)])[0], *run(graph, [torch.ones(4)])[0]]
    assert len({float(numbers.sum()) for numbers in results}) == 6
    even, normal = -results[0], -results[2]
    assert even.min() >= 0 and even.max() <= 1 and abs(even.mean() - 0.5) < 0.1
    assert abs(normal.mean()) < 0.2 and abs(normal.std() - 1) < 0.2


def test_known_sizes_do_not_draw_while_tracing() -> None:
    graph = trtnn.trace(lambda x: x + nvinfer.fill((3,), "RANDOM_NORMAL"), [trtnn.Input((3,))])
    assert "RandomFill" in [node.op.name for node in graph.nodes]


def test_branches_that_draw_are_not_one() -> None:
    def drawn(x: torch.Tensor) -> torch.Tensor:
        return x + nvinfer.fill((3,), "RANDOM_NORMAL")

    def both(x: torch.Tensor, flag: torch.Tensor) -> torch.Tensor:
        pair = [trtnn.cond(flag, drawn, torch.neg, (x,)) for _ in range(2)]
        return pair[0] - pair[1]

    graph = trtnn.trace(both, [trtnn.Input((3,)), trtnn.Input((), torch.bool)])
    graph = optimize(graph, library_of("11"))
    assert [node.op.name for node in graph.nodes].count("Cond") == 2
    results, _ = run(graph, [torch.ones(3), torch.tensor(True)])
    assert results[0].abs().min() > 0


# Assertions ---------------------------------------------------------------------------------------


def equal(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    sizes = nvinfer.shape(x), nvinfer.shape(y)
    nvinfer.assertion(nvinfer.elementwise(*sizes, "EQUAL"), "lengths differ")
    return x.sum() + y.sum()


def asserting() -> Graph:
    return trtnn.trace(equal, [trtnn.Input((B,)), trtnn.Input((S,))])


def test_an_assertion_stays_and_raises_its_message() -> None:
    graph = asserting()
    run(graph, [torch.ones(3), torch.ones(3)])
    with pytest.raises(InputError, match="assertion failed: lengths differ"):
        run(graph, [torch.ones(3), torch.ones(2)])
    with pytest.raises(InputError, match="lengths differ"):
        equal(torch.ones(3), torch.ones(2))
    with pytest.raises(InputError, match="lengths differ"):
        trtnn.trace(equal, [trtnn.Input((3,)), trtnn.Input((2,))])


@pytest.mark.parametrize("version", ["8.6", "10", "11"])
def test_an_assertion_becomes_a_layer(version: str) -> None:
    library = library_of(version)
    network = library.network(library.builder())
    lower(optimize(asserting(), library), library, network)
    kinds = [network.get_layer(i).type.name for i in range(network.num_layers)]
    assert kinds.count("ASSERTION") == 1


# Quantization -------------------------------------------------------------------------------------


def names(function: Any, *inputs: Any) -> list[str]:
    return [node.op.name for node in trtnn.trace(function, list(inputs)).nodes]


def test_one_scale_makes_a_pair_and_two_do_not() -> None:
    def quantized(x: torch.Tensor, again: float = 0.5) -> torch.Tensor:
        entries = nvinfer.quantize(x, torch.tensor(0.5))
        return nvinfer.dequantize(entries, torch.tensor(again))

    x = trtnn.Input((3,))
    assert names(quantized, x) == ["QuantizeDequantize"]
    assert "QuantizeDequantize" not in names(lambda x: quantized(x, 0.25), x)
    given = torch.tensor([0.3, -99.0])
    assert quantized(given, 0.25).tolist() == [0.25, -32.0]
