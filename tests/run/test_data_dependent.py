"""Outputs whose sizes depend on data: the allocator on the doubles, and the reference."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Any

import numpy
import pytest
import torch

import trtnn
from tests import double
from trtnn import Input, UnsupportedError
from trtnn.compiler import optimize
from trtnn.engine.builder import build
from trtnn.errors import BuildError
from trtnn.lower.network import lower
from trtnn.options import BuildOptions
from trtnn.run.allocating import AllocatingRunner, Allocations
from trtnn.trt.library import TensorRT

CPU = torch.device("cpu")
B = trtnn.Dim("batch", 1, 2, 4)


def positive(x: torch.Tensor) -> Any:
    """Return two results with sizes that depend on data, one with a fixed size, and a count."""
    where = torch.nonzero(x > 0)
    return x * 2, where, x[x > 0], where.shape[0]


def read(pointer: int, shape: tuple[int, ...]) -> numpy.ndarray[Any, Any]:
    count = int(numpy.prod(shape))
    values = (ctypes.c_float * count).from_address(pointer)
    return numpy.frombuffer(values, dtype=numpy.float32).reshape(shape).copy()


def engine_of_positive(context: Any, tensors: dict[str, Any]) -> dict[str, Any]:
    """Stand in for the engine of ``positive``."""
    pointer, shape, _ = tensors["x"]
    x = read(pointer, tuple(shape))
    index = numpy.int32 if tensors["output_1"][2].name == "INT32" else numpy.int64
    return {
        "output_0": x * 2,
        "output_1": numpy.argwhere(x > 0).astype(index),
        "output_2": x[x > 0],
    }


@pytest.fixture(params=["8.6", "10", "11"])
def made(request: Any) -> AllocatingRunner:
    trt = double.load(request.param)
    library = TensorRT(trt)
    graph = optimize(trtnn.trace(positive, [Input((B, 3), name="x")]), library)
    double.on_execute(trt, engine_of_positive)
    return AllocatingRunner(build(graph, library, BuildOptions()), graph, CPU, "always")


@pytest.mark.parametrize("fill", [None, 1.0, -1.0])
def test_sizes_are_exact(made: AllocatingRunner, fill: float | None) -> None:
    for size in (1, 4, 2):
        x = torch.randn(size, 3) if fill is None else torch.full((size, 3), fill)
        outputs, call = made([x])
        wanted = positive(x)
        for given, want in zip(outputs, wanted, strict=False):
            assert torch.equal(given, want) and given.dtype == want.dtype
        assert wanted[3] in call.bindings.values()


def test_results_of_two_calls_share_no_memory(made: AllocatingRunner) -> None:
    x = torch.ones(2, 3)
    first, _ = made([x])
    second, _ = made([x])
    assert not {t.data_ptr() for t in first} & {t.data_ptr() for t in second}


def test_an_exception_in_the_allocator_is_raised_after_the_call(
    made: AllocatingRunner, monkeypatch: pytest.MonkeyPatch
) -> None:
    made([torch.ones(2, 3)])
    real: Callable[..., torch.Tensor] = torch.empty

    def fails(*args: Any, dtype: Any = None, **named: Any) -> torch.Tensor:
        if dtype is torch.uint8:
            raise MemoryError("none left")
        return real(*args, dtype=dtype, **named)

    with monkeypatch.context() as patch:
        patch.setattr(torch, "empty", fails)
        with pytest.raises((MemoryError, double.Violation)):
            made([torch.ones(2, 3)])
    outputs, _ = made([torch.ones(2, 3)])
    assert outputs[2].shape == (6,)


def test_execute_v2_is_not_used(made: AllocatingRunner) -> None:
    made([torch.ones(2, 3)])
    calls = made.pool.contexts[0].handle.calls
    assert calls["execute_async_v3"] == 1 and "execute_v2" not in calls


def test_the_reference_gives_the_same() -> None:
    model = trtnn.compile(positive, inputs=[Input((B, 3))], backend="reference")
    for size in (1, 4):
        x = torch.randn(size, 3)
        for given, want in zip(model(x), positive(x), strict=True):
            assert torch.equal(given, want) if isinstance(want, torch.Tensor) else given == want


def test_a_size_without_a_tensor_is_refused_with_its_line() -> None:
    library = TensorRT(double.load("10"))
    graph = optimize(
        trtnn.trace(lambda x: torch.nonzero(x).shape[0], [Input((B, 3))]),  # <- here
        library,
    )
    with pytest.raises(UnsupportedError, match="depends on data") as caught:
        build(graph, library, BuildOptions())
    assert "# <- here" in str(caught.value)


def test_a_size_that_only_a_longer_output_has_is_refused() -> None:
    def twice(x: torch.Tensor) -> Any:
        rows = torch.nonzero(x)
        return torch.cat([rows, rows]), rows.shape[0]

    library = TensorRT(double.load("10"))
    graph = optimize(trtnn.trace(twice, [Input((B, 3))]), library)
    with pytest.raises(UnsupportedError, match="depends on data"):
        build(graph, library, BuildOptions())


def test_an_output_larger_than_what_was_asked_for_is_an_error() -> None:
    own = Allocations(CPU, None)
    own.allocate("found", 8)
    own.notify("found", (3,))
    with pytest.raises(BuildError, match=r"found: TensorRT asked for 8 bytes, and wrote \(3,\)"):
        own.take("found", torch.int32)


@pytest.mark.parametrize("version", ["8.6", "10"])
def test_8_6_counts_into_a_layer_of_its_own(version: str) -> None:
    library = TensorRT(double.load(version))
    graph = trtnn.trace(trtnn.nvinfer.non_zero, [Input((4,), torch.int32)])
    network = library.network(library.builder())
    lower(optimize(graph, library), library, network)
    kinds = [type(network.get_layer(i)).__name__ for i in range(network.num_layers)]
    assert kinds.count("IElementWiseLayer") == (1 if version == "8.6" else 0)
