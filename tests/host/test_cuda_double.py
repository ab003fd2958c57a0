"""The door to cuda-python, and what the double of CUDA finds."""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Callable
from typing import Any

import pytest

from tests.host import cuda_double
from tests.host.cuda_double import CudaDouble, Violation
from trtnn.errors import AbsentError, CudaError
from trtnn.host import cuda_runtime
from trtnn.host.cuda_runtime import Cuda, DeviceFacts


@pytest.fixture
def double() -> CudaDouble:
    return CudaDouble()


@pytest.fixture
def cuda(double: CudaDouble) -> Cuda:
    return Cuda(cuda_double.load(double))


def fill(address: int, size: int, byte: int) -> None:
    ctypes.memset(address, byte, size)


def test_a_copy_goes_there_and_back_once_it_is_waited_for(cuda: Cuda, double: CudaDouble) -> None:
    stream, device, host = cuda.create_stream(), cuda.allocate(8), cuda.allocate_pinned(8)
    assert device % 256 == 0
    fill(host, 8, 7)
    cuda.copy_in(device, host, 8, stream)
    assert ctypes.string_at(device, 8) != bytes([7]) * 8
    cuda.synchronize(stream)
    fill(host, 8, 0)
    cuda.copy_out(host, device, 8, stream)
    assert ctypes.string_at(host, 8) == bytes(8)
    cuda.synchronize(stream)
    assert ctypes.string_at(host, 8) == bytes([7]) * 8
    with pytest.raises(Violation, match="left"):
        double.require_nothing_left()
    cuda.free(device)
    cuda.free_pinned(host)
    with pytest.raises(Violation, match="left"):
        double.require_nothing_left()
    cuda.destroy_stream(stream)
    double.require_nothing_left()


def freed(cuda: Cuda, size: int = 8) -> int:
    address = cuda.allocate(size)
    cuda.free(address)
    return address


def beside(cuda: Cuda) -> None:
    address = cuda.allocate(8)
    fill(address, 9, 0)
    cuda.free(address)


def while_copied(cuda: Cuda) -> None:
    device, host = cuda.allocate(8), cuda.allocate_pinned(8)
    cuda.copy_in(device, host, 8, cuda.create_stream())
    cuda.free_pinned(host)


FAULTS: dict[str, tuple[Callable[[Cuda], Any], str]] = {
    "double free": (lambda c: c.free(freed(c)), "used after it was freed"),
    "use after free": (
        lambda c: c.copy_in(freed(c), c.allocate_pinned(8), 8, c.create_stream()),
        "used after it was freed",
    ),
    "past the end": (
        lambda c: c.copy_in(c.allocate(8), c.allocate_pinned(9), 9, c.create_stream()),
        "9 bytes at 0x[0-9a-f]+ pass its end",
    ),
    "wrong direction": (
        lambda c: c.copy_out(c.allocate(8), c.allocate_pinned(8), 8, c.create_stream()),
        "of the other kind",
    ),
    "pageable memory": (lambda c: c.copy_in(c.allocate(8), 1, 8, c.create_stream()), "0x1: no mem"),
    "the other kind of free": (lambda c: c.free(c.allocate_pinned(8)), "of the other kind"),
    "a part of an allocation": (lambda c: c.free(c.allocate(8) + 4), "by the address"),
    "no bytes": (lambda c: c.allocate(0), "has no address"),
    "no stream": (lambda c: c.synchronize(5), "5: no living stream"),
    "written beside it": (beside, "memory beside it was written"),
    "freed while it is copied": (while_copied, "freed before stream 1 copied it"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_the_double_finds(name: str, cuda: Cuda) -> None:
    fault, text = FAULTS[name]
    with pytest.raises(Violation, match=text):
        fault(cuda)


def test_a_failing_call_says_what_was_tried(cuda: Cuda, double: CudaDouble) -> None:
    double.fails_at = 0
    with pytest.raises(CudaError) as caught:
        cuda.allocate(64)
    assert caught.value.message == (
        "CUDA could not allocate 64 bytes on the GPU: cudaMalloc: cudaErrorMemoryAllocation: "
        "out of memory"
    )
    assert caught.value.name == "cudaErrorMemoryAllocation"
    with pytest.raises(
        CudaError, match=r"could not use GPU 7: cudaSetDevice: .*InvalidDevice: inv"
    ):
        cuda.memory_info(7)


def test_facts_and_free_memory(cuda: Cuda, double: CudaDouble) -> None:
    assert cuda.count_devices() == 2
    assert cuda.facts(1) == DeviceFacts("Double GPU", (9, 0), 132, cuda_double.TOTAL)
    with cuda.on(1):
        cuda.allocate(512)
    assert double.current == 0
    assert cuda.memory_info(1) == (cuda_double.TOTAL - 512, cuda_double.TOTAL)
    assert cuda.memory_info(0) == (cuda_double.TOTAL, cuda_double.TOTAL)
    with pytest.raises(ZeroDivisionError), cuda.on(1):
        1 / 0  # noqa: B018 - leaves the block
    assert double.current == 0


@pytest.mark.parametrize("name", ["cuda.bindings.runtime", "cuda.cudart"])
def test_both_layouts_are_found(
    name: str, double: CudaDouble, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "cuda.bindings.runtime", None)
    monkeypatch.setitem(sys.modules, name, cuda_double.load(double))
    assert cuda_runtime.memory_info(0)[1] == cuda_double.TOTAL


def test_without_cuda_python(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("cuda.bindings.runtime", "cuda.cudart"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(AbsentError, match="cuda-python cannot be imported") as caught:
        cuda_runtime.memory_info(0)
    assert caught.value.hint == 'pip install "trtnn[cuda]"'


@pytest.mark.gpu
def test_the_runtime_itself() -> None:
    cuda = Cuda()
    facts = cuda.facts(0)
    free, total = cuda_runtime.memory_info(0)
    assert 0 < free < total == facts.memory_bytes or total <= facts.memory_bytes
    stream, size = cuda.create_stream(), 1 << 26
    device, host = cuda.allocate(size), cuda.allocate_pinned(size)
    assert free - cuda.memory_info(0)[0] >= size and device % 256 == 0
    fill(host, size, 7)
    cuda.copy_in(device, host, size, stream)
    cuda.synchronize(stream)
    fill(host, size, 0)
    cuda.copy_out(host, device, size, stream)
    cuda.synchronize(stream)
    assert ctypes.string_at(host, size) == bytes([7]) * size
    cuda.free(device)
    cuda.free_pinned(host)
    cuda.destroy_stream(stream)
    with pytest.raises(CudaError, match="cudaMalloc: cudaErrorMemoryAllocation: out of memory"):
        cuda.allocate(1 << 50)
    with pytest.raises(CudaError, match="cudaErrorInvalidDevice"):
        cuda.memory_info(1000)
