"""The planted faults are found by the real builder too, or stand in a table of those it cannot see.

Those of 8.6 alone are about its contract of precisions, which strongly typed networks lack.
"""

from __future__ import annotations

import functools
import logging

import pytest

import trtnn
from tests.double.lab import has_real
from tests.faults import Fault
from tests.mutations import FAULTS
from tests.ops.test_ops import lower_watched
from trtnn.compiler import optimize
from trtnn.engine.builder import profile_shapes
from trtnn.errors import TrtnnError
from trtnn.graph.graph import Graph
from trtnn.options import BuildOptions
from trtnn.trt.library import TensorRT

pytestmark = [
    pytest.mark.skipif(not has_real(), reason="needs the tensorrt_rtx package"),
    # What it says of a timing cache that is asked for.
    pytest.mark.filterwarnings("ignore:.*Deprecated in TensorRT-RTX:DeprecationWarning"),
]
BAKED = "a size that fits the profile's opt: nothing asks at min and max before an execution"
HELD = "weights are read while it builds; memory freed a moment before still holds them"
UNSEEN = {
    "a fill value of another type": "it takes one",
    "statistics in half": "a matter of numbers, not of form",
    "weights are not held": HELD,
    "bfloat16 weights are not held": HELD,
    "Softmax takes an index for bits": "the setter logs an error and keeps the axis it had",
    "a permutation of symbolic sizes is turned round": "equal ranks and dynamic sizes, swapped",
    "a dynamic size is baked at its optimum": BAKED,
    "a dynamic size is baked inside the graph": BAKED,
    "a size is read off another axis": BAKED,
    "an output has the name of an input": "the setter logs an error and keeps the name it had",
    "a binding list of no block": "it executes nothing here",
}
UNBUILT = {"nonzero gives columns for rows": "it has no implementation of NonZero"}
CASES = [fault for fault in FAULTS if "11" in fault.found and fault.name not in UNBUILT]


@functools.cache
def rtx() -> TensorRT:
    return TensorRT(package="tensorrt_rtx", log_level=logging.CRITICAL)


def check_building(graph: Graph) -> None:
    """Lower a graph and build it; compare every tensor's dtype, rank and static sizes."""
    library = rtx()
    library.log.take()
    builder = library.builder()
    network = library.network(builder)
    lowered = optimize(graph, library)
    net, tensors = lower_watched(lowered, library, network)
    config = library.config(
        builder, BuildOptions(), tf32=True, half=net.half, capabilities=("8.9",)
    )
    if shapes := profile_shapes(graph):
        library.profile(builder, config, shapes)
    library.build(builder, network, config, progress=False)
    tensors += [(v, network.get_output(i)) for i, v in enumerate(lowered.outputs)]
    for value, tensor in tensors:
        dtype = library.dtype(str(value.spec.dtype).removeprefix("torch."))
        assert tensor.dtype == dtype, f"{value} is {tensor.dtype}, not {dtype}"
        shape, wanted = tuple(tensor.shape), value.spec.shape
        assert len(shape) == len(wanted), f"{value} has {shape}, not {wanted}"
        for given, size in zip(shape, wanted, strict=True):
            assert given == size or not isinstance(size, int), f"{value}: {shape}, not {wanted}"


def found(fault: Fault, monkeypatch: pytest.MonkeyPatch) -> Exception | None:
    """Return what is raised with a fault planted, after a look that nothing is without it."""
    graph = trtnn.trace(fault.function, list(fault.inputs))
    check_building(graph)
    fault.plant(monkeypatch)
    try:
        check_building(graph)
    except (TrtnnError, AssertionError, AttributeError) as error:
        return error
    return None


@pytest.mark.parametrize("fault", CASES, ids=[fault.name for fault in CASES])
def test_the_real_builder_finds_a_planted_fault(
    fault: Fault, monkeypatch: pytest.MonkeyPatch
) -> None:
    error = found(fault, monkeypatch)
    if fault.name in UNSEEN:
        assert error is None, f"no longer unseen: {error}"
    else:
        assert error is not None, "the real builder does not see it"


@pytest.mark.parametrize("name", UNBUILT)
def test_what_the_real_builder_cannot_build_is_refused(name: str) -> None:
    fault = next(fault for fault in FAULTS if fault.name == name)
    with pytest.raises(TrtnnError):
        check_building(trtnn.trace(fault.function, list(fault.inputs)))


def test_the_tables_name_faults() -> None:
    assert {*UNSEEN, *UNBUILT} <= {fault.name for fault in FAULTS if "11" in fault.found}
