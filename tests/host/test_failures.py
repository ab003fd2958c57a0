"""HostModel where CUDA or TensorRT fails: a typed error, nothing left behind, and it goes on."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

import numpy
import pytest

from tests.host.host_rows import ROWS, Row, X, arguments, reference, twice
from tests.host.hosted import Hosted, assert_same, hosted
from trtnn.errors import BuildError, CudaError, InputError

__all__ = ["hosted"]


def require_only_what_cuda_kept(made: Hosted) -> None:
    """Raise unless all is freed but what CUDA refused to free; forget that."""
    left = [*made.cuda.living, *made.cuda.streams]
    refused = made.cuda.failed in ("cudaFree", "cudaFreeHost", "cudaStreamDestroy")
    assert len(left) == refused, (made.cuda.failed, left)
    made.cuda.memory.clear()
    made.cuda.streams.clear()


def lifecycle(made: Hosted, row: Row) -> None:
    with made.open(device=1) as model:
        for size in (1, 8):
            given = arguments(row, size)
            assert_same(made.call(model, given), reference(row, given))


@pytest.mark.parametrize("name", ["wide", "wide counted"])
@pytest.mark.parametrize("version", ["8.6", "11"])
def test_each_call_of_cuda_may_fail(name: str, version: str, hosted: Any) -> None:
    row = ROWS[name]
    made = hosted(version, row.function, row.inputs)
    lifecycle(made, row)
    total = made.cuda.calls.total()
    names = set()
    for place in range(total):
        made.cuda.calls.clear()
        made.cuda.cudaSetDevice(0)  # whoever could not go back to it was elsewhere
        made.cuda.fails_at = place
        with pytest.raises(CudaError) as caught:
            lifecycle(made, row)
        names.add(made.cuda.failed)
        text = f"{made.cuda.failed}: cudaErrorMemoryAllocation: out of memory"
        assert str(caught.value).splitlines()[0].endswith(text), caught.value
        assert caught.value.message.startswith("CUDA could not ")
        assert caught.value.name == "cudaErrorMemoryAllocation"
        require_only_what_cuda_kept(made)
    assert {"cudaMalloc", "cudaMallocHost", "cudaMemcpyAsync", "cudaStreamSynchronize"} < names
    assert {"cudaSetDevice", "cudaFree", "cudaFreeHost", "cudaStreamCreateWithFlags"} < names


@pytest.mark.parametrize("name", ["wide", "wide counted"])
def test_a_call_that_failed_spoils_no_other(name: str, hosted: Any) -> None:
    row = ROWS[name]
    made = hosted("10", row.function, row.inputs)
    small, medium, large = (arguments(row, size) for size in (1, 4, 8))

    def grow(place: int | None) -> int:
        """Call with more than before; return how many calls of CUDA it took."""
        with made.open() as model:
            made.call(model, small)
            made.cuda.calls.clear()
            made.cuda.fails_at = place
            with nullcontext() if place is None else pytest.raises(CudaError):
                made.call(model, medium)
            total = made.cuda.calls.total()
            assert_same(made.call(model, large), reference(row, large))
        require_only_what_cuda_kept(made)
        return total

    total = grow(None)
    assert total > 16  # frees and allocates
    for place in range(total):
        grow(place)


class Refusing:
    """A context of which one method answers False."""

    def __init__(self, context: Any, method: str) -> None:
        self.context, self.method = context, method

    def __getattr__(self, name: str) -> Any:
        return (lambda *given: False) if name == self.method else getattr(self.context, name)


@pytest.mark.parametrize(
    ("execution", "method", "error", "text"),
    [
        ("sync", "execute_v2", BuildError, "TensorRT failed to execute"),
        ("async", "execute_async_v3", BuildError, "TensorRT failed to execute"),
        ("async", "set_tensor_address", BuildError, "could not set the address of x"),
        ("sync", "set_input_shape", InputError, r"x: TensorRT refused the shape \(3, 3\)"),
    ],
)
def test_what_tensorrt_refuses(
    execution: str, method: str, error: Any, text: str, hosted: Any
) -> None:
    made = hosted("10", twice, [X])
    x = numpy.ones((3, 3), numpy.float32)
    with made.open(execution=execution) as model:
        model._session.context = Refusing(model._session.context, method)
        with pytest.raises(error, match=text):
            model(x)
        assert_same(model(x), x * 2)
    made.cuda.require_nothing_left()


def test_what_could_not_be_opened_holds_nothing(hosted: Any) -> None:
    made = hosted("10", twice, [X])
    for place in range(100):
        made.cuda.calls.clear()
        made.cuda.cudaSetDevice(0)
        made.cuda.fails_at = place
        try:
            model = made.open(device=1)
        except CudaError:
            made.cuda.require_nothing_left()  # while the error holds the frames that it passed
        else:
            break
    made.cuda.fails_at = None
    model.close()
    assert place > 4
    made.cuda.require_nothing_left()
